/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest memory that the back end has been told about.
 *
 * Theory of operation.  vgpu-memory.c reports which DMA addresses stand for
 * which RAM.  Each such range is a VgpuMapping in a tree, kept whether or not
 * there is a back end; a new one is told the whole tree.
 *
 *      NEW -- DMA_MAP sent --> SENT -- reply --> MAPPED | REFUSED
 *      SENT, MAPPED -- cut from the tree --> DOOMED -- DMA_UNMAP sent --> gone
 *
 * The tree changes at once; mappings that are NEW or DOOMED wait on a list, and
 * the messages follow in its order, a bounded number ahead of the replies.
 *
 * While the device is live, whoever changes the tree waits until the back end
 * has agreed (vgpu_dma_sync): the guest may use an address as soon as its
 * instruction is over, by a doorbell that no message queue orders, and it may
 * reuse memory as soon as the address is gone.  That is why an unmap is waited
 * for so patiently (release_timeout_ms): its answer means that no executor can
 * touch the range any more.  During the handshake nobody waits, since no guest
 * access reaches the device yet.
 *
 * The protocol wants an unmap to name exactly one map, but a guest may unmap
 * part of what it mapped, or much more.  vgpu_dma_cut() translates.
 *
 * Each mapping, and each message under way, holds a reference to its memory
 * region, so the descriptor in it stays what it was.
 */
#include "qemu/osdep.h"
#include "exec/memory.h"
#include "vgpu-device.h"
#include "vgpu-trace.h"

/* Messages sent ahead of their replies. */
#define DMA_WINDOW 128
/* Bound of the tree while no back end has named its own. */
#define DMA_MAX_MAPS VFU_DEFAULT_DMA_MAPS

typedef enum VgpuMappingState {
    VGPU_MAPPING_NEW,           /* in the tree and on the todo list */
    VGPU_MAPPING_SENT,
    VGPU_MAPPING_MAPPED,
    VGPU_MAPPING_REFUSED,       /* the back end does not have it */
    VGPU_MAPPING_DOOMED,        /* out of the tree, on the todo list */
} VgpuMappingState;

struct VgpuMapping {
    uint64_t first, last;       /* DMA addresses, inclusive */
    MemoryRegion *mr;           /* referenced */
    uint64_t offset;            /* in mr, and in its file */
    bool writable;
    VgpuMappingState state;
    unsigned refs;              /* tree or todo list; a DMA_MAP under way */
    VgpuDevice *dev;
    QTAILQ_ENTRY(VgpuMapping) next;
};

/* ---- Mappings ---- */

static gint mapping_compare(gconstpointer a, gconstpointer b, gpointer unused)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

typedef struct VgpuRange {
    uint64_t first, last;
} VgpuRange;

/* Which way from this node to one that overlaps the range? */
static gint mapping_overlap(gconstpointer key, gconstpointer data)
{
    const VgpuRange *range = data;
    const VgpuMapping *map = container_of(key, VgpuMapping, first);

    if (range->last < map->first) {
        return -1;
    }
    return range->first > map->last ? 1 : 0;
}

static VgpuMapping *dma_find(VgpuDma *dma, uint64_t first, uint64_t last)
{
    VgpuRange range = { first, last };

    return g_tree_search(dma->mappings, mapping_overlap, &range);
}

static void mapping_put(VgpuMapping *map)
{
    if (--map->refs == 0) {
        memory_region_unref(map->mr);
        g_free(map);
    }
}

static void dma_pump(VgpuDevice *dev);

static void dma_map_reply(void *opaque, VgpuReply *reply)
{
    VgpuMapping *map = opaque;
    VgpuDevice *dev = map->dev;

    dev->dma.in_flight--;
    if (map->state == VGPU_MAPPING_SENT && reply->error != ECONNABORTED) {
        map->state = reply->error ? VGPU_MAPPING_REFUSED : VGPU_MAPPING_MAPPED;
        if (reply->error) {
            vgpu_conn_complain(dev, "the back end refuses to map guest memory "
                               "at 0x%" PRIx64 "-0x%" PRIx64 ": %s", map->first,
                               map->last, strerror(reply->error));
        }
    }
    mapping_put(map);
    dma_pump(dev);
}

