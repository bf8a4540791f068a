// SPDX-License-Identifier: MIT
/*
 * Blocks: their memory (warps, frames, shared memory), their start, and the loop that gives each warp its turn.
 *
 * A block belongs to one worker. Its memory is reused for the next block of the launch; nothing survives the
 * launch, so nothing of one launch can be read by another. When no warp can run, first incomplete .sync groups
 * are let through, then it is a deadlock. A block all of whose warps only spin is set aside so that the
 * worker can run others, which may be what it waits for.
 */
#include "machine.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

void *ptx_run_alloc(struct ptx_run *run, size_t bytes)
{
    void *memory;

    bytes = (bytes + 127) & ~(size_t)127;
    if (__atomic_add_fetch(&run->host_bytes, bytes, __ATOMIC_RELAXED) > run->host_limit ||
        !(memory = aligned_alloc(128, bytes ? bytes : 128))) {
        __atomic_sub_fetch(&run->host_bytes, bytes, __ATOMIC_RELAXED);
        return NULL;
    }
    memset(memory, 0, bytes);
    return memory;
}

void ptx_run_free(struct ptx_run *run, void *memory, size_t bytes)
{
    if (!memory)
        return;
    __atomic_sub_fetch(&run->host_bytes, (bytes + 127) & ~(size_t)127, __ATOMIC_RELAXED);
    free(memory);
}

/* --- special registers that are constant for a frame --- */
static uint64_t sreg_of_lane(const struct ptx_warp *w, uint32_t lane, enum ptx_sreg sreg)
{
    const struct ptx_run *run = w->cta->run;
    uint32_t thread = w->index * PTX_LANES + lane;
    const uint32_t *block = run->block;

    switch (sreg) {
    case PTX_SR_tid_x: return thread % block[0];
    case PTX_SR_tid_y: return thread / block[0] % block[1];
    case PTX_SR_tid_z: return thread / block[0] / block[1];
    case PTX_SR_laneid: return lane;
    case PTX_SR_lanemask_eq: return 1u << lane;
    case PTX_SR_lanemask_lt: return (1u << lane) - 1;
    case PTX_SR_lanemask_le: return (2u << lane) - 1;
    case PTX_SR_lanemask_gt: return ~((2u << lane) - 1);
    default: return ~((1u << lane) - 1); /* lanemask_ge */
    }
}

static bool sreg_varies(enum ptx_sreg sreg)
{
    return (sreg >= PTX_SR_tid_x && sreg <= PTX_SR_tid_z) || sreg == PTX_SR_laneid ||
           (sreg >= PTX_SR_lanemask_eq && sreg <= PTX_SR_lanemask_gt);
}

static uint64_t sreg_of_cluster(const struct ptx_cta *cta, enum ptx_sreg sreg)
{
    /* without cluster launches each block is a cluster of its own */
    switch (sreg) {
    case PTX_SR_clusterid_x: return cta->block[0];
    case PTX_SR_clusterid_y: return cta->block[1];
    case PTX_SR_clusterid_z: return cta->block[2];
    case PTX_SR_nclusterid_x: return cta->run->grid[0];
    case PTX_SR_nclusterid_y: return cta->run->grid[1];
    case PTX_SR_nclusterid_z: return cta->run->grid[2];
    case PTX_SR_cluster_nctaid_x:
    case PTX_SR_cluster_nctaid_y:
    case PTX_SR_cluster_nctaid_z:
    case PTX_SR_cluster_nctarank: return 1;
    default: return 0;
    }
}

static uint64_t sreg_of_warp(const struct ptx_warp *w, const struct ptx_frame *frame,
                             enum ptx_sreg sreg)
{
    const struct ptx_run *run = w->cta->run;

