/* SPDX-License-Identifier: MIT */
/* What the kernels of tests/kernels/library.cu should give, in plain C. */
#include "programs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t by_mask;

/* Words by the bits of by_mask; of equal ones the earlier first. */
static int by_bits(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    uint32_t p = (uint32_t)*x & by_mask, q = (uint32_t)*y & by_mask;

    return p != q ? (p < q ? -1 : 1) : (*x >> 32 < *y >> 32 ? -1 : 1);
}

static void sort_blocks(const union word *in, int n, uint32_t mask,
                        void (*put)(union word *out, uint64_t word), union word *out)
{
    uint64_t words[1024];

    by_mask = mask;
    for (int at = 0; at < n; at += 1024) {
        for (int k = 0; k < 1024; k++)
            words[k] = (uint64_t)k << 32 | in[at + k].u;
        qsort(words, 1024, sizeof(words[0]), by_bits);
        for (int k = 0; k < 1024; k++)
            put(&out[at + k], words[k]);
    }
}

static void put_pair(union word *out, uint64_t word)
{
    out->u = ((uint32_t)word & 0xfffff) * 1024 + (uint32_t)(word >> 32);
}

static void put_word(union word *out, uint64_t word)
{
    out->u = (uint32_t)word;
}

static void ref_radix_pairs(const union word *in, union word *out, int n)
{
    sort_blocks(in, n, 0xfffff, put_pair, out);
}

static void ref_merge_stable(const union word *in, union word *out, int n)
{
    sort_blocks(in, n, 0xffff, put_word, out);
}

static void ref_block_sums(const union word *in, union word *out, int n)
{
    for (int at = 0; at < n; at += 1024) {
        uint64_t all = 0, before = 0;

        for (int k = 0; k < 1024; k++)
            all += in[at + k].u;
        for (int k = 0; k < 1024; k++) { /* word k of 128 was the (k / 32)th of thread k % 32 */
            int warp = k & ~127, s = k & 127;

            out[at + k].u = in[at + warp + s % 32 * 4 + s / 32].u ^ (uint32_t)(before >> 3) ^
                            (uint32_t)(all >> 32);
            if (k % 4 == 3)
                for (int j = 0; j < 4; j++)
                    before += in[at + k - j].u;
        }
    }
}

static void ref_latch_and_semaphore(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t sum = 0;

        for (int k = i & ~255; k < (i | 255) + 1 && k < n; k++)
            sum += in[k].u;
        out[i].u = sum;
    }
}

static void ref_bulk_copies(const union word *in, union word *out, int n)
{
    for (int at = 0; at < n; at += 1024)
        for (int k = 0; k < 512; k++) {
            out[at + k].u = in[at + 1023 - k].u ^ (uint32_t)at;
            out[at + 1023 - k].u = in[at + k].u * 3;
        }
}

static void ref_staged(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i].u = in[i].u ^ in[(i & ~255) + 255 - i % 256].u * 3;
}

static void ref_small_atomics(const union word *in, union word *out, int n)
{
    uint8_t bytes[64] = {0};
    uint16_t halves[32] = {0};
    int32_t most = 0;
    double sum = 0;

    for (int i = 0; i < n; i++) {
        uint32_t v = in[i].u;

        bytes[v & 63] = (uint8_t)(bytes[v & 63] + 3);
        halves[v >> 8 & 31] ^= (uint16_t)v;
        most = (int32_t)v > most ? (int32_t)v : most;
        sum += v & 0xffff;
    }
    memcpy(out, bytes, sizeof(bytes));
    memcpy(out + 16, halves, sizeof(halves));
    out[32].i = most;
    memcpy(out + 34, &sum, sizeof(sum));
}

static void ref_choices(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t x = in[i].u, width = x ? 32 - (uint32_t)__builtin_clz(x) : 0;
        uint64_t w = (uint64_t)x << 32 | (uint32_t)~x;
        uint32_t one = x % 3 == 0   ? (uint32_t)((int32_t)x >> 3)
                       : x % 3 == 1 ? (uint32_t)(w >> 3)
                                    : (uint8_t)x >> 3;

        out[i].u = one + (uint32_t)__builtin_popcountll(w) + (32 - width) * 3 +
                   (uint32_t)__builtin_ctzll(w) * 5 + (x << 7 | x >> 25) + width;
    }
}

