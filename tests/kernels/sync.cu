// SPDX-License-Identifier: MIT
/*
 * Threads that wait for one another and share structures: locks, queues, tables, lists, calls through pointers. All
 * have the form kernel(const u32 *in, u32 *out, int n); words of `out` from SCRATCH on are zero at first and the
 * kernel's own. References: tests/unit/exec/cpu/programs_sync.c.
 */
#include "portable.h"

/* Open addressing with linear probing: 8192 slots of key and count. out[i]: how often in[i] % 1000 was put in. */
extern "C" __global__ void hash_table(const u32 *in, u32 *out, int n)
{
    u32 *keys = out + SCRATCH, *counts = keys + 2048;
    int i = GLOBAL_ID;

    if (i < n) {
        u32 key = in[i] % 1000 + 1, slot = key * 0x9e3779b1u >> 21;

        for (;; slot = (slot + 1) & 2047) {
            u32 seen = CAS_U(&keys[slot], 0, key);

            if (seen == 0 || seen == key)
                break;
        }
        ADD_U(&counts[slot], 1);
    }
    FENCE();
    SYNC();
    if (threadIdx.x == 0) { /* all blocks are resident: a barrier of the grid */
        ADD_U(out + SCRATCH + 4096, 1);
        while (*(volatile u32 *)(out + SCRATCH + 4096) < gridDim.x)
            ;
    }
    SYNC();
    if (i < n) {
        u32 key = in[i] % 1000 + 1, slot = key * 0x9e3779b1u >> 21;

        while (((volatile u32 *)keys)[slot] != key)
            slot = (slot + 1) & 2047;
        out[i] = ((volatile u32 *)counts)[slot];
    }
}

/* Every lane takes the lock of its warp: lives only if the lanes of a warp advance independently. */
extern "C" __global__ void spin_lock(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    u32 *lock = out + SCRATCH + i / 32;

    if (i < n) {
        volatile u32 *sum = out + i / 32 * 2;

        while (CAS_U(lock, 0, 1))
            ;
        FENCE();
        sum[0] = sum[0] + in[i];
        sum[1] = sum[1] ^ in[i];
        FENCE();
        EXCH_U(lock, 0);
    }
}

extern "C" __global__ void ticket_lock(const u32 *in, u32 *out, int n)
{
    u32 *next = out + SCRATCH;
    volatile u32 *serving = next + 1, *sum = out;

    if (threadIdx.x == 0) {
        u32 mine = ADD_U(next, 1);

        while (*serving != mine)
            ;
        FENCE();
        for (int k = 0; k < 256 && (int)(blockIdx.x * 256) + k < n; k++)
            sum[k % 16] = sum[k % 16] * 1u + in[blockIdx.x * 256 + k];
        FENCE();
        *serving = mine + 1;
    }
}

/* Sixteen rounds over the whole grid with a barrier made of atomics; needs all blocks resident. */
extern "C" __global__ void grid_barrier(const u32 *in, u32 *out, int n)
{
    volatile u32 *cells[2] = {out + SCRATCH, out + SCRATCH + 4096};
    u32 *arrived = out + SCRATCH + 8192;
    int i = GLOBAL_ID;

    if (i < n)
        cells[0][i] = in[i];
    for (int round = 0; round < 16; round++) {
        FENCE();
        SYNC();
        if (threadIdx.x == 0) {
            ADD_U(arrived, 1);
            while (*(volatile u32 *)arrived < (round + 1) * gridDim.x)
                ;
            FENCE();
        }
        SYNC();
        if (i < n)
            cells[~round & 1][i] = cells[round & 1][i] + cells[round & 1][(i + 1) % n] * 3;
    }
    if (i < n)
        out[i] = cells[0][i];
}

/* Warps draw pieces of work from one counter until none is left. */
extern "C" __global__ void work_queue(const u32 *in, u32 *out, int n)
{
    int lane = threadIdx.x & 31;

    for (;;) {
        int piece = 0;

        if (lane == 0)
            piece = (int)ADD_U(out + SCRATCH, 1);
        piece = SHFL_IDX_I(piece, 0);
        if (piece * 32 >= n)
            break;
        if (piece * 32 + lane < n) {
            u32 x = in[piece * 32 + lane], steps = 0;

            for (x &= 1023; x > 1; x = x & 1 ? (x * 3 + 1) & 0xffff : x >> 1)
                if (++steps == 100)
                    break;
            out[piece * 32 + lane] = steps;
        }
    }
}

/* One half of the block writes a ring of four slots in shared memory, the other reads it: flags, no barriers. */
extern "C" __global__ void ring_buffer(const u32 *in, u32 *out, int n)
{
    __shared__ volatile u32 slots[4][32], full[4], empty[4];
    int t = threadIdx.x, lane = t & 31, base = blockIdx.x * 256;

    if (t < 4)
        full[t] = empty[t] = 0;
    SYNC();
    for (int k = 0; k < 8; k++) {
        u32 slot = k & 3, turn = k / 4;

        if (t < 32) {
            while (empty[slot] < turn)
                ;
            FENCE();
            slots[slot][lane] = base + k * 32 + lane < n ? in[base + k * 32 + lane] : 0;
            FENCE();
            SYNC_WARP();
            if (lane == 0)
                full[slot] = turn + 1;
        } else {
            while (full[slot] <= turn)
                ;
            FENCE();
            if (base + k * 32 + lane < n)
                out[base + k * 32 + lane] = slots[slot][31 - lane] + 1;
            FENCE();
            SYNC_WARP();
            if (lane == 0)
                empty[slot] = turn + 1;
        }
    }
}

