// SPDX-License-Identifier: MIT
/*
 * Launches: checks, the worker's loop over blocks, and what a warp asks of the world (generic addresses, function
 * addresses, volatile special registers).
 *
 * Each worker takes blocks in order from one counter. Normally it runs a block to its end; a block that only
 * spins is put aside and another is started beside it, up to a limit; cooperative launches start all blocks,
 * so grid-wide barriers complete.
 */
#include "machine.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_HOST_LIMIT (1ull << 30)

/* --- what warps ask --- */
const struct ptx_range *ptx_run_find(struct ptx_warp *w, uint64_t va)
{
    return ptx_ranges_find(w->cta->run->ranges, va);
}

uint32_t ptx_run_param_bytes(const struct ptx_warp *w)
{
    return w->cta->run->param_bytes;
}

const uint8_t *ptx_run_params(const struct ptx_warp *w)
{
    return w->cta->run->params;
}

const struct ptx_code *ptx_func_at(struct ptx_warp *w, uint64_t address)
{
    const struct vgpu_ptx_module *module = w->cta->run->module;
    uint64_t index = (address - PTX_FUNC_BASE) / PTX_FUNC_STEP;

    if (address < PTX_FUNC_BASE || index >= module->func_count ||
        (address - PTX_FUNC_BASE) % PTX_FUNC_STEP)
        return NULL;
    return module->funcs[index] && !module->funcs[index]->is_entry ? module->funcs[index]->code
                                                                   : NULL;
}

