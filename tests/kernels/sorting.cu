// SPDX-License-Identifier: MIT
/*
 * Sorts, scans, searches and counts. All have the form kernel(const u32 *in, u32 *out, int n); words of `out` from
 * SCRATCH on are zero at first and the kernel's own. References: tests/unit/exec/cpu/programs_sorting.c.
 */
#include "portable.h"

#define BLOCK 256

/* LSD radix sort of each block of 256, one bit a pass: ballots rank lanes, shared memory ranks warps. */
extern "C" __global__ void radix_sort(const u32 *in, u32 *out, int n)
{
    __shared__ u32 keys[BLOCK], zeros[BLOCK / 32];
    int i = GLOBAL_ID, t = threadIdx.x, lane = t & 31, warp = t >> 5;
    u32 key = i < n ? in[i] : ~0u;

    for (int bit = 0; bit < 32; bit++) {
        bool one = key >> bit & 1;
        u32 ballot = BALLOT(!one), before = 0, all = 0, zero_rank;

        if (lane == 0)
            zeros[warp] = POPC(ballot);
        SYNC();
        for (int w = 0; w < BLOCK / 32; w++) {
            before += w < warp ? zeros[w] : 0;
            all += zeros[w];
        }
        zero_rank = before + POPC(ballot & ((1u << lane) - 1));
        keys[one ? all + t - zero_rank : zero_rank] = key;
        SYNC();
        key = keys[t];
    }
    if (i < n)
        out[i] = key;
}

/* Merge sort of each block of 256: every element finds its place in the partner run by binary search. */
extern "C" __global__ void merge_sort(const u32 *in, u32 *out, int n)
{
    __shared__ u32 runs[2][BLOCK];
    int i = GLOBAL_ID, t = threadIdx.x, now = 0;

    runs[0][t] = i < n ? in[i] : ~0u;
    for (int size = 1; size < BLOCK; size *= 2, now ^= 1) {
        int mine = t & -size, partner = mine ^ size, low = 0, high = size;
        u32 key;

        SYNC();
        key = runs[now][t];
        while (low < high) {
            int middle = (low + high) / 2;
            u32 other = runs[now][partner + middle];

            if (other < key || (other == key && partner < mine))
                low = middle + 1;
            else
                high = middle;
        }
        runs[now ^ 1][(mine & partner) + (t - mine) + low] = key;
    }
    SYNC();
    if (i < n)
        out[i] = runs[now][t];
}

extern "C" __global__ void odd_even_sort(const u32 *in, u32 *out, int n)
{
    __shared__ volatile u32 s[BLOCK]; /* or clang keeps s[t] in a register across the barrier */
    int i = GLOBAL_ID, t = threadIdx.x;

    s[t] = i < n ? in[i] : ~0u;
    SYNC();
    for (int pass = 0; pass < BLOCK; pass++) {
        if ((t & 1) == (pass & 1) && t + 1 < BLOCK && s[t] > s[t + 1]) {
            u32 swap = s[t];

            s[t] = s[t + 1];
            s[t + 1] = swap;
        }
        SYNC();
    }
    if (i < n)
        out[i] = s[t];
}

/* Sorts 32 lanes by exchanges of registers. */
extern "C" __global__ void warp_sort(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID, lane = threadIdx.x & 31;
    u32 key = i < n ? in[i] : ~0u;

    for (int size = 2; size <= 32; size *= 2)
        for (int stride = size / 2; stride; stride /= 2) {
            u32 other = SHFL_XOR_I(key, stride);
            bool keep_low = ((lane & stride) == 0) == ((lane & size) == 0);

            key = (key < other) == keep_low ? key : other;
        }
    if (i < n)
        out[i] = key;
}

__device__ void quick_sort(u32 *a, int low, int high)
{
    int i = low, j = high;
    u32 pivot = a[(low + high) / 2];

    while (i <= j) {
        while (a[i] < pivot)
            i++;
        while (a[j] > pivot)
            j--;
        if (i <= j) {
            u32 swap = a[i];

            a[i++] = a[j];
            a[j--] = swap;
        }
    }
    if (low < j)
        quick_sort(a, low, j);
    if (i < high)
        quick_sort(a, i, high);
}

