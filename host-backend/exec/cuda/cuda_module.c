/* SPDX-License-Identifier: MIT */
/*
 * Modules, functions, variables, and the checks before a launch.
 *
 * An image is checked by cuda_image.c, then given to the driver's loader with buffers for its logs;
 * both logs go to the guest, errors first.  A function gets one handle however often it is looked
 * up; it dies with its module.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <exec/cuda/cuda_exec.h>

#define LOG_BYTES  (64u << 10)
#define MAX_PARAMS 1024u

static void log_put(char *log, size_t room, size_t *used, const char *text)
{
    size_t len = strlen(text);

    if (room == 0)
        return;
    if (len > room - 1 - *used)
        len = room - 1 - *used;
    memcpy(log + *used, text, len);
    *used += len;
    log[*used] = '\0';
}

/* The driver's loader with both its logs. */
static CUresult load(struct vgpu_exec *exec, CUmodule *module, const void *image, char *errors,
                     char *info)
{
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                     CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES};
    /* Sizes are passed in the pointer-sized slots themselves. */
    void *values[] = {errors, (void *)(uintptr_t)(LOG_BYTES - 1), info,
                      (void *)(uintptr_t)(LOG_BYTES - 1)};

    return exec->cu.cuModuleLoadDataEx(module, image, 4, options, values);
}

static uint16_t load_logged(struct vgpu_exec *exec, struct cuda_module *module, const void *image,
                            char *log, size_t log_room, size_t *log_bytes)
{
    char *errors = calloc(2, LOG_BYTES);
    char text[160];
    CUresult result;

    if (!errors)
        return VGPU_ST_HOST_MEMORY;
    cuda_guard_enter(exec);
    result = load(exec, &module->cu, image, errors, errors + LOG_BYTES);
    cuda_guard_leave(exec);
    log_put(log, log_room, log_bytes, errors);
    log_put(log, log_room, log_bytes, errors + LOG_BYTES);
    if (result != CUDA_SUCCESS && *log_bytes == 0)
        log_put(log, log_room, log_bytes, vgpu_cu_error(&exec->cu, result, text, sizeof(text)));
    free(errors);
    /* no room for the heap (CUDA programming guide, "Heap Memory Allocation") */
    if (result == CUDA_ERROR_SHARED_OBJECT_INIT_FAILED && module->heap)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    return cuda_status(exec, result, "loading a module");
}

static uint16_t load_counted(struct vgpu_exec *exec, struct cuda_module *module, const void *image,
                             char *log, size_t log_room, size_t *log_bytes)
{
    char text[120];
    uint16_t status;

    if (!cuda_mem_module(exec, module)) {
        if (module->needs.bytes == UINT64_MAX)
            snprintf(text, sizeof(text),
                     "the sizes of the module's variables can't be told: give each as a number\n");
        else
            snprintf(text, sizeof(text),
                     "the module takes %llu KiB of device memory%s: over the limit\n",
                     (unsigned long long)(module->needs.bytes >> 10),
                     module->needs.mallocs ? ", and its heap" : "");
        log_put(log, log_room, log_bytes, text);
        return VGPU_ST_OUT_OF_MEMORY;
    }
    status = load_logged(exec, module, image, log, log_room, log_bytes);
    if (status != VGPU_ST_OK)
        cuda_mem_module_refused(exec, module);
    return status;
}

static CUresult module_unload(struct vgpu_exec *exec, struct cuda_module *module)
{
    CUresult result;

    cuda_guard_enter(exec);
    result = exec->cu.cuModuleUnload(module->cu);
    cuda_guard_leave(exec);
    if (result == CUDA_SUCCESS)
        cuda_mem_module_gone(exec, module);
    return result;
}

uint16_t cuda_module_load(struct vgpu_exec *exec, const void *image, size_t bytes, char *log,
                          size_t log_room, size_t *log_bytes, uint32_t *module)
{
    enum cuda_image_kind kind = cuda_image_check(image, bytes);
    struct cuda_module *made;
    char *text = NULL;
    uint16_t status = VGPU_ST_HOST_MEMORY;

    *log_bytes = 0;
    if (exec->faulted)
        return exec->fault.status;
    if (kind == CUDA_IMAGE_BAD) {
        log_put(log, log_room, log_bytes,
                "neither PTX, cubin nor fatbin, or its headers point outside it\n");
        return VGPU_ST_BAD_IMAGE;
    }
    made = calloc(1, sizeof(*made));
    if (!made)
        return VGPU_ST_HOST_MEMORY;
    if (kind == CUDA_IMAGE_TEXT) {
        text = malloc(bytes + 1);
        if (!text)
            goto err_free;
        memcpy(text, image, bytes);
        text[bytes] = '\0';
        image = text;
    }
    cuda_image_needs(kind, image, bytes, &made->needs);
    status = load_counted(exec, made, image, log, log_room, log_bytes);
    if (status != VGPU_ST_OK)
        goto err_free;
    *module = cuda_table_add(&exec->modules, made);
    if (*module == 0) {
        cuda_release(exec, module_unload(exec, made), "cuModuleUnload");
        status = exec->faulted ? exec->fault.status : VGPU_ST_LIMIT;
        goto err_free;
    }
    if (exec->cu.cuFuncGetParamInfo)
        free(text);
    else
        made->ptx = text;
    return VGPU_ST_OK;

err_free:
    free(text);
    free(made);
    return status;
}

