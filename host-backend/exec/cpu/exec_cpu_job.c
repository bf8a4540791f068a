// SPDX-License-Identifier: MIT
/*
 * The cpu executor's jobs: copies, memset, launches, and what a fault becomes.
 *
 * Runs on the worker, or on the drain thread for short jobs; uses nothing of the executor but
 * the machine and the atomic fields.  Device ranges are checked here, by the machine.
 */
#include <exec/cpu/exec_cpu.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

uint64_t cpu_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static uint16_t job_copy(struct vgpu_exec *e, const struct vgpu_job *job)
{
    const struct vgpu_job_copy *c = &job->u.copy;
    void *dev;
    int rc;

    if (c->bytes == 0)
        return VGPU_ST_OK;
    dev = vgpu_ptx_mem_translate(e->machine, c->dev_addr, c->bytes);
    if (!dev)
        return VGPU_ST_BAD_ADDRESS;
    if (job->opcode == VGPU_CMD_COPY_H2D)
        rc = vgpu_gbuf_read(c->buf, c->buf_off, dev, c->bytes);
    else
        rc = vgpu_gbuf_write(c->buf, c->buf_off, dev, c->bytes);
    if (rc < 0)
        return VGPU_ST_HOST_ERROR;
    __atomic_fetch_add(&e->bytes_staged, c->bytes, __ATOMIC_RELAXED);
    return VGPU_ST_OK;
}

static uint16_t job_copy_d2d(struct vgpu_exec *e, const struct vgpu_job *job)
{
    const struct vgpu_job_d2d *c = &job->u.d2d;
    void *dst, *src;

    if (c->bytes == 0)
        return VGPU_ST_OK;
    dst = vgpu_ptx_mem_translate(e->machine, c->dst, c->bytes);
    src = vgpu_ptx_mem_translate(e->machine, c->src, c->bytes);
    if (!dst || !src)
        return VGPU_ST_BAD_ADDRESS;
    memmove(dst, src, c->bytes);
    return VGPU_ST_OK;
}

static uint16_t job_memset(struct vgpu_exec *e, const struct vgpu_job *job)
{
    const struct vgpu_job_memset *m = &job->u.memset;

    if (m->count == 0)
        return VGPU_ST_OK;
    if (vgpu_ptx_mem_fill(e->machine, m->dev_addr, m->value, m->width, m->count) != VGPU_PTX_OK)
        return VGPU_ST_BAD_ADDRESS;
    return VGPU_ST_OK;
}

/* ---- Launches ---- */

static uint16_t fault_status(enum vgpu_ptx_fault_kind kind)
{
    switch (kind) {
    case VGPU_PTX_FAULT_ILLEGAL_ADDRESS: return VGPU_ST_ILLEGAL_ADDRESS;
    case VGPU_PTX_FAULT_MISALIGNED: return VGPU_ST_MISALIGNED;
    case VGPU_PTX_FAULT_TRAP: return VGPU_ST_LAUNCH_FAILED;
    case VGPU_PTX_FAULT_ASSERT: return VGPU_ST_ASSERT;
    case VGPU_PTX_FAULT_DEADLOCK: return VGPU_ST_DEADLOCK;
    case VGPU_PTX_FAULT_TIMEOUT:
    case VGPU_PTX_FAULT_CANCELLED: return VGPU_ST_TIMEOUT;
    case VGPU_PTX_FAULT_INSTRUCTION: return VGPU_ST_ILLEGAL_INSTR;
    case VGPU_PTX_FAULT_STACK: return VGPU_ST_STACK_OVERFLOW;
    /* Nothing ran: not a fault of the kernel, and the context lives on. */
    case VGPU_PTX_FAULT_MEMORY: return VGPU_ST_LAUNCH_RESOURCES;
    case VGPU_PTX_FAULT_NONE: break;
    }
    return VGPU_ST_LAUNCH_FAILED;
}

/* Jobs run one at a time on the worker, and launches never inline: one writer. */
static void fault_record(struct vgpu_exec *e, uint16_t status, const struct vgpu_ptx_fault *fault)
{
    const char *kernel = fault->kernel;

    e->fault.status = status;
    e->fault.addr = fault->va;
    if (fault->text[0] && strstr(fault->text, kernel))
        snprintf(e->fault.message, sizeof(e->fault.message), "%.*s",
                 (int)sizeof(e->fault.message) - 1, fault->text);
    else
        snprintf(e->fault.message, sizeof(e->fault.message), "kernel %.64s, line %u: %.140s",
                 kernel, fault->line, fault->text[0] ? fault->text : "failed");
    __atomic_store_n(&e->fault_status, status, __ATOMIC_RELEASE);
}

static uint16_t job_launch(struct vgpu_exec *e, const struct vgpu_job *job)
{
    const struct vgpu_job_launch *l = &job->u.launch;
    const struct vgpu_ptx_launch launch = {
        .function = job->priv,
        .grid = {l->grid[0], l->grid[1], l->grid[2]},
        .block = {l->block[0], l->block[1], l->block[2]},
        .dynamic_shared_bytes = l->shared_bytes,
        .params = l->params,
        .param_bytes = l->param_bytes,
        .timeout_ms = e->cfg.deadline_ms,
        .cancel = &e->cancel,
    };
    struct vgpu_ptx_fault fault = {0};
    uint64_t start_ns = cpu_now_ns();
    enum vgpu_ptx_status rc = vgpu_ptx_launch_run(e->machine, &launch, &fault, NULL);
    uint16_t status;

    __atomic_fetch_add(&e->kernel_ns, cpu_now_ns() - start_ns, __ATOMIC_RELAXED);
    __atomic_fetch_add(&e->kernels, 1, __ATOMIC_RELAXED);
    switch (rc) {
    case VGPU_PTX_OK: return VGPU_ST_OK;
    case VGPU_PTX_NO_MEMORY: return VGPU_ST_LAUNCH_RESOURCES;
    case VGPU_PTX_FAULT: status = fault_status(fault.kind); break;
    case VGPU_PTX_CANCELLED: status = VGPU_ST_TIMEOUT; break;
    default: return VGPU_ST_BAD_VALUE;
    }
    if (status != VGPU_ST_LAUNCH_RESOURCES)
        fault_record(e, status, &fault);
    return status;
}

void cpu_job_run(struct vgpu_exec *e, struct vgpu_job *job)
{
    job->status = __atomic_load_n(&e->fault_status, __ATOMIC_ACQUIRE);
    if (job->status != VGPU_ST_OK)
        return;
    switch (job->opcode) {
    case VGPU_CMD_COPY_H2D:
    case VGPU_CMD_COPY_D2H: job->status = job_copy(e, job); break;
    case VGPU_CMD_COPY_D2D: job->status = job_copy_d2d(e, job); break;
    case VGPU_CMD_MEMSET: job->status = job_memset(e, job); break;
    case VGPU_CMD_LAUNCH: job->status = job_launch(e, job); break;
    case VGPU_CMD_EVENT_RECORD: job->result = cpu_now_ns(); break;
    /* EVENT_WAIT: the worker runs jobs in order, so what it waits for has happened. */
    default: break;
    }
}
