// SPDX-License-Identifier: MIT
// nvcc: sm_90
/*
 * What CUDA's own headers make of recent GPUs: cooperative groups, asynchronous copies, mbarriers, half precision,
 * scoped atomics, and libdevice. All have the form kernel(const u32 *in, u32 *out, int n), blocks of 256 threads.
 * References: tests/unit/exec/cpu/programs_modern.c.
 */
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cuda/atomic>
#include <cuda/barrier>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>

#include "portable.h"

namespace cg = cooperative_groups;

/* Sums of tiles of 8 threads, scans of warps, and the lane's place among the odd ones. */
extern "C" __global__ void groups(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    auto block = cg::this_thread_block();
    auto tile = cg::tiled_partition<8>(block);
    auto warp = cg::tiled_partition<32>(block);
    u32 v = i < n ? in[i] : 0;
    u32 sum = cg::reduce(tile, v, cg::plus<u32>()), most = cg::reduce(warp, v, cg::greater<u32>());
    u32 before = cg::exclusive_scan(warp, v), rank = 0;

    if (v & 1) {
        auto odd = cg::coalesced_threads();

        rank = odd.thread_rank() * 100 + odd.size();
    }
    block.sync();
    if (i < n)
        out[i] = sum + most * 3 + before * 5 + rank * 7;
}

/* Sums over the whole warp by the instructions for it. */
extern "C" __global__ void warp_reductions(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    u32 v = i < n ? in[i] : 0;
    u32 r = __reduce_add_sync(~0u, v) ^ __reduce_min_sync(~0u, v) * 3 ^ (u32)__reduce_max_sync(~0u, (int)v) * 5 ^
            __reduce_and_sync(~0u, v | 0xffff) * 7 ^ __reduce_or_sync(~0u, v & 0x10101010u) * 9 ^
            __reduce_xor_sync(~0u, v) * 11;
    int same;
    u32 all = __match_all_sync(~0u, v & 0, &same);

    if (i < n)
        out[i] = r + all + same;
}

/* A pipeline of two stages: the next 256 words come while these are worked on. One block; n is 4096. */
extern "C" __global__ void pipelined(const u32 *in, u32 *out, int n)
{
    __shared__ __align__(16) u32 stage[2][256];
    int t = threadIdx.x;

    if (blockIdx.x)
        return;
    if (t < 64)
        __pipeline_memcpy_async(&stage[0][t * 4], &in[t * 4], 16);
    __pipeline_commit();
    for (int k = 0; k < n / 256; k++) {
        if (k + 1 < n / 256 && t < 64)
            __pipeline_memcpy_async(&stage[(k + 1) % 2][t * 4], &in[(k + 1) * 256 + t * 4], 16);
        __pipeline_commit();
        __pipeline_wait_prior(1);
        __syncthreads();
        out[k * 256 + t] = stage[k % 2][255 - t] * 2 + stage[k % 2][t ^ 1];
        __syncthreads();
    }
}

/* Half of the block makes, the other half takes; two slots, an mbarrier for full and one for empty each. */
extern "C" __global__ void producer_consumer(const u32 *in, u32 *out, int n)
{
    using barrier = cuda::barrier<cuda::thread_scope_block>;
    __shared__ barrier full[2], empty[2];
    __shared__ u32 slot[2][128];
    int t = threadIdx.x;

    if (blockIdx.x)
        return;
    if (t < 2) {
        init(&full[t], 256);
        init(&empty[t], 256);
    }
    __syncthreads();
    if (t < 128) {
        for (int k = 0; k < n / 128; k++) {
            if (k >= 2)
                empty[k % 2].arrive_and_wait();
            slot[k % 2][t] = in[k * 128 + t] ^ (u32)k;
            (void)full[k % 2].arrive();
        }
    } else {
        t -= 128;
        for (int k = 0; k < n / 128; k++) {
            full[k % 2].arrive_and_wait();
            out[k * 128 + t] = slot[k % 2][127 - t] + 1;
            if (k + 2 < n / 128)
                (void)empty[k % 2].arrive();
        }
    }
}

