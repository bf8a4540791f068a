// SPDX-License-Identifier: MIT
/*
 * Control flow and barriers of a block: bra, brx, call, ret, exit, trap, bar, nanosleep; device printf and assert.
 *
 * Every backward branch, call and exit costs a tick, and so do so many instructions in a row (PTX_TICK_SHIFT); when a
 * warp's ticks are used up it stops for a moment (sched.c) and the launch's deadline, budget and cancel flag are looked
 * at. Ticks outlast waiting at barriers and the block itself. So any endless execution is noticed, also one of warps
 * that only ever wait for each other, or of very many blocks.
 */
#include "ops.h"

#include <stdio.h>

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

ptx_op_fn PTX_V(op_branch), PTX_V(op_branch_if), PTX_V(op_vprintf), PTX_V(op_assertfail),
    PTX_V(op_call_indirect), PTX_V(op_special);

/* imm: the target as a distance in instructions. */
static inline ptx_next_insn target_of(const struct ptx_insn *i)
{
    return i + (int64_t)i->imm;
}

static inline ptx_next_insn jump(struct ptx_warp *w, const struct ptx_insn *i, ptx_next_insn to)
{
    if (to <= i && (w->ticks -= 1 + (int32_t)((i - to) >> PTX_TICK_SHIFT)) <= 0) {
        warp_park(w, w->mask, to);
        return PTX_PARKED;
    }
    return to;
}

ptx_next_insn PTX_V(op_branch)(struct ptx_warp *w, const struct ptx_insn *i)
{
    return jump(w, i, target_of(i));
}

ptx_next_insn PTX_V(op_branch_if)(struct ptx_warp *w, const struct ptx_insn *i)
{
    uint32_t mask = w->mask, taken = pred_mask(w, i->guard);

    taken = (i->guard_negate ? ~taken : taken) & mask;
    w->cta->counts.branches++;
    if (taken == mask)
        return jump(w, i, target_of(i));
    if (!taken)
        return i + 1;
    w->cta->counts.divergent++;
    if (target_of(i) <= i)
        w->ticks--;
    warp_park(w, taken, target_of(i));
    warp_park(w, mask & ~taken, i + 1);
    return PTX_PARKED;
}

static ptx_next_insn trap(struct ptx_warp *w, const struct ptx_insn *i)
{
    return ptx_fault(w, i, VGPU_PTX_FAULT_TRAP, (uint32_t)__builtin_ctz(w->mask), 0, 0, NULL);
}
SELECTOR(trap)
{
    return trap;
}
SELECTOR(brkpt)
{
    return trap;
}

/* brx.idx: an index beyond the table is undefined; here it is a fault. */
static ptx_next_insn brx(struct ptx_warp *w, const struct ptx_insn *i)
{
    const struct ptx_callsite *site = &w->frame->code->callsites[i->e];
    const uint32_t *a = REG(uint32_t, i->a);
    bool backward = false;

    ptx_warp_spread(w);
    ACTIVE(w->mask)
    {
        if (a[l] >= site->target_count)
            return ptx_fault(w, i, VGPU_PTX_FAULT_INSTRUCTION, l, 0, 0,
                             "brx.idx with an index beyond its table");
        w->pc[l] = site->targets[a[l]];
        backward |= w->pc[l] <= i;
    }
    if (backward)
        w->ticks--;
    return PTX_PARKED;
}
SELECTOR(brx)
{
    return brx;
}

/* --- calls --- */
static void copy_granules(struct ptx_warp *w, uint32_t to, uint32_t from, uint32_t bytes)
{
    for (uint32_t at = 0; at < bytes; at += 8) {
        uint64_t *d = (uint64_t *)(void *)ptx_local_at(w, 0, to + at);
        const uint64_t *s = (const uint64_t *)(const void *)ptx_local_at(w, 0, from + at);

        LANES d[l] = w->vm64[l] ? s[l] : d[l];
    }
}

static void pass_argument(struct ptx_warp *w, const struct ptx_arg *arg, uint32_t to,
                          uint32_t from_frame)
{
    if (arg->kind == PTX_O_VAR) {
        copy_granules(w, to, from_frame + arg->offset, arg->bytes);
        return;
    }
    ACTIVE(w->mask)
    {
        uint64_t value = arg->wide ? REG(uint64_t, arg->offset)[l] : REG(uint32_t, arg->offset)[l];

        memcpy(ptx_local_at(w, l, to), &value, arg->bytes);
    }
}

