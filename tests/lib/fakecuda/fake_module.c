/* SPDX-License-Identifier: MIT */
/*
 * Driver API chapters "Module Management" and "Execution Control".
 *
 * This "GPU" has no machine code of its own: an ELF image, or a fatbin without PTX, has no binary
 * for it.  JIT logs go where the options say, cut to their sizes and NUL-terminated.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fake.h"

#define FATBIN_MAGIC 0xba55ed50u

static CUresult load_result(enum vgpu_ptx_status status)
{
    switch (status) {
    case VGPU_PTX_OK: return CUDA_SUCCESS;
    case VGPU_PTX_SYNTAX: return CUDA_ERROR_INVALID_PTX;
    case VGPU_PTX_UNSUPPORTED: return CUDA_ERROR_INVALID_PTX;
    case VGPU_PTX_TOO_NEW: return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    case VGPU_PTX_NO_PTX: return CUDA_ERROR_NO_BINARY_FOR_GPU;
    case VGPU_PTX_BAD_IMAGE: return CUDA_ERROR_INVALID_IMAGE;
    case VGPU_PTX_NO_MEMORY: return CUDA_ERROR_OUT_OF_MEMORY;
    default: return CUDA_ERROR_UNKNOWN;
    }
}

/* The sizes an image states of itself: the call has no length. */
static size_t image_bytes(const void *image)
{
    uint32_t magic;
    uint64_t body;

    memcpy(&magic, image, sizeof(magic));
    if (magic != FATBIN_MAGIC)
        return strlen(image);
    memcpy(&body, (const char *)image + 8, sizeof(body));
    return 16 + body;
}

/* Whether an image, or one that a fatbin holds, names a function of the driver's. */
struct naming {
    const char *name;
    bool found;
};

static void look(void *opaque, const void *data, size_t bytes, bool ptx)
{
    struct naming *naming = opaque;

    (void)ptx;
    naming->found =
        naming->found || memmem(data, bytes, naming->name, strlen(naming->name)) != NULL;
}

static bool image_names(const void *image, const char *name)
{
    struct naming naming = {name, false};
    uint32_t magic;

    memcpy(&magic, image, sizeof(magic));
    if (magic == FATBIN_MAGIC)
        (void)vgpu_ptx_fatbin_each(image, image_bytes(image), SIZE_MAX, look, &naming);
    else
        look(&naming, image, image_bytes(image), true);
    return naming.found;
}

/* The heap is allocated as a module is loaded; if that fails, so does the load, with
 * CUDA_ERROR_SHARED_OBJECT_INIT_FAILED (CUDA programming guide, "Heap Memory Allocation").
 * When the printf FIFO is allocated is not documented: here at the same time, so that an executor
 * which counts only what a new context takes is found out. */
static CUresult limits_allocate(struct CUctx_st *ctx, const void *image)
{
    bool heap = !ctx->has_heap && image_names(image, "malloc");
    bool fifo = !ctx->has_fifo && image_names(image, "vprintf");

    if (!fake_has_room(ctx, (heap ? ctx->heap_bytes : 0) + (fifo ? ctx->print.limit : 0)))
        return CUDA_ERROR_SHARED_OBJECT_INIT_FAILED;
    ctx->has_heap = ctx->has_heap || heap;
    ctx->has_fifo = ctx->has_fifo || fifo;
    return CUDA_SUCCESS;
}

struct logs {
    char *error, *info;
    size_t error_bytes, info_bytes;
};

static void options_read(unsigned int n, const int *options, void **values, struct logs *logs)
{
    memset(logs, 0, sizeof(*logs));
    for (unsigned int i = 0; i < n; i++) {
        switch (options[i]) {
        case CU_JIT_ERROR_LOG_BUFFER: logs->error = values[i]; break;
        case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES: logs->error_bytes = (uintptr_t)values[i]; break;
        case CU_JIT_INFO_LOG_BUFFER: logs->info = values[i]; break;
        case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES: logs->info_bytes = (uintptr_t)values[i]; break;
        default: break;
        }
    }
}

