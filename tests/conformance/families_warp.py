# SPDX-License-Identifier: MIT
"""Warps and blocks: exchanges between lanes, votes, barriers, fences and branches.

All threads of a block take part, so rows come in whole blocks of 64; a reference sees the 32 rows of a warp at a
time, and gives their 32 results."""
import random

from family import family, signed

LANES = 32
BLOCK = 64
ROWS = 2 * BLOCK
ALL = (1 << LANES) - 1
LANE = ".reg .b32 %lane;\nmov.u32 %lane, %laneid;\n"
# the thread's own cell of shared memory, and that of its neighbour in the other warp
SHARED = """.shared .align 8 .b8 cells[512];
.reg .b32 %mine, %other, %me, %wid;
mov.u32 %me, %tid.x;
xor.b32 %other, %me, 33;
mov.u32 %mine, cells;
shl.b32 %other, %other, 2;
add.u32 %other, %other, %mine;
shl.b32 %wid, %me, 2;
add.u32 %mine, %mine, %wid;
shr.u32 %wid, %me, 5;
"""


def random_row(ins, rng):
    pick = {"pred": lambda: rng.getrandbits(1), "few": lambda: rng.choice((1, 2, 3, 1 << 31)),
            "lane": lambda: rng.getrandbits(5)}
    return tuple(pick.get(t, lambda: rng.getrandbits(int(t[1:])))() for t in ins)


def grouped(name, text, ins, outs, reference, size, module=""):
    """`ins` may have types of few values: see random_row(). `size`: of the groups that the reference sees."""
    rng = random.Random(name)
    rows = [random_row(ins, rng) for _ in range(ROWS)]
    results = [result for k in range(0, ROWS, size) for result in reference(rows[k:k + size])]
    turn = iter(results)
    family(name, text, ["b32" if t in ("few", "lane") else t for t in ins], outs, lambda *_: next(turn), rows=rows,
           module=module)


def warp(name, text, ins, outs, reference):
    grouped(name, text, ins, outs, reference, LANES)


def shuffles():
    def source(mode, lane, b, c):
        """Which lane is read, and whether it is in range (PTX ISA, shfl.sync)."""
        b, clamp, segment = b & 31, c & 31, c >> 8 & 31
        low = lane & segment
        high = low | clamp & ~segment
        j = {"up": lane - b, "down": lane + b, "bfly": lane ^ b, "idx": low | b & ~segment}[mode]
        fits = j >= high if mode == "up" else j <= high
        return (j, 1) if fits else (lane, 0)

    for mode in ("up", "down", "bfly", "idx"):
        for c in (0 if mode == "up" else 31, 0x1800 if mode == "up" else 0x181F, 0x1C00 if mode == "up" else 0x1C1F):
            for b in (0, 1, 5, 16, 31):
                warp("shfl.%s.%x.%d" % (mode, c, b), "shfl.sync.%s.b32 %%d0|%%d1, %%a0, %d, %d, -1;" % (mode, b, c), ["b32"],
                     ["b32", "pred"], lambda rows: [(rows[j][0], fits) for j, fits in (
                         source(mode, lane, b, c) for lane in range(LANES))])
    warp("shfl.idx.each", "shfl.sync.idx.b32 %d0, %a0, %a1, 31, -1;", ["b32", "lane"], ["b32"],
         lambda rows: [rows[row[1]][0] for row in rows])


