#!/bin/sh
# SPDX-License-Identifier: MIT
#
# make-initramfs.sh [FLAVOUR [BUILD]]: the root file system of the test guests for
# that kernel flavour (cloud-amd64), from what is built below BUILD ($BUILD, else
# build); prints its path, BUILD/vm/FLAVOUR.cpio.  Holds busybox, lspci, the driver, the library, the
# example programs with their PTX, and the guests' own test programs, each with
# the shared libraries it needs.  What is not built is left out, with a notice;
# the tests that want it say what is missing.
#
# The archive depends on its contents alone (see mkcpio.py).  Archives can be
# concatenated: the test harness appends one with a test's own files.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

LIBDIR=usr/lib/x86_64-linux-gnu
TAB=$(printf '\t')

# entry FIELD...: a manifest line
entry()
{
    _line=$1
    shift
    for _field in "$@"; do
        _line=$_line$TAB$_field
    done
    printf '%s\n' "$_line" >>"$manifest"
}

# libraries_of PROGRAM: put the shared libraries it needs in, under the paths
# where the loader looks for them
libraries_of()
{
    LD_LIBRARY_PATH=$build/rel/lib ldd "$1" >"$work/ldd" 2>/dev/null || return 0
    ! grep -q 'not found' "$work/ldd" || die "$1 lacks libraries: $(grep 'not found' "$work/ldd")"
    sed -n 's/^\t\(.* => \)\{0,1\}\(\/[^ ]*\) (.*/\2/p' "$work/ldd" | while read -r _library; do
        case $_library in
        /lib64/* | /lib/* | /usr/lib/*) entry file "$_library" 755 "$_library" ;;
        *) entry file "$LIBDIR/${_library##*/}" 755 "$_library" ;;
        esac
    done
}

program()
{
    entry file "bin/${1##*/}" 755 "$1"
    libraries_of "$1"
}

base_system()
{
    program "$(command -v busybox)"
    # by name and not by `busybox --list`, whose applets follow the package
    for _applet in $(busybox --list); do
        [ "$_applet" = busybox ] || entry link "bin/$_applet" busybox
    done
    for _dir in proc sys dev run tmp mnt root sbin; do
        entry dir "$_dir" 755
    done
    entry char dev/console 600 5 1
    entry char dev/null 666 1 3
    entry file init 755 "$VGPU_TOP/scripts/guest-init.sh"
    entry file bin/guest-agent 755 "$VGPU_TOP/scripts/guest-agent.sh"
    program "$(command -v lspci)"
}

# lspci wants names; the whole list is 1.3 MB, the vendors that a guest of ours
# can have are a few
pci_names()
{
    for _ids in /usr/share/misc/pci.ids /usr/share/hwdata/pci.ids; do
        [ -f "$_ids" ] || continue
        awk '/^C /      { classes = 1 }
             classes    { print; next }
             /^[0-9a-f]/ { keep = ($1 == "8086" || $1 == "1af4" || $1 == "1b36" || $1 == "1234") }
             keep && !/^#/' "$_ids" >"$work/pci.ids"
        entry file usr/share/misc/pci.ids 644 "$work/pci.ids"
        return
    done
}

driver()
{
    if [ ! -f "$VGPU_TOP/guest-driver/kmod/Makefile" ] && [ ! -f "$VGPU_TOP/guest-driver/kmod/Kbuild" ]; then
        say "no driver in guest-driver/kmod, left out"
        return
    fi
    _module=$("$VGPU_TOP/scripts/build-module.sh" "$flavour")
    entry file lib/modules/vgpu.ko 644 "$_module"
}

# The guest's programs: the examples by their sources' names, and guest-*.
guest_programs()
{
    for _source in "$VGPU_TOP"/guest-driver/examples/*.c; do
        [ -f "$_source" ] || continue
        _program=$build/rel/bin/$(basename "$_source" .c)
        [ ! -x "$_program" ] || program "$_program"
    done
    for _program in "$build"/rel/bin/guest-*; do
        [ ! -x "$_program" ] || program "$_program"
    done
    for _ptx in "$VGPU_TOP"/guest-driver/examples/*.ptx "$VGPU_TOP"/guest-driver/examples/kernels/*.ptx \
        "$VGPU_TOP"/tests/vm/guest/*.ptx; do
        [ ! -f "$_ptx" ] || entry file "usr/share/vgpu/kernels/${_ptx##*/}" 644 "$_ptx"
    done
}

[ $# -le 2 ] || die "usage: scripts/make-initramfs.sh [FLAVOUR [BUILD]]"
flavour=${1:-cloud-amd64}
build=${2:-${BUILD:-build}}
mkdir -p "$build/vm"
build=$(CDPATH='' cd -- "$build" && pwd -P)
for tool in busybox lspci; do
    need "$tool" guest
done
busybox --list | grep -qx setsid || die "busybox lacks applets: install busybox-static (scripts/setup.sh guest)"
temp_beside "$build/vm/$flavour"
work=$TEMP
manifest=$work/manifest
base_system
pci_names
driver
guest_programs
/usr/bin/python3 "$VGPU_TOP/scripts/mkcpio.py" "$build/vm/$flavour.cpio" <"$manifest"
printf '%s\n' "$build/vm/$flavour.cpio"
