/* SPDX-License-Identifier: MIT */
/*
 * Random programs, run in different ways that must agree to the bit: in warps of 32 diverging lanes, with one thread
 * in each block (where nothing ever diverges), in both builds of the engine, on one worker and on four, and in
 * deterministic mode.
 *
 * A program is a tree of straight runs, if/else and bounded loops over registers of all kinds, with guarded
 * instructions; it depends on the thread's number and a seed only. What a seed makes is the same on every machine.
 * Programs of blocks have such trees between points at which all threads of a block meet: barriers with shared
 * memory, shuffles, votes and reductions, none of which may race.
 */
#include "ptx_run.h"
#include "unit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PROGRAMS       40
#define BLOCK_PROGRAMS 30
#define THREADS        192
#define TEXT_BYTES     (256u << 10)
#define REGS           8
#define BLOCK          96u /* threads of a block whose threads meet: three full warps */

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
    "neg.s32 r, r",
    "abs.s32 r, r",
    "max.u32 r, r, r",
    "or.b32 r, r, r",
    "not.b32 r, r",
    "cnot.b32 r, r",
    "sad.u32 r, r, r, r",
    "mul24.lo.s32 r, r, r",
    "mad24.lo.u32 r, r, r, r",
    "mul.hi.s64 d, d, d",
    "div.u64 d, d, d",
    "rem.s64 d, d, d",
    "shl.b64 d, d, r",
    "clz.b32 r, r",
    "clz.b64 r, d",
    "brev.b64 d, d",
    "bfind.s32 r, r",
    "bfind.shiftamt.u64 r, d",
    "bfi.b32 r, r, r, r, r",
    "bfe.s64 d, d, r, r",
    "bmsk.clamp.b32 r, r, r",
    "szext.wrap.s32 r, r, r",
    "shf.l.wrap.b32 r, r, r, r",
    "shf.r.clamp.b32 r, r, r, r",
    "prmt.b32.f4e r, r, r, r",
    "prmt.b32.rc16 r, r, r, r",
    "dp4a.s32.u32 r, r, r, r",
    "dp2a.hi.u32.s32 r, r, r, r",
    "sub.cc.u32 r, r, r;\nsubc.cc.u32 r, r, r;\nsubc.u32 r, r, r",
    "mad.lo.cc.u32 r, r, r, r;\nmadc.hi.u32 r, r, r, r",
    "set.lt.u32.s32 r, r, r",
    "set.ge.f32.f32 f, f, f",
    "slct.s32.f32 r, r, r, f",
    "lop3.b32 r, r, r, r, 0xe8",
    "not.pred p, p",
    "and.pred p, p, p",
    "testp.subnormal.f32 p, f",
    "setp.ltu.xor.f64 p, d, d, p",
    "copysign.f32 f, f, f",
    "abs.f32 f, f",
    "neg.ftz.f32 f, f",
    "max.NaN.f32 f, f, f",
    "mul.ftz.sat.f32 f, f, f",
    "add.rp.f32 f, f, f",
    "fma.rm.f32 f, f, f, f",
    "rcp.rn.f32 f, f",
    "sqrt.rz.f32 f, f",
    "div.approx.f32 f, f, f",
    "rcp.approx.ftz.f32 f, f",
    "rsqrt.approx.f32 f, f",
    "ex2.approx.f32 f, f",
    "lg2.approx.ftz.f32 f, f",
    "sin.approx.f32 f, f",
    "tanh.approx.f32 f, f",
    "fma.rn.f64 d, d, d, d",
    "add.rz.f64 d, d, d",
    "div.rn.f64 d, d, d",
    "sqrt.rn.f64 d, d",
    "min.f64 d, d, d",
    "cvt.rn.f64.s32 d, r",
    "cvt.f64.f32 d, f",
    "cvt.rm.f32.f64 f, d",
    "cvt.rni.s64.f64 d, d",
    "cvt.rzi.u32.f32 r, f",
    "cvt.rpi.f32.f32 f, f",
    "cvt.sat.u8.s32 r, r",
    "cvt.rn.f16.f32 h, f",
    "cvt.f32.f16 f, h",
    "cvt.rn.bf16x2.f32 r, f, f",
    "fma.rn.relu.f16 h, h, h, h",
    "max.f16x2 r, r, r",
    "mov.b32 f, r",
    "mov.b32 {h, h}, r",
    "st.local.b8 [depot+21], r",
    "ld.local.s16 r, [depot+20]",
    "ld.local.v2.u32 {r, r}, [depot+16]",
};

