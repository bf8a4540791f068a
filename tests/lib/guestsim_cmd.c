/* SPDX-License-Identifier: MIT */
/*
 * guestsim: buffers and one function per context command.
 *
 * A buffer's pages come from guest RAM; with GS_BUF_SCATTER no two of them are
 * adjacent and their order is reversed, and the buffer is mapped a second time, page
 * by page, so that the test sees one range as a guest program does.
 *
 * Commands are synchronous.  They use fixed places in the argument arena
 * (GS_ARENA_*), except launch parameters, which take the slots in turn.
 */
#include "guestsim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- Buffers ---- */

int gs_buf_register_raw(struct gs_vm *vm, uint32_t ctx, uint32_t buf, uint32_t flags,
                        const struct vgpu_sg_entry *sg, uint32_t count, uint64_t bytes)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_BUF_REGISTER, .cookie = 0xb0000000u | buf};
    uint32_t pages = (count + VGPU_SG_PER_PAGE - 1) / VGPU_SG_PER_PAGE;
    struct vgpu_sg_page *list = gs_ram_alloc(&vm->ram, (size_t)pages * VGPU_PAGE_BYTES);
    int rc;

    if (!list)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        list[i / VGPU_SG_PER_PAGE].sg[i % VGPU_SG_PER_PAGE] = sg[i];
        list[i / VGPU_SG_PER_PAGE].count = i % VGPU_SG_PER_PAGE + 1;
    }
    for (uint32_t p = 0; p + 1 < pages; p++)
        list[p].next = gs_ram_dma(&vm->ram, &list[p + 1]);
    sqe.u.buf_register = (struct vgpu_admin_buf_register){
        .sg_addr = gs_ram_dma(&vm->ram, list),
        .bytes = bytes,
        .ctx = ctx,
        .buf = buf,
        .flags = flags,
        .sg_count = count,
    };
    rc = gs_admin(vm, &sqe, NULL);
    gs_ram_free(&vm->ram, list, (size_t)pages * VGPU_PAGE_BYTES);
    return rc;
}

int gs_buf_unregister_raw(struct gs_vm *vm, uint32_t ctx, uint32_t buf)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_BUF_UNREGISTER, .cookie = 0xbf000000u | buf};

    sqe.u.buf_unregister.ctx = ctx;
    sqe.u.buf_unregister.buf = buf;
    return gs_admin(vm, &sqe, NULL);
}

/* Take every other page of a double-sized range, last first. */
static int buf_scatter(struct gs_buf *buf, size_t pages, uint32_t first, struct vgpu_sg_entry *sg)
{
    struct gs_ram *ram = &buf->vm->ram;

    buf->map_bytes = pages * VGPU_PAGE_BYTES;
    buf->map = mmap(NULL, buf->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buf->map == MAP_FAILED) {
        buf->map = NULL;
        return -errno;
    }
    for (size_t i = 0; i < pages; i++) {
        uint8_t *page = buf->pages + (pages - 1 - i) * 2 * VGPU_PAGE_BYTES;

        if (mmap(buf->map + i * VGPU_PAGE_BYTES, VGPU_PAGE_BYTES, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_FIXED, ram->fd, page - ram->base) == MAP_FAILED)
            return -errno;
        sg[i] = (struct vgpu_sg_entry){gs_ram_dma(ram, page), VGPU_PAGE_BYTES};
    }
    sg[0].addr += first;
    sg[0].bytes -= first;
    sg[pages - 1].bytes -= pages * VGPU_PAGE_BYTES - first - buf->bytes;
    buf->ptr = buf->map + first;
    return 0;
}

int gs_buf_create(struct gs_ctx *ctx, size_t bytes, uint32_t first, uint32_t flags,
                  struct gs_buf *buf)
{
    struct gs_vm *vm = ctx->vm;
    size_t pages = (first + bytes + VGPU_PAGE_BYTES - 1) / VGPU_PAGE_BYTES;
    bool scatter = flags & GS_BUF_SCATTER;
    struct vgpu_sg_entry *sg;
    uint32_t count = scatter ? (uint32_t)pages : 1;
    int rc = 0;

