// SPDX-License-Identifier: MIT
/*
 * Kernels on integers, as people write them. All have the form kernel(const u32 *in, u32 *out, int n); blocks
 * of 256 threads. References: tests/unit/exec/cpu/test_ptx_kernels.c.
 */
#include "portable.h"

extern "C" __global__ void collatz(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        u32 x = in[i] % 10000 + 1, steps = 0;

        while (x != 1) {
            x = x & 1 ? 3 * x + 1 : x / 2;
            steps++;
        }
        out[i] = steps;
    }
}

extern "C" __global__ void gcd(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        u32 a = in[i], b = in[(i + 1) % n];

        while (b) {
            u32 t = a % b;

            a = b;
            b = t;
        }
        out[i] = a;
    }
}

extern "C" __global__ void crc32(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        u32 crc = ~0u, word = in[i];

        for (int byte = 0; byte < 4; byte++) {
            crc ^= word >> (8 * byte) & 255;
            for (int k = 0; k < 8; k++)
                crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
        out[i] = ~crc;
    }
}

__device__ u32 rotate(u32 x, int by)
{
    return x << by | x >> (32 - by);
}

extern "C" __global__ void murmur3(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        u32 h = 0x9747b28c, k = in[i] * 0xcc9e2d51u;

        h ^= rotate(k, 15) * 0x1b873593u;
        h = rotate(h, 13) * 5 + 0xe6546b64u;
        h ^= 4;
        h = (h ^ h >> 16) * 0x85ebca6bu;
        h = (h ^ h >> 13) * 0xc2b2ae35u;
        out[i] = h ^ h >> 16;
    }
}

/* Philox-4x32-10, counter i, key from the input: the generator of cuRAND's default. */
extern "C" __global__ void philox(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        u32 c0 = i, c1 = 0, c2 = 0, c3 = 0, k0 = in[i], k1 = 0x1234567;

        for (int round = 0; round < 10; round++) {
            u32 h0 = UMULHI(0xd2511f53u, c0), l0 = 0xd2511f53u * c0;
            u32 h1 = UMULHI(0xcd9e8d57u, c2), l1 = 0xcd9e8d57u * c2;

            c0 = h1 ^ c1 ^ k0;
            c1 = l1;
            c2 = h0 ^ c3 ^ k1;
            c3 = l0;
            k0 += 0x9e3779b9u;
            k1 += 0xbb67ae85u;
        }
        out[i] = c0 ^ c1 ^ c2 ^ c3;
    }
}

extern "C" __global__ void histogram(const u32 *in, u32 *out, int n)
{
    __shared__ u32 bins[64];

    if (threadIdx.x < 64)
        bins[threadIdx.x] = 0;
    SYNC();
    for (int i = GLOBAL_ID; i < n; i += gridDim.x * blockDim.x)
        ADD_U(&bins[in[i] % 64], 1);
    SYNC();
    if (threadIdx.x < 64)
        ADD_U(&out[threadIdx.x], bins[threadIdx.x]);
}

/* Inclusive scan of each block of 256: shuffles in warps, shared memory between them. */
extern "C" __global__ void scan(const u32 *in, u32 *out, int n)
{
    __shared__ u32 totals[8];
    int i = GLOBAL_ID, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    u32 x = i < n ? in[i] & 0xffff : 0;

    for (int step = 1; step < 32; step *= 2) {
        u32 y = SHFL_UP_I(x, step);

        if (lane >= step)
            x += y;
    }
    if (lane == 31)
        totals[warp] = x;
    SYNC();
    for (int w = 0; w < warp; w++)
        x += totals[w];
    if (i < n)
        out[i] = x;
}

/* Bitonic sort of each block of 256. */
extern "C" __global__ void bitonic(const u32 *in, u32 *out, int n)
{
    __shared__ u32 s[256];
    int i = GLOBAL_ID, t = threadIdx.x;

    s[t] = i < n ? in[i] : 0xffffffffu;
    SYNC();
    for (int size = 2; size <= 256; size *= 2)
        for (int stride = size / 2; stride; stride /= 2) {
            int other = t ^ stride;

            if (other > t && (s[t] > s[other]) == ((t & size) == 0)) {
                u32 swap = s[t];

                s[t] = s[other];
                s[other] = swap;
            }
            SYNC();
        }
    if (i < n)
        out[i] = s[t];
}

/* Keeps the odd numbers of each warp, packed; the rest becomes zero. */
extern "C" __global__ void compact(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID, lane = threadIdx.x & 31, base = i - lane;
    u32 x = i < n ? in[i] : 0, ballot = BALLOT(x & 1);

    if (i < n)
        out[i] = 0;
    SYNC();
    if (x & 1)
        out[base + POPC(ballot & ((1u << lane) - 1))] = x;
}

