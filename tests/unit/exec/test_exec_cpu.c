// SPDX-License-Identifier: MIT
/*
 * The cpu executor through a real exec process: real PTX, from the ring to the result in the
 * guest's memory, and what is refused on the way.
 */
#include "cpu_guest.h"
#include "suites.h"

#include <string.h>

/* ---- Computing ---- */

static void vecadd(struct fake_vm *vm, uint32_t function, uint32_t n)
{
    size_t bytes = n * sizeof(float);
    float *a = (void *)fake_vm_buf(vm, 1, VGPU_BUF_DEVICE_READS, 256, bytes);
    float *b = (void *)fake_vm_buf(vm, 2, VGPU_BUF_DEVICE_READS, 0, bytes);
    float *c = (void *)fake_vm_buf(vm, 3, VGPU_BUF_DEVICE_WRITES, 64, bytes);
    struct {
        uint64_t a, b, c;
        uint32_t n;
    } params = {cg_alloc(vm, bytes), cg_alloc(vm, bytes), cg_alloc(vm, bytes), n};
    struct vgpu_xmsg drop = {.type = VGPU_X_BUF_DROP};

    for (uint32_t i = 0; i < n; i++) {
        a[i] = (float)i;
        b[i] = (float)(n - i) * 0.5f;
    }
    (void)cg_ok(vm, cg_copy(VGPU_CMD_COPY_H2D, 0, 1, params.a, 1, 0, bytes));
    (void)cg_ok(vm, cg_copy(VGPU_CMD_COPY_H2D, 0, 1, params.b, 2, 0, bytes));
    (void)cg_ok(vm, cg_launch(vm, 0, 1, function, (n + 127) / 128, 128, &params, 28));
    (void)cg_ok(vm, cg_copy(VGPU_CMD_COPY_D2H, 0, 1, params.c, 3, 0, bytes));
    for (uint32_t i = 0; i < n; i++)
        ck_assert_msg(c[i] == a[i] + b[i], "element %u", i);
    cg_free(vm, params.a);
    cg_free(vm, params.b);
    cg_free(vm, params.c);
    for (drop.u.buf.id = 1; drop.u.buf.id <= 3; drop.u.buf.id++)
        ck_assert_uint_eq(fake_vm_reply(vm, fake_vm_send(vm, &drop, NULL, -1)), VGPU_ST_OK);
}

START_TEST(vecadd_computes_every_element)
{
    const struct fake_vm_config cfg = {.first_idx = UINT32_MAX - 5, .poll_us = 100};
    struct fake_vm vm;
    uint32_t module;
    struct vgpu_sqe sqe;

    cg_start(&vm, &cfg);
    module = cg_load(&vm, vecadd_ptx);
    vecadd(&vm, cg_lookup(&vm, module, "vecadd"), 1);
    vecadd(&vm, cg_lookup(&vm, module, "vecadd"), 1000);
    vecadd(&vm, cg_lookup(&vm, module, "vecadd"), 300000);
    sqe = sqe_make(VGPU_CMD_MODULE_UNLOAD, 0, 1);
    sqe.u.module_unload.module = module;
    (void)cg_ok(&vm, sqe);
    ck_assert_uint_eq(fake_vm_quota(&vm), 0);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(lookup_tells_layout_and_limits)
{
    struct fake_vm vm;
    struct vgpu_func_info info;
    struct vgpu_param_info params[4];
    struct vgpu_global_info global;
    struct vgpu_sqe sqe;
    uint32_t module, f, value;

    cg_start(&vm, NULL);
    module = cg_load(&vm, vecadd_ptx);
    f = cg_lookup(&vm, module, "vecadd");
    memcpy(&info, vm.arena + INFO_OFF, sizeof(info));
    memcpy(params, vm.arena + INFO_OFF + sizeof(info), sizeof(params));
    ck_assert_uint_eq(info.param_count, 4);
    ck_assert_uint_eq(info.param_bytes, 28);
    ck_assert_uint_eq(params[2].offset, 16);
    ck_assert_uint_eq(params[2].bytes, 8);
    ck_assert_uint_eq(params[3].offset, 24);
    ck_assert_uint_eq(params[3].bytes, 4);
    ck_assert_uint_eq(info.max_threads, 1024);
    ck_assert_uint_eq(info.ptx_version, 70);
    ck_assert_uint_eq(cg_lookup(&vm, module, "vecadd"), f);

    cg_refused(&vm, cg_lookup_sqe(&vm, VGPU_CMD_FUNC_LOOKUP, module, "nothing", 64),
               VGPU_ST_NOT_FOUND);
    cg_refused(&vm, cg_lookup_sqe(&vm, VGPU_CMD_FUNC_LOOKUP, module + 1, "vecadd", 64),
               VGPU_ST_BAD_HANDLE);

    (void)cg_ok(&vm, cg_lookup_sqe(&vm, VGPU_CMD_GLOBAL_LOOKUP, module, "counter", 16));
    memcpy(&global, vm.arena + INFO_OFF, sizeof(global));
    ck_assert_uint_eq(global.bytes, 4);
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_D2H, 0, 1, global.addr, 0, 0, 4));
    memcpy(&value, vm.arena, 4);
    ck_assert_uint_eq(value, 41);

    /* A function goes with its module. */
    sqe = sqe_make(VGPU_CMD_MODULE_UNLOAD, 0, 1);
    sqe.u.module_unload.module = module;
    (void)cg_ok(&vm, sqe);
    cg_refused(&vm, cg_launch(&vm, 0, 1, f, 1, 1, vm.arena, 28), VGPU_ST_BAD_HANDLE);
    cg_refused(&vm, sqe, VGPU_ST_BAD_HANDLE);
    fake_vm_stop(&vm);
}
END_TEST

