// SPDX-License-Identifier: MIT
/*
 * Decoder: loads, stores, atomics, calls. Addresses at constant offsets of the frame or of the kernel's parameter
 * block are checked here, once; everything else is checked when it is executed.
 */
#include "decode.h"

#include <string.h>

static bool has(const struct ptx_inst *inst, enum ptx_mod mod)
{
    return ptx_mods_has(&inst->mods, mod);
}

static uint32_t element_count(const struct ptx_inst *inst)
{
    return has(inst, PTX_M_v2) ? 2 : has(inst, PTX_M_v4) ? 4 : 1;
}

static bool is_ld(const struct ptx_inst *inst)
{
    return inst->op == PTX_OP_ld || inst->op == PTX_OP_ldu;
}

struct access {
    uint32_t regs[4];
    bool wide, narrow; /* 64-bit and 16-bit registers */
    uint32_t address;
    bool address_wide;
    uint64_t offset;
    const struct ptx_operand *base;
};

static bool elements(struct ptx_decoder *d, const struct ptx_inst *inst,
                     const struct ptx_operand *o, struct access *access)
{
    uint32_t count = element_count(inst), reg_bytes = 0;

    for (uint32_t k = 0; k < count; k++) {
        const struct ptx_operand *e = o->kind == PTX_O_VEC ? &o->vec[k] : o;
        uint32_t bytes;

        if (is_ld(inst))
            access->regs[k] = ptx_dest(d, e);
        else if (!ptx_source(d, e, inst->types[0], &access->regs[k]))
            return false;
        if (e->kind == PTX_O_SINK)
            continue;
        bytes = e->kind == PTX_O_REG ? ptx_type_bytes(d->func->regs[e->id].type)
                                     : ptx_type_bytes(inst->types[0]);
        bytes = bytes < 2 ? 2 : bytes;
        if (reg_bytes && reg_bytes != bytes && is_ld(inst))
            return ptx_decode_error(d, VGPU_PTX_UNSUPPORTED,
                                    "vector elements in registers of different sizes");
        if (reg_bytes && (reg_bytes == 8) != (bytes == 8))
            return ptx_decode_error(d, VGPU_PTX_UNSUPPORTED,
                                    "vector elements in registers of different sizes");
        reg_bytes = bytes;
    }
    access->wide = reg_bytes == 8 || (!reg_bytes && ptx_type_bytes(inst->types[0]) == 8);
    access->narrow = reg_bytes == 2;
    return true;
}

static bool address(struct ptx_decoder *d, const struct ptx_operand *o, struct access *access)
{
    const struct ptx_operand *base = o->vec;

    access->base = base;
    access->offset = o->bits;
    access->address_wide =
        base->kind != PTX_O_REG || ptx_type_bytes(d->func->regs[base->id].type) == 8;
    return ptx_source(d, base, PTX_T_u64, &access->address);
}

static bool guard(struct ptx_decoder *d, const struct ptx_inst *inst, struct ptx_insn *insn)
{
    if (inst->guard != PTX_NO_GUARD) {
        insn->inner = insn->fn;
        insn->fn = d->engine->guard;
        insn->guard = d->reg_offset[inst->guard];
        insn->guard_negate = inst->guard_negate;
    }
    return true;
}

static struct ptx_insn *emit_access(struct ptx_decoder *d, const struct ptx_inst *inst,
                                    ptx_op_fn *fn, const struct access *access)
{
    struct ptx_insn *insn = ptx_emit(d, fn);

    if (!insn)
        return NULL;
    insn->d = access->regs[0];
    insn->b = access->regs[1];
    insn->c = access->regs[2];
    insn->e = access->regs[3];
    insn->a = access->address;
    insn->imm = access->offset;
    insn->bytes = (uint8_t)ptx_type_bytes(inst->types[0]);
    insn->count = (uint8_t)element_count(inst);
    insn->flags =
        (uint8_t)((access->wide ? PTX_I_WIDE : 0) | (access->address_wide ? PTX_I_ADDR64 : 0) |
                  (is_ld(inst) && ptx_type_is_signed(inst->types[0]) ? PTX_I_SIGNED : 0));
    insn->f = access->narrow;
    return insn;
}

