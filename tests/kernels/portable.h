/* SPDX-License-Identifier: MIT */
/* What nvcc has built in and clang, without CUDA's headers, has not. */
#ifndef VGPU_TESTS_KERNELS_PORTABLE_H
#define VGPU_TESTS_KERNELS_PORTABLE_H

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned char u8;

#ifdef __NVCC__
#define SHFL_DOWN_F(v, d) __shfl_down_sync(0xffffffffu, v, d)
#define SHFL_UP_I(v, d) __shfl_up_sync(0xffffffffu, v, d)
#define SHFL_XOR_I(v, d) __shfl_xor_sync(0xffffffffu, v, d)
#define SYNC() __syncthreads()
#define BALLOT(p) __ballot_sync(0xffffffffu, p)
#define POPC(x) __popc(x)
#define FMAF(a, b, c) fmaf(a, b, c)
#define SQRTF(x) __fsqrt_rn(x)
#define ADD_I(p, v) atomicAdd((int *)(p), (int)(v))
#define ADD_U(p, v) atomicAdd((u32 *)(p), (u32)(v))
#define UMULHI(a, b) __umulhi(a, b)
#else
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#include <__clang_cuda_builtin_vars.h>
#define SHFL_DOWN_F(v, d) __nvvm_shfl_sync_down_f32(0xffffffffu, v, d, 0x1f)
#define SHFL_UP_I(v, d) __nvvm_shfl_sync_up_i32(0xffffffffu, v, d, 0)
#define SHFL_XOR_I(v, d) __nvvm_shfl_sync_bfly_i32(0xffffffffu, v, d, 0x1f)
#define SYNC() __syncthreads()
#define BALLOT(p) __nvvm_vote_ballot_sync(0xffffffffu, p)
#define POPC(x) __builtin_popcount(x)
#define FMAF(a, b, c) __builtin_fmaf(a, b, c)
#define SQRTF(x) __nvvm_sqrt_rn_f(x)
#define ADD_I(p, v) __nvvm_atom_add_gen_i((int *)(p), (int)(v))
#define ADD_U(p, v) __nvvm_atom_add_gen_i((int *)(p), (int)(v))
#define UMULHI(a, b) ((u32)(((u64)(a) * (b)) >> 32))
#endif

#define GLOBAL_ID (blockIdx.x * blockDim.x + threadIdx.x)

#endif
