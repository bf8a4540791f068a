/* SPDX-License-Identifier: MIT */
/*
 * The frame of the example programs; see common.h.
 */
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_BYTES 4096

int example_fail(struct example *ex, const char *fmt, ...)
{
    va_list ap;

    if (ex->reason[0])
        return -1;
    va_start(ap, fmt);
    vsnprintf(ex->reason, sizeof(ex->reason), fmt, ap);
    va_end(ap);
    return -1;
}

int example_fail_call(struct example *ex, const char *what, int err)
{
    uint16_t status = vgpu_last_status();
    struct vgpu_status_query query;
    char where[32] = "";

    if (err == -EIO && ex->ctx && !vgpu_get_status(ex->ctx, &query) &&
        query.state == VGPU_CTX_STATE_LOST) {
        if (query.fault_addr)
            snprintf(where, sizeof(where), " at 0x%" PRIx64, (uint64_t)query.fault_addr);
        return example_fail(ex, "%s: context lost: %s%s [%s]", what,
                            vgpu_status_text((uint16_t)query.status), where,
                            (const char *)query.message);
    }
    if (status != VGPU_ST_OK)
        return example_fail(ex, "%s: %s (%s)", what, vgpu_status_text(status),
                            vgpu_status_name(status));
    return example_fail(ex, "%s: %s", what, strerror(-err));
}

int example_compare(struct example *ex, const float *got, const float *want, uint64_t n)
{
    uint64_t errors = 0, first = 0;

    for (uint64_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], sizeof(*got)) == 0)
            continue;
        if (errors++ == 0)
            first = i;
    }
    ex->errors += errors;
    if (!errors)
        return 0;
    return example_fail(
        ex, "%" PRIu64 " of %" PRIu64 " elements wrong, first [%" PRIu64 "]: %.9g instead of %.9g",
        errors, n, first, (double)got[first], (double)want[first]);
}

int example_upload(struct example *ex, const float *data, uint64_t n, uint64_t *addr)
{
    int err = vgpu_mem_alloc(ex->ctx, n * sizeof(*data), addr);

    if (err)
        return example_fail_call(ex, "allocating device memory", err);
    if (data)
        err = vgpu_copy_h2d(ex->ctx, NULL, *addr, data, n * sizeof(*data));
    else
        err = vgpu_memset(ex->ctx, NULL, *addr, EXAMPLE_POISON, 4, n);
    return err ? example_fail_call(ex, "copying to the device", err) : 0;
}

int example_download(struct example *ex, uint64_t addr, float *data, uint64_t n)
{
    const uint32_t poison = EXAMPLE_POISON;
    int err;

    for (uint64_t i = 0; i < n; i++)
        memcpy(&data[i], &poison, sizeof(poison));
    err = vgpu_sync(ex->ctx);
    if (err)
        return example_fail_call(ex, "running the kernel", err);
    err = vgpu_copy_d2h(ex->ctx, NULL, data, addr, n * sizeof(*data));
    return err ? example_fail_call(ex, "copying from the device", err) : 0;
}

int example_launch(struct example *ex, uint32_t grid_x, uint32_t grid_y, uint16_t block_x,
                   uint16_t block_y, const void *const *args, uint32_t nargs)
{
    struct vgpu_launch_config config = {.grid = {grid_x, grid_y, 1},
                                        .block = {block_x, block_y, 1}};
    int err = vgpu_launch_args(ex->function, &config, args, nargs);

    return err ? example_fail_call(ex, "launching", err) : 0;
}

float *example_array(struct example *ex, uint64_t n)
{
    float *data = calloc(n, sizeof(*data));

    if (!data)
        example_fail(ex, "no memory for %" PRIu64 " elements", n);
    return data;
}

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

float *example_random(struct example *ex, uint64_t seed, uint64_t n, unsigned int bits,
                      unsigned int shift)
{
    const int64_t limit = (int64_t)1 << bits;
    float *data = example_array(ex, n);

    for (uint64_t i = 0; data && i < n; i++) {
        int64_t v = (int64_t)(mix(seed ^ mix(i)) % (uint64_t)(2 * limit - 1)) - (limit - 1);

        data[i] = (float)v / (float)((uint64_t)1 << shift);
    }
    return data;
}

