/* SPDX-License-Identifier: MIT */
/*
 * What a guest program is promised when it does everything right: memory, copies
 * of every shape, modules, kernels, streams, events, on the cpu executor (or the cuda one, see
 * fx_cuda()) behind the real daemon.
 */
#include "fixture.h"

#define TEST_BYTES (256u << 10)

static uint8_t byte_at(uint32_t seed, size_t i)
{
    return (uint8_t)((i * 131 + seed * 29 + (i >> 8)) ^ (i >> 16));
}

/* VGPU-MEM-001 */
START_TEST(allocation_reads_as_zeroes)
{
    struct gs_ctx *ctx = fx.ctx[0];
    struct gs_buf buf;
    uint64_t dev, other;

    fx_ok(gs_buf_create(ctx, TEST_BYTES, 0, VGPU_BUF_FLAGS, &buf));
    fx_ok(gs_mem_alloc(ctx, 1, &other));
    for (int round = 0; round < 2; round++) {
        fx_ok(gs_mem_alloc(ctx, TEST_BYTES, &dev));
        ck_assert_uint_ne(dev, 0);
        ck_assert_uint_eq(dev % 256, 0);
        ck_assert_msg(other < dev || other >= dev + TEST_BYTES, "two allocations overlap");
        memset(buf.ptr, 0xa5, TEST_BYTES);
        fx_ok(gs_copy_d2h(ctx, &buf, 0, dev, TEST_BYTES));
        ck_assert_uint_eq(fx_first_other(buf.ptr, TEST_BYTES, 0), TEST_BYTES);
        /* Leave a mark, so that the second round would find it. */
        fx_ok(gs_memset(ctx, dev, 0x5a, 1, TEST_BYTES));
        fx_ok(gs_mem_free(ctx, dev));
    }
    fx_ok(gs_buf_destroy(&buf));
}
END_TEST

/* VGPU-CMD-002: odd offsets and lengths, across page and run boundaries of a scattered buffer. */
START_TEST(copies_of_any_offset_and_length_are_exact)
{
    static const struct {
        uint32_t first, off, dev_off, bytes;
    } cases[] = {{0, 0, 0, 1},          {0, 4095, 3, 2},       {5, 0, 0, TEST_BYTES},
                 {4095, 1, 1, 4096},    {1, 4094, 7, 12289},   {17, 100, 64, 0},
                 {2048, 2047, 5, 8193}, {3, 65521, 1, 100003}, {0, TEST_BYTES - 1, 0, 1}};
    struct gs_ctx *ctx = fx.ctx[0];
    uint64_t dev;

    fx_ok(gs_mem_alloc(ctx, TEST_BYTES + 64, &dev));
    for (uint32_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        uint32_t off = cases[c].off, bytes = cases[c].bytes;
        uint64_t at = dev + cases[c].dev_off;
        struct gs_buf src, dst;
        size_t at_byte;

        fx_ok(gs_buf_create(ctx, TEST_BYTES, cases[c].first, VGPU_BUF_DEVICE_READS | GS_BUF_SCATTER,
                            &src));
        fx_ok(gs_buf_create(ctx, TEST_BYTES, cases[c].first,
                            VGPU_BUF_DEVICE_WRITES | GS_BUF_SCATTER, &dst));
        for (size_t i = 0; i < TEST_BYTES; i++)
            src.ptr[i] = byte_at(c, i);
        memset(dst.ptr, 0xee, TEST_BYTES);
        fx_ok(gs_copy_h2d(ctx, at, &src, off, bytes));
        fx_ok(gs_copy_d2h(ctx, &dst, off, at, bytes));
        for (at_byte = 0; at_byte < TEST_BYTES; at_byte++)
            if (dst.ptr[at_byte] !=
                (at_byte >= off && at_byte < off + bytes ? byte_at(c, at_byte) : 0xee))
                break;
        ck_assert_msg(at_byte == TEST_BYTES, "case %u: byte %zu is %02x", c, at_byte,
                      dst.ptr[at_byte]);
        fx_ok(gs_buf_destroy(&src));
        fx_ok(gs_buf_destroy(&dst));
    }
    fx_ok(gs_mem_free(ctx, dev));
}
END_TEST

