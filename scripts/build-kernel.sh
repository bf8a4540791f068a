#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build-kernel.sh NAME: a guest kernel from the source package of Debian's kernel,
# `tinyconfig` and what NAME-kernel.config adds:
#
#   debug   KASAN, lockdep, DMA-API checks, leak detection, fault injection;
#           about 6 minutes on two processors, and 2 GB in the cache
#   xen     small, for guests of an emulated Xen; about 3 minutes
#
# Prints its folder, which holds bzImage, config, and tree/ to build modules
# against.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

# the source package that the stock kernel comes from
source_package()
{
    apt-cache depends --no-recommends --no-suggests linux-source 2>/dev/null |
        sed -n 's/^  *Depends: \(linux-source-[^ ]*\)$/\1/p' | head -n 1
}

unpack()
{
    say "fetching $package $version"
    mkdir "$1/deb"
    ( cd "$1/deb" && logged ../fetch.log apt-get -q -o APT::Sandbox::User= download "$package" ) ||
        die "cannot download $package"
    say "unpacking"
    mkdir "$1/tree"
    dpkg-deb --fsys-tarfile "$1"/deb/*.deb | tar -x -O "./usr/src/$package.tar.xz" |
        tar -x -J -C "$1/tree" --strip-components=1
    rm -rf "$1/deb"
}

configure()
{
    logged "$1/config.log" make -C "$1/tree" tinyconfig || die "tinyconfig failed"
    {
        sed '/^#/d' "$fragment"
        printf 'CONFIG_LOCALVERSION="-vgpu-%s"\n' "$name"
    } >>"$1/tree/.config"
    logged "$1/config.log" make -C "$1/tree" olddefconfig || die "olddefconfig failed"
    grep '^CONFIG_' "$fragment" | while read -r _option; do
        case $_option in
        *=n) ! grep -q "^${_option%=n}=" "$1/tree/.config" ;;
        *) grep -qxF "$_option" "$1/tree/.config" ;;
        esac || die "the kernel's configuration does not take $_option: see $name-kernel.config"
    done
}

build()
{
    lock_entry "$place"
    [ ! -d "$place" ] || return 0
    # Built in its final place's neighbour and renamed: a kernel tree does not
    # remember its path as long as modules are built with `make -C`.
    temp_beside "$place"
    _work=$TEMP
    unpack "$_work"
    configure "$_work"
    say "compiling the $name kernel (some minutes)"
    logged "$_work/build.log" make -C "$_work/tree" -j "$(jobs_default)" bzImage modules ||
        die "the kernel does not build"
    cp -- "$_work/tree/arch/x86/boot/bzImage" "$_work/bzImage"
    cp -- "$_work/tree/.config" "$_work/config"
    make -s -C "$_work/tree" kernelrelease >"$_work/release"
    # only what building modules needs, and that is not the objects
    find "$_work/tree" \( -name '*.o' -o -name '*.a' -o -name '.*.cmd' -o -name 'vmlinux*' \) \
        ! -path '*/scripts/*' ! -path '*/tools/objtool/*' -type f -delete
    publish "$_work" "$place"
}

[ $# -eq 1 ] || die "usage: scripts/build-kernel.sh debug|xen"
name=$1
fragment=$VGPU_TOP/scripts/$name-kernel.config
[ -f "$fragment" ] || die "no kernel '$name': debug or xen"
for tool in flex bison bc make gcc xz; do
    need "$tool" guest-kernel
done
[ -f /usr/include/libelf.h ] || die "libelf's headers are not installed: run scripts/setup.sh guest-kernel"
package=$(source_package)
[ -n "$package" ] || die "apt knows no linux-source: 'apt-get update' (scripts/setup.sh) is needed"
version=$(package_candidate "$package")
place=$VGPU_CACHE/kernel/$name-$version-$(sed '/^#/d' "$fragment" | hash_text)
[ -d "$place" ] || build
printf '%s\n' "$place"
