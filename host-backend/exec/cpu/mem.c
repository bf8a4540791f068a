// SPDX-License-Identifier: MIT
/*
 * Device memory of the PTX machine; see mem.h.
 *
 * Large allocations are mapped (zero pages on demand), small ones come from the heap, so that the number of
 * mappings stays bounded. Addresses are handed out upwards and never again: a stale pointer faults instead of
 * reaching somebody else's data. 128 TiB of addresses last for the life of a machine; when they are used up
 * allocation fails.
 */
#include "mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MEM_MAP_BYTES (256u << 10)
#define MEM_GAP_BYTES PTX_PAGE

void ptx_mem_init(struct ptx_mem *mem, uint64_t limit_bytes, bool (*charge)(void *, int64_t),
                  void *user)
{
    memset(mem, 0, sizeof(*mem));
    pthread_mutex_init(&mem->lock, NULL);
    mem->next_va = PTX_VA_BASE;
    mem->limit_bytes = limit_bytes;
    mem->charge = charge;
    mem->user = user;
}

static void range_release(struct ptx_range *range)
{
    if (range->is_mapped)
        munmap(range->host, range->held_bytes);
    else
        free(range->host);
}

static bool range_back(struct ptx_range *range)
{
    range->is_mapped = range->held_bytes >= MEM_MAP_BYTES;
    if (range->is_mapped) {
        void *host = mmap(NULL, range->held_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (host == MAP_FAILED)
            return false;
        madvise(host, range->held_bytes, MADV_HUGEPAGE);
        range->host = host;
        return true;
    }
    range->host = aligned_alloc(PTX_PAGE, range->held_bytes);
    if (!range->host)
        return false;
    memset(range->host, 0, range->held_bytes);
    return true;
}

/* Releases what was freed while launches ran and no snapshot in use can see any more. Under the lock. */
static void mem_reap(struct ptx_mem *mem)
{
    uint64_t oldest = UINT64_MAX;
    struct ptx_freed **at = &mem->freed;

    for (uint32_t i = 0; i < mem->live_count; i++)
        if (mem->live[i]->version < oldest)
            oldest = mem->live[i]->version;
    while (*at) {
        struct ptx_freed *freed = *at;

        if (freed->version < oldest) {
            *at = freed->next;
            range_release(&freed->range);
            free(freed);
        } else {
            at = &freed->next;
        }
    }
}

void ptx_mem_fini(struct ptx_mem *mem)
{
    mem_reap(mem);
    for (uint32_t i = 0; i < mem->count; i++)
        range_release(&mem->ranges[i]);
    if (mem->charge && mem->held_bytes)
        mem->charge(mem->user, -(int64_t)mem->held_bytes);
    free(mem->ranges);
    free(mem->live);
    free(mem->snapshot);
    pthread_mutex_destroy(&mem->lock);
}

static uint32_t mem_index(const struct ptx_range *ranges, uint32_t count, uint64_t va)
{
    uint32_t low = 0, high = count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (ranges[middle].base <= va)
            low = middle + 1;
        else
            high = middle;
    }
    return low; /* the number of ranges that begin at or below va */
}

static int mem_insert(struct ptx_mem *mem, struct ptx_range *range)
{
    if (mem->count == mem->capacity) {
        uint32_t capacity = mem->capacity ? mem->capacity * 2 : 64;
        struct ptx_range *ranges = realloc(mem->ranges, capacity * sizeof(*ranges));

        if (!ranges)
            return -ENOMEM;
        mem->ranges = ranges;
        mem->capacity = capacity;
    }
    if (!range_back(range))
        return -ENOMEM;
    range->base = mem->next_va;
    mem->next_va += range->held_bytes + MEM_GAP_BYTES;
    mem->ranges[mem->count++] = *range; /* addresses only grow: the end is the right place */
    mem->version++;
    return 0;
}

int ptx_mem_new(struct ptx_mem *mem, uint64_t bytes, bool is_readonly, bool is_module,
                struct ptx_range *range)
{
    int status = -ENOMEM;