/* VGPU-MEM-012 */
START_TEST(overlapping_device_copy_is_memmove)
{
    struct gs_ctx *ctx = fx.ctx[0];
    uint8_t model[4096];
    struct gs_buf buf;
    uint64_t dev;

    fx_ok(gs_buf_create(ctx, sizeof(model), 0, VGPU_BUF_FLAGS, &buf));
    fx_ok(gs_mem_alloc(ctx, sizeof(model), &dev));
    for (size_t i = 0; i < sizeof(model); i++)
        model[i] = buf.ptr[i] = byte_at(3, i);
    fx_ok(gs_copy_h2d(ctx, dev, &buf, 0, sizeof(model)));
    fx_ok(gs_copy_d2d(ctx, dev + 100, dev, 3000));
    memmove(model + 100, model, 3000);
    fx_ok(gs_copy_d2d(ctx, dev + 7, dev + 50, 4000));
    memmove(model + 7, model + 50, 4000);
    fx_ok(gs_copy_d2h(ctx, &buf, 0, dev, sizeof(model)));
    ck_assert_mem_eq(buf.ptr, model, sizeof(model));
    fx_ok(gs_mem_free(ctx, dev));
    fx_ok(gs_buf_destroy(&buf));
}
END_TEST

START_TEST(memset_fills_each_width)
{
    static const uint32_t values[3] = {0xab, 0xbeef, 0xdeadbeef};
    struct gs_ctx *ctx = fx.ctx[0];
    struct gs_buf buf;
    uint64_t dev;

    fx_ok(gs_buf_create(ctx, 4096, 0, VGPU_BUF_FLAGS, &buf));
    fx_ok(gs_mem_alloc(ctx, 4096, &dev));
    for (uint32_t w = 0; w < 3; w++) {
        uint32_t width = 1u << w, count = 100;

        fx_ok(gs_memset(ctx, dev, 0, 4, 1024));
        fx_ok(gs_memset(ctx, dev + 8, values[w], width, count));
        fx_ok(gs_copy_d2h(ctx, &buf, 0, dev, 4096));
        for (uint32_t i = 0; i < 4096; i++) {
            uint32_t in = i - 8;
            uint8_t want =
                i >= 8 && in < count * width ? (uint8_t)(values[w] >> in % width * 8) : 0;

            ck_assert_msg(buf.ptr[i] == want, "width %u byte %u: %02x", width, i, buf.ptr[i]);
        }
    }
    fx_ok(gs_mem_free(ctx, dev));
    fx_ok(gs_buf_destroy(&buf));
}
END_TEST

START_TEST(memory_info_counts_what_is_held)
{
    struct gs_ctx *ctx = fx.ctx[0];
    struct vgpu_mem_info before, after;
    uint64_t dev;

    fx_ok(gs_mem_info(ctx, &before));
    ck_assert_uint_eq(before.limit_bytes, 256u << 20);
    fx_ok(gs_mem_alloc(ctx, 1 << 20, &dev));
    fx_ok(gs_mem_info(ctx, &after));
    ck_assert_uint_ge(after.ctx_bytes, before.ctx_bytes + (1 << 20));
    ck_assert_uint_ge(after.held_bytes, before.held_bytes + (1 << 20));
    fx_ok(gs_mem_free(ctx, dev));
    fx_ok(gs_mem_info(ctx, &after));
    ck_assert_uint_eq(after.ctx_bytes, before.ctx_bytes);
}
END_TEST

