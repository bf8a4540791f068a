# SPDX-License-Identifier: MIT
"""SIMD video instructions."""
import itertools
import random

from family import family, mask, signed


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