/* The nearest of the 127 numbers that a format of 8 bits has on one side of zero; the even one of two. */
static uint32_t nearest(const double *numbers, int count, float x)
{
    int best = 0;

    for (int k = 1; k < count; k++) {
        double was = fabs(fabs((double)x) - numbers[best]), is = fabs(fabs((double)x) - numbers[k]);

        if (is < was || (is == was && k % 2 == 0))
            best = k;
    }
    return (uint32_t)best | (signbit(x) ? 0x80u : 0);
}

static uint32_t half_of(double x)
{
    int exponent;
    double fraction =
        frexp(fabs(x),
              &exponent); /* all of these numbers are normal or zero as halves, but e5m2's least */

    if (x == 0)
        return signbit(x) ? 0x8000u : 0;
    if (exponent < -13)
        return (signbit(x) ? 0x8000u : 0) | (uint32_t)ldexp(fabs(x), 24);
    return (signbit(x) ? 0x8000u : 0) | (uint32_t)(exponent + 14) << 10 |
           ((uint32_t)ldexp(fraction, 11) & 0x3ff);
}

static void ref_eighths(const union word *in, union word *out, int n)
{
    double e4m3[127], e5m2[124];

    for (int k = 0; k < 127; k++)
        e4m3[k] = k < 8 ? ldexp(k, -9) : ldexp(8 + k % 8, k / 8 - 10);
    for (int k = 0; k < 124; k++)
        e5m2[k] = k < 4 ? ldexp(k, -16) : ldexp(4 + k % 4, k / 4 - 17);
    for (int i = 0; i < n; i++) {
        float v[2] = {(float)(in[i].u & 0xffff) / 128.0f - 100.0f,
                      (float)(in[i].u >> 16) / 65536.0f};
        uint32_t a = 0, b = 0, h = 0, g = 0;

        for (int k = 0; k < 2; k++) {
            uint32_t p = nearest(e4m3, 127, v[k]),
                     q = nearest(e5m2, 124, k ? v[k] : v[k] * 1000.0f);

            a |= p << 8 * k;
            b |= q << 8 * k;
            h |= half_of(copysign(e4m3[p & 127], v[k])) << 16 * k;
            g |= half_of(copysign(e5m2[q & 127], v[k])) << 16 * k;
        }
        out[i].u = (a | b << 16) ^ h ^ g * 3;
    }
}

static void ref_tiles(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t sum = 0, before = 0, most = 0, alike = 0;

        for (int k = i & ~127; k < (i | 127) + 1 && k < n; k++) {
            before += k < i ? in[k].u : 0;
            sum += in[k].u;
        }
        for (int k = i & ~31; k < (i | 31) + 1; k++) {
            uint32_t v = k < n ? in[k].u : 0;

            if (v % 5 != in[i].u % 5)
                continue;
            most = v > most ? v : most;
            alike++;
        }
        out[i].u = sum + before * 3 + (uint32_t)(i / 128 % 2) + most * 5 + alike * 7;
    }
}

static void ref_vector_atomics(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        float v = (float)(in[i].u & 255);
        union word *pair = out + (in[i].u >> 8 & 3) * 2;

        pair[0].f += v;
        pair[1].f += 1;
        out[16].f += v;
        out[17].f += 1;
        out[18].f += 2;
        out[19].f += 1;
    }
}

/* Blocks of the first three take 1024 words each. */
const struct program programs_library[] = {
    {"radix_pairs", ref_radix_pairs, 4, 0, 0, 1},
    {"merge_stable", ref_merge_stable, 4, 0, 0, 1},
    {"block_sums", ref_block_sums, 4, 0, 0, 1},
    {"latch_and_semaphore", ref_latch_and_semaphore, 0, 0, 0, 0},
    {"bulk_copies", ref_bulk_copies, 1, 0, 0, 1},
    {"staged", ref_staged, 1, 0, 0, 1},
    {"small_atomics", ref_small_atomics, 0, 0, 0, 0},
    {"choices", ref_choices, 0, 0, 0, 0},
    {"eighths", ref_eighths, 0, 0, 0, 0},
    {"tiles", ref_tiles, 0, 0, 0, 0},
    {"vector_atomics", ref_vector_atomics, 0, 0, 0, 0},
    {NULL, NULL, 0, 0, 0, 0},
};
