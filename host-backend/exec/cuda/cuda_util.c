/* SPDX-License-Identifier: MIT */
/*
 * Small things every part of the cuda executor uses: the handle table, job FIFOs, the clock, and
 * the one place that turns a CUresult into a status of the ABI.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <exec/cuda/cuda_exec.h>

uint32_t cuda_table_add(struct cuda_table *table, void *object)
{
    uint32_t i = table->search;

    while (i < table->count && table->slots[i])
        i++;
    if (i == table->max)
        return 0;
    if (i == table->room) {
        uint32_t room = table->room ? table->room * 2 : 16;
        void **slots;

        if (room > table->max)
            room = table->max;
        slots = realloc(table->slots, room * sizeof(*slots));
        if (!slots)
            return 0;
        table->slots = slots;
        table->room = room;
    }
    if (i == table->count)
        table->count++;
    table->slots[i] = object;
    table->search = i + 1;
    table->live++;
    return i + 1;
}

void *cuda_table_get(const struct cuda_table *table, uint32_t handle)
{
    return handle >= 1 && handle <= table->count ? table->slots[handle - 1] : NULL;
}

void cuda_table_remove(struct cuda_table *table, uint32_t handle)
{
    table->slots[handle - 1] = NULL;
    table->live--;
    if (handle - 1 < table->search)
        table->search = handle - 1;
}

void cuda_table_free(struct cuda_table *table)
{
    free(table->slots);
    *table = (struct cuda_table){.max = table->max};
}

void cuda_fifo_push(struct cuda_fifo *fifo, struct vgpu_job *job)
{
    job->next = NULL;
    if (fifo->last)
        fifo->last->next = job;
    else
        fifo->first = job;
    fifo->last = job;
}

struct vgpu_job *cuda_fifo_pop(struct cuda_fifo *fifo)
{
    struct vgpu_job *job = fifo->first;

    if (job) {
        fifo->first = job->next;
        if (!fifo->first)
            fifo->last = NULL;
        job->next = NULL;
    }
    return job;
}

uint64_t cuda_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Statuses of results that a program's own call may earn; the context lives on. */
static uint16_t status_of(CUresult result)
{
    switch (result) {
    case CUDA_SUCCESS: return VGPU_ST_OK;
    case CUDA_ERROR_INVALID_VALUE: return VGPU_ST_BAD_VALUE;
    case CUDA_ERROR_OUT_OF_MEMORY: return VGPU_ST_OUT_OF_MEMORY;
    case CUDA_ERROR_INVALID_IMAGE: return VGPU_ST_BAD_IMAGE;
    case CUDA_ERROR_INVALID_SOURCE: return VGPU_ST_BAD_IMAGE;
    case CUDA_ERROR_SHARED_OBJECT_INIT_FAILED: return VGPU_ST_BAD_IMAGE;
    case CUDA_ERROR_NO_BINARY_FOR_GPU: return VGPU_ST_NO_BINARY;
    case CUDA_ERROR_INVALID_PTX: return VGPU_ST_BAD_PTX;
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION: return VGPU_ST_UNSUPPORTED_PTX;
    case CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND: return VGPU_ST_NOT_FOUND;
    case CUDA_ERROR_INVALID_HANDLE: return VGPU_ST_BAD_HANDLE;
    case CUDA_ERROR_NOT_FOUND: return VGPU_ST_NOT_FOUND;
    case CUDA_ERROR_NOT_READY: return VGPU_ST_NOT_READY;
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: return VGPU_ST_LAUNCH_RESOURCES;
    case CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE: return VGPU_ST_LAUNCH_RESOURCES;
    case CUDA_ERROR_INVALID_CLUSTER_SIZE: return VGPU_ST_LAUNCH_RESOURCES;
    /* Images that need what this driver, or our ABI, does not have. */
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_JIT_COMPILATION_DISABLED:
    case CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC:
    case CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING:
    case CUDA_ERROR_CDP_NOT_SUPPORTED:
    case CUDA_ERROR_CDP_VERSION_MISMATCH:
    case CUDA_ERROR_NOT_SUPPORTED: return VGPU_ST_NOT_SUPPORTED;
    default: return VGPU_ST_EXEC_FAILED;
    }
}

/* Statuses of results after which CUDA accepts no further work ("sticky" in the driver API's
 * documentation of CUresult); 0 for all others. */
static uint16_t sticky_status(CUresult result)
{
    switch (result) {
    case CUDA_ERROR_ILLEGAL_ADDRESS: return VGPU_ST_ILLEGAL_ADDRESS;
    case CUDA_ERROR_LAUNCH_TIMEOUT: return VGPU_ST_TIMEOUT;
    case CUDA_ERROR_ASSERT: return VGPU_ST_ASSERT;
    case CUDA_ERROR_HARDWARE_STACK_ERROR: return VGPU_ST_STACK_OVERFLOW;
    case CUDA_ERROR_ILLEGAL_INSTRUCTION: return VGPU_ST_ILLEGAL_INSTR;
    case CUDA_ERROR_MISALIGNED_ADDRESS: return VGPU_ST_MISALIGNED;
    case CUDA_ERROR_INVALID_ADDRESS_SPACE: return VGPU_ST_ILLEGAL_ADDRESS;
    case CUDA_ERROR_INVALID_PC: return VGPU_ST_ILLEGAL_INSTR;
    case CUDA_ERROR_LAUNCH_FAILED: return VGPU_ST_LAUNCH_FAILED;
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK: return VGPU_ST_EXEC_FAILED;
    default: return VGPU_ST_OK;
    }
}

void cuda_lose(struct vgpu_exec *exec, CUresult result, const char *what)
{
    uint16_t sticky = sticky_status(result);
    char text[112], suspects[116];

    if (exec->faulted)
        return;
    exec->faulted = true;
    exec->fault.status = sticky != VGPU_ST_OK ? sticky : VGPU_ST_EXEC_FAILED;
    exec->fault.addr = 0; /* the driver API does not tell */
    vgpu_cu_error(&exec->cu, result, text, sizeof(text));
    /* Errors of asynchronous work surface in whatever is called next. */
    if (sticky != VGPU_ST_OK && cuda_job_suspects(exec, suspects, sizeof(suspects)))
        what = suspects;
    snprintf(exec->fault.message, sizeof(exec->fault.message), "%.114s: %s", what, text);
}

uint16_t cuda_status(struct vgpu_exec *exec, CUresult result, const char *what)
{
    uint16_t status = status_of(result);

    /* Whatever status_of() does not list is taken as sticky: better one context lost than one
     * that goes on in an unknown state. */
    if (status == VGPU_ST_EXEC_FAILED)
        cuda_lose(exec, result, what);
    return exec->faulted ? exec->fault.status : status;
}

void cuda_release(struct vgpu_exec *exec, CUresult result, const char *what)
{
    if (result != CUDA_SUCCESS)
        cuda_lose(exec, result, what);
}

void cuda_heed(struct vgpu_exec *exec, CUresult result, const char *what)
{
    if (sticky_status(result) != VGPU_ST_OK)
        cuda_lose(exec, result, what);
}
