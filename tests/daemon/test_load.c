/* SPDX-License-Identifier: MIT */
/*
 * Many at once, for long, and while things change underneath: no completion is
 * lost or delivered twice, no interrupt is missed, nothing leaks, and nobody sees
 * another's data.
 */
#include "fixture.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- Indices ---- */

START_TEST(indices_wrap_at_two_to_the_32)
{
    static const struct {
        uint32_t first;
        unsigned int sq, cq;
        uint32_t poll_us;
    } rows[] = {{0xffffff80u, 6, 6, 0},
                {0xffffffffu, 6, 8, 0},
                {0xfffffff0u, 12, 12, 50},
                {0x7fffffc0u, 7, 7, 0},
                {0xffffffc1u, 8, 12, 20}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct gs_ctx_config cfg = {.sq_log2 = rows[i].sq,
                                    .cq_log2 = rows[i].cq,
                                    .first_idx = rows[i].first,
                                    .poll_us = rows[i].poll_us};
        struct gs_ctx *ctx;

        fx_ok(gs_ctx_create(fx.vm[0], &cfg, &ctx));
        fx_pump(ctx, 10000);
        fx_ok(gs_ctx_destroy(ctx));
    }
}
END_TEST

START_TEST(admin_indices_wrap_too)
{
    struct gs_vm_config config = {.socket = fx.d.sockets[0], .admin_first_idx = 0xffffffe0u};

    fx_is(gs_vm_open(&config, &fx.vm[0]), 0);
    for (int i = 0; i < 200; i++) {
        struct vgpu_device_props props;

        fx_ok(gs_admin_query(fx.vm[0], VGPU_QUERY_PROPS, 0, &props, sizeof(props)));
    }
    ck_assert_uint_lt(fx.vm[0]->admin.sq_prod, 1000);
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
}
END_TEST

/* ---- Changes under load ---- */

struct swapper {
    struct gs_vm *vm;
    unsigned int vector;
    atomic_bool stop;
    unsigned int swaps;
    int rc;
};

static void *swap_loop(void *arg)
{
    struct swapper *s = arg;

    while (!atomic_load(&s->stop) && !s->rc) {
        s->rc = gs_irq_swap(s->vm, s->vector);
        s->swaps++;
    }
    return NULL;
}

/* Every completion is slept for, so a lost interrupt shows as -ENOMSG. */
/* VGPU-BUS-005 */
START_TEST(eventfd_swap_under_load_loses_no_interrupt)
{
    struct swapper s = {.vm = fx.vm[0], .vector = fx.ctx[0]->vector};
    uint32_t rounds = VGPUD_CYCLES(1000, 400);
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, swap_loop, &s), 0);
    for (uint32_t i = 0; i < rounds; i++)
        fx_ok(gs_nop(fx.ctx[0]));
    fx_pump(fx.ctx[0], rounds);
    atomic_store(&s.stop, true);
    pthread_join(thread, NULL);
    fx_is(s.rc, 0);
    ck_assert_uint_gt(s.swaps, 50);
    ck_assert_uint_gt(fx.ctx[0]->interrupts, 50);
}
END_TEST

#define EXTRA_DMA   0x900000000ull
#define EXTRA_BYTES (1u << 20)

struct mover {
    struct gs_ctx *ctx;
    uint64_t dev;
    uint32_t buf;
    atomic_bool stop;
    uint32_t copied, refused;
    int rc;
};

static void *copy_loop(void *arg)
{
    struct mover *m = arg;

    while (!atomic_load(&m->stop)) {
        struct vgpu_sqe sqe = {.opcode = VGPU_CMD_COPY_D2H};

        sqe.u.copy = (struct vgpu_cmd_copy){m->dev, 0, EXTRA_BYTES, m->buf, {0}};
        m->rc = gs_run(m->ctx, &sqe, NULL);
        if (m->rc == VGPU_ST_OK)
            m->copied++;
        else if (m->rc == VGPU_ST_BAD_BUFFER)
            m->refused++;
        else
            break;
    }
    return NULL;
}

/* Until a copy has been there. */
static void wait_for_byte(const uint8_t *byte, uint8_t want)
{
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);

    while (__atomic_load_n(byte, __ATOMIC_ACQUIRE) != want) {
        ck_assert_msg(gs_now_ns() < deadline, "no copy arrived");
        poll(NULL, 0, 1);
    }
}

/* A range registered as a buffer is unmapped while copies into it run and another context
 * pumps: the buffer is revoked, its memory is not written once the unmap was answered,
 * and no other completion goes astray. */