    memset(buf, 0, sizeof(*buf));
    buf->vm = vm;
    buf->ctx = ctx->id;
    buf->bytes = bytes;
    buf->page_bytes = pages * VGPU_PAGE_BYTES * (scatter ? 2 : 1);
    buf->pages = gs_ram_alloc(&vm->ram, buf->page_bytes);
    sg = calloc(count, sizeof(*sg));
    if (!buf->pages || !sg) {
        rc = -ENOMEM;
        goto out;
    }
    if (scatter) {
        rc = buf_scatter(buf, pages, first, sg);
    } else {
        sg[0] = (struct vgpu_sg_entry){gs_ram_dma(&vm->ram, buf->pages) + first, bytes};
        buf->ptr = buf->pages + first;
    }
    if (rc)
        goto out;
    buf->id = ctx->next_buf++;
    rc = gs_buf_register_raw(vm, ctx->id, buf->id, flags & VGPU_BUF_FLAGS, sg, count, bytes);
out:
    free(sg);
    if (rc)
        gs_buf_forget(buf);
    return rc;
}

void gs_buf_forget(struct gs_buf *buf)
{
    if (buf->map)
        munmap(buf->map, buf->map_bytes);
    if (buf->pages)
        gs_ram_free(&buf->vm->ram, buf->pages, buf->page_bytes);
    memset(buf, 0, sizeof(*buf));
}

int gs_buf_destroy(struct gs_buf *buf)
{
    int rc = gs_buf_unregister_raw(buf->vm, buf->ctx, buf->id);

    gs_buf_forget(buf);
    return rc;
}

/* ---- Simple commands ---- */

static int run_op(struct gs_ctx *ctx, uint16_t opcode)
{
    struct vgpu_sqe sqe = {.opcode = opcode};

    return gs_run(ctx, &sqe, NULL);
}

int gs_nop(struct gs_ctx *ctx)
{
    return run_op(ctx, VGPU_CMD_NOP);
}

int gs_fence(struct gs_ctx *ctx)
{
    return run_op(ctx, VGPU_CMD_FENCE);
}

int gs_mem_alloc(struct gs_ctx *ctx, uint64_t bytes, uint64_t *addr)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEM_ALLOC, .u.mem_alloc.bytes = bytes};
    struct vgpu_cqe cqe;
    int rc = gs_run(ctx, &sqe, &cqe);

    if (!rc)
        *addr = cqe.result;
    return rc;
}

int gs_mem_free(struct gs_ctx *ctx, uint64_t addr)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEM_FREE, .u.mem_free.addr = addr};

    return gs_run(ctx, &sqe, NULL);
}

int gs_mem_info(struct gs_ctx *ctx, struct vgpu_mem_info *info)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEM_INFO,
                           .u.mem_info = {.out_off = GS_ARENA_RECORD, .out_buf = VGPU_BUF_ARENA}};
    int rc = gs_run(ctx, &sqe, NULL);

    if (!rc)
        memcpy(info, ctx->arena + GS_ARENA_RECORD, sizeof(*info));
    return rc;
}

static int run_copy(struct gs_ctx *ctx, uint16_t opcode, uint64_t dev, const struct gs_buf *buf,
                    uint64_t off, uint64_t bytes)
{
    struct vgpu_sqe sqe = {
        .opcode = opcode,
        .u.copy = {.dev_addr = dev, .buf_off = off, .bytes = bytes, .buf = buf->id}};

    return gs_run(ctx, &sqe, NULL);
}

int gs_copy_h2d(struct gs_ctx *ctx, uint64_t dev, const struct gs_buf *buf, uint64_t off,
                uint64_t bytes)
{
    return run_copy(ctx, VGPU_CMD_COPY_H2D, dev, buf, off, bytes);
}

int gs_copy_d2h(struct gs_ctx *ctx, const struct gs_buf *buf, uint64_t off, uint64_t dev,
                uint64_t bytes)
{
    return run_copy(ctx, VGPU_CMD_COPY_D2H, dev, buf, off, bytes);
}

int gs_copy_d2d(struct gs_ctx *ctx, uint64_t dst, uint64_t src, uint64_t bytes)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_COPY_D2D,
                           .u.copy_d2d = {.dst = dst, .src = src, .bytes = bytes}};

    return gs_run(ctx, &sqe, NULL);
}