    switch (sreg) {
    case PTX_SR_ntid_x:
    case PTX_SR_ntid_y:
    case PTX_SR_ntid_z: return run->block[sreg - PTX_SR_ntid_x];
    case PTX_SR_ctaid_x:
    case PTX_SR_ctaid_y:
    case PTX_SR_ctaid_z: return w->cta->block[sreg - PTX_SR_ctaid_x];
    case PTX_SR_nctaid_x:
    case PTX_SR_nctaid_y:
    case PTX_SR_nctaid_z: return run->grid[sreg - PTX_SR_nctaid_x];
    case PTX_SR_warpid: return w->index;
    case PTX_SR_nwarpid: return VGPU_PTX_MAX_BLOCK_THREADS / PTX_LANES;
    case PTX_SR_smid: return w->cta->worker->smid;
    case PTX_SR_nsmid: return run->machine->pool.count ? run->machine->pool.count : 1;
    case PTX_SR_total_smem_size: return run->own_shared_bytes;
    case PTX_SR_aggr_smem_size: return run->shared_bytes;
    case PTX_SR_dynamic_smem_size: return run->dynamic_bytes;
    /* Cooperative groups keep the barriers of tiles of several warps at the second, in at most 288 bytes. */
    case PTX_SR_reserved_smem_offset_begin:
    case PTX_SR_reserved_smem_offset_0: return ptx_reserved_base(run);
    case PTX_SR_reserved_smem_offset_1: return ptx_reserved_base(run) + PTX_RESERVED_BYTES / 2;
    case PTX_SR_reserved_smem_offset_end: return ptx_reserved_base(run) + PTX_RESERVED_BYTES;
    case PTX_SR_reserved_smem_offset_cap: return PTX_RESERVED_BYTES;
    case PTX_SR_gridid: return run->id;
    case PTX_SR_envreg1: return run->workspace >> 32;
    case PTX_SR_envreg2: return (uint32_t)run->workspace;
    case PTX_SR_local_base32:
    case PTX_SR_local_base64: return frame->local_offset;
    case PTX_SR_dynamic_base32:
    case PTX_SR_dynamic_base64: return run->dynamic_base;
    default: return sreg_of_cluster(w->cta, sreg);
    }
}

static void fill(uint8_t *reg, bool wide, uint64_t value)
{
    if (wide) {
        uint64_t *to = (uint64_t *)(void *)reg;

        for (uint32_t l = 0; l < PTX_LANES; l++)
            to[l] = value;
    } else {
        uint32_t *to = (uint32_t *)(void *)reg;

        for (uint32_t l = 0; l < PTX_LANES; l++)
            to[l] = (uint32_t)value;
    }
}

/* Those of code->inits from `first` on: all special registers, or only those that each block has its own value of. */
static void frame_sregs(struct ptx_warp *w, struct ptx_frame *frame, uint32_t first)
{
    const struct ptx_code *code = frame->code;

    for (uint32_t k = first; k < code->init_count; k++) {
        const struct ptx_slot_init *init = &code->inits[k];
        enum ptx_sreg sreg = (enum ptx_sreg)init->sreg;

        if (sreg_varies(sreg)) { /* all of these have 32 bits */
            for (uint32_t l = 0; l < PTX_LANES; l++)
                ((uint32_t *)(void *)(frame->regs + init->offset))[l] =
                    (uint32_t)sreg_of_lane(w, l, sreg);
        } else {
            fill(frame->regs + init->offset, init->wide, sreg_of_warp(w, frame, sreg));
        }
    }
}

/* A parameter as ld.param would put it into its register. The decoder has checked the offset. */
static uint64_t param_value(const struct ptx_run *run, uint64_t bits)
{
    uint32_t bytes = bits >> PTX_PARAM_BYTES_SHIFT & 15, shift = 64 - bytes * 8;
    uint64_t value = 0;

    memcpy(&value, run->params + (bits & PTX_PARAM_OFFSET_MASK), bytes);
    if (bits & PTX_PARAM_SIGNED)
        value = (uint64_t)((int64_t)(value << shift) >> shift);
    return bits & PTX_PARAM_NARROW ? (uint16_t)value : value;
}

