#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Check what every file must have, and what none may.

    check-files.py [--root DIR] CHECK FILE...

CHECK is one of
  spdx       a licence line at the top, and the licence its folder has
  theory     C sources open with a comment that says what they are
  size       at most 1000 lines (tables and generated files exempt)
  forbidden  functions that cannot be used safely
  guards     a header guard that two headers share
  places     paths, hosts and notes of somebody's machine
  links      relative links of documents that lead nowhere
  tests      tests that docs/robustness.md names and that do not exist
  python     does not compile
Prints a line per finding; exit status 1 if there was one.
"""
import argparse
import os
import re
import sys

CODE = re.compile(r"\.(c|h|def|py|sh|mk|S|cu|cl)$|(^|/)(Makefile|Kbuild|run)$")
C_CODE = re.compile(r"\.(c|h)$")

# First match holds.  The licence of each part of the tree (LICENSE says why).
LICENCES = [
    (r"include/vgpu/uapi\.h", r"\(GPL-2\.0 WITH Linux-syscall-note\) OR MIT"),
    (r"guest-driver/kmod/.*", r"GPL-2\.0 OR MIT|MIT OR GPL-2\.0|GPL-2\.0 OR MIT"),
    (r"qemu-device/.*", r"GPL-2\.0-or-later"),
    (r".*", r"MIT"),
]
SIZE_LIMIT = 1000
SIZE_EXEMPT = re.compile(r"\.(def|ptx|md|txt|json|csv|cu|expected)$|^LICENSES/|corpus/")

FORBIDDEN = re.compile(
    r"(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|gets|alloca|tmpnam|mktemp|tempnam|"
    r"strtok(?!_r)|asctime|ctime|gmtime|localtime|rand|srand|atol|atoll|setjmp|longjmp)\s*\(")
# Tests may use these on their own constants.
FORBIDDEN_HOST = re.compile(r"(?<![\w.>])(atoi|atof|system|popen|strncpy|strncat)\s*\(")
KERNEL = re.compile(r"^guest-driver/kmod/|^tests/.*kmod")

PLACES = [
    re.compile(r"(?<![\w.])" + re.escape(os.getcwd()) + r"\b"),  # wherever this tree lies
    re.compile(r"/home/[a-z]\w+/"),
    re.compile(r"\b(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))(?:\.\d{1,3}){2,3}\b"),
    re.compile(r"https?://(?:[\w-]+|[\w.-]+\.(?:internal|local|lan|corp|intranet))(?::\d+)?/"),
]
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
UNFINISHED_IN = re.compile(r"\.(c|h|def|sh|mk|cu|cl)$|(^|/)(Makefile|Kbuild)$")
PLACES_EXEMPT = re.compile(r"^(LICENSES/|scripts/check-files\.py$|tests/lint/)|corpus/|\.(ptx|cu|txt)$")

NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
NAMED_TEST = re.compile(r"\[`([^`]+)`\]\(([^)\s]+)\)")
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def blank_not_code(text):
    return NOT_CODE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def each(pattern, text):
    for match in pattern.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match


def check_spdx(path, text, root):
    if not CODE.search(path):
        return
    head = "\n".join(text.split("\n")[:4])
    match = re.search(r"SPDX-License-Identifier: (.+?)(\s*\*/)?$", head, re.MULTILINE)
    if not match:
        yield f"{path}: no SPDX line at the top"
        return
    for pattern, licence in LICENCES:
        if re.fullmatch(pattern, path):
            if not re.fullmatch(licence, match[1].strip()):
                yield f"{path}: licence is {match[1]}, its folder has {licence}"
            return


def check_theory(path, text, root):
    if not C_CODE.search(path):
        return
    rest = re.sub(r"^(/\*\s*SPDX[^\n]*\*/|//\s*SPDX[^\n]*)\n", "", text)
    match = re.match(r"\s*/\*(.*?)\*/", rest, re.DOTALL)
    if not match or len(match[1].split()) < 8:
        yield f"{path}: does not open by saying what it is"


def check_size(path, text, root):
    lines = text.count("\n")
    if lines > SIZE_LIMIT and not SIZE_EXEMPT.search(path):
        yield f"{path}: {lines} lines, the limit is {SIZE_LIMIT}"


def check_forbidden(path, text, root):
    if not C_CODE.search(path) or KERNEL.search(path):
        return
    code = blank_not_code(text)
    for line, match in each(FORBIDDEN, code):
        yield f"{path}:{line}: {match[1]}()"
    if path.startswith(("host-backend/", "qemu-device/", "guest-driver/lib/")):
        for line, match in each(FORBIDDEN_HOST, code):
            yield f"{path}:{line}: {match[1]}()"


GUARDS = {}


def check_guards(path, text, root):
    if not path.endswith(".h"):
        return
    match = re.search(r"^#ifndef (VGPU_\w+_H)\n#define \1$", text, re.MULTILINE)
    if match:
        other = GUARDS.setdefault(match[1], path)
        if other != path:
            yield f"{path}: {match[1]} is also the guard of {other}"
    elif re.search(r"^#ifndef \w+\n#define ", text, re.MULTILINE) and \
            not re.search(r"^#ifndef _?_?VGPU|^#ifndef HW_", text, re.MULTILINE):
        yield f"{path}: its guard is not named after the project"


def check_places(path, text, root):
    if PLACES_EXEMPT.search(path):
        return
    for pattern in PLACES:
        for line, match in each(pattern, text):
            yield f"{path}:{line}: {match[0]}"
    if UNFINISHED_IN.search(path):
        for line, match in each(UNFINISHED, text):
            yield f"{path}:{line}: {match[0]}"


def check_links(path, text, root):
    if not path.endswith(".md"):
        return
    for line, match in each(LINK, re.sub(r"`[^`\n]*`", lambda m: " " * len(m[0]), text)):
        target = match[1]
        if re.match(r"[a-z]+:", target):
            continue
        if not os.path.exists(os.path.join(root, os.path.dirname(path), target)):
            yield f"{path}:{line}: {target} does not exist"


def check_tests(path, text, root):
    """Every row of a table names a test as [`NAME`](FILE): FILE must contain NAME, between
    quotes (a TAP name) or as a C test's function."""
    if path != "docs/robustness.md":
        return
    for number, row in enumerate(text.splitlines(), 1):
        if not row.startswith("| ") or row.startswith(("| Fault", "| Guest")):
            continue
        named = NAMED_TEST.findall(row)
        if not named:
            yield f"{path}:{number}: names no test"
        for name, target in named:
            place = os.path.join(root, os.path.dirname(path), target)
            if not os.path.exists(place):
                continue        # the check "links" says so
            with open(place, encoding="utf-8") as file:
                source = file.read()
            if f'"{name}"' not in source and f"START_TEST({name})" not in source:
                yield f"{path}:{number}: {target} has no test {name!r}"


def check_python(path, text, root):
    if not path.endswith(".py"):
        return
    try:
        compile(text, path, "exec")
    except (SyntaxError, ValueError) as error:
        yield f"{path}: {error}"


CHECKS = {name[6:]: function for name, function in list(globals().items())
          if name.startswith("check_")}


def main():
    parser = argparse.ArgumentParser(description="check files")
    parser.add_argument("--root", default=".")
    parser.add_argument("check", choices=sorted(CHECKS))
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    found = False
    for path in args.files:
        try:
            with open(os.path.join(args.root, path), encoding="utf-8") as file:
                text = file.read()
        except UnicodeDecodeError:
            continue            # binary test data
        for message in CHECKS[args.check](path, text, args.root):
            print(message)
            found = True
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
