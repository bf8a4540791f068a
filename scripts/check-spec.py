#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Compare docs/spec/vgpu-abi.md with the headers, the register table and the tests.

What is compared, in both directions where that makes sense:

  constants     every object-like macro of include/vgpu (and every status code) stands in a table
                of the spec with the same value; every VGPU_ name in the spec exists
  registers     offset, access and reset of the spec's register tables against
                host-backend/device/regs.def and the access codes in hw.h
  structures    size, and offset and size of every field, against the compiler
  statuses      value, CUresult, "context lost" and text
  chapters      a "(spec N.M)" in a header names a heading that exists
  requirements  ids are unique; an id cited by a test exists; ids that no test cites are
                counted (with --verbose: listed, with --strict: an error)

Values come from the C compiler, not from a parser of ours: the headers are included in a small
generated program.  Exit status: 0 when all agrees, 1 otherwise, 2 when the check could not run.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADERS = ["hw.h", "ring.h", "status.h", "cmd.h", "uapi.h"]
NOT_ABI = re.compile(r"^VGPU_([A-Z]+_H|BLAME|STATUS_LIST|STATUS_ENUM)$")
ID = re.compile(r"VGPU-[A-Z]+-[0-9]{3}\b")
CITING = ["tests", "host-backend", "guest-driver", "qemu-device"]
SELFTEST = "guest-driver/examples/selftest"  # tests, too, which guests run
NOT_CITING = "tests/lint"  # the tests of this check: examples of wrong ids


class Report:
    def __init__(self):
        self.errors = []

    def error(self, text):
        self.errors.append(text)

    def expect(self, what, spec, code):
        if spec != code:
            self.error(f"{what}: spec says {spec}, code says {code}")


def read(*path):
    with open(os.path.join(TOP, *path), encoding="utf-8") as f:
        return f.read()


# ---- The headers ----


def header_macros(text):
    """Names of object-like macros that have a value."""
    names = re.findall(r"^#define (VGPU_[A-Z0-9_]+)[ \t]+[^ \t\n/]", text, re.M)
    return [n for n in names if not NOT_ABI.match(n)]


def header_structs(text):
    """{struct: [field, ...]}; the member of an anonymous union's name is the union's."""
    structs = {}
    for name, body in re.findall(r"^struct (vgpu_\w+) \{(.*?)^\};", text, re.S | re.M):
        body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
        body = re.sub(r"union \{.*?\} (\w+);", r"__u8 \1;", body, flags=re.S)
        fields = re.findall(r"(?:struct \w+|__\w+) (\w+)(?:\[\w+\])?;", body)
        structs[name] = fields
    return structs


def ask_compiler(macros, structs, cc):
    """({macro: value}, {status: (value, cuda, lost, text)}, {struct: (size, {field: (off, size)})})"""
    lines = ["#include <stdio.h>", "#include <stddef.h>", "#include <vgpu/layout.h>",
             "int main(void) {"]
    for m in macros:
        lines.append(f'printf("M {m} %llu\\n", (unsigned long long)({m}));')
    lines.append("#define S(name, value, cuda, lost, text) "
                 'printf("S %s %d %d %d %s\\n", #name, value, cuda, lost, text);')
    lines.append("VGPU_STATUS_LIST(S)")
    for s, fields in structs.items():
        lines.append(f'printf("T {s} %zu\\n", sizeof(struct {s}));')
        for f in fields:
            lines.append(f'printf("F {s} {f} %zu %zu\\n", offsetof(struct {s}, {f}), '
                         f"sizeof(((struct {s} *)0)->{f}));")
    lines.append("return 0; }")
    with tempfile.TemporaryDirectory() as tmp:
        src, exe = os.path.join(tmp, "spec.c"), os.path.join(tmp, "spec")
        with open(src, "w", encoding="utf-8") as f:
            f.write("\n".join(lines))
        subprocess.run([cc, "-std=gnu11", "-I", os.path.join(TOP, "include"), "-o", exe, src],
                       check=True)
        out = subprocess.run([exe], check=True, capture_output=True, text=True).stdout
    values, statuses, layout = {}, {}, {}
    for line in out.splitlines():
        kind, rest = line.split(" ", 1)
        if kind == "M":
            name, value = rest.split()
            values[name] = int(value)
        elif kind == "S":
            name, value, cuda, lost, text = rest.split(" ", 4)
            statuses["VGPU_ST_" + name] = (int(value), int(cuda), lost == "1", text)
        elif kind == "T":
            name, size = rest.split()
            layout[name] = (int(size), {})
        else:
            name, field, off, size = rest.split()
            layout[name][1][field] = (int(off), int(size))
    return values, statuses, layout


# ---- The spec ----


