/* SPDX-License-Identifier: MIT */
/*
 * Kernels that load and would never end, or take more than they may: what is only to be caught when it runs, within
 * small limits. Nothing here looks at the clock: what does not end runs into the case's timeout.
 */
#include "big_text.h"
#include "ptx_run.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define HEAD         ".version 8.0\n.target sm_90\n.address_size 64\n"
#define LAUNCH_LIMIT (32u << 20)
#define SLACK        (96ull << 20) /* the module, logs, what a sanitizer adds */

static struct vgpu_ptx_machine *machine;

static void setup(void)
{
    struct vgpu_ptx_options options = {
        .threads = 1, .max_registers_bytes = LAUNCH_LIMIT, .instruction_budget = 2000000};

    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
}

static void teardown(void)
{
    vgpu_ptx_machine_destroy(machine);
}

static const struct {
    const char *before, *body;
    enum vgpu_ptx_fault_kind kind;
    const char *says;
} runs[] = {
    {".func f() { call f, (); }", "call f, ();", VGPU_PTX_FAULT_STACK, "stack overflow"},
    {".func g();\n.func f() { call g, (); }\n.func g() { call f, (); }", "call g, ();",
     VGPU_PTX_FAULT_STACK, "stack overflow"},
    {".func f() { .reg .b64 r; p: .callprototype _ (); mov.u64 r, f; call r, (), p; }",
     "call f, ();", VGPU_PTX_FAULT_STACK, "stack overflow"},
    {".func f() { .reg .pred p; .reg .u32 t; mov.u32 t, %tid.x; setp.ne.u32 p, t, 0; @p call f, "
     "(); }",
     "call f, ();", VGPU_PTX_FAULT_STACK, "stack overflow"},
    {".func f0() { ret; }\n", "mov.u64 %o, k; call %o, (), p;", VGPU_PTX_FAULT_ILLEGAL_ADDRESS,
     "indirect call"},
    {".func f0() { ret; }\n", "mov.u64 %o, f0; add.u64 %o, %o, 1; call %o, (), p;",
     VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "indirect call"},
    {"", "mov.u64 %o, 0; call %o, (), p;", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "indirect call"},
    {"", "mov.u64 %o, -1; call %o, (), p;", VGPU_PTX_FAULT_ILLEGAL_ADDRESS, "indirect call"},
    {"", "t: .branchtargets l; brx.idx %v, t; l:", VGPU_PTX_FAULT_INSTRUCTION, "brx"},
    {"", "mov.u32 %v, 0xffffffff; t: .branchtargets l; brx.idx %v, t; l:",
     VGPU_PTX_FAULT_INSTRUCTION, "brx"},
    {"", "l: bra l;", VGPU_PTX_FAULT_TIMEOUT, "limit"},
    {"", "l: t: .branchtargets l; mov.u32 %v, 0; brx.idx %v, t;", VGPU_PTX_FAULT_TIMEOUT, "limit"},
    {"", "l: bar.sync 0; bra l;", VGPU_PTX_FAULT_TIMEOUT, "limit"},
    {"", "l: atom.shared.cas.b32 %v, [s], 1, 2; setp.ne.u32 %q, %v, 1; @%q bra l;",
     VGPU_PTX_FAULT_TIMEOUT, "limit"},
    {"", "l: nanosleep.u32 1; bra l;", VGPU_PTX_FAULT_TIMEOUT, "limit"},
};

static struct ptx_run_result run_text(const char *text, uint32_t blocks)
{
    struct vgpu_ptx_module *module = ptx_test_load(machine, text);
    struct ptx_run_result r =
        ptx_test_launch(machine, ptx_test_function(module, "k"), blocks, 64, NULL, 0);

    vgpu_ptx_module_unload(module);
    return r;
}

static void check_fault(const struct ptx_run_result *r, enum vgpu_ptx_fault_kind kind,
                        const char *says)
{
    ck_assert_msg(r->fault.kind == kind && strstr(r->fault.text, says), "fault %d: %s",
                  (int)r->fault.kind, r->fault.text);
    ck_assert_str_eq(r->fault.kernel, "k");
}

START_TEST(what_runs_wild_is_caught_and_named)
{
    char text[2048];
    struct ptx_run_result r;

    snprintf(text, sizeof(text),
             HEAD
             "%s\n.visible .entry k() { .reg .b64 %%o; .reg .b32 %%v; .reg .pred %%q; "
             ".shared .align 4 .b32 s; p: .callprototype _ (); mov.u32 %%v, %%tid.x; add.u32 %%v, "
             "%%v, 1;\n%s\nret; }\n",
             runs[_i].before, runs[_i].body);
    r = run_text(text, 1);
    check_fault(&r, runs[_i].kind, runs[_i].says);
}
END_TEST