/* Each thread sorts 16 words of its own, in local memory, by recursion. */
extern "C" __global__ void quick_sort_16(const u32 *in, u32 *out, int n)
{
    int first = GLOBAL_ID * 16;
    u32 a[16];

    if (first >= n)
        return;
    for (int k = 0; k < 16; k++)
        a[k] = first + k < n ? in[first + k] : ~0u;
    quick_sort(a, 0, 15);
    for (int k = 0; k < 16 && first + k < n; k++)
        out[first + k] = a[k];
}

extern "C" __global__ void heap_sort_16(const u32 *in, u32 *out, int n)
{
    int first = GLOBAL_ID * 16;
    u32 a[16];

    if (first >= n)
        return;
    for (int k = 0; k < 16; k++)
        a[k] = first + k < n ? in[first + k] : ~0u;
    for (int start = 7, end = 16; end > 1;) {
        int root;
        u32 value;

        if (start >= 0) {
            root = start--;
        } else {
            u32 top = a[0];

            a[0] = a[--end];
            a[end] = top;
            root = 0;
        }
        value = a[root];
        for (int child; (child = 2 * root + 1) < end; root = child) {
            if (child + 1 < end && a[child] < a[child + 1])
                child++;
            if (value >= a[child])
                break;
            a[root] = a[child];
        }
        a[root] = value;
    }
    for (int k = 0; k < 16 && first + k < n; k++)
        out[first + k] = a[k];
}

/* One block walks the whole array: Blelloch's work-efficient scan with a carry. Exclusive. */
extern "C" __global__ void blelloch_scan(const u32 *in, u32 *out, int n)
{
    __shared__ u32 s[2 * BLOCK], carry;
    int t = threadIdx.x;

    if (t == 0)
        carry = 0;
    for (int base = 0; base < n; base += 2 * BLOCK) {
        int stride = 1;
        u32 total;

        SYNC();
        s[2 * t] = base + 2 * t < n ? in[base + 2 * t] : 0;
        s[2 * t + 1] = base + 2 * t + 1 < n ? in[base + 2 * t + 1] : 0;
        for (int d = BLOCK; d; d /= 2, stride *= 2) {
            SYNC();
            if (t < d)
                s[stride * (2 * t + 2) - 1] += s[stride * (2 * t + 1) - 1];
        }
        SYNC();
        total = s[2 * BLOCK - 1];
        SYNC();
        if (t == 0)
            s[2 * BLOCK - 1] = 0;
        for (int d = 1; d <= BLOCK; d *= 2) {
            stride /= 2;
            SYNC();
            if (t < d) {
                int a = stride * (2 * t + 1) - 1, b = stride * (2 * t + 2) - 1;
                u32 left = s[a];

                s[a] = s[b];
                s[b] += left;
            }
        }
        SYNC();
        if (base + 2 * t < n)
            out[base + 2 * t] = s[2 * t] + carry;
        if (base + 2 * t + 1 < n)
            out[base + 2 * t + 1] = s[2 * t + 1] + carry;
        SYNC();
        if (t == 0)
            carry += total;
    }
}

/* Single-pass scan over blocks that look back at their predecessors' totals, which they wait for. Inclusive. */
extern "C" __global__ void lookback_scan(const u32 *in, u32 *out, int n)
{
    __shared__ u32 s[BLOCK], block, prefix;
    volatile u32 *flags = out + SCRATCH, *totals = out + SCRATCH + 64, *sums = out + SCRATCH + 128;
    int t = threadIdx.x, i;

    if (t == 0)
        block = ADD_U(out + SCRATCH + 192, 1);
    SYNC();
    i = block * BLOCK + t;
    s[t] = i < n ? in[i] : 0;
    for (int step = 1; step < BLOCK; step *= 2) {
        u32 left;

        SYNC();
        left = t >= step ? s[t - step] : 0;
        SYNC();
        s[t] += left;
    }
    SYNC();
    if (t == 0) {
        u32 sum = 0;

        totals[block] = s[BLOCK - 1];
        FENCE();
        flags[block] = 1;
        for (int b = (int)block - 1; b >= 0; b--) {
            u32 flag;

            while (!(flag = flags[b]))
                ;
            FENCE();
            if (flag == 2) {
                sum += sums[b];
                break;
            }
            sum += totals[b];
        }
        sums[block] = sum + s[BLOCK - 1];
        FENCE();
        flags[block] = 2;
        prefix = sum;
    }
    SYNC();
    if (i < n)
        out[i] = s[t] + prefix;
}

