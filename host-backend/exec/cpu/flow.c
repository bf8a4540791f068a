// SPDX-License-Identifier: MIT
/*
 * Control flow: the first two passes of the decoder.
 *
 * 1. Guarded control and warp-wide instructions become a branch around the plain instruction.
 * 2. Blocks are put into a weak topological order (Bourdoncle): strongly connected parts stay together, each with its
 *    head first and ordered the same way inside, everything else comes after what leads to it. With it, the lowest
 *    program counter of a warp is always behind the others, and lanes meet again at the first join.
 *
 * The order is computed with explicit stacks; only the nesting of loops recurses, and beyond FLOW_DEPTH
 * levels the text's own order is kept.
 */
#include "flow.h"

#include "decode.h"

#include <string.h>

#define FLOW_DEPTH 32u
#define FLOW_NONE  UINT32_MAX

/* The list belongs to a .branchtargets, which several instructions may name: each gets its own copy. */
static bool flow_move_targets(struct vgpu_arena *arena, struct ptx_inst *inst,
                              const uint32_t *moved)
{
    struct ptx_call *call = vgpu_arena_alloc(arena, 1, sizeof(*call));
    uint32_t *targets = vgpu_arena_alloc(arena, inst->call->target_count, sizeof(*targets));

    if (!call || !targets)
        return false;
    *call = *inst->call;
    for (uint32_t t = 0; t < call->target_count; t++)
        targets[t] = moved[call->targets[t]];
    call->targets = targets;
    inst->call = call;
    return true;
}

static bool flow_retarget(struct vgpu_arena *arena, struct ptx_inst *insts, uint32_t count,
                          const uint32_t *moved)
{
    for (uint32_t k = 0; k < count; k++) {
        if (insts[k].op == PTX_OP_bra)
            insts[k].operands[0].id = moved[insts[k].operands[0].id];
        if (insts[k].op == PTX_OP_brx && !flow_move_targets(arena, &insts[k], moved))
            return false;
    }
    return true;
}

static bool is_lowered(const struct ptx_inst *inst)
{
    return inst->guard != PTX_NO_GUARD && inst->op != PTX_OP_bra &&
           (ptx_op_info(inst->op)->flags & (PTX_F_CONTROL | PTX_F_WARP));
}

static bool flow_branch(struct vgpu_arena *arena, struct ptx_inst *inst, uint32_t target,
                        uint32_t line)
{
    struct ptx_operand *label = vgpu_arena_alloc(arena, 1, sizeof(*label));

    if (!label)
        return false;
    label->kind = PTX_O_LABEL;
    label->id = target;
    memset(inst, 0, sizeof(*inst));
    inst->op = PTX_OP_bra;
    inst->line = line;
    inst->guard = PTX_NO_GUARD;
    inst->operands = label;
    inst->operand_count = 1;
    return true;
}

static bool flow_lower(struct vgpu_arena *arena, struct ptx_func *func)
{
    uint32_t extra = 0, at = 0, *moved;
    struct ptx_inst *insts;

    for (uint32_t k = 0; k < func->inst_count; k++)
        extra += is_lowered(&func->insts[k]);
    if (!extra)
        return true;
    insts = vgpu_arena_alloc(arena, (size_t)func->inst_count + extra, sizeof(*insts));
    moved = vgpu_arena_alloc(arena, (size_t)func->inst_count + 1, sizeof(*moved));
    if (!insts || !moved)
        return false;
    for (uint32_t k = 0; k < func->inst_count; k++) {
        struct ptx_inst *inst = &func->insts[k];

        moved[k] = at;
        if (is_lowered(inst)) {
            if (!flow_branch(arena, &insts[at], k + 1, inst->line))
                return false;
            insts[at].guard = inst->guard;
            insts[at].guard_negate = !inst->guard_negate;
            at++;
            insts[at] = *inst;
            insts[at++].guard = PTX_NO_GUARD;
        } else {
            insts[at++] = *inst;
        }
    }
    moved[func->inst_count] = at;
    func->insts = insts;
    func->inst_count = at;
    return flow_retarget(arena, insts, at, moved);
}

/* --- blocks --- */
bool ptx_inst_ends(const struct ptx_inst *inst)
{
    switch (inst->op) {
    case PTX_OP_bra: return inst->guard == PTX_NO_GUARD;
    case PTX_OP_brx:
    case PTX_OP_ret:
    case PTX_OP_exit:
    case PTX_OP_trap:
    case PTX_OP_brkpt: return true;
    default: return false;
    }
}

static bool add_succ(struct vgpu_arena *arena, struct ptx_blocks *blocks, uint32_t block)
{
    if (!vgpu_arena_grow(arena, (void **)&blocks->succs, &blocks->succ_capacity, blocks->succ_count,
                         sizeof(*blocks->succs)))
        return false;
    blocks->succs[blocks->succ_count++] = block;
    return true;
}

