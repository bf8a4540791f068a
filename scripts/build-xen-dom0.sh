#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build-xen-dom0.sh: Xen and a Dom0 to boot under emulation, from Debian's own
# packages, which are unpacked in the cache and never installed.  Prints its
# folder, which holds
#
#   xen          the hypervisor, for `qemu-system-x86_64 -kernel`
#   vmlinux      Dom0's kernel, uncompressed: a PV kernel unpacks itself slowly
#   base.cpio    Dom0's root without an /init: busybox, xl, xenstored, xenconsoled,
#                qemu-xen and what they need.  A test appends a second archive.
#   files        the paths in base.cpio
#   packages     what it is made of
#
# apt resolves against an empty system, with this machine's own sources, so the
# folder's name follows the versions that an installation would get now.  Takes
# about a minute, 110 MB of downloads and 100 MB in the cache.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

XEN=4.17
XENBIN=usr/lib/xen-$XEN/bin
# the second line: what vgpud links with, beside libc
PACKAGES="xen-hypervisor-$XEN-amd64 xen-utils-$XEN xenstore-utils qemu-system-xen
    linux-image-amd64 busybox-static libc6 libxendevicemodel1 libxenforeignmemory1 libxenevtchn1
    libxentoolcore1 libxenstore4 libseccomp2 libzstd1 liblz4-1 libinih1 libjson-c5"
# Xen's devices in Dom0, and the port through which the tests talk to it; in the
# order of loading, which base.cpio holds as /lib/modules/order
MODULES="xen-evtchn xen-privcmd xen-gntdev xen-gntalloc xenfs
    virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_console"
PROGRAMS="$XENBIN/xl $XENBIN/xenstored $XENBIN/xenconsoled $XENBIN/xen-init-dom0
    $XENBIN/libxl-save-helper $XENBIN/xenctx usr/bin/xenstore-ls usr/bin/xenstore-read
    usr/bin/xenstore-write usr/bin/xenstore-rm usr/bin/xenstore-list usr/libexec/xen-qemu-system-i386"
LIBRARIES="libxendevicemodel.so.1 libxenforeignmemory.so.1 libxenevtchn.so.1 libxentoolcore.so.1
    libxenstore.so.4 libseccomp.so.2 libzstd.so.1 liblz4.so.1 libinih.so.1 libjson-c.so.5 libm.so.6"
TAB=$(printf '\t')

# apt_empty DIR ARGUMENT...: apt-get as on a system with no package installed
apt_empty()
{
    _dir=$1
    shift
    mkdir -p "$_dir/partial"
    : >"$_dir/status"
    apt-get -q -y -o "Dir::State::status=$_dir/status" -o "Dir::Cache::archives=$_dir" \
        -o Debug::NoLocking=1 -o APT::Install-Recommends=false -o APT::Sandbox::User= "$@"
}

# unpack: every package below root/; of the kernel, only what is listed above
unpack()
{
    mkdir root
    for _deb in debs/*.deb; do
        case ${_deb##*/} in
        linux-image-*)
            dpkg-deb --fsys-tarfile "$_deb" >kernel.tar
            tar -t -f kernel.tar >kernel.list
            grep -E "/vmlinuz-|/($(printf '%s' "$MODULES" | tr -s ' \n' '|'))\.ko$" kernel.list >kernel.want ||
                continue    # the metapackage
            tar -x -C root -f kernel.tar -T kernel.want
            ;;
        *) dpkg-deb -x "$_deb" root ;;
        esac
    done
    rm -f kernel.*
}

# entry FIELD...: a manifest line for mkcpio.py
entry()
{
    _line=$1
    shift
    for _field in "$@"; do
        _line=$_line$TAB$_field
    done
    printf '%s\n' "$_line" >>manifest
}

# libraries_of FILE: put in the shared libraries that it needs, at their paths
libraries_of()
{
    root/lib64/ld-linux-x86-64.so.2 --library-path \
        "$libpath" --list "$1" >ldd 2>&1 || die "cannot resolve $1: $(cat ldd)"
    ! grep -q 'not found' ldd || die "$1 lacks libraries: $(grep 'not found' ldd)"
    sed -n "s|.* => \($PWD/root/\([^ ]*\)\) (.*|\2|p" ldd | while read -r _library; do
        entry file "$_library" 755 "root/$_library"
    done
}

