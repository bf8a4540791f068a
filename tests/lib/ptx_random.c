/* SPDX-License-Identifier: MIT */
/*
 * Random PTX programs. See ptx_random.h for what they are.
 *
 * A program is a tree of straight runs, if/else and bounded loops over registers of all kinds, with guarded
 * instructions; it depends on the thread's number and a seed only. What a seed makes is the same on every machine.
 * Programs of blocks have such trees between points at which all threads of a block meet: barriers with shared
 * memory, shuffles, votes and reductions, none of which may race.
 *
 * Instructions come from a table of patterns. A letter that stands alone in one is a register of that kind: r 32 bits,
 * d 64 bits, f float, h 16 bits, p a predicate. Values are any bits at all, so NaNs, infinities and divisions by zero
 * are everywhere, and one different bit spreads until it is seen. For the same reason a portable program leaves out
 * all that two right implementations may do differently:
 *
 *   - .approx operations, of which only an error bound is known;
 *   - which payload wins where several operands are f64 NaNs: ptxas swaps the operands of commutative operations, so
 *     their NaNs are made one before anybody sees them;
 *   - two instructions that ptxas 13.0 compiles wrongly when they are guarded: set.*.f32 converts the register's old
 *     value from integer where the guard is false, and testp writes its predicate there.
 */
#include "ptx_random.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES (256u << 10)
#define REGS       8
#define BLOCK      PTX_RANDOM_BLOCK

struct maker {
    char *text;
    size_t used;
    uint64_t state;
    unsigned labels, loops, flags;
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
    if (wrote < 0 || (size_t)wrote >= TEXT_BYTES - m->used) {
        fprintf(stderr, "ptx_random: a program does not fit into %u bytes\n", TEXT_BYTES);
        abort();
    }
    m->used += (size_t)wrote;
}

/* UNGUARDED: in portable programs. */
enum { CPU_ONLY = 1, PORTABLE_ONLY = 2, UNGUARDED = 4 };