uint16_t cuda_module_unload(struct vgpu_exec *exec, uint32_t module)
{
    struct cuda_module *found = cuda_table_get(&exec->modules, module);
    uint16_t status;

    if (exec->faulted)
        return exec->fault.status;
    if (!found)
        return VGPU_ST_BAD_HANDLE;
    /* Refused, it stays what it was, for another try. */
    status = cuda_status(exec, module_unload(exec, found), "cuModuleUnload");
    if (status != VGPU_ST_OK)
        return status;
    for (uint32_t handle = 1; handle <= exec->functions.count; handle++) {
        struct cuda_function *func = cuda_table_get(&exec->functions, handle);

        if (func && func->module == module) {
            cuda_table_remove(&exec->functions, handle);
            cuda_function_free(func);
        }
    }
    cuda_mem_disown(exec, module);
    cuda_table_remove(&exec->modules, module);
    free(found->ptx);
    free(found);
    return VGPU_ST_OK;
}

void cuda_function_free(struct cuda_function *func)
{
    free(func->params);
    free(func->name);
    free(func);
}

/* By the driver: CUDA_ERROR_INVALID_VALUE for an index is documented to mean "no such parameter". */
static CUresult params_ask(struct vgpu_exec *exec, CUfunction cu, struct vgpu_param_info *params,
                           uint32_t *count)
{
    CUresult result = CUDA_SUCCESS;
    size_t offset = 0, bytes = 0;

    for (*count = 0; result == CUDA_SUCCESS; (*count)++) {
        result = exec->cu.cuFuncGetParamInfo(cu, *count, &offset, &bytes);
        if (result == CUDA_ERROR_INVALID_VALUE)
            return CUDA_SUCCESS;
        if (result != CUDA_SUCCESS)
            return result;
        if (*count == MAX_PARAMS)
            break;
        params[*count].offset = (uint32_t)offset;
        params[*count].bytes = (uint32_t)bytes;
    }
    return CUDA_ERROR_NOT_SUPPORTED;
}

/* Parameters by the driver, else by the PTX text; NOT_SUPPORTED if neither can tell. */
static CUresult params_find(struct vgpu_exec *exec, const struct cuda_module *module,
                            const char *name, CUfunction cu, struct vgpu_param_info *params,
                            uint32_t *count)
{
    int found;

    *count = 0;
    if (exec->cu.cuFuncGetParamInfo)
        return params_ask(exec, cu, params, count);
    found = module->ptx ? cuda_image_params(module->ptx, name, params, MAX_PARAMS) : -1;
    if (found < 0)
        return CUDA_ERROR_NOT_SUPPORTED;
    *count = (uint32_t)found;
    return CUDA_SUCCESS;
}

static CUresult info_fill(struct vgpu_exec *exec, struct cuda_function *func)
{
    struct vgpu_func_info *info = &func->info;
    const struct {
        int which;
        uint32_t *to;
    } attributes[] = {
        {CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, &info->max_threads},
        {CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, &info->static_shared_bytes},
        {CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES, &info->const_bytes},
        {CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, &info->local_bytes},
        {CU_FUNC_ATTRIBUTE_NUM_REGS, &info->regs},
        {CU_FUNC_ATTRIBUTE_PTX_VERSION, &info->ptx_version},
        {CU_FUNC_ATTRIBUTE_BINARY_VERSION, &info->binary_version},
        {CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, &func->dynamic_shared},
    };
    uint32_t limit = exec->props.max_shared_per_block;

    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
        int value = 0;
        CUresult result = exec->cu.cuFuncGetAttribute(&value, attributes[i].which, func->cu);

        if (result != CUDA_SUCCESS)
            return result;
        *attributes[i].to = value > 0 ? (uint32_t)value : 0;
    }
    info->max_dynamic_shared_bytes =
        info->static_shared_bytes < limit ? limit - info->static_shared_bytes : 0;
    for (uint32_t i = 0; i < info->param_count; i++) {
        uint32_t end = func->params[i].offset + func->params[i].bytes;

        if (end > info->param_bytes)
            info->param_bytes = end;
    }
    return CUDA_SUCCESS;
}

