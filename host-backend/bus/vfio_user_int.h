/* SPDX-License-Identifier: MIT */
/*
 * Private to the vfio-user server: the connection, and one message on its way
 * through a handler.  vfio_user.c frames, dispatches and replies; vfio_user_cmd.c and
 * vfio_user_irq.c hold the handlers.
 */
#ifndef VGPU_BUS_VFIO_USER_INT_H
#define VGPU_BUS_VFIO_USER_INT_H

#include <bus/vfio_user.h>
#include <bus/vfio_user_proto.h>

#define VU_MAX_FDS       253u       /* SCM_MAX_FD of Linux */
#define VU_LEAST_MAX_FDS 16u        /* what we take of any client, per message */
#define VU_MAX_DATA      (1u << 20) /* bytes of one REGION_READ or REGION_WRITE */
#define VU_MAX_MESSAGE   (VU_MAX_DATA + 4096u)
#define VU_MAX_DEFERRED  1024u /* unanswered DMA_UNMAP and RESET */
#define VU_BUDGET        64u   /* messages per receive() */
#define VU_DEFERRED      1     /* a handler's answer: the reply comes later */

/* A message being handled.  What the handler takes from `fds` it replaces by -1. */
struct vu_msg {
    struct vu_header header;
    const uint8_t *payload;
    size_t payload_bytes;
    int *fds;
    size_t fd_count;
    /* the reply's payload, in vu->reply, and its descriptors (stay their owner's) */
    size_t reply_bytes;
    int reply_fds[VU_MAX_FDS];
    size_t reply_fd_count;
};

struct vu_deferred {
    uint64_t cookie; /* of the unmap; 0: waits for a reset */
    struct vu_header header;
    struct vu_dma_unmap unmap; /* echoed in the reply */
};

struct vu_out; /* a queued reply */

struct vgpu_vfio_user {
    int fd;
    struct vgpu_vfio_user_config config;
    struct vgpu_dev *dev;
    struct vgpu_dma *dma;
    struct vgpu_irqs *irqs;
    const struct vgpu_bus_ops *ops;
    void *opaque;

    bool negotiated;
    uint32_t client_max_fds; /* descriptors the client takes in one message */

    uint8_t *rx; /* the message being received, header included */
    size_t rx_room;
    size_t rx_got;
    int rx_fds[VU_MAX_FDS];
    size_t rx_fd_count;

    uint8_t *reply; /* the handler's reply payload */
    size_t reply_room;
    struct vu_out *out_first;
    struct vu_out *out_last;

    struct vu_deferred *deferred;
    uint32_t deferred_count;
    uint64_t next_cookie;

    uint64_t messages;
    uint64_t refused;
};

/* Room for a reply of `bytes`; NULL: out of memory. */
uint8_t *vu_reply_room(struct vgpu_vfio_user *vu, size_t bytes);
/* Note that the message is answered later; -ENOBUFS: too many are. */
VGPU_MUST_CHECK int vu_defer(struct vgpu_vfio_user *vu, const struct vu_msg *msg, uint64_t cookie,
                             const struct vu_dma_unmap *unmap);
void vu_log(struct vgpu_vfio_user *vu, enum vgpu_dev_log level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Handlers: 0, VU_DEFERRED, or -errno for the error reply. */
int vu_cmd_version(struct vgpu_vfio_user *vu, struct vu_msg *msg);
int vu_cmd_dma_map(struct vgpu_vfio_user *vu, struct vu_msg *msg);
int vu_cmd_dma_unmap(struct vgpu_vfio_user *vu, struct vu_msg *msg);
int vu_cmd_get_info(struct vgpu_vfio_user *vu, struct vu_msg *msg);
int vu_cmd_get_region_info(struct vgpu_vfio_user *vu, struct vu_msg *msg);
int vu_cmd_get_region_io_fds(struct vgpu_vfio_user *vu, struct vu_msg *msg);
int vu_cmd_get_irq_info(struct vgpu_vfio_user *vu, struct vu_msg *msg);
int vu_cmd_set_irqs(struct vgpu_vfio_user *vu, struct vu_msg *msg);
int vu_cmd_region_read(struct vgpu_vfio_user *vu, struct vu_msg *msg);
int vu_cmd_region_write(struct vgpu_vfio_user *vu, struct vu_msg *msg);
int vu_cmd_reset(struct vgpu_vfio_user *vu, struct vu_msg *msg);

#endif /* VGPU_BUS_VFIO_USER_INT_H */