def number(text):
    text = text.strip().strip("`")
    return int(text, 0) if re.fullmatch(r"0x[0-9a-fA-F]+|[0-9]+", text) else None


def tables(spec):
    """All tables: a list of (header cells, [row cells])."""
    found, current = [], None
    for line in spec.splitlines():
        if not line.startswith("|"):
            current = None
            continue
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if current is None:
            current = (cells, [])
            found.append(current)
        elif not re.fullmatch(r"[-|: ]+", line):
            current[1].append(cells)
    return found


def spec_constants(all_tables):
    """{name: value} of rows that pair a `VGPU_NAME` with a number in the first two cells."""
    constants = {}
    for _, rows in all_tables:
        for row in rows:
            for name, value in ((row[0], row[1]), (row[1], row[0])) if len(row) > 1 else ():
                m = re.fullmatch(r"`(VGPU_[A-Z0-9_]+)`", name)
                if m and number(value) is not None:
                    constants.setdefault(m.group(1), []).append(number(value))
    return constants


def spec_structs(spec):
    """{struct: (size, {field: (offset, bytes)})} from the headings of field tables."""
    structs = {}
    pattern = r"^`struct (vgpu_\w+)`, (\d+) bytes:\n\n\| offset .*\n\|[-|]+\n((?:\|.*\n)+)"
    for name, size, body in re.findall(pattern, spec, re.M):
        fields = {}
        for row in body.splitlines():
            cells = [c.strip() for c in row.strip("|").split("|")]
            fields[cells[2].split("[")[0]] = (int(cells[0]), int(cells[1]))
        structs[name] = (int(size), fields)
    return structs


# ---- Comparisons ----


def check_constants(report, constants, values, statuses, spec, structs):
    for name, seen in sorted(constants.items()):
        code = values.get(name, statuses.get(name, (None,))[0])
        for value in seen:
            if code is None:
                report.error(f"{name}: in the spec, but in no header")
            else:
                report.expect(name, value, code)
    for name in values:
        if name not in constants:
            report.error(f"{name}: in a header, but in no table of the spec")
    known = set(values) | set(statuses) | {"VGPU_" + n for n in ("REG", "ST", "CMD")}
    for name in sorted(set(re.findall(r"\bVGPU_[A-Z0-9_]+\b(?!\*)", spec))):
        if name not in known and not any(k.startswith(name) and name.endswith("_") for k in known):
            report.error(f"{name}: mentioned in the spec, but in no header")
    for name in sorted(set(re.findall(r"`struct (vgpu_\w+)`", spec))):
        if name not in structs:
            report.error(f"struct {name}: mentioned in the spec, but in no header")


def check_structs(report, spec_layout, layout):
    for name, (size, fields) in sorted(layout.items()):
        if name not in spec_layout:
            report.error(f"struct {name}: not described in the spec")
            continue
        spec_size, spec_fields = spec_layout[name]
        report.expect(f"size of struct {name}", spec_size, size)
        for field in sorted(set(fields) | set(spec_fields)):
            report.expect(f"struct {name}.{field} (offset, bytes)", spec_fields.get(field),
                          fields.get(field))


def check_size_asserts(report, layout):
    text = read("include", "vgpu", "layout.h")
    for name, (size, _) in sorted(layout.items()):
        m = re.search(rf"VGPU_SIZE\({name}, (\d+)\)", text)
        report.expect(f"layout.h, size of struct {name}", int(m.group(1)) if m else None, size)


def check_statuses(report, all_tables, statuses):
    rows = {}
    for head, body in all_tables:
        if head[:3] == ["value", "name", "CUDA"]:
            for value, name, cuda, lost, text in body:
                rows[name.strip("`")] = (number(value), number(cuda), lost == "yes", text)
    for name in sorted(set(rows) | set(statuses)):
        report.expect(name, rows.get(name), statuses.get(name))


def regs_def():
    """{register: (access, words, reset)} with reset as the spec writes it."""
    regs = {}
    for line in re.findall(r"^REG\((.*)\)$", read("host-backend", "device", "regs.def"), re.M):
        name, access, words, reset, value, states, _ = (c.strip() for c in line.split(","))
        shown = {"DEVICE": "device", "RUNS": "runs"}.get(reset)
        where = {"NONE": "-", "ANY": "any", "DISABLED": "DISABLED",
                 "TESTS": "not QUIESCING"}[states]
        regs["VGPU_REG_" + name] = (access, int(words),
                                    shown or int(value.rstrip("u"), 0), where)
    return regs


