// SPDX-License-Identifier: MIT
/*
 * The cpu executor through a real exec process: real PTX, from the ring to the result in the
 * guest's memory.  A kernel that spins on a word of device memory until another stream's copy
 * sets it makes "while a kernel runs" a fact and not a matter of timing.
 */
#include "fake_vm.h"
#include "suites.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define BOTH      VGPU_BUF_FLAGS
#define IMAGE_OFF 16384u /* in the arena */
#define LOG_OFF   32768u
#define LOG_BYTES 4096u
#define INFO_OFF  8192u
#define HEADER    ".version 7.0\n.target sm_80\n.address_size 64\n"

static const char vecadd_ptx[] =
    HEADER ".global .align 4 .u32 counter = 41;\n"
           ".visible .entry vecadd(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n) {\n"
           "  .reg .pred %p; .reg .b32 %r<8>; .reg .b64 %d<8>; .reg .f32 %f<4>;\n"
           "  ld.param.u64 %d0, [a];\n"
           "  ld.param.u64 %d1, [b];\n"
           "  ld.param.u64 %d2, [c];\n"
           "  ld.param.u32 %r0, [n];\n"
           "  mov.u32 %r1, %ctaid.x;\n"
           "  mov.u32 %r2, %ntid.x;\n"
           "  mov.u32 %r3, %tid.x;\n"
           "  mad.lo.s32 %r4, %r1, %r2, %r3;\n"
           "  setp.ge.u32 %p, %r4, %r0;\n"
           "  @%p bra done;\n"
           "  mul.wide.u32 %d3, %r4, 4;\n"
           "  add.s64 %d4, %d0, %d3;\n"
           "  add.s64 %d5, %d1, %d3;\n"
           "  add.s64 %d6, %d2, %d3;\n"
           "  ld.global.f32 %f0, [%d4];\n"
           "  ld.global.f32 %f1, [%d5];\n"
           "  add.f32 %f2, %f0, %f1;\n"
           "  st.global.f32 [%d6], %f2;\n"
           "done:\n"
           "  ret;\n"
           "}\n";

/* Waits until *p is not 0, then adds 1 to it. */
static const char spin_ptx[] = HEADER ".visible .entry spin(.param .u64 p) {\n"
                                      "  .reg .pred %p; .reg .b32 %r<3>; .reg .b64 %d<2>;\n"
                                      "  ld.param.u64 %d0, [p];\n"
                                      "again:\n"
                                      "  ld.volatile.global.u32 %r0, [%d0];\n"
                                      "  setp.eq.u32 %p, %r0, 0;\n"
                                      "  @%p bra again;\n"
                                      "  add.u32 %r1, %r0, 1;\n"
                                      "  st.volatile.global.u32 [%d0], %r1;\n"
                                      "  ret;\n"
                                      "}\n";

/* ---- Helpers: each expects success unless it returns the completion ---- */

static void start_cpu(struct fake_vm *vm, const struct fake_vm_config *extra)
{
    struct fake_vm_config cfg = extra ? *extra : (struct fake_vm_config){0};

    cfg.exec_kind = VGPU_EXEC_CPU;
    cfg.threads = 2;
    ck_assert_uint_eq(fake_vm_start(vm, &cfg), VGPU_ST_OK);
}

static uint64_t ok(struct fake_vm *vm, struct vgpu_sqe sqe)
{
    struct vgpu_cqe cqe = fake_vm_run(vm, &sqe);

    ck_assert_msg(cqe.status == VGPU_ST_OK, "opcode 0x%x: status 0x%x", sqe.opcode, cqe.status);
    return cqe.result;
}

static void refused(struct fake_vm *vm, struct vgpu_sqe sqe, uint16_t status)
{
    struct vgpu_cqe cqe = fake_vm_run(vm, &sqe);

    ck_assert_msg(cqe.status == status, "opcode 0x%x: status 0x%x, not 0x%x", sqe.opcode,
                  cqe.status, status);
}

static uint64_t dev_alloc(struct fake_vm *vm, uint64_t bytes)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEM_ALLOC, 0, 1);

    sqe.u.mem_alloc.bytes = bytes;
    return ok(vm, sqe);
}

