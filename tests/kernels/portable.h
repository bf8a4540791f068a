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
#define SHFL_IDX_I(v, l) __shfl_sync(0xffffffffu, v, l)
#define BALLOT(p) __ballot_sync(0xffffffffu, p)
#define POPC(x) __popc(x)
#define FMAF(a, b, c) fmaf(a, b, c)
#define SQRTF(x) __fsqrt_rn(x)
#define ADD_I(p, v) atomicAdd((int *)(p), (int)(v))
#define ADD_U(p, v) atomicAdd((u32 *)(p), (u32)(v))
#define UMULHI(a, b) __umulhi(a, b)
#define CAS_U(p, old, new) atomicCAS(p, old, new)
#define CAS_L(p, old, new) atomicCAS(p, old, new)
#define EXCH_U(p, v) atomicExch((u32 *)(p), (u32)(v))
#define MIN_U(p, v) atomicMin((u32 *)(p), (u32)(v))
#define ADD_F(p, v) atomicAdd((float *)(p), (float)(v))
#define FENCE() __threadfence()
#define SYNC_WARP() __syncwarp()
#define EXP2F(x) exp2f_approx(x)
#define COSF(x) __cosf(x)
#define SINF(x) __sinf(x)
#define RSQRTF(x) rsqrtf(x)
static __device__ inline float exp2f_approx(float x)
{
    asm("ex2.approx.f32 %0, %0;" : "+f"(x));
    return x;
}
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
#define SHFL_IDX_I(v, l) __nvvm_shfl_sync_idx_i32(0xffffffffu, v, l, 0x1f)
#define BALLOT(p) __nvvm_vote_ballot_sync(0xffffffffu, p)
#define POPC(x) __builtin_popcount(x)
#define FMAF(a, b, c) __builtin_fmaf(a, b, c)
#define SQRTF(x) __nvvm_sqrt_rn_f(x)
#define ADD_I(p, v) __nvvm_atom_add_gen_i((int *)(p), (int)(v))
#define ADD_U(p, v) __nvvm_atom_add_gen_i((int *)(p), (int)(v))
#define UMULHI(a, b) ((u32)(((u64)(a) * (b)) >> 32))
#define CAS_U(p, old, new) ((u32)__nvvm_atom_cas_gen_i((int *)(p), (int)(old), (int)(new)))
#define CAS_L(p, old, new) ((u64)__nvvm_atom_cas_gen_ll((long long *)(p), (long long)(old), (long long)(new)))
#define EXCH_U(p, v) ((u32)__nvvm_atom_xchg_gen_i((int *)(p), (int)(v)))
#define MIN_U(p, v) __nvvm_atom_min_gen_ui((u32 *)(p), (u32)(v))
#define ADD_F(p, v) __nvvm_atom_add_gen_f((float *)(p), (float)(v))
#define FENCE() __nvvm_membar_gl()
#define SYNC_WARP() __nvvm_bar_warp_sync(0xffffffffu)
#define EXP2F(x) __nvvm_ex2_approx_f(x)
#define COSF(x) __nvvm_cos_approx_f(x)
#define SINF(x) __nvvm_sin_approx_f(x)
#define RSQRTF(x) __nvvm_rsqrt_approx_f(x)
#endif

/* Words of `out` from here on hold no result: the tests hand them over zeroed. */
#define SCRATCH 4096

#define GLOBAL_ID (blockIdx.x * blockDim.x + threadIdx.x)

#endif
