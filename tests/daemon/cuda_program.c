/* SPDX-License-Identifier: MIT */
/*
 * The program of cuda_program.h.  Each step is taken only if all before it succeeded.
 */
#include "cuda_program.h"
#include "fixture.h"

#define BIG   (640u << 10) /* is registered with CUDA, or goes through two and a half bounce slots */
#define SMALL 1000u        /* always goes through a slot */

/* True: go on. */
static bool step(struct fx_outcome *outcome, const char *what, int status)
{
    if (status == VGPU_ST_OK || outcome->status != VGPU_ST_OK)
        return outcome->status == VGPU_ST_OK;
    *outcome = (struct fx_outcome){status, what};
    return false;
}

#define STEP(call) step(out, #call, call)

static uint8_t pattern(uint32_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

/* What copies() leaves at byte `i`: three fills, a copy onto what it overlaps. */
static uint8_t expected(uint32_t i)
{
    if (i < 100)
        return i >= 70 && i < 72 ? pattern(i) : 1;
    return pattern(i < 5100 ? i - 100 : i);
}

static bool copies(struct gs_ctx *ctx, struct gs_buf *buf, uint64_t dev, struct fx_outcome *out)
{
    uint32_t bad;

    for (uint32_t i = 0; i < BIG; i++)
        buf->ptr[i] = pattern(i);
    if (!STEP(gs_copy_h2d(ctx, dev, buf, 0, SMALL)) || !STEP(gs_copy_h2d(ctx, dev, buf, 0, BIG)) ||
        !STEP(gs_copy_d2d(ctx, dev + 100, dev, 5000)) || !STEP(gs_memset(ctx, dev, 1, 1, 50)) ||
        !STEP(gs_memset(ctx, dev + 50, 0x0101, 2, 10)) ||
        !STEP(gs_memset(ctx, dev + 72, 0x01010101, 4, 7)))
        return false;
    memset(buf->ptr, 0xee, BIG);
    if (!STEP(gs_copy_d2h(ctx, buf, 0, dev, BIG)))
        return false;
    for (bad = 0; bad < BIG && buf->ptr[bad] == expected(bad); bad++)
        ;
    ck_assert_msg(bad == BIG, "byte %u is %02x, not %02x", bad, buf->ptr[bad], expected(bad));
    return true;
}

static bool kernels(struct gs_ctx *ctx, struct gs_buf *buf, uint64_t dev, struct fx_outcome *out)
{
    struct vgpu_func_info info;
    struct vgpu_param_info params[4];
    struct vgpu_global_info global;
    const uint32_t threads = 64;
    uint32_t module, function, stream, event;
    struct vgpu_sqe sqe;
    uint64_t time_ns;

    if (!STEP(gs_module_load(ctx, fx_ptx_basic, strlen(fx_ptx_basic), NULL, 0, &module)) ||
        !STEP(gs_func_lookup(ctx, module, "where", &function, &info, params, 4)) ||
        !STEP(gs_global_lookup(ctx, module, "table", &global)) ||
        !STEP(gs_stream_create(ctx, &stream)) || !STEP(gs_event_create(ctx, &event)))
        return false;
    sqe = gs_launch_sqe(ctx, function, 2, threads / 2, &dev, sizeof(dev));
    sqe.stream = stream;
    sqe.u.launch.shared_bytes = 60 << 10; /* more than a kernel may have without asking */
    if (!STEP(gs_run(ctx, &sqe, NULL)) ||
        !STEP(gs_event(ctx, VGPU_CMD_EVENT_RECORD, stream, event, &time_ns)) ||
        !STEP(gs_event(ctx, VGPU_CMD_EVENT_WAIT, 0, event, NULL)) ||
        !STEP(gs_copy_d2h(ctx, buf, 0, dev, threads * 4)))
        return false;
    for (uint32_t i = 0; i < threads; i++)
        ck_assert_uint_eq(((uint32_t *)(void *)buf->ptr)[i], i / 32 << 16 | i % 32);
    return STEP(gs_event(ctx, VGPU_CMD_EVENT_DESTROY, 0, event, NULL)) &&
           STEP(gs_stream_destroy(ctx, stream)) && STEP(gs_module_unload(ctx, module));
}

static bool prints(struct gs_ctx *ctx, struct fx_outcome *out)
{
    const uint32_t value = 1000;
    uint32_t module, function, lost;
    char text[64];
    size_t bytes;

    if (!STEP(gs_module_load(ctx, fx_ptx_say, strlen(fx_ptx_say), NULL, 0, &module)) ||
        !STEP(gs_func_lookup(ctx, module, "say", &function, NULL, NULL, 0)) ||
        !STEP(gs_launch(ctx, function, 1, 1, &value, sizeof(value))) ||
        !STEP(gs_output_read(ctx, text, sizeof(text), &bytes, &lost)))
        return false;
    ck_assert_msg(bytes == 5 && !memcmp(text, "1000\n", 5), "printed: '%.*s'", (int)bytes, text);
    return STEP(gs_module_unload(ctx, module));
}

struct fx_outcome fx_use_everything(struct gs_ctx *ctx)
{
    struct fx_outcome outcome = {VGPU_ST_OK, "none"}, *out = &outcome;
    struct gs_buf buf;
    uint64_t dev;

    fx_ok(gs_buf_create(ctx, BIG, 0, VGPU_BUF_FLAGS, &buf));
    if (STEP(gs_mem_alloc(ctx, BIG, &dev)) && copies(ctx, &buf, dev, out) &&
        kernels(ctx, &buf, dev, out) && prints(ctx, out) && STEP(gs_mem_free(ctx, dev)))
        STEP(gs_fence(ctx));
    fx_ok(gs_buf_destroy(&buf));
    return outcome;
}
