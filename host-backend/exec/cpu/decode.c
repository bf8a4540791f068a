// SPDX-License-Identifier: MIT
/*
 * Decoder: emits the engine's instructions. See decode.h for the passes and check_inst.c for what is
 * guaranteed about operands; decode_operand.c has what they become.
 */
#include "decode.h"
#include "video.h"

#include <string.h>

/* --- per-instruction finishing: guards, rounding modes --- */
static bool is_round_wrapped(const struct ptx_inst *in)
{
    enum ptx_type type = in->types[0];

    if (type != PTX_T_f32 && type != PTX_T_f64)
        return false;
    switch (in->op) {
    case PTX_OP_add:
    case PTX_OP_sub:
    case PTX_OP_mul:
    case PTX_OP_mad:
    case PTX_OP_fma:
    case PTX_OP_div:
    case PTX_OP_rcp:
    case PTX_OP_sqrt: return true;
    default: return false;
    }
}

static void wrap_rounding(struct ptx_decoder *d, struct ptx_insn *insn)
{
    const struct ptx_mods *mods = &d->inst->mods;
    uint8_t mode = ptx_mods_has(mods, PTX_M_rz)   ? 1
                   : ptx_mods_has(mods, PTX_M_rm) ? 2
                   : ptx_mods_has(mods, PTX_M_rp) ? 3
                                                  : 0;

    if (!mode || !is_round_wrapped(d->inst))
        return;
    insn->inner2 = insn->fn;
    insn->fn = d->engine->round;
    insn->flags = mode;
}

static bool wrap_guard(struct ptx_decoder *d, struct ptx_insn *insn)
{
    if (d->inst->guard == PTX_NO_GUARD)
        return true;
    insn->inner = insn->fn;
    insn->fn = d->engine->guard;
    insn->guard = d->reg_offset[d->inst->guard];
    insn->guard_negate = d->inst->guard_negate;
    return true;
}

/* What no assembler takes of conversions from integers, or NULL. */
static const char *cvt_error(const struct ptx_inst *inst)
{
    enum ptx_type to = inst->types[0], from = inst->types[1];
    uint32_t to_bytes = ptx_type_bytes(to), from_bytes = ptx_type_bytes(from);
    bool to_signed = ptx_type_is_signed(to), from_signed = ptx_type_is_signed(from);

    if (ptx_type_is_float(from))
        return NULL;
    if (to == PTX_T_bf16 && from_bytes == 1)
        return "there is no conversion of 8-bit integers to bf16: convert to 16 bits first";
    if (ptx_type_is_float(to) || !ptx_mods_has(&inst->mods, PTX_M_sat))
        return NULL;
    if (to == from || (to_bytes > from_bytes && (to_signed || !from_signed)))
        return ".sat is for destinations that can't hold every value of the source: leave it out";
    return NULL;
}

static ptx_op_fn *select_fn(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    const char *error = inst->op == PTX_OP_cvt ? cvt_error(inst) : NULL;
    ptx_op_fn *fn = error ? NULL : d->engine->select(inst);

    if (error)
        ptx_decode_error(d, VGPU_PTX_SYNTAX, error);
    else if (!fn)
        ptx_decode_error(d, VGPU_PTX_UNSUPPORTED,
                         "this combination of types and modifiers is not implemented");
    return fn;
}

/* The type that an operand letter stands for (check_inst.c, check_operand). */
static enum ptx_type letter_type(const struct ptx_inst *in, char letter)
{
    uint32_t bytes = ptx_type_bytes(in->types[0]);

    switch (letter) {
    case 't':
    case 'T': return in->types[0];
    case 's':
    case 'S': return in->types[1];
    case 'x': return bytes == 2 ? PTX_T_b32 : PTX_T_b64;
    case 'u':
    case 'c': return PTX_T_u32;
    case 'l': return PTX_T_u64;
    case 'p': return PTX_T_pred;
    default: return PTX_T_b64;
    }
}

static const char *plain_signature(const struct ptx_inst *in)
{
    switch (in->op) {
    case PTX_OP_vote_sync: return "dpu";
    case PTX_OP_vote_old: return "dp";
    case PTX_OP_match: return "Rtu";
    case PTX_OP_elect: return "Ru";
    default: return ptx_op_info(in->op)->signature;
    }
}

/*
 * The usual shape: destinations first (d, or d|p in d and e), sources in a, b, c, and further ones in e and f.
 * lop3 with a predicate has its table in imm and the predicate source in f; shfl's members are in f.
 */
