// SPDX-License-Identifier: MIT
// nvcc: sm_90
/*
 * What CUDA's libraries of templates make for recent GPUs: CUB's block-wide sorts, scans and histograms, libcu++'s
 * latches, semaphores, barriers, pipelines and bulk copies, cache policies, 8-bit floating-point numbers. All have the
 * form kernel(const u32 *in, u32 *out, int n), blocks of 256 threads; n is 4096 where a block takes more than its own.
 * References: tests/unit/exec/cpu/programs_library.c.
 */
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cub/block/block_merge_sort.cuh>
#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_scan.cuh>
#include <cub/warp/warp_exchange.cuh>
#include <cuda/annotated_ptr>
#include <cuda/atomic>
#include <cuda/barrier>
#include <cuda/latch>
#include <cuda/pipeline>
#include <cuda/ptx>
#include <cuda/semaphore>
#include <cuda/std/bit>
#include <cuda/std/variant>
#include <cuda_fp8.h>

#include "portable.h"

/* Four words of each thread, by their lower 20 bits, with the places they had. */
extern "C" __global__ void radix_pairs(const u32 *in, u32 *out, int n)
{
    typedef cub::BlockRadixSort<u32, 256, 4, u32> sort;
    __shared__ typename sort::TempStorage room;
    u32 key[4], place[4];

    for (int k = 0; k < 4; k++) {
        place[k] = threadIdx.x * 4 + k;
        key[k] = in[blockIdx.x * 1024 + place[k]] & 0xfffff;
    }
    sort(room).Sort(key, place);
    for (int k = 0; k < 4; k++)
        out[blockIdx.x * 1024 + threadIdx.x * 4 + k] = key[k] * 1024 + place[k];
}

struct by_half {
    __device__ bool operator()(u32 a, u32 b) const { return (a & 0xffff) < (b & 0xffff); }
};

extern "C" __global__ void merge_stable(const u32 *in, u32 *out, int n)
{
    typedef cub::BlockMergeSort<u32, 256, 4> sort;
    __shared__ typename sort::TempStorage room;
    u32 key[4];

    for (int k = 0; k < 4; k++)
        key[k] = in[blockIdx.x * 1024 + threadIdx.x * 4 + k];
    sort(room).StableSort(key, by_half());
    for (int k = 0; k < 4; k++)
        out[blockIdx.x * 1024 + threadIdx.x * 4 + k] = key[k];
}

extern "C" __global__ void block_sums(const u32 *in, u32 *out, int n)
{
    typedef cub::BlockScan<u64, 256, cub::BLOCK_SCAN_WARP_SCANS> scan;
    typedef cub::WarpExchange<u32, 4, 32> exchange;
    __shared__ typename scan::TempStorage room;
    __shared__ typename exchange::TempStorage rooms[8];
    u32 v[4];
    u64 sum = 0, before, all;

    for (int k = 0; k < 4; k++) {
        v[k] = in[blockIdx.x * 1024 + threadIdx.x * 4 + k];
        sum += v[k];
    }
    scan(room).ExclusiveSum(sum, before, all);
    exchange(rooms[threadIdx.x / 32]).StripedToBlocked(v, v);
    for (int k = 0; k < 4; k++)
        out[blockIdx.x * 1024 + threadIdx.x * 4 + k] = v[k] ^ (u32)(before >> 3) ^ (u32)(all >> 32);
}

/* Every thread adds under a semaphore and waits at a latch: lanes of one warp wait in several places at once. */
extern "C" __global__ void latch_and_semaphore(const u32 *in, u32 *out, int n)
{
    typedef cuda::binary_semaphore<cuda::thread_scope_block> semaphore;
    typedef cuda::latch<cuda::thread_scope_block> latch;
    __shared__ alignas(16) char room[2][64];
    __shared__ u32 sum;
    semaphore *s = (semaphore *)room[0];
    latch *l = (latch *)room[1];
    int i = GLOBAL_ID;

    if (threadIdx.x == 0) {
        new (s) semaphore(1);
        new (l) latch(256);
        sum = 0;
    }
    __syncthreads();
    s->acquire();
    sum += i < n ? in[i] : 0;
    s->release();
    l->arrive_and_wait();
    if (i < n)
        out[i] = sum;
}

/* One bulk copy for the block, counted in bytes by its barrier, and one back. One block; n is 4096. */
extern "C" __global__ void bulk_copies(const u32 *in, u32 *out, int n)
{
    __shared__ alignas(128) u32 tile[1024];
    __shared__ alignas(8) char room[sizeof(cuda::barrier<cuda::thread_scope_block>)];
    auto &done = *(cuda::barrier<cuda::thread_scope_block> *)room;

    if (threadIdx.x == 0)
        init(&done, blockDim.x);
    __syncthreads();
    for (int at = 0; at < n; at += 1024) {
        if (threadIdx.x == 0)
            cuda::memcpy_async(tile, in + at, cuda::aligned_size_t<16>(sizeof(tile)), done);
        done.arrive_and_wait();
        for (int k = threadIdx.x; k < 512; k += 256) {
            u32 t = tile[k] * 3;

            tile[k] = tile[1023 - k] ^ at;
            tile[1023 - k] = t;
        }
        cuda::ptx::fence_proxy_async(cuda::ptx::space_shared);
        __syncthreads();
        if (threadIdx.x == 0) {
            cuda::ptx::cp_async_bulk(cuda::ptx::space_global, cuda::ptx::space_shared, out + at, tile, sizeof(tile));
            cuda::ptx::cp_async_bulk_commit_group();
            cuda::ptx::cp_async_bulk_wait_group(cuda::ptx::n32_t<0>());
        }
        __syncthreads();
    }
}