#define PATTERNS (sizeof(patterns) / sizeof(patterns[0]))

/* A letter standing alone becomes a register of that kind, # the offset of a word of a block's. */
static void say_pattern(struct maker *m, const char *pattern)
{
    for (const char *c = pattern; *c; c++) {
        bool alone = c > pattern && strchr(" {|!@", c[-1]) && (!c[1] || strchr(",}|; ", c[1]));

        if (alone && strchr("rdfhp", *c))
            say(m, "%%%c%u", *c, dice(m, REGS));
        else if (*c == '#')
            say(m, "%u", 4 * dice(m, BLOCK));
        else
            say(m, "%c", *c);
    }
    say(m, ";\n");
}

static void say_instruction(struct maker *m)
{
    const char *pattern = patterns[dice(m, PATTERNS)];

    if (!strchr(pattern, ';') && dice(m, 6) == 0)
        say(m, "@%s%%p%u ", dice(m, 2) ? "!" : "", dice(m, REGS));
    say_pattern(m, pattern);
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

static void say_start(struct maker *m)
{
    say(m, ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 out) {\n"
           ".reg .b32 %%r<8>, %%n<16>, %%i, %%x, %%y; .reg .b64 %%d<8>, %%o; .reg .f32 %%f<8>; "
           ".reg .b16 %%h<8>;\n"
           ".reg .pred %%p<8>, %%q<16>; .local .align 8 .b8 depot[32];\n"
           "mov.u32 %%i, %%ctaid.x; mov.u32 %%x, %%ntid.x; mov.u32 %%y, %%tid.x; mad.lo.u32 %%i, "
           "%%i, %%x, %%y;\n"
           "st.local.u64 [depot+16], 0;\nst.local.u32 [depot+16], %%i;\n");
    for (unsigned k = 0; k < REGS; k++)
        say(m,
            "mad.lo.u32 %%r%u, %%i, %u, %u; cvt.u64.u32 %%d%u, %%r%u; cvt.rn.f32.u32 %%f%u, "
            "%%r%u;\n"
            "cvt.u16.u32 %%h%u, %%r%u; setp.gt.s32 %%p%u, %%r%u, %u;\n",
            k, 2654435761u * (k + 1), k * 77, k, k, k, k, k, k, k, k, k * 1000);
}

/* Stores all registers to the thread's 128 bytes of the output. */
static void say_end(struct maker *m)
{
    say(m, "ld.param.u64 %%o, [out]; mad.wide.u32 %%o, %%i, 128, %%o;\n");
    for (unsigned k = 0; k < REGS; k++)
        say(m,
            "selp.u32 %%x, 1, 0, %%p%u; cvt.u32.u16 %%y, %%h%u; mad.lo.u32 %%x, %%y, 2, %%x;\n"
            "xor.b32 %%x, %%x, %%r%u; st.global.u64 [%%o+%u], %%d%u; st.global.u32 [%%o+%u], %%x;\n"
            "st.global.f32 [%%o+%u], %%f%u;\n",
            k, k, k, k * 16, k, k * 16 + 8, k * 16 + 12, k);
    say(m, "ret; }\n");
}

static char *make_program(unsigned seed)
{
    struct maker m = {.text = malloc(TEXT_BYTES), .state = seed * 0x9e3779b97f4a7c15ull + 1};

    ck_assert_ptr_nonnull(m.text);
    say_start(&m);
    say_block(&m, 3);
    say_end(&m);
    return m.text;
}

/*
 * Meeting points; all threads of the block come to them, converged or not. %s0 is the thread's word of the first
 * of two arrays in shared memory of a word for each thread, %s1 that of another thread. A number is a random one.
 */
static const char *const meetings[] = {
    /* words of other threads, by rows and by one word for all, and sums of products of them */
    "bar.sync 0; st.shared.b32 [%s0], r; st.shared.f32 [%s0+384], f; bar.sync 0;\n"
    "ld.shared.b32 r, [%s1]; ld.shared.f32 f, [%s1+384]; ld.shared.b32 r, [s+#]",
    "bar.sync 0; st.shared.f32 [%s0], f; st.shared.f32 [%s0+384], f; bar.sync 0; mov.u32 %y, s;\n"
    "ld.shared.f32 f, [%s0]; ld.shared.f32 f, [%y];\n"
    "ld.shared.f32 %g0, [%s0+384]; ld.shared.f32 %g1, [%y+#]; fma.rn.f32 f, %g0, %g1, f;\n"
    "ld.shared.f32 %g2, [%s0]; ld.shared.f32 %g3, [%y+#]; fma.rn.f32 f, %g3, %g2, f;\n"
    "@p ld.shared.f32 f, [%s0+384]",
    "bar.sync 0; st.shared.b16 [%s0], h; st.shared.b8 [%s0+2], r; st.shared.b8 [%s0+3], r;\n"
    "barrier.sync 0; ld.shared.u32 r, [%s1]; ld.shared.s8 r, [%s1+3]; ld.shared.u16 h, [%s1]",
    /* all add to one word: the order does not show */
    "bar.sync 0; st.shared.b32 [s+#], r; bar.sync 0; st.shared.b32 [s], 0; bar.sync 0;\n"
    "red.shared.add.u32 [s], r; @p red.shared.xor.b32 [s], 1; bar.sync 0; ld.shared.u32 r, [s]",
    "bar.sync 0; st.shared.b32 [s], 0; bar.sync 0; atom.shared.max.u32 %y, [s], r; bar.sync 0;\n"
    "ld.shared.u32 r, [s]",
    "bar.red.popc.u32 r, 0, p",
    "bar.red.or.pred p, 0, p",
    "shfl.sync.idx.b32 r|p, r, r, 0x1f, 0xffffffff",
    "shfl.sync.up.b32 r|p, r, 5, 0, 0xffffffff",
    "shfl.sync.down.b32 r, r, 3, 0x181f, 0xffffffff",
    "shfl.sync.bfly.b32 r|p, r, 9, 0x1f, 0xffffffff",
    "vote.sync.ballot.b32 r, p, 0xffffffff",
    "vote.sync.any.pred p, !p, 0xffffffff",
    "vote.sync.uni.pred p, p, 0xffffffff",
    "match.any.sync.b32 r, r, 0xffffffff",
    "match.all.sync.b64 r|p, d, 0xffffffff",
    "redux.sync.add.s32 r, r, 0xffffffff",
    "redux.sync.min.u32 r, r, 0xffffffff",
    "bar.warp.sync 0xffffffff",
};

#define MEETINGS (sizeof(meetings) / sizeof(meetings[0]))

static void say_meeting(struct maker *m)
{
    say_pattern(m, meetings[dice(m, MEETINGS)]);
}

/* Trees between meetings, some of them in a loop that all threads turn equally often. */
static char *make_block_program(unsigned seed)
{
    struct maker m = {.text = malloc(TEXT_BYTES), .state = ~seed * 0x9e3779b97f4a7c15ull};

    ck_assert_ptr_nonnull(m.text);
    say_start(&m);
    say(&m,
        ".shared .align 16 .b8 s[768]; .reg .b32 %%s<2>, %%turn; .reg .pred %%again; "
        ".reg .f32 %%g<4>;\n"
        "mov.u32 %%s1, s; mad.lo.u32 %%s0, %%y, 4, %%s1; mad.lo.u32 %%x, %%y, 11, 5; "
        "rem.u32 %%x, %%x, %u; mad.lo.u32 %%s1, %%x, 4, %%s1;\n"
        "st.shared.b32 [%%s0], %%i; st.shared.b32 [%%s0+384], %%i; mov.u32 %%turn, 0;\nturn:\n",
        BLOCK);
    for (unsigned k = 3 + dice(&m, 6); k; k--) {
        say_meeting(&m);
        if (dice(&m, 2))
            say_block(&m, 1 + dice(&m, 2));
    }
    say(&m, "add.u32 %%turn, %%turn, 1; setp.lt.u32 %%again, %%turn, 3; @%%again bra turn;\n");
    say_block(&m, 1);
    say_end(&m);
    return m.text;
}

/* How a program is run; `workers` 0: deterministic mode. */
struct way {
    const char *name;
    enum vgpu_ptx_isa isa;
    uint32_t workers, blocks, threads;
};

static struct vgpu_ptx_machine *way_machine(const struct way *way)
{
    struct vgpu_ptx_options options = {.threads = way->workers,
                                       .deterministic = way->workers == 0,
                                       .isa = way->isa,
                                       .launch_timeout_ms = 100000};
    struct vgpu_ptx_machine *machine = NULL;

    ck_assert_int_eq(vgpu_ptx_machine_create(&options, &machine), VGPU_PTX_OK);
    return machine;
}

static void run_way(const char *text, const struct way *way, uint32_t *out)
{
    struct vgpu_ptx_machine *machine = way_machine(way);
    struct vgpu_ptx_module *module = ptx_test_load(machine, text);
    struct ptx_run_result result;
    void *host;
    uint64_t va = ptx_test_alloc(machine, THREADS * 128, &host);

    result =
        ptx_test_launch(machine, ptx_test_function(module, "k"), way->blocks, way->threads, &va, 1);
    ck_assert_msg(result.status == VGPU_PTX_OK, "%s", result.fault.text);
    memcpy(out, host, THREADS * 128);
    vgpu_ptx_module_unload(module);
    vgpu_ptx_machine_destroy(machine);
}

/* Runs the program in every way that this CPU has, and compares each with the first. */
static void agree(unsigned seed, const char *text, const struct way *ways, size_t count)
{
    static uint32_t first[THREADS * 32], got[THREADS * 32];

    run_way(text, &ways[0], first);
    for (size_t w = 1; w < count; w++) {
        if (!ptx_test_has(ways[w].isa))
            continue;
        run_way(text, &ways[w], got);
        for (unsigned k = 0; k < THREADS * 32; k++)
            ck_assert_msg(first[k] == got[k], "program %u: thread %u word %u is %08x: %s; %08x: %s",
                          seed, k / 32, k % 32, first[k], ways[0].name, got[k], ways[w].name);
    }
}

START_TEST(every_way_gives_the_same)
{
    static const struct way ways[] = {
        {"each thread alone", VGPU_PTX_CPU_BASELINE, 1, THREADS, 1},
        {"baseline, warps", VGPU_PTX_CPU_BASELINE, 1, 2, THREADS / 2},
        {"AVX2, warps", VGPU_PTX_CPU_AVX2, 1, 1, THREADS},
        {"best build, four workers, partial warps", VGPU_PTX_CPU_AUTO, 4, THREADS / 48, 48},
    };
    char *text = make_program((unsigned)_i);

    agree((unsigned)_i, text, ways, sizeof(ways) / sizeof(ways[0]));
    free(text);
}
END_TEST

START_TEST(threads_that_meet_give_the_same_in_every_way)
{
    static const struct way ways[] = {
        {"baseline, deterministic", VGPU_PTX_CPU_BASELINE, 0, THREADS / BLOCK, BLOCK},
        {"AVX2, deterministic", VGPU_PTX_CPU_AVX2, 0, THREADS / BLOCK, BLOCK},
        {"baseline, two workers", VGPU_PTX_CPU_BASELINE, 2, THREADS / BLOCK, BLOCK},
        {"AVX2, two workers", VGPU_PTX_CPU_AVX2, 2, THREADS / BLOCK, BLOCK},
    };
    char *text = make_block_program((unsigned)_i);

    agree((unsigned)_i, text, ways, sizeof(ways) / sizeof(ways[0]));
    free(text);
}
END_TEST

static Suite *ptx_random_suite(void)
{
    Suite *s = suite_create("ptx_random");
    TCase *tc = tcase_create("differential");

    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_way_gives_the_same, 0, PROGRAMS);
    tcase_add_loop_test(tc, threads_that_meet_give_the_same_in_every_way, 0, BLOCK_PROGRAMS);
    suite_add_tcase(s, tc);
    return s;
}

VGPU_UNIT_MAIN(ptx_random_suite)