/* Sums restart at each head (a number divisible by 8) and at each block. */
extern "C" __global__ void segmented_scan(const u32 *in, u32 *out, int n)
{
    __shared__ u32 sum[BLOCK];
    __shared__ bool head[BLOCK];
    int i = GLOBAL_ID, t = threadIdx.x;

    sum[t] = i < n ? in[i] : 0;
    head[t] = t == 0 || (sum[t] & 7) == 0;
    for (int step = 1; step < BLOCK; step *= 2) {
        u32 left = 0;
        bool stop = head[t];

        SYNC();
        if (t >= step && !head[t]) {
            left = sum[t - step];
            stop = head[t - step];
        }
        SYNC();
        sum[t] += left;
        head[t] = stop;
    }
    if (i < n)
        out[i] = sum[t];
}

/* Where the largest number first stands: one 64-bit compare-and-swap loop per block. */
extern "C" __global__ void arg_max(const u32 *in, u32 *out, int n)
{
    __shared__ u64 best[BLOCK];
    int i = GLOBAL_ID, t = threadIdx.x;

    best[t] = i < n ? (u64)in[i] << 32 | (u32)~i : 0;
    for (int step = BLOCK / 2; step; step /= 2) {
        SYNC();
        if (t < step && best[t + step] > best[t])
            best[t] = best[t + step];
    }
    if (t == 0) {
        u64 *global = (u64 *)(out + SCRATCH), seen = *(volatile u64 *)global, old;

        while (best[0] > seen && (old = CAS_L(global, seen, best[0])) != seen)
            seen = old;
        FENCE();
        if (ADD_U(out + SCRATCH + 2, 1) == gridDim.x - 1) {
            u64 last = *(volatile u64 *)global;

            out[0] = ~(u32)last;
            out[1] = (u32)(last >> 32);
        }
    }
}

/* The length of each run of equal upper two bits, at its first place. */
extern "C" __global__ void run_lengths(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID, k = i + 1;

    if (i >= n || (i && in[i - 1] >> 30 == in[i] >> 30))
        return;
    while (k < n && in[k] >> 30 == in[i] >> 30)
        k++;
    out[i] = k - i;
}

/* Lower bounds in the squares 0, 1, 4, 9, ... up to 65535^2. */
extern "C" __global__ void lower_bound(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        u32 low = 0, high = 65536;

        while (low < high) {
            u32 middle = (low + high) >> 1;

            if (middle * middle < in[i])
                low = middle + 1;
            else
                high = middle;
        }
        out[i] = low;
    }
}

/* Bytes counted in a histogram per warp, in 16-bit halves of shared words, then summed. */
extern "C" __global__ void byte_histogram(const u32 *in, u32 *out, int n)
{
    __shared__ u32 bins[BLOCK / 32][128];
    int t = threadIdx.x;

    for (int k = t; k < BLOCK / 32 * 128; k += BLOCK)
        bins[k / 128][k % 128] = 0;
    SYNC();
    for (int i = GLOBAL_ID; i < n; i += gridDim.x * BLOCK)
        for (u32 word = in[i], k = 0; k < 4; k++, word >>= 8)
            ADD_U(&bins[t / 32][(word & 255) / 2], 1u << (word & 1) * 16);
    SYNC();
    for (u32 w = 0, sum = 0; w < BLOCK / 32; w++) {
        sum += bins[w][t / 2] >> (t & 1) * 16 & 0xffff;
        if (w == BLOCK / 32 - 1 && sum)
            ADD_U(&out[t], sum);
    }
}

/* Multi-split: keeps the order within four classes of each block. */
extern "C" __global__ void multi_split(const u32 *in, u32 *out, int n)
{
    __shared__ u32 counts[4][BLOCK / 32];
    int i = GLOBAL_ID, t = threadIdx.x, lane = t & 31, warp = t >> 5;
    u32 key = i < n ? in[i] : 0, mine = i < n ? key & 3 : 4, place = 0, rank = 0;

    for (u32 c = 0; c < 4; c++) {
        u32 ballot = BALLOT(mine == c);

        if (lane == 0)
            counts[c][warp] = POPC(ballot);
        if (mine == c)
            rank = POPC(ballot & ((1u << lane) - 1));
    }
    SYNC();
    for (u32 c = 0; c <= mine && c < 4; c++)
        for (int w = 0; w < (c == mine ? warp : BLOCK / 32); w++)
            place += counts[c][w];
    if (i < n)
        out[i - t + place + rank] = key;
}