START_TEST(vector_add_is_exact)
{
    fx_vecadd(fx.ctx[0], 1, 1);
    fx_vecadd(fx.ctx[0], 1023, 2);
    fx_vecadd(fx.ctx[0], VGPUD_CYCLES(1u << 20, 1u << 16), 3);
}
END_TEST

START_TEST(every_thread_of_the_grid_runs_once)
{
    struct gs_ctx *ctx = fx.ctx[0];
    struct fx_kernel k = fx_kernel(ctx, fx_ptx_basic, "where");
    const uint32_t grid = 37, block = 96;
    struct gs_buf buf;
    uint32_t *out;
    uint64_t dev;

    fx_ok(gs_buf_create(ctx, grid * block * 4, 0, VGPU_BUF_FLAGS, &buf));
    fx_ok(gs_mem_alloc(ctx, grid * block * 4, &dev));
    fx_ok(gs_memset(ctx, dev, 0xffffffff, 4, grid * block));
    fx_ok(gs_launch(ctx, k.function, grid, block, &dev, sizeof(dev)));
    fx_ok(gs_copy_d2h(ctx, &buf, 0, dev, grid * block * 4));
    out = (uint32_t *)(void *)buf.ptr;
    for (uint32_t i = 0; i < grid * block; i++)
        ck_assert_uint_eq(out[i], i / block << 16 | i % block);
    fx_ok(gs_buf_destroy(&buf));
}
END_TEST

START_TEST(lookup_answers_the_parameter_layout)
{
    struct gs_ctx *ctx = fx.ctx[0];
    struct fx_kernel k = fx_kernel(ctx, fx_ptx_basic, "vecadd");
    struct vgpu_param_info params[8];
    struct vgpu_func_info info;
    uint32_t function;

    fx_ok(gs_func_lookup(ctx, k.module, "vecadd", &function, &info, params, 8));
    ck_assert_uint_eq(info.param_count, 4);
    ck_assert_uint_eq(info.param_bytes, 28);
    for (uint32_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(params[i].offset, i * 8);
        ck_assert_uint_eq(params[i].bytes, i < 3 ? 8 : 4);
    }
    ck_assert_uint_ge(info.max_threads, 1024);
    ck_assert_uint_eq(info.ptx_version, 70);
    /* Room for two only: two are written, aux (checked by the call) still counts four. */
    memset(params, 0xcc, sizeof(params));
    fx_ok(gs_func_lookup(ctx, k.module, "vecadd", &function, &info, params, 2));
    ck_assert_uint_eq(params[1].offset, 8);
    ck_assert_uint_eq(params[2].offset, 0xcccccccc);
}
END_TEST

/* VGPU-OUT-002, VGPU-OUT-004: each context reads what its own kernels printed, and what is in the FIFO
 * is gone with the context. */
START_TEST(contexts_read_their_own_output)
{
    struct fx_kernel k[2];
    struct gs_ctx *ctx[3] = {fx.ctx[0]};
    uint32_t value, lost;
    char text[64];
    size_t bytes;

    fx_ok(gs_ctx_create(fx.vm[0], NULL, &ctx[1]));
    for (uint32_t i = 0; i < 2; i++) {
        k[i] = fx_kernel(ctx[i], fx_ptx_say, "say");
        value = 1000 + i;
        fx_ok(gs_launch(ctx[i], k[i].function, 1, 1, &value, sizeof(value)));
    }
    fx_ok(gs_output_read(ctx[0], text, sizeof(text), &bytes, &lost));
    ck_assert_uint_eq(bytes, 5);
    ck_assert_int_eq(memcmp(text, "1000\n", 5), 0);
    ck_assert_uint_eq(lost, 0);
    fx_ok(gs_output_read(ctx[0], text, sizeof(text), &bytes, &lost));
    ck_assert_uint_eq(bytes, 0);
    fx_ok(gs_ctx_destroy(ctx[1]));
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &ctx[2]));
    fx_ok(gs_output_read(ctx[2], text, sizeof(text), &bytes, &lost));
    ck_assert_uint_eq(bytes, 0);
    fx_ok(gs_ctx_destroy(ctx[2]));
}
END_TEST

