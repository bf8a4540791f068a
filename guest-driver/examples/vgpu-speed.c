/* SPDX-License-Identifier: MIT */
/*
 * vgpu-speed: what the device does in this guest, measured in this guest.
 *
 * Each figure is a line `name value unit`: the round trip of an empty command, the time from launching an empty
 * kernel until it is known to have ended, the rate at which launches go through when only the last is waited for,
 * and copies from and to memory that the device reaches, of several sizes.  An operation is repeated, in
 * rounds that double, until a round takes LEAST_NS; that round is the figure.  The largest copy goes there
 * and back and is compared: figures of a device that loses data are none.
 */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LEAST_NS   100000000u
#define MAX_ROUNDS 30 /* doublings */

struct bench {
    struct example *ex;
    struct vgpu_host *host;
    uint64_t addr, bytes;
    int (*once)(struct bench *bench);
    int (*end)(struct bench *bench); /* of a round; NULL: nothing is left to wait for */
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int sync_all(struct bench *bench)
{
    return vgpu_sync(bench->ex->ctx);
}

static int nop(struct bench *bench)
{
    return vgpu_nop(bench->ex->ctx, NULL);
}

/* vecadd of no elements. */
static int launch(struct bench *bench)
{
    int none = 0;
    const void *const args[] = {&bench->addr, &bench->addr, &bench->addr, &none};

    return example_launch(bench->ex, 1, 1, 32, 1, args, 4);
}

static int launch_and_wait(struct bench *bench)
{
    int err = launch(bench);

    return err ? err : sync_all(bench);
}

static int copy_to(struct bench *bench)
{
    return vgpu_copy_h2d_async(bench->ex->ctx, NULL, bench->addr, bench->host, 0, bench->bytes);
}

static int copy_from(struct bench *bench)
{
    return vgpu_copy_d2h_async(bench->ex->ctx, NULL, bench->host, 0, bench->addr, bench->bytes);
}

/* Nanoseconds of one operation; negative: what failed is recorded. */
static double measure(struct bench *bench, const char *what)
{
    for (uint64_t count = 1, i = 0; i < MAX_ROUNDS; i++, count *= 2) {
        uint64_t start = now_ns(), took;
        int err = 0;

        for (uint64_t k = 0; k < count && !err; k++)
            err = bench->once(bench);
        if (!err && bench->end)
            err = bench->end(bench);
        if (err) {
            example_fail_call(bench->ex, what, err);
            return -1;
        }
        took = now_ns() - start;
        if (took >= LEAST_NS)
            return (double)took / (double)count;
    }
    example_fail(bench->ex, "%s: this guest's clock does not advance", what);
    return -1;
}

static int measure_commands(struct bench *bench)
{
    static const struct {
        const char *name, *unit;
        int (*once)(struct bench *bench);
        int (*end)(struct bench *bench);
        bool rate;
    } kinds[] = {
        {"empty-command-round-trip", "us", nop, NULL, false},
        {"null-launch-latency", "us", launch_and_wait, NULL, false},
        {"null-launch-rate", "1/s", launch, sync_all, true},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        double ns;

        bench->once = kinds[i].once;
        bench->end = kinds[i].end;
        ns = measure(bench, kinds[i].name);
        if (ns < 0)
            return -1;
        printf("%s %.6g %s\n", kinds[i].name, kinds[i].rate ? 1e9 / ns : ns / 1e3, kinds[i].unit);
    }
    return 0;
}

static int measure_copies(struct bench *bench, uint64_t largest)
{
    for (uint64_t bytes = 4096; bytes <= largest; bytes *= 16) {
        for (int to = 1; to >= 0; to--) {
            double ns;

            bench->bytes = bytes;
            bench->once = to ? copy_to : copy_from;
            bench->end = sync_all;
            ns = measure(bench, to ? "copy to the device" : "copy from the device");
            if (ns < 0)
                return -1;
            printf("copy-%s-%llu %.6g B/s\n", to ? "h2d" : "d2h", (unsigned long long)bytes,
                   (double)bytes * 1e9 / ns);
        }
    }
    return 0;
}

/* The whole buffer there and back. */
static int compare(struct bench *bench, const float *data)
{
    struct example *ex = bench->ex;
    float *host = vgpu_host_addr(bench->host);
    int err;

    bench->bytes = ex->n * sizeof(float);
    memcpy(host, data, bench->bytes);
    err = copy_to(bench);
    if (!err)
        err = sync_all(bench);
    memset(host, 0xff, bench->bytes);
    if (!err)
        err = copy_from(bench);
    if (!err)
        err = sync_all(bench);
    if (err)
        return example_fail_call(ex, "copying there and back", err);
    return example_compare(ex, host, data, ex->n);
}

static int bench_run(struct example *ex, uint64_t seed)
{
    struct bench bench = {.ex = ex};
    float *data = example_random(ex, seed, ex->n, 14, 2);
    int ret = -1, err;

    if (!data)
        return -1;
    err = vgpu_host_alloc(ex->ctx, ex->n * sizeof(float), &bench.host);
    if (!err)
        err = vgpu_mem_alloc(ex->ctx, ex->n * sizeof(float), &bench.addr);
    if (err)
        example_fail_call(ex, "allocating", err);
    else if (!compare(&bench, data) && !measure_commands(&bench) &&
             !measure_copies(&bench, ex->n * sizeof(float)))
        ret = compare(&bench, data);
    vgpu_mem_free(ex->ctx, bench.addr);
    vgpu_host_free(bench.host);
    free(data);
    return ret;
}

int main(int argc, char **argv)
{
    static const struct example_spec spec = {
        .title = "Speed",
        .kernel = "vecadd",
        .purpose =
            "Measures launches and copies up to N words; compares N words copied there and back.",
        .default_n = 16u << 20,
        .max_n = 1u << 28,
        .multiple_of = 1,
        .run = bench_run,
    };

    return example_main(argc, argv, &spec);
}
