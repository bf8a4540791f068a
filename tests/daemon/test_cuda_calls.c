/* SPDX-License-Identifier: MIT */
/*
 * The nth call of every driver function fails, once, from opening a context to its end.
 *
 * Whichever it is and whatever it says, the guest gets an error or the right result, never a wrong one; a
 * context that was not lost computes when it tries again; and nothing is left behind: memory, buffers,
 * processes.  The program is cuda_program.c's.
 *
 * Up to MAX_NTH calls of each function are tried: how often events are polled is a matter of time.  With a
 * sanitizer, which makes processes slow to start, fewer of them are, each with one of the errors.
 */
#include "cuda_program.h"
#include "fixture.h"

#include <exec/cuda/cu.h>

#define MAX_NTH 100u

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SAMPLED true
#else
#define SAMPLED false
#endif

static const struct {
    int code;
    int status; /* of a context that is lost by it */
} errors[] = {
    {CUDA_ERROR_OUT_OF_MEMORY, VGPU_ST_EXEC_FAILED},
    {CUDA_ERROR_ILLEGAL_ADDRESS, VGPU_ST_ILLEGAL_ADDRESS},
    {CUDA_ERROR_UNKNOWN, VGPU_ST_EXEC_FAILED},
};
#define ERRORS (sizeof(errors) / sizeof(errors[0]))

static const char *const functions[] = {
#define NAME(symbol, args) #symbol,
    VGPU_CU_REQUIRED(NAME) VGPU_CU_OPTIONAL(NAME)
#undef NAME
};
#define FUNCTIONS ((int)(sizeof(functions) / sizeof(functions[0])))

/* The probe's, what opening calls only where it fails otherwise, and names of errors. */
static const char *const uncalled[] = {"cuDeviceGetPCIBusId", "cuMemGetInfo_v2", "cuCtxDestroy_v2",
                                       "cuGetErrorName", "cuGetErrorString"};

static bool is_uncalled(const char *function)
{
    for (size_t i = 0; i < sizeof(uncalled) / sizeof(uncalled[0]); i++) {
        if (!strcmp(uncalled[i], function))
            return true;
    }
    return false;
}

static void setup_cuda(void)
{
    setenv("VGPU_TEST_EXECUTOR", "cuda", 1);
    fx_setup_bare();
}

static size_t log_length(void)
{
    char *log = vgpud_log(&fx.d);
    size_t length = log ? strlen(log) : 0;

    free(log);
    return length;
}

static bool applied_since(size_t from, const char *function, unsigned int nth)
{
    char line[96], *log = vgpud_log(&fx.d);
    bool found;

    snprintf(line, sizeof(line), "fakecuda: %s call %u\n", function, nth);
    found = log && strlen(log) > from && strstr(log + from, line);
    free(log);
    return found;
}

/* As before: one context, one process, no buffer, its memory. */
static void nothing_is_left(const char *plan, const struct fx_account *before)
{
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);
    struct fx_account now;

    for (;;) {
        fx_account(0, &now);
        if (now.contexts == before->contexts && now.executors == before->executors &&
            now.buffers == before->buffers && now.memory_held == before->memory_held)
            return;
        ck_assert_msg(gs_now_ns() < deadline,
                      "%s: left are %llu contexts, %llu processes, %llu buffers, %llu bytes", plan,
                      (unsigned long long)now.contexts, (unsigned long long)now.executors,
                      (unsigned long long)now.buffers, (unsigned long long)now.memory_held);
        poll(NULL, 0, 1);
    }
}

static void is_a_refusal(const char *plan, const struct fx_outcome *outcome)
{
    ck_assert_msg(outcome->status >= 0 || outcome->status == -EOWNERDEAD, "%s: %s: %s", plan,
                  outcome->step, fx_status_name(outcome->status));
}