START_TEST(global_variable_is_found_and_initialised)
{
    struct gs_ctx *ctx = fx.ctx[0];
    struct fx_kernel k = fx_kernel(ctx, fx_ptx_basic, "vecadd");
    struct vgpu_global_info info;
    struct gs_buf buf;

    fx_ok(gs_global_lookup(ctx, k.module, "table", &info));
    ck_assert_uint_eq(info.bytes, 32);
    fx_ok(gs_buf_create(ctx, 32, 0, VGPU_BUF_FLAGS, &buf));
    fx_ok(gs_copy_d2h(ctx, &buf, 0, info.addr, 32));
    for (uint64_t i = 0; i < 4; i++)
        ck_assert_uint_eq(((uint64_t *)(void *)buf.ptr)[i], i + 1);
    fx_is(gs_global_lookup(ctx, k.module, "tables", &info), VGPU_ST_NOT_FOUND);
    fx_ok(gs_buf_destroy(&buf));
}
END_TEST

/* Work queued without waiting: one stream's order holds, and completions carry cookies. */
/* VGPU-CMD-001 */
START_TEST(one_stream_runs_in_order)
{
    struct gs_ctx *ctx = fx.ctx[0];
    uint64_t dev, cookies[64], last = 0;
    struct vgpu_cqe cqe;
    struct gs_buf buf;
    uint32_t stream;

    fx_ok(gs_stream_create(ctx, &stream));
    fx_ok(gs_buf_create(ctx, 4096, 0, VGPU_BUF_FLAGS, &buf));
    fx_ok(gs_mem_alloc(ctx, 4096, &dev));
    for (uint32_t i = 0; i < 64; i++) {
        struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEMSET, .stream = stream};

        sqe.u.memset = (struct vgpu_cmd_memset){dev, 1024, i, 4, {0}};
        fx_is(gs_submit(ctx, &sqe, &cookies[i]), 0);
    }
    gs_flush(ctx);
    for (uint32_t i = 0; i < 64; i++) {
        fx_is(gs_wait_any(ctx, &cqe, GS_TIMEOUT_MS), 0);
        fx_ok(cqe.status);
        ck_assert_uint_eq(cqe.cookie, cookies[i]);
        ck_assert_uint_gt(cqe.cookie, last);
        last = cqe.cookie;
    }
    fx_ok(gs_copy_d2h(ctx, &buf, 0, dev, 4096));
    ck_assert_uint_eq(((uint32_t *)(void *)buf.ptr)[1023], 63);
    fx_ok(gs_stream_destroy(ctx, stream));
    fx_ok(gs_buf_destroy(&buf));
}
END_TEST

/* A kernel that waits in stream A does not hold up stream B, whose event then lets A's
 * successor be ordered after B. */
