// SPDX-License-Identifier: MIT
/*
 * Decoder: what instructions are made of: the engine's instructions one by one, constants and addresses as
 * registers of the frame, sources and destinations as offsets into it. See decode.h.
 */
#include "decode.h"
#include "half.h"

#include <string.h>

bool ptx_decode_error(struct ptx_decoder *d, enum vgpu_ptx_status status, const char *what)
{
    char name[160];
    size_t used;

    if (status == VGPU_PTX_NO_MEMORY) {
        if (!d->status || d->status == VGPU_PTX_UNSUPPORTED)
            d->status = status;
        return false;
    }
    used = 0;
    for (const char *c = ptx_op_info(d->inst->op)->name; *c && used < 20; c++)
        name[used++] = *c;
    for (uint32_t m = 0; m < PTX_M_COUNT && used < 100; m++)
        if (ptx_mods_has(&d->inst->mods, m)) {
            name[used++] = '.';
            for (const char *c = ptx_mod_name(m); *c && used < 120; c++)
                name[used++] = *c;
        }
    for (uint32_t t = 0; t < d->inst->type_count && used < 130; t++) {
        name[used++] = '.';
        for (const char *c = ptx_type_name(d->inst->types[t]); *c; c++)
            name[used++] = *c;
    }
    name[used] = '\0';
    ptx_log_add(d->log, "%s:%u: error: %s'%s': %s\n", d->input, d->inst->line,
                status == VGPU_PTX_UNSUPPORTED ? "unsupported: " : "", name, what);
    if (!d->status)
        d->status = status;
    return false;
}

struct ptx_insn *ptx_emit(struct ptx_decoder *d, ptx_op_fn *fn)
{
    struct ptx_insn *insn;

    if (!vgpu_arena_grow(d->arena, (void **)&d->insns, &d->insn_capacity, d->insn_count,
                         sizeof(*d->insns)) ||
        !vgpu_arena_grow(d->arena, (void **)&d->lines, &d->line_capacity, d->insn_count,
                         sizeof(*d->lines))) {
        ptx_decode_error(d, VGPU_PTX_NO_MEMORY, NULL);
        return NULL;
    }
    d->lines[d->insn_count] = d->inst->line;
    insn = &d->insns[d->insn_count++];
    memset(insn, 0, sizeof(*insn));
    insn->fn = fn;
    return insn;
}

uint32_t ptx_temp(struct ptx_decoder *d)
{
    /* the table of operands never needs more than PTX_TEMPS: each operand takes at most one */
    return (d->temp_base + 2 * (d->temp_used++ % PTX_TEMPS)) * PTX_SLOT_BYTES;
}

static uint32_t const_hash(uint64_t bits, bool wide, uint8_t sreg)
{
    uint64_t h = bits * 0x9e3779b97f4a7c15ull + wide + sreg * 0x85ebca6bull;

    h ^= h >> 31;
    return (uint32_t)(h * 0xbf58476d1ce4e5b9ull >> 32);
}

static bool const_rehash(struct ptx_decoder *d)
{
    uint32_t size = d->const_hash_size ? d->const_hash_size * 2 : 64;
    uint32_t *hash = vgpu_arena_alloc(d->arena, size, sizeof(*hash));

    if (!hash)
        return ptx_decode_error(d, VGPU_PTX_NO_MEMORY, NULL);
    for (uint32_t k = 0; k < d->const_count; k++) {
        uint32_t at =
            const_hash(d->consts[k].bits, d->consts[k].wide, d->consts[k].sreg) & (size - 1);

        while (hash[at])
            at = (at + 1) & (size - 1);
        hash[at] = k + 1;
    }
    d->const_hash = hash;
    d->const_hash_size = size;
    return true;
}

bool ptx_const_offset(struct ptx_decoder *d, uint64_t bits, bool wide, uint8_t sreg,
                      uint32_t *offset)
{
    struct ptx_const *found;
    uint32_t at;

    if ((d->const_count + 1) * 2 > d->const_hash_size && !const_rehash(d))
        return false;
    at = const_hash(bits, wide, sreg) & (d->const_hash_size - 1);
    for (; d->const_hash[at]; at = (at + 1) & (d->const_hash_size - 1)) {
        found = &d->consts[d->const_hash[at] - 1];
        if (found->bits == bits && found->wide == wide && found->sreg == sreg) {
            *offset = found->offset;
            return true;
        }
    }
    if (!vgpu_arena_grow(d->arena, (void **)&d->consts, &d->const_capacity, d->const_count,
                         sizeof(*d->consts)))
        return ptx_decode_error(d, VGPU_PTX_NO_MEMORY, NULL);
    d->consts[d->const_count] =
        (struct ptx_const){bits, d->slot_count * PTX_SLOT_BYTES, wide, sreg};
    d->slot_count += wide ? 2 : 1;
    *offset = d->consts[d->const_count].offset;
    d->const_hash[at] = ++d->const_count;
    return true;
}

struct ptx_func *ptx_func_target(struct ptx_func *func)
{
    for (uint32_t hops = 0; func->target && hops < 16; hops++)
        func = func->target;
    return func;
}

