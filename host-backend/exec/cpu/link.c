// SPDX-License-Identifier: MIT
/*
 * Between parse and decode: joins the inputs' names, gives variables their addresses and initial values, lays out
 * shared memory for each kernel, decodes every function.
 *
 * Shared variables that only one kernel can reach are laid out for that kernel; those that several reach keep
 * one address in all of them. Small .global and .const variables share allocations, large ones have their own, so
 * that running off their end is noticed.
 */
#include "machine.h"

#include <errno.h>
#include <string.h>

#define LINK_POOL_BYTES PTX_PAGE   /* variables from this size up get their own allocation */
#define LINK_WALK_MAX   (1u << 26) /* steps of the call graph walks: bounds kernels x functions */

struct linker {
    struct vgpu_ptx_module *module;
    struct ptx_log *log;
    enum vgpu_ptx_status status;
    uint64_t steps;
    uint32_t visit, all_visit;
    uint32_t shared_end; /* of the variables that several kernels reach */
};

static bool fail(struct linker *l, enum vgpu_ptx_status status)
{
    if (!l->status)
        l->status = status;
    return false;
}

#define FOR_INPUTS(ir)                                                                             \
    for (uint32_t k_ = 0; k_ < l->module->input_count && ((ir) = l->module->inputs[k_], true); k_++)

/* --- names --- */
static struct ptx_sym *publish(struct linker *l, const char *name, uint32_t bytes,
                               enum ptx_sym_kind kind)
{
    struct ptx_sym *sym = vgpu_arena_alloc(&l->module->arena, 1, sizeof(*sym));

    if (!sym || !vgpu_map_insert(&l->module->arena, &l->module->names, name, bytes, sym)) {
        fail(l, VGPU_PTX_NO_MEMORY);
        return NULL;
    }
    sym->kind = kind;
    return sym;
}

/* A name of `ir` that does not go with the others' use of it. */
static bool clash(struct linker *l, const struct ptx_module_ir *ir, uint32_t line, const char *name,
                  const char *what)
{
    ptx_log_add(l->log, "%s:%u: error: '%s' %s\n", ir->input, line, name, what);
    return fail(l, VGPU_PTX_SYNTAX);
}

static bool clash_func(struct linker *l, const struct ptx_func *func, const char *what)
{
    return clash(l, func->module, func->line, func->name, what);
}

static bool clash_var(struct linker *l, const struct ptx_var *var, const char *what)
{
    return clash(l, var->module, var->line, var->name, what);
}

/*
 * A call is checked against what its own input declares and enters what the link found: the two must agree in every
 * size, and kernels, whose parameters have no place in a frame, are never called.
 */
static bool same_shape(struct linker *l, const struct ptx_func *func, const struct ptx_func *other)
{
    if (func->is_entry != other->is_entry)
        return clash_func(l, func, "is a kernel in one file and a function in another");
    if (func->param_count != other->param_count || func->ret_count != other->ret_count)
        return clash_func(l, func, "is declared and defined with different parameters");
    for (uint32_t k = 0; k < func->param_count; k++)
        if (func->params[k]->bytes != other->params[k]->bytes)
            return clash_func(l, func, "is declared and defined with different parameters");
    for (uint32_t k = 0; k < func->ret_count; k++)
        if (func->rets[k]->bytes != other->rets[k]->bytes)
            return clash_func(l, func, "is declared and defined with different results");
    return true;
}

static bool publish_func(struct linker *l, struct ptx_func *func)
{
    struct ptx_sym *sym = vgpu_map_find(&l->module->names, func->name, func->name_bytes);

    func->index = l->module->func_count++;
    if (!func->has_body || (!func->is_visible && l->module->input_count > 1))
        return true;
    if (!sym) {
        sym = publish(l, func->name, func->name_bytes, PTX_SYM_FUNC);
        if (sym)
            sym->func = func;
        return sym != NULL;
    }
    if (sym->kind != PTX_SYM_FUNC)
        return clash_func(l, func, "is a function and a variable");
    if (!same_shape(l, func, sym->func))
        return false;
    if (func->is_weak && !func->is_entry) {
        func->target = sym->func;
        return true;
    }
    if (!sym->func->is_weak)
        return clash_func(l, func, "is defined twice");
    sym->func->target = func;
    sym->func = func;
    return true;
}

