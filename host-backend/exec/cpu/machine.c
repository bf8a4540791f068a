// SPDX-License-Identifier: MIT
/*
 * The machine: creation, memory calls, names of statuses. See ptx.h.
 */
#include "machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *vgpu_ptx_status_name(enum vgpu_ptx_status status)
{
    static const char *const names[] = {
        [VGPU_PTX_OK] = "ok",
        [VGPU_PTX_SYNTAX] = "syntax error",
        [VGPU_PTX_UNSUPPORTED] = "unsupported instruction",
        [VGPU_PTX_TOO_NEW] = "unsupported PTX ISA version",
        [VGPU_PTX_NO_PTX] = "no PTX inside",
        [VGPU_PTX_BAD_IMAGE] = "damaged image",
        [VGPU_PTX_NO_MEMORY] = "out of memory",
        [VGPU_PTX_INVALID] = "invalid argument",
        [VGPU_PTX_NOT_FOUND] = "not found",
        [VGPU_PTX_FAULT] = "kernel fault",
        [VGPU_PTX_CANCELLED] = "cancelled",
    };

    return (unsigned)status < sizeof(names) / sizeof(names[0]) ? names[status] : "unknown status";
}

static enum vgpu_ptx_isa best_isa(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return VGPU_PTX_CPU_AVX2;
#endif
    return VGPU_PTX_CPU_BASELINE;
}

static uint32_t thread_count(const struct vgpu_ptx_options *options)
{
    long online;

    if (options->deterministic)
        return 1;
    if (options->threads)
        return options->threads;
    online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online > VGPU_PTX_MAX_THREADS ? VGPU_PTX_MAX_THREADS : (uint32_t)online;
}

enum vgpu_ptx_status vgpu_ptx_machine_create(const struct vgpu_ptx_options *options,
                                             struct vgpu_ptx_machine **out)
{
    struct vgpu_ptx_machine *machine;

    if (options->threads > VGPU_PTX_MAX_THREADS || options->isa > VGPU_PTX_CPU_AVX2 ||
        (options->isa == VGPU_PTX_CPU_AVX2 && best_isa() != VGPU_PTX_CPU_AVX2))
        return VGPU_PTX_INVALID;
    machine = calloc(1, sizeof(*machine));
    if (!machine)
        return VGPU_PTX_NO_MEMORY;
    ptx_tables_init();
    machine->options = *options;
    machine->isa = options->isa == VGPU_PTX_CPU_AUTO ? best_isa() : options->isa;
    machine->engine = machine->isa == VGPU_PTX_CPU_AVX2 ? &ptx_engine_avx2 : &ptx_engine_base;
    ptx_mem_init(&machine->mem, options->mem_limit_bytes, options->mem_charge, options->user);
    pthread_mutex_init(&machine->launch_lock, NULL);
    pthread_mutex_init(&machine->print_lock, NULL);
    if (ptx_pool_init(&machine->pool, thread_count(options))) {
        vgpu_ptx_machine_destroy(machine);
        return VGPU_PTX_NO_MEMORY;
    }
    *out = machine;
    return VGPU_PTX_OK;
}

void vgpu_ptx_machine_destroy(struct vgpu_ptx_machine *machine)
{
    if (!machine)
        return;
    ptx_pool_fini(&machine->pool);
    ptx_mem_fini(&machine->mem);
    pthread_mutex_destroy(&machine->launch_lock);
    pthread_mutex_destroy(&machine->print_lock);
    free(machine);
}

enum vgpu_ptx_isa vgpu_ptx_machine_isa(const struct vgpu_ptx_machine *machine)
{
    return machine->isa;
}

uint32_t vgpu_ptx_machine_threads(const struct vgpu_ptx_machine *machine)
{
    return machine->pool.count ? machine->pool.count : 1;
}

static enum vgpu_ptx_status status_of(int error)
{
    return !error             ? VGPU_PTX_OK
           : error == -ENOMEM ? VGPU_PTX_NO_MEMORY
           : error == -ENOENT ? VGPU_PTX_NOT_FOUND
                              : VGPU_PTX_INVALID;
}

enum vgpu_ptx_status vgpu_ptx_mem_alloc(struct vgpu_ptx_machine *machine, uint64_t bytes,
                                        uint64_t *va)
{
    struct ptx_range range;
    int error = ptx_mem_new(&machine->mem, bytes, false, false, &range);

    if (!error)
        *va = range.base;
    return status_of(error);
}

enum vgpu_ptx_status vgpu_ptx_mem_free(struct vgpu_ptx_machine *machine, uint64_t va)
{
    return status_of(ptx_mem_drop(&machine->mem, va, false));
}

void *vgpu_ptx_mem_translate(struct vgpu_ptx_machine *machine, uint64_t va, uint64_t bytes)
{
    struct ptx_range range;

    if (!ptx_mem_find(&machine->mem, va, &range) || bytes > range.bytes - (va - range.base))
        return NULL;
    return range.host + (va - range.base);
}

enum vgpu_ptx_status vgpu_ptx_mem_fill(struct vgpu_ptx_machine *machine, uint64_t va,
                                       uint32_t value, uint32_t width, uint64_t count)
{
    uint64_t bytes;
    uint8_t *host;

    if ((width != 1 && width != 2 && width != 4) || va % width ||
        __builtin_mul_overflow(count, (uint64_t)width, &bytes))
        return VGPU_PTX_INVALID;
    if (!bytes)
        return VGPU_PTX_OK;
    host = vgpu_ptx_mem_translate(machine, va, bytes);
    if (!host)
        return VGPU_PTX_NOT_FOUND;
    if (width == 1)
        memset(host, (int)(value & 255), bytes);
    else if (width == 2)
        for (uint64_t k = 0; k < count; k++)
            ((uint16_t *)(void *)host)[k] = (uint16_t)value;
    else
        for (uint64_t k = 0; k < count; k++)
            ((uint32_t *)(void *)host)[k] = value;
    return VGPU_PTX_OK;
}

enum vgpu_ptx_status vgpu_ptx_mem_range(struct vgpu_ptx_machine *machine, uint64_t va,
                                        uint64_t *base, uint64_t *bytes)
{
    struct ptx_range range;

    if (!ptx_mem_find(&machine->mem, va, &range))
        return VGPU_PTX_NOT_FOUND;
    *base = range.base;
    *bytes = range.bytes;
    return VGPU_PTX_OK;
}

uint64_t vgpu_ptx_mem_held(struct vgpu_ptx_machine *machine)
{
    uint64_t held;

    pthread_mutex_lock(&machine->mem.lock);
    held = machine->mem.held_bytes;
    pthread_mutex_unlock(&machine->mem.lock);
    return held;
}
