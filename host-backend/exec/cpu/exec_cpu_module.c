// SPDX-License-Identifier: MIT
/*
 * The cpu executor's modules and functions: handles around those of the PTX machine, and the
 * checks of a launch that need a function's attributes.  Drain thread only.
 */
#include <exec/cpu/exec_cpu.h>

#include <endian.h>
#include <stdlib.h>
#include <string.h>

static uint16_t load_status(enum vgpu_ptx_status status)
{
    switch (status) {
    case VGPU_PTX_OK: return VGPU_ST_OK;
    case VGPU_PTX_SYNTAX: return VGPU_ST_BAD_PTX;
    case VGPU_PTX_UNSUPPORTED:
    case VGPU_PTX_TOO_NEW: return VGPU_ST_UNSUPPORTED_PTX;
    case VGPU_PTX_NO_PTX: return VGPU_ST_NO_BINARY;
    case VGPU_PTX_NO_MEMORY: return VGPU_ST_OUT_OF_MEMORY;
    default: return VGPU_ST_BAD_IMAGE;
    }
}

uint16_t cpu_module_load(struct vgpu_exec *e, const void *image, size_t bytes, char *log,
                         size_t log_room, size_t *log_bytes, uint32_t *module)
{
    struct cpu_module *m = calloc(1, sizeof(*m));
    uint16_t status;

    log[0] = '\0';
    *log_bytes = 0;
    if (!m)
        return VGPU_ST_HOST_MEMORY;
    status = load_status(vgpu_ptx_module_load(e->machine, image, bytes, log, log_room, &m->ptx));
    *log_bytes = strnlen(log, log_room - 1);
    if (status != VGPU_ST_OK) {
        free(m);
        return status;
    }
    *module = vgpu_handles_add(&e->modules, m);
    if (!*module) {
        vgpu_ptx_module_unload(m->ptx);
        free(m);
        return VGPU_ST_LIMIT;
    }
    return VGPU_ST_OK;
}

static void module_destroy(struct vgpu_exec *e, struct cpu_module *m)
{
    while (m->functions) {
        struct cpu_function *f = m->functions;

        m->functions = f->next;
        vgpu_handles_remove(&e->functions, f->handle);
        free(f);
    }
    vgpu_ptx_module_unload(m->ptx);
    free(m);
}

uint16_t cpu_module_unload(struct vgpu_exec *e, uint32_t module)
{
    struct cpu_module *m = vgpu_handles_remove(&e->modules, module);

    if (!m)
        return VGPU_ST_BAD_HANDLE;
    module_destroy(e, m);
    return VGPU_ST_OK;
}

void cpu_modules_fini(struct vgpu_exec *e)
{
    struct cpu_module *m;
    uint32_t handle;

    while ((m = vgpu_handles_any(&e->modules, &handle)) != NULL) {
        vgpu_handles_remove(&e->modules, handle);
        module_destroy(e, m);
    }
    vgpu_handles_fini(&e->modules);
    vgpu_handles_fini(&e->functions);
}

/* ---- Functions ---- */

/* One handle per kernel, however often it is looked up. */
static uint16_t function_get(struct vgpu_exec *e, struct cpu_module *m,
                             struct vgpu_ptx_function *ptx, struct cpu_function **out)
{
    struct cpu_function *f;

    for (f = m->functions; f; f = f->next) {
        if (f->ptx == ptx) {
            *out = f;
            return VGPU_ST_OK;
        }
    }
    f = calloc(1, sizeof(*f));
    if (!f)
        return VGPU_ST_HOST_MEMORY;
    f->ptx = ptx;
    vgpu_ptx_function_attributes(ptx, &f->attributes);
    f->handle = vgpu_handles_add(&e->functions, f);
    if (!f->handle) {
        free(f);
        return VGPU_ST_LIMIT;
    }
    f->next = m->functions;
    m->functions = f;
    *out = f;
    return VGPU_ST_OK;
}

static uint16_t function_params(const struct cpu_function *f, struct vgpu_param_info *params,
                                uint32_t room)
{
    for (uint32_t i = 0; i < f->attributes.param_count && i < room; i++) {
        struct vgpu_ptx_param param;

        if (vgpu_ptx_function_param(f->ptx, i, &param) != VGPU_PTX_OK)
            return VGPU_ST_BAD_IMAGE;
        params[i].offset = htole32(param.offset);
        params[i].bytes = htole32(param.bytes);
    }
    return VGPU_ST_OK;
}