static void take_result(struct ptx_warp *w, const struct ptx_arg *ret, uint32_t from,
                        uint32_t to_frame)
{
    if (ret->kind == PTX_O_VAR) {
        copy_granules(w, to_frame + ret->offset, from, ret->bytes);
        return;
    }
    if (ret->kind != PTX_O_REG)
        return;
    ACTIVE(w->mask)
    {
        uint64_t value = 0;

        memcpy(&value, ptx_local_at(w, l, from), ret->bytes);
        if (ret->wide)
            REG(uint64_t, ret->offset)[l] = value;
        else
            REG(uint32_t, ret->offset)[l] = (uint32_t)value;
    }
}

/* The running group goes on in another frame. */
static void group_move(struct ptx_warp *w, const struct ptx_insn *at, struct ptx_frame *frame)
{
    if (w->mask == w->live) {
        ptx_warp_gather(w, at, frame);
        return;
    }
    ptx_warp_spread(w);
    ACTIVE(w->mask)
    {
        w->frames[l] = frame;
        w->pc[l] = at;
    }
}

static ptx_next_insn enter(struct ptx_warp *w, const struct ptx_insn *i,
                           const struct ptx_callsite *site, const struct ptx_code *code)
{
    struct ptx_frame *caller = w->frame, *frame;
    uint32_t offset = caller->local_offset + caller->code->local_bytes;

    if (caller->depth >= PTX_MAX_CALL_DEPTH || !ptx_local_reserve(w, offset + code->local_bytes))
        return ptx_fault(w, i, VGPU_PTX_FAULT_STACK, (uint32_t)__builtin_ctz(w->mask), 0, 0, NULL);
    frame = ptx_frame_get(w, code, caller, offset);
    if (!frame)
        return ptx_fault(w, i, VGPU_PTX_FAULT_STACK, (uint32_t)__builtin_ctz(w->mask), 0, 0,
                         "no memory for another frame");
    frame->call = i;
    frame->mask = w->mask;
    for (uint32_t k = 0; k < site->arg_count; k++)
        pass_argument(w, &site->args[k], offset + (uint32_t)code->func->params[k]->address,
                      caller->local_offset);
    group_move(w, code->insns, frame);
    w->ticks--;
    return PTX_PARKED;
}

static bool signature_fits(const struct ptx_callsite *site, const struct ptx_func *func)
{
    if (site->arg_count != func->param_count || site->ret_count != func->ret_count)
        return false;
    for (uint32_t k = 0; k < site->arg_count; k++)
        if (site->args[k].bytes != func->params[k]->bytes)
            return false;
    for (uint32_t k = 0; k < site->ret_count; k++)
        if (site->rets[k].bytes != func->rets[k]->bytes)
            return false;
    return true;
}

static ptx_next_insn call(struct ptx_warp *w, const struct ptx_insn *i)
{
    const struct ptx_callsite *site = &w->frame->code->callsites[i->e];

    return enter(w, i, site, site->func->code);
}
SELECTOR(call)
{
    return call;
}

/* Lanes may want different functions: the first lane's goes now, the others come back to this instruction. */
ptx_next_insn PTX_V(op_call_indirect)(struct ptx_warp *w, const struct ptx_insn *i)
{
    const struct ptx_callsite *site = &w->frame->code->callsites[i->e];
    uint32_t mask = w->mask, first = (uint32_t)__builtin_ctz(mask), same = 0;
    const uint64_t *a = REG(uint64_t, i->a);
    uint64_t address = a[first];
    const struct ptx_code *code = ptx_func_at(w, address);

    if (!code)
        return ptx_fault(w, i, VGPU_PTX_FAULT_ILLEGAL_ADDRESS, first, address, 0, "indirect call");
    if (!signature_fits(site, code->func))
        return ptx_fault(w, i, VGPU_PTX_FAULT_INSTRUCTION, first, address, 0,
                         "an indirect call through a prototype that does not fit the function");
    ACTIVE(mask) same |= (uint32_t)(a[l] == address) << l;
    if (same != mask) {
        warp_park(w, mask & ~same, i);
        warp_set_mask(w, same);
    }
    return enter(w, i, site, code);
}

