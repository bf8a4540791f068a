/* SPDX-License-Identifier: MIT */
/*
 * The buffers a guest kernel registered for this context, by id; id 0 is the argument arena.
 *
 * Theory of operation.  A buffer arrives in steps (proto.h: BEGIN with the descriptors, ADD with
 * runs, COMMIT) and then is LIVE.  Runs are whole pages, so they are mapped one behind the
 * other into one reservation: a mapped buffer is a single span.  A buffer of
 * too many runs, or one whose runs the kernel refuses to map at 4 KiB granularity, stays
 * *staged*: its descriptors are kept and data moves by pread()/pwrite().  Users of
 * vgpu_gbuf_read()/_write() (exec/job.h) need not know which it is.
 *
 * Dropping.  DROP makes a buffer unusable for new commands at once; it is unmapped
 * when the last job that holds a reference gives it back and the executor has let go of it, and the caller is
 * told (by vgpu_gbufs_drop() or by a later vgpu_gbufs_collect()).
 *
 * Safety.  Lookups check id, state, direction and range; a struct vgpu_gbuf that they returned
 * needs no further check.  Pages may vanish under a mapping (the peer truncates its file): the access
 * then ends this process by SIGBUS, which costs this context only.
 *
 * Threads: table functions and vgpu_gbuf_get()/_put() belong to the drain thread; vgpu_gbuf_read(),
 * _write() and _spans() may be called from any thread while a reference is held.
 */
#ifndef VGPU_EXEC_GBUF_H
#define VGPU_EXEC_GBUF_H

#include <exec/job.h>
#include <exec/proto.h>

#define VGPU_GBUF_MAX_MAPPINGS 49152 /* of the 65530 a process may have */

struct vgpu_gbufs {
    struct vgpu_gbuf **slots;
    uint32_t max;
    uint32_t live;
    uint32_t dropping;
    uint32_t mappings; /* one per mapped run */
    uint32_t mappings_max;
    /* Called before a buffer is unmapped; may be NULL.  False: it must stay, to the process's end. */
    bool (*detach)(void *opaque, struct vgpu_gbuf *buf);
    void *opaque;
};

int vgpu_gbufs_init(struct vgpu_gbufs *bufs, uint32_t max) __attribute__((warn_unused_result));
/* Unmaps everything, referenced or not: no executor may be running. */
void vgpu_gbufs_fini(struct vgpu_gbufs *bufs);

/* The steps of registering; VGPU_ST_*.  begin() takes over the descriptors, whatever it returns. */
uint16_t vgpu_gbufs_begin(struct vgpu_gbufs *bufs, const struct vgpu_x_buf *msg, const int *fds,
                          uint32_t fd_count) __attribute__((warn_unused_result));
uint16_t vgpu_gbufs_add(struct vgpu_gbufs *bufs, uint32_t id, const struct vgpu_xrun *runs,
                        uint32_t count) __attribute__((warn_unused_result));
/* On failure the buffer is gone again. */
uint16_t vgpu_gbufs_commit(struct vgpu_gbufs *bufs, uint32_t id)
    __attribute__((warn_unused_result));

enum vgpu_gbuf_drop {
    VGPU_GBUF_DROPPED, /* unmapped */
    VGPU_GBUF_IN_USE,  /* unusable now, unmapped later: see vgpu_gbufs_is_gone() */
    VGPU_GBUF_NONE,    /* no such buffer */
};
enum vgpu_gbuf_drop vgpu_gbufs_drop(struct vgpu_gbufs *bufs, uint32_t id);

/* Unmap what was dropped and is no longer used.  True if anything was. */
bool vgpu_gbufs_collect(struct vgpu_gbufs *bufs);
bool vgpu_gbufs_is_gone(const struct vgpu_gbufs *bufs, uint32_t id);

/*
 * A guest's command names [off, off + bytes) of buffer `id` for direction `access` (VGPU_BUF_DEVICE_*).
 * VGPU_ST_OK with *out, or BAD_BUFFER, BAD_RANGE, BAD_ACCESS, checked in this order.
 */
uint16_t vgpu_gbufs_find(const struct vgpu_gbufs *bufs, uint32_t id, uint32_t access, uint64_t off,
                         uint64_t bytes, struct vgpu_gbuf **out)
    __attribute__((warn_unused_result));

/* Map `count` runs of whole pages one behind the other.  0 with *map and *map_bytes, or -errno. */
int vgpu_runs_map(const struct vgpu_xrun *runs, uint32_t count, const int *fds, uint32_t fd_count,
                  int prot, void **map, size_t *map_bytes) __attribute__((warn_unused_result));

#endif /* VGPU_EXEC_GBUF_H */
