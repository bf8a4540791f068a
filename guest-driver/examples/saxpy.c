/* SPDX-License-Identifier: MIT */
/*
 * saxpy: y = a * x + y on the device, every element compared.
 */
#include "common.h"

#include <stdlib.h>

static int saxpy_device(struct example *ex, float a, const float *x, const float *y, float *out)
{
    uint64_t dx = 0, dy = 0;
    int n = (int)ex->n;
    const void *const args[] = {&a, &dx, &dy, &n};
    int ret = -1;

    if (!example_upload(ex, x, ex->n, &dx) && !example_upload(ex, y, ex->n, &dy) &&
        !example_launch(ex, (uint32_t)((ex->n + 255) / 256), 1, 256, 1, args, 4) &&
        !example_download(ex, dy, out, ex->n))
        ret = 0;
    vgpu_mem_free(ex->ctx, dx);
    vgpu_mem_free(ex->ctx, dy);
    return ret;
}

/* Products and sums are exact, so it does not matter whether they are fused. */
static int saxpy_run(struct example *ex, uint64_t seed)
{
    float a = (float)(seed % 61 + 3);
    float *x = example_random(ex, 2 * seed, ex->n, 14, 2);
    float *y = example_random(ex, 2 * seed + 1, ex->n, 16, 2);
    float *out = example_array(ex, ex->n);
    float *want = example_array(ex, ex->n);
    int ret = -1;

    if (x && y && out && want) {
        for (uint64_t i = 0; i < ex->n; i++)
            want[i] = a * x[i] + y[i];
        ret = saxpy_device(ex, a, x, y, out);
        if (!ret)
            ret = example_compare(ex, out, want, ex->n);
    }
    free(x);
    free(y);
    free(out);
    free(want);
    return ret;
}

int main(int argc, char **argv)
{
    static const struct example_spec spec = {
        .title = "SAXPY",
        .kernel = "saxpy",
        .purpose = "Computes y = a*x + y for N elements on the device and checks every one.",
        .default_n = 100000,
        .max_n = 1u << 28,
        .multiple_of = 1,
        .run = saxpy_run,
    };

    return example_main(argc, argv, &spec);
}
