/* SPDX-License-Identifier: MIT */
/*
 * The quick ways of the PTX machine at their edges: rows of words at the ends of memory, loads that share an address
 * register and are fused with the arithmetic behind them, constants of a launch. Each case runs in both builds of
 * the engine, of which one has none of those ways.
 */
#include "ptx_run.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define HEAD ".version 8.0\n.target sm_90\n.address_size 64\n"
#define TID  ".reg .b32 %t; mov.u32 %t, %tid.x;\n"
#define OUT  ".reg .b64 %o, %p; ld.param.u64 %o, [out]; mad.wide.u32 %p, %t, 4, %o;\n"

static const enum vgpu_ptx_isa isas[] = {VGPU_PTX_CPU_BASELINE, VGPU_PTX_CPU_AVX2};
static struct vgpu_ptx_machine *machine;

static bool machine_for(int which)
{
    if (!ptx_test_has(isas[which]))
        return false;
    machine = ptx_test_machine(1, isas[which]);
    return true;
}

static struct ptx_run_result run(const char *text, uint32_t threads, const uint64_t *params,
                                 uint32_t count)
{
    struct vgpu_ptx_module *module = ptx_test_load(machine, text);
    struct ptx_run_result r =
        ptx_test_launch(machine, ptx_test_function(module, "k"), 1, threads, params, count);

    vgpu_ptx_module_unload(module);
    return r;
}

/* Copies in[tid] to out[tid]; line 8 loads, line 9 stores. */
static const char copy[] = HEAD ".visible .entry k(.param .u64 out, .param .u64 in) {\n"
                                ".reg .b64 %i, %q; .reg .b32 %v;" TID OUT
                                "ld.param.u64 %i, [in]; mad.wide.u32 %q, %t, 4, %i;\n"
                                "ld.global.u32 %v, [%q];\nst.global.u32 [%p], %v;\nret; }\n";

START_TEST(a_row_may_end_where_its_memory_ends)
{
    uint32_t *from, *to;
    uint64_t params[2];
    struct ptx_run_result r;

    if (!machine_for(_i))
        return;
    params[0] = ptx_test_alloc(machine, 128, (void **)&to);
    params[1] = ptx_test_alloc(machine, 128, (void **)&from);
    for (uint32_t k = 0; k < 32; k++)
        from[k] = k * k;
    r = run(copy, 32, params, 2);
    ck_assert_msg(r.status == VGPU_PTX_OK, "%s", r.fault.text);
    ck_assert_int_eq(memcmp(from, to, 128), 0);
    ck_assert_uint_eq(r.counters.global_load_bytes, 128);
    ck_assert_uint_eq(r.counters.global_store_bytes, 128);
    vgpu_ptx_machine_destroy(machine);
}
END_TEST

