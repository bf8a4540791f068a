# SPDX-License-Identifier: MIT
#
# vgpu-gpu-check: what needs an NVIDIA driver; run by scripts/gpu-check.py.  Needs vgpud in the same bin/.

$(eval $(call vgpu_prog,vgpu-gpu-check,$(wildcard tests/gpu/*.c) tests/lib/ptx_random.c tests/lib/vectors.c host-backend/exec/cuda/cu_load.c,guestsim,-ldl -lm -lrt -lpthread,-Itests/lib))

# gpu.ptx anew, after a change of gpu.cu: with clang, in a PTX that drivers since CUDA 11 know.
.PHONY: gpu-kernels
gpu-kernels:
	clang -S --cuda-device-only -nocudainc -nocudalib -x cuda --cuda-gpu-arch=sm_75 \
	    -Wno-unknown-cuda-version -Xclang -target-feature -Xclang +ptx70 -O3 \
	    -o tests/gpu/kernels/gpu.ptx tests/gpu/kernels/gpu.cu
