/* SPDX-License-Identifier: MIT */
/*
 * Handles for guests: nonzero 32-bit numbers for objects of one kind.
 *
 * The low bits are a slot, the high ones count how often that slot was used, so that a handle
 * a guest kept after destroying its object does not name the next one (until the count wraps).
 * A table grows on demand up to its limit and never shrinks.  Not thread-safe.
 */
#ifndef VGPU_EXEC_HANDLE_H
#define VGPU_EXEC_HANDLE_H

#include <stdint.h>

struct vgpu_handles {
    struct vgpu_handle_slot {
        void *object; /* NULL: free */
        uint16_t uses;
        uint16_t next_free; /* slot + 1, 0: none */
    } *slots;
    uint32_t count;     /* slots that exist */
    uint32_t live;
    uint32_t limit;
    uint32_t free_slot; /* slot + 1, 0: none */
};

#define VGPU_HANDLES_MAX 65535

/* `limit` is at most VGPU_HANDLES_MAX. */
void vgpu_handles_init(struct vgpu_handles *handles, uint32_t limit);
void vgpu_handles_fini(struct vgpu_handles *handles);

/* A handle for `object` (not NULL); 0 if the limit is reached or memory is short. */
uint32_t vgpu_handles_add(struct vgpu_handles *handles, void *object);

/* The object; NULL if there is none of that handle. */
void *vgpu_handles_get(const struct vgpu_handles *handles, uint32_t handle);

/* Forget it: the object, or NULL. */
void *vgpu_handles_remove(struct vgpu_handles *handles, uint32_t handle);

/* Any object; NULL when the table is empty.  *handle names it. */
void *vgpu_handles_any(const struct vgpu_handles *handles, uint32_t *handle);

#endif /* VGPU_EXEC_HANDLE_H */