/*
 * Local variables, function parameters: a constant offset of the frame. True if it is one and inside.
 * Of parameters it need not be aligned: clang and nvcc pass packed structures in whole fields, and assemblers, to
 * which parameters are registers mostly, take that.
 */
static bool frame_offset(const struct ptx_decoder *d, const struct ptx_inst *inst,
                         const struct ptx_operand *o, uint64_t *offset, bool *is_aligned)
{
    const struct ptx_operand *base = o->vec;
    uint64_t total = (uint64_t)ptx_type_bytes(inst->types[0]) * element_count(inst);

    if (base->kind != PTX_O_VAR || base->var->space != PTX_SPACE_LOCAL)
        return false;
    *offset = base->var->address + o->bits;
    *is_aligned = *offset % total == 0;
    return *offset <= d->func->local_bytes && total <= d->func->local_bytes - *offset &&
           (*is_aligned || has(inst, PTX_M_param) || has(inst, PTX_M_param_func));
}

static bool decode_param(struct ptx_decoder *d, const struct ptx_inst *inst, struct access *access,
                         const struct ptx_operand *o)
{
    uint64_t total = (uint64_t)ptx_type_bytes(inst->types[0]) * element_count(inst);
    uint64_t offset = o->vec->var->address + o->bits;
    struct ptx_insn *insn;

    if (offset > d->func->param_bytes || total > d->func->param_bytes - offset)
        return ptx_decode_error(d, VGPU_PTX_SYNTAX, "an address beyond the kernel's parameters");
    insn = emit_access(d, inst, d->engine->param_const(), access);
    if (!insn)
        return false;
    insn->imm = offset;
    return guard(d, inst, insn);
}

static bool in_shared(const struct ptx_inst *inst)
{
    return has(inst, PTX_M_shared) || has(inst, PTX_M_shared_cta) ||
           has(inst, PTX_M_shared_cluster);
}

/* 32-bit registers one at a time, in global or shared memory: most accesses are rows (ops_row.c). */
static void use_row(const struct ptx_decoder *d, const struct ptx_inst *inst,
                    const struct access *access, struct ptx_insn *insn)
{
    bool shared = in_shared(inst);
    ptx_op_fn *row;

    if (insn->bytes != 4 || insn->count != 1 || access->wide || access->narrow ||
        access->address_wide == shared || has(inst, PTX_M_local) || has(inst, PTX_M_param) ||
        has(inst, PTX_M_param_entry) || has(inst, PTX_M_param_func))
        return;
    row = d->engine->row(!is_ld(inst), shared);
    if (!row)
        return;
    insn->inner2 = insn->fn;
    insn->fn = row;
}

static bool decode_load_store(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    bool load = is_ld(inst);
    const struct ptx_operand *values = &inst->operands[load ? 0 : 1],
                             *memory = &inst->operands[load ? 1 : 0];
    const struct ptx_operand *base = memory->vec;
    struct access access = {
        .regs = {PTX_SINK_OFFSET, PTX_SINK_OFFSET, PTX_SINK_OFFSET, PTX_SINK_OFFSET}};
    struct ptx_inst changed = *inst;
    struct ptx_insn *insn;
    ptx_op_fn *fn;
    uint64_t offset;
    bool is_aligned;

    if (!elements(d, inst, values, &access))
        return false;
    if (frame_offset(d, inst, memory, &offset, &is_aligned)) {
        insn = emit_access(d, inst, d->engine->frame(!load, is_aligned), &access);
        if (!insn)
            return false;
        insn->imm = offset;
        return guard(d, inst, insn);
    }
    if (base->kind == PTX_O_VAR && base->var->space == PTX_SPACE_PARAM) {
        if (!load)
            return ptx_decode_error(d, VGPU_PTX_SYNTAX, "a store to the kernel's parameters");
        return decode_param(d, inst, &access, memory);
    }
    /* in device functions parameters are frame memory, so their addresses are local ones */
    if ((has(inst, PTX_M_param) || has(inst, PTX_M_param_func)) && !d->func->is_entry) {
        memset(&changed.mods, 0, sizeof(changed.mods));
        ptx_mods_set(&changed.mods, PTX_M_local);
    } else if (!load && (has(inst, PTX_M_param) || has(inst, PTX_M_param_func))) {
        return ptx_decode_error(d, VGPU_PTX_SYNTAX, "a store to the kernel's parameters");
    }
    fn = d->engine->select(&changed);
    if (!fn)
        return ptx_decode_error(d, VGPU_PTX_UNSUPPORTED, "this combination is not implemented");
    if (!address(d, memory, &access))
        return false;
    insn = emit_access(d, inst, fn, &access);
    if (!insn)
        return false;
    use_row(d, &changed, &access, insn);
    return guard(d, inst, insn);
}

