// SPDX-License-Identifier: MIT
/*
 * Linear algebra, transforms, and the layers of neural networks. All have the form kernel(const float *in, float *out,
 * int n), blocks of 256 threads; most take the 4096 inputs as 64 x 64 or as rows of 256, so n is 4096.
 * References: tests/unit/exec/cpu/programs_numeric.c.
 */
#include "portable.h"

#define W 64

/* The sum over the block, to all its threads: a tree in shared memory. */
static __device__ inline float block_sum(float v)
{
    __shared__ float s[256];

    s[threadIdx.x] = v;
    SYNC();
    for (int half = 128; half; half /= 2) {
        if (threadIdx.x < half)
            s[threadIdx.x] += s[threadIdx.x + half];
        SYNC();
    }
    v = s[0];
    SYNC();
    return v;
}

static __device__ inline float block_max(float v)
{
    __shared__ float s[256];

    s[threadIdx.x] = v;
    SYNC();
    for (int half = 128; half; half /= 2) {
        if (threadIdx.x < half && s[threadIdx.x + half] > s[threadIdx.x])
            s[threadIdx.x] = s[threadIdx.x + half];
        SYNC();
    }
    v = s[0];
    SYNC();
    return v;
}

/* in times its transpose: tiles of 16 x 16 in shared memory. */
extern "C" __global__ void sgemm_tiled(const float *in, float *out, int n)
{
    __shared__ float a[16][16], b[16][17];
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    int row = blockIdx.x / 4 * 16 + ty, col = blockIdx.x % 4 * 16 + tx;
    float sum = 0;

    for (int t = 0; t < W; t += 16) {
        a[ty][tx] = in[row * W + t + tx];
        b[tx][ty] = in[(blockIdx.x % 4 * 16 + ty) * W + t + tx];
        SYNC();
        for (int k = 0; k < 16; k++)
            sum += a[ty][k] * b[k][tx];
        SYNC();
    }
    out[row * W + col] = sum;
}

/* The same product in double, four results to a thread in registers. */
extern "C" __global__ void dgemm_blocked(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;
    int row = i / 32 * 2, col = i % 32 * 2;
    double c00 = 0, c01 = 0, c10 = 0, c11 = 0;

    if (i >= 1024)
        return;
    for (int k = 0; k < W; k++) {
        double a0 = in[row * W + k], a1 = in[(row + 1) * W + k], b0 = in[k * W + col], b1 = in[k * W + col + 1];

        c00 += a0 * b0;
        c01 += a0 * b1;
        c10 += a1 * b0;
        c11 += a1 * b1;
    }
    out[row * W + col] = (float)c00;
    out[row * W + col + 1] = (float)c01;
    out[(row + 1) * W + col] = (float)c10;
    out[(row + 1) * W + col + 1] = (float)c11;
}

extern "C" __global__ void softmax(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;
    float e = EXP2F((in[i] - block_max(in[i])) * 1.44269504f);

    out[i] = e / block_sum(e);
}

extern "C" __global__ void layer_norm(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;
    float mean = block_sum(in[i]) * (1 / 256.0f), d = in[i] - mean;

    out[i] = d / SQRTF(block_sum(d * d) * (1 / 256.0f) + 1e-5f) * 1.5f + 0.25f;
}

/* Attention of one head: 64 queries, keys and values of 16 columns, kept as one running sum (no matrix of scores). */
extern "C" __global__ void attention(const float *in, float *out, int n)
{
    const float *q = in, *k = in + 1024, *v = in + 2048;
    int row = GLOBAL_ID;
    float top = -1e30f, sum = 0, acc[16];

    if (row >= 64)
        return;
    for (int c = 0; c < 16; c++)
        acc[c] = 0;
    for (int j = 0; j <= row; j++) { /* causal */
        float score = 0, scale, weight;

        for (int c = 0; c < 16; c++)
            score += q[row * 16 + c] * k[j * 16 + c];
        score *= 0.25f / 16;
        scale = score > top ? EXP2F((top - score) * 1.44269504f) : 1;
        top = score > top ? score : top;
        weight = EXP2F((score - top) * 1.44269504f);
        sum = sum * scale + weight;
        for (int c = 0; c < 16; c++)
            acc[c] = acc[c] * scale + weight * v[j * 16 + c];
    }
    for (int c = 0; c < 16; c++)
        out[row * 16 + c] = acc[c] / sum;
}

