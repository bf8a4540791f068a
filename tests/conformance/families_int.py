# SPDX-License-Identifier: MIT
"""Integer arithmetic, bits, shifts and selection."""
import exact
from exact import F32
from family import INTS, family, mask, operands, signed, trunc_div, value, width


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
