#!/bin/sh
# SPDX-License-Identifier: MIT
#
# get-kernel.sh FLAVOUR [release|vmlinuz|vmlinux|config|headers]: Debian's stock
# guest kernel of that flavour (cloud-amd64, amd64), unpacked in the cache and never
# installed.  The version is whatever the metapackage linux-image-FLAVOUR names
# now.  Prints the value asked for, or all but vmlinux as NAME=VALUE lines.
# FLAVOUR "debug" or "xen" is a kernel of build-kernel.sh.
#
#   release  as in `uname -r`
#   vmlinuz  the bootable image
#   vmlinux  the kernel in it, uncompressed, which boots too: an emulated guest takes
#            as long to uncompress it as for half of the rest; not of built ones
#   config   its build configuration
#   headers  a tree for `make -C HEADERS M=... modules`
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

# dependency_of PACKAGE PREFIX: the first dependency whose name begins so
dependency_of()
{
    apt-cache depends --no-recommends --no-suggests "$1" 2>/dev/null |
        sed -n "s/^  *Depends: \($2[^ ]*\)\$/\1/p" | head -n 1
}

# The headers package names its Makefile's other half, in the common package,
# by an installed path; make that relative so that the tree works anywhere.
relocate_headers()
{
    sed -i "s|^include /usr/src/|include \$(dir \$(lastword \$(MAKEFILE_LIST)))../|" \
        "$1/usr/src/linux-headers-$release/Makefile"
    ! grep -q '^include /' "$1/usr/src/linux-headers-$release/Makefile" ||
        die "the headers of $release have an unknown layout"
}

fetch()
{
    headers=linux-headers-$release
    set -- "$1" "$image" "$headers"
    for _package in $(apt-cache depends --no-recommends --no-suggests "$headers" |
        sed -n 's/^  *Depends: \(linux-[^ ]*\)$/\1/p'); do
        set -- "$@" "$_package"
    done
    [ $# -ge 5 ] || die "unexpected dependencies of $headers: $*"
    temp_beside "$1"
    shift
    _work=$TEMP
    say "fetching $*"
    mkdir "$_work/debs" "$_work/root"
    ( cd "$_work/debs" && logged ../fetch.log apt-get -q -o APT::Sandbox::User= download "$@" ) ||
        die "cannot download the kernel packages: run 'apt-get update' and try again"
    for _deb in "$_work"/debs/*.deb; do
        case ${_deb##*/} in
        linux-image-*) dpkg-deb --fsys-tarfile "$_deb" | tar -x -C "$_work/root" ./boot ;;
        *) dpkg-deb --fsys-tarfile "$_deb" | tar -x -C "$_work/root" --exclude=./usr/share ./usr ;;
        esac
    done
    relocate_headers "$_work/root"
    [ -s "$_work/root/boot/vmlinuz-$release" ] || die "$image holds no boot/vmlinuz-$release"
    publish "$_work/root" "$place"
}

# The kernel's own compression is the first in the image that gives an ELF file.  What follows
# it makes the unpackers complain, whose exit status therefore says nothing.
uncompress()
{
    temp_beside "$2"
    for _kind in 'xz -dc --single-stream,\xfd7zXZ\x00' 'lz4 -dcq,\x02!L\x18'; do
        # shellcheck disable=SC2013 # numbers
        for _at in $(LC_ALL=C grep -obUaP "${_kind#*,}" "$1" | cut -d: -f1); do
            tail -c "+$((_at + 1))" "$1" | ${_kind%,*} >"$TEMP/vmlinux" 2>/dev/null || true
            [ "$(head -c 4 "$TEMP/vmlinux" | tail -c 3)" = ELF ] || continue
            mv -- "$TEMP/vmlinux" "$2"
            return
        done
    done
    die "$1 holds no kernel compressed with xz or lz4"
}

vmlinux()
{
    need lz4 guest
    need xz guest
    _path=$place/boot/vmlinux-$release
    lock_entry "$_path"
    [ -e "$_path" ] || uncompress "$place/boot/vmlinuz-$release" "$_path"
    printf '%s\n' "$_path"
}

value_of()
{
    if [ -n "$built" ]; then
        built_value_of "$1"
        return
    fi
    case $1 in
    release) printf '%s\n' "$release" ;;
    vmlinuz) printf '%s\n' "$place/boot/vmlinuz-$release" ;;
    vmlinux) vmlinux ;;
    config) printf '%s\n' "$place/boot/config-$release" ;;
    headers) printf '%s\n' "$place/usr/src/linux-headers-$release" ;;
    *) die "unknown value '$1': release, vmlinuz, vmlinux, config or headers" ;;
    esac
}

built_value_of()
{
    case $1 in
    release) cat "$place/release" ;;
    vmlinuz) printf '%s\n' "$place/bzImage" ;;
    config) printf '%s\n' "$place/config" ;;
    headers) printf '%s\n' "$place/tree" ;;
    *) die "unknown value '$1': release, vmlinuz, config or headers" ;;
    esac
}

stock_kernel()
{
    image=$(dependency_of "linux-image-$flavour" linux-image-)
    [ -n "$image" ] ||
        die "apt knows no linux-image-$flavour: wrong flavour, or 'apt-get update' (scripts/setup.sh) is needed"
    release=${image#linux-image-}
    place=$VGPU_CACHE/kernel/${release}_$(package_candidate "$image" | tr ':' '%')
    [ -d "$place" ] || fetch "$place"
}

[ $# -eq 1 ] || [ $# -eq 2 ] || die "usage: scripts/get-kernel.sh FLAVOUR [release|vmlinuz|vmlinux|config|headers]"
need apt-get guest
need dpkg-deb guest
flavour=$1
built=
case $flavour in
debug | xen)
    place=$("$VGPU_TOP/scripts/build-kernel.sh" "$flavour")
    built=1
    ;;
*) stock_kernel ;;
esac
if [ $# -eq 2 ]; then
    value_of "$2"
else
    for name in release vmlinuz config headers; do
        printf '%s=%s\n' "$name" "$(value_of "$name")"
    done
fi
