/* SPDX-License-Identifier: MIT */
/* What the kernels of tests/kernels/opencl.cl should give, in plain C. */
#include "programs.h"

#include <stdlib.h>
#include <string.h>

#define GROUP 256

static int at_edge(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static uint32_t byte_of(union word w, int k)
{
    return w.u >> (8 * k) & 255;
}

static void ref_saxpy4(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        float v = (float)(in[i].u >> 8);

        out[i].f = v * 0.75f;
        if ((i | 3) < n) /* .wxyz: the element before, of four */
            out[i].f += (float)(in[i % 4 ? i - 1 : i + 3].u >> 8);
    }
}

static void ref_blur(const union word *in, union word *out, int n)
{
    static const uint32_t weights[5] = {1, 4, 6, 4, 1};

    for (int i = 0; i < n; i++)
        for (int c = 0; c < 4; c++) {
            uint32_t sum = 8;

            for (int k = 0; k < 5; k++)
                sum += byte_of(in[at_edge(i + k - 2, n)], c) * weights[k];
            out[i].u |= (sum >> 4) << (8 * c);
        }
}

static void ref_sobel(const union word *in, union word *out, int n)
{
    static const int filter[3] = {1, 2, 1};

    for (int i = 0; i < n; i++) {
        int gx = 0, gy = 0;

        for (int dy = -1; dy <= 1; dy++)
            for (int dx = -1; dx <= 1; dx++) {
                int y = at_edge(i / 64 + dy, (n - 1) / 64 + 1), x = at_edge(i % 64 + dx, 64);
                int p = (int)byte_of(in[at_edge(y * 64 + x, n)], 0);

                gx += dx * filter[dy + 1] * p;
                gy += dy * filter[dx + 1] * p;
            }
        out[i].u = (uint32_t)abs(gx) << 16 | (uint32_t)abs(gy);
    }
}

static void ref_colours(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        int r = (int)byte_of(in[i], 0), g = (int)byte_of(in[i], 1), b = (int)byte_of(in[i], 2);
        int y = ((66 * r + 129 * g + 25 * b + 128) >> 8) + 16;
        int u = ((-38 * r - 74 * g + 112 * b + 128) >> 8) + 128;
        int v = ((112 * r - 94 * g - 18 * b + 128) >> 8) + 128;

        out[i].u = (in[i].u & 0xff000000) | (uint32_t)y << 16 | (uint32_t)u << 8 | (uint32_t)v;
    }
}

static void ref_reduce(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        union word *o = &out[i / GROUP * 4];

        o[0].u += in[i].u;
        o[1].u ^= in[i].u;
        o[2].u = o[2].u > in[i].u ? o[2].u : in[i].u;
        for (uint32_t x = in[i].u; x; x &= x - 1)
            o[3].u++;
    }
}

static void ref_scan(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i].u = in[i].u + (i % GROUP ? out[i - 1].u : 0);
}

static void ref_gram(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 64; k++)
            out[i].u += (uint32_t)((in[i / 64 * 64 + k].i >> 16) * (in[i % 64 * 64 + k].i >> 16));
}

static void ref_order(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        int first = i - i % GROUP, place = first;

        for (int k = first; k < first + GROUP && k < n; k++)
            place += in[k].u % 64 < in[i].u % 64 || (in[k].u % 64 == in[i].u % 64 && k < i);
        out[place].u = (uint32_t)(i - first);
    }
}

static void ref_histogram(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 4; k++)
            out[byte_of(in[i], k)].u++;
}

static void ref_julia(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        float x = (float)(in[i].u & 0xffff) / 32768.0f - 1.0f;
        float y = (float)(in[i].u >> 16) / 32768.0f - 1.0f;

        while (out[i].u < 64 && x * x + y * y <= 4.0f) {
            float next = x * x - y * y + -0.75f;

            y = 2.0f * x * y + 0.125f;
            x = next;
            out[i].u++;
        }
    }
}

static uint32_t rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void ref_encrypt(const union word *in, union word *out, int n)
{
    static const uint32_t key[4] = {0x12345678, 0x9abcdef0, 0x0f1e2d3c, 0x4b5a6978};

    for (int i = 0; i + 2 <= n; i += 2) {
        uint32_t x = in[i].u, y = in[i + 1].u, sum = 0;

        for (int round = 0; round < 32; round++) {
            x += (((y << 4) ^ (y >> 5)) + y) ^ (sum + key[sum & 3]);
            sum += 0x9e3779b9;
            y += (((x << 4) ^ (x >> 5)) + x) ^ (sum + key[sum >> 11 & 3]);
        }
        out[i].u = rotate(y, 19);
        out[i + 1].u = rotate(x, 7);
    }
}