START_TEST(streams_overlap_and_events_order_them)
{
    struct gs_ctx *ctx = fx.ctx[0];
    struct fx_kernel spin = fx_kernel(ctx, fx_ptx_basic, "spin");
    uint64_t flag, spin_cookie, time_ns;
    struct vgpu_cqe cqe;
    uint32_t a, b, event;
    struct vgpu_sqe sqe;

    fx_ok(gs_stream_create(ctx, &a));
    fx_ok(gs_stream_create(ctx, &b));
    fx_ok(gs_event_create(ctx, &event));
    fx_ok(gs_mem_alloc(ctx, 4096, &flag));
    sqe = gs_launch_sqe(ctx, spin.function, 1, 1, &flag, sizeof(flag));
    sqe.stream = a;
    fx_is(gs_submit(ctx, &sqe, &spin_cookie), 0);
    gs_flush(ctx);
    fx_ok(gs_event(ctx, VGPU_CMD_EVENT_RECORD, b, event, &time_ns));
    fx_ok(gs_event(ctx, VGPU_CMD_EVENT_QUERY, 0, event, NULL));
    /* Let the kernel go, through stream B. */
    sqe = (struct vgpu_sqe){.opcode = VGPU_CMD_MEMSET, .stream = b};
    sqe.u.memset = (struct vgpu_cmd_memset){flag, 1, 1, 4, {0}};
    fx_ok(gs_run(ctx, &sqe, NULL));
    fx_is(gs_wait(ctx, spin_cookie, &cqe), VGPU_ST_OK);
    fx_ok(gs_event(ctx, VGPU_CMD_EVENT_WAIT, a, event, NULL));
    fx_ok(gs_event(ctx, VGPU_CMD_EVENT_DESTROY, 0, event, NULL));
    fx_is(gs_event(ctx, VGPU_CMD_EVENT_QUERY, 0, event, NULL), VGPU_ST_BAD_HANDLE);
    fx_ok(gs_stream_destroy(ctx, a));
    fx_ok(gs_stream_destroy(ctx, b));
}
END_TEST

/* VGPU-STRM-020 */
/* VGPU-STRM-010 */
START_TEST(events_never_recorded_hold_nobody_up)
{
    struct gs_ctx *ctx = fx.ctx[0];
    uint32_t event;

    fx_ok(gs_event_create(ctx, &event));
    fx_ok(gs_event(ctx, VGPU_CMD_EVENT_QUERY, 0, event, NULL));
    fx_ok(gs_event(ctx, VGPU_CMD_EVENT_WAIT, 0, event, NULL));
    fx_vecadd(ctx, 1000, 4);
}
END_TEST

START_TEST(events_take_increasing_times)
{
    struct gs_ctx *ctx = fx.ctx[0];
    uint64_t t0, t1, q;
    uint32_t e0, e1;

    fx_ok(gs_event_create(ctx, &e0));
    fx_ok(gs_event_create(ctx, &e1));
    ck_assert_uint_ne(e0, e1);
    fx_ok(gs_event(ctx, VGPU_CMD_EVENT_RECORD, 0, e0, &t0));
    fx_vecadd(ctx, 10000, 5);
    fx_ok(gs_event(ctx, VGPU_CMD_EVENT_RECORD, 0, e1, &t1));
    ck_assert_uint_gt(t1, t0);
    fx_ok(gs_event(ctx, VGPU_CMD_EVENT_QUERY, 0, e0, &q));
    ck_assert_uint_eq(q, t0);
}
END_TEST

START_TEST(a_fence_completes_after_all_before_it)
{
    struct gs_ctx *ctx = fx.ctx[0];
    struct fx_kernel k = fx_kernel(ctx, fx_ptx_basic, "where");
    uint64_t dev, fence, cookie;
    struct vgpu_cqe cqe;
    uint32_t streams[4];
    struct vgpu_sqe sqe;

    fx_ok(gs_mem_alloc(ctx, 4 << 20, &dev));
    for (int i = 0; i < 4; i++)
        fx_ok(gs_stream_create(ctx, &streams[i]));
    for (uint32_t i = 0; i < 32; i++) {
        sqe = gs_launch_sqe(ctx, k.function, 64, 256, &dev, sizeof(dev));
        sqe.stream = streams[i % 4];
        fx_is(gs_submit(ctx, &sqe, &cookie), 0);
    }
    sqe = (struct vgpu_sqe){.opcode = VGPU_CMD_FENCE};
    fx_is(gs_submit(ctx, &sqe, &fence), 0);
    gs_flush(ctx);
    for (uint32_t i = 0; i < 33; i++) {
        fx_is(gs_wait_any(ctx, &cqe, GS_TIMEOUT_MS), 0);
        fx_ok(cqe.status);
        ck_assert_msg((cqe.cookie == fence) == (i == 32), "the fence completed as number %u", i);
    }
}
END_TEST