int gs_memset(struct gs_ctx *ctx, uint64_t dev, uint32_t value, uint32_t width, uint64_t count)
{
    struct vgpu_sqe sqe = {
        .opcode = VGPU_CMD_MEMSET,
        .u.memset = {.dev_addr = dev, .count = count, .value = value, .width = width}};

    return gs_run(ctx, &sqe, NULL);
}

/* ---- Modules ---- */

int gs_module_load(struct gs_ctx *ctx, const void *image, size_t bytes, char *log, size_t log_room,
                   uint32_t *module)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MODULE_LOAD};
    struct gs_buf buf;
    struct vgpu_cqe cqe;
    int rc, rc2;

    rc = gs_buf_create(ctx, bytes ? bytes : 1, 0, VGPU_BUF_DEVICE_READS, &buf);
    if (rc)
        return rc < 0 ? rc : -EIO;
    if (bytes)
        memcpy(buf.ptr, image, bytes);
    sqe.u.module_load = (struct vgpu_cmd_module_load){
        .image_bytes = bytes,
        .log_off = GS_ARENA_LOG,
        .image_buf = buf.id,
        .log_buf = VGPU_BUF_ARENA,
        .log_bytes = log_room ? GS_ARENA_LOG_BYTES : 0,
    };
    if (!log_room)
        sqe.u.module_load.log_off = 0;
    memset(ctx->arena + GS_ARENA_LOG, 0x5a, GS_ARENA_LOG_BYTES);
    rc = gs_run(ctx, &sqe, &cqe);
    if (rc >= 0 && log_room) {
        size_t take = cqe.aux < log_room ? cqe.aux : log_room - 1;

        /* A log ends in NUL; a command refused before the image was looked at writes none. */
        if (cqe.aux >= GS_ARENA_LOG_BYTES || (cqe.aux && ctx->arena[GS_ARENA_LOG + cqe.aux]))
            rc = -EPROTO;
        memcpy(log, ctx->arena + GS_ARENA_LOG, take);
        log[take] = '\0';
    }
    if (!rc)
        *module = (uint32_t)cqe.result;
    rc2 = gs_buf_destroy(&buf);
    return rc || rc2 >= 0 ? rc : rc2;
}

int gs_module_unload(struct gs_ctx *ctx, uint32_t module)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MODULE_UNLOAD, .u.module_unload.module = module};

    return gs_run(ctx, &sqe, NULL);
}

static int run_lookup(struct gs_ctx *ctx, uint16_t opcode, uint32_t module, const char *name,
                      uint32_t room, struct vgpu_cqe *cqe)
{
    size_t bytes = strlen(name);
    struct vgpu_sqe sqe = {.opcode = opcode};

    if (bytes > VGPU_PAGE_BYTES)
        return -EINVAL;
    memcpy(ctx->arena + GS_ARENA_NAME, name, bytes);
    sqe.u.lookup = (struct vgpu_cmd_lookup){
        .name_off = GS_ARENA_NAME,
        .out_off = GS_ARENA_RECORD,
        .module = module,
        .name_buf = VGPU_BUF_ARENA,
        .name_bytes = (uint32_t)bytes,
        .out_buf = VGPU_BUF_ARENA,
        .out_bytes = room,
    };
    return gs_run(ctx, &sqe, cqe);
}

int gs_func_lookup(struct gs_ctx *ctx, uint32_t module, const char *name, uint32_t *function,
                   struct vgpu_func_info *info, struct vgpu_param_info *params, uint32_t room)
{
    size_t bytes = sizeof(*info) + room * sizeof(*params);
    struct vgpu_func_info local;
    struct vgpu_cqe cqe;
    int rc;

    if (bytes > GS_ARENA_LOG - GS_ARENA_RECORD)
        return -EINVAL;
    rc = run_lookup(ctx, VGPU_CMD_FUNC_LOOKUP, module, name, (uint32_t)bytes, &cqe);
    if (rc)
        return rc;
    memcpy(&local, ctx->arena + GS_ARENA_RECORD, sizeof(local));
    if (cqe.aux != sizeof(local) + local.param_count * sizeof(*params))
        return -EPROTO;
    if (room > local.param_count)
        room = local.param_count;
    if (room)
        memcpy(params, ctx->arena + GS_ARENA_RECORD + sizeof(local), room * sizeof(*params));
    if (info)
        *info = local;
    *function = (uint32_t)cqe.result;
    return 0;
}

