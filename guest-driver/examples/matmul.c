/* SPDX-License-Identifier: MIT */
/*
 * matmul: C = A * B for N x N matrices, tiled through shared memory on the device,
 * every element compared.
 */
#include "common.h"

#include <stdlib.h>

#define TILE 16

static int matmul_device(struct example *ex, const float *a, const float *b, float *c)
{
    uint64_t count = ex->n * ex->n, da = 0, db = 0, dc = 0;
    uint32_t tiles = (uint32_t)(ex->n / TILE);
    int n = (int)ex->n;
    const void *const args[] = {&dc, &da, &db, &n};
    int ret = -1;

    if (!example_upload(ex, a, count, &da) && !example_upload(ex, b, count, &db) &&
        !example_upload(ex, NULL, count, &dc) &&
        !example_launch(ex, tiles, tiles, TILE, TILE, args, 4) &&
        !example_download(ex, dc, c, count))
        ret = 0;
    vgpu_mem_free(ex->ctx, da);
    vgpu_mem_free(ex->ctx, db);
    vgpu_mem_free(ex->ctx, dc);
    return ret;
}

/* Integers below 2^6: sums of up to 2^12 products stay below 2^24, exact in any order. */
static void matmul_host(uint64_t n, const float *a, const float *b, float *c)
{
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t k = 0; k < n; k++)
            for (uint64_t j = 0; j < n; j++)
                c[i * n + j] += a[i * n + k] * b[k * n + j];
}

static int matmul_run(struct example *ex, uint64_t seed)
{
    uint64_t count = ex->n * ex->n;
    float *a = example_random(ex, 2 * seed, count, 6, 0);
    float *b = example_random(ex, 2 * seed + 1, count, 6, 0);
    float *c = example_array(ex, count);
    float *want = example_array(ex, count);
    int ret = -1;

    if (a && b && c && want) {
        matmul_host(ex->n, a, b, want);
        ret = matmul_device(ex, a, b, c);
        if (!ret)
            ret = example_compare(ex, c, want, count);
    }
    free(a);
    free(b);
    free(c);
    free(want);
    return ret;
}

static uint64_t matmul_elements(uint64_t n)
{
    return n * n;
}

int main(int argc, char **argv)
{
    static const struct example_spec spec = {
        .title = "Matrix multiply",
        .kernel = "matmul",
        .purpose = "Multiplies two N x N matrices (N a multiple of 16) and checks every element.",
        .default_n = 256,
        .max_n = 4096,
        .multiple_of = TILE,
        .elements = matmul_elements,
        .run = matmul_run,
    };

    return example_main(argc, argv, &spec);
}