/* ---- options and frame ---- */

static void usage(FILE *out, const char *program, const struct example_spec *spec)
{
    fprintf(out,
            "usage: %s [-n N] [-s SEED] [-r ROUNDS] [-d DEVICE] [-k DIR]\n"
            "%s\n"
            "  -n N        size (default %" PRIu64 ", at most %" PRIu64 ")\n"
            "  -s SEED     seed of the input data (default 1)\n"
            "  -r ROUNDS   repeat with other data (default 1)\n"
            "  -d DEVICE   device node (default /dev/vgpu0)\n"
            "  -k DIR      folder of the .ptx files (default %s)\n",
            program, spec->purpose, spec->default_n, spec->max_n, EXAMPLE_KERNEL_DIR);
}

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno || end == text || *end || text[0] == '-' || value < min || value > max)
        return false;
    *out = value;
    return true;
}

/* 0: go on; 1: done (--help); -1: wrong, said on stderr. */
static int parse_options(struct example *ex, int argc, char **argv, const struct example_spec *spec)
{
    static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
    uint64_t rounds = 1;
    bool ok = true;
    int opt;

    while (ok && (opt = getopt_long(argc, argv, "n:s:r:d:k:h", longs, NULL)) != -1) {
        switch (opt) {
        case 'n':
            ok = parse_number(optarg, 1, spec->max_n, &ex->n) && ex->n % spec->multiple_of == 0;
            break;
        case 's': ok = parse_number(optarg, 0, UINT64_MAX, &ex->seed); break;
        case 'r': ok = parse_number(optarg, 1, 1000000, &rounds); break;
        case 'd': ex->device = optarg; break;
        case 'k': ex->kernel_dir = optarg; break;
        case 'h': usage(stdout, argv[0], spec); return 1;
        default: ok = false; break;
        }
    }
    ex->rounds = (unsigned int)rounds;
    if (ok && optind == argc)
        return 0;
    usage(stderr, argv[0], spec);
    return -1;
}

static int load_kernel(struct example *ex, const struct example_spec *spec)
{
    char path[512], log[LOG_BYTES] = "";
    int err;

    if (!spec->kernel)
        return 0;
    snprintf(path, sizeof(path), "%s/%s.ptx", ex->kernel_dir, spec->kernel);
    err = vgpu_module_load_file(ex->ctx, path, &ex->module, log, sizeof(log));
    if (log[0])
        fprintf(stderr, "%s\n", log);
    if (err)
        return example_fail_call(ex, path, err);
    err = vgpu_module_function(ex->module, spec->kernel, &ex->function);
    return err ? example_fail_call(ex, spec->kernel, err) : 0;
}

static int example_run(struct example *ex, const struct example_spec *spec)
{
    int err = vgpu_open(ex->device, NULL, &ex->ctx);

    if (err)
        return example_fail_call(ex, ex->device ? ex->device : "/dev/vgpu0", err);
    vgpu_get_info(ex->ctx, &ex->info);
    if (load_kernel(ex, spec))
        return -1;
    for (unsigned int round = 0; round < ex->rounds; round++)
        if (spec->run(ex, ex->seed + round))
            return -1;
    return 0;
}

int example_main(int argc, char **argv, const struct example_spec *spec)
{
    struct example ex = {.n = spec->default_n, .seed = 1, .kernel_dir = EXAMPLE_KERNEL_DIR};
    char executor[96];
    int ret = parse_options(&ex, argc, argv, spec);

    if (ret)
        return ret > 0 ? 0 : 1;
    ret = example_run(&ex, spec);
    if (ret == 0)
        printf("1:%s PASSED: %" PRIu64 " elements, %" PRIu64 " errors (%s)\n", spec->title,
               spec->elements ? spec->elements(ex.n) : ex.n, ex.errors,
               vgpu_executor_text(&ex.info, executor, sizeof(executor)));
    else
        printf("2:%s: %s\n", spec->title, ex.reason);
    vgpu_close(ex.ctx);
    return ret == 0 ? 0 : 1;
}