static uint16_t func_make(struct vgpu_exec *exec, uint32_t module, const char *name, CUfunction cu,
                          uint32_t *function)
{
    const struct cuda_module *owner = cuda_table_get(&exec->modules, module);
    struct vgpu_param_info *params = calloc(MAX_PARAMS, sizeof(*params));
    struct cuda_function *func = calloc(1, sizeof(*func));
    struct vgpu_param_info *fit;
    uint16_t status = VGPU_ST_HOST_MEMORY;
    uint32_t count;
    CUresult result;

    if (!params || !func)
        goto err_free;
    func->params = params;
    func->cu = cu;
    func->module = module;
    func->name = strdup(name);
    if (!func->name)
        goto err_free;
    /* Some of a function's properties are known only when it is loaded, which may wait. */
    cuda_guard_enter(exec);
    result = params_find(exec, owner, name, cu, params, &count);
    func->info.param_count = count;
    func->info.flags = owner->needs.prints ? VGPU_FUNC_MAY_PRINT : 0;
    if (result == CUDA_SUCCESS)
        result = info_fill(exec, func);
    cuda_guard_leave(exec);
    if (result != CUDA_SUCCESS) {
        status = cuda_status(exec, result, "asking for a kernel's properties");
        goto err_free;
    }
    fit = realloc(params, (count ? count : 1) * sizeof(*params));
    if (fit)
        func->params = params = fit;
    *function = cuda_table_add(&exec->functions, func);
    if (*function != 0)
        return VGPU_ST_OK;
    status = VGPU_ST_LIMIT;

err_free:
    free(params);
    if (func)
        free(func->name);
    free(func);
    return status;
}

uint16_t cuda_func_lookup(struct vgpu_exec *exec, uint32_t module, const char *name,
                          uint32_t *function, struct vgpu_func_info *info,
                          struct vgpu_param_info *params, uint32_t room)
{
    struct cuda_module *found = cuda_table_get(&exec->modules, module);
    const struct cuda_function *func = NULL;
    CUfunction cu;
    CUresult result;
    uint16_t status;

    if (exec->faulted)
        return exec->fault.status;
    if (!found)
        return VGPU_ST_BAD_HANDLE;
    cuda_guard_enter(exec);
    result = exec->cu.cuModuleGetFunction(&cu, found->cu, name);
    cuda_guard_leave(exec);
    if (result != CUDA_SUCCESS)
        return cuda_status(exec, result, "cuModuleGetFunction");
    for (uint32_t handle = 1; handle <= exec->functions.count && !func; handle++) {
        const struct cuda_function *other = cuda_table_get(&exec->functions, handle);

        if (other && other->module == module && other->cu == cu) {
            func = other;
            *function = handle;
        }
    }
    if (!func) {
        status = func_make(exec, module, name, cu, function);
        if (status != VGPU_ST_OK)
            return status;
        func = cuda_table_get(&exec->functions, *function);
    }
    *info = func->info;
    if (room > func->info.param_count)
        room = func->info.param_count;
    memcpy(params, func->params, room * sizeof(*params));
    return VGPU_ST_OK;
}

uint16_t cuda_global_lookup(struct vgpu_exec *exec, uint32_t module, const char *name,
                            struct vgpu_global_info *info)
{
    struct cuda_module *found = cuda_table_get(&exec->modules, module);
    CUdeviceptr addr;
    size_t bytes;
    CUresult result;

    if (exec->faulted)
        return exec->fault.status;
    if (!found)
        return VGPU_ST_BAD_HANDLE;
    cuda_guard_enter(exec);
    result = exec->cu.cuModuleGetGlobal_v2(&addr, &bytes, found->cu, name);
    cuda_guard_leave(exec);
    if (result != CUDA_SUCCESS)
        return cuda_status(exec, result, "cuModuleGetGlobal");
    if (!cuda_mem_adopt(exec, addr, bytes, module))
        return VGPU_ST_LIMIT;
    info->addr = addr;
    info->bytes = bytes;
    return VGPU_ST_OK;
}

uint16_t cuda_launch_check(struct vgpu_exec *exec, const struct vgpu_cmd_launch *launch)
{
    const struct cuda_function *func = cuda_table_get(&exec->functions, launch->function);
    uint64_t threads = 1;

    if (exec->faulted)
        return exec->fault.status;
    if (!func)
        return VGPU_ST_BAD_HANDLE;
    if (launch->param_bytes != func->info.param_bytes)
        return VGPU_ST_BAD_PARAMS;
    for (int i = 0; i < 3; i++) {
        if (launch->grid[i] == 0 || launch->block[i] == 0)
            return VGPU_ST_BAD_VALUE;
        if (launch->grid[i] > exec->props.max_grid[i] ||
            launch->block[i] > exec->props.max_block[i])
            return VGPU_ST_LAUNCH_RESOURCES;
        threads *= launch->block[i];
    }
    if (threads > func->info.max_threads ||
        launch->shared_bytes > func->info.max_dynamic_shared_bytes)
        return VGPU_ST_LAUNCH_RESOURCES;
    return cuda_mem_local(exec, func->info.local_bytes) ? VGPU_ST_OK : VGPU_ST_OUT_OF_MEMORY;
}
