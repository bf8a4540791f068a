/* SPDX-License-Identifier: MIT */
/*
 * The vfio-user bus: serves one device to one client over one connected socket.
 *
 * Theory of operation.  The server is passive: the vm process's event loop calls
 * vgpu_vfio_user_receive() when the socket is readable and vgpu_vfio_user_send() when it is
 * writable.  Neither blocks.  While a reply waits for room in the socket no further message is
 * taken in, so a client that does not read holds up only itself.
 *
 * Two commands may be answered later: DMA_UNMAP, when something still uses the memory, and
 * DEVICE_RESET, until the device's executors have been reaped.  Later messages are served
 * meanwhile; replies carry message ids.
 *
 * What the client does wrong.  A message that is well formed but wrong in its values gets
 * an error reply.  A message that can't be framed - sizes, types, descriptors cut off, anything before
 * VERSION - ends the connection, because nothing after it can be trusted.
 *
 * Accesses go to the device core, memory to the DMA table, vectors to the irq table;
 * what concerns executors goes up through struct vgpu_bus_ops.
 */
#ifndef VGPU_BUS_VFIO_USER_H
#define VGPU_BUS_VFIO_USER_H

#include <stdbool.h>
#include <bus/dma.h>
#include <bus/irqs.h>
#include <device/device.h>

struct vgpu_vfio_user;

/* What a bus needs of the vm process.  All are required. */
struct vgpu_bus_ops {
    /* A doorbell write came as a message: signal that context's doorbell. */
    void (*doorbell)(void *opaque, uint32_t ctx);
    /* The eventfd a context's doorbell rings; stays the caller's. */
    int (*doorbell_fd)(void *opaque, uint32_t ctx);
    /* The effective descriptor of a vector changed. */
    void (*irq_changed)(void *opaque, unsigned int vector);
    /* A range left the DMA table.  True: nothing uses it any more.  False: not yet; answered
     * by vgpu_vfio_user_unmap_done() with the same cookie. */
    bool (*dma_unmapped)(void *opaque, uint64_t addr, uint64_t bytes, uint64_t cookie);
    /* One line about the client's doings; the callee rate-limits. */
    void (*log)(void *opaque, enum vgpu_dev_log level, const char *message);
};

struct vgpu_vfio_user_config {
    uint32_t contexts; /* doorbells to offer */
};

/* Take over a connected, non-blocking stream socket.  NULL: out of memory (fd is closed). */
struct vgpu_vfio_user *vgpu_vfio_user_create(int fd, const struct vgpu_vfio_user_config *config,
                                             struct vgpu_dev *dev, struct vgpu_dma *dma,
                                             struct vgpu_irqs *irqs, const struct vgpu_bus_ops *ops,
                                             void *opaque);
void vgpu_vfio_user_destroy(struct vgpu_vfio_user *vu);

int vgpu_vfio_user_fd(const struct vgpu_vfio_user *vu);
/* Serve what has arrived, up to a fixed number of messages.  0; -ECONNRESET: the client went away;
 * -EPROTO: it talks nonsense; other -errno.  Nonzero: destroy the connection. */
VGPU_MUST_CHECK int vgpu_vfio_user_receive(struct vgpu_vfio_user *vu);
/* Send what waits.  0, or -errno as above. */
VGPU_MUST_CHECK int vgpu_vfio_user_send(struct vgpu_vfio_user *vu);
/* A reply waits for room: watch for writability, and don't call receive(). */
bool vgpu_vfio_user_wants_send(const struct vgpu_vfio_user *vu);

void vgpu_vfio_user_unmap_done(struct vgpu_vfio_user *vu, uint64_t cookie);
void vgpu_vfio_user_reset_done(struct vgpu_vfio_user *vu);

/* Messages served, and those refused with an error reply. */
void vgpu_vfio_user_get_stats(const struct vgpu_vfio_user *vu, uint64_t *messages,
                              uint64_t *refused);

#endif /* VGPU_BUS_VFIO_USER_H */
