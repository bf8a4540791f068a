/* SPDX-License-Identifier: MIT */
/* What the kernels of tests/kernels/numeric.cu should give, in plain C; what needs no rounding in common, in double. */
#include "programs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define W 64

static void ref_sgemm_tiled(const union word *in, union word *out, int n)
{
    (void)n;
    for (int i = 0; i < W * W; i++)
        for (int k = 0; k < W; k++)
            out[i].f += in[i / W * W + k].f * in[i % W * W + k].f;
}

static void ref_dgemm_blocked(const union word *in, union word *out, int n)
{
    (void)n;
    for (int i = 0; i < W * W; i++) {
        double sum = 0;

        for (int k = 0; k < W; k++)
            sum += (double)in[i / W * W + k].f * (double)in[k * W + i % W].f;
        out[i].f = (float)sum;
    }
}

static void ref_softmax(const union word *in, union word *out, int n)
{
    for (int row = 0; row < n; row += 256) {
        double sum = 0;

        for (int i = row; i < row + 256; i++)
            sum += exp((double)in[i].f);
        for (int i = row; i < row + 256; i++)
            out[i].f = (float)(exp((double)in[i].f) / sum);
    }
}

static void ref_layer_norm(const union word *in, union word *out, int n)
{
    for (int row = 0; row < n; row += 256) {
        double mean = 0, var = 0;

        for (int i = row; i < row + 256; i++)
            mean += (double)in[i].f / 256;
        for (int i = row; i < row + 256; i++)
            var += ((double)in[i].f - mean) * ((double)in[i].f - mean) / 256;
        for (int i = row; i < row + 256; i++)
            out[i].f = (float)(((double)in[i].f - mean) / sqrt(var + 1e-5) * 1.5 + 0.25);
    }
}

static void ref_attention(const union word *in, union word *out, int n)
{
    (void)n;
    for (int row = 0; row < 64; row++) {
        double weights[64], sum = 0;

        for (int j = 0; j <= row; j++) {
            double score = 0;

            for (int c = 0; c < 16; c++)
                score += (double)in[row * 16 + c].f * (double)in[1024 + j * 16 + c].f;
            sum += weights[j] = exp(score / 64);
        }
        for (int c = 0; c < 16; c++) {
            double acc = 0;

            for (int j = 0; j <= row; j++)
                acc += weights[j] * (double)in[2048 + j * 16 + c].f;
            out[row * 16 + c].f = (float)(acc / sum);
        }
    }
}

static int inside(int x)
{
    return x < 0 ? 0 : x >= W ? W - 1 : x;
}

static void ref_convolution_2d(const union word *in, union word *out, int n)
{
    static const float binomial[5] = {1, 4, 6, 4, 1};

    for (int i = 0; i < n; i++) {
        float sum = 0;

        for (int k = 0; k < 25; k++)
            sum += binomial[k / 5] * binomial[k % 5] *
                   in[inside(i / W + k / 5 - 2) * W + inside(i % W + k % 5 - 2)].f;
        out[i].f = sum / 256;
    }
}

static void ref_fft_256(const union word *in, union word *out, int n)
{
    for (int row = 0; row < n; row += 256)
        for (int k = 0; k < 256; k++) {
            double re = 0, im = 0;

            for (int t = 0; t < 256; t++) {
                re += (double)in[row + t].f * cos(M_PI * (k * t % 256) / 128);
                im += (double)in[row + t].f * sin(M_PI * (k * t % 256) / 128);
            }
            out[row + k].f = (float)(re * re + im * im);
        }
}

/* The exact solution, by elimination: thirty steps are enough for a matrix with condition 3. */
static void ref_conjugate_gradient(const union word *in, union word *out, int n)
{
    for (int row = 0; row < n; row += 256) {
        double diagonal[256], right[256], x = 0;

        for (int i = 0; i < 256; i++) {
            diagonal[i] = 4 - (i ? 1 / diagonal[i - 1] : 0);
            right[i] = (double)in[row + i].f + (i ? right[i - 1] / diagonal[i - 1] : 0);
        }
        for (int i = 255; i >= 0; i--) {
            x = (right[i] + x) / diagonal[i];
            out[row + i].f = (float)x;
        }
    }
}

