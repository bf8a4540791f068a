/* SPDX-License-Identifier: MIT */
/*
 * fault: a kernel that writes out of bounds, to see what that costs and what is
 * said about it.  Ends with `2:...` and status 1, naming the reason and the address;
 * a device that lets the write pass gets another reason.
 */
#include "common.h"

#define FAULT_ADDR 0xdead0000u

static int fault_run(struct example *ex, uint64_t seed)
{
    uint64_t p = 0;
    int64_t off;
    const void *const args[] = {&p, &off};
    int err = vgpu_mem_alloc(ex->ctx, 4096, &p);

    if (err)
        return example_fail_call(ex, "allocating device memory", err);
    /* The kernel stores p[off], elements of 4 bytes. */
    off = ((int64_t)FAULT_ADDR - (int64_t)p) / 4;
    if (example_launch(ex, 1, 1, 1, 1, args, 2))
        return -1;
    err = vgpu_sync(ex->ctx);
    if (err)
        return example_fail_call(ex, "out-of-bounds kernel", err);
    return example_fail(ex, "an out-of-bounds write went unnoticed");
}

int main(int argc, char **argv)
{
    static const struct example_spec spec = {
        .title = "Fault",
        .kernel = "fault",
        .purpose = "Runs a kernel that writes out of bounds and reports how its context was lost.",
        .default_n = 1,
        .max_n = 1,
        .multiple_of = 1,
        .run = fault_run,
    };

    return example_main(argc, argv, &spec);
}