static struct ptx_insn *emit_atomic(struct ptx_decoder *d, const struct ptx_inst *inst,
                                    ptx_op_fn *fn, const struct access *access)
{
    struct ptx_insn *insn = ptx_emit(d, fn);

    if (!insn)
        return NULL;
    insn->a = access->address;
    insn->imm = access->offset;
    insn->bytes = (uint8_t)ptx_type_bytes(inst->types[0]);
    insn->count = 1;
    insn->flags = access->address_wide ? PTX_I_ADDR64 : 0;
    return insn;
}

/*
 * Vectors: PTX ISA makes each element atomic, not all together, so they are as many operations as elements, the
 * first of which looks at the alignment of the whole. Their results come together at the end, since a result
 * may have the register of the address or of a later element.
 */
static bool decode_vector_atomic(struct ptx_decoder *d, const struct ptx_inst *inst, ptx_op_fn *fn)
{
    struct ptx_operand registers[2] = {{.kind = PTX_O_REG}, {.kind = PTX_O_REG}};
    struct ptx_inst move = {.op = PTX_OP_mov, .types = {inst->types[0]}, .operands = registers};
    uint32_t count = element_count(inst), values[4], results[4] = {PTX_SINK_OFFSET};
    bool is_red = inst->op == PTX_OP_red, is_half = inst->types[0] != PTX_T_f32;
    const struct ptx_operand *o = inst->operands + !is_red;
    struct access access = {.regs = {PTX_SINK_OFFSET}};
    struct ptx_insn *insn;

    if (!has(inst, PTX_M_add_) || !ptx_type_is_float(inst->types[0]) ||
        inst->types[0] == PTX_T_f64 || is_half != has(inst, PTX_M_noftz) || in_shared(inst))
        return ptx_decode_error(d, VGPU_PTX_UNSUPPORTED,
                                "this combination of operation and type is not implemented");
    if (!address(d, &o[0], &access))
        return false;
    for (uint32_t k = 0; k < count; k++)
        if (!ptx_source(d, &o[1].vec[k], inst->types[0], &values[k]))
            return false;
    for (uint32_t k = 0; k < count; k++) {
        insn = emit_atomic(d, inst, fn, &access);
        if (!insn)
            return false;
        insn->count = (uint8_t)(k == 0 ? count : 1);
        insn->b = insn->c = values[k];
        insn->d = results[k] = is_red ? PTX_SINK_OFFSET : ptx_temp(d);
        access.offset += insn->bytes;
        if (!guard(d, inst, insn))
            return false;
    }
    for (uint32_t k = 0; k < count && !is_red; k++) {
        insn = ptx_emit(d, d->engine->select(&move));
        if (!insn)
            return false;
        insn->d = ptx_dest(d, &inst->operands[0].vec[k]);
        insn->a = insn->b = insn->c = results[k];
        if (!guard(d, inst, insn))
            return false;
    }
    return true;
}