static bool block_succs(struct vgpu_arena *arena, const struct ptx_func *func,
                        struct ptx_blocks *blocks, uint32_t b)
{
    struct ptx_block *block = &blocks->items[b];
    const struct ptx_inst *last = &func->insts[block->end - 1];

    block->succ_first = blocks->succ_count;
    if (!ptx_inst_ends(last) && block->end < func->inst_count &&
        !add_succ(arena, blocks, blocks->of_inst[block->end]))
        return false;
    if (last->op == PTX_OP_bra && !add_succ(arena, blocks, blocks->of_inst[last->operands[0].id]))
        return false;
    if (last->op == PTX_OP_brx)
        for (uint32_t t = 0; t < last->call->target_count; t++)
            if (!add_succ(arena, blocks, blocks->of_inst[last->call->targets[t]]))
                return false;
    block->succ_count = blocks->succ_count - block->succ_first;
    return true;
}

bool ptx_blocks_build(struct vgpu_arena *arena, const struct ptx_func *func,
                      struct ptx_blocks *blocks)
{
    uint32_t n = func->inst_count;
    uint8_t *leader = vgpu_arena_alloc(arena, (size_t)n + 1, 1);

    memset(blocks, 0, sizeof(*blocks));
    blocks->of_inst = vgpu_arena_alloc(arena, (size_t)n + 1, sizeof(uint32_t));
    if (!leader || !blocks->of_inst)
        return false;
    leader[0] = 1;
    for (uint32_t k = 0; k < n; k++) {
        const struct ptx_inst *inst = &func->insts[k];

        if (inst->op == PTX_OP_bra)
            leader[inst->operands[0].id] = 1;
        if (inst->op == PTX_OP_brx)
            for (uint32_t t = 0; t < inst->call->target_count; t++)
                leader[inst->call->targets[t]] = 1;
        if (ptx_inst_ends(inst) || inst->op == PTX_OP_bra)
            leader[k + 1] = 1;
    }
    for (uint32_t k = 0; k < n; k++)
        blocks->count += leader[k];
    blocks->items = vgpu_arena_alloc(arena, blocks->count, sizeof(*blocks->items));
    if (!blocks->items)
        return false;
    for (uint32_t k = 0, b = 0; k < n; k++) {
        if (leader[k])
            blocks->items[b++].first = k;
        blocks->of_inst[k] = b - 1;
        blocks->items[b - 1].end = k + 1;
    }
    for (uint32_t b = 0; b < blocks->count; b++)
        if (!block_succs(arena, func, blocks, b))
            return false;
    return true;
}

/* --- the order --- */
struct orderer {
    struct ptx_blocks *blocks;
    uint32_t *order, ordered; /* the result, filled from the end */
    uint32_t *part;           /* which sub-graph a block belongs to */
    uint32_t parts;
    uint32_t *index, *low; /* Tarjan */
    uint32_t *stack, *path, *path_succ;
    uint8_t *on_stack;
};

static uint32_t order_visit(struct orderer *o, uint32_t part, uint32_t start, uint32_t *next_index,
                            uint32_t *stacked, uint32_t *components, uint32_t *sizes,
                            uint32_t count)
{
    uint32_t depth = 0;

    o->path[0] = start;
    o->path_succ[0] = 0;
    o->index[start] = o->low[start] = (*next_index)++;
    o->stack[(*stacked)++] = start;
    o->on_stack[start] = 1;
    for (;;) {
        uint32_t node = o->path[depth];
        const struct ptx_block *block = &o->blocks->items[node];

        if (o->path_succ[depth] < block->succ_count) {
            uint32_t succ = o->blocks->succs[block->succ_first + o->path_succ[depth]++];

            if (o->part[succ] != part)
                continue;
            if (o->index[succ] == FLOW_NONE) {
                o->index[succ] = o->low[succ] = (*next_index)++;
                o->stack[(*stacked)++] = succ;
                o->on_stack[succ] = 1;
                o->path[++depth] = succ;
                o->path_succ[depth] = 0;
            } else if (o->on_stack[succ] && o->index[succ] < o->low[node]) {
                o->low[node] = o->index[succ];
            }
            continue;
        }
        if (o->low[node] == o->index[node]) {
            uint32_t from = *stacked;

            while (o->stack[from - 1] != node)
                from--;
            from--;
            sizes[count++] = *stacked - from;
            for (uint32_t k = from; k < *stacked; k++) {
                o->on_stack[o->stack[k]] = 0;
                *components++ = o->stack[k]; /* the head comes first: it was pushed first */
            }
            *stacked = from;
        }
        if (!depth)
            return count;
        if (o->low[node] < o->low[o->path[depth - 1]])
            o->low[o->path[depth - 1]] = o->low[node];
        depth--;
    }
}

/*
 * Orders the blocks of `nodes` (one part), writing them to the end of the remaining places. Components come out
 * of Tarjan's algorithm last first, so the result is filled backwards.
 */