/* Memory of fewer than 32 words, from some byte on: which lane faults, on which line, how. */
static const struct edge {
    uint32_t in_bytes, out_bytes, in_shift, out_shift;
    uint32_t lane, line;
    enum vgpu_ptx_fault_kind kind;
} edges[] = {
    {124, 128, 0, 0, 31, 8, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {127, 128, 0, 0, 31, 8, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {60, 128, 0, 0, 15, 8, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {4, 128, 0, 0, 1, 8, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {128, 128, 4, 0, 31, 8, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {256, 128, 2, 0, 0, 8, VGPU_PTX_FAULT_MISALIGNED},
    {128, 124, 0, 0, 31, 9, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {128, 60, 0, 0, 15, 9, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {128, 256, 0, 1, 0, 9, VGPU_PTX_FAULT_MISALIGNED},
};

START_TEST(a_row_beyond_its_memory_faults)
{
    const struct edge *e = &edges[_i / 2];
    uint64_t params[2];
    struct ptx_run_result r;
    void *host;

    if (!machine_for(_i % 2))
        return;
    params[0] = ptx_test_alloc(machine, e->out_bytes, &host) + e->out_shift;
    params[1] = ptx_test_alloc(machine, e->in_bytes, &host) + e->in_shift;
    r = run(copy, 32, params, 2);
    ck_assert_msg(r.status == VGPU_PTX_FAULT && r.fault.kind == e->kind, "%s", r.fault.text);
    ck_assert_uint_eq(r.fault.line, e->line);
    ck_assert_uint_eq(r.fault.thread[0], e->lane);
    ck_assert_uint_eq(r.fault.va, params[e->line == 8 ? 1 : 0] + 4 * e->lane);
    vgpu_ptx_machine_destroy(machine);
}
END_TEST

/* Lanes 16-31 store where lanes 8-23 do, one word on: what is written last stays. */
START_TEST(overlapping_rows_are_stored_in_the_order_of_lanes)
{
    static const char text[] =
        HEAD ".visible .entry k(.param .u64 out) {\n" TID
             ".reg .b64 %o, %p; .reg .b32 %x, %y; .reg .pred %q; ld.param.u64 %o, [out];\n"
             "setp.ge.u32 %q, %t, 16; selp.u32 %x, 8, 0, %q; sub.u32 %y, %t, %x;\n"
             "mad.wide.u32 %p, %y, 4, %o; st.global.u32 [%p], %t; ret; }\n";
    uint32_t *out;
    uint64_t va;
    struct ptx_run_result r;

    if (!machine_for(_i))
        return;
    va = ptx_test_alloc(machine, 128, (void **)&out);
    r = run(text, 32, &va, 1);
    ck_assert_msg(r.status == VGPU_PTX_OK, "%s", r.fault.text);
    for (uint32_t k = 0; k < 24; k++)
        ck_assert_uint_eq(out[k], k < 8 ? k : k + 8);
    vgpu_ptx_machine_destroy(machine);
}
END_TEST

#define SHARED                                                                                     \
    ".shared .align 4 .b8 s[512]; .reg .b32 %a, %b, %u; .reg .f32 %f<9>; .reg .pred %q;\n"         \
    "mov.u32 %a, s; mad.lo.u32 %a, %t, 4, %a; cvt.rn.f32.u32 %f0, %t;\n"                           \
    "st.shared.f32 [%a], %f0; add.f32 %f0, %f0, 0f42000000; st.shared.f32 [%a+128], %f0;\n"        \
    "add.f32 %f0, %f0, 0f42000000; st.shared.f32 [%a+256], %f0;\n"                                 \
    "add.f32 %f0, %f0, 0f42000000; st.shared.f32 [%a+384], %f0; bar.sync 0;\n"

/* s[k] is k. Two loads behind a leader, multiplied: the fused form. */
START_TEST(loads_through_one_register_feed_a_product)
{
    static const char text[] = HEAD
        ".visible .entry k(.param .u64 out) {\n" TID OUT SHARED
        "mov.u32 %b, s; mov.f32 %f8, 0f3F800000;\n"
        "ld.shared.f32 %f1, [%a]; ld.shared.f32 %f2, [%b]; fma.rn.f32 %f3, %f1, %f2, %f8;\n"
        "ld.shared.f32 %f4, [%a+128]; ld.shared.f32 %f5, [%b+8]; fma.rn.f32 %f6, %f5, %f4, %f3;\n"
        "st.global.f32 [%p], %f6; ret; }\n";
    float *out;
    uint64_t va;
    struct ptx_run_result r;

    if (!machine_for(_i))
        return;
    va = ptx_test_alloc(machine, 128, (void **)&out);
    r = run(text, 32, &va, 1);
    ck_assert_msg(r.status == VGPU_PTX_OK, "%s", r.fault.text);
    for (uint32_t k = 0; k < 32; k++)
        ck_assert(out[k] == 2.0f * (float)(k + 32) + 1.0f);
    vgpu_ptx_machine_destroy(machine);
}
END_TEST

/* The fma is a loop of its own, so it needs the loads' registers more than once. */
START_TEST(a_loop_that_begins_at_the_product_keeps_the_loads)
{
    static const char text[] =
        HEAD ".visible .entry k(.param .u64 out) {\n" TID OUT SHARED
             "mov.u32 %b, s; mov.f32 %f6, 0f00000000; mov.u32 %u, 0;\n"
             "ld.shared.f32 %f1, [%a]; ld.shared.f32 %f2, [%b];\n"
             "ld.shared.f32 %f4, [%a+128]; ld.shared.f32 %f5, [%b+8];\n"
             "again: fma.rn.f32 %f6, %f4, %f5, %f6;\n"
             "add.u32 %u, %u, 1; setp.lt.u32 %q, %u, 5; @%q bra again;\n"
             "add.f32 %f6, %f6, %f1; add.f32 %f6, %f6, %f2; st.global.f32 [%p], %f6; ret; }\n";
    float *out;
    uint64_t va;
    struct ptx_run_result r;

    if (!machine_for(_i))
        return;
    va = ptx_test_alloc(machine, 128, (void **)&out);
    r = run(text, 32, &va, 1);
    ck_assert_msg(r.status == VGPU_PTX_OK, "%s", r.fault.text);
    for (uint32_t k = 0; k < 32; k++)
        ck_assert(out[k] == 10.0f * (float)(k + 32) + (float)k);
    vgpu_ptx_machine_destroy(machine);
}
END_TEST

/*
 * The block `part` is passed by all lanes, then by half of them with other addresses, which wait in its middle for the
 * others (which came from elsewhere, past the leader with theirs): a note of the first pass must not serve.
 */
START_TEST(a_note_does_not_outlive_the_addresses_it_was_made_of)
{
    static const char text[] =
        HEAD ".visible .entry k(.param .u64 out) {\n" TID OUT SHARED
             ".reg .b32 %n; .reg .pred %h, %l; mov.u32 %n, 0; setp.lt.u32 %h, %t, 16;\n"
             "part: ld.shared.f32 %f1, [%a]; bar.warp.sync 0xffffffff;\n"
             "ld.shared.f32 %f2, [%a+128]; add.f32 %f3, %f1, %f2;\n"
             "add.u32 %n, %n, 1; setp.ge.u32 %l, %n, 3; @%l bra done;\n"
             "@%h bra low;\nadd.u32 %a, %a, 4; add.u32 %n, %n, 0; bra part;\n"
             "low: add.u32 %a, %a, 64; bra part;\n"
             "done: st.global.f32 [%p], %f3; ret; }\n";
    float *out;
    uint64_t va;
    struct ptx_run_result r;

    if (!machine_for(_i))
        return;
    va = ptx_test_alloc(machine, 128, (void **)&out);
    r = run(text, 32, &va, 1);
    ck_assert_msg(r.status == VGPU_PTX_OK, "%s", r.fault.text);
    for (uint32_t k = 0; k < 32; k++)
        ck_assert_msg(out[k] == 2.0f * (float)(k + (k < 16 ? 32 : 2)) + 32.0f, "lane %u: %g", k,
                      (double)out[k]);
    vgpu_ptx_machine_destroy(machine);
}
END_TEST

/* The offset of the second load of a group, and of the fused pair: which line faults. */
static const struct {
    const char *first, *second;
    uint32_t line, lane;
    enum vgpu_ptx_fault_kind kind;
} beyond[] = {
    {"+388", "+8", 5, 31, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {"+512", "+8", 5, 0, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {"-4", "+8", 5, 0, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {"+2", "+8", 5, 0, VGPU_PTX_FAULT_MISALIGNED},
    {"+128", "+512", 6, 0, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {"+128", "-4", 6, 0, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {"+128", "+2147483644", 6, 0, VGPU_PTX_FAULT_ILLEGAL_ADDRESS},
    {"+128", "+1", 6, 0, VGPU_PTX_FAULT_MISALIGNED},
};

START_TEST(each_load_of_a_group_is_checked)
{
    static const char form[] =
        HEAD ".visible .entry k(.param .u64 out) { " TID OUT
             ".shared .align 4 .b8 s[512]; .reg .b32 %a, %b; .reg .f32 %f<9>; mov.u32 %a, s; "
             "mov.u32 %b, s; mad.lo.u32 %a, %t, 4, %a; mov.f32 %f3, 0f00000000; "
             "ld.shared.f32 %f1, [%a]; ld.shared.f32 %f2, [%b]; add.f32 %f3, %f1, %f2;\n"
             "ld.shared.f32 %f4, [%a@];\nld.shared.f32 %f5, [%b#];\n"
             "fma.rn.f32 %f6, %f4, %f5, %f3;\nst.global.f32 [%p], %f6; ret; }\n";
    char text[2048], *to = text;
    uint32_t lines = 0, line;
    struct ptx_run_result r;
    uint64_t va;
    void *host;

    if (!machine_for(_i % 2))
        return;
    for (const char *c = form; *c; c++) {
        const char *put = *c == '@'   ? beyond[_i / 2].first
                          : *c == '#' ? beyond[_i / 2].second
                                      : NULL;

        if (put)
            to += snprintf(to, (size_t)(text + sizeof(text) - to), "%s", put);
        else
            *to++ = *c;
    }
    *to = '\0';
    /* lines of the two loads, whatever HEAD and OUT have */
    for (const char *c = text; c < strstr(text, "ld.shared.f32 %f4"); c++)
        lines += *c == '\n';
    line = lines + 1 + (beyond[_i / 2].line - 5);
    va = ptx_test_alloc(machine, 128, &host);
    r = run(text, 32, &va, 1);
    ck_assert_msg(r.status == VGPU_PTX_FAULT && r.fault.kind == beyond[_i / 2].kind, "%s",
                  r.fault.text);
    ck_assert_uint_eq(r.fault.line, line);
    ck_assert_uint_eq(r.fault.thread[0], beyond[_i / 2].lane);
    vgpu_ptx_machine_destroy(machine);
}
END_TEST

/* Parameters narrower than their registers, copies of them, a guarded write, a second write. */
START_TEST(parameters_reach_registers_as_ld_param_says)
{
    static const char text[] = HEAD
        ".visible .entry k(.param .u64 out, .param .s8 a, .param .u8 b, .param .s32 c, "
        ".param .u16 d) {\n" TID ".reg .b64 %o, %w, %g; .reg .b32 %x, %y, %z, %v; .reg .b16 %h;\n"
        ".reg .pred %q; ld.param.u64 %o, [out]; cvta.to.global.u64 %g, %o;\n"
        "ld.param.s8 %x, [a]; ld.param.u8 %y, [b]; ld.param.s32 %w, [c]; ld.param.u16 %h, [d];\n"
        "setp.gt.u32 %q, %t, 3; mov.u32 %z, 5; @%q mov.u32 %z, 6; mov.u32 %v, 7;\n"
        "@%q bra skip;\nmov.u32 %v, 8;\nskip: cvt.u32.u16 %t, %h;\n"
        "mov.u32 %t, %tid.x; setp.ne.u32 %q, %t, 4; @%q exit;\n"
        "st.global.u32 [%g], %x; st.global.u32 [%g+4], %y; st.global.u64 [%g+8], %w;\n"
        "st.global.u16 [%g+16], %h; st.global.u32 [%g+20], %z; st.global.u32 [%g+24], %v; ret; }\n";
    const uint64_t args[5] = {0, 0xfe, 0xfe, 0x80000001u, 0x8001};
    uint64_t params[5];
    uint32_t *out;
    struct ptx_run_result r;

    if (!machine_for(_i))
        return;
    memcpy(params, args, sizeof(args));
    params[0] = ptx_test_alloc(machine, 64, (void **)&out);
    r = run(text, 32, params, 5);
    ck_assert_msg(r.status == VGPU_PTX_OK, "%s", r.fault.text);
    ck_assert_uint_eq(out[0], 0xfffffffeu);
    ck_assert_uint_eq(out[1], 0xfe);
    ck_assert_uint_eq(out[2], 0x80000001u);
    ck_assert_uint_eq(out[3], 0xffffffffu);
    ck_assert_uint_eq(out[4], 0x8001);
    ck_assert_uint_eq(out[5], 6);
    ck_assert_uint_eq(out[6], 7);
    vgpu_ptx_machine_destroy(machine);
}
END_TEST

Suite *ptx_rows_suite(void);
Suite *ptx_rows_suite(void)
{
    Suite *s = suite_create("ptx-rows");
    TCase *tc = tcase_create("rows");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, a_row_may_end_where_its_memory_ends, 0, 2);
    tcase_add_loop_test(tc, a_row_beyond_its_memory_faults, 0,
                        2 * (int)(sizeof(edges) / sizeof(edges[0])));
    tcase_add_loop_test(tc, overlapping_rows_are_stored_in_the_order_of_lanes, 0, 2);
    tcase_add_loop_test(tc, loads_through_one_register_feed_a_product, 0, 2);
    tcase_add_loop_test(tc, a_loop_that_begins_at_the_product_keeps_the_loads, 0, 2);
    tcase_add_loop_test(tc, a_note_does_not_outlive_the_addresses_it_was_made_of, 0, 2);
    tcase_add_loop_test(tc, each_load_of_a_group_is_checked, 0,
                        2 * (int)(sizeof(beyond) / sizeof(beyond[0])));
    tcase_add_loop_test(tc, parameters_reach_registers_as_ld_param_says, 0, 2);
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_rows_suite)
