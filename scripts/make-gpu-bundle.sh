#!/bin/sh
# SPDX-License-Identifier: MIT
#
# make-gpu-bundle.sh: pack gpu-check with all that it needs into $BUILD/gpu-bundle.tar.gz; prints
# its path.  Called by `make gpu-bundle`, which builds the programs first.
#
# The target needs an x86-64 Linux with a glibc of GLIBC_FLOOR or newer, python3 and the NVIDIA driver.
# In the bundle:
#
#   gpu-check   what to run there; options as scripts/gpu-check.py
#   bin/        vgpud, vgpuctl, vgpu-gpu-check: everything but glibc linked statically
#   data/       PTX, vectors, kernels
#   qemu/       QEMU with the device, its loader and libraries, glibc included, and its firmware
#   guest/      the kernel and the initramfs
#   scripts/, tests/lib/   the Python that drives it
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

GLIBC_FLOOR=2.34
MAX_BYTES=$((60 * 1024 * 1024))

# symbols_within PROGRAM: it asks for no glibc newer than the floor, and for no other library
symbols_within()
{
    _newest=$(objdump -T "$1" | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -V | tail -n 1)
    [ "$(printf '%s\n%s\n' "$_newest" "$GLIBC_FLOOR" | sort -V | tail -n 1)" = "$GLIBC_FLOOR" ] ||
        die "$1 needs glibc $_newest, the floor is $GLIBC_FLOOR"
    _others=$(objdump -p "$1" | sed -n 's/^ *NEEDED *//p' |
        grep -vE '^(libc|libm|libdl|librt|libpthread|ld-linux-x86-64)\.so\.' || true)
    [ -z "$_others" ] || die "$1 is not portable: it needs $_others"
}

programs()
{
    mkdir -p "$top/bin"
    for _name in vgpud vgpuctl vgpu-gpu-check; do
        symbols_within "$build/portable/rel/bin/$_name"
        strip -o "$top/bin/$_name" "$build/portable/rel/bin/$_name"
    done
}

data()
{
    mkdir -p "$top/data/gpu" "$top/data/vectors" "$top/data/kernels" "$top/scripts" "$top/tests/lib"
    cp "$VGPU_TOP"/tests/gpu/kernels/gpu.ptx "$top/data/gpu/"
    cp "$VGPU_TOP"/tests/conformance/vectors/*.ptx "$VGPU_TOP"/tests/conformance/vectors/*.vec "$top/data/vectors/"
    cp "$VGPU_TOP"/tests/kernels/*.ptx "$top/data/kernels/"
    cp "$VGPU_TOP"/scripts/gpu-check.py "$VGPU_TOP"/scripts/gpu-check-vm.py "$top/scripts/"
    cp "$VGPU_TOP"/tests/lib/*.py "$top/tests/lib/"
    # vm.py makes an archive of a test's own files with it
    cp "$VGPU_TOP"/scripts/mkcpio.py "$top/scripts/"
}

# QEMU runs with the loader and the libraries it was built with, whatever the target has.
qemu()
{
    _qemu=$("$VGPU_TOP/scripts/build-qemu.sh")
    mkdir -p "$top/qemu/lib" "$top/qemu/share"
    cp "$_qemu" "$top/qemu/qemu-system-x86_64"
    ldd "$_qemu" >"$TEMP/ldd"
    ! grep -q 'not found' "$TEMP/ldd" || die "QEMU lacks libraries: $(grep 'not found' "$TEMP/ldd")"
    sed -n 's/^\t\(.* => \)\{0,1\}\(\/[^ ]*\) (.*/\2/p' "$TEMP/ldd" | while read -r _library; do
        cp -L "$_library" "$top/qemu/lib/"
    done
    for _file in bios-256k.bin kvmvapic.bin linuxboot_dma.bin; do
        for _dir in /usr/share/qemu /usr/share/seabios; do
            [ ! -e "$_dir/$_file" ] || cp -L "$_dir/$_file" "$top/qemu/share/"
        done
        [ -e "$top/qemu/share/$_file" ] || die "no $_file: run scripts/setup.sh vm"
    done
    cat >"$top/qemu/qemu" <<'END'
#!/bin/sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
exec "$here/lib/ld-linux-x86-64.so.2" --library-path "$here/lib" \
    "$here/qemu-system-x86_64" -L "$here/share" "$@"
END
    chmod 755 "$top/qemu/qemu"
}

guest()
{
    mkdir -p "$top/guest"
    cp "$("$VGPU_TOP/scripts/get-kernel.sh" cloud-amd64 vmlinuz)" "$top/guest/vmlinuz"
    cp "$build/vm/cloud-amd64.cpio" "$top/guest/initramfs.cpio"
}

launcher()
{
    cat >"$top/gpu-check" <<'END'
#!/bin/sh
# Checks and measures vgpu on this machine's NVIDIA GPU; --help lists the options.
# Results go to ./gpu-check-results.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
export VGPU_QEMU="$here/qemu/qemu" VGPU_KERNEL_CLOUD_AMD64="$here/guest/vmlinuz" \
    VGPU_INITRD_CLOUD_AMD64="$here/guest/initramfs.cpio"
exec python3 -B "$here/scripts/gpu-check.py" --programs "$here/bin" --data "$here/data" \
    --build gpu-check-results --results gpu-check-results "$@"
END
    chmod 755 "$top/gpu-check"
}

[ $# -eq 0 ] || die "usage: scripts/make-gpu-bundle.sh"
for tool in objdump strip tar gzip; do
    need "$tool" guest
done
build=$(CDPATH='' cd -- "${BUILD:-build}" && pwd -P)
temp_beside "$build/gpu-bundle"
top=$TEMP/gpu-bundle
mkdir -p "$top"
programs
data
qemu
guest
launcher
tar -C "$TEMP" --sort=name --owner=0 --group=0 --numeric-owner -czf "$TEMP/gpu-bundle.tar.gz" gpu-bundle
bytes=$(wc -c <"$TEMP/gpu-bundle.tar.gz")
[ "$bytes" -lt "$MAX_BYTES" ] || die "the bundle has $bytes bytes, the limit is $MAX_BYTES"
mv "$TEMP/gpu-bundle.tar.gz" "$build/gpu-bundle.tar.gz"
say "gpu-bundle.tar.gz: $((bytes / 1024 / 1024)) MiB, for glibc $GLIBC_FLOOR and newer"
printf '%s\n' "$build/gpu-bundle.tar.gz"