START_TEST(device_says_what_it_is)
{
    const uint32_t kind = fx_cuda() ? VGPU_EXEC_CUDA : VGPU_EXEC_CPU;
    struct vgpu_device_props props;
    char name[VGPU_DEVICE_NAME_BYTES];

    fx_ok(gs_admin_query(fx.vm[0], VGPU_QUERY_PROPS, 0, &props, sizeof(props)));
    ck_assert_uint_eq(props.exec_kind, kind);
    ck_assert_uint_eq(gs_reg_read(fx.vm[0], VGPU_REG_EXEC_KIND), kind);
    ck_assert_uint_eq(props.warp_size, 32);
    ck_assert_uint_eq(props.memory_bytes, 256u << 20);
    ck_assert_uint_eq(props.deadline_ms, 2000);
    ck_assert_uint_ge(props.max_threads_per_block, 1024);
    for (uint32_t i = 0; i < sizeof(name); i += 4) {
        uint32_t word = gs_reg_read(fx.vm[0], VGPU_REG_DEVICE_NAME + i);

        memcpy(name + i, &word, 4);
    }
    ck_assert_mem_eq(name, props.name, sizeof(name));
    ck_assert_msg(memchr(name, 0, sizeof(name)) && name[0], "no device name");
}
END_TEST

/* The same program with the doorbell as a message and without shared descriptors. */
START_TEST(doorbells_work_as_messages_too)
{
    struct gs_vm_config config = {.socket = fx.d.sockets[0], .flags = GS_VM_NO_IO_FDS};
    struct gs_ctx_config cfg = {.vector = 3};

    fx_is(gs_vm_open(&config, &fx.vm[0]), 0);
    fx_ok(gs_ctx_create(fx.vm[0], &cfg, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
    ck_assert_uint_gt(fx.ctx[0]->interrupts, 0);
}
END_TEST

START_TEST(messages_of_few_descriptors_are_enough)
{
    struct gs_vm_config config = {.socket = fx.d.sockets[0], .max_msg_fds = 8};

    fx_is(gs_vm_open(&config, &fx.vm[0]), 0);
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
}
END_TEST

static Suite *compute_suite(void)
{
    Suite *s = suite_create("compute");
    TCase *tc = fx_tcase(s, "memory", fx_setup_cpu);

    tcase_add_test(tc, allocation_reads_as_zeroes);
    tcase_add_test(tc, copies_of_any_offset_and_length_are_exact);
    tcase_add_test(tc, overlapping_device_copy_is_memmove);
    tcase_add_test(tc, memset_fills_each_width);
    tcase_add_test(tc, memory_info_counts_what_is_held);
    tc = fx_tcase(s, "kernels", fx_setup_cpu);
    tcase_add_test(tc, vector_add_is_exact);
    tcase_add_test(tc, every_thread_of_the_grid_runs_once);
    tcase_add_test(tc, lookup_answers_the_parameter_layout);
    tcase_add_test(tc, global_variable_is_found_and_initialised);
    tcase_add_test(tc, contexts_read_their_own_output);
    tc = fx_tcase(s, "streams", fx_setup_patient);
    tcase_add_test(tc, one_stream_runs_in_order);
    tcase_add_test(tc, streams_overlap_and_events_order_them);
    tcase_add_test(tc, events_never_recorded_hold_nobody_up);
    tcase_add_test(tc, events_take_increasing_times);
    tcase_add_test(tc, a_fence_completes_after_all_before_it);
    tc = fx_tcase(s, "device", fx_setup_cpu);
    tcase_add_test(tc, device_says_what_it_is);
    tc = fx_tcase(s, "attach", fx_setup_bare);
    tcase_add_test(tc, doorbells_work_as_messages_too);
    tcase_add_test(tc, messages_of_few_descriptors_are_enough);
    return s;
}

VGPU_UNIT_MAIN(compute_suite)