static void dma_unmap_reply(void *opaque, VgpuReply *reply)
{
    VgpuDevice *dev = opaque;

    dev->dma.in_flight--;
    /* ENOENT: the map itself had been refused */
    if (reply->error && reply->error != ENOENT &&
        reply->error != ECONNABORTED) {
        /* It may write there still, and only its end would end that. */
        vgpu_client_break(&dev->conn.client,
                          "the back end refuses to let go of guest memory: %s",
                          strerror(reply->error));
    }
    dma_pump(dev);
}

static void dma_send_map(VgpuDevice *dev, VgpuMapping *map)
{
    int fd = memory_region_get_fd(map->mr);
    VfuDmaMap body = {
        .argsz = sizeof(body),
        .flags = VFU_DMA_READABLE | (map->writable ? VFU_DMA_WRITABLE : 0),
        .offset = map->offset,
        .address = map->first,
        .size = map->last - map->first + 1,
    };
    VgpuClientMessage msg = {
        .command = VFU_DMA_MAP,
        .data[0] = &body,
        .len[0] = sizeof(body),
        .fds = &fd,
        .nr_fds = 1,
        .mr = map->mr,
        .max_reply = sizeof(body),
        .reply = dma_map_reply,
        .opaque = map,
    };

    VGPU_TRACE(dma_map, "0x%" PRIx64 "-0x%" PRIx64 " %s+0x%" PRIx64 " rw %d",
               map->first, map->last, memory_region_name(map->mr), map->offset,
               map->writable);
    map->state = VGPU_MAPPING_SENT;
    map->refs++;
    dev->dma.in_flight++;
    vgpu_client_send(&dev->conn.client, &msg);
}

static void dma_send_unmap(VgpuDevice *dev, VgpuMapping *map)
{
    VfuDmaUnmap body = {
        .argsz = sizeof(body),
        .address = map->first,
        .size = map->last - map->first + 1,
    };
    VgpuClientMessage msg = {
        .command = VFU_DMA_UNMAP,
        .data[0] = &body,
        .len[0] = sizeof(body),
        .max_reply = sizeof(body),
        .reply = dma_unmap_reply,
        .opaque = dev,
    };

    VGPU_TRACE(dma_unmap, "0x%" PRIx64 "-0x%" PRIx64, map->first, map->last);
    mapping_put(map);
    dev->dma.in_flight++;
    vgpu_client_send(&dev->conn.client, &msg);
}

/* Send what is due, as far as the window allows. */
static void dma_pump(VgpuDevice *dev)
{
    VgpuDma *dma = &dev->dma;
    VgpuMapping *map;

    while (dma->announce && dma->in_flight < DMA_WINDOW &&
           vgpu_client_is_up(&dev->conn.client) &&
           (map = QTAILQ_FIRST(&dma->todo))) {
        QTAILQ_REMOVE(&dma->todo, map, next);
        if (map->state == VGPU_MAPPING_NEW) {
            dma_send_map(dev, map);
        } else {
            dma_send_unmap(dev, map);
        }
    }
}

static bool dma_is_settled(const VgpuDevice *dev)
{
    return QTAILQ_EMPTY(&dev->dma.todo) && dev->dma.in_flight == 0;
}

static bool dma_wait_done(void *opaque)
{
    return dma_is_settled(opaque);
}

/*
 * The tree has changed: tell the back end, and while the guest can use the
 * device, wait for its consent.
 */
void vgpu_dma_sync(VgpuDevice *dev)
{
    dma_pump(dev);
    if (vgpu_conn_is_live(dev) && !dma_is_settled(dev)) {
        vgpu_client_wait(&dev->conn.client, dma_wait_done, dev,
                         dev->release_timeout_ms, "a change of DMA mappings");
    }
}

/* ---- Changing the tree ---- */

static void dma_insert(VgpuDevice *dev, uint64_t first, uint64_t last,
                       MemoryRegion *mr, uint64_t offset, bool writable)
{
    VgpuDma *dma = &dev->dma;
    VgpuMapping *map;

    if (dma->count >= dma->max_maps) {
        vgpu_conn_complain(dev, "the guest maps more than %u ranges for DMA; "
                           "further ones cannot be used", dma->max_maps);
        return;
    }
    map = g_new0(VgpuMapping, 1);
    map->dev = dev;
    map->first = first;
    map->last = last;
    map->mr = mr;
    memory_region_ref(mr);
    map->offset = offset;
    map->writable = writable;
    map->state = VGPU_MAPPING_NEW;
    map->refs = 1;
    dma->count++;
    g_tree_insert(dma->mappings, &map->first, map);
    QTAILQ_INSERT_TAIL(&dma->todo, map, next);
}