static bool decode_plain(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    const char *letters = plain_signature(inst);
    uint32_t sources[8] = {PTX_SINK_OFFSET}, count = 0, dest = PTX_SINK_OFFSET,
             pair = PTX_SINK_OFFSET;
    ptx_op_fn *fn = select_fn(d, inst);
    struct ptx_insn *insn;
    uint64_t imm = 0;

    if (!fn)
        return false;
    for (uint32_t k = 0; k < inst->operand_count; k++, letters++) {
        const struct ptx_operand *o = &inst->operands[k];

        while (*letters == '?')
            letters++;
        if (strchr("dDwyzPQRY", *letters)) {
            dest = ptx_dest(d, o->pair ? &o->vec[0] : o);
            if (o->pair)
                pair = ptx_dest(d, &o->vec[1]);
        } else if (*letters == 'I') {
            imm = o->bits;
        } else if (!ptx_source(d, o, letter_type(inst, *letters), &sources[count++])) {
            return false;
        }
    }
    insn = ptx_emit(d, fn);
    if (!insn)
        return false;
    insn->d = dest;
    insn->a = sources[0];
    insn->b = count > 1 ? sources[1] : sources[0];
    insn->c = count > 2 ? sources[2] : sources[0];
    insn->e = inst->op == PTX_OP_bfi ? sources[3] : pair;
    insn->f = count > 3 ? sources[3] : sources[0];
    insn->imm = ptx_op_info(inst->op)->flags & PTX_F_VIDEO ? ptx_video_immediate(inst) : imm;
    wrap_rounding(d, insn);
    return wrap_guard(d, insn);
}

static uint32_t combine_of(const struct ptx_inst *inst)
{
    return ptx_mods_has(&inst->mods, PTX_M_and_)   ? 1
           : ptx_mods_has(&inst->mods, PTX_M_or_)  ? 2
           : ptx_mods_has(&inst->mods, PTX_M_xor_) ? 3
                                                   : 0;
}

static uint64_t set_value(enum ptx_type type)
{
    switch (type) {
    case PTX_T_f32: return 0x3f800000u;
    case PTX_T_f16: return 0x3c00u;
    case PTX_T_f16x2: return 0x3c003c00u;
    case PTX_T_bf16: return 0x3f80u;
    case PTX_T_bf16x2: return 0x3f803f80u;
    case PTX_T_u16:
    case PTX_T_s16: return 0xffffu;
    default: return 0xffffffffu;
    }
}

/* setp and set: plain comparisons are one operation, the others run it inside (ops_cmp.c). */
static bool decode_compare(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    bool is_set = inst->op == PTX_OP_set;
    enum ptx_type type = inst->types[is_set ? 1 : 0];
    const struct ptx_operand *o = inst->operands;
    uint32_t a, b, c = PTX_SINK_OFFSET;
    ptx_op_fn *fn = select_fn(d, inst);
    struct ptx_insn *insn;

    if (!fn || !ptx_source(d, &o[1], type, &a) || !ptx_source(d, &o[2], type, &b))
        return false;
    if (inst->operand_count == 4 && !ptx_source(d, &o[3], PTX_T_pred, &c))
        return false;
    insn = ptx_emit(d, fn);
    if (!insn)
        return false;
    insn->d = ptx_dest(d, o[0].pair ? &o[0].vec[0] : &o[0]);
    insn->e = o[0].pair ? ptx_dest(d, &o[0].vec[1]) : PTX_SINK_OFFSET + PTX_SLOT_BYTES;
    insn->a = a;
    insn->b = b;
    insn->c = c;
    insn->inner2 = d->engine->compare(inst);
    insn->imm = combine_of(inst);
    if (is_set)
        insn->imm |= set_value(inst->types[0]) << 32 |
                     (type == PTX_T_f16x2 || type == PTX_T_bf16x2 ? 1u << 16 : 0);
    return wrap_guard(d, insn);
}