static void ref_cholesky_4(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        double a[4][4], y[4], sum = 0;

        for (int r = 0; r < 4; r++)
            for (int c = 0; c < 4; c++)
                a[r][c] =
                    (double)in[(i + r) % n].f * (double)in[(i + c) % n].f + (r == c ? 3 + r : 0);
        for (int k = 0; k < 4; k++) { /* outer products, where the kernel goes by rows */
            a[k][k] = sqrt(a[k][k]);
            for (int r = k + 1; r < 4; r++)
                a[r][k] /= a[k][k];
            for (int r = k + 1; r < 4; r++)
                for (int c = k + 1; c <= r; c++)
                    a[r][c] -= a[r][k] * a[c][k];
        }
        for (int r = 0; r < 4; r++) {
            y[r] = r + 1;
            for (int k = 0; k < r; k++)
                y[r] -= a[r][k] * y[k];
            sum += y[r] /= a[r][r];
        }
        out[i].f = (float)sum;
    }
}

static void ref_jacobi(const union word *in, union word *out, int n)
{
    union word old[PROGRAM_WORDS];

    memcpy(out, in, (size_t)n * sizeof(*out));
    for (int step = 0; step < 8; step++) {
        memcpy(old, out, sizeof(old));
        for (int y = 1; y < W - 1; y++)
            for (int x = 1; x < W - 1; x++)
                out[y * W + x].f = 0.25f * (old[y * W + x - 1].f + old[y * W + x + 1].f +
                                            old[(y - 1) * W + x].f + old[(y + 1) * W + x].f);
    }
}

static void ref_spmv_rows(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i % 7; k++)
            out[i].f += in[(i * 3 + k * 41) % n].f * in[(i * 5 + k * 257) % n].f;
}

static void ref_hadamard_8x8(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        double sum = 0;

        for (int k = 0; k < 64; k++)
            sum += (__builtin_popcount((unsigned)(i & k & 63)) % 2 ? -1.0 : 1.0) *
                   (double)in[i / 64 * 64 + k].f;
        out[i].f = (float)sum;
    }
}

static void ref_welford(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        double mean = 0, var = 0;
        int count = (n - i + 99) / 100;

        for (int k = i; k < n; k += 100)
            mean += (double)in[k].f / count;
        for (int k = i; k < n; k += 100)
            var += ((double)in[k].f - mean) * ((double)in[k].f - mean) / count;
        out[i].f = (float)(var + mean);
    }
}

/* The oscillator's closed form: the method's own error is far below the tolerance. */
static void ref_runge_kutta(const union word *in, union word *out, int n)
{
    const double t = 20 * 0.0625, g = 0.05, w = sqrt(1 - g * g);

    for (int i = 0; i < n; i++)
        out[i].f = (float)((double)in[i].f * exp(-g * t) * (cos(w * t) + g / w * sin(w * t)));
}

const struct program programs_numeric[] = {
    {"sgemm_tiled", ref_sgemm_tiled, .whole = 1},
    {"dgemm_blocked", ref_dgemm_blocked, .whole = 1},
    {"softmax", ref_softmax, .tolerance = 1e-6, .whole = 1},
    {"layer_norm", ref_layer_norm, .tolerance = 1e-5, .whole = 1},
    {"attention", ref_attention, .tolerance = 1e-5, .whole = 1},
    {"convolution_2d", ref_convolution_2d, .whole = 1},
    {"fft_256", ref_fft_256, .tolerance = 1e-4, .whole = 1},
    {"conjugate_gradient", ref_conjugate_gradient, .tolerance = 1e-6, .whole = 1},
    {"cholesky_4", ref_cholesky_4, .tolerance = 1e-6},
    {"jacobi", ref_jacobi, .whole = 1},
    {"spmv_rows", ref_spmv_rows, .blocks = 0},
    {"hadamard_8x8", ref_hadamard_8x8, .tolerance = 1e-5, .whole = 1},
    {"welford", ref_welford, .tolerance = 1e-5},
    {"runge_kutta", ref_runge_kutta, .tolerance = 1e-5},
    {.name = NULL},
};