def votes():
    count = lambda rows: sum(row[0] for row in rows)
    for mode, f in (("all", lambda n: n == LANES), ("any", lambda n: n > 0), ("uni", lambda n: n in (0, LANES))):
        # the same for all lanes, in rows of a warp that are made so by a second predicate
        warp("vote." + mode, "vote.sync.%s.pred %%d0, %%a0, -1;\nvote.sync.%s.pred %%d1, !%%a0, -1;" % (mode, mode), ["pred"],
             ["pred", "pred"], lambda rows: [(int(f(count(rows))), int(f(LANES - count(rows))))] * LANES)
        warp("vote.%s.true" % mode, ".reg .pred %%true;\nsetp.eq.u32 %%true, %%a0, %%a0;\nvote.sync.%s.pred %%d0, %%true, -1;\n"
             "vote.sync.%s.pred %%d1, !%%true, -1;" % (mode, mode), ["b32"], ["pred", "pred"],
             lambda rows: [(int(f(LANES)), int(f(0)))] * LANES)
    ballot = lambda rows: sum(row[0] << k for k, row in enumerate(rows))
    warp("vote.ballot", "vote.sync.ballot.b32 %d0, %a0, -1;\nvote.sync.ballot.b32 %d1, !%a0, -1;", ["pred"], ["b32"] * 2,
         lambda rows: [(ballot(rows), ~ballot(rows))] * LANES)
    # half of the lanes, which the others leave alone
    warp("vote.ballot.part", LANE + ".reg .pred %even;\nand.b32 %lane, %lane, 1;\nsetp.eq.u32 %even, %lane, 0;\nmov.b32 %d0, 7;\n"
         "@!%even bra apart;\nactivemask.b32 %d0;\nvote.sync.ballot.b32 %d0, %a0, 0x55555555;\napart:\nbar.warp.sync -1;",
         ["pred"], ["b32"], lambda rows: [ballot(rows) & 0x55555555 if k % 2 == 0 else 7 for k in range(LANES)])
    warp("activemask", "bar.warp.sync -1;\nactivemask.b32 %d0;\nor.b32 %d0, %d0, 0;", ["b32"], ["b32"],
         lambda rows: [ALL] * LANES)
    warp("elect", ".reg .b32 %who;\n.reg .pred %me;\nelect.sync %who|%me, -1;\nvote.sync.ballot.b32 %d0, %me, -1;\n"
         "popc.b32 %d0, %d0;\nmatch.all.sync.b32 %d1|%me, %who, -1;", ["b32"], ["b32", "b32"],
         lambda rows: [(1, ALL)] * LANES)
    for n in (32, 64):
        widen = "mov.b32 %x, %a0;" if n == 32 else "cvt.u64.u32 %x, %a0;\nshl.b64 %x, %x, 31;"
        warp("match.any.b%d" % n, ".reg .b%d %%x;\n%s\nmatch.any.sync.b%d %%d0, %%x, -1;" % (n, widen, n), ["few"], ["b32"],
             lambda rows: [sum(int(other == row) << k for k, other in enumerate(rows)) for row in rows])
        warp("match.all.b%d" % n, ".reg .b%d %%x;\n%s\nmatch.all.sync.b%d %%d0|%%d1, %%x, -1;" % (n, widen, n), ["few"],
             ["b32", "pred"], lambda rows: [(0, 0) if len(set(rows)) > 1 else (ALL, 1)] * LANES)


def reductions():
    number = {"u32": lambda v: v, "s32": lambda v: signed(v, 32)}
    for t, f in number.items():
        for op, g in (("add", sum), ("min", min), ("max", max)):
            warp("redux.%s.%s" % (op, t), "redux.sync.%s.%s %%d0, %%a0, -1;" % (op, t), ["b32"], ["b32"],
                 lambda rows: [g([f(row[0]) for row in rows])] * LANES)
    for op, g in (("and", lambda a, b: a & b), ("or", lambda a, b: a | b), ("xor", lambda a, b: a ^ b)):
        def total(rows):
            result = rows[0][0]
            for row in rows[1:]:
                result = g(result, row[0])
            return [result] * LANES

        warp("redux." + op, "redux.sync.%s.b32 %%d0, %%a0, -1;" % op, ["b32"], ["b32"], total)