typedef u32 step_fn(u32);
__device__ __attribute__((noinline)) u32 step_add(u32 x) { return x + 17; }
__device__ __attribute__((noinline)) u32 step_mul(u32 x) { return x * 31; }
__device__ __attribute__((noinline)) u32 step_xor(u32 x) { return x ^ x >> 5; }
__device__ __attribute__((noinline)) u32 step_rot(u32 x) { return x << 9 | x >> 23; }
__device__ step_fn *steps[4] = {step_add, step_mul, step_xor, step_rot};

/* A table of function pointers: lanes of a warp call different functions. */
extern "C" __global__ void function_table(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        u32 x = in[i];

        for (int k = 0; k < 12; k++)
            x = steps[x >> 3 & 3](x);
        out[i] = x;
    }
}

struct shape {
    u32 a;
    __device__ virtual u32 area(u32 scale) const = 0;
};
struct square : shape {
    __device__ u32 area(u32 scale) const override { return a * a * scale; }
};
struct box : shape {
    u32 b;
    __device__ u32 area(u32 scale) const override { return a * b + scale; }
};

extern "C" __global__ void virtual_calls(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        square s;
        box b;
        const shape *which = in[i] & 1 ? (const shape *)&s : &b;

        s.a = in[i] & 0xff;
        b.a = in[i] >> 8 & 0xff;
        b.b = in[i] >> 16 & 0xff;
        out[i] = which->area(in[i] >> 24);
    }
}

/* All push to one list; the first thread of the last block walks it. */
extern "C" __global__ void linked_list(const u32 *in, u32 *out, int n)
{
    u32 *head = out + SCRATCH, *next = out + SCRATCH + 8;
    volatile u32 *links = next;
    int i = GLOBAL_ID;

    if (i < n) {
        u32 seen = *(volatile u32 *)head, old;

        for (;; seen = old) {
            links[i] = seen;
            FENCE();
            old = CAS_U(head, seen, i + 1);
            if (old == seen)
                break;
        }
    }
    FENCE();
    SYNC();
    if (threadIdx.x == 0 && ADD_U(out + SCRATCH + 1, 1) == gridDim.x - 1) {
        u32 count = 0, sum = 0;

        for (u32 k = *(volatile u32 *)head; k; k = links[k - 1]) {
            count++;
            sum += in[k - 1];
        }
        out[0] = count;
        out[1] = sum;
    }
}

__device__ u32 is_odd(u32 x);
__device__ __attribute__((noinline)) u32 is_even(u32 x) { return x ? is_odd(x - 1) : 1; }
__device__ __attribute__((noinline)) u32 is_odd(u32 x) { return x ? is_even(x - 1) * 3 : 2; }
__device__ u32 fibonacci(u32 k) { return k < 2 ? k : fibonacci(k - 1) + fibonacci(k - 2); }

extern "C" __global__ void mutual_recursion(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n)
        out[i] = is_even(in[i] % 20) + fibonacci(in[i] >> 5 & 7);
}

__device__ __attribute__((noinline)) void hanoi(u32 k, u32 from, u32 to, u32 *moves)
{
    if (k) {
        hanoi(k - 1, from, 3 - from - to, moves);
        *moves = *moves * 5 + from * 3 + to;
        hanoi(k - 1, 3 - from - to, to, moves);
    }
}

extern "C" __global__ void towers(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        u32 moves = 0;

        hanoi(in[i] % 6, 0, 2, &moves);
        out[i] = moves;
    }
}

/* Connected components of a ring with cuts, by hooking to smaller roots. out[i]: the smallest member. */
extern "C" __global__ void union_find(const u32 *in, u32 *out, int n)
{
    volatile u32 *parent = out;
    int i = GLOBAL_ID;

    if (i < n)
        parent[i] = i;
    FENCE();
    SYNC();
    if (threadIdx.x == 0) {
        ADD_U(out + SCRATCH, 1);
        while (*(volatile u32 *)(out + SCRATCH) < gridDim.x)
            ;
        FENCE();
    }
    SYNC();
    if (i < n && in[i] % 5) {
        u32 a = i, b = (i * 7 + 3) % n;

        while (a != b) {
            while (parent[a] != a)
                a = parent[a];
            while (parent[b] != b)
                b = parent[b];
            if (a == b)
                break;
            if (a < b) {
                u32 swap = a;

                a = b;
                b = swap;
            }
            a = CAS_U(out + a, a, b) == a ? b : a;
        }
    }
    FENCE();
    SYNC();
    if (threadIdx.x == 0) {
        ADD_U(out + SCRATCH + 1, 1);
        while (*(volatile u32 *)(out + SCRATCH + 1) < gridDim.x)
            ;
        FENCE();
    }
    SYNC();
    if (i < n) {
        u32 a = i;

        while (parent[a] != a)
            a = parent[a];
        out[SCRATCH + 8 + i] = a;
    }
    FENCE();
    SYNC();
    if (threadIdx.x == 0) {
        ADD_U(out + SCRATCH + 2, 1);
        while (*(volatile u32 *)(out + SCRATCH + 2) < gridDim.x)
            ;
    }
    SYNC();
    if (i < n)
        out[i] = out[SCRATCH + 8 + i];
}
