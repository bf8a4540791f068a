/* SPDX-License-Identifier: MIT */
/*
 * spin: a kernel that never ends, holding device memory and a registered buffer.
 * Ends only by the device's deadline, by a signal, or with its device; the last
 * line says how.
 */
#include "common.h"

#include <stdio.h>

static int spin_run(struct example *ex, uint64_t seed)
{
    struct vgpu_host *host;
    uint64_t p = 0;
    const void *const args[] = {&p};
    int err = vgpu_host_alloc(ex->ctx, 65536, &host);

    if (!err)
        err = vgpu_mem_alloc(ex->ctx, 65536, &p);
    if (!err)
        err = vgpu_memset(ex->ctx, NULL, p, 0, 4, 16384);
    if (err)
        return example_fail_call(ex, "allocating", err);
    if (example_launch(ex, 1, 1, 1, 1, args, 1))
        return -1;
    puts("0:Spinning");
    fflush(stdout);
    err = vgpu_sync(ex->ctx);
    if (err)
        return example_fail_call(ex, "endless kernel", err);
    return example_fail(ex, "an endless kernel ended by itself");
}

int main(int argc, char **argv)
{
    static const struct example_spec spec = {
        .title = "Spin",
        .kernel = "spin",
        .purpose = "Runs a kernel that never ends and reports how its context was lost.",
        .default_n = 1,
        .max_n = 1,
        .multiple_of = 1,
        .run = spin_run,
    };

    return example_main(argc, argv, &spec);
}
