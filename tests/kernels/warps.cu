// SPDX-License-Identifier: MIT
/*
 * Warps that vote, match and exchange, atomic operations of each kind, packed integers, graphs and dynamic programs.
 * All have the form kernel(const u32 *in, u32 *out, int n), blocks of 256 threads; words of `out` from SCRATCH on are
 * zero at first and the kernel's own. References: tests/unit/exec/cpu/programs_warps.c.
 */
#include "portable.h"

static __device__ inline u32 lane_id(void)
{
    return threadIdx.x & 31;
}

/* Who in the warp holds my value: match.any, and a leader that adds for all (warp-aggregated atomics). */
extern "C" __global__ void aggregated_histogram(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    u32 bin, peers, mask = BALLOT(i < n);

    if (i >= n)
        return;
    bin = in[i] % 64;
    asm volatile("match.any.sync.b32 %0, %1, %2;" : "=r"(peers) : "r"(bin), "r"(mask));
    if (lane_id() == POPC((peers & (0u - peers)) - 1))
        ADD_U(&out[bin % n], POPC(peers));
}

/* Five reductions of each warp by exchanges, in butterflies. */
extern "C" __global__ void reduce_warp(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    u32 v = i < n ? in[i] : 0, r[5] = {v, v, v, v, v};

    for (int d = 1; d < 32; d *= 2) {
        u32 o[5];

        for (int k = 0; k < 5; k++)
            o[k] = SHFL_XOR_I(r[k], d);
        r[0] += o[0];
        r[1] = r[1] < o[1] ? r[1] : o[1];
        r[2] = (int)r[2] > (int)o[2] ? r[2] : o[2];
        r[3] &= o[3];
        r[4] ^= o[4];
    }
    if (i < n)
        out[i] = r[i % 5];
}

/* vote.all, any, uni and ballot of three predicates. */
extern "C" __global__ void votes(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    u32 v = i < n ? in[i] : 1, all, any, uni;

    asm volatile("{ .reg .pred p, q; setp.ne.u32 p, %1, 0; vote.sync.all.pred q, p, 0xffffffff; selp.u32 %0, 1, 0, q; }"
                 : "=r"(all)
                 : "r"(v & 15));
    asm volatile("{ .reg .pred p, q; setp.eq.u32 p, %1, 0; vote.sync.any.pred q, p, 0xffffffff; selp.u32 %0, 1, 0, q; }"
                 : "=r"(any)
                 : "r"(v & 63));
    asm volatile("{ .reg .pred p, q; setp.gt.u32 p, %1, 3; vote.sync.uni.pred q, p, 0xffffffff; selp.u32 %0, 1, 0, q; }"
                 : "=r"(uni)
                 : "r"(v & 127));
    v = BALLOT(v & 1);
    if (i < n)
        out[i] = v ^ all << 1 ^ any << 2 ^ uni << 3;
}

/* 32 x 32 bits turned over within a warp: five exchanges. */
extern "C" __global__ void transpose_bits(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    u32 x = i < n ? in[i] : 0, low = 0x0000ffffu;

    for (int d = 16; d; d /= 2, low ^= low << d) {
        u32 y = SHFL_XOR_I(x, d);

        x = lane_id() & d ? (x & ~low) | (y & ~low) >> d : (x & low) | (y & low) << d;
    }
    if (i < n)
        out[i] = x;
}

#define ATOM32(op, p, v) asm volatile("red.global." op " [%0], %1;" ::"l"(p), "r"(v) : "memory")
#define ATOM64(op, p, v) asm volatile("red.global." op " [%0], %1;" ::"l"(p), "l"(v) : "memory")

