// SPDX-License-Identifier: MIT
/*
 * cp.async and mbarrier (PTX ISA "Data Movement: Asynchronous Copy" and "Parallel Synchronization: mbarrier").
 *
 * Copies are done when they are issued, so groups are always complete. An mbarrier is a 64-bit object in shared
 * memory whose layout is ours: pending arrivals in bits 0..19, expected arrivals in 20..39, the transaction
 * count in 40..61 (two's complement), the phase in 63. A phase completes when pending and transactions are zero.
 * The state that arrive returns is the object before the arrival.
 */
#include "ops.h"

#define SELECTOR(id)                                                                               \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in);                                      \
    ptx_op_fn *PTX_V(select_##id)(const struct ptx_inst *in)

#define COUNT_MAX ((1u << 20) - 1)

/* count = 1: shared-space addresses, else generic */
static uint8_t *async_host(struct ptx_warp *w, const struct ptx_insn *i, uint32_t l, uint64_t va,
                           uint32_t bytes, bool is_shared, bool is_store)
{
    uint8_t *host;

    if (va & (bytes - 1)) {
        ptx_fault(w, i, VGPU_PTX_FAULT_MISALIGNED, l, va, bytes, NULL);
        return NULL;
    }
    if (is_shared)
        host = va < w->cta->shared_bytes && bytes <= w->cta->shared_bytes - va ? w->cta->shared + va
                                                                               : NULL;
    else
        host = ptx_generic(w, l, va, bytes, is_store);
    if (!host)
        ptx_fault(w, i, VGPU_PTX_FAULT_ILLEGAL_ADDRESS, l, va, bytes, is_store ? "store" : "load");
    return host;
}

static inline uint64_t address_of(const struct ptx_warp *w, const struct ptx_insn *i, uint32_t l)
{
    return i->flags & PTX_I_ADDR64 ? REG(uint64_t, i->a)[l] + i->imm
                                   : (uint32_t)(REG(uint32_t, i->a)[l] + (uint32_t)i->imm);
}

static const uint8_t *copied_from(struct ptx_warp *w, const struct ptx_insn *i, uint32_t l,
                                  uint64_t va, uint32_t bytes)
{
    const uint8_t *host = ptx_generic(w, l, va, bytes, false);

    if (va & (i->bytes - 1u)) {
        ptx_fault(w, i, VGPU_PTX_FAULT_MISALIGNED, l, va, i->bytes, NULL);
        return NULL;
    }
    if (!host)
        ptx_fault(w, i, VGPU_PTX_FAULT_ILLEGAL_ADDRESS, l, va, bytes, "load");
    return host;
}

/* a: destination (shared), b: source (global), c: bytes of the source to take, bytes: size; the rest is zero */
static ptx_next_insn cp_async(struct ptx_warp *w, const struct ptx_insn *i)
{
    w->cta->counts.load_bytes += (uint64_t)__builtin_popcount(w->mask) * i->bytes;
    w->cta->progress++;
    ACTIVE(w->mask)
    {
        uint32_t take = i->e == 1   ? REG(uint32_t, i->c)[l]
                        : i->e == 2 ? (REG(uint32_t, i->c)[l] ? 0 : i->bytes)
                                    : i->bytes;
        uint8_t *to = async_host(w, i, l, address_of(w, i, l), i->bytes, true, true);
        const uint8_t *from;

        if (!to)
            return PTX_PARKED;
        take = take > i->bytes ? i->bytes : take;
        if (take) { /* the alignment is that of the whole, but what is not taken need not be there */
            from = copied_from(w, i, l, REG(uint64_t, i->b)[l], take);
            if (!from)
                return PTX_PARKED;
            memcpy(to, from, take);
        }
        memset(to + take, 0, i->bytes - take);
    }
    return i + 1;
}

static ptx_next_insn nothing(struct ptx_warp *w, const struct ptx_insn *i)
{
    return i + 1;
}

static inline uint32_t pending_of(uint64_t bar)
{
    return bar & COUNT_MAX;
}
static inline uint32_t expected_of(uint64_t bar)
{
    return bar >> 20 & COUNT_MAX;
}
static inline int32_t tx_of(uint64_t bar)
{
    return (int32_t)((int64_t)(bar << 2) >> 42);
}
static inline uint64_t bar_make(uint32_t pending, uint32_t expected, int32_t tx, uint32_t phase)
{
    return pending | (uint64_t)expected << 20 | ((uint64_t)(uint32_t)tx & 0x3fffff) << 40 |
           (uint64_t)phase << 63;
}

/* Returns the object after `arrivals` (and `drops` fewer expected from now on) and `tx` more transactions. */
static uint64_t bar_update(struct ptx_cta *cta, uint64_t bar, uint32_t arrivals, uint32_t drops,
                           int32_t tx)
{
    uint32_t pending = pending_of(bar), expected = expected_of(bar), phase = (uint32_t)(bar >> 63);

    pending = arrivals > pending ? 0 : pending - arrivals;
    expected = drops > expected ? 0 : expected - drops;
    tx += tx_of(bar);
    if (!pending && !tx) {
        phase ^= 1;
        pending = expected;
        cta->progress++;
    }
    return bar_make(pending, expected, tx, phase);
}

#define BAR_OP(name, BODY)                                                                         \
    static ptx_next_insn name(struct ptx_warp *w, const struct ptx_insn *i)                        \
    {                                                                                              \
        ACTIVE(w->mask)                                                                            \
        {                                                                                          \
            uint64_t *bar =                                                                        \
                (uint64_t *)(void *)async_host(w, i, l, address_of(w, i, l), 8, i->count, true);   \
            if (!bar)                                                                              \
                return PTX_PARKED;                                                                 \
            BODY                                                                                   \
        }                                                                                          \
        return i + 1;                                                                              \
    }

#define ARG REG(uint32_t, i->b)[l]
BAR_OP(bar_init, {
    if (!ARG || ARG > COUNT_MAX)
        return ptx_fault(w, i, VGPU_PTX_FAULT_INSTRUCTION, l, 0, 0,
                         "mbarrier.init with a count out of range");
    *bar = bar_make(ARG, ARG, 0, 0);
})
BAR_OP(bar_inval, { *bar = 0; })
BAR_OP(bar_arrive, {
    uint64_t before = *bar;
    *bar = bar_update(w->cta, before, ARG, 0, 0);
    REG(uint64_t, i->d)[l] = before;
})
BAR_OP(bar_arrive_tx, {
    uint64_t before = *bar;
    *bar = bar_update(w->cta, before, 1, 0, (int32_t)ARG);
    REG(uint64_t, i->d)[l] = before;
})
BAR_OP(bar_drop, {
    uint64_t before = *bar;
    *bar = bar_update(w->cta, before, ARG, ARG, 0);
    REG(uint64_t, i->d)[l] = before;
})
BAR_OP(bar_drop_tx, {
    uint64_t before = *bar;
    *bar = bar_update(w->cta, before, 1, 1, (int32_t)ARG);
    REG(uint64_t, i->d)[l] = before;
})
BAR_OP(bar_expect, {
    *bar = bar_make(pending_of(*bar), expected_of(*bar), tx_of(*bar) + (int32_t)ARG,
                    (uint32_t)(*bar >> 63));
})
BAR_OP(bar_complete, { *bar = bar_update(w->cta, *bar, 0, 0, -(int32_t)ARG); })
BAR_OP(bar_cp_arrive, { *bar = bar_update(w->cta, *bar, 1, 0, 0); })
BAR_OP(bar_test, {
    REG(uint32_t, i->d)[l] = *bar >> 63 != REG(uint64_t, i->b)[l] >> 63 ? PTX_FULL : 0;
})
BAR_OP(bar_test_parity, { REG(uint32_t, i->d)[l] = *bar >> 63 != (ARG & 1) ? PTX_FULL : 0; })

/* try_wait may suspend the thread: a failed try ends the warp's turn. */
static ptx_next_insn bar_try_end(struct ptx_warp *w, const struct ptx_insn *i, ptx_next_insn next)
{
    bool failed = false;

    if (next == PTX_PARKED)
        return next;
    ACTIVE(w->mask) failed |= !REG(uint32_t, i->d)[l];
    if (failed)
        w->ticks -= PTX_QUANTUM / 8;
    return next;
}
static ptx_next_insn bar_try(struct ptx_warp *w, const struct ptx_insn *i)
{
    return bar_try_end(w, i, bar_test(w, i));
}
static ptx_next_insn bar_try_parity(struct ptx_warp *w, const struct ptx_insn *i)
{
    return bar_try_end(w, i, bar_test_parity(w, i));
}

/* One address of a bulk copy; NULL: the launch has faulted. */
static uint8_t *bulk_host(struct ptx_warp *w, const struct ptx_insn *i, uint32_t l, uint64_t va,
                          uint32_t bytes, bool is_shared, bool is_store)
{
    uint8_t *host = ptx_generic(
        w, l, is_shared && va < PTX_WINDOW_BYTES ? va + PTX_SHARED_BASE : va, bytes, is_store);

    if (va & 15) {
        ptx_fault(w, i, VGPU_PTX_FAULT_MISALIGNED, l, va, 16, NULL);
        return NULL;
    }
    if (!host)
        ptx_fault(w, i, VGPU_PTX_FAULT_ILLEGAL_ADDRESS, l, va, bytes, is_store ? "store" : "load");
    return host;
}

/* Done when it is issued, as cp.async is; then its bytes are taken off what the mbarrier waits for. */
static ptx_next_insn bulk(struct ptx_warp *w, const struct ptx_insn *i)
{
    bool to_global = i->f & PTX_BULK_TO_GLOBAL, from_shared = i->f & PTX_BULK_FROM_SHARED;

    w->cta->progress++;
    ACTIVE(w->mask)
    {
        uint32_t bytes = REG(uint32_t, i->c)[l];
        uint64_t from_va = i->f & PTX_BULK_FROM64 ? REG(uint64_t, i->b)[l] : REG(uint32_t, i->b)[l];
        uint64_t bar_va = i->f & PTX_BULK_BAR64 ? REG(uint64_t, i->e)[l] : REG(uint32_t, i->e)[l];
        const uint8_t *from;
        uint8_t *to;

        if (bytes & 15)
            return ptx_fault(w, i, VGPU_PTX_FAULT_INSTRUCTION, l, 0, 0,
                             "a bulk copy of a size that is no multiple of 16");
        to = bulk_host(w, i, l, address_of(w, i, l), bytes, !to_global, true);
        from = to ? bulk_host(w, i, l, from_va, bytes, from_shared, false) : NULL;
        if (!from)
            return PTX_PARKED;
        memmove(to, from, bytes);
        *(to_global ? &w->cta->counts.store_bytes : &w->cta->counts.load_bytes) += bytes;
        if (!to_global) {
            uint64_t *bar =
                (uint64_t *)(void *)async_host(w, i, l, bar_va, 8, bar_va < PTX_WINDOW_BYTES, true);

            if (!bar)
                return PTX_PARKED;
            *bar = bar_update(w->cta, *bar, 0, 0, -(int32_t)bytes);
        }
    }
    return i + 1;
}
SELECTOR(cp_bulk_to_shared)
{
    return bulk;
}
SELECTOR(cp_bulk_to_global)
{
    return bulk;
}
SELECTOR(cp_bulk_commit)
{
    return nothing;
}
SELECTOR(cp_bulk_wait)
{
    return nothing;
}
SELECTOR(cp_bulk_prefetch)
{
    return nothing;
}

OP1(bar_pending, uint32_t, uint64_t, (uint32_t)(a[l] & COUNT_MAX))

SELECTOR(cp_async)
{
    return cp_async;
}
SELECTOR(cp_async_commit)
{
    return nothing;
}
SELECTOR(cp_async_wait)
{
    return nothing;
}
SELECTOR(cp_async_wait_all)
{
    return nothing;
}
/* Without .noinc the operation first adds the arrival that it then makes: the copies being done, nothing changes. */
SELECTOR(cp_async_mbarrier)
{
    return HAS(noinc) ? bar_cp_arrive : nothing;
}
SELECTOR(mbarrier_init)
{
    return bar_init;
}
SELECTOR(mbarrier_inval)
{
    return bar_inval;
}
SELECTOR(mbarrier_pending)
{
    return bar_pending;
}
SELECTOR(mbarrier_test)
{
    return HAS(parity) ? bar_test_parity : bar_test;
}
SELECTOR(mbarrier_try)
{
    return HAS(parity) ? bar_try_parity : bar_try;
}
SELECTOR(mbarrier_arrive)
{
    return HAS(expect_tx) ? bar_arrive_tx : bar_arrive;
}
SELECTOR(mbarrier_drop)
{
    return HAS(expect_tx) ? bar_drop_tx : bar_drop;
}
SELECTOR(mbarrier_expect)
{
    return bar_expect;
}
SELECTOR(mbarrier_complete)
{
    return bar_complete;
}
