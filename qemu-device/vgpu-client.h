/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vfio-user message transport over a connected AF_UNIX socket.
 *
 * Framing, descriptors, message ids, time limits; nothing of what the messages
 * mean.  See vgpu-client.c for the rules.
 */
#ifndef VGPU_CLIENT_H
#define VGPU_CLIENT_H

#include "exec/memory.h"
#include "vgpu-proto.h"

/* What one message may carry (the kernel's own limit for SCM_RIGHTS). */
#define VGPU_CLIENT_MAX_FDS      253
/* Data in a command of the peer, and with it its payload; all are refused. */
#define VGPU_CLIENT_MAX_DATA     4096
#define VGPU_CLIENT_MAX_COMMAND  (VGPU_CLIENT_MAX_DATA + 64)
/* How many of them we refuse before the connection is given up. */
#define VGPU_CLIENT_MAX_COMMANDS 1024
/* Messages queued or unanswered before the peer counts as stuck. */
#define VGPU_CLIENT_MAX_QUEUED   4096

typedef struct VgpuClient VgpuClient;

/*
 * A reply, valid during the callback.  To keep a descriptor, take it out and
 * leave -1; the others are closed afterwards.
 */
typedef struct VgpuReply {
    int error;                  /* the peer's; ECONNABORTED: it won't answer */
    const void *data;
    size_t len;
    int *fds;
    unsigned nr_fds;
} VgpuReply;

/*
 * Called exactly once for each request, also for one that could not be sent, at
 * the latest when the connection is stopped.  May be called in the middle of
 * vgpu_client_wait(), so it may only look at the reply, note the result, and
 * send further requests.
 */
typedef void VgpuReplyFunc(void *opaque, VgpuReply *reply);

typedef struct VgpuClientMessage {
    uint16_t command;
    bool no_reply;
    const void *data[2];        /* payload in up to two parts */
    size_t len[2];
    const int *fds;             /* stay the caller's */
    unsigned nr_fds;
    MemoryRegion *mr;           /* owner of fds[0], kept alive until sent */
    size_t max_reply;           /* largest payload accepted in the reply */
    VgpuReplyFunc *reply;
    void *opaque;
} VgpuClientMessage;

struct VgpuClient {
    int fd;                     /* -1: stopped */
    bool broken;                /* no further I/O; vgpu_client_stop() is due */
    bool timed_out;             /* because somebody waited in vain */
    char *reason;               /* why it broke */
    uint16_t next_id;
    unsigned commands;          /* that the peer has sent */
    GHashTable *pending;        /* id -> VgpuRequest */
    GQueue queue;               /* VgpuOutgoing not yet (wholly) sent */
    bool watch_read, watch_write; /* what the main loop polls for */
    QEMUBH *broken_bh;
    void (*progress)(void *opaque);
    void *opaque;

    /* The message being received */
    VfuHeader hdr;
    uint8_t *payload;
    size_t got;                 /* bytes so far, header included */
    int rx_fds[VGPU_CLIENT_MAX_FDS];
    unsigned nr_rx_fds;
};

/*
 * @broken runs from the main loop when the connection has failed; it shall call
 * vgpu_client_stop().  @progress runs at each reply that arrives.
 */
void vgpu_client_init(VgpuClient *client, QEMUBHFunc *broken,
                      void (*progress)(void *opaque), void *opaque);
void vgpu_client_fini(VgpuClient *client);

/* Take over a connected, non-blocking socket. */
void vgpu_client_start(VgpuClient *client, int fd);
/* Close it; requests still open end with ECONNABORTED. */
void vgpu_client_stop(VgpuClient *client);

static inline bool vgpu_client_is_up(const VgpuClient *client)
{
    return client->fd >= 0 && !client->broken;
}

/* Nothing to send, nothing unanswered. */
static inline bool vgpu_client_is_idle(VgpuClient *client)
{
    return g_queue_is_empty(&client->queue) &&
           g_hash_table_size(client->pending) == 0;
}

/*
 * Queue a message and send as much of the queue as the socket takes.  False if
 * the connection is, or has become, unusable.
 */
bool vgpu_client_send(VgpuClient *client, const VgpuClientMessage *msg);

/*
 * Serve the socket until nothing is left to send and, if @done is given, it
 * returns true.  Blocks at most @timeout_ms; past that the connection is
 * broken.  False if it is.
 */
bool vgpu_client_wait(VgpuClient *client, bool (*done)(void *opaque),
                      void *opaque, unsigned timeout_ms, const char *what);

/*
 * Send a request and wait for its reply, of which at most @size bytes go to
 * @buf.  Returns the length of the reply's payload; -errno if the peer answered
 * with an error; -EPIPE if the connection is unusable.
 */
ssize_t vgpu_client_call(VgpuClient *client, const VgpuClientMessage *msg,
                         void *buf, size_t size, unsigned timeout_ms,
                         const char *what);

/* Give the connection up: the peer broke the protocol. */
void vgpu_client_break(VgpuClient *client, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

#endif /* VGPU_CLIENT_H */