__constant__ float blur[5][5] = {{1, 4, 6, 4, 1}, {4, 16, 24, 16, 4}, {6, 24, 36, 24, 6}, {4, 16, 24, 16, 4}, {1, 4, 6, 4, 1}};

/* 5 x 5 over 64 x 64; edges are repeated. */
extern "C" __global__ void convolution_2d(const float *in, float *out, int n)
{
    int i = GLOBAL_ID, x = i % W, y = i / W;
    float sum = 0;

    for (int dy = -2; dy <= 2; dy++)
        for (int dx = -2; dx <= 2; dx++) {
            int xx = x + dx < 0 ? 0 : x + dx >= W ? W - 1 : x + dx, yy = y + dy < 0 ? 0 : y + dy >= W ? W - 1 : y + dy;

            sum += blur[dy + 2][dx + 2] * in[yy * W + xx];
        }
    out[i] = sum * (1 / 256.0f);
}

/* FFT of 256 complex numbers per block (real input, power out): Stockham, twiddles by recurrence, in double. */
extern "C" __global__ void fft_256(const float *in, float *out, int n)
{
    __shared__ float re[2][256], im[2][256];
    int t = threadIdx.x, from = 0;

    re[0][t] = in[GLOBAL_ID];
    im[0][t] = 0;
    SYNC();
    for (int half = 1; half < 256; half *= 2, from = !from) {
        if (t < 128) {
            int k = t % half, to = t / half * half * 2 + k;
            double c = 1, s = 0, cs = 1, sn = 0;
            float a, b, x, y;

            /* cos and sin of pi / half, by half-angles from pi */
            cs = -1;
            for (int h = half; h > 1; h /= 2) {
                double old = cs;

                cs = __builtin_sqrt((1 + cs) * 0.5);
                sn = __builtin_sqrt((1 - old) * 0.5);
            }
            for (int j = 0; j < k; j++) {
                double was = c;

                c = c * cs - s * sn;
                s = s * cs + was * sn;
            }
            a = re[from][t + 128];
            b = im[from][t + 128];
            x = (float)c * a + (float)s * b;
            y = (float)c * b - (float)s * a;
            re[!from][to] = re[from][t] + x;
            im[!from][to] = im[from][t] + y;
            re[!from][to + half] = re[from][t] - x;
            im[!from][to + half] = im[from][t] - y;
        }
        SYNC();
    }
    out[GLOBAL_ID] = re[from][t] * re[from][t] + im[from][t] * im[from][t];
}

/* Conjugate gradients in double for a tridiagonal system of 256 unknowns per block: 30 steps. */
extern "C" __global__ void conjugate_gradient(const float *in, float *out, int n)
{
    __shared__ double p[258], s[256];
    int t = threadIdx.x + 1;
    double b = in[GLOBAL_ID], x = 0, r = b, rr, old;

    p[t] = r;
    p[0] = p[257] = 0;
    s[t - 1] = r * r;
    for (int step = 0; step < 30; step++) {
        double ap, alpha;

        SYNC();
        for (int half = 128; half; half /= 2) {
            if (t - 1 < half)
                s[t - 1] += s[t - 1 + half];
            SYNC();
        }
        rr = s[0];
        SYNC();
        if (step)
            p[t] = r + rr / old * p[t];
        old = rr;
        SYNC();
        ap = 4 * p[t] - p[t - 1] - p[t + 1];
        s[t - 1] = p[t] * ap;
        SYNC();
        for (int half = 128; half; half /= 2) {
            if (t - 1 < half)
                s[t - 1] += s[t - 1 + half];
            SYNC();
        }
        alpha = s[0] != 0 ? rr / s[0] : 0;
        SYNC();
        x += alpha * p[t];
        r -= alpha * ap;
        s[t - 1] = r * r;
    }
    out[GLOBAL_ID] = (float)x;
}