static void frame_consts(const struct ptx_run *run, struct ptx_frame *frame)
{
    const struct ptx_code *code = frame->code;

    for (uint32_t k = 0; k < code->const_init_count; k++) {
        const struct ptx_slot_init *init = &code->inits[k];

        fill(frame->regs + init->offset, init->wide,
             init->sreg == PTX_SR_param ? param_value(run, init->bits) : init->bits);
    }
}

static size_t frame_bytes(const struct ptx_code *code)
{
    return ((sizeof(struct ptx_frame) + 127) & ~(size_t)127) + code->reg_bytes;
}

static struct ptx_frame *frame_new(struct ptx_run *run, const struct ptx_code *code)
{
    struct ptx_frame *frame = ptx_run_alloc(run, frame_bytes(code));

    if (!frame)
        return NULL;
    frame->code = code;
    frame->regs = (uint8_t *)frame + ((sizeof(*frame) + 127) & ~(size_t)127);
    frame_consts(run, frame);
    return frame;
}

struct ptx_frame *ptx_frame_get(struct ptx_warp *w, const struct ptx_code *code,
                                struct ptx_frame *parent, uint32_t local_offset)
{
    struct ptx_worker *worker = w->cta->worker;
    struct ptx_frame *frame = worker->free_frames[code->id];

    if (frame)
        worker->free_frames[code->id] = frame->next;
    else
        frame = frame_new(worker->run, code);
    if (!frame)
        return NULL;
    frame->parent = parent;
    frame->depth = parent ? parent->depth + 1 : 0;
    frame->local_offset = local_offset;
    frame->mask = 0;
    frame_sregs(w, frame, code->const_init_count);
    return frame;
}

void ptx_frame_put(struct ptx_warp *w, struct ptx_frame *frame)
{
    struct ptx_worker *worker = w->cta->worker;

    frame->next = worker->free_frames[frame->code->id];
    worker->free_frames[frame->code->id] = frame;
}

void ptx_frames_free(struct ptx_worker *worker)
{
    for (uint32_t k = 0; k < worker->run->module->code_count; k++) {
        struct ptx_frame *next;

        for (struct ptx_frame *frame = worker->free_frames[k]; frame; frame = next) {
            next = frame->next;
            ptx_run_free(worker->run, frame, frame_bytes(frame->code));
        }
        worker->free_frames[k] = NULL;
    }
}

/* Local memory of a warp, grown on demand up to the launch's limit. */
bool ptx_local_reserve(struct ptx_warp *w, uint32_t bytes)
{
    struct ptx_run *run = w->cta->run;
    uint32_t grown = w->local_bytes ? w->local_bytes : 256;
    uint8_t *memory;

    if (bytes <= w->local_bytes)
        return true;
    if (bytes > run->local_limit)
        return false;
    while (grown < bytes)
        grown *= 2;
    memory = ptx_run_alloc(run, (size_t)grown * PTX_LANES);
    if (!memory)
        return false;
    if (w->local_bytes)
        memcpy(memory, w->local, (size_t)w->local_bytes * PTX_LANES);
    ptx_run_free(run, w->local, (size_t)w->local_bytes * PTX_LANES);
    w->local = memory;
    w->local_bytes = grown;
    return true;
}

/* --- blocks --- */
void ptx_cta_destroy(struct ptx_cta *cta)
{
    struct ptx_run *run = cta->run;

    for (uint32_t k = 0; cta->warps && k < cta->warp_count; k++) {
        struct ptx_warp *w = &cta->warps[k];

        for (uint32_t rest = w->live; rest; rest &= rest - 1) {
            uint32_t l = (uint32_t)__builtin_ctz(rest);
            struct ptx_frame *frame = ptx_warp_frame(w, l);

            /* after a fault, lanes may still be inside calls */
            while (frame && frame != w->root) {
                struct ptx_frame *parent = frame->parent;

                frame->mask &= ~(1u << l);
                if (!frame->mask)
                    ptx_frame_put(w, frame);
                frame = parent;
            }
        }
        if (w->root)
            ptx_run_free(run, w->root, frame_bytes(run->code));
        ptx_run_free(run, w->local, (size_t)w->local_bytes * PTX_LANES);
    }
    ptx_run_free(run, cta->shared, run->shared_bytes + 16u);
    ptx_run_free(run, cta->warps, sizeof(*cta->warps) * cta->warp_count);
    ptx_run_free(run, cta, sizeof(*cta));
}