def block_barriers():
    def block(name, text, ins, outs, reference):
        grouped(name, SHARED + text, ins, outs, reference, BLOCK)

    def exchange(name, wait):
        block(name, "st.shared.b32 [%%mine], %%a0;\n%s\nld.shared.b32 %%d0, [%%other];" % wait, ["b32"], ["b32"],
              lambda rows: [rows[k ^ 33][0] for k in range(BLOCK)])

    for wait in ("bar.sync 0;", "bar.sync 3, 64;", "bar.cta.sync 1;", "barrier.sync 0;", "barrier.sync.aligned 2, 64;",
                 "barrier.cta.sync 4;"):
        exchange("exchange." + wait[:-1].replace(" ", ".").replace(",", ""), wait)
    # one warp arrives and goes on, the other waits for what it wrote
    for arrive, sync in (("bar.arrive 5, 64;", "bar.sync 5, 64;"), ("barrier.arrive 6, 64;", "barrier.sync 6, 64;"),
                         ("barrier.arrive.aligned 7, 64;", "barrier.sync.aligned 7, 64;"),
                         ("bar.cta.arrive 8, 64;", "bar.cta.sync 8, 64;"), ("barrier.cta.arrive 9, 64;", "barrier.cta.sync 9, 64;")):
        block("oneway." + arrive.split(" ")[0] + arrive.split(" ")[1][0], ".reg .pred %%first;\nsetp.eq.u32 %%first, %%wid, 0;\n"
              "mov.b32 %%d0, %%a0;\n@!%%first bra.uni second;\nst.shared.b32 [%%mine], %%a0;\nmembar.cta;\n%s\nbra.uni both;\n"
              "second:\n%s\nld.shared.b32 %%d0, [%%other];\nboth:" % (arrive, sync), ["b32"], ["b32"],
              lambda rows: [rows[k if k < LANES else k ^ 33][0] for k in range(BLOCK)])
    count = lambda rows: sum(row[0] for row in rows)
    for op in ("bar.red", "barrier.red", "barrier.red.aligned", "bar.cta.red", "barrier.cta.red"):
        name, forms = op, lambda kind, t: "%s.%s.%s" % (op, kind, t)
        if "aligned" in op:
            forms = lambda kind, t: "barrier.red.%s.aligned.%s" % (kind, t)
        block(name, "%s %%d0, 0, %%a0;\n%s %%d1, 0, 64, %%a0;\n%s %%d2, 1, !%%a0;" % (
            forms("popc", "u32"), forms("and", "pred"), forms("or", "pred")), ["pred"], ["b32", "pred", "pred"],
              lambda rows: [(count(rows), int(count(rows) == BLOCK), int(count(rows) < BLOCK))] * BLOCK)
    for fence in ["membar." + level for level in ("cta", "gl", "sys")] + [
            "fence." + order + "." + scope for order in ("sc", "acq_rel") for scope in ("cta", "gpu", "sys", "cluster")] + [
            "membar.proxy.alias", "fence.proxy.alias", "fence.proxy.async", "fence.proxy.async.global",
            "fence.proxy.async.shared::cta", "fence.proxy.async.shared::cluster"]:
        # what was written before the flag is there once the flag is seen
        block(fence, ".reg .pred %%first, %%seen;\n.reg .b32 %%flag;\n.shared .align 4 .b32 flags[64];\nmov.u32 %%flag, flags;\n"
              "sub.u32 %%other, %%mine, 128;\nsetp.eq.u32 %%first, %%wid, 0;\nmov.b32 %%d0, %%a0;\n"
              "@%%first st.shared.b32 [%%mine], %%a0;\n%s;\nbar.sync 0;\n@!%%first ld.shared.b32 %%d0, [%%other];" % fence, ["b32"],
              ["b32"], lambda rows: [rows[k % LANES][0] for k in range(BLOCK)])
    for text in ("griddepcontrol.wait;", "griddepcontrol.launch_dependents;", "nanosleep.u32 20;", "pmevent 1;",
                 "pmevent.mask 3;"):
        block(text[:-1].replace(" ", "."), text + "\nmov.b32 %d0, %a0;", ["b32"], ["b32"], lambda rows: [row[0] for row in rows])


def branches():
    family("brx", ".reg .b32 %way;\nrem.u32 %way, %a0, 4;\nways: .branchtargets w0, w1, w2, w3;\nbrx.idx %way, ways;\n"
           "w0:\nadd.u32 %d0, %a0, 100;\nbra.uni met;\nw1:\nmul.lo.u32 %d0, %a0, 3;\nbra met;\nw2:\nnot.b32 %d0, %a0;\nbra met;\n"
           "w3:\nmov.b32 %d0, 0;\nmet:", ["b32"], ["b32"], lambda a: (a + 100, 3 * a, ~a, 0)[a % 4])
    family("loop", ".reg .b32 %left;\n.reg .pred %more;\nand.b32 %left, %a0, 31;\nmov.b32 %d0, 1;\nagain:\n"
           "setp.gt.u32 %more, %left, 0;\n@!%more bra ended;\nmad.lo.u32 %d0, %d0, 3, %left;\nsub.u32 %left, %left, 1;\nbra again;\n"
           "ended:", ["b32"], ["b32"], loop)
    family("exit", ".reg .pred %leaves;\n.reg .b32 %bit;\nand.b32 %bit, %a0, 1;\nsetp.ne.u32 %leaves, %bit, 0;\n"
           "st.global.b32 [%dst], %a0;\n@%leaves exit;\nnot.b32 %d0, %a0;", ["b32"], ["b32"], lambda a: a if a & 1 else ~a)


def loop(a):
    total = 1
    for left in range(a & 31, 0, -1):
        total = total * 3 + left
    return total


def warp_families():
    shuffles()
    votes()
    reductions()
    block_barriers()
    branches()