static bool publish_var(struct linker *l, struct ptx_var *var)
{
    struct ptx_sym *sym = vgpu_map_find(&l->module->names, var->name, var->name_bytes);

    if (var->is_extern || (var->space != PTX_SPACE_GLOBAL && var->space != PTX_SPACE_CONST) ||
        (!var->is_visible && l->module->input_count > 1))
        return true;
    if (!sym) {
        sym = publish(l, var->name, var->name_bytes, PTX_SYM_VAR);
        if (sym)
            sym->var = var;
        return sym != NULL;
    }
    if (sym->kind != PTX_SYM_VAR)
        return clash_var(l, var, "is a function and a variable");
    if (!var->is_weak && !sym->var->is_weak && var->is_visible)
        return clash_var(l, var, "is defined twice");
    if (!var->is_visible)
        return true; /* a static inside a function: its own object */
    if (var->is_weak) {
        var->target = sym->var;
    } else {
        sym->var->target = var;
        sym->var = var;
    }
    return true;
}

static bool resolve(struct linker *l)
{
    struct ptx_module_ir *ir;

    FOR_INPUTS(ir)
    {
        for (struct ptx_func *func = ir->funcs; func; func = func->next) {
            struct ptx_sym *sym = vgpu_map_find(&l->module->names, func->name, func->name_bytes);

            if (func->has_body || func->target || !sym || sym->kind != PTX_SYM_FUNC)
                continue;
            if (!same_shape(l, func, sym->func))
                return false;
            func->target = sym->func;
        }
        for (struct ptx_var *var = ir->vars; var; var = var->next) {
            struct ptx_sym *sym = vgpu_map_find(&l->module->names, var->name, var->name_bytes);

            if (!var->is_extern || var->target ||
                (var->space == PTX_SPACE_SHARED && var->is_unsized))
                continue;
            if (!sym || sym->kind != PTX_SYM_VAR || sym->var->space != var->space)
                return clash_var(l, var, "is external and nobody defines it");
            var->target = sym->var;
        }
    }
    return true;
}

static bool join_names(struct linker *l)
{
    struct ptx_module_ir *ir;

    FOR_INPUTS(ir)
    {
        for (struct ptx_func *func = ir->funcs; func; func = func->next)
            if (!publish_func(l, func))
                return false;
        for (struct ptx_var *var = ir->vars; var; var = var->next)
            if (!publish_var(l, var))
                return false;
    }
    return resolve(l);
}

/* --- .global and .const variables --- */
static bool is_placed(const struct ptx_var *var)
{
    return (var->space == PTX_SPACE_GLOBAL || var->space == PTX_SPACE_CONST) && !var->is_extern &&
           !var->target;
}

/* For one variable, or for all small ones of a space. */
static bool allocate(struct linker *l, const struct ptx_var *var, uint64_t bytes, bool is_const,
                     struct ptx_range *range)
{
    struct vgpu_ptx_module *module = l->module;

    if (!vgpu_arena_grow(&module->arena, (void **)&module->allocations,
                         &module->allocation_capacity, module->allocation_count,
                         sizeof(*module->allocations)))
        return fail(l, VGPU_PTX_NO_MEMORY);
    if (ptx_mem_new(&module->machine->mem, bytes, is_const, true, range)) {
        ptx_log_add(l->log, "%s:%u: error: no device memory for the %llu bytes of '%.80s'%s\n",
                    var->module->input, var->line, (unsigned long long)bytes, var->name,
                    bytes == var->bytes ? "" : " and other variables");
        return fail(l, VGPU_PTX_NO_MEMORY);
    }
    module->allocations[module->allocation_count++] = range->base;
    return true;
}

