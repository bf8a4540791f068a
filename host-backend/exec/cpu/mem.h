// SPDX-License-Identifier: MIT
/*
 * Device memory: virtual addresses that have nothing to do with host pointers.
 *
 * Allocations get addresses from PTX_VA_BASE upwards, with an unmapped gap after each, and are found by binary
 * search. A launch works on a snapshot of the table, so that alloc and free need not wait for it: memory that
 * is freed while launches run is given back to the host when the last launch that could see it has ended.
 */
#ifndef VGPU_EXEC_CPU_MEM_H
#define VGPU_EXEC_CPU_MEM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define PTX_VA_BASE  0x0000001000000000ull
#define PTX_VA_LIMIT 0x0000800000000000ull
#define PTX_PAGE     4096u

struct ptx_range {
    uint64_t base;
    uint64_t bytes; /* as asked for: accesses are checked against this */
    uint64_t held_bytes;
    uint8_t *host;
    bool is_readonly;
    bool is_mapped;
    bool is_module; /* belongs to a module, vgpu_ptx_mem_free refuses it */
};

struct ptx_ranges {
    uint32_t count;
    uint32_t refs; /* under the memory's lock */
    uint64_t version;
    struct ptx_range items[];
};

struct ptx_freed {
    struct ptx_range range;
    uint64_t version; /* snapshots of this and earlier versions can see it */
    struct ptx_freed *next;
};

struct ptx_mem {
    pthread_mutex_t lock;
    struct ptx_range *ranges; /* sorted by base */
    uint32_t count, capacity;
    uint64_t next_va;
    uint64_t version; /* counts changes */
    uint64_t held_bytes;
    uint64_t limit_bytes;
    struct ptx_ranges *snapshot; /* of `version`, or stale, or NULL */
    struct ptx_ranges **live;    /* snapshots in use */
    uint32_t live_count, live_capacity;
    struct ptx_freed *freed;
    bool (*charge)(void *user, int64_t delta_bytes);
    void *user;
};

void ptx_mem_init(struct ptx_mem *mem, uint64_t limit_bytes, bool (*charge)(void *, int64_t),
                  void *user);
void ptx_mem_fini(struct ptx_mem *mem);
__attribute__((warn_unused_result)) int ptx_mem_new(struct ptx_mem *mem, uint64_t bytes,
                                                    bool is_readonly, bool is_module,
                                                    struct ptx_range *range);
__attribute__((warn_unused_result)) int ptx_mem_drop(struct ptx_mem *mem, uint64_t va,
                                                     bool is_module);
bool ptx_mem_find(struct ptx_mem *mem, uint64_t va, struct ptx_range *range);
__attribute__((warn_unused_result)) struct ptx_ranges *ptx_mem_get(struct ptx_mem *mem);
void ptx_mem_put(struct ptx_mem *mem, struct ptx_ranges *ranges);
const struct ptx_range *ptx_ranges_find(const struct ptx_ranges *ranges, uint64_t va);

#endif
