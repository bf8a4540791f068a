/* SPDX-License-Identifier: MIT */
/*
 * vgpu-info: what device this is, which executor runs behind it, its memory and limits.
 *
 * Prints a table and `0:Ready (...)`, or `2:reason` and exit status 1; with --json one
 * object with the same facts.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <vgpu/libvgpu.h>

struct facts {
    struct vgpu_info info;
    struct vgpu_mem_info mem;
    uint64_t free_bytes;
    char executor[96];
};

static int facts_collect(const char *device, struct facts *facts, char *why, size_t why_bytes)
{
    struct vgpu_ctx *ctx;
    int err = vgpu_open(device, NULL, &ctx);

    if (err == -ENODEV)
        snprintf(why, why_bytes, "%s: no back end answers on the host", device);
    else if (err == -ENOENT || err == -ENXIO)
        snprintf(why, why_bytes, "%s: no such device (is the vgpu module loaded?)", device);
    else if (err)
        snprintf(why, why_bytes, "%s: %s", device, strerror(-err));
    if (err)
        return err;
    vgpu_get_info(ctx, &facts->info);
    vgpu_executor_text(&facts->info, facts->executor, sizeof(facts->executor));
    err = vgpu_mem_info(ctx, &facts->free_bytes, &facts->mem);
    if (err)
        snprintf(why, why_bytes, "%s: memory query: %s", device,
                 vgpu_last_status() ? vgpu_status_text(vgpu_last_status()) : strerror(-err));
    vgpu_close(ctx);
    return err;
}

static void print_table(const char *device, const struct facts *facts)
{
    const struct vgpu_info *i = &facts->info;

    printf("device            %s: %s\n", device, (const char *)i->name);
    printf("executor          %s\n", facts->executor);
    printf("generation        %u\n", i->generation);
    printf("ABI               %u.%u\n", i->abi_version >> 16, i->abi_version & 0xffff);
    printf("memory            %" PRIu64 " MiB, %" PRIu64 " MiB free\n",
           (uint64_t)i->memory_bytes >> 20, facts->free_bytes >> 20);
    printf("compute           %u.%u, %u multiprocessors, warps of %u, %u MHz\n", i->compute_major,
           i->compute_minor, i->multiprocessors, i->warp_size, i->clock_khz / 1000);
    printf("block             %u threads, %u x %u x %u, %u bytes shared\n",
           i->max_threads_per_block, i->max_block[0], i->max_block[1], i->max_block[2],
           i->max_shared_per_block);
    printf("grid              %u x %u x %u\n", i->max_grid[0], i->max_grid[1], i->max_grid[2]);
    printf("PTX               up to %u.%u, images to %" PRIu64 " MiB\n", i->max_ptx_version / 10,
           i->max_ptx_version % 10, (uint64_t)i->max_image_bytes >> 20);
    printf("contexts          %u, rings of 2^%u to 2^%u, %u buffers each\n", i->max_contexts,
           i->min_ring_log2, i->max_ring_log2, i->max_buffers);
    printf("kernel deadline   ");
    if (i->deadline_ms)
        printf("%u ms\n", i->deadline_ms);
    else
        printf("none\n");
    printf("user memory       %s\n", i->flags & VGPU_INFO_MUST_STAGE
                                         ? "staged (this guest bounces DMA)"
                                         : "registered directly");
}

/* The name comes from the host and may hold anything. */
static void print_json_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_json(const char *device, const struct facts *facts)
{
    const struct vgpu_info *i = &facts->info;

    printf("{\"status\": \"ready\", \"device\": ");
    print_json_string(device);
    printf(", \"name\": ");
    print_json_string((const char *)i->name);
    printf(", \"executor\": ");
    print_json_string(facts->executor);
    printf(", \"generation\": %u, \"abi\": \"%u.%u\", \"memory_bytes\": %" PRIu64
           ", \"free_bytes\": %" PRIu64,
           i->generation, i->abi_version >> 16, i->abi_version & 0xffff, (uint64_t)i->memory_bytes,
           facts->free_bytes);
    printf(", \"compute\": \"%u.%u\", \"multiprocessors\": %u, \"warp_size\": %u, "
           "\"clock_khz\": %u",
           i->compute_major, i->compute_minor, i->multiprocessors, i->warp_size, i->clock_khz);
    printf(", \"max_threads_per_block\": %u, \"max_block\": [%u, %u, %u], "
           "\"max_grid\": [%u, %u, %u], \"max_shared_per_block\": %u",
           i->max_threads_per_block, i->max_block[0], i->max_block[1], i->max_block[2],
           i->max_grid[0], i->max_grid[1], i->max_grid[2], i->max_shared_per_block);
    printf(", \"max_ptx_version\": \"%u.%u\", \"max_contexts\": %u, \"max_buffers\": %u, "
           "\"deadline_ms\": %u, \"must_stage\": %s}\n",
           i->max_ptx_version / 10, i->max_ptx_version % 10, i->max_contexts, i->max_buffers,
           i->deadline_ms, i->flags & VGPU_INFO_MUST_STAGE ? "true" : "false");
}

static void usage(FILE *out)
{
    fprintf(out, "usage: vgpu-info [--json] [-d DEVICE]\n"
                 "Shows what a vgpu device is and whether it is usable.\n");
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *device = "/dev/vgpu0";
    struct facts facts = {0};
    bool json = false;
    char why[256];
    int opt;

    while ((opt = getopt_long(argc, argv, "d:jh", longs, NULL)) != -1) {
        switch (opt) {
        case 'd': device = optarg; break;
        case 'j': json = true; break;
        case 'h': usage(stdout); return 0;
        default: usage(stderr); return 1;
        }
    }
    if (optind != argc) {
        usage(stderr);
        return 1;
    }
    if (facts_collect(device, &facts, why, sizeof(why))) {
        if (json) {
            printf("{\"status\": \"failed\", \"reason\": ");
            print_json_string(why);
            printf("}\n");
        } else {
            printf("2:%s\n", why);
        }
        return 1;
    }
    if (json) {
        print_json(device, &facts);
    } else {
        print_table(device, &facts);
        printf("0:Ready (%s, generation %u)\n", facts.executor, facts.info.generation);
    }
    return 0;
}