static ptx_next_insn ret(struct ptx_warp *w, const struct ptx_insn *i)
{
    struct ptx_frame *frame = w->frame, *caller = frame->parent;
    const struct ptx_callsite *site;
    const struct ptx_func *func = frame->code->func;

    if (!caller) {
        ptx_lanes_exit(w, w->mask);
        return PTX_PARKED;
    }
    site = &caller->code->callsites[frame->call->e];
    w->regs = caller->regs;
    for (uint32_t k = 0; k < site->ret_count; k++)
        take_result(w, &site->rets[k], frame->local_offset + (uint32_t)func->rets[k]->address,
                    caller->local_offset);
    group_move(w, frame->call + 1, caller);
    frame->mask &= ~w->mask;
    if (!frame->mask)
        ptx_frame_put(w, frame);
    return PTX_PARKED;
}
SELECTOR(ret)
{
    return ret;
}

static ptx_next_insn op_exit(struct ptx_warp *w, const struct ptx_insn *i)
{
    ptx_lanes_exit(w, w->mask);
    return PTX_PARKED;
}
SELECTOR(exit)
{
    return op_exit;
}

static ptx_next_insn op_nanosleep(struct ptx_warp *w, const struct ptx_insn *i)
{
    w->ticks = 0; /* let others run: that is what sleeping is for */
    warp_park(w, w->mask, i + 1);
    return PTX_PARKED;
}
SELECTOR(nanosleep)
{
    return op_nanosleep;
}

static ptx_next_insn griddepcontrol(struct ptx_warp *w, const struct ptx_insn *i)
{
    return i + 1; /* launches of a machine run one after another: whatever it waits for is done */
}
SELECTOR(griddepcontrol)
{
    return griddepcontrol;
}

/*
 * --- barriers of the block: id a, thread count b (0: all), bar.red: predicate c, result d ---
 *
 * Threads are counted one by one, but a warp that has arrived with all its live lanes counts as 32, as the
 * hardware counts warps: so partial last warps and exited lanes do not hold up a barrier with a count.
 */
enum { BAR_SYNC, BAR_ARRIVE, BAR_RED };

static ptx_next_insn barrier(struct ptx_warp *w, const struct ptx_insn *i, uint32_t kind)
{
    uint32_t first = (uint32_t)__builtin_ctz(w->mask), id = REG(uint32_t, i->a)[first];
    uint32_t count = i->flags & 1 ? REG(uint32_t, i->b)[first] : 0, here;
    struct ptx_cta *cta = w->cta;
    struct ptx_barrier *bar;

    if (id >= PTX_BARRIERS)
        return ptx_fault(w, i, VGPU_PTX_FAULT_INSTRUCTION, first, 0, 0,
                         "a barrier number above 15");
    if ((i->flags & 1) && (!count || count % PTX_LANES))
        return ptx_fault(w, i, VGPU_PTX_FAULT_INSTRUCTION, first, 0, 0,
                         "a barrier's thread count is not a multiple of 32");
    bar = &cta->barriers[id];
    if (!bar->is_open) {
        *bar = (struct ptx_barrier){.is_open = true, .all = true, .expected = count};
        cta->open_barriers |= 1u << id;
    }
    cta->counts.barriers++;
    if (kind == BAR_RED) {
        uint32_t set = pred_mask(w, i->c) & w->mask;

        bar->all &= set == w->mask;
        bar->any |= set != 0;
        bar->count += (uint32_t)__builtin_popcount(set);
    }
    if (kind != BAR_ARRIVE) {
        w->blocked |= w->mask;
        bar->waiting += (uint32_t)__builtin_popcount(w->mask);
        if (w->mask == PTX_FULL)
            memset(w->barrier, (int)id, sizeof(w->barrier));
        else
            ACTIVE(w->mask) w->barrier[l] = (uint8_t)id;
        warp_park(w, w->mask, i);
    } else {
        warp_park(w, w->mask, i + 1);
    }
    here = w->mask;
    if (here != w->live)
        ACTIVE(w->blocked) here |= (uint32_t)(w->barrier[l] == id) << l;
    bar->arrived += (uint32_t)__builtin_popcount(w->mask);
    if (here == w->live)
        bar->arrived += PTX_LANES - (uint32_t)__builtin_popcount(w->live);
    ptx_barrier_release(cta, id);
    return PTX_PARKED;
}

