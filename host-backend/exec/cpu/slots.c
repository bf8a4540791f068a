// SPDX-License-Identifier: MIT
/*
 * Register placement: see decode.h.
 */
#include "decode.h"

bool ptx_slots_assign(struct vgpu_arena *arena, const struct ptx_func *func, uint32_t first_slot, uint32_t *reg_offset,
                      uint32_t *slot_count)
{
    uint32_t slot = first_slot;

    (void)arena;
    for (uint32_t k = 0; k < func->reg_count; k++) {
        reg_offset[k] = slot * PTX_SLOT_BYTES;
        slot += ptx_type_bytes(func->regs[k].type) == 8 ? 2 : 1;
    }
    *slot_count = slot;
    return true;
}
