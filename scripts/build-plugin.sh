#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build-plugin.sh: the device of qemu-device/ as a plug-in, vgpu-plugin.so, for
# Debian's stock qemu-system-x86_64.  Prints its path.
#
# Only QEMU's generated headers are needed, not a built QEMU; they come from the
# source of exactly the installed version, and the plug-in refuses to load into
# any other.  The compiler's flags are those that QEMU's own build has for the
# device, so that both see the same structures.
#
#   --print   print the path for the present sources without building; exit
#             status 1 if it is not built
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=qemu-lib.sh
. "$(dirname -- "$0")/qemu-lib.sh"

# object_of FILE: the ninja target of one of the device's sources
object_of()
{
    ninja -C "$QEMU_ENTRY/build" -t targets all |
        sed -n "s|^\([^ ]*/hw_misc_vgpu_$(printf '%s' "$1" | tr '/' '_').o\): .*|\1|p" | head -n 1
}

# flags_of OBJECT: how QEMU's build compiles it, without what names the files
flags_of()
{
    ninja -C "$QEMU_ENTRY/build" -t commands -s "$1" | tail -n 1 |
        sed -e 's/ -MD .*//' -e 's/-fPIE/-fPIC/g'
}

build()
{
    qemu_entry
    _tree=$QEMU_ENTRY/tree/hw/misc/vgpu
    _sources=$(qemu_device_files | grep '\.c$')
    _object=$(object_of "$(printf '%s\n' "$_sources" | head -n 1)")
    [ -n "$_object" ] || die "QEMU's build does not compile the device"
    say "generating QEMU's headers"
    logged "$QEMU_ENTRY/headers.log" ninja -C "$QEMU_ENTRY/build" -j "$(jobs_default)" "$_object" ||
        die "the device does not compile in QEMU's tree"
    _flags=$(flags_of "$_object")
    case $_flags in
    *-fPIC*) ;;
    *) die "cannot tell how QEMU compiles the device: $_flags" ;;
    esac
    say "building the plug-in for $version"
    temp_beside "$place"
    cp -- "$QEMU_DEVICE/plugin.c" "$TEMP/plugin.c"
    for _rel in $_sources plugin.c; do
        _from=$_tree/$_rel
        [ "$_rel" != plugin.c ] || _from=$TEMP/plugin.c
        ( cd "$QEMU_ENTRY/build" && logged "$TEMP/cc.log" sh -c \
            "$_flags -Wall -Werror -fvisibility=hidden -I'$_tree' -o '$TEMP/$(basename "$_rel" .c).o' -c '$_from'" ) ||
            die "$_rel does not compile as a plug-in"
    done
    logged "$TEMP/ld.log" gcc -shared -Wl,-z,relro,-z,now -o "$TEMP/vgpu-plugin.so" "$TEMP"/*.o ||
        die "the plug-in does not link"
    mkdir "$TEMP/out"
    strip --strip-debug -o "$TEMP/out/vgpu-plugin.so" "$TEMP/vgpu-plugin.so"
    publish "$TEMP/out" "$place"
}

[ $# -eq 0 ] || [ "$*" = --print ] || die "usage: scripts/build-plugin.sh [--print]"
need qemu-system-x86_64 stock-qemu
[ -f "$QEMU_DEVICE/plugin.c" ] || die "qemu-device/plugin.c is not there"
version=$(package_version qemu-system-x86)
place=$VGPU_CACHE/bin/plugin-$(printf '%s' "$version" | tr ':' '%')-$(
    { qemu_device_hash; hash_of "$QEMU_DEVICE/plugin.c" "$0"; } | hash_text)
if [ "${1-}" = --print ]; then
    printf '%s\n' "$place/vgpu-plugin.so"
    [ -s "$place/vgpu-plugin.so" ]
    exit
fi
[ -s "$place/vgpu-plugin.so" ] || build
printf '%s\n' "$place/vgpu-plugin.so"