static void dev_free(struct fake_vm *vm, uint64_t addr)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEM_FREE, 0, 1);

    sqe.u.mem_free.addr = addr;
    (void)ok(vm, sqe);
}

static struct vgpu_sqe copy(uint16_t opcode, uint32_t stream, uint64_t cookie, uint64_t addr,
                            uint32_t buf, uint64_t off, uint64_t bytes)
{
    struct vgpu_sqe sqe = sqe_make(opcode, stream, cookie);

    sqe.u.copy =
        (struct vgpu_cmd_copy){.dev_addr = addr, .buf = buf, .buf_off = off, .bytes = bytes};
    return sqe;
}

static struct vgpu_sqe load_sqe(struct fake_vm *vm, const char *ptx)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MODULE_LOAD, 0, 1);

    ck_assert_uint_lt(strlen(ptx), LOG_OFF - IMAGE_OFF);
    memcpy(vm->arena + IMAGE_OFF, ptx, strlen(ptx));
    sqe.u.module_load = (struct vgpu_cmd_module_load){.image_off = IMAGE_OFF,
                                                      .image_bytes = strlen(ptx),
                                                      .log_off = LOG_OFF,
                                                      .log_bytes = LOG_BYTES};
    return sqe;
}

static uint32_t load(struct fake_vm *vm, const char *ptx)
{
    struct vgpu_sqe sqe = load_sqe(vm, ptx);
    struct vgpu_cqe cqe = fake_vm_run(vm, &sqe);

    ck_assert_msg(cqe.status == VGPU_ST_OK, "0x%x: %s", cqe.status, vm->arena + LOG_OFF);
    return (uint32_t)cqe.result;
}

static struct vgpu_sqe lookup_sqe(struct fake_vm *vm, uint16_t opcode, uint32_t module,
                                  const char *name, uint32_t out_bytes)
{
    struct vgpu_sqe sqe = sqe_make(opcode, 0, 1);

    strcpy((char *)vm->arena, name);
    sqe.u.lookup = (struct vgpu_cmd_lookup){.module = module,
                                            .name_bytes = (uint32_t)strlen(name),
                                            .out_off = INFO_OFF,
                                            .out_bytes = out_bytes};
    return sqe;
}

static uint32_t lookup(struct fake_vm *vm, uint32_t module, const char *name)
{
    return (uint32_t)ok(vm, lookup_sqe(vm, VGPU_CMD_FUNC_LOOKUP, module, name, 512));
}

static struct vgpu_sqe launch(struct fake_vm *vm, uint32_t stream, uint64_t cookie,
                              uint32_t function, uint32_t grid, uint16_t block, const void *params,
                              uint16_t bytes)
{
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_LAUNCH, stream, cookie);

    memcpy(vm->arena + 1024, params, bytes);
    sqe.u.launch = (struct vgpu_cmd_launch){.function = function,
                                            .grid = {grid, 1, 1},
                                            .block = {block, 1, 1},
                                            .param_off = 1024,
                                            .param_bytes = bytes};
    return sqe;
}

static uint32_t stream_create(struct fake_vm *vm)
{
    return (uint32_t)ok(vm, sqe_make(VGPU_CMD_STREAM_CREATE, 0, 1));
}

static uint32_t event_create(struct fake_vm *vm)
{
    return (uint32_t)ok(vm, sqe_make(VGPU_CMD_EVENT_CREATE, 0, 1));
}

static struct vgpu_sqe event_sqe(uint16_t opcode, uint32_t stream, uint64_t cookie, uint32_t event)
{
    struct vgpu_sqe sqe = sqe_make(opcode, stream, cookie);

    sqe.u.event.id = event;
    return sqe;
}

/* A kernel that runs on `stream` until release(); its completion has cookie 1000. */
struct spinner {
    uint64_t flag;
    uint32_t function;
};

static struct spinner spin(struct fake_vm *vm, uint32_t stream)
{
    struct spinner s = {.flag = dev_alloc(vm, 4)};
    struct vgpu_sqe sqe;

