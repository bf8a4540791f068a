/* SPDX-License-Identifier: MIT */
/*
 * The cuda executor when the driver fails it: every function that is called once a context is
 * open fails at its nth call with an ordinary and with a sticky error, hangs, stalls or takes the
 * process along (tests/lib/fakecuda).  Whatever happens, the guest is told the truth in time, its
 * other context computes, and nothing is left behind.
 */
#include "cuda_program.h"
#include "fixture.h"

#include <signal.h>

#define BIG   (256u << 10) /* large enough to be registered with CUDA */
#define SMALL 1000u        /* goes by way of the bounce slots */

static void setup_cuda(void)
{
    setenv("VGPU_TEST_EXECUTOR", "cuda", 1);
    fx_setup_bare();
}

/* Without a deadline. */
static void setup_patient_cuda(void)
{
    static const char *const options[] = {FX_CPU_PATIENT};

    setenv("VGPU_TEST_EXECUTOR", "cuda", 1);
    memset(&fx, 0, sizeof(fx));
    fx_start(options, 1);
}

/* A context whose driver follows `plan` from when it is open on: what opening does last is to unload
 * the module it warmed the driver up with. */
static struct gs_ctx *planned(const char *plan)
{
    char lines[256];
    struct gs_ctx *ctx = NULL;

    snprintf(lines, sizeof(lines),
             "VGPU_FAKECUDA_PLAN_AFTER=cuModuleUnload\nVGPU_FAKECUDA_PLAN=%s\n", plan);
    fx_fake_settings(lines);
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &ctx));
    fx_fake_settings("");
    return ctx;
}

/* ---- Errors ---- */

enum severity {
    HARMLESS, /* the executor does without: the program succeeds */
    ORDINARY, /* the command fails, the context lives on */
    EITHER,   /* depends on whether the guest or the executor needs it */
    FATAL,    /* an executor can't go on without it */
};

/* What CUDA_ERROR_OUT_OF_MEMORY from this function means. */
static const struct {
    const char *function;
    enum severity severity;
} functions[] = {
    {"cuMemAlloc_v2", ORDINARY},        {"cuMemFree_v2", ORDINARY},
    {"cuMemHostAlloc", ORDINARY},       {"cuMemHostRegister_v2", HARMLESS},
    {"cuMemHostUnregister", FATAL},     {"cuMemcpyHtoDAsync_v2", ORDINARY},
    {"cuMemcpyDtoHAsync_v2", ORDINARY}, {"cuMemcpyDtoDAsync_v2", ORDINARY},
    {"cuMemsetD8Async", ORDINARY},      {"cuMemsetD16Async", ORDINARY},
    {"cuMemsetD32Async", ORDINARY},     {"cuModuleLoadDataEx", ORDINARY},
    {"cuModuleUnload", ORDINARY},       {"cuModuleGetFunction", ORDINARY},
    {"cuModuleGetGlobal_v2", ORDINARY}, {"cuFuncGetAttribute", ORDINARY},
    {"cuFuncSetAttribute", ORDINARY},   {"cuFuncGetParamInfo", ORDINARY},
    {"cuLaunchKernel", ORDINARY},       {"cuStreamDestroy_v2", ORDINARY},
    {"cuStreamSynchronize", ORDINARY},  {"cuStreamWaitEvent", ORDINARY},
    {"cuEventRecord", EITHER},          {"cuEventQuery", FATAL},
    {"cuEventElapsedTime", HARMLESS},   {"cuEventDestroy_v2", FATAL},
};
#define FUNCTIONS ((int)(sizeof(functions) / sizeof(functions[0])))

/* How often the plan has applied: the fake says so in the daemon's log. */
static bool applied(const char *function)
{
    char line[96], *log = vgpud_log(&fx.d);
    bool found;

    snprintf(line, sizeof(line), "fakecuda: %s call", function);
    found = log && strstr(log, line);
    free(log);
    return found;
}

static void lost_with(struct gs_ctx *ctx, int status, const char *words)
{
    struct vgpu_ctx_status why;

    fx_is(gs_ctx_wait_lost(ctx, &why), status);
    ck_assert_msg(strstr((char *)why.message, words), "'%s' is not in: %s", words, why.message);
}

