#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build-qemu.sh: the reference QEMU, minimal, with the device of qemu-device/
# built in.  Prints the path of the binary.  The first build takes minutes;
# after a change of the device's sources only those are compiled.
#
#   --print   print the path for the present sources without building; exit
#             status 1 if that binary is not built
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=qemu-lib.sh
. "$(dirname -- "$0")/qemu-lib.sh"

# progress LOG PID: a line whenever another tenth of ninja's steps is done
progress()
{
    _shown=0
    while kill -0 "$2" 2>/dev/null; do
        _line=$(tail -c 4000 "$1" 2>/dev/null | tr '\r' '\n' |
            sed -n 's/^\[\([0-9]*\)\/\([0-9]*\)\].*/\1 \2/p' | tail -n 1)
        if [ -n "$_line" ]; then
            _tenth=$((${_line% *} * 10 / ${_line#* }))
            if [ "$_tenth" -gt "$_shown" ]; then
                say "compiled ${_line% *} of ${_line#* }"
                _shown=$_tenth
            fi
        fi
        sleep 1
    done
}

build()
{
    _log=$QEMU_ENTRY/build.log
    ninja -C "$QEMU_ENTRY/build" -j "$(jobs_default)" qemu-system-x86_64 >"$_log" 2>&1 9>&- &
    VGPU_CHILD=$!
    progress "$_log" "$VGPU_CHILD"
    wait "$VGPU_CHILD" || {
        show_failure $? "$_log" ninja
        die "QEMU does not build"
    }
    VGPU_CHILD=
}

[ $# -eq 0 ] || [ "$*" = --print ] || die "usage: scripts/build-qemu.sh [--print]"
version=$("$VGPU_TOP/scripts/get-source.sh" --version qemu-system-x86)
place=$VGPU_CACHE/bin/$version-$(qemu_device_hash)
binary=$place/qemu-system-x86_64
if [ "${1-}" = --print ]; then
    printf '%s\n' "$binary"
    [ -x "$binary" ]
    exit
fi
if [ ! -x "$binary" ]; then
    qemu_entry
    say "building $version with the device (the first time about 4 minutes)"
    build
    temp_beside "$place"
    strip -o "$TEMP/qemu-system-x86_64" "$QEMU_ENTRY/build/qemu-system-x86_64"
    publish "$TEMP" "$place"
fi
printf '%s\n' "$binary"