/* "ptx:7: error: text" as the driver's compiler says it, and its last line. */
static void log_put(char *to, size_t room, const char *log)
{
    size_t used = 0;

    to[0] = '\0';
    while (*log && used < room) {
        int bytes = (int)strcspn(log, "\n"), text = 0;
        unsigned int line;

        if (sscanf(log, "ptx:%u: error: %n", &line, &text) == 1 && text)
            used += (size_t)snprintf(to + used, room - used,
                                     "ptxas application ptx input, line %u; error   : %.*s\n", line,
                                     bytes - text, log + text);
        else
            used += (size_t)snprintf(to + used, room - used, "%.*s\n", bytes, log);
        log += bytes + (log[bytes] == '\n');
        if (!*log && text && used < room)
            snprintf(to + used, room - used,
                     "ptxas fatal   : Ptx assembly aborted due to errors\n");
    }
}

FAKE_EXPORT CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int n,
                                        int *options, void **values)
{
    char log[4096] = "";
    enum vgpu_ptx_status status;
    struct CUctx_st *ctx;
    struct CUmod_st *made;
    struct logs logs;
    CUresult result;

    FAKE_ENTER(ctx);
    FAKE_USE(FAKE_JIT);
    if (!image)
        return CUDA_ERROR_INVALID_VALUE;
    if (memcmp(image, ELFMAG, SELFMAG) == 0)
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    fake_print_flush(ctx);
    options_read(n, options, values, &logs);
    made = calloc(1, sizeof(*made));
    if (!made)
        return CUDA_ERROR_OUT_OF_MEMORY;
    made->ctx = ctx;
    status =
        vgpu_ptx_module_load(ctx->machine, image, image_bytes(image), log, sizeof(log), &made->ptx);
    if (logs.error && logs.error_bytes > 0)
        log_put(logs.error, logs.error_bytes, log);
    if (logs.info && logs.info_bytes > 0)
        logs.info[0] = '\0';
    if (status != VGPU_PTX_OK) {
        free(made);
        return load_result(status);
    }
    result = limits_allocate(ctx, image);
    if (result != CUDA_SUCCESS) {
        vgpu_ptx_module_unload(made->ptx);
        free(made);
        return result;
    }
    *module = made;
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuModuleUnload(CUmodule module)
{
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    if (!module)
        return CUDA_ERROR_INVALID_HANDLE;
    fake_print_flush(ctx);
    while (module->functions) {
        struct CUfunc_st *func = module->functions;

        module->functions = func->next;
        free(func);
    }
    vgpu_ptx_module_unload(module->ptx);
    free(module);
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuModuleGetFunction(CUfunction *func, CUmodule module, const char *name)
{
    struct vgpu_ptx_function *found;
    struct CUctx_st *ctx;
    struct CUfunc_st *known;

    FAKE_ENTER(ctx);
    if (!module)
        return CUDA_ERROR_INVALID_HANDLE;
    if (vgpu_ptx_module_function(module->ptx, name, &found) != VGPU_PTX_OK)
        return CUDA_ERROR_NOT_FOUND;
    for (known = module->functions; known && known->ptx != found; known = known->next)
        ;
    if (!known) {
        known = calloc(1, sizeof(*known));
        if (!known)
            return CUDA_ERROR_OUT_OF_MEMORY;
        *known = (struct CUfunc_st){module->functions, module, found, 48 << 10};
        module->functions = known;
    }
    *func = known;
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr *ptr, size_t *bytes, CUmodule module,
                                          const char *name)
{
    struct CUctx_st *ctx;
    uint64_t va, size;

    FAKE_ENTER(ctx);
    if (!module)
        return CUDA_ERROR_INVALID_HANDLE;
    if (vgpu_ptx_module_global(module->ptx, name, &va, &size) != VGPU_PTX_OK)
        return CUDA_ERROR_NOT_FOUND;
    if (ptr)
        *ptr = va;
    if (bytes)
        *bytes = size;
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction func)
{
    struct vgpu_ptx_attributes attributes;
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    if (!func)
        return CUDA_ERROR_INVALID_HANDLE;
    vgpu_ptx_function_attributes(func->ptx, &attributes);
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = (int)attributes.max_threads; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = (int)attributes.static_shared_bytes; break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: *value = (int)attributes.const_bytes; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = (int)attributes.local_bytes; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = (int)attributes.registers; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION: *value = (int)attributes.ptx_version; break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = 90; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = (int)func->max_dynamic_shared;
        break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

FAKE_EXPORT CUresult cuFuncSetAttribute(CUfunction func, int attribute, int value)
{
    struct vgpu_ptx_attributes attributes;
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    if (!func)
        return CUDA_ERROR_INVALID_HANDLE;
    vgpu_ptx_function_attributes(func->ptx, &attributes);
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
        (uint32_t)value + attributes.static_shared_bytes > VGPU_PTX_MAX_SHARED_BYTES)
        return CUDA_ERROR_INVALID_VALUE;
    func->max_dynamic_shared = (uint32_t)value;
    return CUDA_SUCCESS;
}

#ifndef FAKE_OLD_DRIVER
/* New in CUDA 12.4. */
FAKE_EXPORT CUresult cuFuncGetParamInfo(CUfunction func, size_t index, size_t *offset,
                                        size_t *bytes)
{
    struct vgpu_ptx_param param;
    struct CUctx_st *ctx;

    FAKE_ENTER(ctx);
    if (!func)
        return CUDA_ERROR_INVALID_HANDLE;
    if (vgpu_ptx_function_param(func->ptx, (uint32_t)index, &param) != VGPU_PTX_OK)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = param.offset;
    if (bytes)
        *bytes = param.bytes;
    return CUDA_SUCCESS;
}
#endif

uint64_t fake_local_bytes(const struct CUctx_st *ctx)
{
    uint32_t bytes = __atomic_load_n(&ctx->local_bytes, __ATOMIC_RELAXED);

    return bytes > FAKE_STACK_BYTES
               ? (uint64_t)FAKE_PROCESSORS * FAKE_THREADS * (bytes - FAKE_STACK_BYTES)
               : 0;
}

/* cuCtxCreate, CU_CTX_LMEM_RESIZE_TO_MAX, "now the default and cannot be disabled": local memory resized
 * for a kernel is not reduced. */
CUresult fake_local_resize(struct CUctx_st *ctx, uint32_t bytes)
{
    uint32_t before = ctx->local_bytes;

    if (bytes <= before)
        return CUDA_SUCCESS;
    __atomic_store_n(&ctx->local_bytes, bytes, __ATOMIC_RELAXED);
    if (fake_has_room(ctx, 0))
        return CUDA_SUCCESS;
    __atomic_store_n(&ctx->local_bytes, before, __ATOMIC_RELAXED);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* The packed form of `extra`; false if it is none. */
static bool extra_read(void **extra, const void **params, size_t *bytes)
{
    *params = NULL;
    *bytes = 0;
    for (; extra && *extra != VGPU_CU_LAUNCH_PARAM_END; extra += 2) {
        if (extra[0] == VGPU_CU_LAUNCH_PARAM_BUFFER_POINTER)
            *params = extra[1];
        else if (extra[0] == VGPU_CU_LAUNCH_PARAM_BUFFER_SIZE)
            *bytes = *(size_t *)extra[1];
        else
            return false;
    }
    return *bytes == 0 || *params != NULL;
}

FAKE_EXPORT CUresult cuLaunchKernel(CUfunction func, unsigned int gx, unsigned int gy,
                                    unsigned int gz, unsigned int bx, unsigned int by,
                                    unsigned int bz, unsigned int shared_bytes, CUstream stream,
                                    void **params, void **extra)
{
    struct vgpu_ptx_attributes attributes;
    const void *packed;
    struct CUctx_st *ctx;
    struct fake_op *op;
    size_t bytes;

    FAKE_ENTER(ctx);
    FAKE_USE(FAKE_KERNELS);
    if (!func)
        return CUDA_ERROR_INVALID_HANDLE;
    vgpu_ptx_function_attributes(func->ptx, &attributes);
    if (params || !extra_read(extra, &packed, &bytes) || bytes > sizeof(op->params) ||
        bytes < attributes.param_bytes || !gx || !gy || !gz || !bx || !by || !bz || gy > 65535 ||
        gz > 65535 || gx > 0x7fffffff || (uint64_t)bx * by * bz > attributes.max_threads ||
        shared_bytes > func->max_dynamic_shared)
        return CUDA_ERROR_INVALID_VALUE;
    if (fake_local_resize(ctx, attributes.local_bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    fake_print_flush(ctx);
    op = calloc(1, sizeof(*op));
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    op->kind = FAKE_LAUNCH;
    op->launch = (struct vgpu_ptx_launch){
        .function = func->ptx,
        .grid = {gx, gy, gz},
        .block = {bx, by, bz},
        .dynamic_shared_bytes = shared_bytes,
        .param_bytes = attributes.param_bytes,
    };
    /* "the kernel parameters are copied": the caller may reuse them at once */
    if (bytes > 0)
        memcpy(op->params, packed, attributes.param_bytes);
    return fake_enqueue(ctx, stream, op);
}
