/* SPDX-License-Identifier: MIT */
/* What the kernels of tests/kernels/warps.cu should give, in plain C. */
#include "programs.h"

#include <string.h>

static void ref_aggregated_histogram(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        out[in[i].u % 64 % (unsigned)n].u++;
}

/* Lane `lane` of the warp that begins at `warp`; threads behind n hold `none`. */
static uint32_t lane_of(const union word *in, int warp, int lane, int n, uint32_t none)
{
    return warp + lane < n ? in[warp + lane].u : none;
}

static void ref_reduce_warp(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t sum = 0, low = UINT32_MAX, both = UINT32_MAX, odd = 0;
        int32_t high = INT32_MIN;

        for (int lane = 0; lane < 32; lane++) {
            uint32_t v = lane_of(in, i & ~31, lane, n, 0);

            sum += v;
            low = v < low ? v : low;
            high = (int32_t)v > high ? (int32_t)v : high;
            both &= v;
            odd ^= v;
        }
        switch (i % 5) {
        case 0: out[i].u = sum; break;
        case 1: out[i].u = low; break;
        case 2: out[i].i = high; break;
        case 3: out[i].u = both; break;
        default: out[i].u = odd; break;
        }
    }
}

static void ref_votes(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t ballot = 0, all = 1, any = 0, above = 0;

        for (int lane = 0; lane < 32; lane++) {
            uint32_t v = lane_of(in, i & ~31, lane, n, 1);

            ballot |= (v & 1) << lane;
            all &= (v & 15) != 0;
            any |= (v & 63) == 0;
            above += (v & 127) > 3;
        }
        out[i].u = ballot ^ all << 1 ^ any << 2 ^ (uint32_t)(above % 32 == 0) << 3;
    }
}

static void ref_transpose_bits(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        for (int lane = 0; lane < 32; lane++)
            out[i].u |= (lane_of(in, i & ~31, lane, n, 0) >> i % 32 & 1) << lane;
}

static void count_up_and_down(uint32_t *up, uint32_t *down)
{
    *up = *up >= 999 ? 0 : *up + 1;
    *down = *down == 0 || *down > 99 ? 99 : *down - 1;
}

static void ref_atomics(const union word *in, union word *out, int n)
{
    uint64_t wide[88] = {0};

    for (int i = 0; n >= 4096 && i < n; i++) {
        uint32_t v = in[i].u;
        uint64_t w = (uint64_t)v << 32 | (v ^ 0x5a5a5a5au);
        int k = i % 4;

        out[k].u += v;
        out[8 + k].u = v > out[8 + k].u ? v : out[8 + k].u;
        out[12 + k].i = (int32_t)v < out[12 + k].i ? (int32_t)v : out[12 + k].i;
        out[16 + k].i = (int32_t)v > out[16 + k].i ? (int32_t)v : out[16 + k].i;
        out[20 + i % 64].u |= v & 0x11111111u;
        out[84 + k].u ^= v;
        count_up_and_down(&out[88 + k].u, &out[92 + k].u);
        wide[k] += w;
        wide[8 + k] = w > wide[8 + k] ? w : wide[8 + k];
        wide[12 + k] = (int64_t)w < (int64_t)wide[12 + k] ? w : wide[12 + k];
        wide[16 + k] = (int64_t)w > (int64_t)wide[16 + k] ? w : wide[16 + k];
        wide[20 + k] ^= w;
        wide[24 + i % 64] |= w & 0x1111111111111111u;
    }
    memcpy(out + 512, wide, sizeof(wide));
}

static int32_t byte_of(uint32_t word, int k)
{
    return (int8_t)(word >> (8 * k));
}

static void ref_matmul_int8(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        const union word *row = in + i / 64 * 16, *col = in + 2048 + i % 64 * 16;
        uint32_t a = in[i / 64].u, b = in[i % 64].u;
        int32_t sum = 0;

        for (int k = 0; k < 64; k++)
            sum += byte_of(row[k / 4].u, k % 4) * byte_of(col[k / 4].u, k % 4);
        sum += (int32_t)(a & 0xffff) * byte_of(b, 0) + (int32_t)(a >> 16) * byte_of(b, 1);
        out[i].i = sum;
    }
}

static void ref_bfs_levels(const union word *in, union word *out, int n)
{
    static int queue[PROGRAM_WORDS];
    int first = 0, last = 1;

    memset(out, 0xff, (size_t)n * sizeof(*out));
    queue[0] = 0;
    out[0].u = 0;
    while (first < last) {
        int i = queue[first++];

        for (int k = 0; k < 2; k++) {
            int to = (int)((k ? in[i].u >> 12 : in[i].u) % (unsigned)n);

            if (out[to].u != UINT32_MAX)
                continue;
            out[to].u = out[i].u + 1;
            queue[last++] = to;
        }
    }
}

