// SPDX-License-Identifier: MIT
/*
 * Faults: the first one of a launch is recorded, in words, and stops everybody else.
 */
#include "machine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const kind_text[] = {
    [VGPU_PTX_FAULT_NONE] = "no fault",
    [VGPU_PTX_FAULT_ILLEGAL_ADDRESS] = "illegal address",
    [VGPU_PTX_FAULT_MISALIGNED] = "misaligned address",
    [VGPU_PTX_FAULT_TRAP] = "trap",
    [VGPU_PTX_FAULT_ASSERT] = "assertion failed",
    [VGPU_PTX_FAULT_DEADLOCK] = "deadlock: every thread of the block waits",
    [VGPU_PTX_FAULT_TIMEOUT] = "time or instruction limit exceeded",
    [VGPU_PTX_FAULT_CANCELLED] = "cancelled",
    [VGPU_PTX_FAULT_INSTRUCTION] = "illegal operand",
    [VGPU_PTX_FAULT_STACK] = "stack overflow",
    [VGPU_PTX_FAULT_MEMORY] = "not enough host memory for the launch",
};

/* "8 bytes after the 4096 bytes at 0x1000000000" */
static void describe_nearest(const struct ptx_ranges *ranges, uint64_t va, char *text, size_t bytes)
{
    const struct ptx_range *best = NULL;
    uint64_t best_distance = UINT64_MAX;
    bool after = false;

    for (uint32_t k = 0; k < ranges->count; k++) {
        const struct ptx_range *range = &ranges->items[k];
        uint64_t end = range->base + range->bytes;
        uint64_t distance = va < range->base ? range->base - va : va >= end ? va - end : 0;

        if (distance < best_distance) {
            best_distance = distance;
            best = range;
            after = va >= range->base;
        }
    }
    if (!best)
        snprintf(text, bytes, "; nothing is allocated");
    else if (!best_distance && va < best->base + best->bytes)
        snprintf(text, bytes, "; inside the %llu bytes at 0x%llx%s",
                 (unsigned long long)best->bytes, (unsigned long long)best->base,
                 best->is_readonly ? ", which are constant" : "");
    else
        snprintf(text, bytes, "; %llu bytes %s the %llu bytes at 0x%llx",
                 (unsigned long long)best_distance, after ? "after" : "before",
                 (unsigned long long)best->bytes, (unsigned long long)best->base);
}

void ptx_run_fail(struct ptx_run *run, enum vgpu_ptx_status status, enum vgpu_ptx_fault_kind kind,
                  const char *text)
{
    pthread_mutex_lock(&run->lock);
    if (!run->status) {
        run->status = status;
        run->fault.kind = kind;
        run->fault.input = run->func->module->index;
        snprintf(run->fault.kernel, sizeof(run->fault.kernel), "%s", run->func->name);
        snprintf(run->fault.text, sizeof(run->fault.text), "kernel %.127s: %s%s%s", run->func->name,
                 kind_text[kind], text ? ": " : "", text ? text : "");
    }
    pthread_mutex_unlock(&run->lock);
    __atomic_store_n(&run->stop, 1, __ATOMIC_RELEASE);
}

static void fault_place(struct ptx_warp *w, const struct ptx_insn *i, uint32_t lane,
                        struct vgpu_ptx_fault *fault)
{
    const struct ptx_run *run = w->cta->run;
    const struct ptx_code *code = w->frame ? w->frame->code : run->code;
    uint32_t thread = w->index * PTX_LANES + lane;

    memcpy(fault->block, w->cta->block, sizeof(fault->block));
    fault->thread[0] = thread % run->block[0];
    fault->thread[1] = thread / run->block[0] % run->block[1];
    fault->thread[2] = thread / run->block[0] / run->block[1];
    if (i >= code->insns && i < code->insns + code->insn_count)
        fault->line = code->lines[i - code->insns];
    fault->input = code->func->module->index;
}

static void fault_write(struct ptx_warp *w, struct vgpu_ptx_fault *f, const char *detail)
{
    const struct ptx_run *run = w->cta->run;
    char what[224], nearest[128] = "";

    if (f->kind == VGPU_PTX_FAULT_ILLEGAL_ADDRESS) {
        describe_nearest(run->ranges, f->va, nearest, sizeof(nearest));
        snprintf(what, sizeof(what), "%s of %u bytes at 0x%llx", detail ? detail : "access",
                 f->access_bytes, (unsigned long long)f->va);
    } else if (f->kind == VGPU_PTX_FAULT_MISALIGNED) {
        snprintf(what, sizeof(what), "0x%llx is not aligned to %u bytes", (unsigned long long)f->va,
                 f->access_bytes);
    } else {
        snprintf(what, sizeof(what), "%s", detail ? detail : "");
    }
    snprintf(f->kernel, sizeof(f->kernel), "%s", run->func->name);
    snprintf(f->text, sizeof(f->text),
             "kernel %.100s: %s%s%s%s; PTX line %u, block (%u,%u,%u), thread (%u,%u,%u)",
             run->func->name, kind_text[f->kind], *what ? ": " : "", what, nearest, f->line,
             f->block[0], f->block[1], f->block[2], f->thread[0], f->thread[1], f->thread[2]);
}

const struct ptx_insn *ptx_fault(struct ptx_warp *w, const struct ptx_insn *i,
                                 enum vgpu_ptx_fault_kind kind, uint32_t lane, uint64_t va,
                                 uint32_t bytes, const char *detail)
{
    struct ptx_run *run = w->cta->run;

    pthread_mutex_lock(&run->lock);
    if (!run->status) {
        run->status = kind == VGPU_PTX_FAULT_TIMEOUT || kind == VGPU_PTX_FAULT_CANCELLED
                          ? VGPU_PTX_CANCELLED
                          : VGPU_PTX_FAULT;
        run->fault.kind = kind;
        run->fault.va = va;
        run->fault.access_bytes = bytes;
        fault_place(w, i, lane, &run->fault);
        fault_write(w, &run->fault, detail);
    }
    pthread_mutex_unlock(&run->lock);
    __atomic_store_n(&run->stop, 1, __ATOMIC_RELEASE);
    w->cta->faulted = true;
    return PTX_PARKED;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Called between quanta: true ends the warp. */
bool ptx_run_stopped(struct ptx_warp *w, const struct ptx_insn *i)
{
    struct ptx_run *run = w->cta->run;
    uint32_t lane = w->live ? (uint32_t)__builtin_ctz(w->live) : 0;
    uint64_t spent;

    if (__atomic_load_n(&run->stop, __ATOMIC_ACQUIRE)) {
        w->cta->faulted = true;
        return true;
    }
    if (run->cancel && __atomic_load_n(run->cancel, __ATOMIC_RELAXED)) {
        ptx_fault(w, i, VGPU_PTX_FAULT_CANCELLED, lane, 0, 0, NULL);
        return true;
    }
    spent = __atomic_add_fetch(&run->insns, w->insns, __ATOMIC_RELAXED);
    w->cta->counts.insns += w->insns;
    w->cta->counts.lane_insns += w->lane_insns;
    w->insns = w->lane_insns = 0;
    if ((run->budget && spent > run->budget) || (run->deadline_ns && now_ns() > run->deadline_ns)) {
        ptx_fault(w, i, VGPU_PTX_FAULT_TIMEOUT, lane, 0, 0, NULL);
        return true;
    }
    return false;
}
