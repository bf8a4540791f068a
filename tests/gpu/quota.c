/* SPDX-License-Identifier: MIT */
/*
 * The memory limit of a VM, on the GPU's own granularity.
 *
 * VM 0 allocates until it is refused, with one context and then with two; what it was given, with what its
 * contexts cost, must not exceed its limit, the refusal must be an ordinary error, and VM 1 must not
 * notice.  So must the device memory behind kernels' local memory.  What was written to memory that is then freed must not be seen by its next owner.
 */
#include "gpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK      (16ull << 20)
#define MAX_CHUNKS 512
#define PATTERN    0xdeadbeefu
#define SLACK      (16ull << 20) /* the driver's own, in free memory */

struct quota {
    struct gpu_machine machine;
    struct gs_ctx *ctx[2]; /* both of VM 0 */
    struct gs_ctx *other;
    struct gs_buf buf[2]; /* of CHUNK, one of each */
    uint64_t chunk[MAX_CHUNKS];
    unsigned int chunks;
};

/* Allocate in chunks until refused; the refusing status. */
static int fill(struct quota *q, struct gs_ctx *ctx)
{
    int rc = 0;

    for (q->chunks = 0; q->chunks < MAX_CHUNKS && rc == 0; q->chunks += rc == 0)
        rc = gs_mem_alloc(ctx, CHUNK, &q->chunk[q->chunks]);
    return rc;
}

static int free_all(struct quota *q, struct gs_ctx *ctx)
{
    int rc = 0;

    for (; q->chunks > 0 && !rc; q->chunks--)
        rc = gs_mem_free(ctx, q->chunk[q->chunks - 1]);
    return rc;
}

/* 1 if a chunk holds anything but zeros; also negative errors. */
static int dirty(struct quota *q, unsigned int which, uint64_t addr)
{
    const uint64_t *words = (const uint64_t *)(void *)q->buf[which].ptr;
    int rc = gs_copy_d2h(q->ctx[which], &q->buf[which], 0, addr, CHUNK);

    for (size_t i = 0; i < CHUNK / 8 && !rc; i++)
        rc = words[i] != 0;
    return rc;
}

static void check_limit(struct quota *q)
{
    struct vgpu_mem_info empty = {0}, full = {0};
    unsigned int first;
    int rc = gs_mem_info(q->ctx[0], &empty), refused = 0, again;

    if (!rc) {
        refused = fill(q, q->ctx[0]);
        rc = gs_mem_info(q->ctx[0], &full);
    }
    if (rc) {
        gpu_check(GPU_FAIL, "limit", "%s", gpu_status_name(rc));
        return;
    }
    first = q->chunks;
    gpu_value("two empty contexts hold", "B", (double)empty.held_bytes);
    gpu_check(refused == VGPU_ST_OUT_OF_MEMORY && first > 0 &&
                      full.held_bytes <= full.limit_bytes && full.held_bytes >= first * CHUNK &&
                      full.limit_bytes - full.held_bytes < CHUNK
                  ? GPU_PASS
                  : GPU_FAIL,
              "limit", "%u chunks of %llu MiB, then %s; %llu of %llu MiB are counted", first,
              CHUNK >> 20, gpu_status_name(refused), (unsigned long long)full.held_bytes >> 20,
              (unsigned long long)full.limit_bytes >> 20);
    again = gs_mem_alloc(q->ctx[1], CHUNK, &q->chunk[MAX_CHUNKS - 1]);
    gpu_check(again == VGPU_ST_OUT_OF_MEMORY ? GPU_PASS : GPU_FAIL, "second context of a full VM",
              "%s", gpu_status_name(again));
    rc = gs_mem_alloc(q->other, CHUNK, &q->chunk[MAX_CHUNKS - 1]);
    gpu_check(rc ? GPU_FAIL : GPU_PASS, "other VM's memory", "%s", gpu_status_name(rc));
    if (!rc)
        gs_mem_free(q->other, q->chunk[MAX_CHUNKS - 1]);
    rc = free_all(q, q->ctx[0]);
    if (!rc)
        rc = gs_mem_info(q->ctx[0], &full);
    gpu_check(rc || full.held_bytes != empty.held_bytes ? GPU_FAIL : GPU_PASS, "all given back",
              "%s: %llu bytes are counted, %llu were before", gpu_status_name(rc),
              (unsigned long long)full.held_bytes, (unsigned long long)empty.held_bytes);
    refused = fill(q, q->ctx[1]);
    gpu_check(refused == VGPU_ST_OUT_OF_MEMORY && q->chunks == first ? GPU_PASS : GPU_FAIL,
              "as much again", "%u chunks, the other context had %u; then %s", q->chunks, first,
              gpu_status_name(refused));
    free_all(q, q->ctx[1]);
}

static void check_clearing(struct quota *q)
{
    unsigned int filled, seen = 0;
    int rc = 0;

    fill(q, q->ctx[0]);
    filled = q->chunks;
    for (unsigned int i = 0; i < q->chunks && !rc; i++)
        rc = gs_memset(q->ctx[0], q->chunk[i], PATTERN, 4, CHUNK / 4);
    if (!rc) /* reading must see what was written, or zeros would prove nothing */
        rc = dirty(q, 0, q->chunk[0]) == 1 ? 0 : VGPU_ST_HOST_ERROR;
    if (!rc)
        rc = free_all(q, q->ctx[0]);
    if (!rc)
        fill(q, q->ctx[1]);
    for (; seen < q->chunks && seen < 8 && !rc; seen++)
        rc = dirty(q, 1, q->chunk[seen]);
    gpu_check(rc || seen == 0 ? GPU_FAIL : GPU_PASS, "memory is cleared",
              rc == 1 ? "chunk %u of %u shows what another context wrote%s"
                      : "%u of %u chunks read: %s",
              seen, filled,
              rc == 1 ? ""
              : rc    ? gpu_status_name(rc)
                      : "zeros");
    free_all(q, q->ctx[1]);
}