/* Ends with what every test of this file ends with. */
static void end_of(struct gs_ctx *ctx)
{
    fx_ok(gs_ctx_destroy(ctx));
    fx_works(fx.ctx[0]);
}

START_TEST(out_of_memory_is_an_ordinary_error)
{
    const char *function = functions[_i].function;
    char plan[96];

    fx_attach(0);
    for (unsigned int nth = 1; nth <= 2; nth++) {
        struct fx_outcome outcome;
        struct gs_ctx *ctx;
        enum severity severity = functions[_i].severity;

        snprintf(plan, sizeof(plan), "%s:%u:2", function, nth);
        ctx = planned(plan);
        outcome = fx_use_everything(ctx);
        if (severity != HARMLESS && outcome.status == VGPU_ST_OK &&
            !gs_ctx_is_lost(fx.vm[0], ctx->id)) {
            end_of(ctx); /* fewer calls than nth, or one whose result does not matter then */
            continue;
        }
        ck_assert_msg(severity != HARMLESS || outcome.status == VGPU_ST_OK, "%s: %s: %s", plan,
                      outcome.step, fx_status_name(outcome.status));
        if (severity == EITHER)
            severity = outcome.status == VGPU_ST_OUT_OF_MEMORY ? ORDINARY : FATAL;
        if (severity == ORDINARY) {
            fx_is(outcome.status, VGPU_ST_OUT_OF_MEMORY);
            fx_works(ctx);
        } else if (severity == FATAL) {
            lost_with(ctx, VGPU_ST_EXEC_FAILED, "CUDA_ERROR_OUT_OF_MEMORY (2): out of memory");
        }
        end_of(ctx);
    }
    ck_assert_msg(applied(function), "%s is never called", function);
}
END_TEST

START_TEST(sticky_errors_lose_that_context_by_name)
{
    static const struct {
        int code;
        int status;
        const char *words;
    } errors[] = {
        {700, VGPU_ST_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory"},
        {719, VGPU_ST_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure"},
        {999, VGPU_ST_EXEC_FAILED, "CUDA_ERROR_UNKNOWN (999): unknown error"},
    };
    const char *function = functions[_i].function;

    fx_attach(0);
    for (unsigned int e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
        struct fx_outcome outcome;
        struct gs_ctx *ctx;
        char plan[96];

        /* 999 need not stay: functions whose result is not needed may forget it. */
        if (errors[e].code == 999 && functions[_i].severity == HARMLESS)
            continue;
        snprintf(plan, sizeof(plan), "%s:1:%d", function, errors[e].code);
        ctx = planned(plan);
        outcome = fx_use_everything(ctx);
        if (outcome.status != VGPU_ST_OK)
            ck_assert_msg(outcome.status == errors[e].status || outcome.status == -EOWNERDEAD,
                          "%s: %s: %s", plan, outcome.step, fx_status_name(outcome.status));
        if (outcome.status == VGPU_ST_OK)
            (void)gs_mem_alloc(ctx, 4096, &(uint64_t){0}); /* where a forgotten one must surface */
        lost_with(ctx, errors[e].status, errors[e].words);
        end_of(ctx);
    }
    ck_assert_msg(applied(function), "%s is never called", function);
}
END_TEST

/* A guest has its pages back when nothing can write to them any more: when CUDA keeps them registered, not before the
 * process is reaped that registered them. */
START_TEST(pages_that_cuda_keeps_are_free_when_the_process_is_gone)
{
    static const struct {
        const char *plan;
        int status;
        const char *words;
    } refusals[] = {
        {"cuMemHostUnregister:1:2", VGPU_ST_EXEC_FAILED,
         "cuMemHostUnregister: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory"},
        {"cuMemHostUnregister:1:719", VGPU_ST_LAUNCH_FAILED,
         "CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure"},
    };

    fx_attach(0);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct gs_ctx *ctx = planned(refusals[i].plan);
        struct fx_account account;
        struct gs_buf buf;
        uint64_t dev;

        fx_account(0, &account);
        fx_ok(gs_mem_alloc(ctx, BIG, &dev));
        fx_ok(gs_buf_create(ctx, BIG, 0, VGPU_BUF_FLAGS, &buf));
        fx_ok(gs_copy_d2h(ctx, &buf, 0, dev, BIG));
        fx_ok(gs_buf_destroy(&buf));
        ck_assert(!proc_alive(account.exec_pid[ctx->id]));
        lost_with(ctx, refusals[i].status, refusals[i].words);
        end_of(ctx);
    }
}
END_TEST

/* What a driver answers to an image or a launch that is not for it is no fault of the context. */
START_TEST(a_refused_image_or_launch_costs_itself_alone)
{
    static const struct {
        const char *plan;
        int status;
    } refusals[] = {
        {"cuModuleLoadDataEx:1:221", VGPU_ST_NOT_SUPPORTED},
        {"cuModuleLoadDataEx:1:223", VGPU_ST_NOT_SUPPORTED},
        {"cuModuleLoadDataEx:1:225", VGPU_ST_NOT_SUPPORTED},
        {"cuModuleLoadDataEx:1:303", VGPU_ST_BAD_IMAGE},
        {"cuModuleLoadDataEx:1:811", VGPU_ST_NOT_SUPPORTED},
        {"cuModuleLoadDataEx:1:812", VGPU_ST_NOT_SUPPORTED},
        {"cuLaunchKernel:1:703", VGPU_ST_NOT_SUPPORTED},
        {"cuLaunchKernel:1:720", VGPU_ST_LAUNCH_RESOURCES},
        {"cuLaunchKernel:1:912", VGPU_ST_LAUNCH_RESOURCES},
    };

    fx_attach(0);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct gs_ctx *ctx = planned(refusals[i].plan);
        struct fx_outcome outcome = fx_use_everything(ctx);

        ck_assert_msg(outcome.status == refusals[i].status, "%s: %s: %s", refusals[i].plan,
                      outcome.step, fx_status_name(outcome.status));
        fx_works(ctx);
        end_of(ctx);
    }
}
END_TEST