uint16_t cpu_func_lookup(struct vgpu_exec *e, uint32_t module, const char *name, uint32_t *function,
                         struct vgpu_func_info *info, struct vgpu_param_info *params, uint32_t room)
{
    struct cpu_module *m = vgpu_handles_get(&e->modules, module);
    const struct vgpu_ptx_attributes *a;
    struct vgpu_ptx_function *ptx;
    struct cpu_function *f;
    uint32_t shared_left;
    uint16_t status;

    if (!m)
        return VGPU_ST_BAD_HANDLE;
    if (vgpu_ptx_module_function(m->ptx, name, &ptx) != VGPU_PTX_OK)
        return VGPU_ST_NOT_FOUND;
    status = function_get(e, m, ptx, &f);
    if (status == VGPU_ST_OK)
        status = function_params(f, params, room);
    if (status != VGPU_ST_OK)
        return status;
    a = &f->attributes;
    shared_left = a->static_shared_bytes < VGPU_PTX_MAX_SHARED_BYTES
                      ? VGPU_PTX_MAX_SHARED_BYTES - a->static_shared_bytes
                      : 0;
    *info = (struct vgpu_func_info){
        .param_count = htole32(a->param_count),
        .param_bytes = htole32(a->param_bytes),
        .max_threads = htole32(a->max_threads),
        .static_shared_bytes = htole32(a->static_shared_bytes),
        .max_dynamic_shared_bytes = htole32(shared_left),
        .local_bytes = htole32(a->local_bytes),
        .const_bytes = htole32(a->const_bytes),
        .regs = htole32(a->registers),
        .ptx_version = htole32(a->ptx_version),
        .binary_version = htole32(CPU_COMPUTE_MAJOR * 10 + CPU_COMPUTE_MINOR),
        .flags = htole32(a->may_print ? VGPU_FUNC_MAY_PRINT : 0),
    };
    *function = f->handle;
    return VGPU_ST_OK;
}

uint16_t cpu_global_lookup(struct vgpu_exec *e, uint32_t module, const char *name,
                           struct vgpu_global_info *info)
{
    struct cpu_module *m = vgpu_handles_get(&e->modules, module);
    uint64_t addr, bytes;

    if (!m)
        return VGPU_ST_BAD_HANDLE;
    if (vgpu_ptx_module_global(m->ptx, name, &addr, &bytes) != VGPU_PTX_OK)
        return VGPU_ST_NOT_FOUND;
    info->addr = htole64(addr);
    info->bytes = htole64(bytes);
    return VGPU_ST_OK;
}

/* ---- Launches ---- */

static bool launch_fits(const struct vgpu_ptx_attributes *a, const struct vgpu_cmd_launch *launch)
{
    static const uint32_t max_grid[3] = {INT32_MAX, 65535, 65535};
    static const uint32_t max_block[3] = {1024, 1024, 64};
    uint64_t threads = 1, shared;

    for (int i = 0; i < 3; i++) {
        if (le32toh(launch->grid[i]) > max_grid[i] || le16toh(launch->block[i]) > max_block[i])
            return false;
        threads *= le16toh(launch->block[i]);
    }
    shared = (uint64_t)a->static_shared_bytes + le32toh(launch->shared_bytes);
    return threads <= a->max_threads && threads <= VGPU_PTX_MAX_BLOCK_THREADS &&
           shared <= VGPU_PTX_MAX_SHARED_BYTES;
}

uint16_t cpu_launch_check(struct vgpu_exec *e, const struct vgpu_cmd_launch *launch)
{
    const struct cpu_function *f = vgpu_handles_get(&e->functions, le32toh(launch->function));

    if (!f)
        return VGPU_ST_BAD_HANDLE;
    if (le16toh(launch->param_bytes) != f->attributes.param_bytes)
        return VGPU_ST_BAD_PARAMS;
    if (!launch_fits(&f->attributes, launch))
        return VGPU_ST_LAUNCH_RESOURCES;
    for (int i = 0; i < 3; i++)
        if (f->attributes.reqntid[i] && le16toh(launch->block[i]) != f->attributes.reqntid[i])
            return VGPU_ST_BAD_VALUE;
    return VGPU_ST_OK;
}