static ptx_next_insn bar_sync(struct ptx_warp *w, const struct ptx_insn *i)
{
    return barrier(w, i, BAR_SYNC);
}
static ptx_next_insn bar_arrive(struct ptx_warp *w, const struct ptx_insn *i)
{
    return barrier(w, i, BAR_ARRIVE);
}
static ptx_next_insn bar_red(struct ptx_warp *w, const struct ptx_insn *i)
{
    return barrier(w, i, BAR_RED);
}
SELECTOR(bar_sync)
{
    return bar_sync;
}
SELECTOR(barrier_sync)
{
    return bar_sync;
}
SELECTOR(bar_arrive)
{
    return bar_arrive;
}
SELECTOR(barrier_arrive)
{
    return bar_arrive;
}
SELECTOR(bar_red)
{
    return HAS(popc_) != (T0 == PTX_T_u32) ? NULL : bar_red;
}
SELECTOR(barrier_red)
{
    return HAS(popc_) != (T0 == PTX_T_u32) ? NULL : bar_red;
}

/* --- calls into the machine: imm = frame offsets of the arguments' .param variables, in callsite e --- */
static uint64_t call_argument(struct ptx_warp *w, const struct ptx_callsite *site, uint32_t k,
                              uint32_t l)
{
    const struct ptx_arg *arg = &site->args[k];
    uint64_t value = 0;

    if (arg->kind == PTX_O_VAR)
        memcpy(&value, ptx_local_at(w, l, w->frame->local_offset + arg->offset),
               arg->bytes < 8 ? arg->bytes : 8);
    else
        value = arg->wide ? REG(uint64_t, arg->offset)[l] : REG(uint32_t, arg->offset)[l];
    return value;
}

/* Thousands of instructions' worth: some in a row use a turn up. */
ptx_next_insn PTX_V(op_vprintf)(struct ptx_warp *w, const struct ptx_insn *i)
{
    const struct ptx_callsite *site = &w->frame->code->callsites[i->e];

    ACTIVE(w->mask)
    {
        uint64_t format = call_argument(w, site, 0, l), args = call_argument(w, site, 1, l);
        uint32_t result = (uint32_t)ptx_print(w, i, l, format, args);

        if (w->cta->faulted)
            return PTX_PARKED;
        if (site->ret_count) {
            const struct ptx_arg *to = &site->rets[0];

            if (to->kind == PTX_O_VAR)
                memcpy(ptx_local_at(w, l, w->frame->local_offset + to->offset), &result, 4);
            else if (!to->wide)
                REG(uint32_t, to->offset)[l] = result;
        }
    }
    w->ticks -= PTX_QUANTUM / 8;
    if (w->ticks > 0)
        return i + 1;
    warp_park(w, w->mask, i + 1);
    return PTX_PARKED;
}

ptx_next_insn PTX_V(op_assertfail)(struct ptx_warp *w, const struct ptx_insn *i)
{
    const struct ptx_callsite *site = &w->frame->code->callsites[i->e];
    uint32_t l = (uint32_t)__builtin_ctz(w->mask);
    char text[200], *at = text;
    const uint32_t parts[4] = {1, 2, 3, 0}; /* file, line, function, message */

    for (uint32_t k = 0; k < 4; k++) {
        uint64_t value = call_argument(w, site, parts[k], l);

        if (parts[k] == 2) {
            at += snprintf(at, 16, ":%u: ", (uint32_t)value);
            continue;
        }
        for (uint32_t n = 0; n < 55; n++) {
            const uint8_t *c = ptx_generic(w, l, value + n, 1, false);

            if (!c || !*c)
                break;
            *at++ = *c >= 32 && *c < 127 ? (char)*c : '?';
        }
        if (parts[k] == 3) {
            *at++ = ':';
            *at++ = ' ';
        }
    }
    *at = '\0';
    return ptx_fault(w, i, VGPU_PTX_FAULT_ASSERT, l, 0, 0, text);
}

ptx_next_insn PTX_V(op_special)(struct ptx_warp *w, const struct ptx_insn *i)
{
    ACTIVE(w->mask)
    {
        uint64_t value = ptx_special_read(w, l, (enum ptx_sreg)i->e);

        if (i->bytes == 8)
            REG(uint64_t, i->d)[l] = value;
        else
            REG(uint32_t, i->d)[l] = (uint32_t)value;
    }
    return i + 1;
}
