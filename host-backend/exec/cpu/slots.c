// SPDX-License-Identifier: MIT
/*
 * Register placement: which 128-byte slots of a frame hold which registers.
 *
 * Registers that never live at the same time share slots, by linear scan over intervals of instruction positions:
 * a warp's working set then fits the cache. An interval is the hull of all places where the register is written,
 * read or live, so sharing is right whatever way the lanes of a warp take, since each lane has
 * its own 4 or 8 bytes and inactive lanes are never written. That holds among registers of one width only (the 4
 * bytes of one lane lie in the 8 bytes of another, which may be elsewhere in the program), so a slot is never used for
 * both widths.
 *
 * Registers seen in one block only need no data flow; for the others, liveness is computed on bit sets. A
 * function for which that would take too much memory or time gets whole-function intervals for those registers.
 * A register's last use and another's first definition in the same instruction do not share: operations on
 * different widths would overwrite lanes that they still have to read.
 */
#include "decode.h"
#include "flow.h"

#include <string.h>

#define SLOTS_MAX_WORDS (1u << 24)   /* of bit sets: 128 MiB */
#define SLOTS_MAX_STEPS (1ull << 28) /* words visited by the data flow */
#define NONE            UINT32_MAX

struct interval {
    uint32_t start, end; /* instruction positions, inclusive; start NONE: never used */
    uint32_t block;      /* the only block, or NONE after a second one */
    uint32_t global;     /* index among registers of several blocks, or NONE */
    bool reads_first;    /* its first appearance in its block is a read */
};

struct slots {
    struct vgpu_arena *arena;
    const struct ptx_func *func;
    struct ptx_blocks blocks;
    struct interval *regs;
    uint32_t *global_regs, global_count;
    uint64_t *live_in, *uses, *kills;
    uint32_t words;
    uint32_t position, block;
    const uint8_t *skip; /* by register */
    ptx_visit_fn *visit;
};

static void visit_operand(ptx_visit_fn *visit, void *user, const struct ptx_operand *o, bool is_def,
                          bool is_partial)
{
    if (o->kind == PTX_O_REG)
        visit(user, o->id, is_def, is_partial);
    else if (o->kind == PTX_O_VEC)
        for (uint32_t k = 0; k < o->count; k++)
            visit_operand(visit, user, &o->vec[k], is_def, is_partial);
    else if (o->kind == PTX_O_MEM && o->vec[0].kind == PTX_O_REG)
        visit(user, o->vec[0].id, false, false);
}

/* How many leading operands are destinations. */
static uint32_t dest_count(const struct ptx_inst *inst)
{
    switch (inst->op) {
    case PTX_OP_mov:
    case PTX_OP_vote_sync:
    case PTX_OP_vote_old:
    case PTX_OP_match:
    case PTX_OP_elect:
    case PTX_OP_bar_red:
    case PTX_OP_barrier_red:
    case PTX_OP_mbarrier_test:
    case PTX_OP_mbarrier_try: return 1;
    default:
        return inst->operand_count && strchr("dDwyzPQRYV", ptx_op_info(inst->op)->signature[0]) ? 1
                                                                                                : 0;
    }
}

/* Reads before writes, so that `add a, a, b` counts as a read of a. */
void ptx_inst_visit(const struct ptx_inst *inst, ptx_visit_fn *visit, void *user)
{
    uint32_t dests = inst->op == PTX_OP_bra || inst->op == PTX_OP_brx || inst->op == PTX_OP_call
                         ? 0
                         : dest_count(inst);
    bool partial = inst->guard != PTX_NO_GUARD;

    if (partial)
        visit(user, inst->guard, false, false);
    for (uint32_t k = dests; k < inst->operand_count; k++)
        visit_operand(visit, user, &inst->operands[k], false, false);
    if (inst->op == PTX_OP_call) {
        for (uint32_t k = 0; k < inst->call->arg_count; k++)
            visit_operand(visit, user, &inst->call->args[k], false, false);
        if (inst->call->target)
            visit_operand(visit, user, inst->call->target, false, false);
        for (uint32_t k = 0; k < inst->call->ret_count; k++)
            visit_operand(visit, user, &inst->call->rets[k], true, partial);
    }
    for (uint32_t k = 0; k < dests; k++)
        visit_operand(visit, user, &inst->operands[k], true, partial);
}

