# SPDX-License-Identifier: MIT
"""
What all vectors are made of: values of a type worth trying, the kernel around an instruction, and the writing of
a family, one .ptx and one .vec. gen-vectors.py tells their form; the other modules beside it declare families.
"""
import itertools
import os
import random
import re
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
    """PTX version and target. 7.8 and sm_80 where they will do, so that few vectors need a newer driver or GPU: bf16
    arithmetic and conversions from integers do, and what came later."""
    if re.search(r"[us]16x2|e[45]m[23]x2|(atom|red)\S*\.v[24]\.|bulk|proxy|gridid|is_explicit|createpolicy|cache_hint|relu\.s32|\.oob|elect|satfinite|::func|::entry|\.mmio|mbarrier|lop3\.(or|and)", text):
        return "8.3", "sm_90"
    if re.search(r"cvt\.r[nz](\.relu)?\.tf32|\.cluster|::cluster|griddepcontrol", text):
        return "7.8", "sm_90"
    if "xorsign" in text:
        return "7.8", "sm_86" if "bf16" not in text else "sm_90"
    bf16 = "bf16" in text and not re.match(r"(fma|abs|neg|min|max)\.", text)
    plain = re.match(r"cvt\S*\.bf16(x2)?\.f32|cvt\S*\.f32\.bf16", text)
    return "7.8", "sm_90" if bf16 and not plain else "sm_80"


def kernel(text, ins, outs, module=""):
    """`module`: what is declared outside the kernel, under names that end in a $ (see family())."""
    version, sm = target(module + text)
    lines = [".version " + version, ".target " + sm, ".address_size 64", ""] + module.split("\n")[:-1] + [
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


def family(name, text, ins, outs, reference, narrow=(), tolerance=None, rows=None, extra=(), module=""):
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
    # names outside of kernels are the family's own: a tool may join many vectors to one module
    text, module = text.replace("$", "_" + name), module.replace("$", "_" + name)
    if name + ".ptx" in written:
        raise ValueError("two families are called " + name)
    with open(os.path.join(OUT, name + ".ptx"), "w") as f:
        f.write(kernel(text, ins, outs, module))
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