/* ---- Opening a context ---- */

static const char *const opening[] = {
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceTotalMem_v2",
    "cuDeviceGetAttribute",
    "cuDeviceGetName",
    "cuCtxCreate_v2",
    "cuCtxSetLimit",
    "cuStreamCreateWithPriority",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuMemAlloc_v2",
    "cuMemsetD8Async",
    "cuMemHostAlloc",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuModuleLoadDataEx",
    "cuModuleGetFunction",
    "cuLaunchKernel",
    "cuEventDestroy_v2",
    "cuMemHostUnregister",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuModuleUnload",
};

START_TEST(a_context_that_cannot_be_opened_is_refused)
{
    char line[128];
    struct gs_ctx *ctx = NULL;
    int rc;

    fx_attach(0);
    for (int code = 2; code <= 999; code += 997) {
        snprintf(line, sizeof(line), "VGPU_FAKECUDA_PLAN=%s:1:%d\n", opening[_i], code);
        fx_fake_settings(line);
        rc = gs_ctx_create(fx.vm[0], NULL, &ctx);
        ck_assert_msg(rc > 0, "%s: %s", line, fx_status_name(rc));
        snprintf(line, sizeof(line), "(%d)", code);
        ck_assert_msg(applied(opening[_i]), "%s is never called", opening[_i]);
        fx_fake_settings("");
        fx_works(fx.ctx[0]);
        fx_ok(gs_ctx_create(fx.vm[0], NULL, &ctx));
        fx_works(ctx);
        fx_ok(gs_ctx_destroy(ctx));
    }
}
END_TEST

/* ---- Calls that do not return ---- */

/* An endless kernel, until *flag is set. */
static uint64_t start_spin(struct gs_ctx *ctx, uint64_t *flag)
{
    struct fx_kernel k = fx_kernel(ctx, fx_ptx_basic, "spin");
    struct vgpu_sqe sqe;
    uint64_t cookie;

    fx_ok(gs_mem_alloc(ctx, 4096, flag));
    sqe = gs_launch_sqe(ctx, k.function, 1, 1, flag, sizeof(*flag));
    fx_is(gs_submit(ctx, &sqe, &cookie), 0);
    gs_flush(ctx);
    return cookie;
}

