#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build-debug-kernel.sh: a guest kernel with KASAN, lockdep, DMA-API checks, leak
# detection and fault injection, from the source package of Debian's kernel;
# what it is made of is in debug-kernel.config.  Prints its folder, which holds
# bzImage, config, and tree/ to build modules against.  Takes about 6 minutes on
# two processors, and 2 GB in the cache.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

FRAGMENT=$VGPU_TOP/scripts/debug-kernel.config
RELEASE_SUFFIX=-vgpu-debug

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
        sed '/^#/d' "$FRAGMENT"
        printf 'CONFIG_LOCALVERSION="%s"\n' "$RELEASE_SUFFIX"
    } >>"$1/tree/.config"
    logged "$1/config.log" make -C "$1/tree" olddefconfig || die "olddefconfig failed"
    grep '^CONFIG_' "$FRAGMENT" | while read -r _option; do
        grep -qxF "$_option" "$1/tree/.config" ||
            die "the kernel's configuration does not take $_option: see debug-kernel.config"
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
    say "compiling (about 5 minutes)"
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

[ $# -eq 0 ] || die "usage: scripts/build-debug-kernel.sh"
for tool in flex bison bc make gcc xz; do
    need "$tool" debug-kernel
done
[ -f /usr/include/libelf.h ] || die "libelf's headers are not installed: run scripts/setup.sh debug-kernel"
package=$(source_package)
[ -n "$package" ] || die "apt knows no linux-source: 'apt-get update' (scripts/setup.sh) is needed"
version=$(package_candidate "$package")
place=$VGPU_CACHE/kernel/debug-$version-$(sed '/^#/d' "$FRAGMENT" | hash_text)
[ -d "$place" ] || build
printf '%s\n' "$place"
