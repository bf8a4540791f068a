// SPDX-License-Identifier: MIT
/*
 * Arena and name map of the PTX loader; see arena.h for the contract.
 *
 * Chunks grow from 64 KiB to 1 MiB; an allocation larger than a chunk gets its own. The map hashes with a
 * seed per process, so that a module cannot be written to make all names collide.
 */
#include "arena.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct vgpu_arena_chunk {
    struct vgpu_arena_chunk *next;
    size_t capacity_bytes;
    _Alignas(16) unsigned char data[]; /* as calloc aligns the chunk */
};

#define ARENA_CHUNK_MIN (64u << 10)
#define ARENA_CHUNK_MAX (1u << 20)

void vgpu_arena_init(struct vgpu_arena *arena, size_t limit_bytes)
{
    memset(arena, 0, sizeof(*arena));
    arena->limit_bytes = limit_bytes;
}

void vgpu_arena_fini(struct vgpu_arena *arena)
{
    struct vgpu_arena_chunk *chunk = arena->chunks;

    while (chunk) {
        struct vgpu_arena_chunk *next = chunk->next;

        free(chunk);
        chunk = next;
    }
    memset(arena, 0, sizeof(*arena));
}

static bool arena_add_chunk(struct vgpu_arena *arena, size_t bytes)
{
    size_t want = arena->chunks ? arena->chunks->capacity_bytes * 2 : ARENA_CHUNK_MIN;
    struct vgpu_arena_chunk *chunk;

    if (want > ARENA_CHUNK_MAX)
        want = ARENA_CHUNK_MAX;
    if (want < bytes)
        want = bytes;
    if (want > arena->limit_bytes - arena->total_bytes)
        want = bytes;
    if (want > arena->limit_bytes - arena->total_bytes) {
        arena->is_full = true;
        return false;
    }
    chunk = calloc(1, sizeof(*chunk) + want);
    if (!chunk)
        return false;
    chunk->capacity_bytes = want;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->used_bytes = 0;
    arena->total_bytes += want;
    return true;
}

void *vgpu_arena_alloc(struct vgpu_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    void *memory;

    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        arena->failed = true;
        return NULL;
    }
    bytes = (bytes + 15) & ~(size_t)15;
    if (!arena->chunks || arena->chunks->capacity_bytes - arena->used_bytes < bytes) {
        if (!arena_add_chunk(arena, bytes)) {
            arena->failed = true;
            return NULL;
        }
    }
    memory = arena->chunks->data + arena->used_bytes;
    arena->used_bytes += bytes;
    return memory;
}

char *vgpu_arena_copy(struct vgpu_arena *arena, const char *text, size_t bytes)
{
    char *copy = vgpu_arena_alloc(arena, bytes + 1, 1);

    if (copy)
        memcpy(copy, text, bytes);
    return copy;
}

bool vgpu_arena_grow(struct vgpu_arena *arena, void **items, uint32_t *capacity, uint32_t count,
                     size_t size)
{
    uint32_t grown;
    void *memory;

    if (count < *capacity)
        return true;
    if (*capacity > UINT32_MAX / 2) {
        arena->failed = true;
        return false;
    }
    grown = *capacity ? *capacity * 2 : 8;
    memory = vgpu_arena_alloc(arena, grown, size);
    if (!memory)
        return false;
    if (count)
        memcpy(memory, *items, count * size);
    *items = memory;
    *capacity = grown;
    return true;
}

static pthread_once_t map_once = PTHREAD_ONCE_INIT;
static uint32_t map_seed_value;

static void map_seed_init(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    map_seed_value =
        ((uint32_t)now.tv_nsec * 2654435761u) ^ (uint32_t)now.tv_sec ^ (uint32_t)(uintptr_t)&now;
}

static uint32_t map_seed(void)
{
    pthread_once(&map_once, map_seed_init);
    return map_seed_value;
}

static uint32_t map_hash(uint32_t seed, const char *key, uint32_t key_bytes)
{
    uint64_t hash = seed;

    for (uint32_t i = 0; i < key_bytes; i++)
        hash = (hash ^ (unsigned char)key[i]) * 0x100000001b3ull;
    hash ^= hash >> 29;
    hash *= 0xbf58476d1ce4e5b9ull;
    return (uint32_t)(hash >> 32);
}

static struct vgpu_map_slot *map_slot(struct vgpu_map_slot *slots, uint32_t capacity,
                                      const char *key, uint32_t key_bytes, uint32_t hash)
{
    uint32_t at = hash & (capacity - 1);

    while (slots[at].key) {
        if (slots[at].hash == hash && slots[at].key_bytes == key_bytes &&
            !memcmp(slots[at].key, key, key_bytes))
            break;
        at = (at + 1) & (capacity - 1);
    }
    return &slots[at];
}

void *vgpu_map_find(const struct vgpu_map *map, const char *key, uint32_t key_bytes)
{
    if (!map->capacity)
        return NULL;
    return map_slot(map->slots, map->capacity, key, key_bytes, map_hash(map_seed(), key, key_bytes))
        ->value;
}

static bool map_rehash(struct vgpu_arena *arena, struct vgpu_map *map)
{
    uint32_t capacity = map->capacity ? map->capacity * 2 : 16;
    struct vgpu_map_slot *slots;

    if (map->capacity > UINT32_MAX / 4) {
        arena->failed = true;
        return false;
    }
    slots = vgpu_arena_alloc(arena, capacity, sizeof(*slots));
    if (!slots)
        return false;
    for (uint32_t i = 0; i < map->capacity; i++) {
        struct vgpu_map_slot *old = &map->slots[i];

        if (old->key)
            *map_slot(slots, capacity, old->key, old->key_bytes, old->hash) = *old;
    }
    map->slots = slots;
    map->capacity = capacity;
    return true;
}

bool vgpu_map_insert(struct vgpu_arena *arena, struct vgpu_map *map, const char *key,
                     uint32_t key_bytes, void *value)
{
    uint32_t hash = map_hash(map_seed(), key, key_bytes);
    struct vgpu_map_slot *slot;

    if (map->count * 3 >= map->capacity * 2 && !map_rehash(arena, map))
        return false;
    slot = map_slot(map->slots, map->capacity, key, key_bytes, hash);
    if (!slot->key) {
        slot->key = key;
        slot->key_bytes = key_bytes;
        slot->hash = hash;
        map->count++;
    }
    slot->value = value;
    return true;
}
