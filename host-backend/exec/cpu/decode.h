// SPDX-License-Identifier: MIT
/*
 * The decoder: one parsed function (ir.h) -> code that the engine runs (engine.h).
 *
 * Passes, in order: flow.c puts the basic blocks into an order in which joins come after branches and loops are
 * contiguous; fold.c finds registers that hold constants of the launch; slots.c gives registers their places,
 * sharing places between registers that never live at the same time; decode.c, decode_mem.c and decode_operand.c emit instructions. Constants, special registers and addresses become
 * registers of the frame; guards of control instructions become branches around them.
 */
#ifndef VGPU_EXEC_CPU_DECODE_H
#define VGPU_EXEC_CPU_DECODE_H

#include "engine.h"
#include "parse.h"

struct ptx_const {
    uint64_t bits;
    uint32_t offset;
    bool wide;
    uint8_t sreg;
};

struct ptx_decoder {
    struct vgpu_arena *arena;
    const struct ptx_engine *engine;
    struct ptx_func *func;
    struct ptx_log *log;
    const char *input;
    enum vgpu_ptx_status status;
    uint32_t *reg_offset; /* by register */
    uint32_t slot_count;
    uint32_t temp_base, temp_used; /* wide scratch slots of one instruction */
    struct ptx_insn *insns;
    uint32_t insn_count, insn_capacity;
    uint32_t *lines;
    uint32_t line_capacity;
    uint32_t *starts; /* by instruction: its first insn */
    struct ptx_const *consts;
    uint32_t const_count, const_capacity;
    uint32_t *const_hash; /* index + 1 */
    uint32_t const_hash_size;
    struct ptx_callsite *callsites;
    uint32_t callsite_count, callsite_capacity;
    const struct ptx_inst *inst;
    uint8_t *fold_regs, *fold_insts; /* fold.c: by register and by instruction, whether it is one */
};

#define PTX_TEMPS 8u

/* Parsed function in, func->code out. Logs and returns why not otherwise. */
enum vgpu_ptx_status ptx_decode(struct vgpu_arena *arena, const struct ptx_engine *engine,
                                struct ptx_func *func, const char *input, struct ptx_log *log);

/* flow.c: reorders func->insts; returns false when out of memory. */
__attribute__((warn_unused_result)) bool ptx_flow_order(struct vgpu_arena *arena,
                                                        struct ptx_func *func);

/* fold.c: before and after registers are placed; false: out of memory, of the second also d->status. */
__attribute__((warn_unused_result)) bool ptx_fold_find(struct ptx_decoder *d);
__attribute__((warn_unused_result)) bool ptx_fold_place(struct ptx_decoder *d);

/* slots.c: fills reg_offset[] for all registers but those to skip; false: out of memory. */
__attribute__((warn_unused_result)) bool
ptx_slots_assign(struct vgpu_arena *arena, const struct ptx_func *func, const uint8_t *skip,
                 uint32_t first_slot, uint32_t *reg_offset, uint32_t *slot_count);

/* Shared by the decoder's files. */
bool ptx_decode_error(struct ptx_decoder *d, enum vgpu_ptx_status status, const char *what);
__attribute__((warn_unused_result)) struct ptx_insn *ptx_emit(struct ptx_decoder *d, ptx_op_fn *fn);
uint32_t ptx_temp(struct ptx_decoder *d);
__attribute__((warn_unused_result)) bool
ptx_const_offset(struct ptx_decoder *d, uint64_t bits, bool wide, uint8_t sreg, uint32_t *offset);
/* The register offset of a source operand of `bytes` (0: predicate); may emit instructions that compute it. */
__attribute__((warn_unused_result)) bool ptx_source(struct ptx_decoder *d,
                                                    const struct ptx_operand *o, enum ptx_type type,
                                                    uint32_t *offset);
/* A scratch register = base register + constant. */
__attribute__((warn_unused_result)) bool ptx_add(struct ptx_decoder *d, uint32_t base,
                                                 uint64_t bits, bool wide, uint32_t *offset);
/* What cvta adds for the space that the modifiers name. */
uint64_t ptx_window_of(const struct ptx_mods *mods);
uint32_t ptx_dest(const struct ptx_decoder *d, const struct ptx_operand *o);
__attribute__((warn_unused_result)) bool ptx_decode_memory(struct ptx_decoder *d,
                                                           const struct ptx_inst *inst);
__attribute__((warn_unused_result)) bool ptx_decode_call(struct ptx_decoder *d,
                                                         const struct ptx_inst *inst);
struct ptx_func *ptx_func_target(struct ptx_func *func);
struct ptx_var *ptx_var_target(struct ptx_var *var);

#endif