extern "C" __global__ void transpose(const u32 *in, u32 *out, int n)
{
    __shared__ u32 tile[16][17];
    int side = 64, tx = threadIdx.x & 15, ty = threadIdx.x >> 4, bx = blockIdx.x & 3, by = blockIdx.x >> 2;

    tile[ty][tx] = in[(by * 16 + ty) * side + bx * 16 + tx];
    SYNC();
    out[(bx * 16 + ty) * side + by * 16 + tx] = tile[tx][ty];
    (void)n;
}

extern "C" __global__ void popcount_sum(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;
    int x = i < n ? POPC(in[i]) : 0;

    for (int step = 16; step; step /= 2)
        x += SHFL_XOR_I(x, step);
    if ((threadIdx.x & 31) == 0)
        ADD_U(&out[0], x);
}

/* 64-bit modular powers: a^e mod p with p below 2^32. */
extern "C" __global__ void modpow(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        u64 p = 4294967291ull, base = in[i] % p, result = 1;

        for (u32 e = (in[i] >> 7) | 1; e; e >>= 1) {
            if (e & 1)
                result = result * base % p;
            base = base * base % p;
        }
        out[i] = (u32)result;
    }
}

extern "C" __global__ void queens(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) { /* solutions of 7 queens with the first one fixed, without recursion */
        u32 full = 127, count = 0, first = 1u << (in[i] % 7);
        u32 columns[8], left[8], right[8], tries[8];
        int depth = 1;

        columns[1] = first;
        left[1] = first << 1;
        right[1] = first >> 1;
        tries[1] = full & ~(columns[1] | left[1] | right[1]);
        while (depth) {
            u32 bit = tries[depth] & -tries[depth];

            if (!bit) {
                depth--;
                continue;
            }
            tries[depth] ^= bit;
            if (depth == 6) {
                count++;
                continue;
            }
            columns[depth + 1] = columns[depth] | bit;
            left[depth + 1] = (left[depth] | bit) << 1;
            right[depth + 1] = (right[depth] | bit) >> 1;
            depth++;
            tries[depth] = full & ~(columns[depth] | left[depth] | right[depth]);
        }
        out[i] = count;
    }
}

/* A finite automaton with a switch: heavy divergence. */
extern "C" __global__ void automaton(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        u32 state = in[i], acc = 0;

        for (int k = 0; k < 40; k++) {
            switch (state % 7) {
            case 0: acc += state; break;
            case 1: acc ^= state << 3; break;
            case 2: acc -= k; break;
            case 3: if (acc & 1) continue; acc = acc * 3 + 1; break;
            case 4: acc |= 1; break;
            case 5: acc = acc >> 1 | acc << 31; break;
            default: acc = ~acc; break;
            }
            state = state * 1664525u + 1013904223u;
            if (state == 0x12345678u)
                break;
        }
        out[i] = acc;
    }
}

__device__ int ackermann(int m, int n)
{
    if (m == 0)
        return n + 1;
    if (n == 0)
        return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}

extern "C" __global__ void recursive(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n)
        out[i] = ackermann(2, in[i] % 4);
}

__constant__ u8 sbox_like[16] = {12, 5, 6, 11, 9, 0, 10, 13, 3, 14, 15, 8, 4, 7, 1, 2};

/* PRESENT-like rounds: table in constant memory, bytes in shared memory. */
extern "C" __global__ void cipher(const u32 *in, u32 *out, int n)
{
    __shared__ u8 box[16];
    int i = GLOBAL_ID;

    if (threadIdx.x < 16)
        box[threadIdx.x] = sbox_like[threadIdx.x];
    SYNC();
    if (i < n) {
        u32 x = in[i];

        for (int round = 0; round < 12; round++) {
            u32 y = 0;

            for (int k = 0; k < 8; k++)
                y |= (u32)box[x >> (4 * k) & 15] << (4 * k);
            x = rotate(y, 7) ^ (0x9e3779b9u * (round + 1));
        }
        out[i] = x;
    }
}

extern "C" __global__ void signed_division(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        int a = (int)in[i], b = (int)in[(i * 7 + 1) % n];
        short c = (short)a, e = (short)b;
        long long wide = (long long)a * b;

        b = b ? b : 1;
        e = e ? e : 1;
        out[i] = (u32)(a == -2147483647 - 1 ? 0 : a / b) + (u32)(a == -2147483647 - 1 ? 0 : a % b) + (u32)(c / e) +
                 (u32)(wide / 1000003) + (u32)(wide % 997);
    }
}

extern "C" __global__ void bytes_and_halves(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        const signed char *bytes = (const signed char *)in;
        const unsigned short *halves = (const unsigned short *)in;

        out[i] = (u32)(bytes[4 * i] + bytes[4 * i + 3] * 3 - halves[2 * i + 1]);
        ((u8 *)out)[4 * i + 2] = (u8)bytes[4 * i + 1];
    }
}