    s.function = lookup(vm, load(vm, spin_ptx), "spin");
    sqe = launch(vm, stream, 1000, s.function, 1, 1, &s.flag, 8);
    fake_vm_submit(vm, &sqe);
    return s;
}

/* From another stream, which has to exist and be idle. */
static void release(struct fake_vm *vm, const struct spinner *s, uint32_t stream)
{
    struct vgpu_sqe sqe = copy(VGPU_CMD_COPY_H2D, stream, 1001, s->flag, 0, 512, 4);
    const uint32_t one = 1;

    memcpy(vm->arena + 512, &one, 4);
    fake_vm_submit(vm, &sqe);
    ck_assert_uint_eq(fake_vm_next(vm).cookie, 1001);
}

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
    } params = {dev_alloc(vm, bytes), dev_alloc(vm, bytes), dev_alloc(vm, bytes), n};
    struct vgpu_xmsg drop = {.type = VGPU_X_BUF_DROP};

    for (uint32_t i = 0; i < n; i++) {
        a[i] = (float)i;
        b[i] = (float)(n - i) * 0.5f;
    }
    (void)ok(vm, copy(VGPU_CMD_COPY_H2D, 0, 1, params.a, 1, 0, bytes));
    (void)ok(vm, copy(VGPU_CMD_COPY_H2D, 0, 1, params.b, 2, 0, bytes));
    (void)ok(vm, launch(vm, 0, 1, function, (n + 127) / 128, 128, &params, 28));
    (void)ok(vm, copy(VGPU_CMD_COPY_D2H, 0, 1, params.c, 3, 0, bytes));
    for (uint32_t i = 0; i < n; i++)
        ck_assert_msg(c[i] == a[i] + b[i], "element %u", i);
    dev_free(vm, params.a);
    dev_free(vm, params.b);
    dev_free(vm, params.c);
    for (drop.u.buf.id = 1; drop.u.buf.id <= 3; drop.u.buf.id++)
        ck_assert_uint_eq(fake_vm_reply(vm, fake_vm_send(vm, &drop, NULL, -1)), VGPU_ST_OK);
}