static bool decode_mov(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    const struct ptx_operand *to = &inst->operands[0], *from = &inst->operands[1];
    uint32_t out[4] = {PTX_SINK_OFFSET, PTX_SINK_OFFSET, PTX_SINK_OFFSET, PTX_SINK_OFFSET};
    uint32_t in[4] = {PTX_SINK_OFFSET, PTX_SINK_OFFSET, PTX_SINK_OFFSET, PTX_SINK_OFFSET};
    enum ptx_type type = inst->types[0];
    ptx_op_fn *fn = select_fn(d, inst);
    struct ptx_insn *insn;

    if (!fn)
        return false;
    if (from->kind == PTX_O_VEC) {
        uint32_t bytes = ptx_type_bytes(type) / from->count;

        for (uint32_t k = 0; k < from->count; k++)
            if (!ptx_source(d, &from->vec[k],
                            bytes == 1   ? PTX_T_b8
                            : bytes == 2 ? PTX_T_b16
                                         : PTX_T_b32,
                            &in[k]))
                return false;
    } else if (!ptx_source(d, from, type, &in[0])) {
        return false;
    }
    if (to->kind == PTX_O_VEC) {
        for (uint32_t k = 0; k < to->count; k++)
            out[k] = ptx_dest(d, &to->vec[k]);
    } else {
        out[0] = ptx_dest(d, to);
    }
    insn = ptx_emit(d, fn);
    if (!insn)
        return false;
    insn->d = out[0];
    insn->a = in[0];
    insn->b = to->kind == PTX_O_VEC ? out[1] : in[1];
    insn->c = to->kind == PTX_O_VEC ? out[2] : in[2];
    insn->e = to->kind == PTX_O_VEC ? out[3] : in[3];
    return wrap_guard(d, insn);
}

static uint8_t slot_bytes(const struct ptx_decoder *d, const struct ptx_operand *o,
                          enum ptx_type type)
{
    uint32_t bytes =
        o->kind == PTX_O_REG ? ptx_type_bytes(d->func->regs[o->id].type) : ptx_type_bytes(type);

    return (uint8_t)(bytes < 2 ? 2 : bytes);
}

static bool decode_cvt(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    uint8_t to = slot_bytes(d, &o[0], inst->types[0]), from = slot_bytes(d, &o[1], inst->types[1]);
    uint32_t a, b = PTX_SINK_OFFSET;
    ptx_op_fn *fn = select_fn(d, inst);
    struct ptx_insn *insn;

    if (!fn || !ptx_source(d, &o[1], inst->types[1], &a))
        return false;
    if (inst->operand_count == 3 && !ptx_source(d, &o[2], inst->types[1], &b))
        return false;
    /* registers wider than their types take the general way, which extends and cuts */
    if (inst->operand_count == 2 && !ptx_type_is_pair(inst->types[0]) &&
        !ptx_type_is_pair(inst->types[1]) &&
        (to != (ptx_type_bytes(inst->types[0]) < 2 ? 2 : ptx_type_bytes(inst->types[0])) ||
         from / 8 != ptx_type_bytes(inst->types[1]) / 8))
        fn = d->engine->cvt_general();
    insn = ptx_emit(d, fn);
    if (!insn)
        return false;
    insn->d = ptx_dest(d, &o[0]);
    insn->a = a;
    insn->b = b;
    insn->c = a;
    insn->imm = d->engine->cvt_flags(inst);
    insn->bytes = to;
    insn->count = from;
    return wrap_guard(d, insn);
}

uint64_t ptx_window_of(const struct ptx_mods *m)
{
    if (ptx_mods_has(m, PTX_M_shared) || ptx_mods_has(m, PTX_M_shared_cta) ||
        ptx_mods_has(m, PTX_M_shared_cluster))
        return PTX_SHARED_BASE;
    if (ptx_mods_has(m, PTX_M_local))
        return PTX_LOCAL_BASE;
    if (ptx_mods_has(m, PTX_M_param) || ptx_mods_has(m, PTX_M_param_entry))
        return PTX_PARAM_BASE;
    return 0;
}

static bool decode_window(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    const struct ptx_operand *o = inst->operands;
    uint64_t base = ptx_window_of(&inst->mods);
    ptx_op_fn *fn = select_fn(d, inst);
    struct ptx_insn *insn;
    uint32_t a;

    if (!fn)
        return false;
    if ((inst->op == PTX_OP_cvta && inst->types[0] != PTX_T_u64) ||
        (o[1].kind == PTX_O_REG && ptx_type_bytes(d->func->regs[o[1].id].type) != 8))
        return ptx_decode_error(d, VGPU_PTX_UNSUPPORTED, "32-bit generic addresses");
    if (!ptx_source(d, &o[1], PTX_T_u64, &a))
        return false;
    insn = ptx_emit(d, fn);
    if (!insn)
        return false;
    insn->d = ptx_dest(d, &o[0]);
    insn->a = insn->b = insn->c = a;
    insn->imm = ptx_mods_has(&inst->mods, PTX_M_to) ? 0 - base : base;
    return wrap_guard(d, insn);
}

