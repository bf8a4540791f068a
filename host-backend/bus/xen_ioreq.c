/* SPDX-License-Identifier: MIT */
/*
 * One request of a vCPU: config space, BARs, and which ranges of addresses are ours.
 *
 * A request comes from Xen, but its addresses, sizes and counts are the guest's: everything is
 * checked against the BARs as they are now, and what is outside reads as all ones.
 */
#include <bus/xen_int.h>

#include <errno.h>
#include <string.h>

#define CONFIG_COMMAND      0x04
#define CONFIG_BAR(n)       (0x10 + 4 * (n))
#define CONFIG_CAPABILITIES 0x34
#define CAPABILITY_MSIX     0x11
#define MSIX_ENABLE         0x80000000u
#define COMMAND_MEMORY      0x2u
#define COMMAND_MASTER      0x4u
#define MAX_REPEATS         4096u /* of a string instruction, in one request: Xen's own limit */

/* ---- Ranges ---- */

static uint32_t config_read32(struct vgpu_xen *xen, uint32_t offset)
{
    uint32_t value = 0;

    vgpu_dev_config_read(xen->dev, offset, &value, sizeof(value));
    return value;
}

bool xen_msix_enabled(struct vgpu_xen *xen)
{
    uint32_t at = config_read32(xen, CONFIG_CAPABILITIES) & 0xfc;

    /* Our own list, so it ends. */
    while (at) {
        uint32_t head = config_read32(xen, at);

        if ((head & 0xff) == CAPABILITY_MSIX)
            return head & MSIX_ENABLE;
        at = head >> 8 & 0xfc;
    }
    return false;
}

/* Where the guest has placed a BAR; 0: nowhere, or where nothing can be. */
static uint64_t bar_wanted(struct vgpu_xen *xen, const struct xen_bar *bar)
{
    uint64_t at = (config_read32(xen, CONFIG_BAR(bar->bar)) & ~0xfu) |
                  (uint64_t)config_read32(xen, CONFIG_BAR(bar->bar + 1)) << 32;

    if (!(config_read32(xen, CONFIG_COMMAND) & COMMAND_MEMORY) || at + bar->bytes < at)
        return 0;
    return at;
}

static int range_map(struct vgpu_xen *xen, const struct xen_bar *bar, uint64_t at)
{
    return xen_lib.xendevicemodel_map_io_range_to_ioreq_server(xen->dm, xen->domid, xen->server, 1,
                                                               at, at + bar->bytes - 1);
}

static int range_unmap(struct vgpu_xen *xen, const struct xen_bar *bar, uint64_t at)
{
    return xen_lib.xendevicemodel_unmap_io_range_from_ioreq_server(xen->dm, xen->domid, xen->server,
                                                                   1, at, at + bar->bytes - 1);
}

static void bar_unmap(struct vgpu_xen *xen, struct xen_bar *bar)
{
    if (bar->at && range_unmap(xen, bar, bar->at))
        xen_log(xen, VGPU_DEV_LOG_DEBUG, "BAR %u stays at %#llx: %s", bar->bar,
                (unsigned long long)bar->at, strerror(errno));
    bar->at = 0;
}

/* Tried again at each write of config space, since what is in its way may go; told once. */
static void bar_map(struct vgpu_xen *xen, struct xen_bar *bar, uint64_t at)
{
    if (!range_map(xen, bar, at)) {
        bar->at = at;
        bar->refused = 0;
        return;
    }
    if (bar->refused != at)
        xen_log(xen, VGPU_DEV_LOG_WARN, "BAR %u can't be at %#llx: %s", bar->bar,
                (unsigned long long)at, strerror(errno));
    bar->refused = at;
}