/* The driver blocks the drain thread behind a kernel that never ends: the deadline holds. */
START_TEST(deadline_holds_while_the_driver_blocks)
{
    static const char *const plans[] = {"cuMemAlloc_v2:2:hang",
                                        "cuModuleLoadDataEx:2:hang",
                                        "cuModuleGetFunction:2:hang",
                                        "cuFuncGetParamInfo:3:hang",
                                        "cuFuncGetAttribute:9:hang",
                                        "cuFuncSetAttribute:1:hang",
                                        "cuStreamCreateWithPriority:1:hang"};
    struct vgpu_sqe sqe;
    struct gs_ctx *ctx;
    uint64_t addr;
    uint32_t handle;

    fx_attach(0);
    ctx = planned(plans[_i]);
    (void)start_spin(ctx, &addr);
    (void)gs_mem_alloc(ctx, 4096, &addr);
    if (_i > 0 && !gs_ctx_is_lost(fx.vm[0], ctx->id) &&
        gs_module_load(ctx, fx_ptx_basic, strlen(fx_ptx_basic), NULL, 0, &handle) == 0) {
        (void)gs_func_lookup(ctx, handle, "where", &handle, NULL, NULL, 0);
        sqe = gs_launch_sqe(ctx, handle, 1, 1, &addr, sizeof(addr));
        sqe.u.launch.shared_bytes = 60 << 10;
        (void)gs_submit(ctx, &sqe, &addr);
        (void)gs_stream_create(ctx, &handle);
    }
    lost_with(ctx, VGPU_ST_TIMEOUT, "kernel 'spin': still running after its deadline of 2000 ms");
    ck_assert(vgpud_log_wait(&fx.d, "while the drain is blocked", 0));
    end_of(ctx);
}
END_TEST

/* No kernel is to blame and no deadline applies: a guest that gives up gets rid of the context. */
START_TEST(a_hung_driver_call_does_not_hang_destroy)
{
    struct fx_account account;
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEM_ALLOC, .u.mem_alloc.bytes = 4096};
    struct gs_ctx *ctx;
    uint64_t cookie;
    pid_t exec;

    fx_attach(0);
    ctx = planned("cuMemAlloc_v2:1:hang");
    fx_account(0, &account);
    exec = account.exec_pid[ctx->id];
    fx_is(gs_submit(ctx, &sqe, &cookie), 0);
    gs_flush(ctx);
    ck_assert(vgpud_log_wait(&fx.d, "fakecuda: cuMemAlloc_v2 call 1", GS_TIMEOUT_MS));
    fx_works(fx.ctx[0]);
    end_of(ctx);
    ck_assert(proc_wait_gone(exec, GS_TIMEOUT_MS));
}
END_TEST

START_TEST(a_driver_that_dies_costs_its_context)
{
    struct vgpu_ctx_status status;
    struct gs_ctx *ctx;
    uint64_t addr;
    int rc;

    fx_attach(0);
    ctx = planned("cuMemAlloc_v2:1:die");
    rc = gs_mem_alloc(ctx, 4096, &addr);
    ck_assert_msg(rc == -EOWNERDEAD, "%s", fx_status_name(rc));
    fx_is(gs_ctx_wait_lost(ctx, &status), VGPU_ST_EXEC_DIED);
    end_of(ctx);
}
END_TEST

START_TEST(a_slow_driver_is_only_slow)
{
    struct fx_outcome outcome;
    struct gs_ctx *ctx;

    fx_attach(0);
    ctx = planned("cuMemcpyHtoDAsync_v2:0:stall=100;cuEventQuery:3:stall=200");
    outcome = fx_use_everything(ctx);
    ck_assert_msg(outcome.status == VGPU_ST_OK, "%s: %s", outcome.step,
                  fx_status_name(outcome.status));
    end_of(ctx);
}
END_TEST