/* ---- Memory ---- */

/* Below and above what is done inline. */
static const uint64_t copy_sizes[] = {1, 4096, 256 << 10, (256 << 10) + 1, 3 << 20};

START_TEST(copies_move_bytes_and_nothing_else)
{
    struct fake_vm vm;
    uint64_t bytes = copy_sizes[_i], addr;
    uint8_t *in, *out;

    cg_start(&vm, NULL);
    in = fake_vm_buf(&vm, 1, VGPU_BUF_DEVICE_READS, 1, bytes);
    out = fake_vm_buf(&vm, 2, VGPU_BUF_DEVICE_WRITES, 3, bytes + 2);
    for (uint64_t i = 0; i < bytes; i++)
        in[i] = (uint8_t)(i * 31 + i / 251);
    memset(out, 0xee, bytes + 2);
    addr = cg_alloc(&vm, bytes + 10);
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_H2D, 0, 1, addr + 7, 1, 0, bytes));
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_D2H, 0, 1, addr + 7, 2, 1, bytes));
    ck_assert_uint_eq(out[0], 0xee);
    ck_assert_int_eq(memcmp(out + 1, in, bytes), 0);
    ck_assert_uint_eq(out[bytes + 1], 0xee);
    /* The byte before is as allocated: zero. */
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_D2H, 0, 1, addr + 6, 2, 0, 2));
    ck_assert_uint_eq(out[0], 0);
    ck_assert_uint_eq(out[1], in[0]);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(device_copies_may_overlap_and_memset_fills)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEMSET, 0, 1);
    uint64_t addr;
    uint16_t words[8];

    cg_start(&vm, NULL);
    addr = cg_alloc(&vm, 4096);
    sqe.u.memset =
        (struct vgpu_cmd_memset){.dev_addr = addr, .count = 8, .value = 0xbeef, .width = 2};
    (void)cg_ok(&vm, sqe);
    sqe.u.memset =
        (struct vgpu_cmd_memset){.dev_addr = addr + 2, .count = 1, .value = 7, .width = 1};
    (void)cg_ok(&vm, sqe);
    sqe = sqe_make(VGPU_CMD_COPY_D2D, 0, 1);
    sqe.u.copy_d2d = (struct vgpu_cmd_copy_d2d){.dst = addr + 2, .src = addr, .bytes = 8};
    (void)cg_ok(&vm, sqe);
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_D2H, 0, 1, addr, 0, 0, 16));
    memcpy(words, vm.arena, 16);
    ck_assert_uint_eq(words[0], 0xbeef);
    ck_assert_uint_eq(words[1], 0xbeef);
    ck_assert_uint_eq(words[2], 0xbe07);
    ck_assert_uint_eq(words[7], 0xbeef);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(ranges_outside_allocations_are_refused_and_cost_nothing)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    uint64_t addr;

    cg_start(&vm, NULL);
    addr = cg_alloc(&vm, 4096);
    cg_refused(&vm, cg_copy(VGPU_CMD_COPY_H2D, 0, 1, addr + 1, 0, 0, 4096), VGPU_ST_BAD_ADDRESS);
    cg_refused(&vm, cg_copy(VGPU_CMD_COPY_D2H, 0, 1, addr - 1, 0, 0, 1), VGPU_ST_BAD_ADDRESS);
    cg_refused(&vm, cg_copy(VGPU_CMD_COPY_D2H, 0, 1, 0, 0, 0, 8), VGPU_ST_BAD_ADDRESS);
    (void)cg_ok(&vm, cg_copy(VGPU_CMD_COPY_D2H, 0, 1, 0, 0, 0, 0));
    sqe = sqe_make(VGPU_CMD_MEMSET, 0, 1);
    sqe.u.memset = (struct vgpu_cmd_memset){.dev_addr = addr, .count = 4097, .width = 1};
    cg_refused(&vm, sqe, VGPU_ST_BAD_ADDRESS);
    sqe = sqe_make(VGPU_CMD_COPY_D2D, 0, 1);
    sqe.u.copy_d2d = (struct vgpu_cmd_copy_d2d){.dst = addr, .src = addr + 4000, .bytes = 97};
    cg_refused(&vm, sqe, VGPU_ST_BAD_ADDRESS);
    sqe = sqe_make(VGPU_CMD_MEM_FREE, 0, 1);
    sqe.u.mem_free.addr = addr + 256;
    cg_refused(&vm, sqe, VGPU_ST_BAD_ADDRESS);
    cg_free(&vm, addr);
    sqe.u.mem_free.addr = addr;
    cg_refused(&vm, sqe, VGPU_ST_BAD_ADDRESS);
    cg_refused(&vm, cg_copy(VGPU_CMD_COPY_D2H, 0, 1, addr, 0, 0, 8), VGPU_ST_BAD_ADDRESS);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(quota_refuses_and_counts_module_memory)
{
    /* CUDA takes memory in pages of 2 MiB, which modules share with small allocations. */
    const uint64_t limit = CG_IS_CUDA ? 2 << 20 : 1 << 20;
    const struct fake_vm_config cfg = {.memory_limit = limit};
    struct fake_vm vm;
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEM_ALLOC, 0, 1);
    uint64_t addr;

    cg_start(&vm, &cfg);
    sqe.u.mem_alloc.bytes = limit + 1;
    cg_refused(&vm, sqe, VGPU_ST_OUT_OF_MEMORY);
    ck_assert_uint_eq(fake_vm_quota(&vm), 0);
    addr = cg_alloc(&vm, limit);
    ck_assert_uint_eq(fake_vm_quota(&vm), limit);
    cg_refused(&vm, cg_load_sqe(&vm, vecadd_ptx), VGPU_ST_OUT_OF_MEMORY);
    ck_assert_uint_eq(fake_vm_quota(&vm), limit);
    cg_free(&vm, addr);
    ck_assert_uint_eq(fake_vm_quota(&vm), 0);
    (void)cg_load(&vm, vecadd_ptx);
    ck_assert_uint_gt(fake_vm_quota(&vm), 0);

    /* The VM's other contexts hold all of it. */
    vm.quota_refuse = true;
    sqe.u.mem_alloc.bytes = CG_IS_CUDA ? limit : 1;
    cg_refused(&vm, sqe, VGPU_ST_OUT_OF_MEMORY);
    fake_vm_stop(&vm);
}
END_TEST