/* The 32- and 64-bit reductions that give from zeros what does not depend on their order. */
extern "C" __global__ void atomics(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    u64 *wide = (u64 *)(out + 512);
    u32 v;
    u64 w;

    if (i >= n || n < 4096)
        return;
    v = in[i];
    w = (u64)v << 32 | (v ^ 0x5a5a5a5au);
    ATOM32("add.u32", out + i % 4, v);
    ATOM32("max.u32", out + 8 + i % 4, v);
    ATOM32("min.s32", out + 12 + i % 4, v);
    ATOM32("max.s32", out + 16 + i % 4, v);
    ATOM32("or.b32", out + 20 + i % 64, v & 0x11111111u);
    ATOM32("xor.b32", out + 84 + i % 4, v);
    ATOM32("inc.u32", out + 88 + i % 4, 999u);
    ATOM32("dec.u32", out + 92 + i % 4, 99u);
    ATOM64("add.u64", wide + i % 4, w);
    ATOM64("max.u64", wide + 8 + i % 4, w);
    ATOM64("min.s64", wide + 12 + i % 4, w);
    ATOM64("max.s64", wide + 16 + i % 4, w);
    ATOM64("xor.b64", wide + 20 + i % 4, w);
    ATOM64("or.b64", wide + 24 + i % 64, w & 0x1111111111111111ull);
}