/* Small variables of a space in one allocation; `first` is one of them. */
static bool place_pool(struct linker *l, enum ptx_space space, const struct ptx_var *first)
{
    struct ptx_module_ir *ir;
    struct ptx_range range;
    uint64_t total = 0;

    FOR_INPUTS(ir)
    for (struct ptx_var *var = ir->vars; var; var = var->next) {
        if (!is_placed(var) || var->space != space || var->bytes >= LINK_POOL_BYTES)
            continue;
        total = (total + var->align - 1) & ~(uint64_t)(var->align - 1);
        var->address = total;
        total += var->bytes; /* each is small, and the module's own memory bounds their number */
    }
    if (!total)
        total = 1;
    if (!allocate(l, first, total, space == PTX_SPACE_CONST, &range))
        return false;
    FOR_INPUTS(ir)
    for (struct ptx_var *var = ir->vars; var; var = var->next)
        if (is_placed(var) && var->space == space && var->bytes < LINK_POOL_BYTES)
            var->address += range.base;
    return true;
}

static const struct ptx_var *pool_first(struct linker *l, enum ptx_space space)
{
    struct ptx_module_ir *ir;

    FOR_INPUTS(ir)
    for (struct ptx_var *var = ir->vars; var; var = var->next)
        if (is_placed(var) && var->space == space && var->bytes < LINK_POOL_BYTES)
            return var;
    return NULL;
}

static bool place_variables(struct linker *l)
{
    struct ptx_module_ir *ir;

    for (enum ptx_space space = PTX_SPACE_GLOBAL; space <= PTX_SPACE_CONST; space++) {
        const struct ptx_var *first =
            space == PTX_SPACE_GLOBAL || space == PTX_SPACE_CONST ? pool_first(l, space) : NULL;

        if (first && !place_pool(l, space, first))
            return false;
    }
    FOR_INPUTS(ir)
    for (struct ptx_var *var = ir->vars; var; var = var->next) {
        struct ptx_range range;

        if (!is_placed(var))
            continue;
        if (var->space == PTX_SPACE_CONST) {
            if (var->bytes > 65536 || l->module->const_bytes + var->bytes > 65536u * 10) {
                return clash_var(l, var, "is more constant memory than there is");
            }
            l->module->const_bytes += (uint32_t)var->bytes;
        }
        if (var->bytes < LINK_POOL_BYTES)
            continue;
        if (!allocate(l, var, var->bytes, var->space == PTX_SPACE_CONST, &range))
            return false;
        var->address = range.base;
    }
    return true;
}

static uint64_t reloc_value(struct ptx_reloc *reloc)
{
    if (reloc->func)
        return PTX_FUNC_BASE + (uint64_t)ptx_func_target(reloc->func)->index * PTX_FUNC_STEP +
               (uint64_t)reloc->addend;
    return ptx_var_target(reloc->var)->address + (uint64_t)reloc->addend;
}

static bool init_variables(struct linker *l)
{
    struct ptx_module_ir *ir;

    FOR_INPUTS(ir)
    for (struct ptx_var *var = ir->vars; var; var = var->next) {
        struct ptx_range range;
        uint8_t *host;

        if (!is_placed(var) || !var->init || !var->bytes)
            continue;
        if (!ptx_mem_find(&l->module->machine->mem, var->address, &range))
            return fail(l, VGPU_PTX_NO_MEMORY);
        host = range.host + (var->address - range.base);
        memcpy(host, var->init, var->init_bytes); /* device memory comes zeroed */
        for (struct ptx_reloc *reloc = var->relocs; reloc; reloc = reloc->next) {
            uint64_t value;

            if (reloc->var && ptx_var_target(reloc->var)->space != PTX_SPACE_GLOBAL &&
                ptx_var_target(reloc->var)->space != PTX_SPACE_CONST) {
                return clash_var(l, var, "is initialised with an address that is not global");
            }
            value = reloc_value(reloc) >> reloc->shift;
            memcpy(host + reloc->offset, &value,
                   reloc->bytes); /* little-endian, as everything here */
        }
    }
    return true;
}

/* --- shared memory --- */
static void note_shared(struct ptx_var *var, struct ptx_func *kernel)
{
    var = ptx_var_target(var);
    if (var->space != PTX_SPACE_SHARED || var->is_unsized || var->is_shared_by_many)
        return;
    if (var->visit_kernel && var->visit_kernel != kernel)
        var->is_shared_by_many = true;
    var->visit_kernel = kernel;
}

