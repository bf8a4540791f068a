#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Writes the conformance vectors: vectors/NAME.ptx and vectors/NAME.vec, one pair for each instruction, type and
modifier family. Expected values are computed by exact.py and by Python's integers, never by the executor.

A .ptx file has one kernel, test(in, out, n): thread i reads row i of `in` (64-bit cells, one for each source),
executes the instruction and writes row i of `out`. The .vec file: a line `inputs outputs`, then a line with the
tolerance of each output (`exact`, `ulp32:N` or `abs32:X`), then one row per line in hexadecimal.
"""
import itertools
import os
import random
import re
import sys
from fractions import Fraction

import exact
from exact import BF16, F16, F32, F64

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "vectors")
ROWS = 96

FLOATS = {"f16": F16, "bf16": BF16, "f32": F32, "f64": F64}
WIDTH = {"pred": 1, "f16x2": 32, "bf16x2": 32, "u16x2": 32, "s16x2": 32}


def width(t):
    return WIDTH.get(t) or (FLOATS[t].width if t in FLOATS else int(t[1:]))


def signed(bits, n):
    bits &= (1 << n) - 1
    return bits - (1 << n) if bits >> (n - 1) else bits


def mask(value, n):
    return value & ((1 << n) - 1)


def edge_cases(t):
    n = width(t)
    if t in FLOATS:
        f = FLOATS[t]
        one = -f.emin + 1 - 1 << f.fraction if False else (-f.emin + 1) << f.fraction
        plain = [0, one, one + 1, one - 1, f.inf, f.inf - 1, 1, (1 << f.fraction) - 1, 1 << f.fraction, f.inf + 1,
                 f.inf + (1 << (f.fraction - 1)), one + (1 << (f.fraction - 1)), one + (3 << (f.fraction - 2)),
                 one + (2 << f.fraction), one - (1 << f.fraction), one + (f.fraction << f.fraction)]
        return plain + [p | f.sign for p in plain]
    if t in ("f16x2", "bf16x2"):
        one = edge_cases(t[:-2])
        return [a | b << 16 for a, b in zip(one, one[7:] + one[:7])]
    if t == "pred":
        return [0, 1]
    return [mask(v, n) for v in (0, 1, 2, 3, -1, -2, 1 << (n - 1), (1 << (n - 1)) - 1, (1 << (n - 1)) + 1, 7, 31, 32,
                                 33, 63, 64, 65, 255, 256, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA, 0x123456789ABCDEF0)]


def rows_for(types, rng, narrow=()):
    """Edge cases against each other first, then random bits. `narrow`: (index, values) for operands with few."""
    narrow = dict(narrow)
    cases = [narrow.get(i) or edge_cases(t) for i, t in enumerate(types)]
    rows = []
    if len(types) <= 2:
        rows = list(itertools.product(*cases))
        rng.shuffle(rows)
        rows = rows[:ROWS * 2 // 3]
    while len(rows) < ROWS:
        row = []
        for i, t in enumerate(types):
            pick = rng.random()
            if i in narrow or pick < 0.5:
                row.append(rng.choice(cases[i]))
            elif t in FLOATS and pick < 0.85:  # values near one: sums and products round
                f = FLOATS[t]
                e = -f.emin + 1 + rng.randint(-3, 3)
                row.append(rng.getrandbits(f.fraction) | e << f.fraction | rng.choice((0, f.sign)))
            else:
                row.append(rng.getrandbits(width(t)))
        rows.append(tuple(row))
    return rows


REG = {1: "pred", 8: "b16", 16: "b16", 32: "b32", 64: "b64"}


def target(text):
    """sm_80 where it will do, so that few vectors need a newer GPU: bf16 arithmetic and conversions from integers do."""
    bf16 = "bf16" in text and not re.match(r"(fma|abs|neg|min|max)\.", text)
    return "sm_90" if bf16 and not re.match(r"cvt\S*\.bf16(x2)?\.f32|cvt\S*\.f32\.bf16", text) else "sm_80"


def kernel(text, ins, outs):
    lines = [".version 7.8", ".target " + target(text), ".address_size 64", "",
             ".visible .entry test(.param .u64 in, .param .u64 out, .param .u32 n)", "{",
             "\t.reg .pred %p, %q;", "\t.reg .b32 %i, %t<4>;", "\t.reg .b64 %src, %dst;"]
    for i, t in enumerate(ins):
        lines.append("\t.reg .%s %%a%d;" % (REG[width(t)], i))
    for i, t in enumerate(outs):
        lines.append("\t.reg .%s %%d%d;" % (REG[width(t)], i))
    lines += ["\tmov.u32 %t0, %ctaid.x;", "\tmov.u32 %t1, %ntid.x;", "\tmov.u32 %t2, %tid.x;",
              "\tmad.lo.u32 %i, %t0, %t1, %t2;", "\tld.param.u32 %t3, [n];", "\tsetp.ge.u32 %p, %i, %t3;",
              "\t@%p bra done;", "\tld.param.u64 %src, [in];", "\tld.param.u64 %dst, [out];",
              "\tmad.wide.u32 %%src, %%i, %d, %%src;" % (8 * len(ins)),
              "\tmad.wide.u32 %%dst, %%i, %d, %%dst;" % (8 * len(outs))]
    for i, t in enumerate(ins):
        if t == "pred":
            lines += ["\tld.global.u32 %%t0, [%%src+%d];" % (8 * i), "\tsetp.ne.u32 %%a%d, %%t0, 0;" % i]
        else:
            lines.append("\tld.global.b%d %%a%d, [%%src+%d];" % (width(t), i, 8 * i))
    lines += ["\t" + line for line in text.strip().split("\n")]
    for i, t in enumerate(outs):
        if t == "pred":
            lines += ["\tselp.u32 %%t0, 1, 0, %%d%d;" % i, "\tst.global.u32 [%%dst+%d], %%t0;" % (8 * i)]
        else:
            lines.append("\tst.global.b%d [%%dst+%d], %%d%d;" % (width(t), 8 * i, i))
    return "\n".join(lines + ["done:", "\tret;", "}", ""])


count = 0
written = set()


def family(name, text, ins, outs, reference, narrow=(), tolerance=None, rows=None, extra=()):
    """reference: input bits -> output bits (a number or a tuple); None drops the row. `extra`: more rows."""
    global count
    rng = random.Random(name)
    table = []
    for row in (rows or rows_for(ins, rng, narrow)) + list(extra):
        result = reference(*row)
        if result is None:
            continue
        result = result if isinstance(result, tuple) else (result,)
        table.append(" ".join("%x" % v for v in row) + " : " + " ".join("%x" % mask(int(v), max(width(t), 1))
                                                                        for v, t in zip(result, outs)))
    for c in ". :":
        name = name.replace(c, "_")
    with open(os.path.join(OUT, name + ".ptx"), "w") as f:
        f.write(kernel(text, ins, outs))
    with open(os.path.join(OUT, name + ".vec"), "w") as f:
        f.write("%d %d\n%s\n" % (len(ins), len(outs), " ".join(tolerance or ["exact"] * len(outs))))
        f.write("\n".join(table) + "\n")
    written.update((name + ".ptx", name + ".vec"))
    count += 1


def nan_rows(f, n):
    """n operands, some of them NaNs that differ in sign, quietness and payload."""
    nans = [f.inf + 1, f.sign | f.inf + (5 << f.fraction - 3) + 3, f.inf + (f.inf >> 9), f.sign | f.inf + 7]
    one = (-f.emin + 1) << f.fraction
    rows = []
    for k in range(1, 1 << n):
        for turn in range(len(nans)):
            rows.append(tuple(nans[(turn + i) % len(nans)] if k >> i & 1 else one for i in range(n)))
    return rows


def tiny_rows(f, op):
    """Operands whose result is within two steps of the least normal number of f."""
    rng = random.Random("tiny" + op + str(f.width))
    rows = []
    least, step = Fraction(2) ** f.emin, Fraction(2) ** (f.emin - f.fraction)
    while len(rows) < 32:
        a = exact.encode(f, Fraction(rng.getrandbits(f.fraction) | 1 << f.fraction) *
                         Fraction(2) ** (rng.randint(f.emin // 2, 0) - f.fraction))
        x, near = exact.decode(f, a)[0], least + step * Fraction(rng.randint(-8, 4), 4)
        b = exact.encode(f, near / x if op != "div" else x / near)
        if op == "div":
            a = exact.encode(f, near * exact.decode(f, b)[0])
        row = (a | rng.choice((0, f.sign)), b | rng.choice((0, f.sign)))
        if op == "fma":  # a sum that comes down to there, or a product alone
            c = rng.choice((1, 1, 2, 0)) << f.fraction
            row += (c | (~(row[0] ^ row[1]) & f.sign),)
        rows.append(row)
    return rows


INTS = ["u16", "s16", "u32", "s32", "u64", "s64"]


def operands(n):
    return ", ".join("%%a%d" % i for i in range(n))


def value(t, bits):
    return signed(bits, width(t)) if t[0] == "s" else bits


def trunc_div(a, b):
    q = abs(a) // abs(b)
    return -q if (a < 0) != (b < 0) else q


def integer_families():
    def simple(op, t, n, f):
        family(op + "." + t, "%s.%s %%d0, %s;" % (op, t, operands(n)), [t] * n, [t],
               lambda *v: f(*[value(t, x) for x in v]))

    for t in INTS:
        n = width(t)
        simple("add", t, 2, lambda a, b: a + b)
        simple("sub", t, 2, lambda a, b: a - b)
        simple("mul.lo", t, 2, lambda a, b: a * b)
        simple("mul.hi", t, 2, lambda a, b: (a * b) >> n)
        simple("mad.lo", t, 3, lambda a, b, c: a * b + c)
        simple("mad.hi", t, 3, lambda a, b, c: ((a * b) >> n) + c)
        simple("sad", t, 3, lambda a, b, c: c + abs(a - b))
        simple("min", t, 2, min)
        simple("max", t, 2, max)
        # by zero: not specified; all ones on an H100
        simple("div", t, 2, lambda a, b: trunc_div(a, b) if b else -1)
        simple("rem", t, 2, lambda a, b: a - b * trunc_div(a, b) if b else -1)
        if t[0] == "s":
            simple("abs", t, 1, abs)
            simple("neg", t, 1, lambda a: -a)
        if n < 64:
            w = t[0] + str(2 * n)
            family("mul.wide." + t, "mul.wide.%s %%d0, %%a0, %%a1;" % t, [t, t], [w],
                   lambda a, b: value(t, a) * value(t, b))
            family("mad.wide." + t, "mad.wide.%s %%d0, %%a0, %%a1, %%a2;" % t, [t, t, w], [w],
                   lambda a, b, c: value(t, a) * value(t, b) + c)
    clamp = lambda v: max(-1 << 31, min((1 << 31) - 1, v))
    simple("add.sat", "s32", 2, lambda a, b: clamp(a + b))
    simple("sub.sat", "s32", 2, lambda a, b: clamp(a - b))
    simple("mad.hi.sat", "s32", 3, lambda a, b, c: clamp(((a * b) >> 32) + c))
    for t in ("u32", "s32"):
        cut = (lambda v: v & 0xFFFFFF) if t == "u32" else (lambda v: signed(v, 24))
        simple("mul24.lo", t, 2, lambda a, b: cut(a) * cut(b))
        simple("mul24.hi", t, 2, lambda a, b: (cut(a) * cut(b)) >> 16)
        simple("mad24.lo", t, 3, lambda a, b, c: cut(a) * cut(b) + c)
        simple("mad24.hi", t, 3, lambda a, b, c: ((cut(a) * cut(b)) >> 16) + c)
    for n in (32, 64):
        t = "u%d" % n
        m = (1 << n) - 1
        # a carry chain: the second instruction sees the first one's carry, the third the second's
        family("carry.add." + t, "add.cc.%s %%d0, %%a0, %%a1;\naddc.cc.%s %%d1, %%a2, %%a0;\naddc.%s %%d2, %%a1, %%a2;"
               % (t, t, t), [t] * 3, [t] * 3, lambda a, b, c: (
                   a + b, c + a + ((a + b) >> n), b + c + ((c + a + ((a + b) >> n)) >> n)))
        family("carry.sub." + t, "sub.cc.%s %%d0, %%a0, %%a1;\nsubc.cc.%s %%d1, %%a2, %%a0;\nsubc.%s %%d2, %%a1, %%a2;"
               % (t, t, t), [t] * 3, [t] * 3, lambda a, b, c: (
                   a - b, c - a - (a < b), b - c - (c - a - (a < b) < 0)))
        family("carry.mad." + t,
               "mad.lo.cc.%s %%d0, %%a0, %%a1, %%a2;\nmadc.hi.cc.%s %%d1, %%a0, %%a1, %%a2;\nmadc.lo.%s %%d2, %%a1, %%a2, %%a0;"
               % (t, t, t), [t] * 3, [t] * 3, lambda a, b, c: (
                   a * b + c, ((a * b) >> n) + c + (((a * b & m) + c) >> n),
                   b * c + a + ((((a * b) >> n) + c + (((a * b & m) + c) >> n)) >> n)))


def bits_families():
    for n in (16, 32, 64):
        t, m = "b%d" % n, (1 << n) - 1
        for op, f in (("and", lambda a, b: a & b), ("or", lambda a, b: a | b), ("xor", lambda a, b: a ^ b)):
            family("%s.%s" % (op, t), "%s.%s %%d0, %%a0, %%a1;" % (op, t), [t, t], [t], f)
        family("not." + t, "not.%s %%d0, %%a0;" % t, [t], [t], lambda a: ~a)
        family("cnot." + t, "cnot.%s %%d0, %%a0;" % t, [t], [t], lambda a: int(a == 0))
        family("shl." + t, "shl.%s %%d0, %%a0, %%a1;" % t, [t, "u32"], [t], lambda a, b: a << b if b < n else 0)
        family("shr.u%d" % n, "shr.u%d %%d0, %%a0, %%a1;" % n, [t, "u32"], [t], lambda a, b: a >> b if b < n else 0)
        family("shr.s%d" % n, "shr.s%d %%d0, %%a0, %%a1;" % n, [t, "u32"], [t],
               lambda a, b: signed(a, n) >> min(b, n - 1))
    for op, f in (("and", lambda a, b: a & b), ("or", lambda a, b: a | b), ("xor", lambda a, b: a ^ b)):
        family(op + ".pred", "%s.pred %%d0, %%a0, %%a1;" % op, ["pred"] * 2, ["pred"], f)
    family("not.pred", "not.pred %d0, %a0;", ["pred"], ["pred"], lambda a: 1 - a)
    small = [0, 1, 5, 8, 15, 16, 24, 31, 32, 33, 40, 63, 64, 65, 255, 256, 300]
    for n in (32, 64):
        t = "b%d" % n
        family("popc." + t, "popc.%s %%d0, %%a0;" % t, [t], ["u32"], lambda a: bin(a).count("1"))
        family("clz." + t, "clz.%s %%d0, %%a0;" % t, [t], ["u32"], lambda a: n - a.bit_length())
        family("brev." + t, "brev.%s %%d0, %%a0;" % t, [t], [t], lambda a: int(format(a, "0%db" % n)[::-1], 2))
        for s in "us":
            def top(a):
                v = signed(a, n) if s == "s" else a
                v = ~v if v < 0 else v
                return v.bit_length() - 1

            family("bfind.%s%d" % (s, n), "bfind.%s%d %%d0, %%a0;" % (s, n), [t], ["u32"], top)
            family("bfind.shiftamt.%s%d" % (s, n), "bfind.shiftamt.%s%d %%d0, %%a0;" % (s, n), [t], ["u32"],
                   lambda a: n - 1 - top(a) if top(a) >= 0 else -1)

            # positions and lengths over 255 have no meaning; 32 bits cut them, 64 bits do not
            few = small if n == 32 else [v for v in small if v < 256]

            def bfe(a, b, c):
                pos, length = b & 255, c & 255
                bit = lambda k: a >> k & 1
                sign = 0 if s == "u" or not length else bit(min(pos + length - 1, n - 1))
                return sum((bit(pos + k) if k < length and pos + k < n else sign) << k for k in range(n))

            family("bfe.%s%d" % (s, n), "bfe.%s%d %%d0, %%a0, %%a1, %%a2;" % (s, n), [t, "u32", "u32"], [t], bfe,
                   narrow=((1, few), (2, few)))

        def bfi(a, b, c, d):
            pos, length = c & 255, d & 255
            for k in range(length):
                if pos + k < n:
                    b = b & ~(1 << (pos + k)) | (a >> k & 1) << (pos + k)
            return b

        family("bfi." + t, "bfi.%s %%d0, %%a0, %%a1, %%a2, %%a3;" % t, [t, t, "u32", "u32"], [t], bfi,
               narrow=((2, few), (3, few)))
    for lut in (0x80, 0xFE, 0x96, 0xE8, 0x1B):
        family("lop3.%02x" % lut, "lop3.b32 %%d0, %%a0, %%a1, %%a2, %d;" % lut, ["b32"] * 3, ["b32"],
               lambda a, b, c: sum((lut >> ((a >> k & 1) << 2 | (b >> k & 1) << 1 | c >> k & 1) & 1) << k
                                   for k in range(32)))
    for mode in ("wrap", "clamp"):
        s = (lambda c: c & 31) if mode == "wrap" else (lambda c: min(c, 32))
        family("shf.l." + mode, "shf.l.%s.b32 %%d0, %%a0, %%a1, %%a2;" % mode, ["b32"] * 3, ["b32"],
               lambda a, b, c: (b << 32 | a) << s(c) >> 32)
        family("shf.r." + mode, "shf.r.%s.b32 %%d0, %%a0, %%a1, %%a2;" % mode, ["b32"] * 3, ["b32"],
               lambda a, b, c: (b << 32 | a) >> s(c))

        def bmsk(a, b):
            a, b = (a & 31, b & 31) if mode == "wrap" else (min(a, 32), min(b, 32))
            return sum(1 << k for k in range(a, min(a + b, 32)))

        family("bmsk." + mode, "bmsk.%s.b32 %%d0, %%a0, %%a1;" % mode, ["b32"] * 2, ["b32"], bmsk,
               narrow=((0, small), (1, small)))
        for t in ("u32", "s32"):
            def szext(a, b):
                b = b & 31 if mode == "wrap" else min(b, 32)
                return 0 if not b else (signed(a, b) if t == "s32" else mask(a, b))

            family("szext.%s.%s" % (mode, t), "szext.%s.%s %%d0, %%a0, %%a1;" % (mode, t), ["b32"] * 2, ["b32"], szext,
                   narrow=((1, small),))

    def permute(a, b, c):
        source = b << 32 | a
        out = 0
        for k in range(4):
            s = c >> (4 * k) & 15
            byte = source >> ((s & 7) * 8) & 255
            out |= ((255 if byte & 128 else 0) if s & 8 else byte) << (8 * k)
        return out

    family("prmt", "prmt.b32 %d0, %a0, %a1, %a2;", ["b32"] * 3, ["b32"], permute)
    modes = {"f4e": [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]],
             "b4e": [[0, 7, 6, 5], [1, 0, 7, 6], [2, 1, 0, 7], [3, 2, 1, 0]],
             "rc8": [[k] * 4 for k in range(4)],
             "ecl": [[max(k, i) for i in range(4)] for k in range(4)],
             "ecr": [[min(k, i) for i in range(4)] for k in range(4)],
             "rc16": [[0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]]}
    for name, table in modes.items():
        family("prmt." + name, "prmt.b32.%s %%d0, %%a0, %%a1, %%a2;" % name, ["b32"] * 3, ["b32"],
               lambda a, b, c: sum(((b << 32 | a) >> (8 * s) & 255) << (8 * k)
                                   for k, s in enumerate(table[c & 3])))
    part = lambda v, k, n, t: signed(v >> (n * k), n) if t[0] == "s" else v >> (n * k) & ((1 << n) - 1)
    for ta in ("u32", "s32"):
        for tb in ("u32", "s32"):
            family("dp4a.%s.%s" % (ta, tb), "dp4a.%s.%s %%d0, %%a0, %%a1, %%a2;" % (ta, tb), ["b32"] * 3, ["b32"],
                   lambda a, b, c: c + sum(part(a, k, 8, ta) * part(b, k, 8, tb) for k in range(4)))
            for half, first in (("lo", 0), ("hi", 2)):
                family("dp2a.%s.%s.%s" % (half, ta, tb), "dp2a.%s.%s.%s %%d0, %%a0, %%a1, %%a2;" % (half, ta, tb),
                       ["b32"] * 3, ["b32"],
                       lambda a, b, c: c + sum(part(a, k, 16, ta) * part(b, first + k, 8, tb) for k in range(2)))
    for n in (16, 32, 64):
        t = "b%d" % n
        family("selp." + t, "selp.%s %%d0, %%a0, %%a1, %%a2;" % t, [t, t, "pred"], [t], lambda a, b, p: a if p else b)
        if n > 16:
            family("slct.s32." + t, "slct.%s.s32 %%d0, %%a0, %%a1, %%a2;" % t, [t, t, "s32"], [t],
                   lambda a, b, c: a if signed(c, 32) >= 0 else b)
            family("slct.f32." + t, "slct.%s.f32 %%d0, %%a0, %%a1, %%a2;" % t, [t, t, "f32"], [t],
                   lambda a, b, c: a if exact.compare(F32, "ge", c, 0) else b)


def float_families():
    arithmetic = {"add": (2, exact.add), "sub": (2, exact.sub),
                  "mul": (2, exact.mul), "fma": (3, exact.fma), "div": (2, exact.div)}
    for t in ("f32", "f64"):
        f = FLOATS[t]
        for op, (n, reference) in arithmetic.items():
            for mode in ("rn", "rz", "rm", "rp"):
                for extra in (("", ".ftz", ".sat", ".ftz.sat") if t == "f32" and op != "div" else ("", ".ftz")
                              if t == "f32" else ("",)):
                    ftz, sat = "ftz" in extra, "sat" in extra

                    def run(*v):
                        v = [exact.flush(f, x) for x in v] if ftz else v
                        return exact.finish(f, reference(f, *v, mode, ftz), sat)

                    family("%s.%s%s.%s" % (op, mode, extra, t), "%s.%s%s.%s %%d0, %s;" % (op, mode, extra, t, operands(n)),
                           [t] * n, [t], run, extra=nan_rows(f, n) if f is F64 else
                           tiny_rows(f, op) if ftz and op not in ("add", "sub") else ())
        for mode in ("rn", "rz", "rm", "rp"):
            family("sqrt.%s.%s" % (mode, t), "sqrt.%s.%s %%d0, %%a0;" % (mode, t), [t], [t],
                   lambda a: exact.sqrt(f, a, mode), extra=nan_rows(f, 1))
            family("rcp.%s.%s" % (mode, t), "rcp.%s.%s %%d0, %%a0;" % (mode, t), [t], [t],
                   lambda a: exact.div(f, (-f.emin + 1) << f.fraction, a, mode), extra=nan_rows(f, 1))
            if t == "f32":  # the inverses of these are around the least normal number
                family("rcp.%s.ftz.f32" % mode, "rcp.%s.ftz.f32 %%d0, %%a0;" % mode, [t], [t],
                       lambda a: exact.div(f, 0x3F800000, exact.flush(f, a), mode, True),
                       extra=[(s | v,) for s in (0, f.sign) for v in range(0x7E7FFFFE, 0x7E800004)])
        is_nan = lambda a: a & (f.sign - 1) > f.inf
        for op, want_max in (("min", False), ("max", True)):
            family("%s.%s" % (op, t), "%s.%s %%d0, %%a0, %%a1;" % (op, t), [t] * 2, [t],
                   lambda a, b: exact.minmax(f, a, b, want_max), extra=nan_rows(f, 2))
        for op, sign in (("abs", lambda a: a & ~f.sign), ("neg", lambda a: a ^ f.sign)):
            family(op + "." + t, "%s.%s %%d0, %%a0;" % (op, t), [t], [t],
                   lambda a: exact.nan(f, a) if is_nan(a) else sign(a), extra=nan_rows(f, 1))
        family("copysign." + t, "copysign.%s %%d0, %%a0, %%a1;" % t, [t] * 2, [t],
               lambda a, b: b & ~f.sign | a & f.sign)
        tests = {"finite": lambda m: m < f.inf, "infinite": lambda m: m == f.inf, "number": lambda m: m <= f.inf,
                 "notanumber": lambda m: m > f.inf, "normal": lambda m: m == 0 or 1 << f.fraction <= m < f.inf,
                 "subnormal": lambda m: 0 < m < 1 << f.fraction}
        for name, test in tests.items():
            family("testp.%s.%s" % (name, t), "testp.%s.%s %%d0, %%a0;" % (name, t), [t], ["pred"],
                   lambda a: int(test(a & (f.sign - 1))))
    for op, want_max in (("min", False), ("max", True)):
        family(op + ".NaN.f32", "%s.NaN.f32 %%d0, %%a0, %%a1;" % op, ["f32"] * 2, ["f32"],
               lambda a, b: exact.minmax(F32, a, b, want_max, True))
        family(op + ".ftz.f32", "%s.ftz.f32 %%d0, %%a0, %%a1;" % op, ["f32"] * 2, ["f32"],
               lambda a, b: exact.minmax(F32, exact.flush(F32, a), exact.flush(F32, b), want_max))
    for t in ("f16", "bf16"):
        f = FLOATS[t]
        for op, (n, reference) in arithmetic.items():
            if op == "div":
                continue
            forms = ("", ".ftz", ".sat", ".ftz.sat") if t == "f16" else ("",)
            for extra in forms + ((".relu",) if op == "fma" else ()):
                ftz, sat, relu = "ftz" in extra, "sat" in extra, "relu" in extra

                def one(*v):
                    v = [exact.flush(f, x) for x in v] if ftz else v
                    return exact.finish(f, reference(f, *v, "rn", ftz), sat, relu)

                tiny = tiny_rows(f, op) if ftz and op not in ("add", "sub") else []
                family("%s.rn%s.%s" % (op, extra, t), "%s.rn%s.%s %%d0, %s;" % (op, extra, t, operands(n)), [t] * n, [t],
                       one, extra=tiny)
                family("%s.rn%s.%sx2" % (op, extra, t), "%s.rn%s.%sx2 %%d0, %s;" % (op, extra, t, operands(n)),
                       [t + "x2"] * n, [t + "x2"],
                       lambda *v: one(*[x & 0xFFFF for x in v]) | one(*[x >> 16 for x in v]) << 16,
                       extra=[tuple(x | y << 16 for x, y in zip(*pair)) for pair in zip(tiny, tiny[1:])])
        for op, sign in (("abs", lambda a: a & ~f.sign), ("neg", lambda a: a ^ f.sign)):
            if t == "f16":
                family(op + ".f16", op + ".f16 %d0, %a0;", [t], [t],
                       lambda a: f.nan if a & (f.sign - 1) > f.inf else sign(a))
        for op, want_max in (("min", False), ("max", True)):
            family("%s.%s" % (op, t), "%s.%s %%d0, %%a0, %%a1;" % (op, t), [t] * 2, [t],
                   lambda a, b: exact.minmax(f, a, b, want_max))
            family("%s.NaN.%sx2" % (op, t), "%s.NaN.%sx2 %%d0, %%a0, %%a1;" % (op, t), [t + "x2"] * 2, [t + "x2"],
                   lambda a, b: exact.minmax(f, a & 0xFFFF, b & 0xFFFF, want_max, True) |
                   exact.minmax(f, a >> 16, b >> 16, want_max, True) << 16)


def compare_families():
    names = ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"]
    for t in ("f32", "f64", "f16", "bf16"):
        for op in names:
            family("setp.%s.%s" % (op, t), "setp.%s.%s %%d0, %%a0, %%a1;" % (op, t), [t] * 2, ["pred"],
                   lambda a, b: int(exact.compare(FLOATS[t], op, a, b)))
    for op in ("eq", "lt", "geu"):
        family("setp.%s.ftz.f32" % op, "setp.%s.ftz.f32 %%d0, %%a0, %%a1;" % op, ["f32"] * 2, ["pred"],
               lambda a, b: int(exact.compare(F32, op, exact.flush(F32, a), exact.flush(F32, b))))
    integer = {"eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b,
               "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b}
    for t in INTS:
        for op, f in integer.items():
            family("setp.%s.%s" % (op, t), "setp.%s.%s %%d0, %%a0, %%a1;" % (op, t), [t] * 2, ["pred"],
                   lambda a, b: int(f(value(t, a), value(t, b))))
    for op, other in (("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")):
        family("setp.%s.u32" % op, "setp.%s.u32 %%d0, %%a0, %%a1;" % op, ["u32"] * 2, ["pred"],
               lambda a, b: int(integer[other](a, b)))
    combine = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}
    for name, f in combine.items():
        family("setp.lt.%s.s32" % name, "setp.lt.%s.s32 %%d0|%%d1, %%a0, %%a1, %%a2;" % name, ["s32", "s32", "pred"],
               ["pred", "pred"],
               lambda a, b, c: (f(int(signed(a, 32) < signed(b, 32)), c), f(int(signed(a, 32) >= signed(b, 32)), c)))
        family("setp.gtu.%s.not.f32" % name, "setp.gtu.%s.f32 %%d0|%%d1, %%a0, %%a1, !%%a2;" % name, ["f32", "f32", "pred"],
               ["pred", "pred"],
               lambda a, b, c: (f(int(exact.compare(F32, "gtu", a, b)), 1 - c),
                                f(1 - int(exact.compare(F32, "gtu", a, b)), 1 - c)))
    for d, yes in (("u32", 0xFFFFFFFF), ("s32", 0xFFFFFFFF), ("f32", 0x3F800000)):
        family("set.le.%s.s32" % d, "set.le.%s.s32 %%d0, %%a0, %%a1;" % d, ["s32"] * 2, [d],
               lambda a, b: yes if signed(a, 32) <= signed(b, 32) else 0)
        family("set.neu.%s.f64" % d, "set.neu.%s.f64 %%d0, %%a0, %%a1;" % d, ["f64"] * 2, [d],
               lambda a, b: yes if exact.compare(F64, "neu", a, b) else 0)
        family("set.gt.xor.%s.f32" % d, "set.gt.xor.%s.f32 %%d0, %%a0, %%a1, %%a2;" % d, ["f32", "f32", "pred"], [d],
               lambda a, b, c: yes if int(exact.compare(F32, "gt", a, b)) ^ c else 0)
    for t, f, yes in (("f16", F16, 0x3C00), ("bf16", BF16, 0x3F80)):
        family("set.le.%sx2" % t, "set.le.%sx2.%sx2 %%d0, %%a0, %%a1;" % (t, t), [t + "x2"] * 2, [t + "x2"],
               lambda a, b: (yes if exact.compare(f, "le", a & 0xFFFF, b & 0xFFFF) else 0) |
               (yes << 16 if exact.compare(f, "le", a >> 16, b >> 16) else 0))
        family("setp.le.%sx2" % t, "setp.le.%sx2 %%d0|%%d1, %%a0, %%a1;" % t, [t + "x2"] * 2, ["pred", "pred"],
               lambda a, b: (int(exact.compare(f, "le", a & 0xFFFF, b & 0xFFFF)),
                             int(exact.compare(f, "le", a >> 16, b >> 16))))


def limits(t):
    n = width(t)
    return (-(1 << (n - 1)), (1 << (n - 1)) - 1) if t[0] == "s" else (0, (1 << n) - 1)


def convert_families():
    ints = ["u8", "s8"] + INTS
    for d in ints:
        for s in ints:
            if d != s and not (d[0] == s[0] and width(d) > 64):
                family("cvt.%s.%s" % (d, s), "cvt.%s.%s %%d0, %%a0;" % (d, s), [s if width(s) > 8 else s],
                       [d if width(d) > 8 else d[0] + "16"], lambda a: value(s, a) if width(d) > 8 else
                       (signed(a, 8) if d == "s8" else a & 255))
                lo, hi = limits(d)
                if limits(d)[0] <= limits(s)[0] and limits(s)[1] <= limits(d)[1]:
                    continue  # nothing to saturate: .sat is refused
                family("cvt.sat.%s.%s" % (d, s), "cvt.sat.%s.%s %%d0, %%a0;" % (d, s), [s],
                       [d if width(d) > 8 else d[0] + "16"], lambda a: max(lo, min(hi, value(s, a))))
    for s in ("f32", "f64", "f16"):
        for d in ints:
            for mode in ("rni", "rzi", "rmi", "rpi"):
                def to_int(a):
                    v, _ = exact.decode(FLOATS[s], a)
                    lo, hi = limits(d)
                    if v == exact.NAN:
                        return 1 << (width(d) - 1) if s == "f64" or width(d) == 64 else 0
                    if v in (exact.PINF, exact.NINF):
                        return hi if v == exact.PINF else lo
                    return max(lo, min(hi, exact.round_int(v, mode)))

                family("cvt.%s.%s.%s" % (mode, d, s), "cvt.%s.%s.%s %%d0, %%a0;" % (mode, d, s), [s],
                       [d if width(d) > 8 else d[0] + "16"],
                       lambda a: to_int(a) if to_int(a) is None or width(d) > 8 else mask(signed(to_int(a), 8), 16)
                       if d == "s8" else to_int(a))
    for s in ints:
        for d in ("f16", "f32", "f64", "bf16"):
            for mode in ("rn", "rz", "rm", "rp"):
                if d == "bf16" and (mode != "rn" or width(s) == 8):
                    continue
                family("cvt.%s.%s.%s" % (mode, d, s), "cvt.%s.%s.%s %%d0, %%a0;" % (mode, d, s), [s], [d],
                       lambda a: exact.encode(FLOATS[d], Fraction(value(s, a)), mode))

    def narrow(d, s, mode, ftz=False, sat=False, relu=False):
        def run(a):
            a = exact.flush(FLOATS[s], a) if ftz and s == "f32" else a
            v, negative = exact.decode(FLOATS[s], a)
            f = FLOATS[d]
            if v == exact.NAN and "f64" in (d, s):  # keeps its sign and what fits of its payload, quieted
                shift = f.fraction - FLOATS[s].fraction
                payload = a & (1 << FLOATS[s].fraction) - 1
                payload = payload << shift if shift > 0 else payload >> -shift
                bits = (f.sign if negative else 0) | f.inf | payload | 1 << f.fraction - 1
            elif v == exact.NAN:
                bits = f.nan
            elif v in (exact.PINF, exact.NINF):
                bits = f.inf | (f.sign if negative else 0)
            else:
                bits = exact.encode(f, v, mode, negative, ftz and d == "f32")
            return exact.finish(f, bits, sat, relu)

        return run

    for d, s in (("f16", "f32"), ("f16", "f64"), ("f32", "f64"), ("bf16", "f32"), ("bf16", "f64")):
        for mode in ("rn", "rz", "rm", "rp"):
            if d == "bf16" and (mode in ("rm", "rp") or s == "f64" and mode != "rn"):
                continue
            family("cvt.%s.%s.%s" % (mode, d, s), "cvt.%s.%s.%s %%d0, %%a0;" % (mode, d, s), [s], [d], narrow(d, s, mode),
                   extra=nan_rows(FLOATS[s], 1))
    for d, s in (("f32", "f16"), ("f64", "f16"), ("f64", "f32"), ("f32", "bf16")):
        # the one conversion that keeps a NaN as it is: bf16 is the upper half of f32
        family("cvt.%s.%s" % (d, s), "cvt.%s.%s %%d0, %%a0;" % (d, s), [s], [d],
               lambda a: a << 16 if s == "bf16" else narrow(d, s, "rn")(a), extra=nan_rows(FLOATS[s], 1))
    family("cvt.sat.f32.f32", "cvt.sat.f32.f32 %d0, %a0;", ["f32"], ["f32"], narrow("f32", "f32", "rn", sat=True))
    family("cvt.ftz.f32.f32", "cvt.ftz.f32.f32 %d0, %a0;", ["f32"], ["f32"], narrow("f32", "f32", "rn", ftz=True))
    for mode in ("rn", "rz", "rm", "rp"):
        least = 0x3810000000000000  # 2^-126; an f32 has 29 bits less
        near = [(sign | least + (k << 27) + j,) for sign in (0, 1 << 63) for k in range(-6, 2) for j in (-1, 0, 1)]
        family("cvt.%s.ftz.f32.f64" % mode, "cvt.%s.ftz.f32.f64 %%d0, %%a0;" % mode, ["f64"], ["f32"],
               narrow("f32", "f64", mode, ftz=True), extra=near)
    for t in ("f32", "f64"):
        for mode in ("rni", "rzi", "rmi", "rpi"):
            def integral(a):
                v, negative = exact.decode(FLOATS[t], a)
                if v == exact.NAN:
                    return exact.nan(FLOATS[t], a)
                if v in (exact.PINF, exact.NINF):
                    return a
                return exact.encode(FLOATS[t], Fraction(exact.round_int(v, mode)), "rn", negative)

            family("cvt.%s.%s.%s" % (mode, t, t), "cvt.%s.%s.%s %%d0, %%a0;" % (mode, t, t), [t], [t], integral)
    for d in ("f16", "bf16"):
        for mode in ("rn", "rz"):
            for relu in ("", ".relu"):
                one = narrow(d, "f32", mode, relu=bool(relu))
                family("cvt.%s%s.%sx2.f32" % (mode, relu, d), "cvt.%s%s.%sx2.f32 %%d0, %%a0, %%a1;" % (mode, relu, d),
                       ["f32"] * 2, ["b32"], lambda a, b: one(a) << 16 | one(b))


def approx_families():
    def unary(op, reference, tolerance, low, high, ftz=""):
        rng = random.Random(op)
        rows = []
        for _ in range(ROWS):
            x = Fraction(rng.uniform(low, high))
            rows.append((exact.encode(F32, x),))

        def run(a):
            v, _ = exact.decode(F32, a)
            return exact.encode(F32, exact.to_fraction(reference(v)))

        family("%s.approx%s.f32" % (op, ftz), "%s.approx%s.f32 %%d0, %%a0;" % (op, ftz), ["f32"], ["f32"], run, rows=rows,
               tolerance=[tolerance])

    # bounds of the PTX ISA, as ulps or as absolute errors on the stated intervals
    unary("ex2", exact.exp2, "ulp32:2", -20, 20)
    unary("ex2", exact.exp2, "ulp32:2", -20, 20, ".ftz")
    unary("lg2", exact.log2, "ulp32:2", 2.5, 1e6)
    unary("sin", exact.sin, "abs32:2e-6", -3.14159, 3.14159)
    unary("cos", exact.cos, "abs32:2e-6", -3.14159, 3.14159)
    unary("tanh", exact.tanh, "ulp32:8192", -8, 8)
    unary("rcp", lambda v: 1 / exact.to_decimal(v), "ulp32:1", 0.001, 1000)
    unary("sqrt", lambda v: exact.to_decimal(v).sqrt(), "ulp32:2", 0, 1e6)
    unary("rsqrt", lambda v: 1 / exact.to_decimal(v).sqrt(), "ulp32:4", 1e-6, 1e6)
    for op in ("rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos"):
        # the tables of special values in the ISA
        special = {0: {"rcp": F32.inf, "sqrt": 0, "rsqrt": F32.inf, "ex2": 0x3F800000, "lg2": F32.inf | F32.sign,
                       "sin": 0, "cos": 0x3F800000},
                   F32.sign: {"rcp": F32.inf | F32.sign, "sqrt": F32.sign, "rsqrt": F32.inf | F32.sign,
                              "ex2": 0x3F800000, "lg2": F32.inf | F32.sign, "sin": F32.sign, "cos": 0x3F800000},
                   F32.inf: {"rcp": 0, "sqrt": F32.inf, "rsqrt": 0, "ex2": F32.inf, "lg2": F32.inf, "sin": F32.nan,
                             "cos": F32.nan},
                   F32.inf | F32.sign: {"rcp": F32.sign, "sqrt": F32.nan, "rsqrt": F32.nan, "ex2": 0, "lg2": F32.nan,
                                        "sin": F32.nan, "cos": F32.nan},
                   F32.nan: {k: F32.nan for k in ("rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos")}}
        family("special.%s.approx.f32" % op, "%s.approx.f32 %%d0, %%a0;" % op, ["f32"], ["f32"],
               lambda a: special[a][op], rows=[(k,) for k in special])
    rng = random.Random("div")
    rows = [(exact.encode(F32, Fraction(rng.uniform(-100, 100))), exact.encode(F32, Fraction(rng.uniform(0.01, 50))))
            for _ in range(ROWS)]
    for kind in ("approx", "full"):
        family("div.%s.f32" % kind, "div.%s.f32 %%d0, %%a0, %%a1;" % kind, ["f32"] * 2, ["f32"],
               lambda a, b: exact.div(F32, a, b), rows=rows, tolerance=["ulp32:2"])


def video(op, lanes, types, row, parts=(None, None, None), sat=False, add=False):
    """PTX ISA "SIMD Video Instructions"; types: of d (None: a comparison), a, b; parts: digits of d, a, b as written."""
    bits = 32 // lanes
    pair = [(row[1] << 32 | row[0]) >> bits * k & (1 << bits) - 1 for k in range(2 * lanes)]
    default = "".join(str(k) for k in reversed(range(2 * lanes)))
    chosen = [parts[1] or default[lanes:], parts[2] or default[:lanes]]
    touched = [int(k) for k in parts[0] or default[lanes:]]
    results = []
    for k in range(lanes):
        x, y = [signed(pair[int(pick[lanes - 1 - k])], bits) if t == "s32" else pair[int(pick[lanes - 1 - k])]
                for pick, t in zip(chosen, types[1:])]
        t = {"vadd": x + y, "vsub": x - y, "vavrg": (x + y + 1) // 2 if x + y >= 0 else (x + y) // 2,
             "vabsdiff": abs(x - y), "vmin": min(x, y), "vmax": max(x, y), "eq": x == y, "ne": x != y, "lt": x < y,
             "le": x <= y, "gt": x > y, "ge": x >= y}[op]
        if sat:
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if types[0] == "s32" else (0, (1 << bits) - 1)
            t = max(low, min(high, t))
        results.append(int(t))
    if add:
        return mask(row[2] + sum(results[k] for k in touched), 32)
    kept = [row[2] >> bits * k & (1 << bits) - 1 for k in range(lanes)]
    return sum(mask(results[k] if k in touched else kept[k], bits) << bits * k for k in range(lanes))


def video_families():
    def one(name, op, lanes, types, text, parts=(None, None, None), **how):
        family(name, text, ["b32"] * 3, ["b32"], lambda *row: video(op, lanes, types, row, parts, **how), rows=rows)

    rng = random.Random("video")
    edges = [0, 0xFFFFFFFF, 0x80808080, 0x7F7F7F7F, 0x80008000, 0x7FFF7FFF, 0x00FF7F80, 0x01020304, 0xFE01FF00]
    rows = [(a, b, rng.getrandbits(32)) for a in edges for b in edges]
    rows += [tuple(rng.getrandbits(32) for _ in range(3)) for _ in range(32)]
    signs = [list(t) for t in itertools.product(("u32", "s32"), repeat=3)]
    for lanes in (2, 4):
        for op in ("vadd", "vsub", "vavrg", "vabsdiff", "vmin", "vmax"):
            for types in signs:
                for suffix in ("", ".sat", ".add"):
                    name = "%s%d.%s%s" % (op, lanes, ".".join(types), suffix)
                    one(name, op, lanes, types, name + " %d0, %a0, %a1, %a2;", sat=suffix == ".sat",
                        add=suffix == ".add")
        for types in itertools.product(("u32", "s32"), repeat=2):
            for op in ("eq", "ne", "lt", "le", "gt", "ge"):
                for suffix in ("", ".add"):
                    name = "vset%d.%s.%s%s" % (lanes, ".".join(types), op, suffix)
                    one(name, op, lanes, (None,) + types, name + " %d0, %a0, %a1, %a2;", add=bool(suffix))
    for lanes, unit, touched, chosen in (
            (2, "h", ("0", "1", "10"), ("00", "13", "32", "21")),
            (4, "b", ("0", "3", "20", "310", "321", "3210"), ("0000", "7531", "4567", "6620"))):
        for t, (a, b) in itertools.product(touched, zip(chosen, chosen[1:] + chosen[:1])):
            for suffix in ("", ".add"):
                text = "vsub%d.s32.u32.s32%s %%d0.%s%s, %%a0.%s%s, %%a1.%s%s, %%a2;" % (
                    lanes, suffix, unit, t, unit, a, unit, b)
                one("parts.vsub%d.%s.%s.%s%s" % (lanes, t, a, b, suffix), "vsub", lanes, ("s32", "u32", "s32"), text,
                    (t, a, b), add=bool(suffix))


def main():
    os.makedirs(OUT, exist_ok=True)
    integer_families()
    bits_families()
    float_families()
    compare_families()
    convert_families()
    approx_families()
    video_families()
    for name in os.listdir(OUT):
        if name not in written:
            os.unlink(os.path.join(OUT, name))
    print("%d families" % count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
