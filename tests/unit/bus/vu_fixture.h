/* SPDX-License-Identifier: MIT */
/*
 * A vfio-user server under test: the real server and device core on one end of a
 * socketpair, the test as client on the other.  What goes up through the bus ops is recorded.
 */
#ifndef VGPU_TESTS_UNIT_BUS_VU_FIXTURE_H
#define VGPU_TESTS_UNIT_BUS_VU_FIXTURE_H

#include <bus/vfio_user.h>
#include <bus/vfio_user_proto.h>

#include "idle_dev.h"

#define VUF_CONTEXTS IDLE_DEV_CONTEXTS

struct vuf {
    int client;
    struct vgpu_vfio_user *vu;
    struct vgpu_dev *dev;
    struct vgpu_dma *dma;
    struct vgpu_irqs irqs;
    int doorbells[VUF_CONTEXTS];
    /* recorded */
    uint32_t last_doorbell; /* UINT32_MAX: none */
    uint32_t irq_changes;   /* bit per vector */
    uint32_t resets;
    bool unmap_busy; /* what dma_unmapped answers, negated */
    uint64_t unmap_cookie;
    uint32_t unmaps;
    /* the last reply */
    struct vu_header reply;
    uint8_t data[1 << 16];
    size_t data_bytes;
    int fds[256];
    size_t fd_count;
};

extern struct vuf vuf;

void vuf_setup(void);       /* connected */
void vuf_setup_ready(void); /* and VERSION done */
void vuf_teardown(void);

/* Send bytes as they are, with descriptors (not consumed). */
void vuf_send_raw(const void *data, size_t bytes, const int *fds, size_t fd_count);
/* Send a command with this payload; let the server serve. Its return value. */
int vuf_send(uint16_t command, uint32_t flags, const void *payload, size_t bytes, const int *fds,
             size_t fd_count);
/* Take in one reply; false if there is none. */
bool vuf_recv(void);
/* Send, serve, expect a reply: its error. */
int vuf_call(uint16_t command, const void *payload, size_t bytes, const int *fds, size_t fd_count);
int vuf_ram(size_t bytes); /* a memfd */

#endif