static bool decode_atomic(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    bool is_red = inst->op == PTX_OP_red;
    const struct ptx_operand *o = inst->operands + !is_red;
    struct access access = {.regs = {PTX_SINK_OFFSET}};
    uint32_t b, c;
    ptx_op_fn *fn = d->engine->select(inst);
    struct ptx_insn *insn;

    if (!fn)
        return ptx_decode_error(d, VGPU_PTX_UNSUPPORTED,
                                "this combination of operation and type is not implemented");
    if (element_count(inst) > 1)
        return decode_vector_atomic(d, inst, fn);
    if (!address(d, &o[0], &access) || !ptx_source(d, &o[1], inst->types[0], &b))
        return false;
    c = b;
    if (inst->op == PTX_OP_atom_cas && !ptx_source(d, &o[2], inst->types[0], &c))
        return false;
    insn = emit_atomic(d, inst, fn, &access);
    if (!insn)
        return false;
    insn->d = is_red ? PTX_SINK_OFFSET : ptx_dest(d, &inst->operands[0]);
    insn->b = b;
    insn->c = c;
    return guard(d, inst, insn);
}

/* cp.async: destination in a with its offset in imm, source in b with its offset added, size operand in c. */
static bool decode_copy(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    struct access to = {.regs = {0}}, from = {.regs = {0}};
    bool has_size =
        inst->operand_count > 3 && !(inst->operand_count == 4 && has(inst, PTX_M_hint_operand));
    bool ignores = has_size && o[3].kind == PTX_O_REG && d->func->regs[o[3].id].type == PTX_T_pred;
    uint32_t size = PTX_SINK_OFFSET, source;
    struct ptx_insn *insn;

    if (!address(d, &o[0], &to) || !address(d, &o[1], &from))
        return false;
    if (!from.address_wide)
        return ptx_decode_error(d, VGPU_PTX_UNSUPPORTED, "a 32-bit global address");
    source = from.address;
    if (from.offset && !ptx_add(d, from.address, from.offset, true, &source))
        return false;
    if (has_size && !ptx_source(d, &o[3], ignores ? PTX_T_pred : PTX_T_u32, &size))
        return false;
    insn = ptx_emit(d, d->engine->select(inst));
    if (!insn)
        return false;
    insn->a = to.address;
    insn->imm = to.offset;
    insn->flags = to.address_wide ? PTX_I_ADDR64 : 0;
    insn->b = source;
    insn->c = size;
    insn->e = !has_size ? 0 : ignores ? 2 : 1;
    insn->bytes = (uint8_t)o[2].bits;
    return guard(d, inst, insn);
}

/* An address in one register, with what is added to it. */
static bool whole_address(struct ptx_decoder *d, const struct ptx_operand *o, uint32_t *at,
                          bool *is_wide)
{
    struct access access = {.regs = {0}};

    if (!address(d, o, &access))
        return false;
    *at = access.address;
    *is_wide = access.address_wide;
    return !access.offset || ptx_add(d, access.address, access.offset, access.address_wide, at);
}

/* cp.async.bulk: destination in a with its offset in imm, source in b, size in c, mbarrier in e; f: see engine.h. */
static bool decode_bulk(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    bool to_global = inst->op == PTX_OP_cp_bulk_to_global, to_wide, from_wide, bar_wide = false;
    bool from_shared = to_global || (has(inst, PTX_M_shared_cta) && !has(inst, PTX_M_global));
    const struct ptx_operand *o = inst->operands;
    uint32_t to, from, size, bar = PTX_SINK_OFFSET;
    struct ptx_insn *insn;

    if (to_global && (!has(inst, PTX_M_global) || !has(inst, PTX_M_shared_cta)))
        return ptx_decode_error(d, VGPU_PTX_UNSUPPORTED, "these state spaces are not implemented");
    if (!to_global &&
        has(inst, PTX_M_global) + has(inst, PTX_M_shared_cta) + has(inst, PTX_M_shared_cluster) !=
            2)
        return ptx_decode_error(d, VGPU_PTX_UNSUPPORTED, "these state spaces are not implemented");
    if (!whole_address(d, &o[0], &to, &to_wide) || !whole_address(d, &o[1], &from, &from_wide) ||
        !ptx_source(d, &o[2], PTX_T_u32, &size))
        return false;
    if (!to_global && !whole_address(d, &o[3], &bar, &bar_wide))
        return false;
    insn = ptx_emit(d, d->engine->select(inst));
    if (!insn)
        return false;
    insn->a = to;
    insn->b = from;
    insn->c = size;
    insn->e = bar;
    insn->flags = to_wide ? PTX_I_ADDR64 : 0;
    insn->f = (from_wide ? PTX_BULK_FROM64 : 0) | (bar_wide ? PTX_BULK_BAR64 : 0) |
              (from_shared ? PTX_BULK_FROM_SHARED : 0) | (to_global ? PTX_BULK_TO_GLOBAL : 0);
    return guard(d, inst, insn);
}

