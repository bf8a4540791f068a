/* SPDX-License-Identifier: MIT */
/*
 * vecadd: c = a + b on the device, every element compared.
 */
#include "common.h"

#include <stdlib.h>

static int vecadd_device(struct example *ex, const float *a, const float *b, float *c)
{
    uint64_t da = 0, db = 0, dc = 0;
    int n = (int)ex->n;
    const void *const args[] = {&da, &db, &dc, &n};
    int ret = -1;

    if (!example_upload(ex, a, ex->n, &da) && !example_upload(ex, b, ex->n, &db) &&
        !example_upload(ex, NULL, ex->n, &dc) &&
        !example_launch(ex, (uint32_t)((ex->n + 255) / 256), 1, 256, 1, args, 4) &&
        !example_download(ex, dc, c, ex->n))
        ret = 0;
    vgpu_mem_free(ex->ctx, da);
    vgpu_mem_free(ex->ctx, db);
    vgpu_mem_free(ex->ctx, dc);
    return ret;
}

static int vecadd_run(struct example *ex, uint64_t seed)
{
    float *a = example_random(ex, 2 * seed, ex->n, 20, 6);
    float *b = example_random(ex, 2 * seed + 1, ex->n, 20, 6);
    float *c = example_array(ex, ex->n);
    float *want = example_array(ex, ex->n);
    int ret = -1;

    if (a && b && c && want) {
        for (uint64_t i = 0; i < ex->n; i++)
            want[i] = a[i] + b[i];
        ret = vecadd_device(ex, a, b, c);
        if (!ret)
            ret = example_compare(ex, c, want, ex->n);
    }
    free(a);
    free(b);
    free(c);
    free(want);
    return ret;
}

int main(int argc, char **argv)
{
    static const struct example_spec spec = {
        .title = "Vector add",
        .kernel = "vecadd",
        .purpose = "Adds two vectors of N elements on the device and checks every sum.",
        .default_n = 1024,
        .max_n = 1u << 28,
        .multiple_of = 1,
        .run = vecadd_run,
    };

    return example_main(argc, argv, &spec);
}
