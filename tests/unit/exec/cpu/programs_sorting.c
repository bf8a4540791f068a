/* SPDX-License-Identifier: MIT */
/* What the kernels of tests/kernels/sorting.cu should give, in plain C. */
#include "programs.h"

#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    uint32_t x = ((const union word *)a)->u, y = ((const union word *)b)->u;

    return x < y ? -1 : x > y;
}

static void sort_pieces(const union word *in, union word *out, int n, int piece)
{
    memcpy(out, in, (size_t)n * sizeof(*out));
    for (int b = 0; b < n; b += piece)
        qsort(&out[b], (size_t)(n - b < piece ? n - b : piece), sizeof(*out), by_value);
}

static void ref_sort_256(const union word *in, union word *out, int n)
{
    sort_pieces(in, out, n, 256);
}

static void ref_sort_32(const union word *in, union word *out, int n)
{
    sort_pieces(in, out, n, 32);
}

static void ref_sort_16(const union word *in, union word *out, int n)
{
    sort_pieces(in, out, n, 16);
}

static void ref_exclusive(const union word *in, union word *out, int n)
{
    for (int i = 1; i < n; i++)
        out[i].u = out[i - 1].u + in[i - 1].u;
}

static void ref_inclusive(const union word *in, union word *out, int n)
{
    uint32_t sum = 0;

    for (int i = 0; i < n; i++)
        out[i].u = sum += in[i].u;
}

static void ref_segmented_scan(const union word *in, union word *out, int n)
{
    uint32_t sum = 0;

    for (int i = 0; i < n; i++) {
        sum = in[i].u % 8 == 0 || i % 256 == 0 ? in[i].u : sum + in[i].u;
        out[i].u = sum;
    }
}

static void ref_arg_max(const union word *in, union word *out, int n)
{
    int best = 0;

    for (int i = 1; i < n; i++)
        best = in[i].u > in[best].u ? i : best;
    out[0].i = best;
    out[1].u = in[best].u;
}

static void ref_run_lengths(const union word *in, union word *out, int n)
{
    int first = 0;

    for (int i = 0; i < n; i++) {
        if (in[i].u >> 30 != in[first].u >> 30)
            first = i;
        out[first].u++;
    }
}

static void ref_lower_bound(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t root = 0;

        for (uint64_t bit = 1u << 16; bit; bit >>= 1) /* the largest number whose square is below */
            if ((root + bit) * (root + bit) < in[i].u)
                root += bit;
        out[i].u = (uint32_t)(in[i].u ? root + 1 : 0);
    }
}

static void ref_byte_histogram(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 4; k++)
            out[in[i].u >> (8 * k) & 255].u++;
}

static void ref_multi_split(const union word *in, union word *out, int n)
{
    int at = 0;

    for (int b = 0; b < n; b += 256)
        for (uint32_t c = 0; c < 4; c++)
            for (int i = b; i < b + 256 && i < n; i++)
                if (in[i].u % 4 == c)
                    out[at++] = in[i];
}

const struct program programs_sorting[] = {
    {"radix_sort", ref_sort_256, .blocks = 0},
    {"merge_sort", ref_sort_256, .blocks = 0},
    {"odd_even_sort", ref_sort_256, .blocks = 0},
    {"warp_sort", ref_sort_32, .blocks = 0},
    {"quick_sort_16", ref_sort_16, .blocks = 1},
    {"heap_sort_16", ref_sort_16, .blocks = 1},
    {"blelloch_scan", ref_exclusive, .blocks = 1},
    {"lookback_scan", ref_inclusive, .blocks = 0},
    {"segmented_scan", ref_segmented_scan, .blocks = 0},
    {"arg_max", ref_arg_max, .blocks = 0},
    {"run_lengths", ref_run_lengths, .blocks = 0},
    {"lower_bound", ref_lower_bound, .blocks = 0},
    {"byte_histogram", ref_byte_histogram, .blocks = 3},
    {"multi_split", ref_multi_split, .blocks = 0},
    {.name = NULL},
};
