/* SPDX-License-Identifier: MIT */
/*
 * Starting processes: the roles of this one binary, and the spawner of a vm process.
 *
 * vgpud starts vm and probe processes itself.  A vm process, being guest-controlled,
 * may neither fork nor exec; its *spawner* does that for it: a child that the vm process makes
 * before it locks itself in, and that never sees guest data.  Asked over a socketpair for
 * "an exec process for context N with this socket", it starts one as a child of the *vm process*
 * (CLONE_PARENT) and hands back its pidfd.  It starts nothing else, and dies with its
 * vm process.
 */
#ifndef VGPU_DAEMON_SPAWN_H
#define VGPU_DAEMON_SPAWN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <daemon/loop.h>

#define VGPU_SPAWN_FIRST_FD 3 /* the child's descriptors are numbered from here */
#define VGPU_SPAWN_MAX_FDS  8

/*
 * Run `exe_fd` with argv, a clean environment but for what sanitizers and the dynamic loader
 * were given, and exactly fds[0..count) beside standard in, out and error.  `sibling`: the child is
 * the caller's parent's.  The pid, or -errno; *pidfd is the caller's.  An exec that fails
 * shows as exit status 127.  Single-threaded callers only.
 */
VGPU_MUST_CHECK pid_t vgpu_spawn(int exe_fd, char *const argv[], const int *fds, size_t count,
                                 int sibling, int *pidfd);

/* Close every descriptor from `first` up. */
void vgpu_close_from(unsigned int first);

/* The last argument of an exec process that was given VGPU_XFD_ROOT. */
#define VGPU_ROLE_EXEC_ROOTED "rooted"

struct vgpu_spawn_request {
    uint32_t ctx;
    uint32_t serial; /* returned in the answer */
};

struct vgpu_spawn_answer {
    uint32_t ctx;
    uint32_t serial;
    int32_t pid; /* or -errno; with a pid the pidfd comes along */
};

struct vgpu_spawner_config {
    int exe_fd;
    int lock_fd;
    const char *kind; /* executor's name */
    const char *vm_name;
    int root_fd; /* exec processes make this directory their root; -1: they keep theirs */
};

/*
 * The spawner's whole life; returns its exit status.  `sock` is a SOCK_SEQPACKET socket; each request
 * carries one descriptor, the exec process's end of the conversation (exec/proto.h).
 */
int vgpu_spawner_main(int sock, const struct vgpu_spawner_config *config);

/* One SOCK_SEQPACKET message with at most one descriptor.  fd -1: none.  0 or -errno. */
VGPU_MUST_CHECK int vgpu_msg_send(int sock, const void *data, size_t bytes, int fd);
/* Exactly `bytes` long, or -EPROTO.  *fd is -1 if none came. -ECONNRESET at the end. */
VGPU_MUST_CHECK int vgpu_msg_recv(int sock, void *data, size_t bytes, int *fd);

#endif /* VGPU_DAEMON_SPAWN_H */
