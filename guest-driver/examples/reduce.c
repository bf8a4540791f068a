/* SPDX-License-Identifier: MIT */
/*
 * reduce: sums of blocks of 256 elements on the device, each partial sum compared,
 * and then their total.
 */
#include "common.h"

#include <stdlib.h>

#define BLOCK 256

static int reduce_device(struct example *ex, const float *in, float *out, uint64_t blocks)
{
    uint64_t din = 0, dout = 0;
    int n = (int)ex->n;
    const void *const args[] = {&din, &dout, &n};
    int ret = -1;

    if (!example_upload(ex, in, ex->n, &din) && !example_upload(ex, NULL, blocks, &dout) &&
        !example_launch(ex, (uint32_t)blocks, 1, BLOCK, 1, args, 3) &&
        !example_download(ex, dout, out, blocks))
        ret = 0;
    vgpu_mem_free(ex->ctx, din);
    vgpu_mem_free(ex->ctx, dout);
    return ret;
}

static int reduce_check(struct example *ex, const float *in, const float *out, float *want,
                        uint64_t blocks)
{
    double sum_in = 0, sum_out = 0;

    for (uint64_t i = 0; i < ex->n; i++) {
        want[i / BLOCK] += in[i];
        sum_in += in[i];
    }
    if (example_compare(ex, out, want, blocks))
        return -1;
    for (uint64_t i = 0; i < blocks; i++)
        sum_out += out[i];
    if (sum_in == sum_out)
        return 0;
    return example_fail(ex, "sum %.17g instead of %.17g", sum_out, sum_in);
}

static int reduce_run(struct example *ex, uint64_t seed)
{
    uint64_t blocks = (ex->n + BLOCK - 1) / BLOCK;
    float *in = example_random(ex, seed, ex->n, 14, 3);
    float *out = example_array(ex, blocks);
    float *want = example_array(ex, blocks);
    int ret = -1;

    if (in && out && want) {
        ret = reduce_device(ex, in, out, blocks);
        if (!ret)
            ret = reduce_check(ex, in, out, want, blocks);
    }
    free(in);
    free(out);
    free(want);
    return ret;
}

int main(int argc, char **argv)
{
    static const struct example_spec spec = {
        .title = "Reduction",
        .kernel = "reduce",
        .purpose = "Sums N elements in blocks of 256 on the device and checks each partial sum.",
        .default_n = 1u << 18,
        .max_n = 1u << 28,
        .multiple_of = 1,
        .run = reduce_run,
    };

    return example_main(argc, argv, &spec);
}