programs()
{
    for _program in $PROGRAMS; do
        [ -f "root/$_program" ] || die "the packages hold no /$_program: their layout has changed"
        entry file "$_program" 755 "root/$_program"
        libraries_of "root/$_program"
    done
    for _name in $LIBRARIES; do
        _library=$(find root/lib root/usr/lib -name "$_name" | head -n 1)
        [ -n "$_library" ] || die "the packages hold no $_name"
        entry file "${_library#root/}" 755 "$_library"
        libraries_of "$_library"
    done
    entry file lib64/ld-linux-x86-64.so.2 755 root/lib64/ld-linux-x86-64.so.2
    entry file bin/busybox 755 root/bin/busybox
    for _applet in $(root/bin/busybox --list); do
        [ "$_applet" = busybox ] || entry link "bin/$_applet" busybox
    done
}

# tree FOLDER: all its files, following links
tree()
{
    find -L "root/$1" -type f | while read -r _file; do
        entry file "${_file#root/}" 755 "$_file"
    done
}

# data: hvmloader, qemu's firmware (its keymaps too, which it wants even without
# a display), and the kernel's modules
data()
{
    tree "usr/lib/xen-$XEN/boot"
    tree usr/share/qemu/keymaps
    for _file in linuxboot.bin linuxboot_dma.bin kvmvapic.bin multiboot.bin; do
        entry file "usr/share/qemu/$_file" 644 "root/usr/share/qemu/$_file"
    done
    tree usr/share/seabios
    for _name in $MODULES; do
        _module=$(find root/lib/modules -name "$_name.ko")
        [ -n "$_module" ] || die "Dom0's kernel has no module $_name"
        strip --strip-debug -o "$_name.ko" "$_module"
        entry file "lib/modules/$_name.ko" 644 "$_name.ko"
        printf '%s\n' "$_name" >>order
    done
    entry file lib/modules/order 644 order
    for _dir in proc sys dev run tmp root var/log/xen var/lib/xen var/lib/xenstored etc/xen; do
        entry dir "$_dir" 755
    done
    entry link var/run /run
    entry link "usr/sbin/xl" "/$XENBIN/xl"
    entry char dev/console 600 5 1
    entry char dev/null 666 1 3
}

# kernel: Dom0's, out of its compressed image
kernel()
{
    set -- root/boot/vmlinuz-*
    _at=$(LC_ALL=C grep -obUaP -m1 '\xfd7zXZ\x00' "$1" | head -n 1 | cut -d: -f1)
    [ -n "$_at" ] || die "${1##*/} is not compressed with xz"
    tail -c "+$((_at + 1))" "$1" | xz -dc --single-stream >out/vmlinux 2>/dev/null || true
    [ "$(head -c 4 out/vmlinux | tail -c 3)" = ELF ] || die "no ELF kernel in ${1##*/}"
}

build()
{
    temp_beside "$place"
    cd "$TEMP"
    mkdir out
    say "fetching Xen $XEN and Dom0's packages"
    # shellcheck disable=SC2086 # package names
    logged fetch.log apt_empty "$TEMP/debs" --download-only install $PACKAGES ||
        die "cannot download the packages: run 'apt-get update' and try again"
    say "unpacking"
    unpack
    libpath=$(find "$PWD/root/lib" "$PWD/root/usr/lib" -name '*.so.*' -printf '%h\n' | sort -u | tr '\n' ':')
    zcat "root/boot/xen-$XEN-amd64.gz" >out/xen
    kernel
    programs
    data
    /usr/bin/python3 "$VGPU_TOP/scripts/mkcpio.py" out/base.cpio <manifest
    cut -f2 manifest | sort -u >out/files
    (cd debs && ls -- *.deb) >out/packages
    publish out "$place"
    cd "$VGPU_TOP"
}

[ $# -eq 0 ] || die "usage: scripts/build-xen-dom0.sh"
need apt-get xen
need dpkg-deb xen
need xz xen
temp_beside "$VGPU_CACHE/xen/uris"
# shellcheck disable=SC2086 # package names
logged "$TEMP/log" apt_empty "$TEMP/debs" --print-uris install $PACKAGES ||
    die "apt cannot find Xen's packages: run 'apt-get update'"
place=$VGPU_CACHE/xen/dom0-$XEN-$({
    grep -o '[^/ ]*_[^/ ]*\.deb ' "$TEMP/log" | sort -u
    cat -- "$VGPU_TOP/scripts/build-xen-dom0.sh" "$VGPU_TOP/scripts/mkcpio.py"
} | hash_text)
lock_entry "$place"
[ -d "$place" ] || build
printf '%s\n' "$place"
