// SPDX-License-Identifier: MIT
/*
 * Basic blocks of a function, shared by the passes that order them (flow.c) and that place registers (slots.c).
 */
#ifndef VGPU_EXEC_CPU_FLOW_H
#define VGPU_EXEC_CPU_FLOW_H

#include "ir.h"

struct ptx_block {
    uint32_t first, end;             /* instructions [first, end) */
    uint32_t succ_first, succ_count; /* in ptx_blocks.succs */
};

struct ptx_blocks {
    struct ptx_block *items;
    uint32_t count;
    uint32_t *of_inst; /* block of each instruction */
    uint32_t *succs;
    uint32_t succ_count, succ_capacity;
};

__attribute__((warn_unused_result)) bool
ptx_blocks_build(struct vgpu_arena *arena, const struct ptx_func *func, struct ptx_blocks *blocks);

/* Calls `visit` for every register that the instruction reads, then for those it writes (slots.c). */
typedef void ptx_visit_fn(void *user, uint32_t reg, bool is_def, bool is_partial);
void ptx_inst_visit(const struct ptx_inst *inst, ptx_visit_fn *visit, void *user);

/* True if the instruction never goes on to the next one. */
bool ptx_inst_ends(const struct ptx_inst *inst);

#endif