/* Take a mapping out of the tree, and back from the back end if it has it. */
static void dma_remove(VgpuDevice *dev, VgpuMapping *map)
{
    VgpuDma *dma = &dev->dma;

    g_tree_remove(dma->mappings, &map->first);
    dma->count--;
    switch (map->state) {
    case VGPU_MAPPING_NEW:
        QTAILQ_REMOVE(&dma->todo, map, next);
        mapping_put(map);
        break;
    case VGPU_MAPPING_SENT:
    case VGPU_MAPPING_MAPPED:
        map->state = VGPU_MAPPING_DOOMED;
        QTAILQ_INSERT_TAIL(&dma->todo, map, next);
        break;
    case VGPU_MAPPING_REFUSED:
        mapping_put(map);
        break;
    case VGPU_MAPPING_DOOMED:
        g_assert_not_reached();     /* never in the tree */
    }
}

/* Cut a range of addresses out of whatever is mapped there. */
void vgpu_dma_cut(VgpuDevice *dev, uint64_t first, uint64_t last)
{
    VgpuMapping *map;

    while ((map = dma_find(&dev->dma, first, last))) {
        VgpuMapping old = *map;

        memory_region_ref(old.mr);
        dma_remove(dev, map);
        if (old.first < first) {
            dma_insert(dev, old.first, first - 1, old.mr, old.offset,
                       old.writable);
        }
        if (old.last > last) {
            dma_insert(dev, last + 1, old.last, old.mr,
                       old.offset + (last + 1 - old.first), old.writable);
        }
        memory_region_unref(old.mr);
    }
}

void vgpu_dma_map(VgpuDevice *dev, uint64_t first, uint64_t last,
                  MemoryRegion *mr, uint64_t offset, bool writable)
{
    uint64_t mask = dev->dma.page_bytes - 1;
    VgpuMapping *old = dma_find(&dev->dma, first, last);

    if (((first | (last + 1) | offset) & mask) != 0) {
        VGPU_TRACE(dma_skip, "0x%" PRIx64 "-0x%" PRIx64 " %s: not aligned",
                   first, last, memory_region_name(mr));
        return;
    }
    if (old && old->first == first && old->last == last && old->mr == mr &&
        old->offset == offset && old->writable == writable) {
        return;     /* IOMMUs repeat themselves */
    }
    vgpu_dma_cut(dev, first, last);
    dma_insert(dev, first, last, mr, offset, writable);
}

/* ---- Life ---- */

void vgpu_dma_init(VgpuDevice *dev)
{
    VgpuDma *dma = &dev->dma;

    dma->mappings = g_tree_new_full(mapping_compare, NULL, NULL, NULL);
    QTAILQ_INIT(&dma->todo);
    dma->max_maps = DMA_MAX_MAPS;
    dma->page_bytes = VFU_DEFAULT_PGSIZES;
}

void vgpu_dma_fini(VgpuDevice *dev)
{
    vgpu_dma_cut(dev, 0, UINT64_MAX);
    g_tree_destroy(dev->dma.mappings);
}

/* A mapping as a new back end finds it: not there. */
static gboolean mapping_renew(gpointer key, gpointer value, gpointer opaque)
{
    VgpuMapping *map = value;
    VgpuDma *dma = opaque;

    if (map->state != VGPU_MAPPING_NEW) {
        map->state = VGPU_MAPPING_NEW;
        QTAILQ_INSERT_TAIL(&dma->todo, map, next);
    }
    return FALSE;
}

void vgpu_dma_start(VgpuDevice *dev, unsigned max_maps, uint64_t page_bytes)
{
    dev->dma.max_maps = max_maps;
    dev->dma.page_bytes = page_bytes;
    dev->dma.announce = true;
    dma_pump(dev);
}

void vgpu_dma_stop(VgpuDevice *dev)
{
    VgpuDma *dma = &dev->dma;
    VgpuMapping *map, *safe;

    assert(dma->in_flight == 0);    /* the connection was stopped before */
    dma->announce = false;
    QTAILQ_FOREACH_SAFE(map, &dma->todo, next, safe) {
        if (map->state == VGPU_MAPPING_DOOMED) {
            QTAILQ_REMOVE(&dma->todo, map, next);
            mapping_put(map);
        }
    }
    g_tree_foreach(dma->mappings, mapping_renew, dma);
}
