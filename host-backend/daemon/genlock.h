/* SPDX-License-Identifier: MIT */
/*
 * The generation file of a VM: a lock and a counter.
 *
 * The lock (flock) belongs to an open file description that the vm process got from vgpud and
 * that its exec processes inherit (VGPU_XFD_LOCK): it is free again only when the last of them
 * has ended, however it ended.  A back end that has the lock therefore knows that no executor of
 * an older one can touch guest memory, and only then counts up and announces itself.
 */
#ifndef VGPU_DAEMON_GENLOCK_H
#define VGPU_DAEMON_GENLOCK_H

#include <stdint.h>

#ifndef VGPU_MUST_CHECK
#define VGPU_MUST_CHECK __attribute__((warn_unused_result))
#endif

/* Try to take the lock and count up. 0; -EAGAIN: still held; other -errno: the file is no good. */
VGPU_MUST_CHECK int vgpu_genlock_take(int fd, uint32_t *generation);

#endif /* VGPU_DAEMON_GENLOCK_H */
