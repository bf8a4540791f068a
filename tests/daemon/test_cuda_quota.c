/* SPDX-License-Identifier: MIT */
/*
 * The VM's memory limit on the cuda executor: whatever takes device memory is refused beyond it as an
 * ordinary error, costs exactly what the driver takes while it lasts, and is given back; two contexts
 * share one limit.
 *
 * A context of the fake driver takes 64 MiB, 1 MiB of which the printf FIFO; the VM's limit is 256 MiB.
 */
#include "fixture.h"

#define MIB     (1ull << 20)
#define LIMIT   (256 * MIB)
#define CONTEXT (64 * MIB)

static void setup_heavy_contexts(void)
{
    setenv("VGPU_TEST_EXECUTOR", "cuda", 1);
    fx_fake_first = "VGPU_FAKECUDA_CONTEXT=66060288\n";
    fx_setup_bare();
    fx_attach(0);
}

static uint64_t held(void)
{
    struct fx_account account;

    fx_account(0, &account);
    return account.memory_held;
}

START_TEST(a_context_pays_for_itself)
{
    struct gs_ctx *more[3], *refused = NULL;
    uint64_t big, small;

    ck_assert_uint_eq(held(), CONTEXT);
    fx_is(gs_mem_alloc(fx.ctx[0], 193 * MIB, &big), VGPU_ST_OUT_OF_MEMORY);
    fx_ok(gs_mem_alloc(fx.ctx[0], 192 * MIB, &big));
    ck_assert_uint_eq(held(), 256 * MIB);
    fx_is(gs_mem_alloc(fx.ctx[0], 4096, &small), VGPU_ST_OUT_OF_MEMORY);
    fx_is(gs_ctx_create(fx.vm[0], NULL, &refused), VGPU_ST_OUT_OF_MEMORY);
    ck_assert(vgpud_log_wait(&fx.d, "no room for a context's own 64 MiB", GS_TIMEOUT_MS));
    fx_ok(gs_mem_free(fx.ctx[0], big));
    for (int i = 0; i < 3; i++)
        fx_ok(gs_ctx_create(fx.vm[0], NULL, &more[i]));
    ck_assert_uint_eq(held(), 256 * MIB);
    for (int i = 0; i < 3; i++)
        fx_ok(gs_ctx_destroy(more[i]));
    ck_assert_uint_eq(held(), CONTEXT);
    fx_works(fx.ctx[0]);
}
END_TEST

/* ---- What takes memory ---- */

static int take_memory(void)
{
    uint64_t addr;
    int rc = gs_mem_alloc(fx.ctx[0], 3 * MIB, &addr);

    return rc ? rc : gs_mem_free(fx.ctx[0], addr);
}

static int load(const char *ptx)
{
    uint32_t module;
    int rc = gs_module_load(fx.ctx[0], ptx, strlen(ptx), NULL, 0, &module);

    return rc ? rc : gs_module_unload(fx.ctx[0], module);
}

#define PTX ".version 7.0\n.target sm_70\n.address_size 64\n"

static int take_variables(void)
{
    return load(PTX ".global .align 4 .b8 big[3145728];\n.visible .entry none() { ret; }\n");
}

/* With a variable that is refused along with the heap. */
static int take_heap(void)
{
    return load(PTX ".extern .func (.param .b64 r) malloc(.param .b64 n);\n"
                    ".global .align 4 .b8 big[1572864];\n.visible .entry none() { ret; }\n");
}

/* 8 KiB for each of 2 x 2048 threads, of which a context's own memory has the first one. */
static int take_local(void)
{
    static const char ptx[] =
        PTX ".visible .entry none() { .local .align 8 .b8 room[8192]; .reg .b64 %l;\n"
            "  mov.u64 %l, room; st.local.u32 [%l], 1; ret; }\n";
    uint32_t module, function;
    int rc = gs_module_load(fx.ctx[0], ptx, strlen(ptx), NULL, 0, &module);

    fx_ok(rc);
    fx_ok(gs_func_lookup(fx.ctx[0], module, "none", &function, NULL, NULL, 0));
    rc = gs_launch(fx.ctx[0], function, 1, 1, NULL, 0);
    fx_ok(gs_module_unload(fx.ctx[0], module));
    return rc;
}

static uint64_t area; /* small memory, there before the limit is reached */

static int take_scratch(void)
{
    return gs_copy_d2d(fx.ctx[0], area + 4, area, 1024);
}

