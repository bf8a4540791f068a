#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build-newer-qemu.sh: a recent QEMU as its project released it, without our device,
# for its own vfio-user client (-device vfio-user-pci).  Prints the path of the binary.
#
# The source is the newest that Debian's later suites hold, MINIMUM at least, and so is
# the build system (meson) that it asks for, used where it is unpacked.
# Built once per version, in about 4 minutes on two processors.
#
#   --print   print the path without building; exit status 1 if there is none yet
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

MINIMUM=10.2
MESON_MINIMUM=1.9
SUITES="unstable testing stable"

# What a guest of ours needs; the client itself depends on the three for CXL and PXB.
device_list()
{
    cat <<'MAK'
CONFIG_PCI_DEVICES=n
CONFIG_TEST_DEVICES=n
CONFIG_Q35=y
CONFIG_VTD=y
CONFIG_PCIE_PORT=y
CONFIG_PXB=y
CONFIG_CXL=y
CONFIG_CXL_MEM_DEVICE=y
CONFIG_VFIO=y
CONFIG_VFIO_PCI=y
CONFIG_VFIO_USER=y
MAK
}

configure_options()
{
    cat <<'OPTIONS'
--target-list=x86_64-softmmu
--without-default-features
--without-default-devices
--with-devices-x86_64=vgpu
--enable-tcg
--enable-kvm
--disable-docs
--disable-tools
--disable-debug-info
--disable-werror
--disable-install-blobs
--disable-download
--audio-drv-list=
--firmwarepath=/usr/share/qemu:/usr/share/seabios
OPTIONS
}

build()
{
    # shellcheck disable=SC2086 # suites, one word each
    meson=$("$VGPU_TOP/scripts/get-source.sh" --newer-deb meson "$MESON_MINIMUM" $SUITES)
    temp_beside "$place"
    _work=$TEMP
    say "copying ${source##*/}"
    cp -a -- "$source" "$_work/tree"
    device_list >"$_work/tree/configs/devices/x86_64-softmmu/vgpu.mak"
    mkdir "$_work/build" "$_work/out"
    PYTHONPATH=$meson/usr/lib/python3/dist-packages
    export PYTHONPATH
    say "configuring"
    # shellcheck disable=SC2046 # options, without blanks
    ( cd "$_work/build" && logged ../configure.log ../tree/configure $(configure_options) ) ||
        die "QEMU does not configure"
    say "compiling (about 4 minutes)"
    logged "$_work/build.log" ninja -C "$_work/build" -j "$(jobs_default)" qemu-system-x86_64 ||
        die "QEMU does not build"
    strip -o "$_work/out/qemu-system-x86_64" "$_work/build/qemu-system-x86_64"
    publish "$_work/out" "$place"
}

[ $# -eq 0 ] || [ "$*" = --print ] || die "usage: scripts/build-newer-qemu.sh [--print]"
need ninja qemu
need dpkg-source qemu
if [ "${1-}" = --print ]; then
    for binary in "$VGPU_CACHE"/bin/newer-qemu-*/qemu-system-x86_64; do
        [ -x "$binary" ] || exit 1
    done
    printf '%s\n' "$binary"
    exit
fi
# shellcheck disable=SC2086 # suites, one word each
source=$("$VGPU_TOP/scripts/get-source.sh" --newer qemu "$MINIMUM" $SUITES)
place=$VGPU_CACHE/bin/newer-${source##*/}-$({ configure_options; device_list; } | hash_text)
if [ ! -x "$place/qemu-system-x86_64" ]; then
    lock_entry "$place"
    [ -x "$place/qemu-system-x86_64" ] || build
fi
printf '%s\n' "$place/qemu-system-x86_64"