/* Dijkstra from each node, where the kernel relaxes by intermediate nodes. */
static void ref_floyd_warshall(const union word *in, union word *out, int n)
{
    (void)n;
    for (int from = 0; from < 64; from++) {
        uint32_t cost[64];
        int done[64] = {0};

        for (int to = 0; to < 64; to++)
            cost[to] = in[from * 64 + to].u % 1000 + 1;
        for (int round = 0; round < 64; round++) {
            int near = -1;

            for (int k = 0; k < 64; k++)
                if (!done[k] && (near < 0 || cost[k] < cost[near]))
                    near = k;
            done[near] = 1;
            for (int k = 0; k < 64; k++)
                if (cost[near] + in[near * 64 + k].u % 1000 + 1 < cost[k])
                    cost[k] = cost[near] + in[near * 64 + k].u % 1000 + 1;
        }
        for (int to = 0; to < 64; to++)
            out[from * 64 + to].u = cost[to];
    }
}

static void ref_edit_distance(const union word *in, union word *out, int n)
{
    for (int block = 0; block * 256 < n; block++) {
        uint32_t row[257];

        for (uint32_t j = 0; j <= 256; j++)
            row[j] = j;
        for (int i = 1; i <= 256; i++) {
            uint32_t corner = row[0];

            row[0] = (uint32_t)i;
            for (int j = 1; j <= 256; j++) {
                uint32_t differ =
                    in[(block * 256 + i - 1) % n].u % 4 != in[(block * 256 + j * 7) % n].u % 4;
                uint32_t best = corner + differ;

                corner = row[j];
                best = row[j] + 1 < best ? row[j] + 1 : best;
                row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            }
        }
        out[block].u = row[256];
    }
}

static void ref_knapsack(const union word *in, union word *out, int n)
{
    for (int block = 0; block * 256 < n; block++) {
        uint32_t best[256] = {0};

        for (int k = 0; k < 40; k++) {
            uint32_t thing = in[(block * 256 + k) % n].u, weight = thing % 50 + 1;

            for (uint32_t room = 255; room >= weight; room--)
                if (best[room - weight] + (thing >> 8 & 1023) > best[room])
                    best[room] = best[room - weight] + (thing >> 8 & 1023);
        }
        for (int t = 0; t < 256 && block * 256 + t < n; t++)
            out[block * 256 + t].u = best[t];
    }
}

static void ref_life(const union word *in, union word *out, int n)
{
    static uint32_t old[PROGRAM_WORDS];

    for (int i = 0; i < n; i++)
        out[i].u = in[i].u >> 7 & 1;
    for (int step = 0; step < 8; step++) {
        memcpy(old, out, sizeof(old));
        for (int i = 0; i < n; i++) {
            uint32_t around = 0;

            for (int dy = -1; dy <= 1; dy++)
                for (int dx = -1; dx <= 1; dx++)
                    if (dx || dy)
                        around += old[((i / 64 + dy) & 63) * 64 + ((i + dx) & 63)];
            out[i].u = around == 3 || (around == 2 && old[i]);
        }
    }
}

static void ref_wide_multiply(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t a = in[i].u | (uint64_t)in[(i + 1) % n].u << 32;
        uint64_t b = in[(i + 2) % n].u | (uint64_t)in[(i + 3) % n].u << 32;
        unsigned __int128 r = (unsigned __int128)a * b - (a << 32 | a >> 32);
        uint32_t r1 = (uint32_t)(r >> 32), r2 = (uint32_t)(r >> 64), r3 = (uint32_t)(r >> 96);

        out[i].u =
            (uint32_t)r ^ (r1 << 8 | r1 >> 24) ^ (r2 << 16 | r2 >> 16) ^ (r3 << 24 | r3 >> 8);
    }
}

static void ref_pixels(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t a = in[i].u, b = in[(i + 1) % n].u, sad = (uint32_t)i, mean = 0;
        uint64_t both = (uint64_t)b << 32 | a;

        for (int k = 0; k < 32; k += 8) {
            uint32_t x = a >> k & 255, y = b >> k & 255;

            sad += x > y ? x - y : y - x;
            mean |= (x + y + 1) / 2 << k;
        }
        out[i].u = sad + mean * 3 +
                   ((b >> 24) | (a >> 16 & 255) << 8 | (b >> 8 & 255) << 16 | (a & 255) << 24) * 5 +
                   (uint32_t)(both << i % 32 >> 32) * 7;
    }
}

const struct program programs_warps[] = {
    {"aggregated_histogram", ref_aggregated_histogram, .blocks = 0},
    {"reduce_warp", ref_reduce_warp, .blocks = 0},
    {"votes", ref_votes, .blocks = 0},
    {"transpose_bits", ref_transpose_bits, .blocks = 0},
    {"atomics", ref_atomics, .blocks = 0},
    {"matmul_int8", ref_matmul_int8, .whole = 1},
    {"bfs_levels", ref_bfs_levels, .blocks = 0},
    {"floyd_warshall", ref_floyd_warshall, .whole = 1},
    {"edit_distance", ref_edit_distance, .blocks = 0},
    {"knapsack", ref_knapsack, .blocks = 0},
    {"life", ref_life, .whole = 1},
    {"wide_multiply", ref_wide_multiply, .blocks = 0},
    {"pixels", ref_pixels, .blocks = 0},
    {.name = NULL},
};
