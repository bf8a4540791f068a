#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-kmod.sh: the kernel module under sparse, byte order included, and the compiler's W=1,
# against the headers of Debian's cloud kernel.  Prints what they find; exit status 1
# if there is anything.  Works on a copy: the tree stays as it is.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

KMOD=guest-driver/kmod

[ $# -eq 0 ] || die "usage: scripts/check-kmod.sh"
command -v sparse >/dev/null || die "sparse is not installed: run scripts/setup.sh lint"
headers=$("$VGPU_TOP/scripts/get-kernel.sh" cloud-amd64 headers)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$VGPU_TOP"
git ls-files "$KMOD" include/vgpu | while read -r file; do
    mkdir -p "$work/tree/$(dirname "$file")"
    cp -- "$file" "$work/tree/$file"
done
# without the flags of a make that runs this: -s would hide what sparse looked at
env -u MAKEFLAGS -u MFLAGS make -C "$headers" M="$work/tree/$KMOD" W=1 C=2 CF=-D__CHECK_ENDIAN__ \
    -j "$(jobs_default)" modules >"$work/log" 2>&1 || {
    cat "$work/log"
    die "the module does not build"
}
# the paths of the copy mean nothing to a reader
sed -n "s|^$work/tree/||; /: \(warning\|error\):/p" "$work/log" >"$work/found"
if [ -s "$work/found" ]; then
    cat "$work/found"
    exit 1
fi
grep -q 'CHECK .*\.c' "$work/log" || die "sparse looked at no file: is C=2 known to this kernel?"
