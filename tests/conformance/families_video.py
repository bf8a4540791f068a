# SPDX-License-Identifier: MIT
"""Video instructions."""
import itertools
import random

from family import family, mask, signed


def simd(op, lanes, types, row, parts=(None, None, None), sat=False, add=False):
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


def simd_families():
    def one(name, op, lanes, types, text, parts=(None, None, None), **how):
        family(name, text, ["b32"] * 3, ["b32"], lambda *row: simd(op, lanes, types, row, parts, **how), rows=rows)

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


PARTS = {None: (0, 32), "b0": (0, 8), "b1": (8, 8), "b2": (16, 8), "b3": (24, 8), "h0": (0, 16), "h1": (16, 16)}


def taken(bits, part, t):
    low, n = PARTS[part]
    bits = mask(bits >> low, n)
    return signed(bits, n) if t == "s32" else bits


def saturated(x, n, t):
    low, high = (-(1 << n - 1), (1 << n - 1) - 1) if t == "s32" else (0, (1 << n) - 1)
    return max(low, min(high, x))


def compare(op, x, y):
    return int({"eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y}[op])


def scalar(op, types, row, parts=(None, None, None), sat=False, second="", wrap=False):
    """PTX ISA "Scalar Video Instructions"; types: of d, a, b; parts: of d, a, b; row: a, b and c."""
    x, y = taken(row[0], parts[1], types[1]), taken(row[1], parts[2], types[2])
    by = y & 31 if wrap else min(y, 32)
    if op in ("vshl", "vshr"):
        t = x << by if op == "vshl" else x >> by
    elif op[0] == "v":
        t = {"vadd": x + y, "vsub": x - y, "vabsdiff": abs(x - y), "vmin": min(x, y), "vmax": max(x, y)}[op]
    else:
        t = compare(op, x, y)
    low, n = PARTS[parts[0]]
    if sat:
        t = saturated(t, n, types[0])
    c = taken(row[2], None, types[0])
    if second:
        return mask({"add": t + c, "min": min(t, c), "max": max(t, c)}[second], 32)
    kept = row[2] if parts[0] else 0
    return kept & ~((1 << n) - 1 << low) | mask(t, n) << low


def multiply_add(types, row, parts, sat, shift, form):
    """vmad; form: "po", or which source has a minus."""
    x, y = taken(row[0], parts[0], types[1]), taken(row[1], parts[1], types[2])
    is_signed = "s32" in types[1:] or form in ("a", "b", "c")
    c = row[2] ^ 0xFFFFFFFF if form == "c" else row[2]
    total = (-x * y if form in ("a", "b") else x * y) + (signed(c, 32) if is_signed else c) + (form in ("po", "c"))
    total >>= shift
    return mask(saturated(total, 32, "s32" if is_signed else "u32") if sat else total, 32)


def scalar_families():
    def one(name, text, reference):
        family(name, text, ["b32"] * 3, ["b32"], lambda *row: reference(row), rows=rows)

    rng = random.Random("scalar")
    edges = [0, 1, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x80FF7F01, 0x00FF8000, 31, 32, 33]
    rows = [(a, b, rng.choice(edges + [rng.getrandbits(32)])) for a in edges for b in edges]
    rows += [tuple(rng.getrandbits(32) for _ in range(3)) for _ in range(32)]
    names = [k for k in PARTS if k]

    turn_form, turn_whole = itertools.cycle(("add", "min", "max", "merge")), itertools.cycle((True, False, False))

    def forms(op, types, mode="", reference=None):
        """Alone, and with a second operation or into a part, by turns; of the whole sources or of parts."""
        stem = ".".join([op] + list(types)) + "%s" + mode
        for sat, form in itertools.product(("",) if op == "vset" else ("", ".sat"), ("", next)):
            form = form and form(turn_form)
            parts = [None] * 2 if next(turn_whole) else [rng.choice(names) for _ in range(2)]
            to = rng.choice(names) if form == "merge" else None
            second = form if form != "merge" else ""
            text = "%s%s %%d0%s, %%a0%s, %%a1%s%s;" % (
                stem % sat, "." + second if second else "", *("." + k if k else "" for k in [to] + parts),
                ", %a2" if form else "")
            one("%s.%s" % (stem % sat, form or "alone"), text,
                lambda row, k=(to, *parts), s=bool(sat), o=second: reference(row, k, s, o))

    for op in ("vadd", "vsub", "vabsdiff", "vmin", "vmax"):
        for types in itertools.product(("u32", "s32"), repeat=3):
            forms(op, types, reference=lambda row, k, s, o, op=op, types=types: scalar(op, types, row, k, s, o))
    for op, mode in itertools.product(("vshl", "vshr"), ("clamp", "wrap")):
        for types in itertools.product(("u32", "s32"), repeat=2):
            forms(op, types + ("u32",), "." + mode, lambda row, k, s, o, op=op, types=types, mode=mode: scalar(
                op, types + ("u32",), row, k, s, o, mode == "wrap"))
    for types, op in itertools.product(itertools.product(("u32", "s32"), repeat=2),
                                       ("eq", "ne", "lt", "le", "gt", "ge")):
        forms("vset", types, "." + op, lambda row, k, s, o, op=op, types=types: scalar(
            op, ("u32",) + types, row, k, s, o))
    turn_shift = itertools.cycle((0, 7, 15))
    for types in itertools.product(("u32", "s32"), repeat=2):
        for form, sat in itertools.product(("", "po", "a", "b", "c"), ("", ".sat")):
            shift = next(turn_shift)
            is_signed = "s32" in types or form in ("a", "b", "c")
            d = "s32" if is_signed else "u32"
            parts = [rng.choice([None] + names) for _ in range(2)]
            signs = ["-" if form == k else "" for k in "abc"]
            text = "vmad.%s.%s.%s%s%s%s %%d0, %s%%a0%s, %s%%a1%s, %s%%a2;" % (
                d, *types, ".po" if form == "po" else "", sat, ".shr%d" % shift if shift else "", signs[0],
                "." + parts[0] if parts[0] else "", signs[1], "." + parts[1] if parts[1] else "", signs[2])
            one("vmad.%s.%s%s.%s.shr%d" % (*types, sat, form or "plain", shift), text,
                lambda row, t=(d,) + types, k=parts, s=bool(sat), n=shift, f=form: multiply_add(t, row, k, s, n, f))


def video_families():
    simd_families()
    scalar_families()
