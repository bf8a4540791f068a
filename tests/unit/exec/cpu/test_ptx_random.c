/* SPDX-License-Identifier: MIT */
/*
 * Random programs, run in different ways that must agree to the bit: in warps of 32 diverging lanes, with one thread
 * in each block (where nothing ever diverges), in both builds of the engine, on one worker and on four.
 *
 * A program is a tree of straight runs, if/else and bounded loops over registers of all kinds, with guarded
 * instructions; it depends on the thread's number and a seed only. What a seed makes is the same on every machine.
 */
#include "ptx_run.h"
#include "unit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PROGRAMS   80
#define THREADS    192
#define TEXT_BYTES (256u << 10)
#define REGS       8

struct maker {
    char *text;
    size_t used;
    uint64_t state;
    unsigned labels, loops;
};

static unsigned dice(struct maker *m, unsigned sides)
{
    m->state = m->state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(m->state >> 33) % sides;
}

__attribute__((format(printf, 2, 3))) static void say(struct maker *m, const char *format, ...)
{
    va_list args;
    int wrote;

    va_start(args, format);
    wrote = vsnprintf(m->text + m->used, TEXT_BYTES - m->used, format, args);
    va_end(args);
    ck_assert(wrote >= 0 && (size_t)wrote < TEXT_BYTES - m->used);
    m->used += (size_t)wrote;
}

/* r: 32 bits, d: 64 bits, f: float, h: 16 bits; %s of a pattern is filled in by kind */
static const char *const patterns[] = {
    "add.u32 r, r, r",
    "sub.s32 r, r, r",
    "mul.lo.s32 r, r, r",
    "mad.lo.u32 r, r, r, r",
    "mul.hi.u32 r, r, r",
    "div.s32 r, r, r",
    "rem.u32 r, r, r",
    "and.b32 r, r, r",
    "xor.b32 r, r, r",
    "shl.b32 r, r, r",
    "shr.s32 r, r, r",
    "min.s32 r, r, r",
    "bfe.u32 r, r, r, r",
    "prmt.b32 r, r, r, r",
    "popc.b32 r, r",
    "selp.b32 r, r, r, p",
    "lop3.b32 r, r, r, r, 0x96",
    "add.cc.u32 r, r, r;\naddc.u32 r, r, r",
    "add.s64 d, d, d",
    "mul.lo.u64 d, d, d",
    "mul.wide.s32 d, r, r",
    "mad.wide.u32 d, r, r, d",
    "shr.u64 d, d, r",
    "cvt.u32.u64 r, d",
    "cvt.s64.s32 d, r",
    "mov.b64 d, {r, r}",
    "mov.b64 {r, r}, d",
    "selp.b64 d, d, d, p",
    "add.f32 f, f, f",
    "fma.rn.f32 f, f, f, f",
    "mul.rz.f32 f, f, f",
    "sub.ftz.f32 f, f, f",
    "min.f32 f, f, f",
    "div.rn.f32 f, f, f",
    "cvt.rn.f32.s32 f, r",
    "cvt.rzi.s32.f32 r, f",
    "mov.b32 r, f",
    "add.u16 h, h, h",
    "mul.lo.s16 h, h, h",
    "cvt.u16.u32 h, r",
    "cvt.s32.s16 r, h",
    "setp.lt.s32 p, r, r",
    "setp.gtu.f32 p, f, f",
    "setp.eq.u64 p|p, d, d",
    "setp.ne.and.u16 p, h, h, p",
    "xor.pred p, p, p",
    "fma.rn.f16x2 r, r, r, r",
    "st.local.u32 [depot+16], r",
    "ld.local.u32 r, [depot+16]",
};

#define PATTERNS (sizeof(patterns) / sizeof(patterns[0]))

/* A letter standing alone becomes a register of that kind. */
static void say_instruction(struct maker *m)
{
    const char *pattern = patterns[dice(m, PATTERNS)];

    if (!strchr(pattern, ';') && dice(m, 6) == 0)
        say(m, "@%s%%p%u ", dice(m, 2) ? "!" : "", dice(m, REGS));
    for (const char *c = pattern; *c; c++) {
        bool alone = c > pattern && strchr(" {|", c[-1]) && (!c[1] || strchr(",}|;", c[1]));

        if (alone && strchr("rdfhp", *c))
            say(m, "%%%c%u", *c, dice(m, REGS));
        else
            say(m, "%c", *c);
    }
    say(m, ";\n");
}

