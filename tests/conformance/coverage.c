/* SPDX-License-Identifier: MIT */
/*
 * Do the conformance vectors run all that the PTX machine accepts?
 *
 * The machine's table of instructions says what it takes: each row with its types and modifiers.  Every vector is
 * parsed by the machine's own parser, and what its instructions are is taken off that list.  What is left must be
 * in the list of exceptions below, each with the reason; an exception that is no longer one fails too.  So a row,
 * type or modifier added to the table needs a vector that computes with it.
 *
 * This counts what is written in vectors, not every combination of a type with a modifier.
 */
#include "ptx_run.h"
#include "unit.h"
#include "vectors.h"

#include <exec/cpu/parse.h>
#include <stdio.h>
#include <string.h>

#define ARENA_BYTES (64u << 20)

struct use {
    bool used;
    uint64_t types[3];
    struct ptx_mods mods;
};

static const struct {
    const char *name, *what, *why; /* what: a type or modifier; NULL: the whole row */
} exceptions[] = {
    {"shfl", NULL, "without .sync: not for sm_70 and later; test_ptx_exec.c"},
    {"vote", NULL, "without .sync: not for sm_70 and later; test_ptx_exec.c"},
    {"trap", NULL, "ends the kernel; test_ptx_exec.c"},
    {"brkpt", NULL, "ends the kernel; test_ptx_exec.c"},
    {"sub", "u16x2", "not in the assemblers at hand; computed like add"},
    {"sub", "s16x2", "not in the assemblers at hand; computed like add"},
    {"fma", "oob", "its not-a-number is out of reach of other instructions"},
    {"cvta", "u32", "32-bit addresses are refused by the decoder"},
    {"prefetch", "tensormap", "a hint for a descriptor, which nothing here makes"},
    {"redux", "f32", "for sm_100a; the decoder refuses it"},
    {"redux", "NaN", "for sm_100a; the decoder refuses it"},
    {"redux", "abs", "for sm_100a; the decoder refuses it"},
    {"setmaxnreg", NULL, "for sm_90a; test_ptx_exec.c"},
    {"brx", "uni", "a hint"},
    {"bar", "sync", "bar.red has it in older texts alone"},
    {"bar", "aligned", "barrier has it; bar is aligned without"},
    {"fence", "acquire", "only with .sync_restrict, of clusters"},
    {"fence", "release", "only with .sync_restrict, of clusters"},
    {"fence", "mbarrier_init", "of clusters"},
    {"atom", "shared::cluster", "shared memory of other blocks is not there"},
    {"red", "shared::cluster", "shared memory of other blocks is not there"},
    {"mbarrier", "shared::cluster", "shared memory of other blocks is not there"},
    {"mbarrier", "cluster", "a scope: all are alike in one process"},
    {"mbarrier", "relaxed", "an order: all are alike in one process"},
};
#define EXCEPTIONS (sizeof(exceptions) / sizeof(exceptions[0]))

static struct use uses[PTX_OP_COUNT];
static bool excused[EXCEPTIONS];
static unsigned int missing;

static const char *folder(void)
{
    const char *path = getenv("VGPU_CONFORMANCE");

    return path ? path : "tests/conformance/vectors";
}

static void take_inst(const struct ptx_inst *inst)
{
    struct use *use = &uses[inst->op];

    use->used = true;
    for (uint32_t k = 0; k < inst->type_count && k < 3; k++)
        use->types[k] |= 1ull << inst->types[k];
    for (uint32_t w = 0; w < PTX_MOD_WORDS; w++)
        use->mods.word[w] |= inst->mods.word[w];
}

static void take_file(const char *name)
{
    struct vgpu_arena arena;
    struct ptx_module_ir *ir;
    struct ptx_log log = {0};
    char path[512], *text;
    size_t bytes;

    snprintf(path, sizeof(path), "%s/%s.ptx", folder(), name);
    text = ptx_test_read(path, &bytes);
    vgpu_arena_init(&arena, ARENA_BYTES);
    ck_assert_msg(ptx_parse(&arena, path, text, bytes, &log, &ir) == VGPU_PTX_OK, "%s: not parsed",
                  path);
    for (const struct ptx_func *func = ir->funcs; func; func = func->next)
        for (uint32_t i = 0; i < func->inst_count; i++)
            take_inst(&func->insts[i]);
    vgpu_arena_fini(&arena);
    free(text);
}

/* This has no vector; `what` as in an exception. */
static void miss(uint32_t op, const char *what)
{
    const char *name = ptx_op_info((enum ptx_opcode)op)->name;

    for (size_t i = 0; i < EXCEPTIONS; i++) {
        if (!strcmp(exceptions[i].name, name) &&
            (what && exceptions[i].what ? !strcmp(exceptions[i].what, what)
                                        : what == exceptions[i].what)) {
            excused[i] = true;
            return;
        }
    }
    missing++;
    printf("# row %u, %s: no vector has %s%s\n", op, name, what ? "." : "it", what ? what : "");
}

static void look_at(uint32_t op)
{
    const struct ptx_op_info *info = ptx_op_info((enum ptx_opcode)op);
    const struct use *use = &uses[op];

    if (info->flags & PTX_F_REFUSE)
        return;
    if (!use->used) {
        miss(op, NULL);
        return;
    }
    for (int k = 0; k < 3; k++)
        for (int t = 1; t < PTX_T_COUNT; t++)
            if ((info->types[k] & ~use->types[k]) >> t & 1)
                miss(op, ptx_type_name((enum ptx_type)t));
    for (int m = 0; m < PTX_M_COUNT; m++)
        if (ptx_mods_has(&info->allowed, (enum ptx_mod)m) &&
            !ptx_mods_has(&use->mods, (enum ptx_mod)m))
            miss(op, ptx_mod_name((enum ptx_mod)m));
}

START_TEST(every_row_type_and_modifier_has_a_vector)
{
    static char *families[VECTORS_MAX_FAMILIES];
    unsigned int count = vectors_families(folder(), families);

    ck_assert_int_ge(count, VECTORS_MIN_FAMILIES);
    ptx_tables_init();
    for (unsigned int i = 0; i < count; i++) {
        take_file(families[i]);
        free(families[i]);
    }
    for (uint32_t op = 0; op < PTX_OP_COUNT; op++)
        look_at(op);
    for (size_t i = 0; i < EXCEPTIONS; i++) {
        if (!excused[i])
            printf("# the exception for %s %s has a vector\n", exceptions[i].name,
                   exceptions[i].what ? exceptions[i].what : "");
        missing += !excused[i];
    }
    ck_assert_msg(missing == 0, "%u things without a vector or exceptions with one: see above",
                  missing);
}
END_TEST

static Suite *coverage_suite(void)
{
    Suite *s = suite_create("coverage");
    TCase *tc = tcase_create("vectors");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, every_row_type_and_modifier_has_a_vector);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    static const vgpu_suite_fn fns[] = {coverage_suite};

    return vgpu_unit_run(fns, 1);
}