static const struct {
    const char *text;
    unsigned flags;
} patterns[] = {
    {"add.u32 r, r, r", 0},
    {"sub.s32 r, r, r", 0},
    {"mul.lo.s32 r, r, r", 0},
    {"mad.lo.u32 r, r, r, r", 0},
    {"mul.hi.u32 r, r, r", 0},
    {"div.s32 r, r, r", 0},
    {"rem.u32 r, r, r", 0},
    {"and.b32 r, r, r", 0},
    {"xor.b32 r, r, r", 0},
    {"shl.b32 r, r, r", 0},
    {"shr.s32 r, r, r", 0},
    {"min.s32 r, r, r", 0},
    {"bfe.u32 r, r, r, r", 0},
    {"prmt.b32 r, r, r, r", 0},
    {"popc.b32 r, r", 0},
    {"selp.b32 r, r, r, p", 0},
    {"lop3.b32 r, r, r, r, 0x96", 0},
    {"add.cc.u32 r, r, r;\naddc.u32 r, r, r", 0},
    {"add.s64 d, d, d", 0},
    {"mul.lo.u64 d, d, d", 0},
    {"mul.wide.s32 d, r, r", 0},
    {"mad.wide.u32 d, r, r, d", 0},
    {"shr.u64 d, d, r", 0},
    {"cvt.u32.u64 r, d", 0},
    {"cvt.s64.s32 d, r", 0},
    {"mov.b64 d, {r, r}", 0},
    {"mov.b64 {r, r}, d", 0},
    {"selp.b64 d, d, d, p", 0},
    {"add.f32 f, f, f", 0},
    {"fma.rn.f32 f, f, f, f", 0},
    {"mul.rz.f32 f, f, f", 0},
    {"sub.ftz.f32 f, f, f", 0},
    {"min.f32 f, f, f", 0},
    {"div.rn.f32 f, f, f", 0},
    {"cvt.rn.f32.s32 f, r", 0},
    {"cvt.rzi.s32.f32 r, f", 0},
    {"mov.b32 r, f", 0},
    {"add.u16 h, h, h", 0},
    {"mul.lo.s16 h, h, h", 0},
    {"cvt.u16.u32 h, r", 0},
    {"cvt.s32.s16 r, h", 0},
    {"setp.lt.s32 p, r, r", 0},
    {"setp.gtu.f32 p, f, f", 0},
    {"setp.eq.u64 p|p, d, d", 0},
    {"setp.ne.and.u16 p, h, h, p", 0},
    {"xor.pred p, p, p", 0},
    {"fma.rn.f16x2 r, r, r, r", 0},
    {"st.local.u32 [depot+16], r", 0},
    {"ld.local.u32 r, [depot+16]", 0},
    {"neg.s32 r, r", 0},
    {"abs.s32 r, r", 0},
    {"max.u32 r, r, r", 0},
    {"or.b32 r, r, r", 0},
    {"not.b32 r, r", 0},
    {"cnot.b32 r, r", 0},
    {"sad.u32 r, r, r, r", 0},
    {"mul24.lo.s32 r, r, r", 0},
    {"mad24.lo.u32 r, r, r, r", 0},
    {"mul.hi.s64 d, d, d", 0},
    {"div.u64 d, d, d", 0},
    {"rem.s64 d, d, d", 0},
    {"shl.b64 d, d, r", 0},
    {"clz.b32 r, r", 0},
    {"clz.b64 r, d", 0},
    {"brev.b64 d, d", 0},
    {"bfind.s32 r, r", 0},
    {"bfind.shiftamt.u64 r, d", 0},
    {"bfi.b32 r, r, r, r, r", 0},
    {"bfe.s64 d, d, r, r", 0},
    {"bmsk.clamp.b32 r, r, r", 0},
    {"szext.wrap.s32 r, r, r", 0},
    {"shf.l.wrap.b32 r, r, r, r", 0},
    {"shf.r.clamp.b32 r, r, r, r", 0},
    {"prmt.b32.f4e r, r, r, r", 0},
    {"prmt.b32.rc16 r, r, r, r", 0},
    {"dp4a.s32.u32 r, r, r, r", 0},
    {"dp2a.hi.u32.s32 r, r, r, r", 0},
    {"sub.cc.u32 r, r, r;\nsubc.cc.u32 r, r, r;\nsubc.u32 r, r, r", 0},
    {"mad.lo.cc.u32 r, r, r, r;\nmadc.hi.u32 r, r, r, r", 0},
    {"set.lt.u32.s32 r, r, r", 0},
    {"set.ge.f32.f32 f, f, f", UNGUARDED},
    {"slct.s32.f32 r, r, r, f", 0},
    {"lop3.b32 r, r, r, r, 0xe8", 0},
    {"not.pred p, p", 0},
    {"and.pred p, p, p", 0},
    {"testp.subnormal.f32 p, f", UNGUARDED},
    {"setp.ltu.xor.f64 p, d, d, p", 0},
    {"copysign.f32 f, f, f", 0},
    {"abs.f32 f, f", 0},
    {"neg.ftz.f32 f, f", 0},
    {"max.NaN.f32 f, f, f", 0},
    {"mul.ftz.sat.f32 f, f, f", 0},
    {"add.rp.f32 f, f, f", 0},
    {"fma.rm.f32 f, f, f, f", 0},
    {"rcp.rn.f32 f, f", 0},
    {"sqrt.rz.f32 f, f", 0},
    {"div.approx.f32 f, f, f", CPU_ONLY},
    {"rcp.approx.ftz.f32 f, f", CPU_ONLY},
    {"rsqrt.approx.f32 f, f", CPU_ONLY},
    {"ex2.approx.f32 f, f", CPU_ONLY},
    {"lg2.approx.ftz.f32 f, f", CPU_ONLY},
    {"sin.approx.f32 f, f", CPU_ONLY},
    {"tanh.approx.f32 f, f", CPU_ONLY},
    {"fma.rn.f64 d, d, d, d", CPU_ONLY},
    {"fma.rn.f64 %v, d, d, d;\n"
     "setp.nan.f64 %vn, %v, %v; selp.b64 d, 0x7ff8000000000000, %v, %vn",
     PORTABLE_ONLY},
    {"add.rz.f64 d, d, d", CPU_ONLY},
    {"add.rz.f64 %v, d, d;\n"
     "setp.nan.f64 %vn, %v, %v; selp.b64 d, 0x7ff8000000000000, %v, %vn",
     PORTABLE_ONLY},
    {"div.rn.f64 d, d, d", 0},
    {"sqrt.rn.f64 d, d", 0},
    {"min.f64 d, d, d", CPU_ONLY},
    {"min.f64 %v, d, d;\n"
     "setp.nan.f64 %vn, %v, %v; selp.b64 d, 0x7ff8000000000000, %v, %vn",
     PORTABLE_ONLY},
    {"cvt.rn.f64.s32 d, r", 0},
    {"cvt.f64.f32 d, f", 0},
    {"cvt.rm.f32.f64 f, d", 0},
    {"cvt.rni.s64.f64 d, d", 0},
    {"cvt.rzi.u32.f32 r, f", 0},
    {"cvt.rpi.f32.f32 f, f", 0},
    {"cvt.sat.u8.s32 r, r", 0},
    {"cvt.rn.f16.f32 h, f", 0},
    {"cvt.f32.f16 f, h", 0},
    {"cvt.rn.bf16x2.f32 r, f, f", 0},
    {"fma.rn.relu.f16 h, h, h, h", 0},
    {"max.f16x2 r, r, r", 0},
    {"mov.b32 f, r", 0},
    {"mov.b32 {h, h}, r", 0},
    {"st.local.b8 [depot+21], r", 0},
    {"ld.local.s16 r, [depot+20]", 0},
    {"ld.local.v2.u32 {r, r}, [depot+16]", 0},
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
    bool portable = m->flags & PTX_RANDOM_PORTABLE;
    unsigned which, unwanted = portable ? CPU_ONLY : PORTABLE_ONLY;
    bool plain;

    do
        which = dice(m, PATTERNS);
    while (patterns[which].flags & unwanted);
    plain = portable && (patterns[which].flags & UNGUARDED);
    if (!plain && !strchr(patterns[which].text, ';') && dice(m, 6) == 0)
        say(m, "@%s%%p%u ", dice(m, 2) ? "!" : "", dice(m, REGS));
    say_pattern(m, patterns[which].text);
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
    say(m,
        ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 out) {\n"
        ".reg .b32 %%r<8>, %%n<16>, %%i, %%x, %%y; .reg .b64 %%d<8>, %%o, %%v; .reg .f32 %%f<8>; "
        ".reg .b16 %%h<8>;\n"
        ".reg .pred %%p<8>, %%q<16>, %%vn; .local .align 8 .b8 depot[32];\n"
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

char *ptx_random_program(unsigned seed, unsigned flags)
{
    struct maker m = {
        .text = malloc(TEXT_BYTES), .state = seed * 0x9e3779b97f4a7c15ull + 1, .flags = flags};

    if (!m.text)
        return NULL;
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
    /* all add to one word, and when all have, all flip a bit of it: the order does not show */
    "bar.sync 0; st.shared.b32 [s+#], r; bar.sync 0; st.shared.b32 [s], 0; bar.sync 0;\n"
    "red.shared.add.u32 [s], r; bar.sync 0; @p red.shared.xor.b32 [s], 1; bar.sync 0;\n"
    "ld.shared.u32 r, [s]",
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
char *ptx_random_block_program(unsigned seed, unsigned flags)
{
    struct maker m = {
        .text = malloc(TEXT_BYTES), .state = ~seed * 0x9e3779b97f4a7c15ull, .flags = flags};

    if (!m.text)
        return NULL;
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