static void note_operand(struct linker *l, const struct ptx_operand *o, struct ptx_func *kernel)
{
    if (o->kind == PTX_O_VAR)
        note_shared(o->var, kernel);
    if (o->kind == PTX_O_MEM || o->kind == PTX_O_VEC)
        for (uint32_t k = 0; k < o->count; k++)
            if (o->vec[k].kind == PTX_O_VAR)
                note_shared(o->vec[k].var, kernel);
}

struct work {
    struct ptx_func **stack;
    uint32_t count, capacity;
};

static bool push(struct linker *l, struct work *work, struct ptx_func *func)
{
    func = ptx_func_target(func);
    if (func->visit == l->visit || !func->has_body)
        return true;
    func->visit = l->visit;
    if (!vgpu_arena_grow(&l->module->arena, (void **)&work->stack, &work->capacity, work->count,
                         sizeof(*work->stack)))
        return fail(l, VGPU_PTX_NO_MEMORY);
    work->stack[work->count++] = func;
    return true;
}

/* With an indirect call anything may follow: all device functions of the module, which are pushed but once. */
static bool push_all(struct linker *l, struct work *work)
{
    struct ptx_module_ir *ir;

    if (l->all_visit == l->visit)
        return true;
    l->all_visit = l->visit;
    l->steps += l->module->func_count;
    FOR_INPUTS(ir)
    for (struct ptx_func *func = ir->funcs; func; func = func->next)
        if (!func->is_entry && !push(l, work, func))
            return false;
    return true;
}

static bool walk_kernel(struct linker *l, struct work *work, struct ptx_func *kernel)
{
    l->visit++;
    work->count = 0;
    if (!push(l, work, kernel))
        return false;
    while (work->count) {
        struct ptx_func *func = work->stack[--work->count];

        l->steps += (uint64_t)func->inst_count + func->shared_count;
        if (l->steps > LINK_WALK_MAX) {
            ptx_log_add(l->log,
                        "%s:%u: error: the call graphs of the module's kernels are too large\n",
                        kernel->module->input, kernel->line);
            return fail(l, VGPU_PTX_NO_MEMORY);
        }
        for (struct ptx_var *var = func->shared; var;
             var = var->next) /* named or not, it is part of the function */
            note_shared(var, kernel);
        for (uint32_t k = 0; k < func->inst_count; k++) {
            const struct ptx_inst *inst = &func->insts[k];

            for (uint32_t o = 0; o < inst->operand_count; o++)
                note_operand(l, &inst->operands[o], kernel);
            if (inst->op != PTX_OP_call)
                continue;
            if (inst->call->func ? !push(l, work, inst->call->func) : !push_all(l, work))
                return false;
        }
    }
    return true;
}

static bool layout_var(struct linker *l, struct ptx_var *var, uint32_t *end)
{
    uint64_t offset = ((uint64_t)*end + var->align - 1) & ~(uint64_t)(var->align - 1);

    if (offset + var->bytes > VGPU_PTX_MAX_SHARED_BYTES) {
        ptx_log_add(l->log, "%s:%u: error: more than %u bytes of shared memory with '%s'\n",
                    var->module->input, var->line, VGPU_PTX_MAX_SHARED_BYTES, var->name);
        return fail(l, VGPU_PTX_SYNTAX);
    }
    var->address = offset;
    *end = (uint32_t)(offset + var->bytes);
    return true;
}

/* Calls layout for every sized shared variable whose place `many` says. */
static bool layout_list(struct linker *l, struct ptx_var *list, bool many, uint32_t many_end)
{
    for (struct ptx_var *var = list; var; var = var->next) {
        if (var->space != PTX_SPACE_SHARED || var->target)
            continue;
        if (var->is_unsized) {
            if (many && var->align > l->module->dynamic_align)
                l->module->dynamic_align = var->align > 1024 ? 1024 : var->align;
            continue;
        }
        if (many && var->is_shared_by_many) {
            if (!layout_var(l, var, &l->shared_end))
                return false;
        } else if (!many && !var->is_shared_by_many && var->visit_kernel) {
            struct ptx_func *kernel = var->visit_kernel;

            if (kernel->shared_bytes < many_end)
                kernel->shared_bytes = many_end;
            if (!layout_var(l, var, &kernel->shared_bytes))
                return false;
        }
    }
    return true;
}

