#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Everything about the tree that can be judged without running it.  Each check is
# one result; the checks of our own are first shown to find what they are for
# (tests/lint).  Looks at the files git tracks.  The last line is "N passed, N
# failed[, N skipped]"; $BUILD/results/lint.json holds the same.
#
#   BUILD=dir scripts/lint.sh [CHECK...]     only these checks
set -u
cd "$(dirname -- "$0")/.." || exit 1
PATH=/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin:/sbin:/bin
LC_ALL=C.UTF-8
export PATH LC_ALL
BUILD=${BUILD:-build}
ONLY=$*
PYTHON=/usr/bin/python3

passed=0
failed=0
skipped=0
tests=
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

git ls-files >"$scratch/all" || exit 1
# a file removed from the tree but not yet from the index is nobody's business
while IFS= read -r file; do
    if [ -f "$file" ]; then printf '%s\n' "$file"; fi
done <"$scratch/all" >"$scratch/files"
if ! [ -s "$scratch/files" ]; then
    echo "git knows no files here"
    exit 1
fi

# names PATTERN: tracked files whose path matches
names()
{
    grep -E "$1" "$scratch/files"
}

# record NAME RESULT REASON
record()
{
    tests="$tests${tests:+,
}  {\"name\": \"$1\", \"result\": \"$2\", \"reason\": \"$3\"}"
}

# wanted NAME: true unless other checks were asked for
wanted()
{
    [ -z "$ONLY" ] && return
    case " $ONLY " in *" $1 "*) ;; *) return 1 ;; esac
}

# check NAME COMMAND...: one result
check()
{
    name=$1
    shift
    wanted "$name" || return 0
    if "$@" >"$scratch/out" 2>&1; then
        passed=$((passed + 1))
        record "$name" passed ""
        printf 'ok   %s\n' "$name"
    else
        failed=$((failed + 1))
        record "$name" failed ""
        printf 'FAIL %s\n' "$name"
        sed 's/^/     | /' "$scratch/out" | head -n 60
    fi
}

skip()
{
    wanted "$1" || return 0
    skipped=$((skipped + 1))
    record "$1" skipped "$2"
    printf 'skip %s: %s\n' "$1" "$2"
}

files_check()
{
    xargs "$PYTHON" scripts/check-files.py "$1" <"$scratch/files"
}

includes()
{
    names '\.(c|h|def)$' | xargs "$PYTHON" scripts/check-includes.py
}

# compile_headers PATTERN COMMAND...: each header alone
compile_headers()
{
    pattern=$1
    shift
    rc=0
    # a file without a guard is a template that its owner includes several times
    for h in $(names "$pattern" | xargs grep -l '^#ifndef VGPU_'); do
        printf '#include "%s"\nextern int not_empty;\n' "$h" >"$scratch/one"
        "$@" -I. -Iinclude -fsyntax-only "$scratch/one" || rc=1
    done
    return $rc
}

format()
{
    names '^(host-backend|tests|guest-driver/(lib|examples))/.*\.c$' >"$scratch/c" || return 1
    xargs clang-format --dry-run -Werror <"$scratch/c"
}

shell()
{
    # one program for all files: there are thousands
    # shellcheck disable=SC2016
    xargs awk 'FNR == 1 {
        if (FILENAME ~ /\.sh$/ || $0 ~ /^#! ?\/(usr\/)?bin\/(env )?(ba)?sh/)
            print FILENAME
        nextfile
    }' <"$scratch/files" >"$scratch/shell" || return 1
    [ -s "$scratch/shell" ] || return 1
    xargs shellcheck -x -P SCRIPTDIR <"$scratch/shell"
}

analyse()
{
    names '^host-backend/.*\.c$' >"$scratch/c" || return 1
    # getpwnam and getgrnam: before there is a second thread; mmap's descriptor may be -1;
    # server.c hands its descriptor to the caller
    xargs cppcheck -j2 --quiet --std=c11 --enable=warning,portability --inline-suppr \
        --error-exitcode=1 --library=posix --suppress=getpwnamCalled \
        --suppress=getgrnamCalled --suppress=invalidFunctionArg \
        --suppress=resourceLeak:host-backend/daemon/server.c -D_GNU_SOURCE -D__x86_64__ \
        -D__BYTE_ORDER__=1234 -D__ORDER_LITTLE_ENDIAN__=1234 -Iinclude -Ihost-backend \
        --template='{file}:{line}: {id}: {message}' <"$scratch/c"
}

check self-test "$PYTHON" tests/lint/test_checks.py
check spec-self-test "$PYTHON" tests/lint/test_check_spec.py
check includes includes
for c in spdx theory size forbidden guards places links tests python; do
    check "$c" files_check "$c"
done
check headers-c compile_headers '^include/vgpu/.*\.h$' gcc -xc -std=c11 -Wall -Wextra -Wpedantic -Werror
check headers-c++ compile_headers '^include/vgpu/.*\.h$' clang++ -xc++ -std=c++17 -Wall -Wextra -Werror
check headers-internal compile_headers '^(host-backend|tests/lib)/.*\.h$' \
    gcc -xc -std=gnu11 -D_GNU_SOURCE -Ihost-backend -Itests/lib -Wall -Werror
check format format
check shellcheck shell
check cppcheck analyse
if [ -f scripts/check-spec.py ]; then
    check spec "$PYTHON" scripts/check-spec.py
else
    skip spec "scripts/check-spec.py is not there"
fi
if [ -f scripts/check-kmod.sh ]; then
    check kmod scripts/check-kmod.sh
fi

mkdir -p "$BUILD/results"
cat >"$BUILD/results/lint.json" <<END
{"group": "lint", "passed": $passed, "failed": $failed, "skipped": $skipped, "tests": [
$tests
]}
END
if [ $skipped -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ $failed -eq 0 ] && [ $passed -gt 0 ]