/* VGPU-ADM-051 */
START_TEST(dma_unmap_under_load_revokes_the_buffer_alone)
{
    struct gs_vm *vm = fx.vm[0];
    struct gs_ctx *copier;
    struct mover m = {.buf = 9};
    int fd = memfd_create("extra", MFD_CLOEXEC);
    uint8_t *extra;
    pthread_t thread;

    ck_assert_int_eq(ftruncate(fd, EXTRA_BYTES), 0);
    extra = mmap(NULL, EXTRA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(extra, MAP_FAILED);
    fx_ok(gs_ctx_create(vm, NULL, &copier));
    m.ctx = copier;
    fx_ok(gs_mem_alloc(copier, EXTRA_BYTES, &m.dev));
    fx_ok(gs_memset(copier, m.dev, 0x77, 1, EXTRA_BYTES));
    for (int round = 0; round < VGPUD_CYCLES(30, 8); round++) {
        struct vgpu_sg_entry sg = {EXTRA_DMA, EXTRA_BYTES};
        int rc;

        fx_is(gs_vfu_dma_map(&vm->vfu, EXTRA_DMA, EXTRA_BYTES, fd, 0, 3), 0);
        fx_ok(gs_buf_register_raw(vm, copier->id, 9, VGPU_BUF_FLAGS, &sg, 1, EXTRA_BYTES));
        memset(extra, 0x11, EXTRA_BYTES);
        atomic_store(&m.stop, false);
        m.copied = m.refused = 0;
        m.rc = 0;
        ck_assert_int_eq(pthread_create(&thread, NULL, copy_loop, &m), 0);
        fx_pump(fx.ctx[0], 300 + 17 * (uint32_t)round);
        wait_for_byte(&extra[EXTRA_BYTES - 1], 0x77);
        fx_is(gs_vfu_dma_unmap(&vm->vfu, EXTRA_DMA, EXTRA_BYTES), 0);
        memset(extra, 0x22, EXTRA_BYTES);
        fx_pump(fx.ctx[0], 300);
        atomic_store(&m.stop, true);
        pthread_join(thread, NULL);
        ck_assert_msg(m.rc == 0 || m.rc == VGPU_ST_BAD_BUFFER, "round %d: %s", round,
                      fx_status_name(m.rc));
        ck_assert_msg(fx_first_other(extra, EXTRA_BYTES, 0x22) == EXTRA_BYTES,
                      "round %d: memory was written after the unmap was answered", round);
        rc = gs_buf_unregister_raw(vm, copier->id, 9);
        ck_assert_msg(rc == 0, "round %d: unregister: %s", round, fx_status_name(rc));
    }
    fx_works(copier);
    fx_ok(gs_ctx_destroy(copier));
    munmap(extra, EXTRA_BYTES);
    close(fd);
}
END_TEST

/* A program lets go of a buffer that its own copies are using: those end well or are refused, and once
 * that was answered the memory is the program's alone. */
START_TEST(unregistering_under_load_waits_for_the_copies)
{
    struct gs_vm *vm = fx.vm[0];
    struct mover m = {.ctx = fx.ctx[0]};
    struct gs_ctx *other;
    pthread_t thread;

    fx_ok(gs_ctx_create(vm, NULL, &other));
    fx_ok(gs_mem_alloc(m.ctx, EXTRA_BYTES, &m.dev));
    fx_ok(gs_memset(m.ctx, m.dev, 0x77, 1, EXTRA_BYTES));
    for (int round = 0; round < VGPUD_CYCLES(30, 8); round++) {
        struct gs_buf buf;

        fx_ok(gs_buf_create(m.ctx, EXTRA_BYTES, 0, VGPU_BUF_FLAGS, &buf));
        memset(buf.ptr, 0x11, EXTRA_BYTES);
        m.buf = buf.id;
        atomic_store(&m.stop, false);
        m.copied = m.refused = 0;
        m.rc = 0;
        ck_assert_int_eq(pthread_create(&thread, NULL, copy_loop, &m), 0);
        wait_for_byte(&buf.ptr[EXTRA_BYTES - 1], 0x77);
        fx_ok(gs_buf_unregister_raw(vm, m.ctx->id, buf.id));
        memset(buf.ptr, 0x22, EXTRA_BYTES);
        fx_works(other);
        atomic_store(&m.stop, true);
        pthread_join(thread, NULL);
        ck_assert_msg(m.rc == 0 || m.rc == VGPU_ST_BAD_BUFFER, "round %d: %s", round,
                      fx_status_name(m.rc));
        ck_assert_msg(fx_first_other(buf.ptr, EXTRA_BYTES, 0x22) == EXTRA_BYTES,
                      "round %d: memory was written after the answer", round);
        gs_buf_forget(&buf);
    }
    fx_works(m.ctx);
}
END_TEST

/* ---- Many ---- */

struct worker {
    struct gs_ctx *ctx;
    uint32_t seed;
    uint32_t rounds;
};

static void *work_loop(void *arg)
{
    struct worker *w = arg;

    for (uint32_t i = 0; i < w->rounds; i++)
        fx_vecadd(w->ctx, 2000 + 37 * i, w->seed + i);
    return NULL;
}

START_TEST(two_vms_compute_side_by_side)
{
    struct worker w[2];
    pthread_t threads[2];

    for (uint32_t i = 0; i < 2; i++) {
        w[i] = (struct worker){fx.ctx[i], i * 1000000, VGPUD_CYCLES(60, 10)};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work_loop, &w[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}
END_TEST

/* Freed device memory of one VM reads as zeroes in the other. */
/* VGPU-MEM-004 VGPU-SEC-002 */
START_TEST(memory_never_shows_another_vms_data)
{
    struct gs_buf buf;
    uint64_t dev;

    fx_ok(gs_mem_alloc(fx.ctx[0], 64 << 20, &dev));
    fx_ok(gs_memset(fx.ctx[0], dev, 0xabcdef01, 4, 16 << 20));
    fx_ok(gs_mem_free(fx.ctx[0], dev));
    fx_ok(gs_buf_create(fx.ctx[1], 8 << 20, 0, VGPU_BUF_FLAGS, &buf));
    fx_ok(gs_mem_alloc(fx.ctx[1], 64 << 20, &dev));
    for (uint64_t off = 0; off < 64 << 20; off += 8 << 20) {
        fx_ok(gs_copy_d2h(fx.ctx[1], &buf, 0, dev + off, 8 << 20));
        ck_assert_uint_eq(fx_first_other(buf.ptr, 8 << 20, 0), 8 << 20);
    }
    fx_ok(gs_buf_destroy(&buf));
}
END_TEST

#define MANY 64

/* More contexts than vectors: interrupts are shared, completions are not. */
START_TEST(sixty_four_contexts_work_at_once)
{
    struct gs_ctx *ctxs[MANY];
    struct fx_account account;

    for (int i = 1; i < MANY; i++)
        fx_ok(gs_ctx_create(fx.vm[0], NULL, &ctxs[i]));
    ctxs[0] = fx.ctx[0];
    fx_account(0, &account);
    ck_assert_uint_eq(account.contexts, MANY);
    ck_assert_uint_eq(account.executors, MANY);
    for (int round = 0; round < VGPUD_CYCLES(20, 4); round++) {
        struct vgpu_sqe nop = {.opcode = VGPU_CMD_NOP};
        uint64_t cookies[MANY];

        for (int i = 0; i < MANY; i++) {
            fx_is(gs_submit(ctxs[i], &nop, &cookies[i]), 0);
            gs_flush(ctxs[i]);
        }
        for (int i = MANY - 1; i >= 0; i--)
            fx_ok(gs_wait(ctxs[i], cookies[i], NULL));
    }
    for (int i = 0; i < MANY; i += 7)
        fx_vecadd(ctxs[i], 500, (uint32_t)i);
    for (int i = 1; i < MANY; i++)
        fx_ok(gs_ctx_destroy(ctxs[i]));
}
END_TEST

START_TEST(a_thousand_contexts_come_and_go)
{
    struct fx_account account;
    size_t fds = 0;
    uint64_t rss = 0, held;

    fx_account(0, &account);
    held = account.memory_held; /* what the fixture's own context takes for itself */
    for (uint32_t i = 0; i < VGPUD_CYCLES(1000, 100); i++) {
        struct gs_buf buf;
        struct gs_ctx *ctx;
        uint64_t dev;

        if (i == 20) { /* caches are warm */
            fx_account(0, &account);
            fds = proc_fd_count(account.vm_pid);
            rss = proc_rss_bytes(account.vm_pid);
        }
        fx_ok(gs_ctx_create(fx.vm[0], NULL, &ctx));
        fx_ok(gs_buf_create(ctx, 40000, 100, VGPU_BUF_FLAGS | GS_BUF_SCATTER, &buf));
        fx_ok(gs_mem_alloc(ctx, 1 << 20, &dev));
        fx_ok(gs_copy_h2d(ctx, dev, &buf, 0, 40000));
        /* Half of them leave it to the context's end to free what they hold. */
        if (i % 2)
            fx_ok(gs_buf_destroy(&buf));
        fx_ok(gs_ctx_destroy(ctx));
        if (!(i % 2))
            gs_buf_forget(&buf);
    }
    fx_account(0, &account);
    ck_assert_uint_eq(account.contexts, 1);
    ck_assert_uint_eq(account.executors, 1);
    ck_assert_uint_eq(account.buffers, 0);
    ck_assert_uint_eq(account.memory_held, held);
    ck_assert_msg(proc_fd_count(account.vm_pid) <= fds, "%zu descriptors became %zu", fds,
                  proc_fd_count(account.vm_pid));
    if (!VGPUD_SANITIZED)
        ck_assert_msg(proc_rss_bytes(account.vm_pid) <= rss + (1u << 20), "%llu bytes became %llu",
                      (unsigned long long)rss, (unsigned long long)proc_rss_bytes(account.vm_pid));
}
END_TEST

START_TEST(guests_come_and_go)
{
    size_t fds = 0;

    for (int i = 0; i < VGPUD_CYCLES(60, 12); i++) {
        if (i == 3)
            fds = proc_fd_count(fx.d.pid);
        fx_attach(0);
        fx_ok(gs_nop(fx.ctx[0]));
        fx_drop(0);
        fx_wait_clean(0);
    }
    ck_assert_msg(proc_fd_count(fx.d.pid) <= fds, "%zu descriptors became %zu", fds,
                  proc_fd_count(fx.d.pid));
}
END_TEST

/* A guest that rings without having submitted, and one that floods errors: neither log nor
 * memory grows with it. */
/* VGPU-STAT-001 */
START_TEST(flood_of_errors_is_bounded)
{
    struct vgpu_sqe bad = {.opcode = 0x7777};
    struct fx_account account;
    char *log;
    size_t length;

    fx_account(0, &account);
    for (uint32_t i = 0; i < VGPUD_CYCLES(20000, 3000); i++) {
        fx_is(gs_run(fx.ctx[0], &bad, NULL), VGPU_ST_BAD_OPCODE);
        gs_vm_ring(fx.vm[0], fx.ctx[0]->id);
        gs_reg_write(fx.vm[0], 0x1fc, i);
    }
    log = vgpud_log(&fx.d);
    length = log ? strlen(log) : 0;
    free(log);
    ck_assert_msg(length < 128 << 10, "the log has grown to %zu bytes", length);
    fx_works(fx.ctx[0]);
}
END_TEST

/* ---- Idle ---- */

static uint64_t tree_ticks(void)
{
    pid_t tree[64];
    size_t n = proc_tree(fx.d.pid, tree, 64);
    uint64_t ticks = proc_cpu_ticks(fx.d.pid);

    for (size_t i = 0; i < n; i++)
        ticks += proc_cpu_ticks(tree[i]);
    return ticks;
}

START_TEST(idle_guests_cost_no_processor_time)
{
    struct gs_ctx *more[4];
    uint64_t before, used;

    for (int i = 0; i < 4; i++) {
        fx_ok(gs_ctx_create(fx.vm[i % 2], NULL, &more[i]));
        fx_works(more[i]);
    }
    poll(NULL, 0, 200); /* adaptive polling has ended */
    before = tree_ticks();
    poll(NULL, 0, 2000);
    used = tree_ticks() - before;
    /* 2 s are 200 ticks; heartbeats and watchdogs of two VMs and six contexts may take a few. */
    ck_assert_msg(used <= 6, "%llu ticks in two idle seconds", (unsigned long long)used);
}
END_TEST

static Suite *load_suite(void)
{
    Suite *s = suite_create("load");
    TCase *tc = fx_tcase(s, "indices", fx_setup_null);

    tcase_add_test(tc, indices_wrap_at_two_to_the_32);
    tc = fx_tcase(s, "admin indices", fx_setup_bare);
    tcase_add_test(tc, admin_indices_wrap_too);
    tc = fx_tcase(s, "changes", fx_setup_cpu);
    tcase_add_test(tc, eventfd_swap_under_load_loses_no_interrupt);
    tcase_add_test(tc, dma_unmap_under_load_revokes_the_buffer_alone);
    tcase_add_test(tc, unregistering_under_load_waits_for_the_copies);
    tc = fx_tcase(s, "isolation", fx_setup_two);
    tcase_add_test(tc, two_vms_compute_side_by_side);
    tcase_add_test(tc, memory_never_shows_another_vms_data);
    tc = fx_tcase(s, "many", fx_setup_cpu);
    tcase_add_test(tc, sixty_four_contexts_work_at_once);
    tcase_add_test(tc, a_thousand_contexts_come_and_go);
    tcase_add_test(tc, flood_of_errors_is_bounded);
    tc = fx_tcase(s, "guests", fx_setup_bare);
    tcase_add_test(tc, guests_come_and_go);
    tc = fx_tcase(s, "idle", fx_setup_two);
    tcase_add_test(tc, idle_guests_cost_no_processor_time);
    return s;
}

VGPU_UNIT_MAIN(load_suite)
