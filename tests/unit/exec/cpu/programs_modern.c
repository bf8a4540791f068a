/* SPDX-License-Identifier: MIT */
/* What the kernels of tests/kernels/modern.cu should give, in plain C. */
#include "programs.h"

#include <math.h>
#include <string.h>

static uint32_t at(const union word *in, int i, int n)
{
    return i < n ? in[i].u : 0;
}

static void ref_groups(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t sum = 0, most = 0, before = 0, odd = 0, rank = 0;

        for (int k = i & ~7; k < (i | 7) + 1; k++)
            sum += at(in, k, n);
        for (int k = i & ~31; k < (i | 31) + 1; k++) {
            uint32_t v = at(in, k, n);

            most = v > most ? v : most;
            if (k == i)
                rank = odd * 100;
            before += k < i ? v : 0;
            odd += v & 1;
        }
        out[i].u = sum + most * 3 + before * 5 + (in[i].u & 1 ? rank + odd : 0) * 7;
    }
}

static void ref_warp_reductions(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t sum = 0, low = UINT32_MAX, both = UINT32_MAX, either = 0, odd = 0;
        int32_t high = INT32_MIN;

        for (int k = i & ~31; k < (i | 31) + 1; k++) {
            uint32_t v = at(in, k, n);

            sum += v;
            low = v < low ? v : low;
            high = (int32_t)v > high ? (int32_t)v : high;
            both &= v | 0xffff;
            either |= v & 0x10101010u;
            odd ^= v;
        }
        out[i].u = (sum ^ low * 3 ^ (uint32_t)high * 5 ^ both * 7 ^ either * 9 ^ odd * 11) +
                   UINT32_MAX + 1;
    }
}

static void ref_pipelined(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i].u = in[(i & ~255) + 255 - i % 256].u * 2 + in[i ^ 1].u;
}

static void ref_producer_consumer(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i].u = (in[(i & ~127) + 127 - i % 128].u ^ (uint32_t)(i / 128)) + 1;
}

static void ref_half_dot(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        int low = 0, high = 0;

        for (int k = 0; k < 8; k++) {
            uint32_t v = in[(i + k) % n].u;
            int a0 = v & 7, a1 = v >> 3 & 7, b0 = (int)(v >> 6 & 15) - 8,
                b1 = (int)(v >> 10 & 15) - 8;

            low += a0 * b0;
            high += a1 * b1;
            if (a0 > b1) {
                low += a0;
                high += b0;
            }
        }
        out[i].u = (uint32_t)low << 16 ^ (uint32_t)high;
    }
}

static void ref_bfloat_round(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t f = (in[i].u & 0x8fffffffu) | 0x30000000u, rest = f & 0xffff, near = f >> 16;

        near += rest > 0x8000 || (rest == 0x8000 && near % 2);
        out[i].u = near << 16 | f >> 16;
    }
}

static void ref_scoped_atomics(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        out[0].u += in[i].u;
        out[1].u = in[i].u > out[1].u ? in[i].u : out[1].u;
        out[2 + i / 256].u ^= in[i].u;
    }
    out[100].u = out[0].u + out[1].u;
}

static double single_of(int which, float x)
{
    double d = (double)x;

    switch (which) {
    case 0: return sin(d);
    case 1: return cos((double)(x * 1000));
    case 2: return tan(d);
    case 3: return exp(d);
    case 4: return log((double)(x * x + 0.1f));
    case 5: return pow((double)(x * x), (double)1.7f);
    case 6: return atan2(d, 2.5);
    case 7: return erf(d);
    case 8: return tgamma((double)(x * 0.3f + 4));
    case 9: return cbrt(d);
    case 10: return hypot(d, 3);
    case 11: return fmod(d, (double)0.7f);
    case 12: return asinh(d);
    case 13: return ldexp(d, 5) + ceil(d);
    case 14: return remainder(d, 3);
    default: return log1p((double)(x * x)) + exp2(d) + rint(d);
    }
}

static void ref_math_single(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i].f = (float)single_of(i % 16, (float)(int)(in[i].u % 20001) * 1e-3f - 10);
}

static double double_of(int which, double x)
{
    switch (which) {
    case 0: return sin(x * 1e5);
    case 1: return exp(x);
    case 2: return log(x * x + 0.1);
    case 3: return pow(x * x, -0.3);
    case 4: return atan(x) + tanh(x);
    case 5: return erfc(x * 0.2);
    case 6: return lgamma(x * x + 1);
    default: return cbrt(x) + sqrt(x * x + 1) + fmod(x, 0.3);
    }
}

static void ref_math_double(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i].f = (float)double_of(i % 8, (int)(in[i].u % 20001) * 1e-3 - 10);
}

const struct program programs_modern[] = {
    {"groups", ref_groups, .blocks = 0},
    {"warp_reductions", ref_warp_reductions, .blocks = 0},
    {"pipelined", ref_pipelined, .whole = 1},
    {"producer_consumer", ref_producer_consumer, .whole = 1},
    {"half_dot", ref_half_dot, .blocks = 0},
    {"bfloat_round", ref_bfloat_round, .blocks = 0},
    {"scoped_atomics", ref_scoped_atomics, .blocks = 0},
    {"math_single", ref_math_single, .tolerance = 2e-6},
    {"math_double", ref_math_double, .tolerance = 1e-7},
    {.name = NULL},
};