START_TEST(vecadd_computes_every_element)
{
    const struct fake_vm_config cfg = {.first_idx = UINT32_MAX - 5, .poll_us = 100};
    struct fake_vm vm;
    uint32_t module;
    struct vgpu_sqe sqe;

    start_cpu(&vm, &cfg);
    module = load(&vm, vecadd_ptx);
    vecadd(&vm, lookup(&vm, module, "vecadd"), 1);
    vecadd(&vm, lookup(&vm, module, "vecadd"), 1000);
    vecadd(&vm, lookup(&vm, module, "vecadd"), 300000);
    sqe = sqe_make(VGPU_CMD_MODULE_UNLOAD, 0, 1);
    sqe.u.module_unload.module = module;
    (void)ok(&vm, sqe);
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

    start_cpu(&vm, NULL);
    module = load(&vm, vecadd_ptx);
    f = lookup(&vm, module, "vecadd");
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
    ck_assert_uint_eq(lookup(&vm, module, "vecadd"), f);

    refused(&vm, lookup_sqe(&vm, VGPU_CMD_FUNC_LOOKUP, module, "nothing", 64), VGPU_ST_NOT_FOUND);
    refused(&vm, lookup_sqe(&vm, VGPU_CMD_FUNC_LOOKUP, module + 1, "vecadd", 64),
            VGPU_ST_BAD_HANDLE);

    (void)ok(&vm, lookup_sqe(&vm, VGPU_CMD_GLOBAL_LOOKUP, module, "counter", 16));
    memcpy(&global, vm.arena + INFO_OFF, sizeof(global));
    ck_assert_uint_eq(global.bytes, 4);
    (void)ok(&vm, copy(VGPU_CMD_COPY_D2H, 0, 1, global.addr, 0, 0, 4));
    memcpy(&value, vm.arena, 4);
    ck_assert_uint_eq(value, 41);

    /* A function goes with its module. */
    sqe = sqe_make(VGPU_CMD_MODULE_UNLOAD, 0, 1);
    sqe.u.module_unload.module = module;
    (void)ok(&vm, sqe);
    refused(&vm, launch(&vm, 0, 1, f, 1, 1, vm.arena, 28), VGPU_ST_BAD_HANDLE);
    refused(&vm, sqe, VGPU_ST_BAD_HANDLE);
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

    start_cpu(&vm, NULL);
    in = fake_vm_buf(&vm, 1, VGPU_BUF_DEVICE_READS, 1, bytes);
    out = fake_vm_buf(&vm, 2, VGPU_BUF_DEVICE_WRITES, 3, bytes + 2);
    for (uint64_t i = 0; i < bytes; i++)
        in[i] = (uint8_t)(i * 31 + i / 251);
    memset(out, 0xee, bytes + 2);
    addr = dev_alloc(&vm, bytes + 10);
    (void)ok(&vm, copy(VGPU_CMD_COPY_H2D, 0, 1, addr + 7, 1, 0, bytes));
    (void)ok(&vm, copy(VGPU_CMD_COPY_D2H, 0, 1, addr + 7, 2, 1, bytes));
    ck_assert_uint_eq(out[0], 0xee);
    ck_assert_int_eq(memcmp(out + 1, in, bytes), 0);
    ck_assert_uint_eq(out[bytes + 1], 0xee);
    /* The byte before is as allocated: zero. */
    (void)ok(&vm, copy(VGPU_CMD_COPY_D2H, 0, 1, addr + 6, 2, 0, 2));
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

    start_cpu(&vm, NULL);
    addr = dev_alloc(&vm, 4096);
    sqe.u.memset =
        (struct vgpu_cmd_memset){.dev_addr = addr, .count = 8, .value = 0xbeef, .width = 2};
    (void)ok(&vm, sqe);
    sqe.u.memset =
        (struct vgpu_cmd_memset){.dev_addr = addr + 2, .count = 1, .value = 7, .width = 1};
    (void)ok(&vm, sqe);
    sqe = sqe_make(VGPU_CMD_COPY_D2D, 0, 1);
    sqe.u.copy_d2d = (struct vgpu_cmd_copy_d2d){.dst = addr + 2, .src = addr, .bytes = 8};
    (void)ok(&vm, sqe);
    (void)ok(&vm, copy(VGPU_CMD_COPY_D2H, 0, 1, addr, 0, 0, 16));
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

    start_cpu(&vm, NULL);
    addr = dev_alloc(&vm, 4096);
    refused(&vm, copy(VGPU_CMD_COPY_H2D, 0, 1, addr + 1, 0, 0, 4096), VGPU_ST_BAD_ADDRESS);
    refused(&vm, copy(VGPU_CMD_COPY_D2H, 0, 1, addr - 1, 0, 0, 1), VGPU_ST_BAD_ADDRESS);
    refused(&vm, copy(VGPU_CMD_COPY_D2H, 0, 1, 0, 0, 0, 8), VGPU_ST_BAD_ADDRESS);
    (void)ok(&vm, copy(VGPU_CMD_COPY_D2H, 0, 1, 0, 0, 0, 0));
    sqe = sqe_make(VGPU_CMD_MEMSET, 0, 1);
    sqe.u.memset = (struct vgpu_cmd_memset){.dev_addr = addr, .count = 4097, .width = 1};
    refused(&vm, sqe, VGPU_ST_BAD_ADDRESS);
    sqe = sqe_make(VGPU_CMD_COPY_D2D, 0, 1);
    sqe.u.copy_d2d = (struct vgpu_cmd_copy_d2d){.dst = addr, .src = addr + 4000, .bytes = 97};
    refused(&vm, sqe, VGPU_ST_BAD_ADDRESS);
    sqe = sqe_make(VGPU_CMD_MEM_FREE, 0, 1);
    sqe.u.mem_free.addr = addr + 256;
    refused(&vm, sqe, VGPU_ST_BAD_ADDRESS);
    dev_free(&vm, addr);
    sqe.u.mem_free.addr = addr;
    refused(&vm, sqe, VGPU_ST_BAD_ADDRESS);
    refused(&vm, copy(VGPU_CMD_COPY_D2H, 0, 1, addr, 0, 0, 8), VGPU_ST_BAD_ADDRESS);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(quota_refuses_and_counts_module_memory)
{
    const struct fake_vm_config cfg = {.memory_limit = 1 << 20};
    struct fake_vm vm;
    struct vgpu_sqe sqe = sqe_make(VGPU_CMD_MEM_ALLOC, 0, 1);
    uint64_t addr;

    start_cpu(&vm, &cfg);
    sqe.u.mem_alloc.bytes = (1 << 20) + 1;
    refused(&vm, sqe, VGPU_ST_OUT_OF_MEMORY);
    ck_assert_uint_eq(fake_vm_quota(&vm), 0);
    addr = dev_alloc(&vm, 1 << 20);
    ck_assert_uint_eq(fake_vm_quota(&vm), 1 << 20);
    refused(&vm, load_sqe(&vm, vecadd_ptx), VGPU_ST_OUT_OF_MEMORY);
    ck_assert_uint_eq(fake_vm_quota(&vm), 1 << 20);
    dev_free(&vm, addr);
    ck_assert_uint_eq(fake_vm_quota(&vm), 0);
    (void)load(&vm, vecadd_ptx);
    ck_assert_uint_gt(fake_vm_quota(&vm), 0);

    /* The VM's other contexts hold all of it. */
    vm.quota_refuse = true;
    sqe.u.mem_alloc.bytes = 1;
    refused(&vm, sqe, VGPU_ST_OUT_OF_MEMORY);
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
        {HEADER ".visible .entry k() {\n  add.u32 %r1, %r2\n}\n", VGPU_ST_BAD_PTX, "5"},
        {".version 99.0\n.target sm_80\n.address_size 64\n", VGPU_ST_UNSUPPORTED_PTX, "99"},
        {HEADER ".visible .entry k() {\n  .reg .b32 %r;\n  wgmma.fence.sync.aligned;\n  ret;\n}\n",
         VGPU_ST_UNSUPPORTED_PTX, "wgmma"},
    };
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    struct vgpu_cqe cqe;

    start_cpu(&vm, NULL);
    sqe = load_sqe(&vm, bad[_i].ptx);
    cqe = fake_vm_run(&vm, &sqe);
    ck_assert_msg(cqe.status == bad[_i].status, "0x%x: %s", cqe.status, vm.arena + LOG_OFF);
    ck_assert_uint_eq(cqe.result, 0);
    ck_assert_uint_eq(cqe.aux, strlen((char *)vm.arena + LOG_OFF));
    ck_assert_msg(strstr((char *)vm.arena + LOG_OFF, bad[_i].log), "log: %s", vm.arena + LOG_OFF);
    (void)load(&vm, vecadd_ptx);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(launches_over_the_limits_are_refused)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    uint8_t params[64] = {0};
    uint32_t f;

    start_cpu(&vm, NULL);
    f = lookup(&vm, load(&vm, vecadd_ptx), "vecadd");
    refused(&vm, launch(&vm, 0, 1, f, 1, 1, params, 24), VGPU_ST_BAD_PARAMS);
    refused(&vm, launch(&vm, 0, 1, f, 1, 1, params, 32), VGPU_ST_BAD_PARAMS);
    refused(&vm, launch(&vm, 0, 1, f + 1, 1, 1, params, 28), VGPU_ST_BAD_HANDLE);
    refused(&vm, launch(&vm, 0, 1, f, 1, 1025, params, 28), VGPU_ST_LAUNCH_RESOURCES);
    refused(&vm, launch(&vm, 0, 1, f, 0x80000000u, 1, params, 28), VGPU_ST_LAUNCH_RESOURCES);
    sqe = launch(&vm, 0, 1, f, 1, 32, params, 28);
    sqe.u.launch.grid[1] = 65536;
    refused(&vm, sqe, VGPU_ST_LAUNCH_RESOURCES);
    sqe = launch(&vm, 0, 1, f, 1, 32, params, 28);
    sqe.u.launch.block[1] = 33;
    refused(&vm, sqe, VGPU_ST_LAUNCH_RESOURCES);
    sqe = launch(&vm, 0, 1, f, 1, 1, params, 28);
    sqe.u.launch.block[2] = 65;
    refused(&vm, sqe, VGPU_ST_LAUNCH_RESOURCES);
    sqe = launch(&vm, 0, 1, f, 1, 1, params, 28);
    sqe.u.launch.shared_bytes = 228 * 1024;
    refused(&vm, sqe, VGPU_ST_LAUNCH_RESOURCES);
    (void)ok(&vm, launch(&vm, 0, 1, f, 1, 1, params, 28)); /* n is 0: does nothing */
    fake_vm_stop(&vm);
}
END_TEST