/* Ranges go before others come, since a BAR may move to where another was. */
static void bars_update(struct vgpu_xen *xen)
{
    uint64_t wanted[XEN_BARS];
    bool moves = false;

    xen->master = config_read32(xen, CONFIG_COMMAND) & COMMAND_MASTER;
    for (unsigned int i = 0; i < XEN_BARS; i++) {
        wanted[i] = bar_wanted(xen, &xen->bars[i]);
        xen->bars[i].next = xen->bars[i].at != wanted[i] ? wanted[i] : 0;
        moves |= xen->bars[i].next != 0;
    }
    /* what goes needs no note of its own: the place is in the state already */
    if (moves)
        xen_state_save(xen);
    for (unsigned int i = 0; i < XEN_BARS; i++) {
        if (xen->bars[i].at != wanted[i])
            bar_unmap(xen, &xen->bars[i]);
    }
    for (unsigned int i = 0; i < XEN_BARS; i++) {
        if (wanted[i] && xen->bars[i].at != wanted[i])
            bar_map(xen, &xen->bars[i], wanted[i]);
        xen->bars[i].next = 0;
    }
}

/*
 * The predecessor may have died between any two of its calls.  Where a BAR moved, Xen may have it at
 * either place or at none: both go.  One that did not move stays where it is without a
 * gap, since the guest may be using it; Xen is asked for it all the same, and refuses what is there.
 */
void xen_bars_adopt(struct vgpu_xen *xen)
{
    for (unsigned int i = 0; i < XEN_BARS; i++) {
        struct xen_bar *bar = &xen->bars[i];

        if (bar->at && !bar->next && bar->at == bar_wanted(xen, bar))
            continue;
        bar_unmap(xen, bar);
        if (bar->next && range_unmap(xen, bar, bar->next) && errno != ENOENT)
            xen_log(xen, VGPU_DEV_LOG_WARN, "BAR %u stays at %#llx: %s", bar->bar,
                    (unsigned long long)bar->next, strerror(errno));
    }
    for (unsigned int i = 0; i < XEN_BARS; i++) {
        struct xen_bar *bar = &xen->bars[i];

        if (bar->at && range_map(xen, bar, bar->at) && errno != EEXIST)
            bar->at = 0; /* and is tried again below, with a message */
    }
    bars_update(xen);
    xen_state_save(xen);
}

void xen_bars_unmap(struct vgpu_xen *xen)
{
    for (unsigned int i = 0; i < XEN_BARS; i++)
        bar_unmap(xen, &xen->bars[i]);
}

/* ---- Accesses ---- */

/* Sizes of a processor's accesses. */
static bool size_valid(uint32_t size, uint32_t max)
{
    return size && size <= max && !(size & (size - 1));
}

static uint64_t config_read(struct vgpu_xen *xen, uint64_t addr, uint32_t size)
{
    uint32_t offset = (uint32_t)addr; /* above it, the function: ours */
    uint64_t value = 0;

    if (xen->leaving || offset > VGPU_CONFIG_BYTES - size)
        return ~0ull;
    vgpu_dev_config_read(xen->dev, offset, &value, size);
    return value;
}

static void config_write(struct vgpu_xen *xen, uint64_t addr, uint32_t size, uint64_t value)
{
    uint32_t offset = (uint32_t)addr;

    if (xen->leaving || offset > VGPU_CONFIG_BYTES - size)
        return;
    vgpu_dev_config_write(xen->dev, offset, &value, size);
    xen->changed = true;
}

static const struct xen_bar *bar_of(const struct vgpu_xen *xen, uint64_t addr, uint32_t size)
{
    for (unsigned int i = 0; i < XEN_BARS; i++) {
        const struct xen_bar *bar = &xen->bars[i];

        if (bar->at && addr >= bar->at && addr - bar->at <= bar->bytes - size)
            return bar;
    }
    return NULL;
}

static uint64_t mmio_read(struct vgpu_xen *xen, uint64_t addr, uint32_t size)
{
    const struct xen_bar *bar = bar_of(xen, addr, size);
    uint64_t value = 0;

    if (!bar)
        return ~0ull;
    vgpu_dev_bar_read(xen->dev, bar->bar, addr - bar->at, &value, size);
    return value;
}

