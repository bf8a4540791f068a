# SPDX-License-Identifier: MIT
"""Forms beside the main ones: packed integers, carries of signed types, .relu and .xorsign.abs, older names of
instructions, and the types that only say how wide a register is."""
import exact
from exact import BF16, F16, F32, F64
from family import FLOATS, INTS, edge_cases, family, nan_rows, operands, signed, tiny_rows, value, width

BITS = ["b16", "b32", "b64"]
# what a comparison gives for true, by its type
TRUE = {"u16": 0xFFFF, "s16": 0xFFFF, "u32": 0xFFFFFFFF, "s32": 0xFFFFFFFF, "f32": 0x3F800000, "f16": 0x3C00,
        "bf16": 0x3F80}


def halves(f):
    """A function of 16 bits, for both halves of 32."""
    return lambda *v: f(*[x & 0xFFFF for x in v]) & 0xFFFF | (f(*[x >> 16 for x in v]) & 0xFFFF) << 16


def is_nan(f, bits):
    return bits & (f.sign - 1) > f.inf


def integer_forms():
    for t in ("u16", "s16"):
        number = lambda v: value(t, v)
        for op, f in (("add", lambda a, b: number(a) + number(b)), ("min", lambda a, b: min(number(a), number(b))),
                      ("max", lambda a, b: max(number(a), number(b)))):
            family("%s.%sx2" % (op, t), "%s.%sx2 %%d0, %%a0, %%a1;" % (op, t), [t + "x2"] * 2, [t + "x2"], halves(f))
    for op, best in (("min", min), ("max", max)):
        relu = lambda a, b: max(0, best(signed(a, 16), signed(b, 16)))
        family(op + ".relu.s16x2", op + ".relu.s16x2 %d0, %a0, %a1;", ["s16x2"] * 2, ["s16x2"], halves(relu))
        family(op + ".relu.s32", op + ".relu.s32 %d0, %a0, %a1;", ["s32"] * 2, ["s32"],
               lambda a, b: max(0, best(signed(a, 32), signed(b, 32))))
    for n in (32, 64):
        t, m = "s%d" % n, (1 << n) - 1
        number = lambda v: signed(v, n)
        high = lambda a, b: number(a) * number(b) >> n & m
        family("carry.add." + t, "add.cc.%s %%d0, %%a0, %%a1;\naddc.cc.%s %%d1, %%a2, %%a0;\naddc.%s %%d2, %%a1, %%a2;"
               % (t, t, t), [t] * 3, [t] * 3, lambda a, b, c: (
                   a + b, c + a + ((a + b) >> n), b + c + ((c + a + ((a + b) >> n)) >> n)))
        family("carry.sub." + t, "sub.cc.%s %%d0, %%a0, %%a1;\nsubc.cc.%s %%d1, %%a2, %%a0;\nsubc.%s %%d2, %%a1, %%a2;"
               % (t, t, t), [t] * 3, [t] * 3, lambda a, b, c: (
                   a - b, c - a - (a < b), b - c - (c - a - (a < b) < 0)))
        family("carry.mad." + t,
               "mad.lo.cc.%s %%d0, %%a0, %%a1, %%a2;\nmadc.hi.cc.%s %%d1, %%a0, %%a1, %%a2;\nmadc.lo.%s %%d2, %%a1, %%a2, %%a0;"
               % (t, t, t), [t] * 3, [t] * 3, lambda a, b, c: (
                   a * b + c, high(a, b) + c + (((a * b & m) + c) >> n),
                   b * c + a + ((high(a, b) + c + (((a * b & m) + c) >> n)) >> n)))
    cut = lambda v: signed(v, 24)
    family("mad24.hi.sat.s32", "mad24.hi.sat.s32 %d0, %a0, %a1, %a2;", ["s32"] * 3, ["s32"],
           lambda a, b, c: max(-1 << 31, min((1 << 31) - 1, (cut(a) * cut(b) >> 16) + signed(c, 32))))

    def fns(bits, base, offset):
        offset = signed(offset, 32)
        if offset == 0:
            return base if bits >> base & 1 else -1
        places = range(base, 32) if offset > 0 else range(base, -1, -1)
        found = [k for k in places if bits >> k & 1]
        return found[abs(offset) - 1] if abs(offset) <= len(found) else -1

    family("fns", "fns.b32 %d0, %a0, %a1, %a2;", ["b32", "u32", "s32"], ["b32"], fns,
           narrow=((1, list(range(32))), (2, [-5, -2, -1, 0, 1, 2, 3, 7, 31, 32])))
    for n in (16, 32, 64):
        family("shr.b%d" % n, "shr.b%d %%d0, %%a0, %%a1;" % n, ["b%d" % n, "u32"], ["b%d" % n],
               lambda a, b: a >> b if b < n else 0)
    for name, f in (("or", lambda any_bit, p: any_bit | p), ("and", lambda any_bit, p: any_bit & p)):
        lut = lambda a, b, c: sum((0x96 >> ((a >> k & 1) << 2 | (b >> k & 1) << 1 | c >> k & 1) & 1) << k
                                  for k in range(32))
        family("lop3." + name, "lop3.%s.b32 %%d0|%%d1, %%a0, %%a1, %%a2, 0x96, %%a3;" % name, ["b32"] * 3 + ["pred"],
               ["b32", "pred"], lambda a, b, c, p: (lut(a, b, c), f(int(lut(a, b, c) != 0), p)),
               extra=[(5, 5, 0, 0), (5, 5, 0, 1), (9, 8, 1, 1), (9, 8, 1, 0)])


