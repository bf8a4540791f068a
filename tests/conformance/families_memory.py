# SPDX-License-Identifier: MIT
"""Memory: each type in each state space, vectors, cache operators, orders and scopes, parameters of calls, addresses,
atomics and asynchronous copies.

Every thread has places of its own: PLACE bytes of `pool` in global memory, of `tile` in shared memory and of
`own` in local memory.  Rows, and so threads, are no more than the 256 places of `pool`, blocks of 64 threads."""
from family import INTS, edge_cases, family, mask, signed, value, width

PLACE = 32
POOL = ".global .align 32 .b8 pool$[%d];\n" % (256 * PLACE)
# registers with the addresses of the thread's own places: global, shared, local, and shared as a generic address
PLACES = """.reg .b64 %%g, %%s, %%l, %%w;
.reg .b32 %%lane;
.shared .align 32 .b8 tile[%d];
.local .align 32 .b8 own[%d];
mov.u32 %%lane, %%tid.x;
mov.u64 %%g, pool$;
mad.wide.u32 %%g, %%i, %d, %%g;
mov.u64 %%s, tile;
mad.wide.u32 %%s, %%lane, %d, %%s;
mov.u64 %%l, own;
cvta.shared.u64 %%w, %%s;
""" % (64 * PLACE, PLACE, PLACE, PLACE)
TYPES = ["b8", "b16", "b32", "b64", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f32", "f64"]
SPACES = (("global", "%g"), ("shared", "%s"), ("local", "%l"), ("", "%w"))


def register(t):
    """The type of a register for t: none has 8 bits."""
    return t[0] + "16" if width(t) == 8 else t


def loaded(t, bits):
    """What a load of t leaves in its register."""
    return value(t, mask(bits, width(t)))


def with_places(name, text, ins, outs, reference, **more):
    family(name, PLACES + text, ins, outs, reference, module=POOL + more.pop("module", ""), **more)


def dotted(*parts):
    return ".".join(part for part in parts if part)


def load_store():
    for t in TYPES:
        text = "\n".join("%s [%s], %%a0;\n%s %%d%d, [%s];" % (dotted("st", space, t), at, dotted("ld", space, t), k, at)
                         for k, (space, at) in enumerate(SPACES))
        with_places("memory." + t, text, [register(t)], [register(t)] * 4, lambda a: (loaded(t, a),) * 4)
        for n in (2, 4):
            if n * width(t) > 128:
                continue
            names = lambda letter: "{" + ", ".join("%%%s%d" % (letter, k) for k in range(n)) + "}"
            for space, at in SPACES:
                with_places(dotted("memory.v%d" % n, t, space or "generic"),
                            "%s [%s], %s;\n%s %s, [%s];" % (dotted("st", space, "v%d" % n, t), at, names("a"),
                                                          dotted("ld", space, "v%d" % n, t), names("d"), at),
                            [register(t)] * n, [register(t)] * n, lambda *v: tuple(loaded(t, x) for x in v))
        sizes = [n for n in (1, 2, 4) if n * width(t) <= 128]
        for n in sizes:  # ldu: of memory that no thread writes, here the row itself
            names = ", ".join("%%d%d" % k for k in range(n))
            vector, form = ("v%d." % n, "{%s}" % names) if n > 1 else ("", names)
            # the cells of a row are 8 bytes; of a narrower type they are all in the first ones
            def parts(*cells):
                whole = sum(c << 64 * k for k, c in enumerate(cells))
                return tuple(loaded(t, whole >> width(t) * k) for k in range(n))

            with_places("ldu.%s%s" % (vector, t), "ldu.global.%s%s %s, [%%src];" % (vector, t, form), ["b64"] * 2,
                        [register(t)] * n, parts)
            if n == 1 or t[0] == "f":
                with_places("ld.nc.%s%s" % (vector, t), "ld.global.nc.%s%s %s, [%%src];" % (vector, t, form),
                            ["b64"] * 2, [register(t)] * n, parts)
        family("const." + t, ".reg .b64 %%at;\nmov.u64 %%at, table$;\nmad.wide.u32 %%at, %%i, 8, %%at;\n"
               "ld.const.%s %%d0, [%%at];" % t, ["b64"], [register(t)], lambda a: loaded(t, a),
               rows=[(v,) for v in edge_cases("b64")],
               module=".const .align 8 .b64 table$[] = {%s};\n" % ", ".join("0x%x" % v for v in edge_cases("b64")))


def modifiers():
    for op in ("ca", "cg", "cs", "lu", "cv", "L1::evict_last", "volatile", "weak", "relaxed.cta", "relaxed.gpu",
               "relaxed.sys", "relaxed.cluster", "acquire.cta", "acquire.cluster", "acquire.gpu", "acquire.sys",
               "mmio.relaxed.sys"):
        before = op.startswith(("volatile", "weak", "relaxed", "acquire", "mmio"))
        form = lambda t: "ld.%s.global.%s" % (op, t) if before else "ld.global.%s.%s" % (op, t)
        with_places("ld." + op, "st.global.b32 [%%g], %%a0;\nst.global.b64 [%%g+8], %%a1;\n%s %%d0, [%%g];\n%s %%d1, [%%g+8];"
                    % (form("b32"), form("b64")), ["b32", "b64"], ["b32", "b64"], lambda a, b: (a, b))
    for op in ("wb", "cg", "cs", "wt", "L1::evict_last", "volatile", "weak", "relaxed.cta", "relaxed.gpu", "relaxed.sys",
               "relaxed.cluster", "release.cta", "release.cluster", "release.gpu", "release.sys", "mmio.relaxed.sys"):
        before = op.startswith(("volatile", "weak", "relaxed", "release", "mmio"))
        form = lambda t: "st.%s.global.%s" % (op, t) if before else "st.global.%s.%s" % (op, t)
        with_places("st." + op, "%s [%%g], %%a0;\n%s [%%g+8], %%a1;\nld.global.b32 %%d0, [%%g];\nld.global.b64 %%d1, [%%g+8];"
                    % (form("b32"), form("b64")), ["b32", "b64"], ["b32", "b64"], lambda a, b: (a, b))
    for space in ("shared::cta", "shared::cluster"):
        with_places("memory." + space, "st.%s.b32 [%%s], %%a0;\nld.%s.b32 %%d0, [%%s];" % (space, space), ["b32"], ["b32"],
                    lambda a: a)
    for hint in ("prefetch.global.L1 [%g];", "prefetch.global.L2 [%g];", "prefetch.local.L1 [%l];",
                 "prefetch.local.L2 [%l];", "prefetchu.L1 [%w];", "prefetch.global.L2::evict_normal [%g];",
                 "prefetch.global.L2::evict_last [%g];"):
        with_places("hint." + hint.split(" ")[0], "st.global.b32 [%g], %a0;\n" + hint + "\nld.global.b32 %d0, [%g];", ["b32"],
                    ["b32"], lambda a: a)
    # these name 128 bytes, which belong to several threads: the first of each four does it
    for hint in ("discard.global.L2 [%z], 128;", "applypriority.global.L2::evict_normal [%z], 128;"):
        family("hint." + hint.split(" ")[0], ".reg .b64 %%z;\nmov.u64 %%z, spare$;\nmad.wide.u32 %%z, %%i, 128, %%z;\n%s\n"
               "mov.b32 %%d0, %%a0;" % hint, ["b32"], ["b32"], lambda a: a,
               module=".global .align 128 .b8 spare$[%d];\n" % (256 * 128))


def policies():
    """Policies come from three instructions and go to all that moves data; none changes what is moved."""
    makers = ("createpolicy.fractional.L2::evict_last.L2::evict_unchanged.b64 %p0, 0.5;",
              "createpolicy.fractional.L2::evict_first.b64 %p0;",
              "createpolicy.range.global.L2::evict_last.L2::evict_first.b64 %p0, [%g], 16, 32;",
              "createpolicy.cvt.L2.b64 %p0, 0x10F0000000000000;")
    uses = (("ld", "ld.global.L1::evict_last.L2::cache_hint.b32 %d0, [%g], %p0;"),
            ("ld.nc", "ld.global.nc.L1::no_allocate.L2::cache_hint.L2::128B.b32 %d0, [%src], %p0;"),
            ("st", "st.global.L1::no_allocate.L2::cache_hint.b32 [%g], %a0, %p0;\nld.global.b32 %d0, [%g];"),
            ("atom", "atom.global.exch.L2::cache_hint.b32 %d0, [%g], 0, %p0;"),
            ("red", "red.relaxed.gpu.global.add.L2::cache_hint.u32 [%g], 0, %p0;\nld.global.b32 %d0, [%g];"),
            ("cp.async", "cp.async.ca.shared.global.L2::cache_hint [%s], [%g], 4, %p0;\ncp.async.wait_all;\n"
                         "ld.shared.b32 %d0, [%s];"),
            ("cp.async.cut", "cp.async.cg.shared.global.L2::cache_hint.L2::128B [%s], [%g], 16, 4, %p0;\n"
                             "cp.async.wait_all;\nld.shared.b32 %d0, [%s];"))
    for k, (name, use) in enumerate(uses):
        with_places("policy." + name, ".reg .b64 %p0;\nst.global.b32 [%g], %a0;\n" + makers[k % len(makers)] + "\n" + use,
                    ["b32"], ["b32"], lambda a: a)
    family("policy.cvt", "createpolicy.cvt.L2.b64 %d0, %a0;", ["b64"], ["b64"], lambda a: 0x12F0000000000000,
           rows=[(0x12F0000000000000,)])


def packed():
    """Fields of a packed structure, which are not aligned, as an argument and as a result."""
    load = "ld.param.b8 %a, [{0}];\nld.param.b32 %b, [{0}+1];\nld.param.b16 %c, [{0}+5];\nld.param.b64 %d, [{0}+7];\n"
    store = load.replace("ld.param.b8 %a, [{0}]", "st.param.b8 [{0}], %a")
    for t, n, at in (("b32", "b", 1), ("b16", "c", 5), ("b64", "d", 7)):
        store = store.replace("ld.param.%s %%%s, [{0}+%d]" % (t, n, at), "st.param.%s [{0}+%d], %%%s" % (t, at, n))
    regs = ".reg .b16 %a, %c;\n.reg .b32 %b;\n.reg .b64 %d;\n"
    function = (".func (.param .align 8 .b8 r[15]) turned$(.param .align 8 .b8 v[15])\n{\n" + regs + load.format("v") +
                "not.b16 %a, %a;\nadd.u32 %b, %b, 1;\nnot.b16 %c, %c;\nadd.u64 %d, %d, 1;\n" + store.format("r") +
                "ret;\n}\n")
    move = "mov.b16 %a, %a0;\nmov.b32 %b, %a1;\nmov.b16 %c, %a2;\nmov.b64 %d, %a3;\n"
    back = "mov.b16 %d0, %a;\nmov.b32 %d1, %b;\nmov.b16 %d2, %c;\nmov.b64 %d3, %d;"
    family("param.packed", regs + move + "{\n.param .align 8 .b8 v[15];\n.param .align 8 .b8 r[15];\n" + store.format("v") +
           "call.uni (r), turned$, (v);\n" + load.format("r") + "}\n" + back, ["b16", "b32", "b16", "b64"],
           ["b16", "b32", "b16", "b64"], lambda a, b, c, d: (~a & 255, b + 1, ~c, d + 1), module=function)


def parameters():
    for t in TYPES:
        if width(t) < 32:
            continue  # assemblers take no narrower parameters of functions
        function = (".func (.param .%s r) same$(.param .%s v)\n{\n\t.reg .%s %%x;\n\tld.param.%s %%x, [v];\n"
                    "\tst.param.%s [r], %%x;\n\tret.uni;\n}\n" % (t, t, register(t).replace(t[0], "b", 1)
                                                                  if t[0] != "f" else t, t, t))
        family("call." + t, "{\n.param .%s v;\n.param .%s r;\nst.param.%s [v], %%a0;\ncall.uni (r), same$, (v);\n"
               "ld.param.%s %%d0, [r];\n}" % (t, t, t, t), [register(t)], [register(t)], lambda a: loaded(t, a),
               module=function)
    family("call.indirect", ".reg .b64 %f, %f1;\n.reg .pred %odd;\n.reg .b32 %bit;\nmov.u64 %f, twice$;\nmov.u64 %f1, next$;\n"
           "and.b32 %bit, %a1, 1;\nsetp.ne.u32 %odd, %bit, 0;\nselp.b64 %f, %f1, %f, %odd;\n{\n.param .b32 v;\n.param .b32 r;\n"
           "st.param.b32 [v], %a0;\nproto: .callprototype (.param .b32 _) _ (.param .b32 _);\ncall (r), %f, (v), proto;\n"
           "ld.param.b32 %d0, [r];\n}", ["b32", "b32"], ["b32"], lambda a, b: a + 1 if b & 1 else 2 * a,
           module="".join(".func (.param .b32 r) %s$(.param .b32 v)\n{\n\t.reg .b32 %%x;\n\tld.param.b32 %%x, [v];\n"
                          "\t%s\n\tst.param.b32 [r], %%x;\n\tret;\n}\n" % pair for pair in (
                              ("twice", "add.u32 %x, %x, %x;"), ("next", "add.u32 %x, %x, 1;"))))
    family("param.entry", ".reg .b32 %count;\nld.param::entry.u32 %count, [n];\nadd.u32 %d0, %a0, %count;\n"
           "sub.u32 %d0, %d0, %t3;", ["b32"], ["b32"], lambda a: a)
    family("param.func", "{\n.param .b32 v;\n.param .b32 r;\nst.param::func.b32 [v], %a0;\ncall (r), same$, (v);\n"
           "ld.param::func.b32 %d0, [r];\n}", ["b32"], ["b32"], lambda a: a,
           module=".func (.param .b32 r) same$(.param .b32 v)\n{\n\t.reg .b32 %x;\n\tld.param::func.b32 %x, [v];\n"
                  "\tst.param::func.b32 [r], %x;\n\tret;\n}\n")


def addresses():
    """A value put at an address of one space is found at its generic one, and the way back leads there again."""
    for space, at in (("global", "%g"), ("shared", "%s"), ("local", "%l")):
        tests = [s for s in ("global", "shared", "local", "const") if s != space]
        with_places("cvta." + space, """.reg .b64 %%x, %%y;
.reg .pred %%is, %%not;
cvta.%s.u64 %%x, %s;
cvta.to.%s.u64 %%y, %%x;
st.b32 [%%x], %%a0;
ld.%s.b32 %%d0, [%%y];
isspacep.%s %%is, %%x;
selp.u32 %%d1, 1, 0, %%is;
""" % (space, at, space, space, space) + "\n".join(
            "isspacep.%s %%not, %%x;\n@%%not add.u32 %%d1, %%d1, 2;" % test for test in tests), ["b32"], ["b32", "b32"],
                    lambda a: (a, 1))
    for name in ("shared::cta", "shared::cluster"):
        with_places("cvta." + name, ".reg .b64 %%x, %%y;\n.reg .pred %%is;\ncvta.%s.u64 %%x, %%s;\ncvta.to.%s.u64 %%y, %%x;\n"
                    "st.b32 [%%x], %%a0;\nld.shared.b32 %%d0, [%%y];\nisspacep.%s %%is, %%x;\nselp.u32 %%d1, 1, 0, %%is;"
                    % (name, name, name), ["b32"], ["b32", "b32"], lambda a: (a, 1))
    for name in ("const", "param", "param::entry"):
        symbol = "table$" if name == "const" else "n"
        load = "const" if name == "const" else "param"
        family("cvta." + name, ".reg .b64 %%x, %%y;\n.reg .pred %%is;\nmov.b64 %%x, %s;\ncvta.%s.u64 %%x, %%x;\n"
               "cvta.to.%s.u64 %%y, %%x;\nld.u32 %%d0, [%%x];\nld.%s.u32 %%d1, [%%y];\nsub.u32 %%d0, %%d0, %%d1;\n"
               "add.u32 %%d0, %%d0, %%a0;\nisspacep.%s %%is, %%x;\nselp.u32 %%d1, 1, 0, %%is;"
               % (symbol, name, name, load, name), ["b32"], ["b32", "b32"], lambda a: (a, 1),
               module=".const .align 4 .u32 table$[1] = {77};\n" if name == "const" else "")


def atomics():
    """The old value, and what is there afterwards."""
    def clamp_inc(n):
        return {"inc": lambda a, b: 0 if a >= b else a + 1, "dec": lambda a, b: b if a == 0 or a > b else a - 1}

    table = {"b32": {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b, "exch": lambda a, b: b}}
    table["b64"] = table["b32"]
    for t in ("u32", "s32", "u64", "s64"):
        table[t] = {"min": lambda a, b: min(a, b), "max": lambda a, b: max(a, b)}
        if t != "s64":
            table[t]["add"] = lambda a, b: a + b
    table["u32"] = {**table["u32"], **clamp_inc(32)}
    scopes = ("", "relaxed.cta", "acquire.gpu", "release.sys", "acq_rel.cluster", "relaxed.gpu")
    turn = 0
    for t, ops in table.items():
        for op, f in ops.items():
            for space, at in (("global", "%g"), ("shared", "%s"), ("shared::cta", "%s"), ("", "%w")):
                turn += 1
                order = scopes[turn % len(scopes)]
                run = lambda a, b: (a, f(value(t, a), value(t, b)))
                store, load = (dotted(x, "shared" if "shared" in space else space, "b%d" % width(t)) for x in ("st", "ld"))
                with_places(dotted("atom", op, t, space or "generic"), "%s [%s], %%a0;\n%s %%d0, [%s], %%a1;\n%s %%d1, [%s];" % (
                    store, at, dotted("atom", order, space, op, t), at, load, at), [t, t], [t, t], run)
                if op == "exch":
                    continue
                order = order.replace("acquire", "relaxed").replace("acq_rel", "release")
                with_places(dotted("red", op, t, space or "generic"), "%s [%s], %%a0;\n%s [%s], %%a1;\n%s %%d0, [%s];" % (
                    store, at, dotted("red", order, space, op, t), at, load, at), [t, t], [t],
                    lambda a, b: run(a, b)[1])
    for t in ("b16", "b32", "b64"):
        with_places("atom.cas." + t, "st.global.%s [%%g], %%a0;\natom.global.cas.%s %%d0, [%%g], %%a1, %%a2;\n"
                    "ld.global.%s %%d1, [%%g];" % (t, t, t), [t] * 3, [t] * 2,
                    lambda a, b, c: (a, c if a == b else a), narrow=((0, [1, 2, 3]), (1, [1, 2, 3])))
    for order, (space, at) in zip(scopes[1:-1], (("global", "%g"), ("shared", "%s"), ("shared::cta", "%s"), ("", "%w"))):
        plain = "shared" if "shared" in space else space
        with_places(dotted("atom.cas", order, space), "%s [%s], %%a0;\n%s %%d0, [%s], %%a1, %%a2;\n%s %%d1, [%s];" % (
            dotted("st", plain, "b64"), at, dotted("atom", order, space, "cas.b64"), at, dotted("ld", plain, "b64"), at),
                    ["b64"] * 3, ["b64"] * 2, lambda a, b, c: (a, c if a == b else a), narrow=((0, [1, 2]), (1, [1, 2])))
    for text, t in (("add.f32", "f32"), ("add.f64", "f64"), ("add.noftz.f16", "f16"), ("add.noftz.f16x2", "f16x2"),
                    ("add.noftz.bf16", "bf16"), ("add.noftz.bf16x2", "bf16x2")):
        n = width(t)
        one = {"f32": (0x3F800000, 0x40200000, 0x40600000), "f64": (0x3FF << 52, 0x4004 << 48, 0x400C << 48),
               "f16": (0x3C00, 0x4100, 0x4300), "bf16": (0x3F80, 0x4020, 0x4060)}[t.replace("x2", "")]
        a, b, total = (x | x << 16 for x in one) if t.endswith("x2") else one    # 1 + 2.5 = 3.5
        for op in ("atom", "red"):
            call = "%s.global.%s %s[%%g], %%a1;" % (op, text, "%d0, " if op == "atom" else "")
            with_places("%s.%s" % (op, text), "st.global.b%d [%%g], %%a0;\n%s\nld.global.b%d %%d%d, [%%g];" % (
                n, call, n, int(op == "atom")), [t, t], [t] * (1 + int(op == "atom")),
                        lambda x, y: (x, total) if op == "atom" else total, rows=[(a, b), (b, a)])


def vector_atomics():
    """Elements are added one by one; results go to registers that hold operands of later elements too."""
    for t in ("f32", "f16", "bf16", "f16x2", "bf16x2"):
        n, how = width(t), "add" if t == "f32" else "add.noftz"
        one = {"f32": (0x3F800000, 0x40200000, 0x40600000), "f16": (0x3C00, 0x4100, 0x4300),
               "bf16": (0x3F80, 0x4020, 0x4060)}[t.replace("x2", "")]
        a, b, total = (x | x << 16 for x in one) if t.endswith("x2") else one    # 1 + 2.5 = 3.5
        for count in (2, 4):
            names = lambda letter, order: "{" + ", ".join("%%%s%d" % (letter, k) for k in order) + "}"
            up, down, plain = range(count), range(count - 1, -1, -1), [REGISTERS[n]] * count
            store = "\n".join("st.global.b%d [%%g+%d], %%a%d;" % (n, n // 8 * k, k) for k in up)
            load = "\n".join("ld.global.b%d %%d%d, [%%g+%d];" % (n, k, n // 8 * k) for k in up)
            rows = [tuple(a if r >> k & 1 else b for k in up) for r in range(1 << count)]
            for space in ("global", ""):
                atom = dotted("atom", "relaxed.gpu", space, how, "v%d" % count, t)
                with_places(dotted("atom.v%d" % count, t, space or "generic"), store + "\n%s %s, [%%g], %s;\nbar.warp.sync -1;\n%s" % (
                    atom, names("a", down), names("a", down), load), plain, plain,
                            lambda *v: tuple({(a, b): total, (b, a): total}.get((x, y), 0) or twice(t, x) for x, y in
                                             zip(v, reversed(v))), rows=rows)
            with_places(dotted("atom.v%d.old" % count, t), store + "\n%s %s, [%%g], %s;" % (
                dotted("atom.global", how, "v%d" % count, t), names("d", up), names("a", up)), plain, plain, lambda *v: v, rows=rows)
            with_places(dotted("red.v%d" % count, t), store + "\n%s [%%g], %s;\n%s" % (
                dotted("red.global", how, "v%d" % count, t), names("a", down), load), plain, plain,
                        lambda *v: tuple({(a, b): total, (b, a): total}.get((x, y), 0) or twice(t, x) for x, y in
                                         zip(v, reversed(v))), rows=rows)


REGISTERS = {16: "b16", 32: "b32"}


def twice(t, bits):
    """1 or 2.5 doubled: one more in the exponent."""
    step = {"f32": 1 << 23, "f16": 1 << 10, "bf16": 1 << 7}[t.replace("x2", "")]
    return bits + (step | step << 16 if t.endswith("x2") else step)


def copies():
    for op, sizes in (("ca", (4, 8, 16)), ("cg", (16,))):
        for size in sizes:
            outs = ["b32", "b32"]
            for name, wait in (("group", "cp.async.commit_group;\ncp.async.wait_group 0;"), ("all", "cp.async.wait_all;")):
                with_places("cp.async.%s.%d.%s" % (op, size, name), "st.shared.v4.b32 [%%s], {-1, -1, -1, -1};\n"
                            "cp.async.%s.shared.global [%%s], [%%src], %d;\n%s\nld.shared.b32 %%d0, [%%s];\n"
                            "ld.shared.b32 %%d1, [%%s+%d];" % (op, size, wait, size - 4), ["b64", "b64"], outs,
                            lambda a, b: (a, (a, a >> 32, b, b >> 32)[size // 4 - 1]))
    with_places("cp.async.zeros", "st.shared.v4.b32 [%s], {-1, -1, -1, -1};\n"
                "cp.async.cg.shared::cta.global.L2::128B [%s], [%src], 16, 4;\ncp.async.wait_all;\n"
                "ld.shared.b32 %d0, [%s];\nld.shared.b32 %d1, [%s+4];", ["b64", "b64"], ["b32", "b32"],
                lambda a, b: (a, 0))


def bulk_copies():
    """One mbarrier and 32 bytes for each thread, which are more than a place: a block's tile of its own."""
    begin = (".shared .align 32 .b8 wide[%d];\n.reg .b64 %%t, %%b;\n.reg .b32 %%t32, %%b32;\n.reg .pred %%over;\nmov.u64 %%t, wide;\n"
             "mad.wide.u32 %%t, %%lane, 48, %%t;\nadd.u64 %%b, %%t, 32;\ncvt.u32.u64 %%t32, %%t;\ncvt.u32.u64 %%b32, %%b;\n"
             "mbarrier.init.shared::cta.b64 [%%b], 1;\nst.shared.v2.b64 [%%t], {-1, -1};\n" % (64 * 48)).replace("%%", "%")
    source = "st.global.v2.b64 [%g], {%a0, %a1};\n"
    wait = ("wait:\nmbarrier.try_wait.parity.shared::cta.b64 %over, [%b], 0;\n@!%over bra.uni wait;\n"
            "ld.shared.v2.b64 {%d0, %d1}, [%t];")
    arrive = "mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%b], 16;\n"
    to_shared = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
    for name, text in (("expected", arrive + to_shared + " [%t32], [%g], 16, [%b32];\n"),
                       ("early", ".reg .b32 %n;\nmov.u32 %n, 16;\n" + to_shared + " [%t], [%g], %n, [%t+32];\n" + arrive),
                       ("policy", ".reg .b64 %p0;\ncreatepolicy.fractional.L2::evict_last.b64 %p0;\n" + arrive +
                        to_shared + ".L2::cache_hint [%t], [%g], 16, [%b], %p0;\n"),
                       ("prefetch", "cp.async.bulk.prefetch.L2.global [%g], 16;\n" + arrive + to_shared +
                        " [%t], [%g], 16, [%b];\n"),
                       ("within", "st.shared.v2.b64 [%t+16], {%a0, %a1};\n" + arrive +
                        "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%t], [%t+16], 16, [%b];\n")):
        with_places("bulk." + name, begin + source + text + wait, ["b64"] * 2, ["b64"] * 2, lambda a, b: (a, b))
    with_places("bulk.open", begin + source + to_shared + " [%t], [%g], 16, [%b];\nmbarrier.arrive.expect_tx.release.cta.shared::cta.b64 "
                "_, [%b], 32;\nmbarrier.test_wait.parity.shared::cta.b64 %over, [%b], 0;\nselp.u32 %d0, 1, 0, %over;\n"
                "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%b], 16;\n"
                "mbarrier.test_wait.parity.shared::cta.b64 %over, [%b], 0;\nselp.u32 %d1, 1, 0, %over;", ["b64"] * 2, ["b32"] * 2,
                lambda a, b: (0, 1))
    out = ("fence.proxy.async.shared::cta;\n{}\ncp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;\n"
           "cp.async.bulk.wait_group 0;\nld.global.v2.b64 {%d0, %d1}, [%g];")
    for name, text in (("out", "cp.async.bulk.global.shared::cta.bulk_group [%g], [%t], 16;"),
                       ("out.policy", ".reg .b64 %p0;\ncreatepolicy.fractional.L2::evict_first.b64 %p0;\n"
                                      "cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%g], [%t32], 16, %p0;"),
                       ("out.prefetch", ".reg .b64 %p0;\ncreatepolicy.fractional.L2::evict_first.b64 %p0;\n"
                                        "cp.async.bulk.prefetch.L2.global.L2::cache_hint [%g], 16, %p0;\n"
                                        "cp.async.bulk.global.shared::cta.bulk_group [%g], [%t], 16;")):
        with_places("bulk." + name, begin + "st.shared.v2.b64 [%t], {%a0, %a1};\n" + out.replace("{}", text), ["b64"] * 2,
                    ["b64"] * 2, lambda a, b: (a, b))


def barriers_in_memory():
    """An mbarrier for each thread alone: what its phases and counts are is then certain."""
    begin = "mbarrier.init.shared.b64 [%s], {count};\n"
    state = ".reg .b64 %state;\n.reg .pred %over;\n"

    def one(name, count, text, outs, result):
        with_places("mbarrier." + name, state + begin.replace("{count}", str(count)) + text +
                    "\nmbarrier.inval.shared.b64 [%s];", ["b32"], outs, result)

    one("phase", 1, "mbarrier.arrive.shared.b64 %state, [%s];\nmbarrier.test_wait.shared.b64 %over, [%s], %state;\n"
        "selp.u32 %d0, %a0, 0, %over;", ["b32"], lambda a: a)
    one("pending", 5, "mbarrier.arrive.shared.b64 %state, [%s];\nmbarrier.pending_count.b64 %d0, %state;\n"
        "mbarrier.test_wait.shared::cta.b64 %over, [%s], %state;\nselp.u32 %d1, 1, 0, %over;", ["b32", "b32"], lambda a: (5, 0))
    one("count", 3, "mbarrier.arrive.noComplete.release.cta.shared.b64 %state, [%s], 2;\n"
        "mbarrier.arrive.release.cta.shared::cta.b64 %state, [%s], 1;\nmbarrier.try_wait.shared.b64 %over, [%s], %state;\n"
        "selp.u32 %d0, %a0, 0, %over;", ["b32"], lambda a: a)
    one("drop", 2, "mbarrier.arrive_drop.shared.b64 %state, [%s];\nmbarrier.arrive.shared.b64 %state, [%s];\n"
        "mbarrier.arrive.shared.b64 %state, [%s];\nmbarrier.test_wait.parity.shared.b64 %over, [%s], 1;\n"
        "selp.u32 %d0, %a0, 0, %over;", ["b32"], lambda a: a)
    one("drop.count", 4, "mbarrier.arrive_drop.noComplete.release.cta.shared.b64 %state, [%s], 3;\n"
        "mbarrier.arrive_drop.release.cta.shared::cta.b64 %state, [%s];\nmbarrier.test_wait.acquire.cta.shared::cta.b64 %over, [%s], %state;\n"
        "selp.u32 %d0, %a0, 0, %over;", ["b32"], lambda a: a)
    one("drop.bytes", 2, "mbarrier.arrive_drop.expect_tx.release.cta.shared::cta.b64 %state, [%s], 8;\n"
        "mbarrier.arrive.shared.b64 %state, [%s];\nmbarrier.test_wait.shared.b64 %over, [%s], %state;\nselp.u32 %d0, 1, 0, %over;\n"
        "mbarrier.complete_tx.relaxed.cta.shared.b64 [%s], 8;\nmbarrier.arrive.shared.b64 %state, [%s];\n"
        "mbarrier.test_wait.shared.b64 %over, [%s], %state;\nselp.u32 %d1, %a0, 0, %over;", ["b32", "b32"], lambda a: (0, a))
    one("bytes", 1, "mbarrier.expect_tx.relaxed.cta.shared.b64 [%s], 16;\nmbarrier.arrive.expect_tx.release.cta.shared::cta.b64 %state, [%s], 8;\n"
        "mbarrier.test_wait.shared.b64 %over, [%s], %state;\nselp.u32 %d0, 1, 0, %over;\n"
        "mbarrier.complete_tx.relaxed.cta.shared.b64 [%s], 24;\nmbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %over, [%s], 0;\n"
        "selp.u32 %d1, %a0, 0, %over;", ["b32", "b32"], lambda a: (0, a))
    one("cp.async", 1, "cp.async.ca.shared.global [%s+16], [%src], 4;\ncp.async.mbarrier.arrive.noinc.shared.b64 [%s];\n"
        "wait:\nmbarrier.test_wait.parity.shared.b64 %over, [%s], 0;\n@!%over bra.uni wait;\nld.shared.b32 %d0, [%s+16];",
        ["b32"], lambda a: a)
    one("cp.async.counted", 1, "cp.async.ca.shared.global [%s+16], [%src], 4;\ncp.async.mbarrier.arrive.shared::cta.b64 [%s];\n"
        "mbarrier.arrive.shared.b64 %state, [%s];\nwait:\nmbarrier.test_wait.parity.shared.b64 %over, [%s], 0;\n@!%over bra wait;\n"
        "ld.shared.b32 %d0, [%s+16];", ["b32"], lambda a: a)


    with_places("mbarrier.cta", state + "mbarrier.init.shared::cta.b64 [%s], 2;\n"
                "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%s], 8;\nmbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%s], 8;\n"
                "mbarrier.arrive_drop.release.cta.shared::cta.b64 %state, [%s];\nmbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%s], 4;\n"
                "mbarrier.arrive.release.cta.shared::cta.b64 %state, [%s];\nmbarrier.test_wait.shared.b64 %over, [%s], %state;\n"
                "selp.u32 %d0, 1, 0, %over;\nmbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%s], 4;\n"
                "mbarrier.test_wait.shared.b64 %over, [%s], %state;\nselp.u32 %d1, %a0, 0, %over;\n"
                "mbarrier.inval.shared::cta.b64 [%s];", ["b32"], ["b32", "b32"], lambda a: (0, a))


def memory_families():
    load_store()
    modifiers()
    policies()
    parameters()
    packed()
    addresses()
    atomics()
    vector_atomics()
    copies()
    bulk_copies()
    barriers_in_memory()