int gs_global_lookup(struct gs_ctx *ctx, uint32_t module, const char *name,
                     struct vgpu_global_info *info)
{
    struct vgpu_cqe cqe;
    int rc = run_lookup(ctx, VGPU_CMD_GLOBAL_LOOKUP, module, name, sizeof(*info), &cqe);

    if (rc)
        return rc;
    memcpy(info, ctx->arena + GS_ARENA_RECORD, sizeof(*info));
    return info->addr == cqe.result ? 0 : -EPROTO;
}

int gs_output_read(struct gs_ctx *ctx, void *text, size_t room, size_t *bytes, uint32_t *lost)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_OUTPUT_READ};
    struct vgpu_cqe cqe;
    int rc;

    if (room > GS_ARENA_LOG_BYTES)
        room = GS_ARENA_LOG_BYTES;
    sqe.u.output_read = (struct vgpu_cmd_output_read){
        .out_off = GS_ARENA_LOG, .out_buf = VGPU_BUF_ARENA, .out_bytes = (uint32_t)room};
    rc = gs_run(ctx, &sqe, &cqe);
    if (rc)
        return rc;
    if (cqe.result > room)
        return -EPROTO;
    memcpy(text, ctx->arena + GS_ARENA_LOG, cqe.result);
    *bytes = cqe.result;
    if (lost)
        *lost = cqe.aux;
    return 0;
}

/* ---- Streams and events ---- */

static int run_create(struct gs_ctx *ctx, uint16_t opcode, uint32_t *id)
{
    struct vgpu_sqe sqe = {.opcode = opcode};
    struct vgpu_cqe cqe;
    int rc = gs_run(ctx, &sqe, &cqe);

    if (!rc)
        *id = (uint32_t)cqe.result;
    return rc;
}

int gs_stream_create(struct gs_ctx *ctx, uint32_t *stream)
{
    return run_create(ctx, VGPU_CMD_STREAM_CREATE, stream);
}

int gs_stream_destroy(struct gs_ctx *ctx, uint32_t stream)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_STREAM_DESTROY, .u.stream_id.id = stream};

    return gs_run(ctx, &sqe, NULL);
}

int gs_event_create(struct gs_ctx *ctx, uint32_t *event)
{
    return run_create(ctx, VGPU_CMD_EVENT_CREATE, event);
}

int gs_event(struct gs_ctx *ctx, uint16_t opcode, uint32_t stream, uint32_t event,
             uint64_t *time_ns)
{
    struct vgpu_sqe sqe = {.opcode = opcode, .stream = stream, .u.event.id = event};
    struct vgpu_cqe cqe;
    int rc = gs_run(ctx, &sqe, &cqe);

    if (!rc && time_ns)
        *time_ns = cqe.result;
    return rc;
}

/* ---- Launch ---- */

struct vgpu_sqe gs_launch_sqe(struct gs_ctx *ctx, uint32_t function, uint32_t grid, uint32_t block,
                              const void *params, uint16_t param_bytes)
{
    uint32_t slots = (ctx->arena_bytes - GS_ARENA_PARAMS) / VGPU_MAX_PARAM_BYTES;
    uint32_t off = GS_ARENA_PARAMS + ctx->next_slot++ % slots * VGPU_MAX_PARAM_BYTES;
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_LAUNCH};

    if (param_bytes)
        memcpy(ctx->arena + off, params, param_bytes);
    sqe.u.launch = (struct vgpu_cmd_launch){
        .function = function,
        .grid = {grid, 1, 1},
        .block = {(uint16_t)block, 1, 1},
        .param_bytes = param_bytes,
        .param_off = off,
    };
    return sqe;
}

int gs_launch(struct gs_ctx *ctx, uint32_t function, uint32_t grid, uint32_t block,
              const void *params, uint16_t param_bytes)
{
    struct vgpu_sqe sqe = gs_launch_sqe(ctx, function, grid, block, params, param_bytes);

    return gs_run(ctx, &sqe, NULL);
}
