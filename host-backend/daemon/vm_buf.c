/* SPDX-License-Identifier: MIT */
/*
 * Buffers of a vm process: scatter lists become runs of whole pages, and memory that the bus
 * unmaps is taken back from whoever uses it.
 *
 * A buffer's DMA addresses are resolved once, at registration; the exec process gets (file,
 * offset, length) runs and never an address.  What the vm process keeps are the buffer's address
 * intervals, sorted, to know which buffers an unmap concerns.
 *
 * An unmap (architecture D2: by everybody's consent) takes effect in the DMA table at once. It is
 * answered when no living exec process has a mapping of the range any more: buffers are
 * dropped (VGPU_X_BUF_DROP, bounded by VM_REVOKE_MS), a context whose rings or arena are
 * concerned is lost (UNMAPPED) and reaped.
 */
#include <daemon/vm.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_PAGE_MASK ((uint64_t)VGPU_DMA_PAGE - 1)

/* ---- Runs ---- */

static VGPU_MUST_CHECK int runs_file(struct vm_runs *runs, uint32_t file, uint32_t *idx)
{
    for (uint32_t i = 0; i < runs->file_count; i++) {
        if (runs->files[i] == file) {
            *idx = i;
            return 0;
        }
    }
    if (runs->file_count >= runs->max_files)
        return -EMFILE;
    *idx = runs->file_count;
    runs->files[runs->file_count++] = file;
    return 0;
}

static VGPU_MUST_CHECK uint16_t runs_append(struct vm_runs *runs,
                                            const struct vgpu_dma_piece *piece)
{
    uint32_t idx;

    if (runs_file(runs, piece->file, &idx))
        return VGPU_ST_HOST_RESOURCES;
    if (runs->count > runs->barrier) {
        struct vgpu_xrun *last = &runs->runs[runs->count - 1];

        if (last->fd == idx && last->offset + last->bytes == piece->offset) {
            last->bytes += piece->bytes;
            return VGPU_ST_OK;
        }
    }
    if (runs->count >= runs->max)
        return VGPU_ST_HOST_RESOURCES;
    if (runs->count == runs->room) {
        uint32_t room = runs->room ? runs->room * 2 : 16;
        struct vgpu_xrun *p = reallocarray(runs->runs, room, sizeof(*p));

        if (!p)
            return VGPU_ST_HOST_MEMORY;
        runs->runs = p;
        runs->room = room;
    }
    runs->runs[runs->count++] =
        (struct vgpu_xrun){.fd = idx, .offset = piece->offset, .bytes = piece->bytes};
    return VGPU_ST_OK;
}

/* The whole pages that [addr, addr + bytes) touches.  Mappings are whole pages too, so a page is
 * in guest memory if any byte of it is. */
static VGPU_MUST_CHECK int pages_of(uint64_t addr, uint64_t bytes, struct vm_interval *pages)
{
    if (!bytes || __builtin_add_overflow(addr, bytes - 1, &pages->last))
        return -EINVAL;
    pages->addr = addr & ~BUF_PAGE_MASK;
    pages->last |= BUF_PAGE_MASK;
    return 0;
}

uint16_t vm_runs_add(struct vm *vm, struct vm_runs *runs, uint64_t addr, uint64_t bytes,
                     uint32_t prot)
{
    struct vm_interval pages;
    uint64_t at, left;

    if (pages_of(addr, bytes, &pages) || (!pages.addr && pages.last == UINT64_MAX))
        return VGPU_ST_BAD_DMA;
    at = pages.addr;
    left = pages.last - pages.addr + 1;
    while (left) {
        struct vgpu_dma_piece piece;
        uint16_t status;

        status = vm->setup.config.domid ? vm_xen_run(vm, at, left, prot, &piece)
                 : vgpu_dma_resolve(vm->dma, at, left, prot, &piece) ? VGPU_ST_BAD_DMA
                                                                     : VGPU_ST_OK;
        if (status != VGPU_ST_OK)
            return status;
        status = runs_append(runs, &piece);
        if (status != VGPU_ST_OK)
            return status;
        at += piece.bytes;
        left -= piece.bytes;
    }
    return VGPU_ST_OK;
}

int vm_runs_fd(const struct vm *vm, const struct vm_runs *runs, uint32_t idx)
{
    return vm->xen ? vgpu_xen_memory_fd(vm->xen) : vgpu_dma_file_fd(vm->dma, runs->files[idx]);
}

void vm_runs_fini(struct vm_runs *runs)
{
    free(runs->runs);
    runs->runs = NULL;
    runs->count = runs->room = 0;
}