static void say_block(struct maker *m, unsigned depth)
{
    unsigned statements = 2 + dice(m, 5);

    while (statements--) {
        unsigned label = m->labels++, kind = depth ? dice(m, 8) : 7;

        if (kind == 0 &&
            m->loops < 12) { /* a loop of up to 7 turns, a different number in each lane */
            unsigned counter = m->loops++;

            say(m, "and.b32 %%n%u, %%r%u, 7;\nL%u:\n", counter, dice(m, REGS), label);
            say_block(m, depth - 1);
            say(m, "sub.s32 %%n%u, %%n%u, 1;\nsetp.gt.s32 %%q%u, %%n%u, 0;\n@%%q%u bra L%u;\n",
                counter, counter, counter, counter, counter, label);
        } else if (kind == 1 || kind == 2) {
            say(m, "@%s%%p%u bra E%u;\n", dice(m, 2) ? "!" : "", dice(m, REGS), label);
            say_block(m, depth - 1);
            say(m, "bra F%u;\nE%u:\n", label, label);
            say_block(m, depth - 1);
            say(m, "F%u:\n", label);
        } else {
            for (unsigned k = 1 + dice(m, 6); k; k--)
                say_instruction(m);
        }
    }
}

static char *make_program(unsigned seed)
{
    struct maker m = {.text = malloc(TEXT_BYTES), .state = seed * 0x9e3779b97f4a7c15ull + 1};

    ck_assert_ptr_nonnull(m.text);
    say(&m, ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 out) {\n"
            ".reg .b32 %%r<8>, %%n<16>, %%i, %%x, %%y; .reg .b64 %%d<8>, %%o; .reg .f32 %%f<8>; "
            ".reg .b16 %%h<8>;\n"
            ".reg .pred %%p<8>, %%q<16>; .local .align 8 .b8 depot[32];\n"
            "mov.u32 %%i, %%ctaid.x; mov.u32 %%x, %%ntid.x; mov.u32 %%y, %%tid.x; mad.lo.u32 %%i, "
            "%%i, %%x, %%y;\n"
            "st.local.u32 [depot+16], %%i;\n");
    for (unsigned k = 0; k < REGS; k++)
        say(&m,
            "mad.lo.u32 %%r%u, %%i, %u, %u; cvt.u64.u32 %%d%u, %%r%u; cvt.rn.f32.u32 %%f%u, "
            "%%r%u;\n"
            "cvt.u16.u32 %%h%u, %%r%u; setp.gt.s32 %%p%u, %%r%u, %u;\n",
            k, 2654435761u * (k + 1), k * 77, k, k, k, k, k, k, k, k, k * 1000);
    say_block(&m, 3);
    say(&m, "ld.param.u64 %%o, [out]; mad.wide.u32 %%o, %%i, 128, %%o;\n");
    for (unsigned k = 0; k < REGS; k++)
        say(&m,
            "selp.u32 %%x, 1, 0, %%p%u; cvt.u32.u16 %%y, %%h%u; mad.lo.u32 %%x, %%y, 2, %%x;\n"
            "xor.b32 %%x, %%x, %%r%u; st.global.u64 [%%o+%u], %%d%u; st.global.u32 [%%o+%u], %%x;\n"
            "st.global.f32 [%%o+%u], %%f%u;\n",
            k, k, k, k * 16, k, k * 16 + 8, k * 16 + 12, k);
    say(&m, "ret; }\n");
    return m.text;
}

static void run_way(const char *text, enum vgpu_ptx_isa isa, uint32_t workers, uint32_t blocks,
                    uint32_t threads, uint32_t *out)
{
    struct vgpu_ptx_machine *machine = ptx_test_machine(workers, isa);
    struct vgpu_ptx_module *module = ptx_test_load(machine, text);
    struct ptx_run_result result;
    void *host;
    uint64_t va = ptx_test_alloc(machine, THREADS * 128, &host);

    result = ptx_test_launch(machine, ptx_test_function(module, "k"), blocks, threads, &va, 1);
    ck_assert_msg(result.status == VGPU_PTX_OK, "%s", result.fault.text);
    memcpy(out, host, THREADS * 128);
    vgpu_ptx_module_unload(module);
    vgpu_ptx_machine_destroy(machine);
}

static void agree(unsigned seed, const char *way, const uint32_t *a, const uint32_t *b)
{
    for (unsigned k = 0; k < THREADS * 32; k++)
        ck_assert_msg(a[k] == b[k], "program %u, %s: thread %u word %u is %08x, alone %08x", seed,
                      way, k / 32, k % 32, b[k], a[k]);
}

START_TEST(every_way_gives_the_same)
{
    static uint32_t alone[THREADS * 32], got[THREADS * 32];
    char *text = make_program((unsigned)_i);

    run_way(text, VGPU_PTX_CPU_BASELINE, 1, THREADS, 1, alone);
    run_way(text, VGPU_PTX_CPU_BASELINE, 1, 2, THREADS / 2, got);
    agree((unsigned)_i, "baseline, warps", alone, got);
    run_way(text, VGPU_PTX_CPU_AUTO, 1, 1, THREADS, got);
    agree((unsigned)_i, "best build, warps", alone, got);
    run_way(text, VGPU_PTX_CPU_AUTO, 4, THREADS / 48, 48, got);
    agree((unsigned)_i, "best build, four workers, partial warps", alone, got);
    free(text);
}
END_TEST

static Suite *ptx_random_suite(void)
{
    Suite *s = suite_create("ptx_random");
    TCase *tc = tcase_create("differential");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_way_gives_the_same, 0, PROGRAMS);
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_random_suite)