def float_forms():
    for t in ("f32", "f64"):  # mad is fma by its older name
        f = FLOATS[t]
        for form in ("rn", "rz", "rm", "rp") + (("rn.ftz", "rn.sat", "rz.ftz.sat") if t == "f32" else ()):
            ftz, sat = "ftz" in form, "sat" in form

            def run(*v):
                v = [exact.flush(f, x) for x in v] if ftz else v
                return exact.finish(f, exact.fma(f, *v, form[:2], ftz), sat)

            family("mad.%s.%s" % (form, t), "mad.%s.%s %%d0, %%a0, %%a1, %%a2;" % (form, t), [t] * 3, [t], run,
                   extra=nan_rows(f, 3) if f is F64 else tiny_rows(f, "fma") if ftz else ())
    for t in ("f16", "bf16"):
        f = FLOATS[t]
        for op, sign in (("abs", lambda a: a & ~f.sign), ("neg", lambda a: a ^ f.sign)):
            one = lambda a: f.nan if is_nan(f, a) else sign(a)
            if t == "bf16":
                family(op + ".bf16", op + ".bf16 %d0, %a0;", [t], [t], one)
            family("%s.%sx2" % (op, t), "%s.%sx2 %%d0, %%a0;" % (op, t), [t + "x2"], [t + "x2"], halves(one))
            if t == "f16":
                flushed = lambda a: one(exact.flush(f, a))
                family(op + ".ftz.f16", op + ".ftz.f16 %d0, %a0;", [t], [t], flushed)
                family(op + ".ftz.f16x2", op + ".ftz.f16x2 %d0, %a0;", ["f16x2"], ["f16x2"], halves(flushed))
    for op, sign in (("abs", lambda a: a & ~F32.sign), ("neg", lambda a: a ^ F32.sign)):
        family(op + ".ftz.f32", op + ".ftz.f32 %d0, %a0;", ["f32"], ["f32"],
               lambda a: F32.nan if is_nan(F32, a) else sign(exact.flush(F32, a)))
    for mode in ("rn", "rz", "rm", "rp"):
        family("sqrt.%s.ftz.f32" % mode, "sqrt.%s.ftz.f32 %%d0, %%a0;" % mode, ["f32"], ["f32"],
               lambda a: exact.sqrt(F32, exact.flush(F32, a), mode))

    def xorsign(f, want_max):
        """The sign is that of the product; what it is of a NaN, nobody says."""
        def run(a, b):
            if is_nan(f, a) or is_nan(f, b):
                return None
            return exact.minmax(f, a & ~f.sign, b & ~f.sign, want_max) | (a ^ b) & f.sign

        return run

    def both(low, high):
        return None if low is None or high is None else low | high << 16

    for op, want_max in (("min", False), ("max", True)):
        for t in ("f32", "f16", "bf16"):
            family("%s.xorsign.abs.%s" % (op, t), "%s.xorsign.abs.%s %%d0, %%a0, %%a1;" % (op, t), [t] * 2, [t],
                   xorsign(FLOATS[t], want_max))
            if t == "bf16":
                continue
            for how in ("ftz", "ftz.NaN"):
                f = FLOATS[t]
                flushed = lambda a, b: xorsign(f, want_max)(exact.flush(f, a), exact.flush(f, b))
                family("%s.%s.xorsign.abs.%s" % (op, how, t), "%s.%s.xorsign.abs.%s %%d0, %%a0, %%a1;" % (op, how, t),
                       [t] * 2, [t], flushed)
                if t == "f16":
                    family("%s.%s.xorsign.abs.f16x2" % (op, how), "%s.%s.xorsign.abs.f16x2 %%d0, %%a0, %%a1;" % (op, how),
                           ["f16x2"] * 2, ["f16x2"], lambda a, b: both(flushed(a & 0xFFFF, b & 0xFFFF),
                                                                       flushed(a >> 16, b >> 16)))
        for t in ("f16", "bf16"):
            f = FLOATS[t]
            family("%s.%sx2" % (op, t), "%s.%sx2 %%d0, %%a0, %%a1;" % (op, t), [t + "x2"] * 2, [t + "x2"],
                   halves(lambda a, b: exact.minmax(f, a, b, want_max)))