/* ---- Buffers ---- */

static void buf_free(struct vm_ctx *ctx, struct vm_buf *buf)
{
    ctx->bufs[buf->id] = NULL;
    ctx->buf_count--;
    ctx->buf_bytes -= buf->bytes;
    ctx->runs -= buf->runs;
    free(buf->intervals);
    free(buf);
}

static int interval_compare(const void *a, const void *b)
{
    const struct vm_interval *x = a, *y = b;

    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* Sort, and join what touches or overlaps. */
static uint32_t intervals_join(struct vm_interval *iv, uint32_t count)
{
    uint32_t n = 0;

    qsort(iv, count, sizeof(*iv), interval_compare);
    for (uint32_t i = 1; i < count; i++) {
        if (iv[i].addr <= iv[n].last || iv[i].addr == iv[n].last + 1)
            iv[n].last = iv[i].last > iv[n].last ? iv[i].last : iv[n].last;
        else
            iv[++n] = iv[i];
    }
    return n + 1;
}

/* Resolve the scatter list. VGPU_ST_*. */
static VGPU_MUST_CHECK uint16_t buf_resolve(struct vm_ctx *ctx, struct vm_buf *buf, uint32_t flags,
                                            const struct vgpu_sg_entry *sg, uint32_t count,
                                            struct vm_runs *runs)
{
    struct vm_interval *intervals;
    uint32_t prot = (flags & VGPU_BUF_DEVICE_READS ? VGPU_DMA_READ : 0) |
                    (flags & VGPU_BUF_DEVICE_WRITES ? VGPU_DMA_WRITE : 0);

    buf->intervals = calloc(count, sizeof(*buf->intervals));
    if (!buf->intervals)
        return VGPU_ST_HOST_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t status = vm_runs_add(ctx->vm, runs, sg[i].addr, sg[i].bytes, prot);

        if (status != VGPU_ST_OK)
            return status;
        if (pages_of(sg[i].addr, sg[i].bytes, &buf->intervals[i]))
            return VGPU_ST_BAD_DMA;
    }
    buf->interval_count = intervals_join(buf->intervals, count);
    if (buf->interval_count > runs->max)
        return VGPU_ST_HOST_RESOURCES;
    intervals = reallocarray(buf->intervals, buf->interval_count, sizeof(*intervals));
    buf->intervals = intervals ? intervals : buf->intervals;
    buf->runs = runs->count > buf->interval_count ? runs->count : buf->interval_count;
    return VGPU_ST_OK;
}

static void buf_send(struct vm_ctx *ctx, const struct vm_buf *buf, uint32_t flags,
                     uint64_t first_off, const struct vm_runs *runs)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_BUF_BEGIN};
    int fds[VGPU_X_MAX_FDS];

    for (uint32_t i = 0; i < runs->file_count; i++)
        fds[i] = vm_runs_fd(ctx->vm, runs, i);
    msg.u.buf = (struct vgpu_x_buf){.id = buf->id,
                                    .flags = flags,
                                    .bytes = buf->bytes,
                                    .first_off = first_off,
                                    .run_count = runs->count};
    vm_exec_send(ctx, &msg, NULL, 0, fds, runs->file_count, VM_REPLY_MS, true);
    msg.type = VGPU_X_BUF_ADD;
    for (uint32_t at = 0; at < runs->count; at += VGPU_X_MAX_RUNS) {
        uint32_t n = runs->count - at;

        n = n < VGPU_X_MAX_RUNS ? n : VGPU_X_MAX_RUNS;
        vm_exec_send(ctx, &msg, runs->runs + at, n, NULL, 0, VM_REPLY_MS, true);
    }
    msg.type = VGPU_X_BUF_COMMIT;
    vm_exec_send(ctx, &msg, NULL, 0, NULL, 0, VM_REPLY_MS, true);
}

