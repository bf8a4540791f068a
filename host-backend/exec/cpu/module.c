// SPDX-License-Identifier: MIT
/*
 * Modules: loading, and looking things up in them. See ptx.h; link.c does the work between parse and decode.
 */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

static enum vgpu_ptx_status parse_text(struct vgpu_ptx_module *module, const char *name,
                                       const char *text, size_t bytes, struct ptx_log *log)
{
    while (bytes && !text[bytes - 1]) /* a NUL at the end is customary */
        bytes--;
    return ptx_parse(&module->arena, name, text, bytes, log, &module->inputs[module->input_count]);
}

static enum vgpu_ptx_status parse_input(struct vgpu_ptx_module *module,
                                        const struct vgpu_ptx_input *input, struct ptx_log *log)
{
    const char *name = input->name ? input->name : "ptx";
    enum vgpu_ptx_status status;
    const char *kept;
    char *text;
    size_t bytes;

    if (!input->image || input->bytes > PTX_MAX_IMAGE_BYTES) {
        ptx_log_add(log, "%s: error: the image is larger than %u bytes\n", name,
                    PTX_MAX_IMAGE_BYTES);
        return VGPU_PTX_INVALID;
    }
    if (input->bytes >= 4 && !memcmp(input->image, "\177ELF", 4)) {
        ptx_log_add(log, "%s: error: a cubin holds code for one GPU only; PTX is needed\n", name);
        return VGPU_PTX_NO_PTX;
    }
    if (ptx_fatbin_is(input->image, input->bytes)) {
        status = ptx_fatbin_extract(input->image, input->bytes, &text, &bytes, log, name);
        if (status)
            return status;
    } else {
        text = malloc(input->bytes ? input->bytes : 1);
        if (!text)
            return VGPU_PTX_NO_MEMORY;
        memcpy(text, input->image,
               input->bytes); /* the caller may share it with somebody who writes to it */
        bytes = input->bytes;
    }
    /* names point into the text, so it lives as long as the module */
    kept = vgpu_arena_copy(&module->arena, text, bytes);
    free(text);
    if (!kept) {
        ptx_log_memory(log, &module->arena, name, 1);
        return VGPU_PTX_NO_MEMORY;
    }
    status = parse_text(module, name, kept, bytes, log);
    if (!status) {
        module->inputs[module->input_count]->index = module->input_count;
        module->input_count++;
    }
    return status;
}

enum vgpu_ptx_status vgpu_ptx_module_link(struct vgpu_ptx_machine *machine,
                                          const struct vgpu_ptx_input *inputs, uint32_t count,
                                          char *log_text, size_t log_bytes,
                                          struct vgpu_ptx_module **out)
{
    struct ptx_log log = {log_text, log_bytes, 0};
    struct vgpu_ptx_module *module;
    enum vgpu_ptx_status status = VGPU_PTX_OK, first = VGPU_PTX_OK;

    if (log_text && log_bytes)
        *log_text = '\0';
    if (!count || count > 1024)
        return VGPU_PTX_INVALID;
    module = calloc(1, sizeof(*module));
    if (!module)
        return VGPU_PTX_NO_MEMORY;
    module->machine = machine;
    vgpu_arena_init(&module->arena, machine->options.max_module_bytes
                                        ? machine->options.max_module_bytes
                                        : VGPU_PTX_MAX_MODULE_BYTES);
    module->inputs = vgpu_arena_alloc(&module->arena, count, sizeof(struct ptx_module_ir *));
    if (!module->inputs)
        first = VGPU_PTX_NO_MEMORY;
    for (uint32_t k = 0; k < count && (!first || first == VGPU_PTX_UNSUPPORTED); k++) {
        status = parse_input(module, &inputs[k], &log);
        if (status)
            first = status;
    }
    if (!first)
        first = ptx_link(module, &log);
    if (first) {
        if (first == VGPU_PTX_NO_MEMORY)
            ptx_log_add(&log, "error: out of memory\n");
        vgpu_ptx_module_unload(module);
        return first;
    }
    *out = module;
    return VGPU_PTX_OK;
}