/* ---- The waiter threads, which only a drain that sleeps behind a long kernel needs ---- */

static void await_sleep(void)
{
    ck_assert(vgpud_log_wait(&fx.d, "fakecuda: cuEventSynchronize call 1", GS_TIMEOUT_MS));
}

START_TEST(a_wait_that_fails_only_wakes_the_drain)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEMSET};
    uint64_t flag, cookie;
    struct vgpu_cqe cqe;
    struct gs_ctx *ctx;

    fx_attach(0);
    ctx = planned("cuEventSynchronize:1:2");
    fx_ok(gs_stream_create(ctx, &sqe.stream));
    cookie = start_spin(ctx, &flag);
    await_sleep();
    sqe.u.memset = (struct vgpu_cmd_memset){flag, 1, 1, 4, {0}};
    fx_ok(gs_run(ctx, &sqe, NULL));
    fx_is(gs_wait(ctx, cookie, &cqe), VGPU_ST_OK);
    fx_ok(cqe.status);
    end_of(ctx);
}
END_TEST

START_TEST(a_sleeping_drain_learns_of_a_sticky_error)
{
    struct gs_ctx *ctx;
    uint64_t flag;

    fx_attach(0);
    ctx = planned("cuEventSynchronize:1:700");
    (void)start_spin(ctx, &flag);
    await_sleep();
    lost_with(ctx, VGPU_ST_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory");
    end_of(ctx);
}
END_TEST

/* ---- Back-pressure ---- */

#define BURST 1000u

/* One stream's queue is full of launches behind an endless kernel: another stream of the same ring goes
 * on, and when the kernel ends every launch has run. */
START_TEST(a_full_stream_holds_back_nobody_and_drops_nothing)
{
    struct gs_ctx_config config = {.sq_log2 = 11};
    uint64_t flag, dev, spin_cookie, cookie;
    struct fx_kernel spin, where;
    struct fx_account account;
    struct vgpu_cqe cqe;
    struct gs_ctx *ctx;
    struct vgpu_sqe sqe;
    uint32_t a, b;

    fx_is(gs_vm_open(&(struct gs_vm_config){.socket = fx.d.sockets[0]}, &fx.vm[0]), 0);
    fx_ok(gs_ctx_create(fx.vm[0], &config, &ctx));
    fx.ctx[0] = ctx;
    spin = fx_kernel(ctx, fx_ptx_basic, "spin");
    where = fx_kernel(ctx, fx_ptx_basic, "where");
    fx_ok(gs_mem_alloc(ctx, 4096, &flag));
    fx_ok(gs_mem_alloc(ctx, 4096, &dev));
    fx_ok(gs_stream_create(ctx, &a));
    fx_ok(gs_stream_create(ctx, &b));
    sqe = gs_launch_sqe(ctx, spin.function, 1, 1, &flag, sizeof(flag));
    sqe.stream = a;
    fx_is(gs_submit(ctx, &sqe, &spin_cookie), 0);
    sqe = gs_launch_sqe(ctx, where.function, 1, 32, &dev, sizeof(dev));
    sqe.stream = a;
    for (uint32_t i = 0; i < BURST; i++)
        fx_is(gs_submit(ctx, &sqe, &cookie), 0);
    gs_flush(ctx);
    sqe = (struct vgpu_sqe){.opcode = VGPU_CMD_MEMSET, .stream = b};
    sqe.u.memset = (struct vgpu_cmd_memset){flag, 1, 1, 4, {0}};
    fx_ok(gs_run(ctx, &sqe, NULL));
    fx_is(gs_wait(ctx, spin_cookie, &cqe), VGPU_ST_OK);
    for (uint32_t i = 0; i < BURST; i++) {
        fx_is(gs_wait_any(ctx, &cqe, GS_TIMEOUT_MS), 0);
        fx_ok(cqe.status);
    }
    fx_ok(gs_fence(ctx));
    fx_account(0, &account);
    ck_assert_uint_eq(account.kernels, BURST + 1);
}
END_TEST

/* ---- Who moves the bytes ---- */

/* How many bytes of what was copied the processor moved since `from`, once all of `bytes` are counted. */
static uint64_t staged_since(const struct fx_account *from, uint64_t bytes)
{
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);
    struct fx_account now;

    for (;;) {
        fx_account(0, &now);
        if (now.bytes_h2d + now.bytes_d2h == from->bytes_h2d + from->bytes_d2h + bytes)
            return now.bytes_staged - from->bytes_staged;
        ck_assert_msg(gs_now_ns() < deadline, "%llu + %llu bytes are counted",
                      (unsigned long long)now.bytes_h2d, (unsigned long long)now.bytes_d2h);
        poll(NULL, 0, 2);
    }
}