static bool order_part(struct orderer *o, struct vgpu_arena *arena, const uint32_t *nodes,
                       uint32_t count, uint32_t depth)
{
    uint32_t part = o->parts++, next_index = 0, stacked = 0, found = 0, at = 0;
    uint32_t *components = vgpu_arena_alloc(arena, count, sizeof(uint32_t));
    uint32_t *sizes = vgpu_arena_alloc(arena, count, sizeof(uint32_t));

    if (!components || !sizes)
        return false;
    for (uint32_t k = 0; k < count; k++) {
        o->part[nodes[k]] = part;
        o->index[nodes[k]] = FLOW_NONE;
    }
    for (uint32_t k = 0; k < count; k++) {
        uint32_t placed = next_index;

        if (o->index[nodes[k]] == FLOW_NONE)
            found = order_visit(o, part, nodes[k], &next_index, &stacked, components + placed,
                                sizes, found);
    }
    for (uint32_t c = 0; c < found; c++) {
        uint32_t size = sizes[c], *inside = components + at;

        at += size;
        if (size > 1 && depth < FLOW_DEPTH) {
            if (!order_part(o, arena, inside + 1, size - 1, depth + 1))
                return false;
        } else {
            for (uint32_t k = size; k-- > 1;)
                o->order[--o->ordered] = inside[k];
        }
        o->order[--o->ordered] = inside[0];
    }
    return true;
}

static bool flow_blocks_order(struct vgpu_arena *arena, struct ptx_blocks *blocks, uint32_t *order,
                              uint32_t *count)
{
    struct orderer o = {.blocks = blocks, .parts = 1};
    size_t n = blocks->count;
    uint32_t *reached = vgpu_arena_alloc(arena, n, sizeof(uint32_t)),
             *seen = vgpu_arena_alloc(arena, n, sizeof(uint32_t));
    uint32_t total = 0;

    o.order = order;
    o.part = vgpu_arena_alloc(arena, n, sizeof(uint32_t));
    o.index = vgpu_arena_alloc(arena, n, sizeof(uint32_t));
    o.low = vgpu_arena_alloc(arena, n, sizeof(uint32_t));
    o.stack = vgpu_arena_alloc(arena, n, sizeof(uint32_t));
    o.path = vgpu_arena_alloc(arena, n, sizeof(uint32_t));
    o.path_succ = vgpu_arena_alloc(arena, n, sizeof(uint32_t));
    o.on_stack = vgpu_arena_alloc(arena, n, 1);
    if (!reached || !seen || !o.part || !o.index || !o.low || !o.stack || !o.path || !o.path_succ ||
        !o.on_stack)
        return false;
    /* only blocks that can be reached */
    reached[total++] = 0;
    seen[0] = 1;
    for (uint32_t k = 0; k < total; k++) {
        const struct ptx_block *block = &blocks->items[reached[k]];

        for (uint32_t s = 0; s < block->succ_count; s++) {
            uint32_t succ = blocks->succs[block->succ_first + s];

            if (!seen[succ]) {
                seen[succ] = 1;
                reached[total++] = succ;
            }
        }
    }
    o.ordered = total;
    *count = total;
    return order_part(&o, arena, reached, total, 0);
}

/* Writes the blocks in their order; a block that fell through to one that no longer follows gets a branch. */
static bool flow_write(struct vgpu_arena *arena, struct ptx_func *func,
                       const struct ptx_blocks *blocks, const uint32_t *order, uint32_t count)
{
    struct ptx_inst *insts =
        vgpu_arena_alloc(arena, (size_t)func->inst_count + count + 1, sizeof(*insts));
    uint32_t *moved = vgpu_arena_alloc(arena, (size_t)func->inst_count + 1, sizeof(*moved));
    uint32_t at = 0;

    if (!insts || !moved)
        return false;
    for (uint32_t k = 0; k < count; k++) {
        const struct ptx_block *block = &blocks->items[order[k]];
        const struct ptx_inst *last = &func->insts[block->end - 1];
        uint32_t next = k + 1 < count ? blocks->items[order[k + 1]].first : FLOW_NONE;
        bool drops =
            last->op == PTX_OP_bra && last->guard == PTX_NO_GUARD && last->operands[0].id == next;

        for (uint32_t i = block->first; i < block->end; i++) {
            moved[i] = at;
            if (!(drops && i == block->end - 1))
                insts[at++] = func->insts[i];
        }
        if (!ptx_inst_ends(last) && block->end != next &&
            !flow_branch(arena, &insts[at++], block->end, last->line))
            return false;
    }
    func->insts = insts;
    func->inst_count = at;
    return flow_retarget(arena, insts, at, moved);
}

bool ptx_flow_order(struct vgpu_arena *arena, struct ptx_func *func)
{
    struct ptx_blocks blocks;
    uint32_t *order, count;

    if (!flow_lower(arena, func) || !ptx_blocks_build(arena, func, &blocks))
        return false;
    order = vgpu_arena_alloc(arena, blocks.count, sizeof(*order));
    return order && flow_blocks_order(arena, &blocks, order, &count) &&
           flow_write(arena, func, &blocks, order, count);
}