enum vgpu_ptx_status vgpu_ptx_module_load(struct vgpu_ptx_machine *machine, const void *image,
                                          size_t bytes, char *log, size_t log_bytes,
                                          struct vgpu_ptx_module **module)
{
    struct vgpu_ptx_input input = {image, bytes, NULL};

    return vgpu_ptx_module_link(machine, &input, 1, log, log_bytes, module);
}

void vgpu_ptx_module_unload(struct vgpu_ptx_module *module)
{
    if (!module)
        return;
    for (uint32_t k = 0; k < module->allocation_count; k++)
        if (ptx_mem_drop(&module->machine->mem, module->allocations[k], true))
            break; /* out of memory for the bookkeeping: the machine's end frees it */
    vgpu_arena_fini(&module->arena);
    free(module);
}

enum vgpu_ptx_status vgpu_ptx_module_function(struct vgpu_ptx_module *module, const char *name,
                                              struct vgpu_ptx_function **function)
{
    struct ptx_sym *sym = vgpu_map_find(&module->names, name, (uint32_t)strlen(name));

    if (!sym || sym->kind != PTX_SYM_FUNC)
        return VGPU_PTX_NOT_FOUND;
    for (uint32_t k = 0; k < module->kernel_count; k++) {
        if (module->kernels[k].func == sym->func) {
            *function = &module->kernels[k];
            return VGPU_PTX_OK;
        }
    }
    return VGPU_PTX_NOT_FOUND;
}

struct vgpu_ptx_function *vgpu_ptx_module_kernel(struct vgpu_ptx_module *module, uint32_t index)
{
    return index < module->kernel_count ? &module->kernels[index] : NULL;
}

enum vgpu_ptx_status vgpu_ptx_module_global(struct vgpu_ptx_module *module, const char *name,
                                            uint64_t *va, uint64_t *bytes)
{
    struct ptx_sym *sym = vgpu_map_find(&module->names, name, (uint32_t)strlen(name));

    if (!sym || sym->kind != PTX_SYM_VAR ||
        (sym->var->space != PTX_SPACE_GLOBAL && sym->var->space != PTX_SPACE_CONST))
        return VGPU_PTX_NOT_FOUND;
    *va = sym->var->address;
    *bytes = sym->var->bytes;
    return VGPU_PTX_OK;
}

const char *vgpu_ptx_function_name(const struct vgpu_ptx_function *function)
{
    return function->func->name;
}

void vgpu_ptx_function_attributes(const struct vgpu_ptx_function *function,
                                  struct vgpu_ptx_attributes *a)
{
    const struct ptx_func *func = function->func;
    uint64_t most = VGPU_PTX_MAX_BLOCK_THREADS;

    memset(a, 0, sizeof(*a));
    if (func->maxntid[0])
        most = (uint64_t)func->maxntid[0] * func->maxntid[1] * func->maxntid[2];
    if (func->reqntid[0])
        most = (uint64_t)func->reqntid[0] * func->reqntid[1] * func->reqntid[2];
    a->max_threads =
        most < VGPU_PTX_MAX_BLOCK_THREADS ? (uint32_t)most : VGPU_PTX_MAX_BLOCK_THREADS;
    a->static_shared_bytes = func->shared_bytes;
    a->local_bytes = func->local_bytes;
    a->const_bytes = function->module->const_bytes;
    a->registers = func->code->reg_slots;
    a->ptx_version = func->module->version;
    memcpy(a->reqntid, func->reqntid, sizeof(a->reqntid));
    memcpy(a->maxntid, func->maxntid, sizeof(a->maxntid));
    a->param_count = func->param_count;
    a->param_bytes = func->param_bytes;
    a->instructions = func->code->insn_count;
    a->may_print = function->module->may_print;
}

enum vgpu_ptx_status vgpu_ptx_function_param(const struct vgpu_ptx_function *function,
                                             uint32_t index, struct vgpu_ptx_param *param)
{
    const struct ptx_func *func = function->func;

    if (index >= func->param_count)
        return VGPU_PTX_NOT_FOUND;
    param->offset = (uint32_t)func->params[index]->address;
    param->bytes = (uint32_t)func->params[index]->bytes;
    param->align = func->params[index]->align;
    return VGPU_PTX_OK;
}
