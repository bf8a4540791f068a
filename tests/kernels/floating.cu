// SPDX-License-Identifier: MIT
/*
 * Kernels on floats, as people write them. All have the form kernel(const float *in, float *out, int n); blocks
 * of 256 threads. References: tests/unit/exec/cpu/test_ptx_kernels.c.
 */
#include "portable.h"

extern "C" __global__ void stencil(const float *in, float *out, int n)
{
    __shared__ float s[256 + 4];
    int i = GLOBAL_ID, t = threadIdx.x + 2;

    s[t] = i < n ? in[i] : 0;
    if (threadIdx.x < 2) {
        s[t - 2] = i >= 2 ? in[i - 2] : 0;
        s[t + 256] = i + 256 < n ? in[i + 256] : 0;
    }
    SYNC();
    if (i < n)
        out[i] = 0.1f * s[t - 2] + 0.2f * s[t - 1] + 0.4f * s[t] + 0.2f * s[t + 1] + 0.1f * s[t + 2];
}

extern "C" __global__ void mandelbrot(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        float cx = (i % 64) / 32.0f - 1.5f, cy = (i / 64) / 32.0f - 1.0f, x = 0, y = 0;
        int k = 0;

        while (k < 100 && x * x + y * y < 4.0f) {
            float t = x * x - y * y + cx;

            y = 2 * x * y + cy;
            x = t;
            k++;
        }
        out[i] = k;
        (void)in;
    }
}

extern "C" __global__ void nbody(const float *in, float *out, int n)
{
    __shared__ float p[256];
    int i = GLOBAL_ID;
    float x = i < n ? in[i] : 0, force = 0;

    for (int tile = 0; tile < n; tile += 256) {
        p[threadIdx.x] = tile + threadIdx.x < n ? in[tile + threadIdx.x] : 0;
        SYNC();
        for (int k = 0; k < 256 && tile + k < n; k++) {
            float d = p[k] - x;

            force += d / (d * d + 0.01f);
        }
        SYNC();
    }
    if (i < n)
        out[i] = force;
}

extern "C" __global__ void normalize(const float *in, float *out, int n)
{
    /* each warp scales its 32 values to length one */
    int i = GLOBAL_ID;
    float x = i < n ? in[i] : 0, sum = x * x;

    for (int step = 16; step; step /= 2)
        sum += SHFL_DOWN_F(sum, step);
    __shared__ float sums[8];
    if ((threadIdx.x & 31) == 0)
        sums[threadIdx.x >> 5] = sum;
    SYNC();
    if (i < n)
        out[i] = x / SQRTF(sums[threadIdx.x >> 5] + 1e-6f);
}

extern "C" __global__ void convolution(const float *in, float *out, int n)
{
    int i = GLOBAL_ID, side = 64;

    if (i < n) {
        int row = i / side, column = i % side;
        float sum = 0;

        for (int y = -1; y <= 1; y++)
            for (int x = -1; x <= 1; x++) {
                int r = row + y, c = column + x;

                if (r >= 0 && r < n / side && c >= 0 && c < side)
                    sum = FMAF(in[r * side + c], (float)((y + 2) * (x + 2)), sum);
            }
        out[i] = sum;
    }
}

extern "C" __global__ void horner(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        float x = in[i] * 0.001f, r = 1;

        for (int k = 12; k; k--)
            r = FMAF(r, x / k, 1.0f);
        out[i] = r;
    }
}

extern "C" __global__ void newton(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        float a = in[i] < 0 ? -in[i] : in[i], x = a + 1;

        for (int k = 0; k < 60; k++) {
            float next = 0.5f * (x + a / x);

            if (next == x)
                break;
            x = next;
        }
        out[i] = x;
    }
}

extern "C" __global__ void doubles(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;

    if (i < n) {
        double x = in[i], s = 0;

        for (int k = 1; k <= 20; k++)
            s += x / (k * k) - (double)(long long)(x / k);
        out[i] = (float)s;
    }
}

extern "C" __global__ void vectors(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;

    if (4 * i + 3 < n) { /* 16-byte accesses */
        struct alignas(16) four { float a, b, c, d; };
        four v = ((const four *)in)[i], r;

        r.a = v.d - v.a;
        r.b = v.c * v.b;
        r.c = v.a > v.b ? v.a : v.b;
        r.d = v.c + 1.0f;
        ((four *)out)[i] = r;
    }
}

extern "C" __global__ void radix2(const float *in, float *out, int n)
{
    /* Walsh-Hadamard transform of each block of 256 */
    __shared__ float s[256];
    int i = GLOBAL_ID, t = threadIdx.x;

    s[t] = i < n ? in[i] : 0;
    for (int h = 1; h < 256; h *= 2) {
        float mine, other;

        SYNC();
        mine = s[t];
        other = s[t ^ h];
        SYNC();
        s[t] = t & h ? other - mine : mine + other;
    }
    if (i < n)
        out[i] = s[t];
}

extern "C" __global__ void sparse(const float *in, float *out, int n)
{
    /* a matrix whose row i has i % 5 entries, at columns hashed from (i, k) */
    int i = GLOBAL_ID;

    if (i < n) {
        float sum = 0;

        for (int k = 0; k < i % 5; k++)
            sum = FMAF(in[(i * 31u + k * 17u) % n], (float)(k + 1), sum);
        out[i] = sum;
    }
}

extern "C" __global__ void lerp_table(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;
    float table[9];

    for (int k = 0; k < 9; k++)
        table[k] = k * k * 0.125f;
    if (i < n) {
        float x = in[i] < 0 ? -in[i] : in[i], f;
        int k;

        while (x >= 8)
            x *= 0.5f;
        k = (int)x;
        f = x - k;
        out[i] = table[k] + f * (table[k + 1] - table[k]);
    }
}
