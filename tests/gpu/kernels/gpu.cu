/* SPDX-License-Identifier: MIT */
/*
 * What gpu-check runs on a GPU: work to be timed, and faults.  gpu.ptx beside it is what
 * `make gpu-kernels` gives: PTX 7.0, so that every driver since CUDA 11 takes it.
 */
#include "../../kernels/portable.h"

#define TILE 16

extern "C" __global__ void nothing(void) {}

extern "C" __global__ void vecadd(const float *a, const float *b, float *c, u32 n)
{
    u32 i = GLOBAL_ID;

    if (i < n)
        c[i] = a[i] + b[i];
}

extern "C" __global__ void triad(const float *b, const float *c, float *a, u32 n)
{
    for (u32 i = GLOBAL_ID; i < n; i += gridDim.x * blockDim.x)
        a[i] = FMAF(3.0f, c[i], b[i]);
}

/* c = a * b, n x n, n a multiple of 16; a block of 256 threads makes one tile. */
extern "C" __global__ void sgemm(const float *a, const float *b, float *c, u32 n)
{
    __shared__ float sa[TILE][TILE], sb[TILE][TILE];
    u32 tx = threadIdx.x % TILE, ty = threadIdx.x / TILE, tiles = n / TILE;
    u32 row = blockIdx.x / tiles * TILE + ty, col = blockIdx.x % tiles * TILE + tx;
    float sum = 0;

    for (u32 t = 0; t < tiles; t++) {
        sa[ty][tx] = a[row * n + t * TILE + tx];
        sb[ty][tx] = b[(t * TILE + ty) * n + col];
        SYNC();
        for (u32 k = 0; k < TILE; k++)
            sum = FMAF(sa[ty][k], sb[k][tx], sum);
        SYNC();
    }
    c[row * n + col] = sum;
}

/* Accelerations of n bodies (x, y, z, mass), n a multiple of 256, blocks of 256 threads.  The mass
 * of the pair's other body stands for its force: one square root, correctly rounded, each. */
extern "C" __global__ void nbody(const float *bodies, const float *unused, float *out, u32 n)
{
    __shared__ float tile[256 * 4];
    u32 i = GLOBAL_ID;
    float x = bodies[i * 4], y = bodies[i * 4 + 1], z = bodies[i * 4 + 2];
    float ax = 0, ay = 0, az = 0;

    (void)unused;
    for (u32 base = 0; base < n; base += 256) {
        for (u32 k = 0; k < 4; k++)
            tile[threadIdx.x * 4 + k] = bodies[(base + threadIdx.x) * 4 + k];
        SYNC();
        for (u32 k = 0; k < 256; k++) {
            float dx = tile[k * 4] - x, dy = tile[k * 4 + 1] - y, dz = tile[k * 4 + 2] - z;
            float r = SQRTF(FMAF(dx, dx, FMAF(dy, dy, FMAF(dz, dz, 0.01f))));
            float f = tile[k * 4 + 3] * r;

            ax = FMAF(f, dx, ax);
            ay = FMAF(f, dy, ay);
            az = FMAF(f, dz, az);
        }
        SYNC();
    }
    out[i * 4] = ax;
    out[i * 4 + 1] = ay;
    out[i * 4 + 2] = az;
    out[i * 4 + 3] = 0;
}

/* Four chains of n double multiply-adds in each thread. */
extern "C" __global__ void fma64(const double *in, const double *unused, double *out, u32 n)
{
    u32 i = GLOBAL_ID;
    double x = in[i % 256], a = x, b = x + 1, c = x + 2, d = x + 3;

    (void)unused;
    for (u32 k = 0; k < n; k++) {
        a = __builtin_fma(a, 0.5, x);
        b = __builtin_fma(b, 0.5, x);
        c = __builtin_fma(c, 0.5, x);
        d = __builtin_fma(d, 0.5, x);
    }
    out[i] = a + b + c + d;
}

/* ---- Local memory: an array that is no register, of 2 KiB and of 64 KiB in each thread ---- */

extern "C" __global__ void local2k(u32 *p)
{
    volatile u32 own[512];

    own[*p % 512] = 7;
    *p = own[*p % 512];
}

extern "C" __global__ void local64k(u32 *p)
{
    volatile u32 own[16384];

    own[*p % 16384] = 7;
    *p = own[*p % 16384];
}

/* ---- Faults ---- */

extern "C" __global__ void store(u32 *p)
{
    *p = 1;
}

extern "C" __global__ void misaligned(char *p)
{
    *(volatile u32 *)(p + 1) = 1;
}

extern "C" __global__ void trapped(u32 *p)
{
    *p = 1;
    asm volatile("trap;");
}

extern "C" __global__ void spin(volatile u32 *p)
{
    while (*p == 0)
        ;
}
