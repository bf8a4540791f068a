# SPDX-License-Identifier: MIT
"""Comparison and conversion."""
from fractions import Fraction

import exact
from exact import BF16, F16, F32, F64
from family import FLOATS, INTS, family, mask, nan_rows, signed, value, width


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


def pack_families():
    """PTX ISA "cvt.pack": b is below a, and what is left above them are the lower bits of c."""
    for d in ("u2", "s2", "u4", "s4", "u8", "s8", "u16", "s16"):
        n = width(d)
        low, high = limits(d)

        def packed(a, b, c=0):
            a, b = (mask(max(low, min(high, signed(x, 32))), n) for x in (a, b))
            return mask(c << 2 * n | a << n | b, 32)

        sources = 2 if n == 16 else 3
        rows = [(a, b, 0x89ABCDEF)[:sources] for x in (low, high) for a in (x - 1, x, x + 1, 0, 0x7FFFFFFF)
                for b in (x, 1 - x, 0x80000000)]
        family("cvt.pack.sat.%s" % d, "cvt.pack.sat.%s.s32%s %%d0, %s;" % (
            d, "" if n == 16 else ".b32", ", ".join("%%a%d" % k for k in range(sources))), ["s32"] * sources, ["b32"],
            packed, extra=[tuple(mask(x, 32) for x in row) for row in rows])


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
    pack_families()
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