/* The program until it succeeds, which it must the second time, unless the context is lost. */
static void run_twice(const char *plan, struct gs_ctx *ctx, int lost_status)
{
    struct fx_outcome outcome = {VGPU_ST_OK, "none"};
    struct vgpu_ctx_status why;

    for (int i = 0; i < 2; i++) {
        outcome = fx_use_everything(ctx);
        is_a_refusal(plan, &outcome);
        if (gs_ctx_is_lost(fx.vm[0], ctx->id)) {
            int status = gs_ctx_wait_lost(ctx, &why);

            ck_assert_msg(status == lost_status, "%s: lost with %s: %s", plan,
                          fx_status_name(status), (char *)why.message);
            return;
        }
        if (outcome.status == VGPU_ST_OK)
            return;
    }
    ck_abort_msg("%s: %s: %s, and again", plan, outcome.step, fx_status_name(outcome.status));
}

/* False: there are fewer calls than that. */
static bool fail_call(const char *function, unsigned int nth, size_t error, bool staged)
{
    size_t from = log_length();
    struct fx_account before;
    struct gs_ctx *ctx = NULL;
    char plan[96], line[160];
    int rc;

    fx_account(0, &before);
    snprintf(plan, sizeof(plan), "%s:%u:%d", function, nth, errors[error].code);
    snprintf(line, sizeof(line), "VGPU_FAKECUDA_PLAN=%s%s\n", plan,
             staged ? ";cuMemHostRegister_v2:0:801" : "");
    fx_fake_settings(line);
    rc = gs_ctx_create(fx.vm[0], NULL, &ctx);
    fx_fake_settings("");
    ck_assert_msg(rc >= 0, "%s: opening: %s", plan, fx_status_name(rc));
    if (rc == VGPU_ST_OK) {
        run_twice(plan, ctx, errors[error].status);
        fx_ok(gs_ctx_destroy(ctx));
    }
    nothing_is_left(plan, &before);
    return applied_since(from, function, nth);
}

/* How many calls of the function there are, MAX_NTH if there are more. */
static unsigned int fail_each(const char *function, bool staged)
{
    unsigned int nth = 1, last = 0;

    fx_attach(0);
    for (; nth <= MAX_NTH; nth += SAMPLED && nth > 2 ? nth : 1) {
        size_t e = SAMPLED ? nth % ERRORS : 0;

        while (fail_call(function, nth, e, staged)) {
            last = nth;
            if (SAMPLED || ++e == ERRORS)
                break;
        }
        if (last < nth)
            break;
    }
    fx_works(fx.ctx[0]);
    return last;
}

START_TEST(a_call_that_fails_gives_no_wrong_result)
{
    const char *function = functions[_i];
    unsigned int calls = fail_each(function, false);

    /* Only a drain that sleeps has a thread for it: a matter of time. */
    if (!strcmp(function, "cuCtxSetCurrent"))
        return;
    ck_assert_msg((calls > 0) == !is_uncalled(function), "%s is called %u times", function, calls);
}
END_TEST

/* What copies need where the driver can't register memory. */
static const char *const staging[] = {"cuMemHostAlloc",       "cuMemcpyHtoDAsync_v2",
                                      "cuMemcpyDtoHAsync_v2", "cuEventCreate",
                                      "cuEventRecord",        "cuEventQuery"};

START_TEST(a_staged_copy_that_fails_spoils_no_other)
{
    ck_assert_uint_gt(fail_each(staging[_i], true), 1);
}
END_TEST

static Suite *cuda_calls_suite(void)
{
    Suite *s = suite_create("cuda_calls");
    TCase *tc = fx_tcase(s, "every call", setup_cuda);

    tcase_add_loop_test(tc, a_call_that_fails_gives_no_wrong_result, 0, FUNCTIONS);
    tcase_add_loop_test(tc, a_staged_copy_that_fails_spoils_no_other, 0,
                        (int)(sizeof(staging) / sizeof(staging[0])));
    return s;
}

VGPU_UNIT_MAIN(cuda_calls_suite)