/* Free memory of the whole GPU (on the fake driver: as far as this process knows). */
static uint64_t free_bytes(const struct gpu_native *native)
{
    size_t free_now = 0, total;

    native->cu.cuMemGetInfo_v2(&free_now, &total);
    return free_now;
}

/* Launch `kernel`; its status, what the VM's count grew by and what the GPU's free memory fell by. */
static int launch_local(struct quota *q, const struct gpu_native *native, const char *image,
                        size_t bytes, const char *kernel, uint64_t *counted, uint64_t *taken)
{
    struct vgpu_mem_info before = {0}, after = {0};
    uint32_t module, function;
    uint64_t addr = 0, free_before;
    char why[300];
    int rc = gpu_ctx_kernel(q->ctx[0], image, bytes, kernel, &module, &function, why, sizeof(why));

    if (!rc)
        rc = gs_mem_alloc(q->ctx[0], 4096, &addr);
    if (!rc)
        rc = gs_mem_info(q->ctx[0], &before);
    if (rc)
        return rc;
    free_before = free_bytes(native);
    rc = gs_launch(q->ctx[0], function, 1, 32, &addr, sizeof(addr));
    *taken = free_before - free_bytes(native);
    if (gs_mem_info(q->ctx[0], &after) || gs_mem_free(q->ctx[0], addr) ||
        gs_module_unload(q->ctx[0], module))
        return -EIO;
    *counted = after.held_bytes - before.held_bytes;
    return rc;
}

static void check_local(struct quota *q, const struct gpu_native *native, const char *image,
                        size_t bytes)
{
    struct gpu_side *side =
        gpu_side_native(native, 0); /* for a context, in which memory is asked for */
    uint64_t counted = 0, taken = 0;
    int processors = 0, threads = 0, rc;

    if (!side) {
        gpu_check(GPU_FAIL, "local memory", "no context");
        return;
    }
    native->cu.cuDeviceGetAttribute(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                                    native->device);
    native->cu.cuDeviceGetAttribute(&threads, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR,
                                    native->device);
    rc = launch_local(q, native, image, bytes, "local2k", &counted, &taken);
    gpu_check(rc == 0 && counted >= 1024ull * (unsigned int)processors * (unsigned int)threads &&
                      taken <= counted + SLACK
                  ? GPU_PASS
                  : GPU_FAIL,
              "local memory",
              "%s: 2 KiB for %d x %d threads: %llu MiB are counted, %llu were taken",
              gpu_status_name(rc), processors, threads, (unsigned long long)counted >> 20,
              (unsigned long long)taken >> 20);
    rc = launch_local(q, native, image, bytes, "local64k", &counted, &taken);
    gpu_check(rc == VGPU_ST_OUT_OF_MEMORY && counted == 0 && taken <= SLACK ? GPU_PASS : GPU_FAIL,
              "local memory over the limit",
              "%s: 64 KiB for each: %llu MiB are counted, %llu were taken", gpu_status_name(rc),
              (unsigned long long)counted >> 20, (unsigned long long)taken >> 20);
    side->close(side);
}

int gpu_stage_quota(const struct gpu_options *options)
{
    const char *const vms[] = {
        options->quick ? "executor=cuda,memory=160M@DEV" : "executor=cuda,memory=4G@DEV",
        options->quick ? "executor=cuda,memory=160M@DEV" : "executor=cuda,memory=4G@DEV"};
    struct gpu_native native;
    struct quota q = {0};
    char why[300], *image;
    size_t bytes;
    int rc;

    image = gpu_read(options, "gpu/gpu.ptx", &bytes);
    if (gpu_native_open(&native, options) < 0 ||
        gpu_machine_open(&q.machine, options, vms, 2, 128 << 20) < 0)
        return 1;
    gpu_progress("quota: filling a VM's memory");
    rc = gs_ctx_create(q.machine.vm[0], NULL, &q.ctx[0]);
    if (!rc)
        rc = gs_ctx_create(q.machine.vm[0], NULL, &q.ctx[1]);
    if (!rc)
        rc = gs_ctx_create(q.machine.vm[1], NULL, &q.other);
    if (rc) {
        gpu_check(GPU_FAIL, "contexts", "%s", gpu_status_name(rc));
    } else {
        check_limit(&q);
        for (unsigned int i = 0; i < 2 && !rc; i++)
            rc = gs_buf_create(q.ctx[i], CHUNK, 0, VGPU_BUF_FLAGS, &q.buf[i]);
        if (rc)
            gpu_check(GPU_FAIL, "buffers", "%s", gpu_status_name(rc));
        else
            check_clearing(&q);
        check_local(&q, &native, image, bytes);
        if (gpu_ctx_works(q.ctx[0], image, bytes, why, sizeof(why)) == 0)
            gpu_check(GPU_PASS, "usable after refusals", "a vector add is right");
        else
            gpu_check(GPU_FAIL, "usable after refusals", "%s", why);
    }
    gpu_machine_close(&q.machine, "vgpud");
    vgpu_cu_unload(&native.cu);
    free(image);
    return gpu_failures() ? 1 : 0;
}