/* ---- Modules and launches that are refused ---- */

START_TEST(bad_modules_are_refused_with_a_log)
{
    static const struct {
        const char *ptx;
        uint16_t status;
        const char *log;
    } bad[] = {
        {PTX_HEADER ".visible .entry k() {\n  add.u32 %r1, %r2\n}\n", VGPU_ST_BAD_PTX, "5"},
        {".version 99.0\n.target sm_80\n.address_size 64\n", VGPU_ST_UNSUPPORTED_PTX, "99"},
        {PTX_HEADER
         ".visible .entry k() {\n  .reg .b32 %r;\n  wgmma.fence.sync.aligned;\n  ret;\n}\n",
         /* CUDA's loader tells no difference between wrong and unsupported instructions. */
         CG_IS_CUDA ? VGPU_ST_BAD_PTX : VGPU_ST_UNSUPPORTED_PTX, "wgmma"},
    };
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    struct vgpu_cqe cqe;

    cg_start(&vm, NULL);
    sqe = cg_load_sqe(&vm, bad[_i].ptx);
    cqe = fake_vm_run(&vm, &sqe);
    ck_assert_msg(cqe.status == bad[_i].status, "0x%x: %s", cqe.status, vm.arena + LOG_OFF);
    ck_assert_uint_eq(cqe.result, 0);
    ck_assert_uint_eq(cqe.aux, strlen((char *)vm.arena + LOG_OFF));
    ck_assert_msg(strstr((char *)vm.arena + LOG_OFF, bad[_i].log), "log: %s", vm.arena + LOG_OFF);
    (void)cg_load(&vm, vecadd_ptx);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(launches_over_the_limits_are_refused)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    uint8_t params[64] = {0};
    uint32_t f;

    cg_start(&vm, NULL);
    f = cg_lookup(&vm, cg_load(&vm, vecadd_ptx), "vecadd");
    cg_refused(&vm, cg_launch(&vm, 0, 1, f, 1, 1, params, 24), VGPU_ST_BAD_PARAMS);
    cg_refused(&vm, cg_launch(&vm, 0, 1, f, 1, 1, params, 32), VGPU_ST_BAD_PARAMS);
    cg_refused(&vm, cg_launch(&vm, 0, 1, f + 1, 1, 1, params, 28), VGPU_ST_BAD_HANDLE);
    cg_refused(&vm, cg_launch(&vm, 0, 1, f, 1, 1025, params, 28), VGPU_ST_LAUNCH_RESOURCES);
    cg_refused(&vm, cg_launch(&vm, 0, 1, f, 0x80000000u, 1, params, 28), VGPU_ST_LAUNCH_RESOURCES);
    sqe = cg_launch(&vm, 0, 1, f, 1, 32, params, 28);
    sqe.u.launch.grid[1] = 65536;
    cg_refused(&vm, sqe, VGPU_ST_LAUNCH_RESOURCES);
    sqe = cg_launch(&vm, 0, 1, f, 1, 32, params, 28);
    sqe.u.launch.block[1] = 33;
    cg_refused(&vm, sqe, VGPU_ST_LAUNCH_RESOURCES);
    sqe = cg_launch(&vm, 0, 1, f, 1, 1, params, 28);
    sqe.u.launch.block[2] = 65;
    cg_refused(&vm, sqe, VGPU_ST_LAUNCH_RESOURCES);
    sqe = cg_launch(&vm, 0, 1, f, 1, 1, params, 28);
    sqe.u.launch.shared_bytes = 228 * 1024;
    cg_refused(&vm, sqe, VGPU_ST_LAUNCH_RESOURCES);
    (void)cg_ok(&vm, cg_launch(&vm, 0, 1, f, 1, 1, params, 28)); /* n is 0: does nothing */
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(statistics_count_kernels_and_bytes)
{
    struct fake_vm vm;
    struct vgpu_xmsg irq = {.type = VGPU_X_IRQ};

    cg_start(&vm, NULL);
    vecadd(&vm, cg_lookup(&vm, cg_load(&vm, vecadd_ptx), "vecadd"), 1000);
    ck_assert_uint_eq(fake_vm_reply(&vm, fake_vm_send(&vm, &irq, NULL, -1)), VGPU_ST_OK);
    ck_assert_uint_eq(fake_vm_reply(&vm, fake_vm_send(&vm, &irq, NULL, -1)), VGPU_ST_OK);
    ck_assert_uint_eq(__atomic_load_n(&vm.stats->kernels, __ATOMIC_RELAXED), 1);
    ck_assert_uint_gt(__atomic_load_n(&vm.stats->kernel_ns, __ATOMIC_RELAXED), 0);
    ck_assert_uint_eq(__atomic_load_n(&vm.stats->bytes_h2d, __ATOMIC_RELAXED), 8000);
    ck_assert_uint_eq(__atomic_load_n(&vm.stats->bytes_d2h, __ATOMIC_RELAXED), 4000);
    ck_assert_uint_eq(__atomic_load_n(&vm.stats->modules, __ATOMIC_RELAXED), 1);
    ck_assert_uint_eq(__atomic_load_n(&vm.stats->mem_held, __ATOMIC_RELAXED), fake_vm_quota(&vm));
    fake_vm_stop(&vm);
}
END_TEST

Suite *exec_cpu_suite(void)
{
    Suite *s = suite_create("exec cpu");
    TCase *tc = tcase_create("exec cpu");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, vecadd_computes_every_element);
    tcase_add_test(tc, lookup_tells_layout_and_limits);
    tcase_add_loop_test(tc, copies_move_bytes_and_nothing_else, 0, 5);
    tcase_add_test(tc, device_copies_may_overlap_and_memset_fills);
    tcase_add_test(tc, ranges_outside_allocations_are_refused_and_cost_nothing);
    tcase_add_test(tc, quota_refuses_and_counts_module_memory);
    tcase_add_loop_test(tc, bad_modules_are_refused_with_a_log, 0, 3);
    tcase_add_test(tc, launches_over_the_limits_are_refused);
    tcase_add_test(tc, statistics_count_kernels_and_bytes);
    suite_add_tcase(s, tc);
    return s;
}