static void visit_block(struct slots *s, uint32_t block)
{
    s->block = block;
    for (s->position = s->blocks.items[block].first; s->position < s->blocks.items[block].end;
         s->position++)
        ptx_inst_visit(&s->func->insts[s->position], s->visit, s);
}

static void note_place(void *user, uint32_t reg, bool is_def, bool is_partial)
{
    struct slots *s = user;
    struct interval *r = &s->regs[reg];

    if (s->skip[reg])
        return;
    if (r->start == NONE) {
        r->start = s->position;
        r->block = s->block;
        r->reads_first = !is_def || is_partial;
    } else if (r->block != s->block) {
        r->block = NONE;
    }
    r->end = s->position;
}

static void note_sets(void *user, uint32_t reg, bool is_def, bool is_partial)
{
    struct slots *s = user;
    uint32_t g = s->regs[reg].global;
    uint64_t *uses = s->uses + (size_t)s->block * s->words,
             *kills = s->kills + (size_t)s->block * s->words;

    if (g == NONE)
        return;
    if (is_def && !is_partial)
        kills[g / 64] |= 1ull << (g % 64);
    else if (!(kills[g / 64] >> (g % 64) & 1))
        uses[g / 64] |= 1ull << (g % 64);
}

static void extend(struct interval *r, uint32_t first, uint32_t last)
{
    if (first < r->start)
        r->start = first;
    if (last > r->end)
        r->end = last;
}

/* live_in = uses | (live_out & ~kills), to a fixed point; false: too much work */
static bool solve(struct slots *s)
{
    uint64_t steps = 0;
    bool changed = true;

    while (changed) {
        changed = false;
        for (uint32_t b = s->blocks.count; b-- > 0;) {
            const struct ptx_block *block = &s->blocks.items[b];
            uint64_t *in = s->live_in + (size_t)b * s->words;
            const uint64_t *uses = s->uses + (size_t)b * s->words,
                           *kills = s->kills + (size_t)b * s->words;

            steps += (uint64_t)s->words * (block->succ_count + 1);
            if (steps > SLOTS_MAX_STEPS)
                return false;
            for (uint32_t w = 0; w < s->words; w++) {
                uint64_t out = 0, now;

                for (uint32_t k = 0; k < block->succ_count; k++)
                    out |=
                        s->live_in[(size_t)s->blocks.succs[block->succ_first + k] * s->words + w];
                now = uses[w] | (out & ~kills[w]);
                changed |= now != in[w];
                in[w] = now;
            }
        }
    }
    return true;
}

static void apply_live(struct slots *s)
{
    for (uint32_t b = 0; b < s->blocks.count; b++) {
        const struct ptx_block *block = &s->blocks.items[b];

        for (uint32_t w = 0; w < s->words; w++) {
            uint64_t in = s->live_in[(size_t)b * s->words + w], out = 0;

            for (uint32_t k = 0; k < block->succ_count; k++)
                out |= s->live_in[(size_t)s->blocks.succs[block->succ_first + k] * s->words + w];
            for (uint64_t rest = in | out; rest; rest &= rest - 1) {
                uint32_t bit = (uint32_t)__builtin_ctzll(rest);
                struct interval *r = &s->regs[s->global_regs[w * 64 + bit]];

                if (in >> bit & 1)
                    extend(r, block->first, block->first);
                if (out >> bit & 1)
                    extend(r, block->end - 1, block->end - 1);
            }
        }
    }
}

static bool live_globals(struct slots *s)
{
    uint64_t words;

    s->words = (s->global_count + 63) / 64;
    words = (uint64_t)s->words * s->blocks.count * 3;
    if (words <= SLOTS_MAX_WORDS) {
        s->live_in = vgpu_arena_alloc(s->arena, (size_t)s->words * s->blocks.count + 1, 8);
        s->uses = vgpu_arena_alloc(s->arena, (size_t)s->words * s->blocks.count + 1, 8);
        s->kills = vgpu_arena_alloc(s->arena, (size_t)s->words * s->blocks.count + 1, 8);
        if (!s->live_in || !s->uses || !s->kills)
            return false;
        s->visit = note_sets;
        for (uint32_t b = 0; b < s->blocks.count; b++)
            visit_block(s, b);
        if (solve(s)) {
            apply_live(s);
            return true;
        }
    }
    for (uint32_t k = 0; k < s->global_count; k++)
        extend(&s->regs[s->global_regs[k]], 0, s->func->inst_count - 1);
    return true;
}