    memset(range, 0, sizeof(*range));
    if (!bytes || bytes > PTX_VA_LIMIT - PTX_VA_BASE)
        return bytes ? -ENOMEM : -EINVAL;
    range->bytes = bytes;
    range->held_bytes = (bytes + PTX_PAGE - 1) & ~(uint64_t)(PTX_PAGE - 1);
    range->is_readonly = is_readonly;
    range->is_module = is_module;
    pthread_mutex_lock(&mem->lock);
    if (range->held_bytes > PTX_VA_LIMIT - mem->next_va || mem->count == UINT32_MAX / 2)
        goto out;
    if (mem->limit_bytes && (mem->held_bytes > mem->limit_bytes ||
                             range->held_bytes > mem->limit_bytes - mem->held_bytes))
        goto out;
    if (mem->charge && !mem->charge(mem->user, (int64_t)range->held_bytes))
        goto out;
    status = mem_insert(mem, range);
    if (status) {
        if (mem->charge)
            mem->charge(mem->user, -(int64_t)range->held_bytes);
        goto out;
    }
    mem->held_bytes += range->held_bytes;
out:
    pthread_mutex_unlock(&mem->lock);
    return status;
}

int ptx_mem_drop(struct ptx_mem *mem, uint64_t va, bool is_module)
{
    struct ptx_freed *freed = malloc(sizeof(*freed));
    int status = -ENOENT;
    uint32_t at;

    if (!freed)
        return -ENOMEM;
    pthread_mutex_lock(&mem->lock);
    at = mem_index(mem->ranges, mem->count, va);
    if (at && mem->ranges[at - 1].base == va && mem->ranges[at - 1].is_module == is_module) {
        freed->range = mem->ranges[at - 1];
        freed->version = mem->version;
        freed->next = mem->freed;
        mem->freed = freed;
        memmove(&mem->ranges[at - 1], &mem->ranges[at], (mem->count - at) * sizeof(*mem->ranges));
        mem->count--;
        mem->version++;
        mem->held_bytes -= freed->range.held_bytes;
        if (mem->charge)
            mem->charge(mem->user, -(int64_t)freed->range.held_bytes);
        freed = NULL;
        mem_reap(mem);
        status = 0;
    }
    pthread_mutex_unlock(&mem->lock);
    free(freed);
    return status;
}

bool ptx_mem_find(struct ptx_mem *mem, uint64_t va, struct ptx_range *range)
{
    uint32_t at;
    bool found;

    pthread_mutex_lock(&mem->lock);
    at = mem_index(mem->ranges, mem->count, va);
    found = at && va - mem->ranges[at - 1].base < mem->ranges[at - 1].bytes;
    if (found)
        *range = mem->ranges[at - 1];
    pthread_mutex_unlock(&mem->lock);
    return found;
}

static struct ptx_ranges *mem_snapshot(struct ptx_mem *mem)
{
    struct ptx_ranges *ranges;

    if (mem->live_count == mem->live_capacity) {
        uint32_t capacity = mem->live_capacity ? mem->live_capacity * 2 : 8;
        struct ptx_ranges **live = realloc(mem->live, capacity * sizeof(struct ptx_ranges *));

        if (!live)
            return NULL;
        mem->live = live;
        mem->live_capacity = capacity;
    }
    if (mem->snapshot && mem->snapshot->version == mem->version) {
        ranges = mem->snapshot;
    } else {
        ranges = malloc(sizeof(*ranges) + mem->count * sizeof(ranges->items[0]));
        if (!ranges)
            return NULL;
        ranges->count = mem->count;
        ranges->refs = 0;
        ranges->version = mem->version;
        if (mem->count)
            memcpy(ranges->items, mem->ranges, mem->count * sizeof(ranges->items[0]));
        if (mem->snapshot && !mem->snapshot->refs)
            free(mem->snapshot);
        mem->snapshot = ranges;
    }
    if (!ranges->refs++)
        mem->live[mem->live_count++] = ranges;
    return ranges;
}

struct ptx_ranges *ptx_mem_get(struct ptx_mem *mem)
{
    struct ptx_ranges *ranges;

    pthread_mutex_lock(&mem->lock);
    ranges = mem_snapshot(mem);
    pthread_mutex_unlock(&mem->lock);
    return ranges;
}

void ptx_mem_put(struct ptx_mem *mem, struct ptx_ranges *ranges)
{
    pthread_mutex_lock(&mem->lock);
    if (!--ranges->refs) {
        for (uint32_t i = 0; i < mem->live_count; i++) {
            if (mem->live[i] == ranges) {
                mem->live[i] = mem->live[--mem->live_count];
                break;
            }
        }
        if (mem->snapshot != ranges)
            free(ranges);
        mem_reap(mem);
    }
    pthread_mutex_unlock(&mem->lock);
}

const struct ptx_range *ptx_ranges_find(const struct ptx_ranges *ranges, uint64_t va)
{
    uint32_t at = mem_index(ranges->items, ranges->count, va);

    if (!at || va - ranges->items[at - 1].base >= ranges->items[at - 1].bytes)
        return NULL;
    return &ranges->items[at - 1];
}