def compare_forms():
    names = ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"]
    integer = {"eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b,
               "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b}
    unsigned = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
    for t in BITS:
        for op in ("eq", "ne"):
            family("setp.%s.%s" % (op, t), "setp.%s.%s %%d0, %%a0, %%a1;" % (op, t), [t] * 2, ["pred"],
                   lambda a, b: int(integer[op](a, b)), extra=[(v, v) for v in edge_cases(t)[:8]])
    # each type of the result with each type compared, the comparisons in turn
    turn = 0
    for d in ("u32", "s32", "f32", "u16", "s16", "f16", "bf16"):
        for s in BITS + INTS + ["f32", "f64", "f16", "bf16"]:
            if d in ("u16", "s16") and s not in ("f16", "bf16"):
                continue  # these are for half precision alone
            if d == "f32" and s in ("f16", "bf16") or d == "bf16" and s == "f16" or d == "f16" and s == "bf16":
                continue  # there is no such pair
            ops = ["eq", "ne"] if s in BITS else names if s in FLOATS else list(integer) + (
                list(unsigned) if s[0] == "u" else [])
            turn += 1
            for op in (ops[turn % len(ops)], ops[(turn + 3) % len(ops)]):
                def holds(a, b):
                    if s in FLOATS:
                        return exact.compare(FLOATS[s], op, a, b)
                    return integer[unsigned.get(op, op)](value(s, a), value(s, b))

                family("each.set.%s.%s.%s" % (op, d, s), "set.%s.%s.%s %%d0, %%a0, %%a1;" % (op, d, s), [s] * 2, [d],
                       lambda a, b: TRUE[d] if holds(a, b) else 0,
                       extra=[(v, v) for v in edge_cases(s)[:6]])
    for op in names:
        family("set.%s.u32.f32" % op, "set.%s.u32.f32 %%d0, %%a0, %%a1;" % op, ["f32"] * 2, ["u32"],
               lambda a, b: TRUE["u32"] if exact.compare(F32, op, a, b) else 0)
    for op, other in unsigned.items():
        family("set.%s.u32.u32" % op, "set.%s.u32.u32 %%d0, %%a0, %%a1;" % op, ["u32"] * 2, ["u32"],
               lambda a, b: TRUE["u32"] if integer[other](a, b) else 0)
    for name, f in (("and", lambda a, b: a & b), ("or", lambda a, b: a | b)):
        family("set.ge.%s.s32.s32" % name, "set.ge.%s.s32.s32 %%d0, %%a0, %%a1, %%a2;" % name, ["s32", "s32", "pred"],
               ["s32"], lambda a, b, p: TRUE["s32"] if f(int(signed(a, 32) >= signed(b, 32)), p) else 0)
    family("set.lt.ftz.u32.f32", "set.lt.ftz.u32.f32 %d0, %a0, %a1;", ["f32"] * 2, ["u32"],
           lambda a, b: TRUE["u32"] if exact.compare(F32, "lt", exact.flush(F32, a), exact.flush(F32, b)) else 0)
    for t in INTS + ["f32", "f64"]:
        family("selp." + t, "selp.%s %%d0, %%a0, %%a1, %%a2;" % t, [t, t, "pred"], [t], lambda a, b, p: a if p else b)
    for t in BITS + INTS + ["f32", "f64"]:
        if t not in ("b32", "b64"):
            family("slct.s32." + t, "slct.%s.s32 %%d0, %%a0, %%a1, %%a2;" % t, [t, t, "s32"], [t],
                   lambda a, b, c: a if signed(c, 32) >= 0 else b)
    family("slct.ftz.f32.u32", "slct.ftz.u32.f32 %d0, %a0, %a1, %a2;", ["u32", "u32", "f32"], ["u32"],
           lambda a, b, c: a if exact.compare(F32, "ge", exact.flush(F32, c), 0) else b,
           extra=[(1, 2, v) for v in (1, 0x80000001, 0x80000000, 0x807FFFFF, 0x80800000)])


def move_forms():
    for t in BITS + INTS + ["f32", "f64", "pred"]:
        family("mov." + t, "mov.%s %%d0, %%a0;" % t, [t], [t], lambda a: a)
    for whole, parts in (("b32", 2), ("b64", 2), ("b64", 4)):
        part = "b%d" % (width(whole) // parts)
        n = width(part)
        names = ", ".join("%%a%d" % k for k in range(parts))
        family("mov.pack%d.%s" % (parts, whole), "mov.%s %%d0, {%s};" % (whole, names), [part] * parts, [whole],
               lambda *v: sum(x << n * k for k, x in enumerate(v)))
        names = ", ".join("%%d%d" % k for k in range(parts))
        family("mov.unpack%d.%s" % (parts, whole), "mov.%s {%s}, %%a0;" % (whole, names), [whole], [part] * parts,
               lambda v: tuple(v >> n * k & (1 << n) - 1 for k in range(parts)))
    for whole, parts in (("b16", 2), ("b32", 4)):  # of bytes, which no instruction but cvt, ld and st gives and takes
        names = ", ".join("%%e%d" % k for k in range(parts))
        bytes_of = ".reg .b8 %%e<%d>;\n" % parts
        family("mov.pack%d.%s" % (parts, whole), bytes_of + "".join(
            "cvt.s8.s16 %%e%d, %%a%d;\n" % (k, k) for k in range(parts)) + "mov.%s %%d0, {%s};" % (whole, names),
               ["s16"] * parts, [whole], lambda *v: sum((x & 255) << 8 * k for k, x in enumerate(v)))
        family("mov.pack%d.zero.%s" % (parts, whole), bytes_of + "cvt.u8.u16 %%e0, %%a0;\nmov.%s %%d0, {%s};" % (
            whole, ", ".join(["0"] * (parts - 1) + ["%e0"])), ["u16"], [whole], lambda a: (a & 255) << 8 * (parts - 1))
        family("mov.unpack%d.%s" % (parts, whole), bytes_of + "mov.%s {%s}, %%a0;\n" % (whole, names) + "\n".join(
            "cvt.s16.s8 %%d%d, %%e%d;" % (k, k) for k in range(parts)), [whole], ["s16"] * parts,
               lambda v: tuple(signed(v >> 8 * k, 8) for k in range(parts)))
    family("mov.gridid", ".reg .b64 %all;\nmov.u64 %all, %gridid;\nmov.u32 %d0, %gridid;\ncvt.u32.u64 %d1, %all;\n"
           "sub.u32 %d0, %d0, %d1;\nmov.b32 %d1, %a0;", ["b32"], ["b32", "b32"], lambda a: (0, a))
    family("mov.is_explicit_cluster", "mov.pred %d0, %is_explicit_cluster;\nmov.b32 %d1, %a0;", ["b32"], ["pred", "b32"],
           lambda a: (0, a))


def convert_forms():
    def tf32(mode, relu=False, finite=False):
        """tf32 has the exponent of f32 and 10 bits of its fraction, in the upper bits of a register."""
        f = exact.Format(19, 10, -126, 127, 0x3FFFF)

        def run(a):
            v, negative = exact.decode(F32, a)
            if v == exact.NAN:
                return None  # its payload is nobody's promise
            if v in (exact.PINF, exact.NINF):
                bits = f.inf | (f.sign if negative else 0)
            else:
                bits = exact.encode(f, v, mode, negative)
            if finite and bits & (f.sign - 1) == f.inf:
                bits -= 1
            return (0 if relu and bits & f.sign else bits) << 13

        return run

    for mode in ("rna", "rn", "rz"):
        family("cvt.%s.tf32.f32" % mode, "cvt.%s.tf32.f32 %%d0, %%a0;" % mode, ["f32"], ["b32"], tf32(mode),
               extra=[(v,) for v in (0x3F801000, 0x3F800FFF, 0x3F801001, 0x3F803000, 0x7F7FFFFF, 0x00001000, 0x80003000)])
        if mode != "rna":
            family("cvt.%s.relu.tf32.f32" % mode, "cvt.%s.relu.tf32.f32 %%d0, %%a0;" % mode, ["f32"], ["b32"],
                   tf32(mode, relu=True))

    def finite(f):
        def run(a):
            v, negative = exact.decode(F32, a)
            if v == exact.NAN:
                return f.nan
            bits = f.inf if v in (exact.PINF, exact.NINF) else exact.encode(f, abs(v))
            return (f.inf - 1 if bits == f.inf else bits) | (f.sign if negative else 0)

        return run

    for t, f in (("f16", F16), ("bf16", BF16)):
        family("cvt.rn.satfinite.%s.f32" % t, "cvt.rn.satfinite.%s.f32 %%d0, %%a0;" % t, ["f32"], [t], finite(f),
               extra=[(v,) for v in (0x477FE000, 0x477FF000, 0x47800000, 0xC7800000, 0x7F7F8000, 0x7F7FFFFF)])


def fp8_forms():
    """Pairs of 8-bit numbers. e4m3 ends at 448 and has one NaN of each sign; conversions never give an infinity."""
    e5m2 = exact.Format(8, 2, -14, 15, 0x7F)
    e4m3 = exact.Format(8, 3, -6, 8, 0x7F)

    def narrow(f, s, relu):
        def run(a):
            v, negative = exact.decode(s, a)
            if v == exact.NAN:
                return 0x7F
            most = f.inf - (2 if f is e4m3 else 1)
            bits = most if v in (exact.PINF, exact.NINF) else min(exact.encode(f, abs(v)), most)
            return 0 if relu and negative else bits | (f.sign if negative else 0)

        return run

    def widen(f, relu):
        def run(a):
            v, negative = exact.decode(f, a)
            if v == exact.NAN or f is e4m3 and a & 127 == 127:
                return 0x7FFF
            if relu and negative:
                return 0
            return F16.inf | (F16.sign if negative else 0) if v in (exact.PINF, exact.NINF) else exact.encode(
                F16, abs(v)) | (F16.sign if negative else 0)

        return run

    near = [(x, y) for x, y in ((0x43E00000, 0x43E7FFFF), (0x43E80000, 0x43E80001), (0x43F00000, 0xC7800000),
                                (0x47600000, 0x476FFFFF), (0x47700000, 0xC7800000), (0x3B000000, 0x3A800000),
                                (0x3A800001, 0x37800000), (0x37000000, 0x37000001), (0xBAFFFFFF, 0x80000001))]
    for t, f in (("e5m2", e5m2), ("e4m3", e4m3)):
        for relu in ("", ".relu"):
            one, half, back = narrow(f, F32, relu), narrow(f, F16, relu), widen(f, relu)
            family("cvt.rn.satfinite%s.%sx2.f32" % (relu, t), "cvt.rn.satfinite%s.%sx2.f32 %%d0, %%a0, %%a1;" % (relu, t),
                   ["f32"] * 2, ["b16"], lambda a, b: one(a) << 8 | one(b), extra=near)
            family("cvt.rn.satfinite%s.%sx2.f16x2" % (relu, t), "cvt.rn.satfinite%s.%sx2.f16x2 %%d0, %%a0;" % (relu, t),
                   ["f16x2"], ["b16"], lambda a: half(a >> 16) << 8 | half(a & 0xFFFF))
            family("cvt.rn%s.f16x2.%sx2" % (relu, t), "cvt.rn%s.f16x2.%sx2 %%d0, %%a0;" % (relu, t), ["b16"], ["b32"],
                   lambda a: back(a >> 8) << 16 | back(a & 255), rows=[(k | k + 128 << 8,) for k in range(128)])


def all_forms():
    fp8_forms()
    integer_forms()
    float_forms()
    compare_forms()
    move_forms()
    convert_forms()