void vm_buf_register(void *opaque, uint32_t id, uint32_t buf_id, uint32_t flags,
                     const struct vgpu_sg_entry *sg, uint32_t count, uint64_t bytes)
{
    struct vm *vm = opaque;
    struct vm_ctx *ctx = &vm->ctxs[id];
    struct vm_runs runs = {.max_files = VGPU_X_MAX_FDS};
    struct vm_buf *buf;
    uint16_t status;

    if (ctx->state != VM_CTX_LIVE) {
        vm_answer(vm, VM_ANSWER_REGISTERED, id, buf_id,
                  ctx->lost_status ? ctx->lost_status : VGPU_ST_EXEC_DIED);
        return;
    }
    buf = calloc(1, sizeof(*buf));
    if (!buf) {
        vm_answer(vm, VM_ANSWER_REGISTERED, id, buf_id, VGPU_ST_HOST_MEMORY);
        return;
    }
    *buf = (struct vm_buf){.id = buf_id, .bytes = bytes, .register_owed = true};
    runs.max = VM_MAX_CTX_RUNS - ctx->runs;
    ctx->bufs[buf_id] = buf;
    ctx->buf_count++;
    ctx->buf_bytes += bytes;
    status = buf_resolve(ctx, buf, flags, sg, count, &runs);
    if (status == VGPU_ST_OK) {
        ctx->runs += buf->runs;
        buf_send(ctx, buf, flags, sg[0].addr & BUF_PAGE_MASK, &runs);
    } else {
        vm_ctx_log(ctx, VGPU_LOG_WARN, "buffer %u of %llu bytes refused, status %#x", buf_id,
                   (unsigned long long)bytes, status);
        buf->runs = 0;
        buf_free(ctx, buf);
        vm_answer(vm, VM_ANSWER_REGISTERED, id, buf_id, status);
    }
    vm_runs_fini(&runs);
}

static void buf_drop(struct vm_ctx *ctx, struct vm_buf *buf, uint32_t timeout_ms)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_BUF_DROP};

    buf->state = VM_BUF_DROPPING;
    msg.u.buf.id = buf->id;
    vm_exec_send(ctx, &msg, NULL, 0, NULL, 0, timeout_ms, true);
}

void vm_buf_unregister(void *opaque, uint32_t id, uint32_t buf_id)
{
    struct vm *vm = opaque;
    struct vm_ctx *ctx = &vm->ctxs[id];
    struct vm_buf *buf = ctx->bufs ? ctx->bufs[buf_id] : NULL;

    if (!vm_ctx_is_alive(ctx) || !buf || buf->state == VM_BUF_GONE) {
        if (buf)
            buf_free(ctx, buf);
        vm_answer(vm, VM_ANSWER_UNREGISTERED, id, buf_id, 0);
        return;
    }
    buf->unregister_owed = true;
    if (buf->state == VM_BUF_LIVE && ctx->state == VM_CTX_LIVE)
        buf_drop(ctx, buf, VM_REPLY_MS);
}

static void buf_committed(struct vm_ctx *ctx, struct vm_buf *buf, uint16_t status)
{
    uint32_t id = buf->id;

    if (buf->state == VM_BUF_DROPPING)
        return; /* revoked meanwhile: answered with the drop */
    if (status == VGPU_ST_OK)
        buf->state = VM_BUF_LIVE;
    else
        buf_free(ctx, buf);
    if (ctx->state == VM_CTX_LIVE && !ctx->destroy_owed && !ctx->vm->resetting) {
        if (status == VGPU_ST_OK)
            buf->register_owed = false;
        vgpu_dev_buf_registered(ctx->vm->dev, ctx->id, id, status);
    }
}

static void buf_dropped(struct vm_ctx *ctx, struct vm_buf *buf)
{
    struct vgpu_dev *dev = ctx->vm->dev;
    uint32_t id = buf->id;
    bool registered = buf->register_owed;

    if (!registered && !buf->unregister_owed) {
        buf->state = VM_BUF_GONE;
    } else {
        buf_free(ctx, buf);
        if (ctx->state == VM_CTX_LIVE && registered)
            vgpu_dev_buf_registered(dev, ctx->id, id, VGPU_ST_BAD_DMA);
        else if (ctx->state == VM_CTX_LIVE)
            vgpu_dev_buf_unregistered(dev, ctx->id, id);
    }
    vm_unmaps_check(ctx->vm);
}

void vm_buf_replied(struct vm_ctx *ctx, uint32_t id, uint32_t type, uint16_t status)
{
    struct vm_buf *buf = ctx->bufs[id];

    /* In ENDING everything is answered by the reaping. */
    if (!buf || ctx->state != VM_CTX_LIVE)
        return;
    if (type == VGPU_X_BUF_COMMIT)
        buf_committed(ctx, buf, status);
    else if (type == VGPU_X_BUF_DROP)
        buf_dropped(ctx, buf);
}

void vm_bufs_reaped(struct vm_ctx *ctx, bool silent)
{
    for (uint32_t i = 0; ctx->bufs && i < VGPU_MAX_BUFFERS && ctx->buf_count; i++) {
        struct vm_buf *buf = ctx->bufs[i];

        if (!buf)
            continue;
        if (!silent && buf->register_owed)
            vm_answer(ctx->vm, VM_ANSWER_REGISTERED, ctx->id, i, ctx->lost_status);
        if (!silent && buf->unregister_owed)
            vm_answer(ctx->vm, VM_ANSWER_UNREGISTERED, ctx->id, i, 0);
        buf_free(ctx, buf);
    }
}