static bool decode_barrier(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    bool is_red = inst->op == PTX_OP_bar_red || inst->op == PTX_OP_barrier_red;
    const struct ptx_operand *o = inst->operands + is_red;
    uint32_t n = inst->operand_count - is_red, a, b = PTX_SINK_OFFSET, c = PTX_SINK_OFFSET;
    bool has_count = is_red ? n == 3 : n == 2;
    ptx_op_fn *fn = select_fn(d, inst);
    struct ptx_insn *insn;

    if (!fn || !ptx_source(d, &o[0], PTX_T_u32, &a))
        return false;
    if (has_count && !ptx_source(d, &o[1], PTX_T_u32, &b))
        return false;
    if (is_red && !ptx_source(d, &o[n - 1], PTX_T_pred, &c))
        return false;
    insn = ptx_emit(d, fn);
    if (!insn)
        return false;
    insn->d = is_red ? ptx_dest(d, &inst->operands[0]) : PTX_SINK_OFFSET;
    insn->a = a;
    insn->b = b;
    insn->c = c;
    insn->flags = (uint8_t)(has_count | is_red << 1);
    insn->f = ptx_mods_has(&inst->mods, PTX_M_popc_)  ? 0
              : ptx_mods_has(&inst->mods, PTX_M_and_) ? 1
                                                      : 2;
    return true;
}

/* imm receives the target's instruction index; ptx_decode turns it into a distance. */
static bool decode_branch(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    bool is_guarded = inst->guard != PTX_NO_GUARD;
    struct ptx_insn *insn = ptx_emit(d, is_guarded ? d->engine->branch_if : d->engine->branch);

    if (!insn)
        return false;
    insn->imm = inst->operands[0].id;
    if (is_guarded) {
        insn->guard = d->reg_offset[inst->guard];
        insn->guard_negate = inst->guard_negate;
    }
    return true;
}

/* A cache policy changes nothing here: any value will do, and the one that is given is kept. */
static bool decode_policy(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    struct ptx_operand operands[2] = {inst->operands[0], {.kind = PTX_O_IMM, .bits = 1}};
    struct ptx_inst move = *inst;

    if (inst->op == PTX_OP_policy_cvt)
        operands[1] = inst->operands[1];
    move.op = PTX_OP_mov;
    move.operands = operands;
    move.operand_count = 2;
    return decode_mov(d, &move);
}

static bool decode_one(struct ptx_decoder *d, const struct ptx_inst *inst)
{
    switch (inst->op) {
    case PTX_OP_bra: return decode_branch(d, inst);
    case PTX_OP_call:
    case PTX_OP_brx: return ptx_decode_call(d, inst);
    case PTX_OP_mov: return decode_mov(d, inst);
    case PTX_OP_set:
    case PTX_OP_setp: return decode_compare(d, inst);
    case PTX_OP_cvt: return decode_cvt(d, inst);
    case PTX_OP_cvta:
    case PTX_OP_isspacep: return decode_window(d, inst);
    case PTX_OP_ld:
    case PTX_OP_ldu:
    case PTX_OP_st:
    case PTX_OP_atom:
    case PTX_OP_atom_cas:
    case PTX_OP_red: return ptx_decode_memory(d, inst);
    case PTX_OP_cp_bulk_to_shared:
    case PTX_OP_cp_bulk_to_global:
    case PTX_OP_cp_async:
    case PTX_OP_cp_async_mbarrier:
    case PTX_OP_mbarrier_init:
    case PTX_OP_mbarrier_inval:
    case PTX_OP_mbarrier_test:
    case PTX_OP_mbarrier_try:
    case PTX_OP_mbarrier_arrive:
    case PTX_OP_mbarrier_drop:
    case PTX_OP_mbarrier_expect:
    case PTX_OP_mbarrier_complete: return ptx_decode_memory(d, inst);
    case PTX_OP_policy_cvt:
    case PTX_OP_policy_range:
    case PTX_OP_policy_part: return decode_policy(d, inst);
    case PTX_OP_cp_bulk_prefetch:
    case PTX_OP_prefetch:
    case PTX_OP_prefetchu:
    case PTX_OP_discard:
    case PTX_OP_applypriority: return true; /* hints */
    case PTX_OP_bar_sync:
    case PTX_OP_bar_arrive:
    case PTX_OP_bar_red:
    case PTX_OP_barrier_sync:
    case PTX_OP_barrier_arrive:
    case PTX_OP_barrier_red: return decode_barrier(d, inst);
    default: return decode_plain(d, inst);
    }
}