static void mmio_write(struct vgpu_xen *xen, uint64_t addr, uint32_t size, uint64_t value)
{
    const struct xen_bar *bar = bar_of(xen, addr, size);
    uint32_t doorbell = UINT32_MAX;

    if (!bar)
        return;
    vgpu_dev_bar_write(xen->dev, bar->bar, addr - bar->at, &value, size, &doorbell);
    if (bar->bar == VGPU_BAR_MSIX)
        xen->changed = true;
    if (doorbell != UINT32_MAX)
        xen->ops->doorbell(xen->opaque, doorbell);
}

static uint64_t step_read(struct vgpu_xen *xen, const ioreq_t *req, uint64_t addr)
{
    return req->type == IOREQ_TYPE_PCI_CONFIG ? config_read(xen, addr, req->size)
                                              : mmio_read(xen, addr, req->size);
}

static void step_write(struct vgpu_xen *xen, const ioreq_t *req, uint64_t addr, uint64_t value)
{
    if (req->type == IOREQ_TYPE_PCI_CONFIG)
        config_write(xen, addr, req->size, value);
    else
        mmio_write(xen, addr, req->size, value);
}

/* One of a string instruction's steps; its data are at an address in guest memory. */
static int string_step(struct vgpu_xen *xen, const ioreq_t *req, uint64_t addr, uint64_t data)
{
    uint64_t value = 0;
    int ret;

    if (req->dir == IOREQ_READ) {
        value = step_read(xen, req, addr);
        return xen_memory_write(xen, data, &value, req->size);
    }
    ret = xen_memory_read(xen, data, &value, req->size);
    if (!ret)
        step_write(xen, req, addr, value);
    return ret;
}

static void string_access(struct vgpu_xen *xen, const ioreq_t *req, uint64_t step, uint64_t move)
{
    xen->stats.strings++;
    for (uint32_t i = 0; i < req->count; i++) {
        if (string_step(xen, req, req->addr + move * i, req->data + step * i)) {
            xen_log(xen, VGPU_DEV_LOG_WARN, "string access: no memory at %#llx",
                    (unsigned long long)(req->data + step * i));
            return;
        }
    }
}

static void access_serve(struct vgpu_xen *xen, ioreq_t *req, uint32_t max_size)
{
    uint64_t step = req->df ? -(uint64_t)req->size : req->size;
    /* config space is reached through a port, which stays where it is while memory goes on */
    uint64_t move = req->type == IOREQ_TYPE_PCI_CONFIG ? 0 : step;

    if (!size_valid(req->size, max_size) || req->count > MAX_REPEATS) {
        xen_log(xen, VGPU_DEV_LOG_WARN, "access of %u bytes, %u times, is none of Xen's", req->size,
                req->count);
        if (req->dir == IOREQ_READ && !req->data_is_ptr)
            req->data = ~0ull;
    } else if (req->data_is_ptr) {
        string_access(xen, req, step, move);
    } else if (req->dir == IOREQ_READ) {
        req->data = step_read(xen, req, req->addr);
    } else {
        for (uint32_t i = 0; i < req->count; i++)
            step_write(xen, req, req->addr + move * i, req->data);
    }
}

static void config_access(struct vgpu_xen *xen, ioreq_t *req)
{
    xen->stats.config++;
    access_serve(xen, req, 4);
    if (xen->changed)
        bars_update(xen);
}

static void mmio_access(struct vgpu_xen *xen, ioreq_t *req)
{
    xen->stats.mmio++;
    access_serve(xen, req, 8);
}

void xen_serve(struct vgpu_xen *xen, ioreq_t *req)
{
    xen->changed = false;
    switch (req->type) {
    case IOREQ_TYPE_PCI_CONFIG: config_access(xen, req); break;
    case IOREQ_TYPE_COPY: mmio_access(xen, req); break;
    case IOREQ_TYPE_INVALIDATE: xen_cache_drop(xen); break;
    default:
        req->data = ~0ull;
        xen_log(xen, VGPU_DEV_LOG_WARN, "request of unknown type %u", req->type);
    }
    if (xen->changed)
        xen_state_save(xen);
}