static bool layout_pass(struct linker *l, bool many)
{
    struct ptx_module_ir *ir;

    FOR_INPUTS(ir)
    {
        if (!layout_list(l, ir->vars, many, l->shared_end))
            return false;
        for (struct ptx_func *func = ir->funcs; func; func = func->next)
            if (!layout_list(l, func->shared, many, l->shared_end))
                return false;
    }
    return true;
}

static bool has_shared(struct linker *l)
{
    struct ptx_module_ir *ir;

    FOR_INPUTS(ir)
    {
        for (struct ptx_var *var = ir->vars; var; var = var->next)
            if (var->space == PTX_SPACE_SHARED)
                return true;
        for (struct ptx_func *func = ir->funcs; func; func = func->next)
            if (func->shared)
                return true;
    }
    return false;
}

static bool layout_shared(struct linker *l)
{
    struct ptx_module_ir *ir;
    struct work work = {0};

    l->module->dynamic_align = 16;
    if (!has_shared(l))
        return true;
    FOR_INPUTS(ir)
    for (struct ptx_func *func = ir->funcs; func; func = func->next)
        if (func->is_entry && func->has_body && !walk_kernel(l, &work, func))
            return false;
    if (!layout_pass(l, true) || !layout_pass(l, false))
        return false;
    FOR_INPUTS(ir)
    for (struct ptx_func *func = ir->funcs; func; func = func->next)
        if (func->is_entry && func->shared_bytes < l->shared_end)
            func->shared_bytes = l->shared_end;
    return true;
}

/* --- decode --- */
static bool decode_functions(struct linker *l)
{
    struct vgpu_ptx_module *module = l->module;
    struct ptx_module_ir *ir;
    uint32_t kernels = 0;

    module->funcs =
        vgpu_arena_alloc(&module->arena, module->func_count + 1, sizeof(struct ptx_func *));
    if (!module->funcs)
        return fail(l, VGPU_PTX_NO_MEMORY);
    FOR_INPUTS(ir)
    module->asks_reserved |= ir->asks_reserved;
    FOR_INPUTS(ir)
    for (struct ptx_func *func = ir->funcs; func; func = func->next) {
        enum vgpu_ptx_status status;

        if (!func->has_body) {
            module->may_print |=
                func->name_bytes == strlen("vprintf") && !memcmp(func->name, "vprintf", 7);
            continue;
        }
        module->funcs[func->index] = func;
        kernels += func->is_entry;
        status = ptx_decode(&module->arena, module->machine->engine, func, ir->input, l->log);
        if (status) {
            fail(l, status);
            if (status == VGPU_PTX_NO_MEMORY)
                ptx_log_memory(l->log, &module->arena, ir->input, func->line);
            if (status != VGPU_PTX_UNSUPPORTED)
                return false;
            continue;
        }
        func->code->id = module->code_count++;
    }
    if (l->status)
        return false;
    module->kernels = vgpu_arena_alloc(&module->arena, kernels + 1, sizeof(*module->kernels));
    if (!module->kernels)
        return fail(l, VGPU_PTX_NO_MEMORY);
    FOR_INPUTS(ir)
    for (struct ptx_func *func = ir->funcs; func; func = func->next)
        if (func->is_entry && func->has_body)
            module->kernels[module->kernel_count++] = (struct vgpu_ptx_function){module, func};
    return true;
}

enum vgpu_ptx_status ptx_link(struct vgpu_ptx_module *module, struct ptx_log *log)
{
    struct linker linker = {.module = module, .log = log};

    if (join_names(&linker) && place_variables(&linker) && init_variables(&linker) &&
        layout_shared(&linker) && decode_functions(&linker))
        return VGPU_PTX_OK;
    return linker.status ? linker.status : VGPU_PTX_NO_MEMORY;
}