/* Dot products in halves, two lanes of a register; every value is a small integer, so that all is exact. */
extern "C" __global__ void half_dot(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    __half2 sum = __float2half2_rn(0);

    if (i >= n)
        return;
    for (int k = 0; k < 8; k++) {
        u32 v = in[(i + k) % n];
        __half2 a = __halves2half2(__int2half_rn(v & 7), __int2half_rn(v >> 3 & 7));
        __half2 b = __halves2half2(__int2half_rn((int)(v >> 6 & 15) - 8), __int2half_rn((int)(v >> 10 & 15) - 8));

        sum = __hfma2(a, b, sum);
        if (__hgt(__low2half(a), __high2half(b)))
            sum = __hadd2(sum, __lows2half2(a, b));
    }
    out[i] = (u32)__half2int_rn(__low2half(sum)) << 16 ^ (u32)__half2int_rz(__high2half(sum));
}

/* Floats rounded to bfloat16 and back, by each way that the header has. */
extern "C" __global__ void bfloat_round(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        float f = __uint_as_float((in[i] & 0x8fffffffu) | 0x30000000u);
        u32 near = __bfloat16_as_ushort(__float2bfloat16_rn(f)), zero = __bfloat16_as_ushort(__float2bfloat16_rz(f));

        out[i] = near << 16 | zero;
    }
}

/* Counters and locks through cuda::atomic_ref with each memory order. */
extern "C" __global__ void scoped_atomics(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    cuda::atomic_ref<u32, cuda::thread_scope_device> total(out[0]), turns(out[SCRATCH]), best(out[1]);
    cuda::atomic_ref<u32, cuda::thread_scope_block> mine(out[2 + blockIdx.x]);
    u32 seen;

    if (i >= n)
        return;
    total.fetch_add(in[i], cuda::memory_order_relaxed);
    mine.fetch_xor(in[i], cuda::memory_order_acq_rel);
    best.fetch_max(in[i], cuda::memory_order_seq_cst);
    seen = turns.load(cuda::memory_order_acquire);
    while (!turns.compare_exchange_weak(seen, seen + 1, cuda::memory_order_release, cuda::memory_order_relaxed))
        ;
    cuda::atomic_thread_fence(cuda::memory_order_seq_cst, cuda::thread_scope_device);
    if (seen + 1 == (u32)n) /* the last one sees what all did */
        out[100] = total.load(cuda::memory_order_acquire) + best.load();
}

/* libdevice: the functions of math.h in single precision, a different one for each i % 16. */
extern "C" __global__ void math_single(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    float x, r;

    if (i >= n)
        return;
    x = (int)(in[i] % 20001) * 1e-3f - 10;
    switch (i % 16) {
    case 0: r = sinf(x); break;
    case 1: r = cosf(x * 1000); break;
    case 2: r = tanf(x); break;
    case 3: r = expf(x); break;
    case 4: r = logf(x * x + 0.1f); break;
    case 5: r = powf(x * x, 1.7f); break;
    case 6: r = atan2f(x, 2.5f); break;
    case 7: r = erff(x); break;
    case 8: r = tgammaf(x * 0.3f + 4); break;
    case 9: r = cbrtf(x); break;
    case 10: r = hypotf(x, 3); break;
    case 11: r = fmodf(x, 0.7f); break;
    case 12: r = asinhf(x); break;
    case 13: r = ldexpf(x, 5) + ceilf(x); break;
    case 14: r = remainderf(x, 3); break;
    default: r = log1pf(x * x) + exp2f(x) + rintf(x); break;
    }
    out[i] = __float_as_uint(r);
}

/* The same in double, rounded to single in the end. */
extern "C" __global__ void math_double(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    double x, r;

    if (i >= n)
        return;
    x = (int)(in[i] % 20001) * 1e-3 - 10;
    switch (i % 8) {
    case 0: r = sin(x * 1e5); break;
    case 1: r = exp(x); break;
    case 2: r = log(x * x + 0.1); break;
    case 3: r = pow(x * x, -0.3); break;
    case 4: r = atan(x) + tanh(x); break;
    case 5: r = erfc(x * 0.2); break;
    case 6: r = lgamma(x * x + 1); break;
    default: r = cbrt(x) + sqrt(x * x + 1) + fmod(x, 0.3); break;
    }
    out[i] = __float_as_uint((float)r);
}