/* Two warps fetch, six work, two stages between them. One block; n is 4096. */
extern "C" __global__ void staged(const u32 *in, u32 *out, int n)
{
    __shared__ alignas(16) u32 stage[2][256];
    __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
    bool fetches = threadIdx.x < 64;
    auto pipe = cuda::make_pipeline(cooperative_groups::this_thread_block(), &state,
                                    fetches ? cuda::pipeline_role::producer : cuda::pipeline_role::consumer);

    for (int at = 0; at < n; at += 256) {
        u32 *tile = stage[at / 256 % 2];

        if (fetches) {
            pipe.producer_acquire();
            for (int k = threadIdx.x; k < 256; k += 64)
                cuda::memcpy_async(&tile[k], &in[at + k], sizeof(u32), pipe);
            pipe.producer_commit();
        } else {
            pipe.consumer_wait();
            for (int k = threadIdx.x - 64; k < 256; k += 192)
                out[at + k] = tile[k] ^ tile[255 - k] * 3;
            pipe.consumer_release();
        }
    }
}

/* Atomics of bytes and halves, which are loops, and memory that is to stay in a cache. */
extern "C" __global__ void small_atomics(const u32 *in, u32 *out, int n)
{
    cuda::annotated_ptr<const u32, cuda::access_property::persisting> kept(in);
    int i = GLOBAL_ID;

    if (i >= n)
        return;
    u32 v = kept[i];
    cuda::atomic_ref<u8, cuda::thread_scope_device> byte(((u8 *)out)[v & 63]);
    cuda::atomic_ref<unsigned short, cuda::thread_scope_device> half(((unsigned short *)(out + 16))[v >> 8 & 31]);
    cuda::atomic_ref<int, cuda::thread_scope_system> word(*(int *)(out + 32));
    cuda::atomic_ref<double, cuda::thread_scope_device> real(*(double *)(out + 34));

    byte.fetch_add(3, cuda::memory_order_relaxed);
    half.fetch_xor((unsigned short)v, cuda::memory_order_acq_rel);
    word.fetch_max((int)v, cuda::memory_order_seq_cst);
    real.fetch_add((double)(v & 0xffff), cuda::memory_order_relaxed);
}

extern "C" __global__ void choices(const u32 *in, u32 *out, int n)
{
    cuda::std::variant<int, u64, u8> v;
    int i = GLOBAL_ID;

    if (i >= n)
        return;
    u32 x = in[i];
    u64 w = (u64)x << 32 | ~x;

    if (x % 3 == 0)
        v = (int)x;
    else if (x % 3 == 1)
        v = w;
    else
        v = (u8)x;
    out[i] = cuda::std::visit([](auto a) -> u32 { return (u32)(a >> 3); }, v) + cuda::std::popcount(w) +
             cuda::std::countl_zero(x) * 3 + cuda::std::countr_zero(w) * 5 + cuda::std::rotl(x, 7) +
             cuda::std::bit_width(x);
}

/* Through both formats of 8 bits and back. */
extern "C" __global__ void eighths(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i >= n)
        return;
    float x = (float)(int)(in[i] & 0xffff) / 128.0f - 100.0f, y = (float)(int)(in[i] >> 16) / 65536.0f;
    __nv_fp8x2_e4m3 a(make_float2(x, y));
    __nv_fp8x2_e5m2 b(make_float2(x * 1000.0f, y));
    __half2 h = (__half2)a, g = (__half2)b;

    out[i] = (a.__x | (u32)b.__x << 16) ^ *(u32 *)&h ^ *(u32 *)&g * 3;
}

/* Tiles of four warps, whose barriers are in reserved shared memory, and groups by what the words are. */
extern "C" __global__ void tiles(const u32 *in, u32 *out, int n)
{
    namespace cg = cooperative_groups;
    __shared__ cg::block_tile_memory<256> room;
    auto block = cg::this_thread_block(room);
    auto tile = cg::tiled_partition<128>(block);
    int i = GLOBAL_ID;
    u32 v = i < n ? in[i] : 0;
    u32 sum = cg::reduce(tile, v, cg::plus<u32>()), before = cg::exclusive_scan(tile, v);
    auto alike = cg::labeled_partition(cg::tiled_partition<32>(block), v % 5);
    u32 most = cg::reduce(alike, v, cg::greater<u32>());

    if (i < n)
        out[i] = sum + before * 3 + tile.meta_group_rank() + most * 5 + alike.size() * 7;
}

/* Two and four floats at a time, whole numbers all. */
extern "C" __global__ void vector_atomics(const u32 *in, float *out, int n)
{
    int i = GLOBAL_ID;

    if (i >= n)
        return;
    float v = (float)(in[i] & 255);
    float2 old = atomicAdd((float2 *)out + (in[i] >> 8 & 3), make_float2(v, 1));

    atomicAdd((float4 *)out + 4, make_float4(v, 1, 2, old.y >= 0));
}
