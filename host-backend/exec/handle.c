// SPDX-License-Identifier: MIT
/*
 * Handle tables; see handle.h.  A handle is uses << 16 | (slot + 1); `uses` starts at 0, so the first
 * handles of a table are small numbers, which makes traces readable.
 */
#include <exec/handle.h>

#include <stdlib.h>
#include <string.h>

void vgpu_handles_init(struct vgpu_handles *handles, uint32_t limit)
{
    memset(handles, 0, sizeof(*handles));
    handles->limit = limit < VGPU_HANDLES_MAX ? limit : VGPU_HANDLES_MAX;
}

void vgpu_handles_fini(struct vgpu_handles *handles)
{
    free(handles->slots);
    memset(handles, 0, sizeof(*handles));
}

/* One more free slot; 0 when that is not possible. */
static uint32_t handles_grow(struct vgpu_handles *handles)
{
    uint32_t count = handles->count ? handles->count * 2 : 16;
    struct vgpu_handle_slot *slots;

    if (handles->count >= handles->limit)
        return 0;
    if (count > handles->limit)
        count = handles->limit;
    slots = reallocarray(handles->slots, count, sizeof(*slots));
    if (!slots)
        return 0;
    memset(&slots[handles->count], 0, (count - handles->count) * sizeof(*slots));
    for (uint32_t i = handles->count; i + 1 < count; i++)
        slots[i].next_free = (uint16_t)(i + 2);
    handles->free_slot = handles->count + 1;
    handles->slots = slots;
    handles->count = count;
    return handles->free_slot;
}

uint32_t vgpu_handles_add(struct vgpu_handles *handles, void *object)
{
    uint32_t number = handles->free_slot;
    struct vgpu_handle_slot *slot;

    if (!number)
        number = handles_grow(handles);
    if (!number)
        return 0;
    slot = &handles->slots[number - 1];
    handles->free_slot = slot->next_free;
    slot->object = object;
    handles->live++;
    return (uint32_t)slot->uses << 16 | number;
}

static struct vgpu_handle_slot *handles_slot(const struct vgpu_handles *handles, uint32_t handle)
{
    uint32_t number = handle & 0xffff;
    struct vgpu_handle_slot *slot;

    if (number == 0 || number > handles->count)
        return NULL;
    slot = &handles->slots[number - 1];
    return slot->object && slot->uses == handle >> 16 ? slot : NULL;
}

void *vgpu_handles_get(const struct vgpu_handles *handles, uint32_t handle)
{
    const struct vgpu_handle_slot *slot = handles_slot(handles, handle);

    return slot ? slot->object : NULL;
}

void *vgpu_handles_remove(struct vgpu_handles *handles, uint32_t handle)
{
    struct vgpu_handle_slot *slot = handles_slot(handles, handle);
    void *object;

    if (!slot)
        return NULL;
    object = slot->object;
    slot->object = NULL;
    slot->uses++;
    slot->next_free = (uint16_t)handles->free_slot;
    handles->free_slot = handle & 0xffff;
    handles->live--;
    return object;
}

void *vgpu_handles_any(const struct vgpu_handles *handles, uint32_t *handle)
{
    for (uint32_t i = 0; i < handles->count && handles->live; i++) {
        if (handles->slots[i].object) {
            *handle = (uint32_t)handles->slots[i].uses << 16 | (i + 1);
            return handles->slots[i].object;
        }
    }
    return NULL;
}