/* mbarrier: the object's address in a, an optional argument in b (1 if absent), the result in d. */
static bool decode_mbarrier(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    bool has_dest = o[0].kind != PTX_O_MEM;
    bool is_state = inst->op == PTX_OP_mbarrier_test || inst->op == PTX_OP_mbarrier_try;
    const struct ptx_operand *memory = o + has_dest;
    enum ptx_type type = is_state && !has(inst, PTX_M_parity) ? PTX_T_u64 : PTX_T_u32;
    struct ptx_operand one = {.kind = PTX_O_IMM, .bits = 1};
    struct access access = {.regs = {0}};
    ptx_op_fn *fn = d->engine->select(inst);
    struct ptx_insn *insn;
    uint32_t b;

    if (!fn)
        return ptx_decode_error(d, VGPU_PTX_UNSUPPORTED,
                                "this combination of modifiers is not implemented");
    if (!address(d, memory, &access))
        return false;
    if (!ptx_source(d, inst->operand_count > has_dest + 1u ? &memory[1] : &one, type, &b))
        return false;
    insn = ptx_emit(d, fn);
    if (!insn)
        return false;
    insn->d = has_dest ? ptx_dest(d, &o[0]) : PTX_SINK_OFFSET;
    insn->a = access.address;
    insn->imm = access.offset;
    insn->flags = access.address_wide ? PTX_I_ADDR64 : 0;
    insn->b = b;
    insn->c = b;
    insn->count = in_shared(inst);
    return guard(d, inst, insn);
}

bool ptx_decode_memory(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    if (inst->op == PTX_OP_cp_async)
        return decode_copy(d, inst);
    if (inst->op == PTX_OP_cp_bulk_to_shared || inst->op == PTX_OP_cp_bulk_to_global)
        return decode_bulk(d, inst);
    if (inst->op == PTX_OP_cp_async_mbarrier ||
        (inst->op >= PTX_OP_mbarrier_init && inst->op <= PTX_OP_mbarrier_complete))
        return decode_mbarrier(d, inst);
    if (inst->op == PTX_OP_ld || inst->op == PTX_OP_ldu || inst->op == PTX_OP_st)
        return decode_load_store(d, inst);
    return decode_atomic(d, inst);
}

/* --- calls --- */
static bool call_args(struct ptx_decoder *d, const struct ptx_operand *list, uint32_t count,
                      struct ptx_var *const *params, bool is_result, struct ptx_arg **out)
{
    struct ptx_arg *args = vgpu_arena_alloc(d->arena, count ? count : 1, sizeof(*args));

    if (!args)
        return ptx_decode_error(d, VGPU_PTX_NO_MEMORY, NULL);
    for (uint32_t k = 0; k < count; k++) {
        const struct ptx_operand *o = &list[k];

        args[k].kind = o->kind;
        args[k].bytes = (uint32_t)params[k]->bytes;
        if (o->kind == PTX_O_VAR) {
            args[k].offset = (uint32_t)o->var->address;
        } else if (o->kind == PTX_O_SINK) {
            args[k].kind = PTX_O_REG;
            args[k].offset = PTX_SINK_OFFSET;
        } else if (o->kind == PTX_O_REG) {
            args[k].wide = ptx_type_bytes(d->func->regs[o->id].type) == 8;
            args[k].offset = d->reg_offset[o->id];
        } else {
            args[k].kind = PTX_O_REG;
            args[k].wide = true;
            if (!ptx_source(d, o, PTX_T_b64, &args[k].offset))
                return false;
        }
    }
    *out = args;
    (void)is_result;
    return true;
}

