/* SPDX-License-Identifier: MIT */
/*
 * What outlives a server that was killed.
 *
 * Xen keeps an ioreq server until it is destroyed or its domain is: the vCPUs go on sending it
 * requests, and wait.  Also the guest goes on using the BARs and the messages that it programmed.
 * So both are kept in a file that the owner provides: a server that finds itself there adopts the
 * one in Xen, with the requests that wait in it, instead of registering another.
 *
 * The file is written before the access that changed something is answered: what a guest has seen
 * done has been written.  A BAR's move is written before Xen is told of it, with the place where it was
 * and the one where it goes: whichever of them Xen knows, a successor finds it.  A server whose process died
 * before it had the device's PCI function is not to be adopted, but destroyed.
 *
 * A regular end takes the state away.  The file survives the domain, so it
 * names it; ids of domains do not come again until the host reboots.
 */
#include <bus/xen_int.h>

#include <string.h>
#include <unistd.h>

#define STATE_OFFSET  4096 /* in front: the generation, which has a format of its own */
#define STATE_MAGIC   0x32737876u
#define CONFIG_OFFSET 0x04 /* the ids in front never change */
#define CONFIG_BYTES  252u
#define TABLE_BYTES   (16u * VGPU_MSIX_VECTORS)

struct xen_state {
    uint32_t magic; /* 0: none */
    uint32_t domid;
    uint32_t slot;
    uint32_t server;
    uint32_t placed; /* 1: it has the device's PCI function */
    uint32_t rsvd;
    struct {
        uint64_t at, next; /* as in struct xen_bar */
    } bars[XEN_BARS];
    uint32_t config[CONFIG_BYTES / 4];
    uint32_t table[TABLE_BYTES / 4];
};

void xen_state_save(struct vgpu_xen *xen)
{
    struct xen_state state = {
        .magic = STATE_MAGIC, .domid = xen->domid, .slot = xen->slot, .server = xen->server};

    state.placed = xen->stage >= XEN_PLACED;
    for (unsigned int i = 0; i < XEN_BARS; i++) {
        state.bars[i].at = xen->bars[i].at;
        state.bars[i].next = xen->bars[i].next;
    }
    vgpu_dev_config_read(xen->dev, CONFIG_OFFSET, state.config, sizeof(state.config));
    for (uint32_t i = 0; xen->msix && i < TABLE_BYTES / 4; i++)
        vgpu_msix_bar_read(xen->msix, VGPU_MSIX_TABLE_OFFSET + 4 * i, &state.table[i], 4);
    if (pwrite(xen->state_fd, &state, sizeof(state), STATE_OFFSET) != sizeof(state))
        xen_log(xen, VGPU_DEV_LOG_WARN,
                "its state can't be kept: if this process dies, "
                "no other can take the domain over");
}

void xen_state_clear(struct vgpu_xen *xen)
{
    const uint32_t none = 0;

    if (pwrite(xen->state_fd, &none, sizeof(none), STATE_OFFSET) != sizeof(none))
        xen_log(xen, VGPU_DEV_LOG_WARN, "its state can't be taken away");
}

static bool state_load(const struct vgpu_xen *xen, struct xen_state *state)
{
    return pread(xen->state_fd, state, sizeof(*state), STATE_OFFSET) == sizeof(*state) &&
           state->magic == STATE_MAGIC && state->domid == xen->domid && state->slot == xen->slot;
}

enum xen_left xen_state_find(struct vgpu_xen *xen)
{
    struct xen_state state;

    if (!state_load(xen, &state) ||
        xen_lib.xendevicemodel_get_ioreq_server_info(xen->dm, xen->domid, (ioservid_t)state.server,
                                                     NULL, NULL, NULL))
        return XEN_LEFT_NOTHING;
    xen->server = (ioservid_t)state.server;
    return state.placed ? XEN_LEFT_WHOLE : XEN_LEFT_BEGUN;
}

void xen_state_restore(struct vgpu_xen *xen)
{
    struct xen_state state;

    if (!state_load(xen, &state))
        return;
    for (uint32_t i = 0; i < TABLE_BYTES / 4; i++)
        vgpu_msix_bar_write(xen->msix, VGPU_MSIX_TABLE_OFFSET + 4 * i, &state.table[i], 4);
    vgpu_dev_config_write(xen->dev, CONFIG_OFFSET, state.config, sizeof(state.config));
    for (unsigned int i = 0; i < XEN_BARS; i++) {
        xen->bars[i].at = state.bars[i].at;
        xen->bars[i].next = state.bars[i].next;
    }
}