struct ptx_var *ptx_var_target(struct ptx_var *var)
{
    for (uint32_t hops = 0; var->target && hops < 16; hops++)
        var = var->target;
    return var;
}

static uint64_t imm_bits(const struct ptx_operand *o, enum ptx_type type)
{
    double value;

    if (o->is_f32) {
        if (type == PTX_T_f64)
            return f64_bits((double)bits_f32((uint32_t)o->bits));
        return o->bits;
    }
    if (o->is_float) {
        value = bits_f64(o->bits);
        return type == PTX_T_f32    ? f32_bits((float)value)
               : type == PTX_T_f16  ? f64_to_half(value, PTX_RN)
               : type == PTX_T_bf16 ? f64_to_bf16(value, PTX_RN)
                                    : o->bits;
    }
    switch (type == PTX_T_pred ? 0 : ptx_type_bytes(type)) {
    case 0: return o->bits ? 0xffffffffu : 0;
    case 1: return (uint8_t)o->bits;
    case 2: return (uint16_t)o->bits;
    case 4: return (uint32_t)o->bits;
    default: return o->bits;
    }
}

/* dst = base register + constant, in a scratch slot. */
bool ptx_add(struct ptx_decoder *d, uint32_t base, uint64_t bits, bool wide, uint32_t *offset)
{
    struct ptx_inst add = {
        .op = PTX_OP_add, .types = {wide ? PTX_T_u64 : PTX_T_u32}, .type_count = 1};
    struct ptx_insn *insn;
    uint32_t constant;

    if (!ptx_const_offset(d, bits, wide, PTX_SR_none, &constant))
        return false;
    insn = ptx_emit(d, d->engine->select(&add));
    if (!insn)
        return false;
    insn->a = base;
    insn->b = constant;
    insn->c = constant;
    insn->d = *offset = ptx_temp(d);
    return true;
}

static bool var_address(struct ptx_decoder *d, const struct ptx_operand *o, bool wide,
                        uint32_t *offset)
{
    struct ptx_var *var = ptx_var_target(o->var);
    uint64_t bits = var->address + o->bits;
    uint32_t base;

    if (var->space == PTX_SPACE_LOCAL) {
        return ptx_const_offset(d, 0, wide, wide ? PTX_SR_local_base64 : PTX_SR_local_base32,
                                &base) &&
               ptx_add(d, base, bits, wide, offset);
    }
    if (var->space == PTX_SPACE_SHARED && var->is_unsized) {
        uint8_t sreg = wide ? PTX_SR_dynamic_base64 : PTX_SR_dynamic_base32;

        if (!ptx_const_offset(d, 0, wide, sreg, &base))
            return false;
        *offset = base;
        return o->bits ? ptx_add(d, base, o->bits, wide, offset) : true;
    }
    return ptx_const_offset(d, wide ? bits : (uint32_t)bits, wide, PTX_SR_none, offset);
}

static bool sreg_offset(struct ptx_decoder *d, enum ptx_sreg sreg, bool wide, uint32_t *offset)
{
    const struct ptx_sreg_info *info = ptx_sreg_info(sreg);
    struct ptx_insn *insn;

    if (!info->is_volatile)
        return ptx_const_offset(d, 0, info->bytes == 8 && wide, (uint8_t)sreg, offset);
    insn = ptx_emit(d, d->engine->special);
    if (!insn)
        return false;
    insn->e = sreg;
    insn->bytes = info->bytes;
    insn->d = *offset = ptx_temp(d);
    return true;
}

static bool emit_not(struct ptx_decoder *d, uint32_t source, uint32_t *offset)
{
    struct ptx_inst invert = {.op = PTX_OP_not, .types = {PTX_T_pred}, .type_count = 1};
    struct ptx_insn *insn = ptx_emit(d, d->engine->select(&invert));

    if (!insn)
        return false;
    insn->a = insn->b = insn->c = source;
    insn->d = *offset = ptx_temp(d);
    return true;
}

bool ptx_source(struct ptx_decoder *d, const struct ptx_operand *o, enum ptx_type type,
                uint32_t *offset)
{
    bool wide = ptx_type_bytes(type) == 8;

    switch (o->kind) {
    case PTX_O_REG:
        *offset = d->reg_offset[o->id];
        return !o->negate || emit_not(d, *offset, offset);
    case PTX_O_IMM: return ptx_const_offset(d, imm_bits(o, type), wide, PTX_SR_none, offset);
    case PTX_O_SREG: return sreg_offset(d, (enum ptx_sreg)o->id, wide, offset);
    case PTX_O_VAR: return var_address(d, o, wide, offset);
    case PTX_O_FUNC:
        return ptx_const_offset(
            d, PTX_FUNC_BASE + (uint64_t)ptx_func_target(o->func)->index * PTX_FUNC_STEP, true,
            PTX_SR_none, offset);
    default: return ptx_decode_error(d, VGPU_PTX_SYNTAX, "an operand of the wrong kind");
    }
}

uint32_t ptx_dest(const struct ptx_decoder *d, const struct ptx_operand *o)
{
    return o->kind == PTX_O_REG ? d->reg_offset[o->id] : PTX_SINK_OFFSET;
}