static void ref_brighten(const union word *in, union word *out, int n)
{
    for (int i = 0; i + 4 <= n; i += 4) {
        uint8_t v[16];

        memcpy(v, &in[i], 16);
        for (int k = 0; k < 16; k++)
            v[k] = (uint8_t)(v[k] + v[k] / 2 > 255 ? 255 : v[k] + v[k] / 2);
        for (int k = 0; k < 16; k += 2)
            v[k] = v[k + 1] > v[k] ? v[k + 1] : v[k];
        v[15] = (uint8_t)(i / 4);
        for (int k = 0; k < 8; k++) {
            uint8_t swap = v[k];

            v[k] = v[15 - k];
            v[15 - k] = swap;
        }
        memcpy(&out[i], v, 16);
    }
}

/* The bits of a number that a half holds exactly: multiples of 1/2 up to 1024. */
static uint32_t half_of(float f)
{
    union word w = {.f = f};

    return f == 0 ? 0 : (w.u >> 16 & 0x8000) | ((w.u & 0x7fffffff) - (112u << 23)) >> 13;
}

static void ref_halves(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        int beside = (i ^ 1) < n ? i ^ 1 : 0;

        out[i].u = half_of((float)(in[i].u & 1023) * 0.5f) |
                   half_of((float)(in[beside].u & 1023) - 512.0f) << 16;
    }
}

static void ref_polynomial(const union word *in, union word *out, int n)
{
    for (int i = 0; i + 4 <= n; i += 4) {
        double x = (double)in[i].u / 4294967296.0, y = (double)in[i + 1].i / 4294967296.0;
        double sums[2] = {1.0, -1.0};

        for (int k = 1; k < 9; k++) {
            sums[0] = sums[0] * x + 1.0 / k;
            sums[1] = sums[1] * y + 1.0 / k;
        }
        sums[1] /= 1.0 + y * y;
        memcpy(&out[i], sums, sizeof(sums));
    }
}

static void ref_longs(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t a = (uint64_t)in[i].u << 32 | in[(i + 1) % n].u;
        uint64_t b = (uint64_t)in[(i + 2) % n].u * in[(i + 3) % n].u;
        uint64_t c = (uint64_t)((unsigned __int128)a * b >> 64) ^ a * b;
        uint32_t zeros = 0;

        c += a / ((b >> 24) + 1) + a % ((b >> 40) + 1) + (uint64_t)((int64_t)a / ((int64_t)b | 1));
        while (zeros < 32 && !(in[i].u >> (31 - zeros)))
            zeros++;
        out[i].u = (uint32_t)c ^ (uint32_t)(c >> 32) ^ zeros;
    }
}

static void ref_any_space(const union word *in, union word *out, int n)
{
    static const uint32_t table[8] = {3, 1, 4, 1, 5, 9, 2, 6};

    for (int i = 0; i < n; i++)
        for (uint32_t k = 0; k < 8; k++) {
            uint32_t which = in[i].u % 3, from = (k - (uint32_t)i) * 5 & 7; /* 5 * 5 = 1 mod 8 */
            uint32_t value = which == 0                 ? k * k
                             : which == 1 && i + 8 <= n ? in[(uint32_t)i + k].u
                                                        : in[i].u >> from ^ table[from];

            out[i].u = out[i].u * 31 + value;
        }
}

static void ref_machine(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        int32_t x = in[i].i, a;

        a = (int32_t)(((uint32_t)x + 7u) * 14u) >> 5;
        a ^= x;
        out[i].u = 0u - ((uint32_t)a + (uint32_t)(a % 3 - 9));
    }
}

static void ref_nearest(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        int best = 0, least = 1 << 30;

        for (int k = 0; k < 8; k++) {
            int far = 0;

            for (int c = 0; c < 4; c++) {
                int d = (int)byte_of(in[i], c) - (int)byte_of(in[k % n], c);

                far += d * d;
            }
            best = far < least ? k : best;
            least = far < least ? far : least;
        }
        out[i].u = (uint32_t)best << 24 | (uint32_t)least;
    }
}

const struct program programs_opencl[] = {
    {"saxpy4", ref_saxpy4, .blocks = 0},
    {"blur", ref_blur, .blocks = 0},
    {"sobel", ref_sobel, .blocks = 0},
    {"colours", ref_colours, .blocks = 0},
    {"reduce", ref_reduce, .blocks = 0},
    {"scan", ref_scan, .blocks = 0},
    {"gram", ref_gram, .blocks = 0, .whole = 1},
    {"order", ref_order, .blocks = 0},
    {"histogram", ref_histogram, .blocks = 3},
    {"julia", ref_julia, .blocks = 0},
    {"encrypt", ref_encrypt, .blocks = 0},
    {"brighten", ref_brighten, .blocks = 0},
    {"halves", ref_halves, .blocks = 0},
    {"polynomial", ref_polynomial, .blocks = 0},
    {"longs", ref_longs, .blocks = 0},
    {"any_space", ref_any_space, .blocks = 0},
    {"machine", ref_machine, .blocks = 0},
    {"nearest", ref_nearest, .blocks = 0},
    {.name = NULL},
};