uint8_t *ptx_generic(struct ptx_warp *w, uint32_t lane, uint64_t va, uint32_t bytes, bool is_store)
{
    struct ptx_cta *cta = w->cta;
    const struct ptx_range *range;

    if (va - PTX_SHARED_BASE < PTX_WINDOW_BYTES) {
        uint64_t offset = va - PTX_SHARED_BASE;

        return offset < cta->shared_bytes && bytes <= cta->shared_bytes - offset
                   ? cta->shared + offset
                   : NULL;
    }
    if (va - PTX_LOCAL_BASE < PTX_WINDOW_BYTES) {
        uint64_t offset = va - PTX_LOCAL_BASE;

        return offset < w->local_bytes && bytes <= w->local_bytes - offset &&
                       (offset & 7) + bytes <= 8
                   ? ptx_local_at(w, lane, (uint32_t)offset)
                   : NULL;
    }
    if (va - PTX_PARAM_BASE < PTX_WINDOW_BYTES) {
        uint64_t offset = va - PTX_PARAM_BASE;

        return !is_store && offset < cta->run->param_bytes &&
                       bytes <= cta->run->param_bytes - offset
                   ? cta->run->params + offset
                   : NULL;
    }
    range = ptx_run_find(w, va);
    if (!range || bytes > range->bytes - (va - range->base) || (is_store && range->is_readonly))
        return NULL;
    return range->host + (va - range->base);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t ptx_special_read(struct ptx_warp *w, uint32_t lane, enum ptx_sreg sreg)
{
    struct ptx_run *run = w->cta->run;
    bool fixed = run->machine->options.deterministic;
    uint64_t steps = w->cta->counts.insns + w->insns;

    (void)lane;
    switch (sreg) {
    case PTX_SR_clock: return (uint32_t)(fixed ? steps : clock_ns(CLOCK_MONOTONIC));
    case PTX_SR_clock_hi: return fixed ? steps >> 32 : clock_ns(CLOCK_MONOTONIC) >> 32;
    case PTX_SR_clock64: return fixed ? steps : clock_ns(CLOCK_MONOTONIC);
    case PTX_SR_globaltimer: return fixed ? steps : clock_ns(CLOCK_REALTIME);
    case PTX_SR_globaltimer_lo: return (uint32_t)(fixed ? steps : clock_ns(CLOCK_REALTIME));
    case PTX_SR_globaltimer_hi: return fixed ? steps >> 32 : clock_ns(CLOCK_REALTIME) >> 32;
    default: return 0; /* performance monitors that nobody programmed */
    }
}

/* --- workers --- */
static bool worker_add(struct ptx_worker *worker, struct ptx_cta *cta)
{
    if (worker->resident_count == worker->resident_capacity) {
        uint32_t capacity = worker->resident_capacity ? worker->resident_capacity * 2 : 8;
        struct ptx_cta **resident = realloc(worker->resident, capacity * sizeof(struct ptx_cta *));

        if (!resident)
            return false;
        worker->resident = resident;
        worker->resident_capacity = capacity;
    }
    worker->resident[worker->resident_count++] = cta;
    return true;
}

static void run_add_counts(struct ptx_run *run, struct ptx_cta *cta)
{
    const struct ptx_counts *c = &cta->counts;
    uint64_t unspent = 0;

    for (uint32_t k = 0; k < cta->warp_count; k++) {
        unspent += cta->warps[k].insns;
        cta->counts.insns += cta->warps[k].insns;
        cta->counts.lane_insns += cta->warps[k].lane_insns;
        cta->warps[k].insns = cta->warps[k].lane_insns = 0;
    }
    __atomic_add_fetch(&run->insns, unspent, __ATOMIC_RELAXED);
    pthread_mutex_lock(&run->lock);
    run->counts.insns += c->insns;
    run->counts.lane_insns += c->lane_insns;
    run->counts.divergent += c->divergent;
    run->counts.branches += c->branches;
    run->counts.barriers += c->barriers;
    run->counts.load_bytes += c->load_bytes;
    run->counts.store_bytes += c->store_bytes;
    run->counts.atomics += c->atomics;
    pthread_mutex_unlock(&run->lock);
    memset(&cta->counts, 0, sizeof(cta->counts));
}

/* True if another block was started; false: none left, or no memory (which fails the launch unless others run). */
static bool worker_start(struct ptx_worker *worker)
{
    struct ptx_run *run = worker->run;
    struct ptx_cta *cta = worker->spare;
    uint64_t block;

    if (__atomic_load_n(&run->next_block, __ATOMIC_RELAXED) >= run->total_blocks)
        return false;
    if (!cta)
        cta = ptx_cta_create(worker);
    worker->spare = NULL;
    if (!cta || !worker_add(worker, cta)) {
        if (cta)
            ptx_cta_destroy(cta);
        if (!worker->resident_count || run->is_cooperative)
            ptx_run_fail(run, VGPU_PTX_FAULT, VGPU_PTX_FAULT_MEMORY, NULL);
        return false;
    }
    block = __atomic_fetch_add(&run->next_block, 1, __ATOMIC_RELAXED);
    if (block >= run->total_blocks) {
        worker->resident_count--;
        worker->spare = cta;
        return false;
    }
    ptx_cta_start(cta, block);
    return true;
}

static bool worker_stops(const struct ptx_run *run)
{
    return __atomic_load_n(&run->stop, __ATOMIC_ACQUIRE) ||
           (run->cancel && __atomic_load_n(run->cancel, __ATOMIC_RELAXED));
}

static void worker_loop(struct ptx_worker *worker)
{
    struct ptx_run *run = worker->run;
    uint32_t limit = run->is_cooperative ? UINT32_MAX : PTX_RESIDENT_MAX, at = 0;
    bool last_spun = true;

    while (!worker_stops(run)) {
        struct ptx_cta *cta;

        if ((!worker->resident_count || (last_spun && worker->resident_count < limit)) &&
            worker_start(worker))
            at = worker->resident_count - 1;
        else if (!worker->resident_count)
            return;
        else if (last_spun && ++at >= worker->resident_count) {
            at = 0;
            sched_yield();
        }
        if (at >= worker->resident_count)
            at = 0;
        cta = worker->resident[at];
        switch (ptx_cta_run(cta)) {
        case PTX_CTA_SPINS: last_spun = true; break;
        case PTX_CTA_FAULTED: return;
        case PTX_CTA_DONE:
            __atomic_add_fetch(&run->blocks_done, 1, __ATOMIC_RELAXED);
            last_spun = false;
            worker->resident[at] = worker->resident[--worker->resident_count];
            if (worker->spare) {
                run_add_counts(run, cta);
                ptx_cta_destroy(cta);
            } else {
                worker->spare = cta;
            }
            break;
        }
    }
}

void ptx_worker_run(struct ptx_run *run, uint32_t index)
{
    struct ptx_worker *worker = aligned_alloc(128, (sizeof(*worker) + 127) & ~(size_t)127);

    if (worker) {
        memset(worker, 0, sizeof(*worker));
        worker->free_frames = calloc(run->module->code_count + 1, sizeof(*worker->free_frames));
    }
    if (!worker || !worker->free_frames) {
        ptx_run_fail(run, VGPU_PTX_FAULT, VGPU_PTX_FAULT_MEMORY, NULL);
        free(worker);
        return;
    }
    worker->run = run;
    worker->smid = index;
    worker_loop(worker);
    if (worker->spare) {
        run_add_counts(run, worker->spare);
        ptx_cta_destroy(worker->spare);
    }
    for (uint32_t k = 0; k < worker->resident_count; k++) {
        run_add_counts(run, worker->resident[k]);
        ptx_cta_destroy(worker->resident[k]);
    }
    ptx_frames_free(worker);
    free(worker->resident);
    free(worker->free_frames);
    free(worker);
}

/* --- launches --- */
static bool launch_dims(const struct vgpu_ptx_launch *launch, const struct ptx_func *func)
{
    uint64_t threads = (uint64_t)launch->block[0] * launch->block[1] * launch->block[2];
    uint64_t most = VGPU_PTX_MAX_BLOCK_THREADS;

    for (uint32_t k = 0; k < 3; k++)
        if (!launch->grid[k] || !launch->block[k] || launch->block[k] > VGPU_PTX_MAX_BLOCK_THREADS)
            return false;
    if (launch->grid[0] > INT32_MAX || launch->grid[1] > 65535 || launch->grid[2] > 65535 ||
        launch->block[2] > 64)
        return false;
    if (func->maxntid[0])
        most = (uint64_t)func->maxntid[0] * func->maxntid[1] * func->maxntid[2];
    if (func->reqntid[0] && memcmp(func->reqntid, launch->block, sizeof(launch->block)))
        return false;
    return threads <= VGPU_PTX_MAX_BLOCK_THREADS && threads <= most;
}

static bool run_init(struct ptx_run *run, struct vgpu_ptx_machine *machine,
                     const struct vgpu_ptx_launch *launch)
{
    const struct ptx_func *func = launch->function->func;
    uint32_t timeout = launch->timeout_ms ? launch->timeout_ms : machine->options.launch_timeout_ms;
    uint32_t align = launch->function->module->dynamic_align;

    memset(run, 0, sizeof(*run));
    run->machine = machine;
    run->module = launch->function->module;
    run->func = func;
    run->code = func->code;
    run->engine = machine->engine;
    memcpy(run->grid, launch->grid, sizeof(run->grid));
    memcpy(run->block, launch->block, sizeof(run->block));
    run->threads = run->block[0] * run->block[1] * run->block[2];
    run->warps = (run->threads + PTX_LANES - 1) / PTX_LANES;
    run->total_blocks = (uint64_t)run->grid[0] * run->grid[1] * run->grid[2];
    run->dynamic_bytes = launch->dynamic_shared_bytes;
    run->dynamic_base = (func->shared_bytes + align - 1) & ~(align - 1);
    if (launch->dynamic_shared_bytes > VGPU_PTX_MAX_SHARED_BYTES ||
        run->dynamic_base + launch->dynamic_shared_bytes > VGPU_PTX_MAX_SHARED_BYTES)
        return false;
    run->shared_bytes = launch->dynamic_shared_bytes
                            ? run->dynamic_base + launch->dynamic_shared_bytes
                            : func->shared_bytes;
    run->own_shared_bytes = run->shared_bytes;
    if (run->module->asks_reserved)
        run->shared_bytes = ptx_reserved_base(run) + PTX_RESERVED_BYTES;
    run->local_limit = VGPU_PTX_MAX_LOCAL_BYTES;
    run->is_cooperative = launch->flags & VGPU_PTX_LAUNCH_COOPERATIVE;
    run->param_bytes = func->param_bytes;
    run->cancel = launch->cancel;
    run->deadline_ns = timeout ? clock_ns(CLOCK_MONOTONIC) + timeout * 1000000ull : 0;
    run->budget = machine->options.instruction_budget;
    run->host_limit = machine->options.max_registers_bytes ? machine->options.max_registers_bytes
                                                           : DEFAULT_HOST_LIMIT;
    pthread_mutex_init(&run->lock, NULL);
    return true;
}

/* Cooperative groups find the grid's barrier in a workspace whose address is in two of the environment registers. */
#define WORKSPACE_BYTES 4096u

static bool run_prepare(struct ptx_run *run, const void *params)
{
    run->params = calloc(1, run->param_bytes ? run->param_bytes : 1);
    if (!run->params)
        return false;
    if (run->param_bytes)
        memcpy(run->params, params, run->param_bytes);
    if (run->is_cooperative) {
        struct ptx_range range;

        if (ptx_mem_new(&run->machine->mem, WORKSPACE_BYTES, false, true, &range))
            return false;
        run->workspace = range.base;
        memcpy(range.host, &(uint32_t){WORKSPACE_BYTES}, 4);
    }
    run->ranges = ptx_mem_get(&run->machine->mem);
    return run->ranges != NULL;
}

static void run_release(struct ptx_run *run)
{
    if (run->ranges)
        ptx_mem_put(&run->machine->mem, run->ranges);
    if (run->workspace && ptx_mem_drop(&run->machine->mem, run->workspace, true))
        run->workspace = 0;
    free(run->params);
    pthread_mutex_destroy(&run->lock);
}

static void run_report(struct ptx_run *run, struct vgpu_ptx_fault *fault,
                       struct vgpu_ptx_counters *counters)
{
    if (fault)
        *fault = run->fault;
    if (!counters)
        return;
    counters->warp_instructions = run->counts.insns;
    counters->lane_instructions = run->counts.lane_insns;
    counters->divergent_branches = run->counts.divergent;
    counters->branches = run->counts.branches;
    counters->barriers = run->counts.barriers;
    counters->global_load_bytes = run->counts.load_bytes;
    counters->global_store_bytes = run->counts.store_bytes;
    counters->atomics = run->counts.atomics;
    counters->blocks = run->blocks_done;
}

enum vgpu_ptx_status vgpu_ptx_launch_run(struct vgpu_ptx_machine *machine,
                                         const struct vgpu_ptx_launch *launch,
                                         struct vgpu_ptx_fault *fault,
                                         struct vgpu_ptx_counters *counters)
{
    struct ptx_run run;
    enum vgpu_ptx_status status;

    if (fault)
        memset(fault, 0, sizeof(*fault));
    if (counters)
        memset(counters, 0, sizeof(*counters));
    if (!launch->function || launch->function->module->machine != machine ||
        !launch->function->func->code || !launch->function->func->is_entry ||
        launch->flags & ~VGPU_PTX_LAUNCH_COOPERATIVE ||
        launch->param_bytes != launch->function->func->param_bytes ||
        (launch->param_bytes && !launch->params) || !launch_dims(launch, launch->function->func))
        return VGPU_PTX_INVALID;
    if (!run_init(&run, machine, launch))
        return VGPU_PTX_INVALID;
    pthread_mutex_lock(&machine->launch_lock);
    run.id = ++machine->launches;
    if (!run_prepare(&run, launch->params)) {
        status = VGPU_PTX_NO_MEMORY;
    } else {
        ptx_pool_run(&machine->pool, &run);
        if (!run.status && worker_stops(&run))
            ptx_run_fail(&run, VGPU_PTX_CANCELLED, VGPU_PTX_FAULT_CANCELLED, NULL);
        if (run.status == VGPU_PTX_CANCELLED && run.blocks_done == run.total_blocks)
            run.status = VGPU_PTX_OK; /* the flag came after the last block */
        status = run.status;
        if (status == VGPU_PTX_OK)
            memset(&run.fault, 0, sizeof(run.fault));
        run_report(&run, fault, counters);
    }
    run_release(&run);
    pthread_mutex_unlock(&machine->launch_lock);
    return status;
}
