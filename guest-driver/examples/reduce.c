/* SPDX-License-Identifier: MIT */
/*
 * reduce: sums on the device.  The input is cut into segments; each is summed by a
 * launch of its own, with shuffles, shared memory and one atomic addition per
 * block, all launches in flight together.  Every segment's sum is compared.
 */
#include "common.h"

#include <stdlib.h>

#define BLOCK   256
#define BLOCKS  16
#define SEGMENT (1u << 14)

/* The kernel adds to its target, so that starts at zero. */
static int reduce_launch(struct example *ex, uint64_t in, uint64_t out, uint64_t segments)
{
    int err = vgpu_memset(ex->ctx, NULL, out, 0, 4, segments);

    if (err)
        return example_fail_call(ex, "clearing the sums", err);
    for (uint64_t s = 0; s < segments; s++) {
        uint64_t from = s * SEGMENT, left = ex->n - from;
        uint64_t seg_in = in + from * sizeof(float), seg_out = out + s * sizeof(float);
        int n = (int)(left < SEGMENT ? left : SEGMENT);
        const void *const args[] = {&seg_in, &seg_out, &n};

        if (example_launch(ex, BLOCKS, 1, BLOCK, 1, args, 3))
            return -1;
    }
    return 0;
}

static int reduce_device(struct example *ex, const float *in, float *out, uint64_t segments)
{
    uint64_t din = 0, dout = 0;
    int ret = -1;

    if (!example_upload(ex, in, ex->n, &din) && !example_upload(ex, NULL, segments, &dout) &&
        !reduce_launch(ex, din, dout, segments) && !example_download(ex, dout, out, segments))
        ret = 0;
    vgpu_mem_free(ex->ctx, din);
    vgpu_mem_free(ex->ctx, dout);
    return ret;
}

/* Multiples of 1/8 below 2^6: sums of 2^14 of them are exact in any order. */
static int reduce_run(struct example *ex, uint64_t seed)
{
    uint64_t segments = (ex->n + SEGMENT - 1) / SEGMENT;
    float *in = example_random(ex, seed, ex->n, 9, 3);
    float *out = example_array(ex, segments);
    float *want = example_array(ex, segments);
    int ret = -1;

    if (in && out && want) {
        for (uint64_t i = 0; i < ex->n; i++)
            want[i / SEGMENT] += in[i];
        ret = reduce_device(ex, in, out, segments);
        if (!ret)
            ret = example_compare(ex, out, want, segments);
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
        .purpose = "Sums N elements in segments of 16384 on the device and checks each sum.",
        .default_n = 1u << 18,
        .max_n = 1u << 28,
        .multiple_of = 1,
        .run = reduce_run,
    };

    return example_main(argc, argv, &spec);
}