struct ptx_cta *ptx_cta_create(struct ptx_worker *worker)
{
    struct ptx_run *run = worker->run;
    struct ptx_cta *cta = ptx_run_alloc(run, sizeof(*cta));

    if (!cta)
        return NULL;
    cta->run = run;
    cta->worker = worker;
    cta->warp_count = run->warps;
    cta->shared_bytes = run->shared_bytes;
    cta->warps = ptx_run_alloc(run, sizeof(*cta->warps) * run->warps);
    cta->shared = ptx_run_alloc(run, run->shared_bytes + 16u);
    if (!cta->warps || !cta->shared)
        goto fail;
    for (uint32_t k = 0; k < run->warps; k++) {
        struct ptx_warp *w = &cta->warps[k];

        w->cta = cta;
        w->index = k;
        w->tlb = worker->tlb;
        w->root = frame_new(run, run->code);
        if (!w->root || !ptx_local_reserve(w, run->code->local_bytes))
            goto fail;
        frame_sregs(w, w->root, run->code->const_init_count);
    }
    return cta;
fail:
    ptx_cta_destroy(cta);
    return NULL;
}

void ptx_cta_start(struct ptx_cta *cta, uint64_t block)
{
    struct ptx_run *run = cta->run;

    cta->block[0] = (uint32_t)(block % run->grid[0]);
    cta->block[1] = (uint32_t)(block / run->grid[0] % run->grid[1]);
    cta->block[2] = (uint32_t)(block / run->grid[0] / run->grid[1]);
    cta->live_threads = run->threads;
    cta->faulted = false;
    memset(cta->barriers, 0, sizeof(cta->barriers));
    cta->open_barriers = 0;
    for (uint32_t k = 0; k < cta->warp_count; k++) {
        struct ptx_warp *w = &cta->warps[k];
        uint32_t left = run->threads - k * PTX_LANES;

        w->live = left >= PTX_LANES ? PTX_FULL : (1u << left) - 1;
        w->blocked = w->waiting = w->cc = 0;
        w->force = w->rotate = false;
        w->turn = w->favour = 0;
        ptx_warp_gather(w, run->code->insns, w->root);
        w->root->mask = w->live;
        frame_sregs(w, w->root, run->code->block_init_first);
    }
}

/* Lets one incomplete .sync group through. */
static bool cta_force(struct ptx_cta *cta)
{
    for (uint32_t k = 0; k < cta->warp_count; k++) {
        struct ptx_warp *w = &cta->warps[k];

        if (w->waiting) {
            w->waiting = 0;
            w->force = true;
            return true;
        }
    }
    return false;
}

static void cta_deadlock(struct ptx_cta *cta)
{
    for (uint32_t k = 0; k < cta->warp_count; k++) {
        struct ptx_warp *w = &cta->warps[k];

        if (w->live) {
            uint32_t lane = (uint32_t)__builtin_ctz(w->live);

            w->frame = ptx_warp_frame(w, lane);
            ptx_fault(w, ptx_warp_pc(w, lane), VGPU_PTX_FAULT_DEADLOCK, lane, 0, 0, NULL);
            return;
        }
    }
}

enum ptx_cta_result ptx_cta_run(struct ptx_cta *cta)
{
    const struct ptx_engine *engine = cta->run->engine;
    uint64_t progress = cta->progress;
    uint32_t spins = 0;

