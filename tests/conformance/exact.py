# SPDX-License-Identifier: MIT
"""
Exact arithmetic behind the conformance vectors.

Floating point is done on rational numbers and rounded once, in any of the formats and modes that PTX names;
transcendental functions come from decimal arithmetic with 60 digits. Nothing here uses the machine's own
floating point, so it is independent of the executor under test.
"""
from decimal import Decimal, getcontext
from fractions import Fraction
from math import isqrt

getcontext().prec = 60

NAN, PINF, NINF = "nan", "+inf", "-inf"


class Format:
    def __init__(self, width, fraction, emin, emax, nan):
        self.width, self.fraction, self.emin, self.emax, self.nan = width, fraction, emin, emax, nan
        self.sign = 1 << (width - 1)
        self.inf = (emax - emin + 2) << fraction


F16 = Format(16, 10, -14, 15, 0x7FFF)
BF16 = Format(16, 7, -126, 127, 0x7FFF)
F32 = Format(32, 23, -126, 127, 0x7FFFFFFF)
F64 = Format(64, 52, -1022, 1023, 0xFFF8000000000000)


def nan(f, *ranked):
    """The NaN that an operation gives: one for all formats but f64's, which is the first of the operands
    that is a NaN, quieted, and F64.nan where none is one (docs/decisions/0005)."""
    for x in ranked if f is F64 else ():
        if x & (f.sign - 1) > f.inf:
            return x | 1 << (f.fraction - 1)
    return f.nan


def decode(f, bits):
    """bits -> (value, is_negative); value is a Fraction, NAN, PINF or NINF."""
    negative = bool(bits & f.sign)
    magnitude = bits & (f.sign - 1)
    if magnitude > f.inf:
        return NAN, negative
    if magnitude == f.inf:
        return (NINF if negative else PINF), negative
    exponent = magnitude >> f.fraction
    fraction = magnitude & ((1 << f.fraction) - 1)
    if exponent:
        fraction |= 1 << f.fraction
    else:
        exponent = 1
    value = Fraction(fraction) * Fraction(2) ** (exponent - 1 + f.emin - f.fraction)
    return (-value if negative else value), negative


def floor_log2(x):
    e = x.numerator.bit_length() - x.denominator.bit_length()
    if Fraction(2) ** e > x:
        e -= 1
    return e


def round_up(n, rest, mode, negative):
    """Whether a value n + rest, 0 <= rest < 1, goes to n + 1."""
    if mode == "rn":
        return rest > Fraction(1, 2) or (rest == Fraction(1, 2) and n & 1)
    if mode == "rna":
        return rest >= Fraction(1, 2)
    return rest != 0 and ((mode == "rp" and not negative) or (mode == "rm" and negative))


def is_tiny(f, x, mode, negative):
    """Whether x > 0, rounded with no bound on the exponent, is below the least normal number."""
    e = floor_log2(x)
    q = x / Fraction(2) ** (e - f.fraction)
    n = q.numerator // q.denominator
    return (n + int(round_up(n, q - n, mode, negative))) * Fraction(2) ** (e - f.fraction) < Fraction(2) ** f.emin


def encode(f, value, mode="rn", negative_zero=False, ftz=False):
    """Fraction -> bits, rounded once; ftz: what is tiny becomes a zero of its sign."""
    if value == 0:
        return f.sign if negative_zero else 0
    negative = value < 0
    sign = f.sign if negative else 0
    x = -value if negative else value
    if ftz and is_tiny(f, x, mode, negative):
        return sign
    e = max(floor_log2(x), f.emin)
    unit = Fraction(2) ** (e - f.fraction)
    q = x / unit
    n = q.numerator // q.denominator
    n += int(round_up(n, q - n, mode, negative))
    if n == 2 << f.fraction:
        n, e = n >> 1, e + 1
    if e > f.emax:
        to_inf = mode in ("rn", "rna") or (mode == "rp" and not negative) or (mode == "rm" and negative)
        return sign | (f.inf if to_inf else f.inf - 1)
    return sign | (n if n < 1 << f.fraction else ((e - f.emin + 1) << f.fraction) | (n - (1 << f.fraction)))


def flush(f, bits):
    return bits & f.sign if not (bits & (f.sign - 1)) >> f.fraction else bits


def finish(f, bits, sat=False, relu=False):
    value, negative = decode(f, bits)
    if sat:
        if value == NAN or value == NINF:
            return 0
        if value == PINF:
            return encode(f, Fraction(1))
        if value <= 0:
            return 0
        if value >= 1:
            return encode(f, Fraction(1))
    if relu and value != NAN and (negative or value == NINF or value == 0):
        return 0
    return bits


def add(f, x, y, mode="rn", ftz=False):
    (a, an), (b, bn) = decode(f, x), decode(f, y)
    if NAN in (a, b) or {a, b} == {PINF, NINF}:
        return nan(f, y, x)
    for v in (a, b):
        if v in (PINF, NINF):
            return f.inf | (f.sign if v == NINF else 0)
    total = a + b
    zero_negative = (an and bn) or (an != bn and mode == "rm") if a == 0 and b == 0 else mode == "rm"
    return encode(f, total, mode, zero_negative, ftz)


def sub(f, x, y, mode="rn", ftz=False):
    return nan(f, y, x) if decode(f, y)[0] == NAN else add(f, x, y ^ f.sign, mode, ftz)


