# SPDX-License-Identifier: MIT
"""Floating-point arithmetic, bit by bit, and the approximate functions within the bounds of the PTX ISA."""
import random
from fractions import Fraction

import exact
from exact import F32, F64
from family import FLOATS, ROWS, family, nan_rows, operands, tiny_rows


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


def half_approx():
    """Half precision: the bounds of the PTX ISA, and half a unit more for the rounding of what is expected."""
    bounds = {("ex2", "f16"): "rel16:%.6g" % (2 ** -9.9 + 2 ** -11), ("ex2", "bf16"): "relb16:%.6g" % (2 ** -7 + 2 ** -8),
              ("tanh", "f16"): "abs16:%.6g" % (2 ** -10.987 + 2 ** -12), ("tanh", "bf16"): "absb16:%.6g" % (2 ** -8 + 2 ** -9)}
    for (op, t), bound in bounds.items():
        f, low, high = FLOATS[t], *((-13.5, 15.5) if op == "ex2" else (-6, 6))
        function = exact.exp2 if op == "ex2" else exact.tanh
        one = lambda a: exact.encode(f, exact.to_fraction(function(exact.decode(f, a)[0])))
        rng = random.Random(op + t)
        values = [exact.encode(f, Fraction(rng.uniform(low, high))) for _ in range(ROWS)] + [0, f.sign]
        form = "%s.approx%s." % (op, ".ftz" if (op, t) == ("ex2", "bf16") else "")
        family(form + t, form + t + " %d0, %a0;", [t], [t], one, rows=[(v,) for v in values], tolerance=[bound])
        family(form + t + "x2", form + t + "x2 %d0, %a0;", [t + "x2"], [t + "x2"],
               lambda a: one(a & 0xFFFF) | one(a >> 16) << 16,
               rows=[(a | b << 16,) for a, b in zip(values, values[1:])], tolerance=[bound])


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
    unary("lg2", exact.log2, "ulp32:2", 2.5, 1e6, ".ftz")
    unary("sin", exact.sin, "abs32:2e-6", -3.14159, 3.14159, ".ftz")
    unary("cos", exact.cos, "abs32:2e-6", -3.14159, 3.14159, ".ftz")
    unary("rcp", lambda v: 1 / exact.to_decimal(v), "ulp32:1", 0.001, 1000, ".ftz")
    unary("sqrt", lambda v: exact.to_decimal(v).sqrt(), "ulp32:2", 0, 1e6, ".ftz")
    unary("rsqrt", lambda v: 1 / exact.to_decimal(v).sqrt(), "ulp32:4", 1e-6, 1e6, ".ftz")
    half_approx()
    rng = random.Random("rsqrt64")  # its error is not specified: that of the f32 form is no less
    family("rsqrt.approx.f64", "rsqrt.approx.f64 %d0, %a0;", ["f64"], ["f64"],
           lambda a: exact.encode(F64, exact.to_fraction(1 / exact.to_decimal(exact.decode(F64, a)[0]).sqrt())),
           rows=[(exact.encode(F64, Fraction(rng.uniform(1e-9, 1e9))),) for _ in range(ROWS)], tolerance=["rel64:1e-6"])
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
