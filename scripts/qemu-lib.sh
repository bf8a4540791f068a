# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# The QEMU tree shared by build-qemu.sh and build-plugin.sh; sourced after
# lib.sh.
#
# A cache entry qemu/VERSION-KEY holds a private copy of the source tree
# (tree/), into which our device is laid as hw/misc/vgpu, and a build folder
# (build/).  KEY covers what decides the configuration - this file - but
# not the device's sources: those are copied in when they differ, so that a
# touched file rebuilds incrementally.  The entry is locked while in use.
#
# qemu-device/sources.list names the device's files, one per line, relative to
# qemu-device; blank lines and #-comments are skipped.  *.c is compiled, the
# rest only copied.  The ABI headers are beside them as include/vgpu.

QEMU_DEVICE=$VGPU_TOP/qemu-device

# The machine that our guests need and nothing else.  A guest of the reference
# QEMU sees: q35, serial ports, PCIe root ports for hot-plug, a vIOMMU, ours.
qemu_device_list()
{
    cat <<'MAK'
CONFIG_PCI_DEVICES=n
CONFIG_TEST_DEVICES=n
CONFIG_Q35=y
CONFIG_VTD=y
CONFIG_PCIE_PORT=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_ISA_DEBUG=y
CONFIG_VGPU_PCI=y
MAK
}

qemu_kconfig()
{
    printf 'config VGPU_PCI\n    bool\n    depends on PCI && MSI_NONBROKEN\n'
}

# qemu_configure_options: one per line.  Plug-ins are enabled because the stock
# QEMU has them, and the plug-in is compiled with these headers.
qemu_configure_options()
{
    cat <<'OPTIONS'
--meson=/usr/bin/meson
--target-list=x86_64-softmmu
--without-default-features
--without-default-devices
--with-devices-x86_64=vgpu
--enable-tcg
--enable-kvm
--enable-plugins
--disable-docs
--disable-tools
--disable-debug-info
--disable-werror
--disable-install-blobs
--audio-drv-list=
--with-git-submodules=ignore
--firmwarepath=/usr/share/qemu:/usr/share/seabios
OPTIONS
}

# qemu_configuration: all that decides how the tree is configured
qemu_configuration()
{
    qemu_configure_options
    qemu_device_list
    qemu_kconfig
}

# qemu_device_files: the device's files, relative to QEMU_DEVICE
qemu_device_files()
{
    [ -f "$QEMU_DEVICE/sources.list" ] || return 0
    sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$QEMU_DEVICE/sources.list"
}

# qemu_device_hash: digest of everything the overlay is made of
qemu_device_hash()
{
    (
        cd "$VGPU_TOP" || exit
        set --
        for _rel in $(qemu_device_files); do
            set -- "$@" "qemu-device/$_rel"
        done
        for _rel in include/vgpu/*.h; do
            [ -f "$_rel" ] && set -- "$@" "$_rel"
        done
        {
            qemu_configuration
            qemu_meson_build
            [ $# -eq 0 ] || hash_of "$@"
        } | hash_text
    )
}

qemu_meson_build()
{
    printf "vgpu_inc = declare_dependency(include_directories: include_directories('.', 'include'))\n"
    printf "softmmu_ss.add(when: ['CONFIG_VGPU_PCI', vgpu_inc], if_true: files(\n"
    for _rel in $(qemu_device_files); do
        case $_rel in
        *.c) printf "  '%s',\n" "$_rel" ;;
        esac
    done
    printf '))\n'
}

# qemu_hook FILE LINE: append LINE to a file of the tree, once
qemu_hook()
{
    grep -qxF -- "$2" "$1" || printf '%s\n' "$2" >>"$1"
}

# qemu_overlay TREE: bring the device in the tree up to date; files that are
# gone here go there too
qemu_overlay()
{
    _into=$1/hw/misc/vgpu
    mkdir -p "$_into/include/vgpu"
    qemu_kconfig >"$_into/Kconfig.new"
    qemu_meson_build >"$_into/meson.build.new"
    for _rel in Kconfig meson.build; do
        copy_if_changed "$_into/$_rel.new" "$_into/$_rel"
        rm -f "$_into/$_rel.new"
    done
    _keep=" Kconfig meson.build "
    for _rel in $(qemu_device_files); do
        [ -f "$QEMU_DEVICE/$_rel" ] || die "qemu-device/sources.list names $_rel, which is not there"
        mkdir -p "$(dirname "$_into/$_rel")"
        copy_if_changed "$QEMU_DEVICE/$_rel" "$_into/$_rel"
        _keep="$_keep$_rel "
    done
    for _src in "$VGPU_TOP"/include/vgpu/*.h; do
        [ -f "$_src" ] || continue
        copy_if_changed "$_src" "$_into/include/vgpu/${_src##*/}"
        _keep="${_keep}include/vgpu/${_src##*/} "
    done
    ( cd "$_into" && find . -type f ) | sed 's|^\./||' | while read -r _rel; do
        case $_keep in
        *" $_rel "*) ;;
        *) rm -f -- "$_into/$_rel" ;;
        esac
    done
    qemu_device_list >"$1/configs/devices/x86_64-softmmu/vgpu.mak"
    qemu_hook "$1/hw/misc/meson.build" "subdir('vgpu')"
    qemu_hook "$1/hw/misc/Kconfig" "source vgpu/Kconfig"
}

# qemu_entry: prepare the cache entry and lock it; sets QEMU_ENTRY.  On return
# the tree is overlaid and build/ is configured.
qemu_entry()
{
    need ninja qemu
    need pkg-config qemu
    [ -x /usr/bin/meson ] || die "meson is not installed: run scripts/setup.sh qemu"
    for _module in glib-2.0 pixman-1; do
        pkg-config --exists "$_module" ||
            die "the headers of $_module are not installed: run scripts/setup.sh qemu"
    done
    _source=$("$VGPU_TOP/scripts/get-source.sh" qemu-system-x86)
    QEMU_ENTRY=$VGPU_CACHE/qemu/${_source##*/}-$(qemu_configuration | hash_text)
    lock_entry "$QEMU_ENTRY"
    if [ ! -d "$QEMU_ENTRY/tree" ]; then
        temp_beside "$QEMU_ENTRY/tree"
        say "copying the source tree"
        cp -a -- "$_source/." "$TEMP"
        publish "$TEMP" "$QEMU_ENTRY/tree"
    fi
    qemu_overlay "$QEMU_ENTRY/tree"
    if [ ! -e "$QEMU_ENTRY/build/.configured" ]; then
        say "configuring ${_source##*/} (about 10 s)"
        rm -rf -- "$QEMU_ENTRY/build"
        mkdir -p "$QEMU_ENTRY/build"
        # shellcheck disable=SC2046 # options, without blanks
        ( cd "$QEMU_ENTRY/build" &&
            logged ../configure.log ../tree/configure $(qemu_configure_options) ) ||
            die "QEMU does not configure"
        touch "$QEMU_ENTRY/build/.configured"
    fi
}