/* A 4 x 4 positive definite system per thread, by Cholesky in registers and local memory. */
extern "C" __global__ void cholesky_4(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;
    double a[4][4], y[4];

    if (i >= n)
        return;
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < 4; c++)
            a[r][c] = (double)in[(i + r) % n] * in[(i + c) % n] + (r == c ? 3 + r : 0);
    for (int r = 0; r < 4; r++) {
        for (int c = 0; c <= r; c++) {
            double sum = a[r][c];

            for (int k = 0; k < c; k++)
                sum -= a[r][k] * a[c][k];
            a[r][c] = r == c ? __builtin_sqrt(sum) : sum / a[c][c];
        }
    }
    for (int r = 0; r < 4; r++) {
        y[r] = r + 1;
        for (int k = 0; k < r; k++)
            y[r] -= a[r][k] * y[k];
        y[r] /= a[r][r];
    }
    out[i] = (float)(y[0] + y[1] + y[2] + y[3]);
}

/* 64 x 64, the border held: eight steps of Jacobi in one block's shared memory. */
extern "C" __global__ void jacobi(const float *in, float *out, int n)
{
    __shared__ float u[2][W * W];
    int at = 0;

    if (blockIdx.x)
        return;
    for (int i = threadIdx.x; i < W * W; i += 256)
        u[0][i] = u[1][i] = in[i];
    SYNC();
    for (int step = 0; step < 8; step++, at = !at) {
        for (int i = threadIdx.x; i < W * W; i += 256)
            if (i % W && i % W != W - 1 && i >= W && i < W * (W - 1))
                u[!at][i] = 0.25f * (u[at][i - 1] + u[at][i + 1] + u[at][i - W] + u[at][i + W]);
        SYNC();
    }
    for (int i = threadIdx.x; i < W * W; i += 256)
        out[i] = u[at][i];
}

/* Compressed rows made from the input: row i has i % 7 entries. */
extern "C" __global__ void spmv_rows(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;
    float sum = 0;

    if (i >= n)
        return;
    for (int k = 0; k < i % 7; k++)
        sum += in[(i * 3 + k * 41) % n] * in[(i * 5 + k * 257) % n];
    out[i] = sum;
}

/* Two-dimensional 8 x 8 Walsh-Hadamard transforms, a block of 256 threads holding four. */
extern "C" __global__ void hadamard_8x8(const float *in, float *out, int n)
{
    __shared__ float s[256];
    int t = threadIdx.x;

    s[t] = in[GLOBAL_ID];
    SYNC();
    for (int bit = 1; bit < 64; bit *= 2) {
        float mine = s[t], other = s[t ^ bit];

        SYNC();
        s[t] = t & bit ? other - mine : mine + other;
        SYNC();
    }
    out[GLOBAL_ID] = s[t];
}

/* Mean and variance of all that each thread strides over, one pass (Welford). */
extern "C" __global__ void welford(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;
    float mean = 0, m2 = 0;
    int count = 0;

    if (i >= n)
        return;
    for (int k = i; k < n; k += 100) {
        float d = in[k] - mean;

        count++;
        mean += d / count;
        m2 += d * (in[k] - mean);
    }
    out[i] = m2 / count + mean;
}

/* Runge-Kutta of a pendulum-like oscillator with damping, in float4-like state. */
extern "C" __global__ void runge_kutta(const float *in, float *out, int n)
{
    int i = GLOBAL_ID;
    float x, v = 0, h = 0.0625f;

    if (i >= n)
        return;
    x = in[i];
    for (int step = 0; step < 20; step++) {
        float k1 = v, l1 = -x - 0.1f * v, x2 = x + h / 2 * k1, v2 = v + h / 2 * l1;
        float k2 = v2, l2 = -x2 - 0.1f * v2, x3 = x + h / 2 * k2, v3 = v + h / 2 * l2;
        float k3 = v3, l3 = -x3 - 0.1f * v3, x4 = x + h * k3, v4 = v + h * l3;
        float k4 = v4, l4 = -x4 - 0.1f * v4;

        x += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4);
        v += h / 6 * (l1 + 2 * l2 + 2 * l3 + l4);
    }
    out[i] = x;
}