static bool decode_brx(struct ptx_decoder *d, const struct ptx_inst *inst,
                       struct ptx_callsite *site)
{
    struct ptx_insn *insn;
    uint32_t a, index = d->callsite_count - 1;

    site->target_count = inst->call->target_count;
    site->targets = vgpu_arena_alloc(d->arena, site->target_count, sizeof(*site->targets));
    if (!site->targets)
        return ptx_decode_error(d, VGPU_PTX_NO_MEMORY, NULL);
    for (uint32_t k = 0; k < site->target_count; k++) /* indices until fix_targets() */
        site->targets[k] = (const struct ptx_insn *)(uintptr_t)inst->call->targets[k];
    if (!ptx_source(d, &inst->operands[0], PTX_T_u32, &a))
        return false;
    insn = ptx_emit(d, d->engine->select(inst));
    if (!insn)
        return false;
    insn->a = a;
    insn->e = index;
    return true;
}

static bool name_is(const struct ptx_func *func, const char *name)
{
    return func->name_bytes == strlen(name) && !memcmp(func->name, name, func->name_bytes);
}

/* The functions that the machine itself provides. */
static ptx_op_fn *builtin(const struct ptx_decoder *d, const struct ptx_func *func)
{
    if (name_is(func, "vprintf") && func->param_count == 2 && func->ret_count <= 1 &&
        func->params[0]->bytes == 8 && func->params[1]->bytes == 8 &&
        (!func->ret_count || func->rets[0]->bytes == 4))
        return d->engine->vprintf;
    if (name_is(func, "__assertfail") && func->param_count == 5 && func->params[0]->bytes == 8 &&
        func->params[1]->bytes == 8 && func->params[2]->bytes == 4 && func->params[3]->bytes == 8)
        return d->engine->assertfail;
    return NULL;
}

bool ptx_decode_call(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    const struct ptx_call *call = inst->call;
    struct ptx_func *callee = call->func ? ptx_func_target(call->func) : NULL;
    const struct ptx_func *shape = callee ? call->func : call->proto;
    struct ptx_callsite *site;
    ptx_op_fn *fn;
    struct ptx_insn *insn;
    uint32_t a = PTX_SINK_OFFSET, index = d->callsite_count;

    if (!vgpu_arena_grow(d->arena, (void **)&d->callsites, &d->callsite_capacity, d->callsite_count,
                         sizeof(*site)))
        return ptx_decode_error(d, VGPU_PTX_NO_MEMORY, NULL);
    site = &d->callsites[d->callsite_count++];
    memset(site, 0, sizeof(*site));
    if (inst->op == PTX_OP_brx)
        return decode_brx(d, inst, site);
    site->arg_count = call->arg_count;
    site->ret_count = call->ret_count;
    site->func = callee;
    if (!call_args(d, call->args, call->arg_count, shape->params, false, &site->args) ||
        !call_args(d, call->rets, call->ret_count, shape->rets, true, &site->rets))
        return false;
    if (!callee) {
        fn = d->engine->call_indirect;
        if (!ptx_source(d, call->target, PTX_T_b64, &a))
            return false;
    } else if (callee->has_body) {
        fn = d->engine->select(inst);
    } else {
        fn = builtin(d, callee);
        if (!fn) {
            ptx_log_add(d->log, "%s:%u: error: unsupported: '%.*s' is called and not defined\n",
                        d->input, inst->line,
                        (int)(callee->name_bytes < 80 ? callee->name_bytes : 80), callee->name);
            d->status = VGPU_PTX_UNSUPPORTED;
            return false;
        }
    }
    insn = ptx_emit(d, fn);
    if (!insn)
        return false;
    insn->a = a;
    insn->e = index;
    return true;
}