/* There and back, compared; how many bytes the processor moved for it. */
static uint64_t staged_by(struct gs_ctx *ctx, struct gs_buf *buf, uint64_t dev, uint32_t bytes)
{
    struct fx_account before;
    uint32_t bad;

    fx_account(0, &before);
    for (uint32_t i = 0; i < bytes; i++)
        buf->ptr[i] = (uint8_t)(i * 11 + (i >> 8) + bytes);
    fx_ok(gs_copy_h2d(ctx, dev, buf, 0, bytes));
    memset(buf->ptr, 0xee, bytes);
    fx_ok(gs_copy_d2h(ctx, buf, 0, dev, bytes));
    for (bad = 0; bad < bytes && buf->ptr[bad] == (uint8_t)(bad * 11 + (bad >> 8) + bytes); bad++)
        ;
    ck_assert_msg(bad == bytes, "byte %u of %u is %02x", bad, bytes, buf->ptr[bad]);
    return staged_since(&before, 2 * (uint64_t)bytes);
}

START_TEST(the_processor_moves_nothing_that_the_gpu_can_reach)
{
    struct gs_buf buf, refused;
    struct gs_ctx *ctx = planned("cuMemHostRegister_v2:2+:801");
    uint64_t dev;

    fx_ok(gs_mem_alloc(ctx, BIG, &dev));
    fx_ok(gs_buf_create(ctx, BIG, 5, VGPU_BUF_FLAGS, &buf));
    fx_ok(gs_buf_create(ctx, BIG, 0, VGPU_BUF_FLAGS, &refused));
    /* Too small to be registered for: both ways staged; then not even these. */
    ck_assert_uint_eq(staged_by(ctx, &buf, dev, SMALL), 2 * SMALL);
    ck_assert_uint_eq(staged_by(ctx, &buf, dev, BIG), 0);
    ck_assert_uint_eq(staged_by(ctx, &buf, dev, SMALL), 0);
    /* The driver refuses from its second registration on. */
    ck_assert_uint_eq(staged_by(ctx, &refused, dev, BIG), 2 * BIG);
    ck_assert_uint_eq(staged_by(ctx, &buf, dev, BIG), 0);
    fx_ok(gs_buf_destroy(&buf));
    fx_ok(gs_buf_destroy(&refused));
    fx_ok(gs_ctx_destroy(ctx));
}
END_TEST

/* However many runs of guest memory there are: a second call of any of the three would be refused.  (The
 * first of each but registering was made before the context opened, when nothing is counted.) */