/* ---- While a kernel runs ---- */

START_TEST(ring_drains_while_a_kernel_runs)
{
    const struct fake_vm_config cfg = {.poll_us = _i ? 1000000 : 0};
    struct fake_vm vm;
    struct spinner s;
    uint32_t a, b;
    uint32_t value;

    start_cpu(&vm, &cfg);
    a = stream_create(&vm);
    b = stream_create(&vm);
    s = spin(&vm, a);
    for (int i = 0; i < 200; i++)
        (void)ok(&vm, sqe_make(VGPU_CMD_NOP, b, 5));
    (void)dev_alloc(&vm, 4096);
    release(&vm, &s, b);
    ck_assert_uint_eq(fake_vm_next(&vm).cookie, 1000);
    (void)ok(&vm, copy(VGPU_CMD_COPY_D2H, a, 2, s.flag, 0, 0, 4));
    memcpy(&value, vm.arena, 4);
    ck_assert_uint_eq(value, 2);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(jobs_of_a_stream_keep_their_order_behind_a_kernel)
{
    const struct fake_vm_config cfg = {.max_inflight = 3};
    struct fake_vm vm;
    struct spinner s;
    uint32_t a, b;

    start_cpu(&vm, &cfg);
    a = stream_create(&vm);
    b = stream_create(&vm);
    s = spin(&vm, a);
    /* More than the executor takes: parked by the drain, without blocking stream b. */
    for (uint64_t i = 0; i < 20; i++) {
        struct vgpu_sqe sqe = sqe_make(VGPU_CMD_NOP, a, 2000 + i);

        fake_vm_submit(&vm, &sqe);
    }
    (void)ok(&vm, sqe_make(VGPU_CMD_NOP, b, 5));
    release(&vm, &s, b);
    ck_assert_uint_eq(fake_vm_next(&vm).cookie, 1000);
    for (uint64_t i = 0; i < 20; i++)
        ck_assert_uint_eq(fake_vm_next(&vm).cookie, 2000 + i);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(event_orders_two_streams_and_tells_time)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    struct vgpu_cqe cqe;
    struct spinner s;
    uint32_t a, b, c, event, first, value;
    uint64_t t0, t1;

    start_cpu(&vm, NULL);
    a = stream_create(&vm);
    b = stream_create(&vm);
    c = stream_create(&vm);
    first = event_create(&vm);
    event = event_create(&vm);
    ck_assert_uint_eq(ok(&vm, event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event)), 0);
    t0 = ok(&vm, event_sqe(VGPU_CMD_EVENT_RECORD, a, 1, first));
    ck_assert_uint_gt(t0, 0);
    s = spin(&vm, a);
    sqe = event_sqe(VGPU_CMD_EVENT_RECORD, a, 10, event);
    fake_vm_submit(&vm, &sqe);
    sqe = event_sqe(VGPU_CMD_EVENT_WAIT, b, 11, event);
    fake_vm_submit(&vm, &sqe);
    sqe = copy(VGPU_CMD_COPY_D2H, b, 12, s.flag, 0, 256, 4);
    fake_vm_submit(&vm, &sqe);
    refused(&vm, event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event), VGPU_ST_NOT_READY);
    release(&vm, &s, c);
    ck_assert_uint_eq(fake_vm_next(&vm).cookie, 1000);
    cqe = fake_vm_next(&vm);
    ck_assert_uint_eq(cqe.cookie, 10);
    t1 = cqe.result;
    ck_assert_uint_gt(t1, t0);
    ck_assert_uint_eq(fake_vm_next(&vm).cookie, 11);
    ck_assert_uint_eq(fake_vm_next(&vm).cookie, 12);
    memcpy(&value, vm.arena + 256, 4);
    ck_assert_uint_eq(value, 2); /* the kernel had finished */
    ck_assert_uint_eq(ok(&vm, event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event)), t1);
    ck_assert_uint_eq(ok(&vm, event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, first)), t0);
    (void)ok(&vm, event_sqe(VGPU_CMD_EVENT_DESTROY, 0, 1, event));
    refused(&vm, event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event), VGPU_ST_BAD_HANDLE);
    refused(&vm, event_sqe(VGPU_CMD_EVENT_RECORD, a, 1, event), VGPU_ST_BAD_HANDLE);
    fake_vm_stop(&vm);
}
END_TEST