/* --- linear scan --- */
struct scan {
    uint32_t *starting, *ending; /* by position: first register, chained by next_* */
    uint32_t *next_start, *next_end;
    uint32_t *free_slots[2], free_count[2]; /* single slots, pairs */
    uint32_t top;
};

static uint32_t take_slot(struct scan *scan, bool wide)
{
    uint32_t slot;

    if (scan->free_count[wide])
        return scan->free_slots[wide][--scan->free_count[wide]];
    slot = scan->top;
    scan->top += wide ? 2 : 1;
    return slot;
}

static bool assign(struct slots *s, uint32_t first_slot, uint32_t *reg_offset, uint32_t *slot_count)
{
    uint32_t n = s->func->inst_count, count = s->func->reg_count;
    struct scan scan = {.top = first_slot};

    scan.starting = vgpu_arena_alloc(s->arena, (size_t)n + 1, sizeof(uint32_t));
    scan.ending = vgpu_arena_alloc(s->arena, (size_t)n + 1, sizeof(uint32_t));
    scan.next_start = vgpu_arena_alloc(s->arena, (size_t)count + 1, sizeof(uint32_t));
    scan.next_end = vgpu_arena_alloc(s->arena, (size_t)count + 1, sizeof(uint32_t));
    for (uint32_t k = 0; k < 2; k++) {
        scan.free_slots[k] = vgpu_arena_alloc(s->arena, (size_t)count * 2 + 2, sizeof(uint32_t));
        if (!scan.free_slots[k])
            return false;
    }
    if (!scan.starting || !scan.ending || !scan.next_start || !scan.next_end)
        return false;
    for (uint32_t reg = 0; reg < count; reg++) {
        const struct interval *r = &s->regs[reg];

        reg_offset[reg] = PTX_SINK_OFFSET;
        if (r->start == NONE)
            continue;
        scan.next_start[reg] = scan.starting[r->start];
        scan.starting[r->start] = reg + 1;
        scan.next_end[reg] = scan.ending[r->end];
        scan.ending[r->end] = reg + 1;
    }
    for (uint32_t at = 0; at < n; at++) {
        for (uint32_t reg = scan.starting[at]; reg; reg = scan.next_start[reg - 1])
            reg_offset[reg - 1] =
                take_slot(&scan, ptx_type_bytes(s->func->regs[reg - 1].type) == 8) * PTX_SLOT_BYTES;
        for (uint32_t reg = scan.ending[at]; reg; reg = scan.next_end[reg - 1]) {
            bool wide = ptx_type_bytes(s->func->regs[reg - 1].type) == 8;

            scan.free_slots[wide][scan.free_count[wide]++] = reg_offset[reg - 1] / PTX_SLOT_BYTES;
        }
    }
    *slot_count = scan.top;
    return true;
}

bool ptx_slots_assign(struct vgpu_arena *arena, const struct ptx_func *func, const uint8_t *skip,
                      uint32_t first_slot, uint32_t *reg_offset, uint32_t *slot_count)
{
    struct slots s = {.arena = arena, .func = func, .skip = skip, .visit = note_place};

    if (!ptx_blocks_build(arena, func, &s.blocks))
        return false;
    s.regs = vgpu_arena_alloc(arena, (size_t)func->reg_count + 1, sizeof(*s.regs));
    s.global_regs = vgpu_arena_alloc(arena, (size_t)func->reg_count + 1, sizeof(uint32_t));
    if (!s.regs || !s.global_regs)
        return false;
    for (uint32_t k = 0; k < func->reg_count; k++)
        s.regs[k] = (struct interval){.start = NONE, .global = NONE};
    for (uint32_t b = 0; b < s.blocks.count; b++)
        visit_block(&s, b);
    for (uint32_t k = 0; k < func->reg_count; k++) {
        /* one block, but read there before it is written: live around a loop */
        if (s.regs[k].start != NONE && (s.regs[k].block == NONE || s.regs[k].reads_first)) {
            s.regs[k].global = s.global_count;
            s.global_regs[s.global_count++] = k;
        }
    }
    return live_globals(&s) && assign(&s, first_slot, reg_offset, slot_count);
}