START_TEST(a_scattered_buffer_is_one_registration_and_one_copy_each_way)
{
    const uint32_t many = 4 * BIG; /* 256 runs */
    struct gs_ctx *ctx = planned("cuMemHostRegister_v2:2+:801;cuMemcpyHtoDAsync_v2:2+:700;"
                                 "cuMemcpyDtoHAsync_v2:2+:700");
    struct gs_buf scattered;
    uint64_t dev;

    fx_ok(gs_mem_alloc(ctx, many, &dev));
    fx_ok(gs_buf_create(ctx, many, 0, VGPU_BUF_FLAGS | GS_BUF_SCATTER, &scattered));
    ck_assert_uint_eq(staged_by(ctx, &scattered, dev, many), 0);
    /* The plan is in force. */
    (void)gs_copy_h2d(ctx, dev, &scattered, 0, many);
    lost_with(ctx, VGPU_ST_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS (700)");
    ck_assert(applied("cuMemcpyHtoDAsync_v2"));
    ck_assert(!applied("cuMemHostRegister_v2"));
    ck_assert(!applied("cuMemcpyDtoHAsync_v2"));
    fx_ok(gs_buf_destroy(&scattered));
    end_of(ctx);
}
END_TEST

/* A buffer the device may only read is mapped so: registering it takes a flag that not every driver knows. */
START_TEST(a_read_only_buffer_is_direct_where_the_driver_can)
{
    const bool can = _i == 0;
    struct fx_account before;
    struct gs_ctx *ctx = NULL;
    struct gs_buf read_only, back;
    uint64_t dev;

    if (!can)
        fx_fake_settings("VGPU_FAKECUDA_READ_ONLY=0\n");
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &ctx));
    fx_fake_settings("");
    fx_ok(gs_mem_alloc(ctx, BIG, &dev));
    fx_ok(gs_buf_create(ctx, BIG, 0, VGPU_BUF_DEVICE_READS, &read_only));
    fx_ok(gs_buf_create(ctx, BIG, 0, VGPU_BUF_FLAGS, &back));
    for (uint32_t i = 0; i < BIG; i++)
        read_only.ptr[i] = (uint8_t)(i * 13 + (i >> 8));
    fx_account(0, &before);
    fx_ok(gs_copy_h2d(ctx, dev, &read_only, 0, BIG));
    ck_assert_uint_eq(staged_since(&before, BIG), can ? 0 : BIG);
    fx_ok(gs_copy_d2h(ctx, &back, 0, dev, BIG));
    ck_assert_mem_eq(back.ptr, read_only.ptr, BIG);
    fx_is(gs_copy_d2h(ctx, &read_only, 0, dev, BIG), VGPU_ST_BAD_ACCESS);
    fx_ok(gs_buf_destroy(&read_only));
    fx_ok(gs_buf_destroy(&back));
    end_of(ctx);
}
END_TEST

static void setup_attached_cuda(void)
{
    setup_cuda();
    fx_attach(0);
}

static Suite *cuda_suite(void)
{
    Suite *s = suite_create("cuda");
    TCase *tc = fx_tcase(s, "errors", setup_cuda);

    tcase_add_loop_test(tc, out_of_memory_is_an_ordinary_error, 0, FUNCTIONS);
    tcase_add_loop_test(tc, sticky_errors_lose_that_context_by_name, 0, FUNCTIONS);
    tcase_add_test(tc, pages_that_cuda_keeps_are_free_when_the_process_is_gone);
    tcase_add_test(tc, a_refused_image_or_launch_costs_itself_alone);
    tc = fx_tcase(s, "opening", setup_cuda);
    tcase_add_loop_test(tc, a_context_that_cannot_be_opened_is_refused, 0,
                        (int)(sizeof(opening) / sizeof(opening[0])));
    tc = fx_tcase(s, "blocking", setup_cuda);
    tcase_add_loop_test(tc, deadline_holds_while_the_driver_blocks, 0, 7);
    tcase_add_test(tc, a_hung_driver_call_does_not_hang_destroy);
    tcase_add_test(tc, a_driver_that_dies_costs_its_context);
    tcase_add_test(tc, a_slow_driver_is_only_slow);
    tc = fx_tcase(s, "waiting", setup_patient_cuda);
    tcase_add_test(tc, a_wait_that_fails_only_wakes_the_drain);
    tcase_add_test(tc, a_sleeping_drain_learns_of_a_sticky_error);
    tc = fx_tcase(s, "copies", setup_attached_cuda);
    tcase_add_test(tc, the_processor_moves_nothing_that_the_gpu_can_reach);
    tcase_add_test(tc, a_scattered_buffer_is_one_registration_and_one_copy_each_way);
    tcase_add_loop_test(tc, a_read_only_buffer_is_direct_where_the_driver_can, 0, 2);
    tc = fx_tcase(s, "pressure", setup_patient_cuda);
    tcase_add_test(tc, a_full_stream_holds_back_nobody_and_drops_nothing);
    return s;
}

VGPU_UNIT_MAIN(cuda_suite)
