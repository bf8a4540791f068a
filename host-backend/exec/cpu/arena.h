// SPDX-License-Identifier: MIT
/*
 * Bump allocation for the loader: everything one load needs lives in one arena and goes with it.
 *
 * The arena has a byte limit, which is what bounds the memory that a hostile module can make us use: when
 * it or the host is out of memory, vgpu_arena_alloc returns NULL and sets `failed`, and the loader reports
 * "out of memory". Memory comes zeroed. Not thread-safe: one load is one thread.
 */
#ifndef VGPU_EXEC_CPU_ARENA_H
#define VGPU_EXEC_CPU_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vgpu_arena_chunk;

struct vgpu_arena {
    struct vgpu_arena_chunk *chunks;
    size_t used_bytes; /* of the first chunk */
    size_t total_bytes;
    size_t limit_bytes;
    bool failed;
    bool is_full; /* it failed at its limit, not for want of host memory */
};

void vgpu_arena_init(struct vgpu_arena *arena, size_t limit_bytes);
void vgpu_arena_fini(struct vgpu_arena *arena);
__attribute__((warn_unused_result)) void *vgpu_arena_alloc(struct vgpu_arena *arena, size_t count,
                                                           size_t size);
/* A NUL-terminated copy. */
__attribute__((warn_unused_result)) char *vgpu_arena_copy(struct vgpu_arena *arena,
                                                          const char *text, size_t bytes);

/*
 * Grows the array at *items to hold one more element; *capacity counts elements. The old array stays in the
 * arena, so pointers into it keep their (stale) values: hold indices instead.
 */
__attribute__((warn_unused_result)) bool vgpu_arena_grow(struct vgpu_arena *arena, void **items,
                                                         uint32_t *capacity, uint32_t count,
                                                         size_t size);

/* Names to values, open addressing. Keys are (pointer, length) and must outlive the map. */
struct vgpu_map_slot {
    const char *key;
    uint32_t key_bytes;
    uint32_t hash;
    void *value;
};

struct vgpu_map {
    struct vgpu_map_slot *slots;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t count;
};

void *vgpu_map_find(const struct vgpu_map *map, const char *key, uint32_t key_bytes);
/* false: out of memory. An existing key gets the new value. */
__attribute__((warn_unused_result)) bool vgpu_map_insert(struct vgpu_arena *arena,
                                                         struct vgpu_map *map, const char *key,
                                                         uint32_t key_bytes, void *value);

#endif
