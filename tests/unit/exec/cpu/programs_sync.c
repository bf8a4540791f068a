/* SPDX-License-Identifier: MIT */
/* What the kernels of tests/kernels/sync.cu should give, in plain C. */
#include "programs.h"
#include "exec/cpu/ptx.h"

#include <string.h>

static void ref_hash_table(const union word *in, union word *out, int n)
{
    uint32_t counts[1000] = {0};

    for (int i = 0; i < n; i++)
        counts[in[i].u % 1000]++;
    for (int i = 0; i < n; i++)
        out[i].u = counts[in[i].u % 1000];
}

static void ref_spin_lock(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        out[i / 32 * 2].u += in[i].u;
        out[i / 32 * 2 + 1].u ^= in[i].u;
    }
}

static void ref_ticket_lock(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i % 16].u += in[i].u;
}

static void ref_grid_barrier(const union word *in, union word *out, int n)
{
    memcpy(out, in, (size_t)n * sizeof(*out));
    for (int round = 0; round < 16; round++) {
        union word first = out[0];

        for (int i = 0; i < n; i++)
            out[i].u += 3 * (i + 1 < n ? out[i + 1].u : first.u);
    }
}

static void ref_work_queue(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t x = in[i].u % 1024;

        while (x > 1 && ++out[i].u != 100)
            x = x % 2 ? (3 * x + 1) % 65536 : x / 2;
    }
}

static void ref_ring_buffer(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        int mirror = i / 32 * 32 + 31 - i % 32;

        out[i].u = (mirror < n ? in[mirror].u : 0) + 1;
    }
}

static void ref_function_table(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t x = in[i].u;

        for (int k = 0; k < 12; k++)
            switch (x / 8 % 4) {
            case 0: x += 17; break;
            case 1: x *= 31; break;
            case 2: x ^= x / 32; break;
            default: x = x * 512 + x / (1u << 23); break;
            }
        out[i].u = x;
    }
}

static void ref_virtual_calls(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t a = in[i].u % 256, b = in[i].u >> 8 & 255, c = in[i].u >> 16 & 255,
                 scale = in[i].u >> 24;

        out[i].u = a % 2 ? a * a * scale : b * c + scale;
    }
}

static void ref_linked_list(const union word *in, union word *out, int n)
{
    out[0].i = n;
    for (int i = 0; i < n; i++)
        out[1].u += in[i].u;
}

static void ref_mutual_recursion(const union word *in, union word *out, int n)
{
    static const uint32_t fibonacci[] = {0, 1, 1, 2, 3, 5, 8, 13};

    for (int i = 0; i < n; i++) {
        uint32_t k = in[i].u % 20, value = k % 2 ? 2 : 1;

        for (uint32_t tripled = 0; tripled < k / 2; tripled++)
            value *= 3;
        out[i].u = value + fibonacci[in[i].u >> 5 & 7];
    }
}

static void ref_towers(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t k = in[i].u % 6, moves = 0, pegs[3];

        /* Move m takes disk ctz(m) + 1, which goes round the pegs one way or, by its parity, the other. */
        for (uint32_t m = 1; m < 1u << k; m++) {
            pegs[0] = (m & (m - 1)) % 3;
            pegs[1] = ((m | (m - 1)) + 1) % 3;
            if (k % 2 == 0)
                for (int p = 0; p < 2; p++)
                    pegs[p] = (3 - pegs[p]) % 3;
            moves = moves * 5 + pegs[0] * 3 + pegs[1];
        }
        out[i].u = moves;
    }
}

static void ref_union_find(const union word *in, union word *out, int n)
{
    int changed = 1;

    for (int i = 0; i < n; i++)
        out[i].i = i;
    while (changed) { /* labels spread until nothing changes */
        changed = 0;
        for (int i = 0; i < n; i++) {
            int other = (i * 7 + 3) % n;
            int low = out[i].i < out[other].i ? out[i].i : out[other].i;

            if (in[i].u % 5 == 0 || out[i].i == out[other].i)
                continue;
            out[i].i = out[other].i = low;
            changed = 1;
        }
    }
}

#define TOGETHER VGPU_PTX_LAUNCH_COOPERATIVE

const struct program programs_sync[] = {
    {"hash_table", ref_hash_table, .flags = TOGETHER},
    {"spin_lock", ref_spin_lock, .blocks = 0},
    {"ticket_lock", ref_ticket_lock, .blocks = 0},
    {"grid_barrier", ref_grid_barrier, .flags = TOGETHER},
    {"work_queue", ref_work_queue, .blocks = 3},
    {"ring_buffer", ref_ring_buffer, .blocks = 0},
    {"function_table", ref_function_table, .blocks = 0},
    {"virtual_calls", ref_virtual_calls, .blocks = 0},
    {"linked_list", ref_linked_list, .blocks = 0},
    {"mutual_recursion", ref_mutual_recursion, .blocks = 0},
    {"towers", ref_towers, .blocks = 0},
    {"union_find", ref_union_find, .flags = TOGETHER},
    {.name = NULL},
};