/* ---- Unmapping ---- */

static bool interval_overlaps(const struct vm_interval *a, const struct vm_interval *b)
{
    return a->addr <= b->last && b->addr <= a->last;
}

static bool buf_overlaps(const struct vm_buf *buf, const struct vm_interval *where)
{
    uint32_t lo = 0, hi = buf->interval_count;

    if (!hi || buf->intervals[hi - 1].last < where->addr || buf->intervals[0].addr > where->last)
        return false;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (buf->intervals[mid].last < where->addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < buf->interval_count && interval_overlaps(&buf->intervals[lo], where);
}

static bool ctx_rings_overlap(const struct vm_ctx *ctx, const struct vm_interval *where)
{
    const struct vm_interval queue = {ctx->params.queue_addr,
                                      ctx->params.queue_addr + ctx->params.queue_bytes - 1};
    const struct vm_interval arena = {ctx->params.arena_addr,
                                      ctx->params.arena_addr + ctx->params.arena_bytes - 1};

    return interval_overlaps(&queue, where) || interval_overlaps(&arena, where);
}

/* Does this context's process still map some of it?  With `revoke`: make it let go. */
static bool ctx_holds(struct vm_ctx *ctx, const struct vm_interval *where, bool revoke)
{
    bool holds = false;

    if (!vm_ctx_is_alive(ctx))
        return false;
    if (ctx_rings_overlap(ctx, where)) {
        if (revoke && ctx->state == VM_CTX_ENDING)
            vm_ctx_kill(ctx); /* no more patience */
        else if (revoke)
            vm_ctx_lose(ctx, VGPU_ST_UNMAPPED, where->addr, "rings or arena were unmapped", false);
        return true;
    }
    for (uint32_t i = 0, seen = 0; i < VGPU_MAX_BUFFERS && seen < ctx->buf_count; i++) {
        struct vm_buf *buf = ctx->bufs[i];

        if (!buf)
            continue;
        seen++;
        if (buf->state == VM_BUF_GONE || !buf_overlaps(buf, where))
            continue;
        holds = true;
        if (!revoke)
            return true;
        buf->revoked = true;
        vm_ctx_log(ctx, VGPU_LOG_WARN, "buffer %u was unmapped while registered: dropped", i);
        if (ctx->state == VM_CTX_ENDING)
            vm_ctx_kill(ctx);
        else if (buf->state == VM_BUF_DROPPING)
            vm_exec_hurry(ctx, i, VM_REVOKE_MS);
        else
            buf_drop(ctx, buf, VM_REVOKE_MS);
    }
    return holds;
}

static bool vm_anyone_holds(struct vm *vm, const struct vm_interval *where, bool revoke)
{
    bool holds = false;

    for (uint32_t i = 0; vm->alive && i < vm->setup.config.contexts && (revoke || !holds); i++)
        holds |= ctx_holds(&vm->ctxs[i], where, revoke);
    return holds;
}

bool vm_dma_unmapped(void *opaque, uint64_t addr, uint64_t bytes, uint64_t cookie)
{
    struct vm *vm = opaque;
    struct vm_interval where = {addr, addr};
    struct vm_unmap *unmap;

    if (__builtin_add_overflow(addr, bytes - 1, &where.last))
        where.last = UINT64_MAX;
    vgpu_dev_dma_unmapped(vm->dev, addr, bytes);
    if (!vm_anyone_holds(vm, &where, true))
        return true;
    unmap = malloc(sizeof(*unmap));
    if (!unmap) {
        vm_close(vm, "out of memory");
        return false;
    }
    *unmap = (struct vm_unmap){.next = vm->unmaps, .where = where, .cookie = cookie};
    vm->unmaps = unmap;
    return false;
}

void vm_unmaps_check(struct vm *vm)
{
    struct vm_unmap **p = &vm->unmaps;

    while (*p) {
        struct vm_unmap *unmap = *p;

        if (vm_anyone_holds(vm, &unmap->where, false)) {
            p = &unmap->next;
            continue;
        }
        *p = unmap->next;
        if (vm->bus) {
            vgpu_vfio_user_unmap_done(vm->bus, unmap->cookie);
            vm_bus_update(vm);
        }
        free(unmap);
    }
}