/* A product of signed bytes, four at a time: 32 x 32 blocks of 32 bytes, as quantised networks have it. */
extern "C" __global__ void matmul_int8(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID, row = i / 64, col = i % 64, sum = 0;

    for (int k = 0; k < 16; k++)
        asm("dp4a.s32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(in[row * 16 + k]), "r"(in[2048 + col * 16 + k]));
    asm("dp2a.lo.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(in[row]), "r"(in[col]));
    if (i < n)
        out[i] = (u32)sum;
}

/* Breadth-first levels of a graph where i leads to two others; one block, all resident. */
extern "C" __global__ void bfs_levels(const u32 *in, u32 *out, int n)
{
    __shared__ int found;

    if (blockIdx.x)
        return;
    for (int i = threadIdx.x; i < n; i += 256)
        out[i] = i ? 0xffffffffu : 0;
    for (u32 level = 0;; level++) {
        SYNC();
        if (threadIdx.x == 0)
            found = 0;
        SYNC();
        for (int i = threadIdx.x; i < n; i += 256)
            if (out[i] == level)
                for (int k = 0; k < 2; k++) {
                    u32 to = (k ? in[i] >> 12 : in[i]) % n;

                    if (CAS_U(&out[to], 0xffffffffu, level + 1) == 0xffffffffu)
                        found = 1;
                }
        SYNC();
        if (!found)
            return;
    }
}

/* All shortest paths of 64 nodes, one block. */
extern "C" __global__ void floyd_warshall(const u32 *in, u32 *out, int n)
{
    __shared__ u32 d[64 * 64];

    if (blockIdx.x)
        return;
    for (int i = threadIdx.x; i < 4096; i += 256)
        d[i] = in[i] % 1000 + 1;
    SYNC();
    for (int k = 0; k < 64; k++) {
        for (int i = threadIdx.x; i < 4096; i += 256) {
            u32 through = d[i / 64 * 64 + k] + d[k * 64 + i % 64];

            if (through < d[i])
                d[i] = through;
        }
        SYNC();
    }
    for (int i = threadIdx.x; i < 4096; i += 256)
        out[i] = d[i];
}

/* Edit distance of two texts of 256 letters, by diagonals; a block per pair. */
extern "C" __global__ void edit_distance(const u32 *in, u32 *out, int n)
{
    __shared__ u32 d[3][257];
    int t = threadIdx.x, base = blockIdx.x * 256;

    for (int diagonal = 0; diagonal <= 512; diagonal++) {
        u32 *now = d[diagonal % 3], *last = d[(diagonal + 2) % 3], *before = d[(diagonal + 1) % 3];

        for (int i = t; i <= 256; i += 256) { /* row i, column diagonal - i */
            int j = diagonal - i;
            u32 best;

            if (j < 0 || j > 256)
                continue;
            if (i == 0 || j == 0) {
                now[i] = (u32)(i + j);
                continue;
            }
            best = before[i - 1] + (in[(base + i - 1) % n] % 4 != in[(base + j * 7) % n] % 4);
            best = last[i] + 1 < best ? last[i] + 1 : best;
            now[i] = last[i - 1] + 1 < best ? last[i - 1] + 1 : best;
        }
        SYNC();
    }
    if (t == 0)
        out[blockIdx.x] = d[512 % 3][256];
}

/* 0/1 knapsack of 40 things, capacity 255: a block's row in shared memory. */
extern "C" __global__ void knapsack(const u32 *in, u32 *out, int n)
{
    __shared__ u32 best[2][256];
    int t = threadIdx.x, at = 0;

    best[0][t] = 0;
    SYNC();
    for (int k = 0; k < 40; k++, at = !at) {
        u32 thing = in[(blockIdx.x * 256 + k) % n], weight = thing % 50 + 1, value = thing >> 8 & 1023;
        u32 with = t >= (int)weight ? best[at][t - weight] + value : 0;

        best[!at][t] = with > best[at][t] ? with : best[at][t];
        SYNC();
    }
    if (GLOBAL_ID < n)
        out[GLOBAL_ID] = best[at][t];
}

/* Conway's life on 64 x 64, a bit per cell: each thread a quarter row, eight generations by one block. */
extern "C" __global__ void life(const u32 *in, u32 *out, int n)
{
    __shared__ u8 cells[2][64 * 64];
    int at = 0;

    if (blockIdx.x)
        return;
    for (int i = threadIdx.x; i < 4096; i += 256)
        cells[0][i] = in[i] >> 7 & 1;
    SYNC();
    for (int step = 0; step < 8; step++, at = !at) {
        for (int i = threadIdx.x; i < 4096; i += 256) {
            int around = 0;

            for (int k = 0; k < 9; k++)
                around += cells[at][(i / 64 + k / 3 + 63) % 64 * 64 + (i + k % 3 + 63) % 64];
            cells[!at][i] = around == 3 || (around == 4 && cells[at][i]);
        }
        SYNC();
    }
    for (int i = threadIdx.x; i < 4096; i += 256)
        out[i] = cells[at][i];
}

/* 128-bit products and sums with carries, as big numbers have them. */
extern "C" __global__ void wide_multiply(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    u32 r0, r1, r2, r3;

    if (i >= n)
        return;
    asm("{\n\t"
        "mul.lo.u32 %0, %4, %6;\n\t"
        "mul.hi.u32 %1, %4, %6;\n\t"
        "mad.lo.cc.u32 %1, %5, %6, %1;\n\t"
        "madc.hi.u32 %2, %5, %6, 0;\n\t"
        "mad.lo.cc.u32 %1, %4, %7, %1;\n\t"
        "madc.hi.cc.u32 %2, %4, %7, %2;\n\t"
        "addc.u32 %3, 0, 0;\n\t"
        "mad.lo.cc.u32 %2, %5, %7, %2;\n\t"
        "madc.hi.u32 %3, %5, %7, %3;\n\t"
        "sub.cc.u32 %0, %0, %5;\n\t"
        "subc.cc.u32 %1, %1, %4;\n\t"
        "subc.cc.u32 %2, %2, 0;\n\t"
        "subc.u32 %3, %3, 0;\n\t"
        "}"
        : "=&r"(r0), "=&r"(r1), "=&r"(r2), "=&r"(r3)
        : "r"(in[i]), "r"(in[(i + 1) % n]), "r"(in[(i + 2) % n]), "r"(in[(i + 3) % n]));
    out[i] = r0 ^ (r1 << 8 | r1 >> 24) ^ (r2 << 16 | r2 >> 16) ^ (r3 << 24 | r3 >> 8);
}

/* Pixels: blending, absolute differences and averages of four bytes at once, prmt and funnel shifts. */
extern "C" __global__ void pixels(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    u32 a, b, sad, mean, turned, shifted;

    if (i >= n)
        return;
    a = in[i];
    b = in[(i + 1) % n];
    asm("vabsdiff4.u32.u32.u32.add %0, %1, %2, %3;" : "=r"(sad) : "r"(a), "r"(b), "r"(i));
    asm("vavrg4.u32.u32.u32 %0, %1, %2, %3;" : "=r"(mean) : "r"(a), "r"(b), "r"(0));
    asm("prmt.b32 %0, %1, %2, 0x0527;" : "=r"(turned) : "r"(a), "r"(b));
    asm("shf.l.wrap.b32 %0, %1, %2, %3;" : "=r"(shifted) : "r"(a), "r"(b), "r"(i));
    out[i] = sad + mean * 3 + turned * 5 + shifted * 7;
}