static bool decode_all(struct ptx_decoder *d)
{
    struct ptx_func *func = d->func;

    d->starts = vgpu_arena_alloc(d->arena, func->inst_count + 1, sizeof(*d->starts));
    if (!d->starts)
        return ptx_decode_error(d, VGPU_PTX_NO_MEMORY, NULL);
    for (uint32_t k = 0; k < func->inst_count; k++) {
        d->inst = &func->insts[k];
        d->starts[k] = d->insn_count;
        d->temp_used = 0;
        if (d->fold_insts[k])
            continue;
        /* an unsupported combination is logged; go on, so that the log names all of them */
        if (!decode_one(d, d->inst) && d->status != VGPU_PTX_UNSUPPORTED)
            return false;
    }
    d->starts[func->inst_count] = d->insn_count;
    return d->status == VGPU_PTX_OK;
}

static void fix_targets(struct ptx_decoder *d)
{
    for (uint32_t k = 0; k < d->insn_count; k++) {
        struct ptx_insn *insn = &d->insns[k];

        if (insn->fn == d->engine->branch || insn->fn == d->engine->branch_if)
            insn->imm = (uint64_t)((int64_t)d->starts[insn->imm] - (int64_t)k);
    }
    for (uint32_t k = 0; k < d->callsite_count; k++) {
        struct ptx_callsite *site = &d->callsites[k];

        for (uint32_t t = 0; t < site->target_count; t++)
            site->targets[t] = &d->insns[d->starts[(uintptr_t)site->targets[t]]];
    }
}

/* When a constant register is filled: 0 with the frame's memory, 1 with each frame, 2 also with each block. */
static uint32_t init_stage(uint8_t sreg)
{
    if (sreg == PTX_SR_none || sreg == PTX_SR_param)
        return 0;
    return (sreg >= PTX_SR_ctaid_x && sreg <= PTX_SR_ctaid_z) ||
                   (sreg >= PTX_SR_clusterid_x && sreg <= PTX_SR_clusterid_z)
               ? 2
               : 1;
}

static bool code_finish(struct ptx_decoder *d)
{
    struct ptx_code *code = vgpu_arena_alloc(d->arena, 1, sizeof(*code));
    uint32_t at = 0;

    if (!code)
        return ptx_decode_error(d, VGPU_PTX_NO_MEMORY, NULL);
    code->func = d->func;
    code->insns = d->insns;
    code->insn_count = d->insn_count;
    code->lines = d->lines;
    code->callsites = d->callsites;
    code->callsite_count = d->callsite_count;
    code->reg_slots = d->slot_count;
    code->reg_bytes = d->slot_count * PTX_SLOT_BYTES;
    code->local_bytes = (d->func->local_bytes + 15) & ~15u;
    code->init_count = d->const_count;
    code->inits = vgpu_arena_alloc(d->arena, d->const_count + 1, sizeof(*code->inits));
    if (!code->inits)
        return ptx_decode_error(d, VGPU_PTX_NO_MEMORY, NULL);
    for (uint32_t stage = 0; stage < 3; stage++) {
        if (stage == 1)
            code->const_init_count = at;
        code->block_init_first = at;
        for (uint32_t k = 0; k < d->const_count; k++)
            if (init_stage(d->consts[k].sreg) == stage)
                code->inits[at++] = (struct ptx_slot_init){d->consts[k].offset, d->consts[k].wide,
                                                           d->consts[k].sreg, d->consts[k].bits};
    }
    d->func->code = code;
    return true;
}

enum vgpu_ptx_status ptx_decode(struct vgpu_arena *arena, const struct ptx_engine *engine,
                                struct ptx_func *func, const char *input, struct ptx_log *log)
{
    struct ptx_decoder d = {
        .arena = arena, .engine = engine, .func = func, .log = log, .input = input};

    if (!ptx_flow_order(arena, func) || !ptx_fold_find(&d))
        return VGPU_PTX_NO_MEMORY;
    d.reg_offset = vgpu_arena_alloc(arena, func->reg_count + 1, sizeof(*d.reg_offset));
    if (!d.reg_offset)
        return VGPU_PTX_NO_MEMORY;
    d.temp_base = PTX_FIRST_SLOT;
    if (!ptx_slots_assign(arena, func, d.fold_regs, PTX_FIRST_SLOT + 2 * PTX_TEMPS, d.reg_offset,
                          &d.slot_count) ||
        !ptx_fold_place(&d))
        return VGPU_PTX_NO_MEMORY;
    if (!decode_all(&d))
        return d.status;
    fix_targets(&d);
    if (!code_finish(&d))
        return d.status;
    return VGPU_PTX_OK;
}