/* Calls that double at each level: no loop, no recursion, and no end. */
START_TEST(calls_that_double_at_each_level_end_with_the_budget)
{
    struct text t =
        text_of(HEAD ".func f0() { ret; }\n", ".func f$() { call f#, (); call f#, (); ret; }\n", 60,
                ".visible .entry k() { call f60, (); }\n");
    struct ptx_run_result r = run_text(t.bytes, 1);

    check_fault(&r, VGPU_PTX_FAULT_TIMEOUT, "limit");
    free(t.bytes);
}
END_TEST

/* Two thousand million blocks that do nothing. */
START_TEST(empty_blocks_count_against_the_budget)
{
    struct ptx_run_result r = run_text(HEAD ".visible .entry k() { ret; }\n", INT32_MAX);

    check_fault(&r, VGPU_PTX_FAULT_TIMEOUT, "limit");
}
END_TEST

static uint32_t printed;

static void count_text(void *user, const char *text, size_t bytes)
{
    (void)user, (void)text;
    ck_assert_uint_le(bytes, 16384);
    printed++;
}

/* Device printf is the costliest instruction there is: the budget is looked at between a few of them. */
START_TEST(printing_without_end_ends_with_the_budget)
{
    static const char call[] =
        "{ .param .b64 x; .param .b64 y; .param .b32 z; st.param.b64 [x], f; "
        "st.param.b64 [y], s; call (z), vprintf, (x, y); }\n";
    struct vgpu_ptx_options options = {.threads = 1, .print = count_text, .instruction_budget = 10};
    struct text t;
    struct ptx_run_result r;

    vgpu_ptx_machine_destroy(machine);
    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
    for (int is_loop = 0; is_loop < 2; is_loop++) {
        /* of each %.0s nothing is printed, and so nothing of the kilobyte is to be read */
        t = text_of(HEAD ".extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);\n"
                         ".global .b8 format[] = {",
                    "37, 46, 48, 115, ", 900, "10, 0};\n.global .b8 string[] = {");
        text_repeat(&t, "97, ", 1023);
        text_add(&t, "97};\n.global .u64 strings[] = {");
        text_repeat(&t, "string, ", 899);
        text_add(&t, "string};\n.visible .entry k() { .reg .b64 f, s; mov.u64 f, format; "
                     "mov.u64 s, strings;\nl: ");
        text_repeat(&t, call, is_loop ? 1 : 2000);
        text_add(&t, is_loop ? "bra l; }" : "ret; }");
        printed = 0;
        r = run_text(t.bytes, 1);
        check_fault(&r, VGPU_PTX_FAULT_TIMEOUT, "limit");
        ck_assert_uint_le(printed, 2 * 64 * 9); /* two warps, each its turn and one more */
        free(t.bytes);
    }
}
END_TEST

/* Frames of a quarter of a MiB, 4096 of them: more than one launch may have. */
START_TEST(frames_of_a_recursion_are_within_the_launch_limit)
{
    struct text t =
        text_of(HEAD ".func f() { .reg .b64 r<2000>; .reg .b64 a; .shared .b64 s;\n", "", 1, "");
    struct ptx_run_result r;
    uint64_t before;

    text_repeat(&t, "ld.shared.u64 r#, [s];\n", 2000);
    text_add(&t, "call f, ();\n");
    text_repeat(&t, "st.shared.u64 [s], r#;\n", 2000);
    text_add(&t, "ret; }\n.visible .entry k() { call f, (); }\n");
    before = peak_bytes();
    r = run_text(t.bytes, 1);
    check_fault(&r, VGPU_PTX_FAULT_STACK, "no memory for another frame");
    ck_assert_uint_le(peak_bytes() - before, LAUNCH_LIMIT * 9 / 8 + SLACK);
    free(t.bytes);
}
END_TEST

#define COUNT_OF(a) ((int)(sizeof(a) / sizeof((a)[0])))

static Suite *ptx_runaway_suite(void)
{
    Suite *s = suite_create("ptx_runaway");
    TCase *tc = tcase_create("run");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, what_runs_wild_is_caught_and_named, 0, COUNT_OF(runs));
    tcase_add_test(tc, calls_that_double_at_each_level_end_with_the_budget);
    tcase_add_test(tc, empty_blocks_count_against_the_budget);
    tcase_add_test(tc, printing_without_end_ends_with_the_budget);
    tcase_add_test(tc, frames_of_a_recursion_are_within_the_launch_limit);
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_runaway_suite)