    for (;;) {
        bool ran = false, only_yields = true;

        if (!cta->live_threads)
            return PTX_CTA_DONE;
        for (uint32_t k = 0; k < cta->warp_count; k++) {
            struct ptx_warp *w = &cta->warps[k];
            enum ptx_warp_result result;

            if (!(w->live & ~w->blocked & ~w->waiting))
                continue;
            result = engine->run(w);
            if (result == PTX_WARP_FAULTED)
                return PTX_CTA_FAULTED;
            ran = true;
            only_yields &= result == PTX_WARP_YIELDED;
        }
        if (!ran) {
            if (!cta->live_threads)
                return PTX_CTA_DONE;
            if (cta_force(cta))
                continue;
            cta_deadlock(cta);
            return PTX_CTA_FAULTED;
        }
        spins = only_yields && progress == cta->progress ? spins + 1 : 0;
        progress = cta->progress;
        if (spins >= PTX_SPIN_ROUNDS)
            return PTX_CTA_SPINS;
    }
}

/* --- barriers and exits --- */
static void barrier_wake(struct ptx_warp *w, uint32_t id, const struct ptx_barrier *bar)
{
    uint32_t lanes = 0;
    const struct ptx_insn *i = NULL;
    bool same = true, was_converged = w->converged;

    /* The usual case: the whole warp came together to a plain barrier. */
    if (was_converged && w->blocked == w->live) {
        if (w->barrier[__builtin_ctz(w->live)] != id)
            return;
        if (!(w->at->flags & 2)) {
            w->at++;
            w->blocked = w->waiting = 0;
            return;
        }
    }
    ptx_warp_spread(w);
    for (uint32_t rest = w->blocked; rest; rest &= rest - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(rest);

        if (w->barrier[l] != id)
            continue;
        same &= !i || i == w->pc[l];
        i = w->pc[l];
        lanes |= 1u << l;
        if (i->flags & 2) { /* bar.red: its result */
            uint32_t value = i->f == 0                           ? bar->count
                             : (i->f == 1 ? bar->all : bar->any) ? PTX_FULL
                                                                 : 0;

            ((uint32_t *)(void *)(w->frames[l]->regs + i->d))[l] = value;
        }
        w->pc[l] = i + 1;
    }
    if (was_converged && same && lanes == w->live)
        ptx_warp_gather(w, i + 1, w->frames[__builtin_ctz(lanes)]);
    w->blocked &= ~lanes;
    w->waiting = 0;
}

/* By count, or because every live thread waits here: nobody else can come. */
static bool barrier_is_complete(const struct ptx_cta *cta, const struct ptx_barrier *bar)
{
    if (bar->expected)
        return bar->arrived >= bar->expected;
    return bar->waiting && bar->waiting == cta->live_threads;
}

void ptx_barrier_release(struct ptx_cta *cta, uint32_t id)
{
    struct ptx_barrier bar = cta->barriers[id];

    if (!bar.is_open || !barrier_is_complete(cta, &bar))
        return;
    memset(&cta->barriers[id], 0, sizeof(cta->barriers[id]));
    cta->open_barriers &= ~(1u << id);
    cta->progress++;
    for (uint32_t k = 0; k < cta->warp_count; k++)
        if (cta->warps[k].blocked)
            barrier_wake(&cta->warps[k], id, &bar);
}

void ptx_lanes_exit(struct ptx_warp *w, uint32_t lanes)
{
    struct ptx_cta *cta = w->cta;

    for (uint32_t rest = w->frame == w->root ? 0 : lanes; rest; rest &= rest - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(rest);
        struct ptx_frame *frame = ptx_warp_frame(w, l);

        while (frame->parent) {
            struct ptx_frame *parent = frame->parent;

            frame->mask &= ~(1u << l);
            if (!frame->mask)
                ptx_frame_put(w, frame);
            frame = parent;
        }
    }
    if (lanes != w->live)
        ptx_warp_spread(w);
    w->live &= ~lanes;
    w->waiting = 0;
    w->ticks--;
    cta->progress++;
    cta->live_threads -= (uint32_t)__builtin_popcount(lanes);
    for (uint32_t open = cta->open_barriers; open; open &= open - 1)
        ptx_barrier_release(cta, (uint32_t)__builtin_ctz(open));
}