/* A later record, done at once on an idle stream, is the event's latest: the older one, still
 * behind a kernel, must not come after it. */
START_TEST(latest_record_counts)
{
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    struct spinner s;
    uint32_t a, b, event;
    uint64_t t;

    start_cpu(&vm, NULL);
    a = stream_create(&vm);
    b = stream_create(&vm);
    event = event_create(&vm);
    s = spin(&vm, a);
    sqe = event_sqe(VGPU_CMD_EVENT_RECORD, a, 10, event);
    fake_vm_submit(&vm, &sqe);
    t = ok(&vm, event_sqe(VGPU_CMD_EVENT_RECORD, b, 11, event));
    ck_assert_uint_eq(ok(&vm, event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event)), t);
    release(&vm, &s, b);
    ck_assert_uint_eq(fake_vm_next(&vm).cookie, 1000);
    ck_assert_uint_eq(fake_vm_next(&vm).cookie, 10);
    ck_assert_uint_eq(ok(&vm, event_sqe(VGPU_CMD_EVENT_QUERY, 0, 1, event)), t);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(fence_waits_for_the_kernel)
{
    struct fake_vm vm;
    struct vgpu_sqe fence = sqe_make(VGPU_CMD_FENCE, 0, 77);
    struct spinner s;
    uint32_t a, b;
    struct vgpu_sqe sqe;
    const uint32_t one = 1;

    start_cpu(&vm, NULL);
    a = stream_create(&vm);
    b = stream_create(&vm);
    s = spin(&vm, a);
    memcpy(vm.arena + 512, &one, 4);
    sqe = copy(VGPU_CMD_COPY_H2D, b, 1001, s.flag, 0, 512, 4);
    fake_vm_submit(&vm, &sqe);
    fake_vm_submit(&vm, &fence);
    ck_assert_uint_eq(fake_vm_next(&vm).cookie, 1001);
    ck_assert_uint_eq(fake_vm_next(&vm).cookie, 1000);
    ck_assert_uint_eq(fake_vm_next(&vm).cookie, 77);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(buffer_is_dropped_when_the_copy_behind_a_kernel_is_done)
{
    struct fake_vm vm;
    struct vgpu_xmsg drop = {.type = VGPU_X_BUF_DROP}, irq = {.type = VGPU_X_IRQ};
    struct vgpu_sqe sqe;
    struct spinner s;
    uint32_t a, b, drop_seq, irq_seq;
    uint64_t addr;

    start_cpu(&vm, NULL);
    a = stream_create(&vm);
    b = stream_create(&vm);
    addr = dev_alloc(&vm, 4096);
    (void)fake_vm_buf(&vm, 4, BOTH, 0, 4096);
    s = spin(&vm, a);
    sqe = copy(VGPU_CMD_COPY_H2D, a, 10, addr, 4, 0, 4096);
    fake_vm_submit(&vm, &sqe);
    (void)ok(&vm, sqe_make(VGPU_CMD_NOP, b, 5)); /* so that the copy has been consumed */
    drop.u.buf.id = 4;
    drop_seq = fake_vm_send(&vm, &drop, NULL, -1);
    irq_seq = fake_vm_send(&vm, &irq, NULL, -1);
    /* Refused for new use before the old use is over; no reply meanwhile, not to what follows either. */
    do {
        sqe = copy(VGPU_CMD_COPY_H2D, b, 11, addr, 4, 0, 16);
        fake_vm_submit(&vm, &sqe);
    } while (fake_vm_next(&vm).status != VGPU_ST_BAD_BUFFER);
    ck_assert(!fake_vm_has_message(&vm));
    release(&vm, &s, b);
    ck_assert_uint_eq(fake_vm_reply(&vm, drop_seq), VGPU_ST_OK);
    ck_assert_uint_eq(fake_vm_reply(&vm, irq_seq), VGPU_ST_OK);
    fake_vm_stop(&vm);
}
END_TEST

START_TEST(stop_does_not_wait_for_a_kernel)
{
    struct fake_vm vm;

    start_cpu(&vm, NULL);
    (void)spin(&vm, stream_create(&vm));
    fake_vm_stop(&vm);
}
END_TEST

/* ---- Faults ---- */

static const struct {
    const char *name;
    const char *body;
    uint16_t status;
    uint64_t addr;
} faults[] = {
    {"wild_store", "  mov.u64 %d0, 0x1234500;\n  st.global.u32 [%d0], %r0;\n",
     VGPU_ST_ILLEGAL_ADDRESS, 0x1234500},
    {"wild_load", "  mov.u64 %d0, 0xdead0000;\n  ld.global.u32 %r0, [%d0];\n",
     VGPU_ST_ILLEGAL_ADDRESS, 0xdead0000},
    {"traps", "  trap;\n", VGPU_ST_LAUNCH_FAILED, 0},
    {"endless", "again:\n  bra again;\n", VGPU_ST_TIMEOUT, 0},
};

START_TEST(fault_loses_the_context_and_says_why)
{
    const struct fake_vm_config cfg = {.deadline_ms = 300};
    struct fake_vm vm;
    struct vgpu_sqe sqe;
    const struct vgpu_x_lost *lost;
    char ptx[1024];

    snprintf(ptx, sizeof(ptx),
             HEADER ".visible .entry %s() {\n  .reg .b32 %%r<2>;\n  .reg .b64 %%d<2>;\n"
                    "  mov.u32 %%r0, 5;\n%s  ret;\n}\n",
             faults[_i].name, faults[_i].body);
    start_cpu(&vm, &cfg);
    sqe = launch(&vm, 0, 9, lookup(&vm, load(&vm, ptx), faults[_i].name), 2, 32, ptx, 0);
    fake_vm_submit(&vm, &sqe);
    lost = fake_vm_wait_lost(&vm);
    ck_assert_uint_eq(lost->status, faults[_i].status);
    ck_assert_uint_eq(lost->addr, faults[_i].addr);
    ck_assert_msg(strstr(lost->message, faults[_i].name), "%s", lost->message);
    /* The launch itself was completed before. */
    ck_assert_uint_eq(fake_vm_next(&vm).status, faults[_i].status);
    fake_vm_free(&vm);
}
END_TEST

START_TEST(statistics_count_kernels_and_bytes)
{
    struct fake_vm vm;
    struct vgpu_xmsg irq = {.type = VGPU_X_IRQ};

    start_cpu(&vm, NULL);
    vecadd(&vm, lookup(&vm, load(&vm, vecadd_ptx), "vecadd"), 1000);
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
    tcase_add_loop_test(tc, ring_drains_while_a_kernel_runs, 0, 2);
    tcase_add_test(tc, jobs_of_a_stream_keep_their_order_behind_a_kernel);
    tcase_add_test(tc, event_orders_two_streams_and_tells_time);
    tcase_add_test(tc, latest_record_counts);
    tcase_add_test(tc, fence_waits_for_the_kernel);
    tcase_add_test(tc, buffer_is_dropped_when_the_copy_behind_a_kernel_is_done);
    tcase_add_test(tc, stop_does_not_wait_for_a_kernel);
    tcase_add_loop_test(tc, fault_loses_the_context_and_says_why, 0,
                        (int)(sizeof(faults) / sizeof(faults[0])));
    tcase_add_test(tc, statistics_count_kernels_and_bytes);
    suite_add_tcase(s, tc);
    return s;
}
