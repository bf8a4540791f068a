#!/bin/sh
# SPDX-License-Identifier: MIT
#
# make-kernels.sh [NAME...]: compile tests/kernels/NAME.cu or NAME.cl (all of
# them) to the PTX that is committed beside it, with clang 14 and, where it is
# installed and for CUDA C++, nvcc 13 ($NVCC).  Without contraction, so that
# plain C gives the same bits.  A file that includes CUDA's own headers is for
# nvcc alone.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "$0")/lib.sh"

NVCC=${NVCC:-/usr/local/cuda/bin/nvcc}
cd "$VGPU_TOP/tests/kernels"
[ $# -gt 0 ] || set -- *.cu *.cl

for file in "$@"; do
    name=${file%.c[ul]}
    if [ -f "$name.cl" ]; then
        clang -x cl -cl-std=CL2.0 -target nvptx64--nvidiacl -Xclang -target-cpu -Xclang sm_70 \
            -Xclang -target-feature -Xclang +ptx70 -O2 -ffp-contract=off -Wall \
            -S "$name.cl" -o "$name.clang.ptx"
        continue
    fi
    [ -f "$name.cu" ] || die "no tests/kernels/$name.cu"
    arch=$(sed -n 's,^// nvcc: ,,p' "$name.cu")
    if [ -z "$arch" ]; then
        # The PTX version is given, since clang takes another one when it finds a CUDA toolkit.
        clang -x cuda --cuda-device-only --cuda-gpu-arch=sm_70 -nocudainc -nocudalib \
            -Xclang -target-feature -Xclang +ptx70 -Wno-unknown-cuda-version \
            -O2 -ffp-contract=off -S "$name.cu" -o "$name.clang.ptx"
    fi
    if [ -x "$NVCC" ]; then
        "$NVCC" -arch="${arch:-sm_75}" -fmad=false -ptx "$name.cu" -o "$name.nvcc.ptx"
    fi
done