static const struct {
    const char *name;
    int (*take)(void);
    uint64_t costs; /* more than this is left for it to succeed ... */
    uint64_t keeps; /* ... of which it keeps so much to the context's end */
} takers[] = {
    {"memory", take_memory, 4 * MIB, 0},
    {"variables", take_variables, 4 * MIB, 0},
    {"heap", take_heap, 10 * MIB, 8 * MIB},
    {"local memory", take_local, 28 * MIB, 28 * MIB},
    {"scratch memory", take_scratch, 4 * MIB, 4 * MIB},
};

START_TEST(beyond_the_limit_is_an_ordinary_error)
{
    struct gs_ctx *ctx;
    uint64_t rest, before;
    int rc;

    fx_ok(gs_ctx_create(fx.vm[0], NULL, &ctx));
    fx_ok(gs_mem_alloc(fx.ctx[0], 4096, &area)); /* a page of 2 MiB, which small things share */
    before = held();
    ck_assert_uint_eq(before, 2 * CONTEXT + 2 * MIB);
    /* The other context has all but a page too little, then exactly enough. */
    for (uint64_t left = takers[_i].costs - 2 * MIB; left <= takers[_i].costs; left += 2 * MIB) {
        bool enough = left == takers[_i].costs;

        fx_ok(gs_mem_alloc(ctx, LIMIT - before - left, &rest));
        rc = takers[_i].take();
        ck_assert_msg(rc == (enough ? VGPU_ST_OK : VGPU_ST_OUT_OF_MEMORY),
                      "%s of %llu MiB with %llu MiB left: %s", takers[_i].name,
                      (unsigned long long)(takers[_i].costs / MIB),
                      (unsigned long long)(left / MIB), fx_status_name(rc));
        ck_assert_uint_eq(held(), LIMIT - left + (enough ? takers[_i].keeps : 0));
        fx_ok(gs_mem_free(ctx, rest));
    }
    /* Once more: what is kept is not taken twice. */
    fx_ok(takers[_i].take());
    ck_assert_uint_eq(held(), before + takers[_i].keeps);
    fx_works(fx.ctx[0]);
    fx_works(ctx);
    fx_ok(gs_ctx_destroy(fx.ctx[0]));
    fx.ctx[0] = NULL;
    ck_assert_uint_eq(held(), CONTEXT);
    fx_ok(gs_ctx_destroy(ctx));
    ck_assert_uint_eq(held(), 0);
}
END_TEST

START_TEST(two_contexts_share_one_limit)
{
    struct gs_ctx *a = fx.ctx[0], *b;
    uint64_t of_a, of_b, more;

    fx_ok(gs_ctx_create(fx.vm[0], NULL, &b));
    fx_ok(gs_mem_alloc(a, 100 * MIB, &of_a));
    fx_is(gs_mem_alloc(b, 29 * MIB, &more), VGPU_ST_OUT_OF_MEMORY);
    fx_ok(gs_mem_alloc(b, 28 * MIB, &of_b));
    ck_assert_uint_eq(held(), LIMIT);
    fx_is(gs_mem_alloc(a, 1, &more), VGPU_ST_OUT_OF_MEMORY);
    fx_is(gs_mem_alloc(b, 1, &more), VGPU_ST_OUT_OF_MEMORY);
    /* What one gives back the other can have, */
    fx_ok(gs_mem_free(a, of_a));
    fx_works(a);
    fx_ok(gs_mem_alloc(b, 100 * MIB, &more));
    fx_is(gs_mem_alloc(a, 1, &of_a), VGPU_ST_OUT_OF_MEMORY);
    ck_assert_uint_eq(held(), LIMIT);
    /* and what a context had that is gone, with its own. */
    fx_ok(gs_ctx_destroy(b));
    ck_assert_uint_eq(held(), CONTEXT);
    fx_ok(gs_mem_alloc(a, LIMIT - CONTEXT, &of_a));
    ck_assert_uint_eq(held(), LIMIT);
    fx_ok(gs_mem_free(a, of_a));
    fx_works(a);
}
END_TEST

static Suite *cuda_quota_suite(void)
{
    Suite *s = suite_create("cuda_quota");
    TCase *tc = fx_tcase(s, "quota", setup_heavy_contexts);

    tcase_add_test(tc, a_context_pays_for_itself);
    tcase_add_loop_test(tc, beyond_the_limit_is_an_ordinary_error, 0,
                        (int)(sizeof(takers) / sizeof(takers[0])));
    tcase_add_test(tc, two_contexts_share_one_limit);
    return s;
}

VGPU_UNIT_MAIN(cuda_quota_suite)