def check_registers(report, all_tables, values):
    regs, seen = regs_def(), {}
    for head, body in all_tables:
        if head[:4] != ["offset", "name", "access", "reset"]:
            continue
        for offset, name, access, reset, where, *_ in body:
            name = name.strip("`")
            seen[name] = (access, number(reset) if number(reset) is not None else reset, where)
            report.expect(f"offset of {name}", number(offset), values.get(name))
    seen.pop("VGPU_REG_END", None)
    for name in sorted(set(seen) | set(regs)):
        access, _, reset, where = regs.get(name, (None,) * 4)
        report.expect(f"{name} (access, reset, write in)", seen.get(name), (access, reset, where))
    for name in values:
        if name.startswith("VGPU_REG_") and name != "VGPU_REG_END" and name not in regs:
            report.error(f"{name}: in hw.h, but not in regs.def")
    hw = read("include", "vgpu", "hw.h")
    for name, access in re.findall(r"^#define (VGPU_REG_\w+)\s+0x\w+ /\* (RO|RW|WO|W1C)\b", hw,
                                   re.M):
        report.expect(f"access of {name} in hw.h", regs.get(name, (None,))[0], access)


def check_chapters(report, spec):
    headings = set(re.findall(r"^#+ (\d+(?:\.\d+)*) ", spec, re.M))
    for header in HEADERS + ["layout.h"]:
        for group in re.findall(r"\bspec ((?:\d+(?:\.\d+)?(?:, | and | to )?)+)",
                                read("include", "vgpu", header)):
            for chapter in re.findall(r"\d+(?:\.\d+)?", group):
                if chapter not in headings:
                    report.error(f"include/vgpu/{header} cites chapter {chapter}, "
                                 "which the spec does not have")


def citations():
    """{id: {file, ...}} of ids cited in sources; second: those cited by tests."""
    everywhere, tests = {}, set()
    for folder in CITING:
        for root, _, files in os.walk(os.path.join(TOP, folder)):
            if os.path.relpath(root, TOP).startswith(NOT_CITING):
                continue
            for name in files:
                if not name.endswith((".c", ".h", ".py", ".sh", ".def", ".ptx")):
                    continue
                path = os.path.join(root, name)
                with open(path, encoding="utf-8", errors="replace") as f:
                    ids = set(ID.findall(f.read()))
                for i in ids:
                    everywhere.setdefault(i, set()).add(os.path.relpath(path, TOP))
                if folder == "tests" or os.path.relpath(root, TOP) == SELFTEST:
                    tests |= ids
    return everywhere, tests


def check_requirements(report, spec):
    """Ids that no test cites."""
    defined = re.findall(r"^\*\*(VGPU-[A-Z]+-[0-9]{3})\*\*", spec, re.M)
    for i in sorted(set(defined)):
        if defined.count(i) > 1:
            report.error(f"{i}: defined {defined.count(i)} times")
    for i in sorted(set(ID.findall(spec)) - set(defined)):
        report.error(f"{i}: mentioned in the spec, but not defined")
    cited, by_tests = citations()
    for i in sorted(set(cited) - set(defined)):
        report.error(f"{i}: cited by {', '.join(sorted(cited[i]))}, but not in the spec")
    return len(set(defined)), sorted(set(defined) - by_tests)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--strict", action="store_true", help="fail on uncited requirements")
    parser.add_argument("--verbose", action="store_true", help="list uncited requirements")
    parser.add_argument("--cc", default=os.environ.get("CC", "gcc"))
    args = parser.parse_args()

    spec = read("docs", "spec", "vgpu-abi.md")
    texts = {h: read("include", "vgpu", h) for h in HEADERS}
    macros = [m for t in texts.values() for m in header_macros(t)]
    structs = {}
    for text in texts.values():
        structs.update(header_structs(text))
    try:
        values, statuses, layout = ask_compiler(macros, structs, args.cc)
    except (OSError, subprocess.CalledProcessError) as e:
        print(f"check-spec: cannot compile the headers: {e}", file=sys.stderr)
        return 2

    report = Report()
    all_tables = tables(spec)
    check_constants(report, spec_constants(all_tables), values, statuses, spec, layout)
    check_structs(report, spec_structs(spec), layout)
    check_size_asserts(report, layout)
    check_statuses(report, all_tables, statuses)
    check_registers(report, all_tables, values)
    check_chapters(report, spec)
    total, uncited = check_requirements(report, spec)
    if args.verbose or args.strict:
        for i in uncited:
            print(f"check-spec: {i} is cited by no test")
    for e in report.errors:
        print(f"check-spec: {e}")
    print(f"check-spec: {len(values)} constants, {len(statuses)} statuses, {len(layout)} "
          f"structures, {total} requirements ({len(uncited)} cited by no test), "
          f"{len(report.errors)} errors")
    return 1 if report.errors or (args.strict and uncited) else 0


if __name__ == "__main__":
    sys.exit(main())
