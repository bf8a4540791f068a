#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build-module.sh FLAVOUR: build guest-driver/kmod for Debian's stock kernel of
# that flavour, out of the tree, and print the path of vgpu.ko.  Warnings are
# errors (W=1).
#
#   --print   print the path for the present sources without building; exit
#             status 1 if it is not built
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

KMOD=guest-driver/kmod

# The files that the module is made of: what git would carry, not build leftovers.
module_sources()
{
    find "$KMOD" include/vgpu -type f \
        \( -name '*.[ch]' -o -name Kbuild -o -name Makefile \) ! -name '*.mod.c' | LC_ALL=C sort
}

build()
{
    temp_beside "$place"
    _work=$TEMP
    module_sources | while read -r _file; do
        mkdir -p "$_work/tree/$(dirname "$_file")"
        cp -- "$_file" "$_work/tree/$_file"
    done
    say "building vgpu.ko for $release"
    logged "$_work/build.log" make -C "$headers" M="$_work/tree/$KMOD" \
        W=1 KCFLAGS=-Werror -j "$(jobs_default)" modules ||
        die "the module does not build"
    [ -s "$_work/tree/$KMOD/vgpu.ko" ] || die "the build made no vgpu.ko"
    mkdir "$_work/out"
    strip --strip-debug -o "$_work/out/vgpu.ko" "$_work/tree/$KMOD/vgpu.ko"
    cp -- "$_work/tree/$KMOD/vgpu.ko" "$_work/out/vgpu.debug.ko"
    publish "$_work/out" "$place"
}

print=
if [ "${1-}" = --print ]; then
    print=1
    shift
fi
[ $# -eq 1 ] || die "usage: scripts/build-module.sh [--print] FLAVOUR"
cd "$VGPU_TOP"
if [ ! -f "$KMOD/Makefile" ] && [ ! -f "$KMOD/Kbuild" ]; then
    die "$KMOD holds no module"
fi
headers=$("$VGPU_TOP/scripts/get-kernel.sh" "$1" headers)
# the folder in the cache names the kernel's package version or configuration,
# which its release does not
release=${headers#"$VGPU_CACHE"/kernel/}
release=${release%%/*}
# shellcheck disable=SC2046 # file names of this tree, without blanks
place=$VGPU_CACHE/module/$release-$(hash_of $(module_sources) scripts/build-module.sh)
if [ -n "$print" ]; then
    printf '%s\n' "$place/vgpu.ko"
    [ -s "$place/vgpu.ko" ]
    exit
fi
[ -s "$place/vgpu.ko" ] || build
printf '%s\n' "$place/vgpu.ko"