def mul(f, x, y, mode="rn", ftz=False):
    (a, an), (b, bn) = decode(f, x), decode(f, y)
    if NAN in (a, b):
        return nan(f, y, x)
    negative = an != bn
    if a in (PINF, NINF) or b in (PINF, NINF):
        if a == 0 or b == 0:
            return f.nan
        return f.inf | (f.sign if negative else 0)
    return encode(f, a * b, mode, negative, ftz)


def fma(f, x, y, z, mode="rn", ftz=False):
    (a, an), (b, bn), (c, cn) = decode(f, x), decode(f, y), decode(f, z)
    if NAN in (a, b, c):
        return nan(f, y, z, x)
    negative = an != bn
    if a in (PINF, NINF) or b in (PINF, NINF):
        if a == 0 or b == 0:
            return f.nan
        product = NINF if negative else PINF
        if c in (PINF, NINF) and c != product:
            return f.nan
        return f.inf | (f.sign if product == NINF else 0)
    if c in (PINF, NINF):
        return f.inf | (f.sign if c == NINF else 0)
    product = a * b
    if product == 0 and c == 0:
        zero_negative = negative if negative == cn else mode == "rm"
    else:
        zero_negative = mode == "rm"
    return encode(f, product + c, mode, zero_negative, ftz)


def div(f, x, y, mode="rn", ftz=False):
    (a, an), (b, bn) = decode(f, x), decode(f, y)
    negative = an != bn
    sign = f.sign if negative else 0
    inf = (PINF, NINF)
    if NAN in (a, b) or (a in inf and b in inf) or (a == 0 and b == 0):
        return nan(f, x, y)
    if a in inf or b == 0:
        return f.inf | sign
    if b in inf:
        return sign
    return encode(f, a / b, mode, negative, ftz)


def sqrt(f, x, mode="rn"):
    a, negative = decode(f, x)
    if a == NAN or (negative and a != 0):
        return nan(f, x)
    if a == PINF:
        return f.inf
    if a == 0:
        return x
    # a root with 4 * fraction bits, and one more bit that says whether something is left
    shift = 4 * f.fraction + 40 - floor_log2(a) // 2
    scaled = a * Fraction(4) ** shift
    root = isqrt(scaled.numerator // scaled.denominator)
    exact = root * root == scaled
    return encode(f, (Fraction(root) + (0 if exact else Fraction(1, 2))) / Fraction(2) ** shift, mode)


def minmax(f, x, y, want_max, nan_wins=False):
    (a, an), (b, bn) = decode(f, x), decode(f, y)
    if a == NAN or b == NAN:
        if nan_wins or (a == NAN and b == NAN):
            return nan(f, y, x)
        return y if a == NAN else x

    def order(v, negative):
        if v == PINF:
            return (1, Fraction(0), 0)
        if v == NINF:
            return (-1, Fraction(0), 0)
        return (0, v, 0 if negative and v == 0 else 1)

    first = order(a, an) >= order(b, bn) if want_max else order(a, an) <= order(b, bn)
    return x if first else y


def compare(f, op, x, y):
    (a, _), (b, _) = decode(f, x), decode(f, y)
    unordered = NAN in (a, b)
    if op == "num":
        return not unordered
    if op == "nan":
        return unordered
    if unordered:
        return op in ("equ", "neu", "ltu", "leu", "gtu", "geu")

    def key(v):
        return (1, 0) if v == PINF else (-1, 0) if v == NINF else (0, v)

    a, b = key(a), key(b)
    return {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[op[:2]]


def round_int(value, mode):
    n = value.numerator // value.denominator
    rest = value - n
    if mode == "rmi":
        return n
    if mode == "rpi":
        return n + (rest != 0)
    if mode == "rzi":
        return n + (rest != 0 and value < 0)
    return n + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and n & 1))


# --- transcendental functions on decimals ---
def pi():
    getcontext().prec += 10
    total, k, last = Decimal(3), 0, None
    t, n, na, d, da = Decimal(3), 1, 0, 0, 24
    while total != last:
        last = total
        n, na, d, da = n + na, na + 8, d + da, da + 32
        t = t * n / d
        total += t
    getcontext().prec -= 10
    return +total


PI = pi()
LN2 = Decimal(2).ln()


def to_decimal(x):
    return Decimal(x.numerator) / Decimal(x.denominator)


def to_fraction(x):
    return Fraction(x)


def _taylor(x, start):
    total, term, n = Decimal(0), (Decimal(1) if start == 0 else x), start
    while True:
        if abs(term) < Decimal(10) ** -58:
            return total
        total += term
        term = -term * x * x / ((n + 1) * (n + 2))
        n += 2


def sin(x):
    r = to_decimal(x)
    return _taylor(r - (r / (2 * PI)).to_integral_value() * 2 * PI, 1)


def cos(x):
    r = to_decimal(x)
    return _taylor(r - (r / (2 * PI)).to_integral_value() * 2 * PI, 0)


def exp2(x):
    return (to_decimal(x) * LN2).exp()


def log2(x):
    return to_decimal(x).ln() / LN2


def tanh(x):
    d = to_decimal(x)
    if abs(d) > 60:
        return Decimal(1) if d > 0 else Decimal(-1)
    e = (2 * d).exp()
    return (e - 1) / (e + 1)
