/* SPDX-License-Identifier: MIT */
/*
 * Self-isolation of the processes that guests control, in stages:
 *
 *   1 start        no new privileges, no core dumps, not traceable, few descriptors
 *   2 namespaces   started as root: network, IPC and host name of its own, an empty root directory
 *   3 user         started as root: another user, no capabilities; dies with its parent
 *   4 system calls an allow-list (isolation_seccomp.c), the last thing before guest data
 *
 * vm process: 1, 2, 3, 4.  Its spawner: 1, 2 without the root directory (it starts a program), 3, and
 * of the capabilities it keeps the one to change its root, for the programs it starts.  exec process:
 * inherits those, enters the empty root and drops that capability as the first thing it does, then 4
 * with a limit of private memory by vgpu_exec_set_lockdown().  A cuda executor's driver opens devices
 * at any time: it keeps its root, has no such limit, and its list only refuses what no driver does.
 */
#ifndef VGPU_DAEMON_ISOLATION_H
#define VGPU_DAEMON_ISOLATION_H

#include <stdint.h>
#include <sys/types.h>

#ifndef VGPU_MUST_CHECK
#define VGPU_MUST_CHECK __attribute__((warn_unused_result))
#endif

/* Sanitizers trace the process and make system calls of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VGPU_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define VGPU_SANITIZED 1
#endif
#endif
#ifndef VGPU_SANITIZED
#define VGPU_SANITIZED 0
#endif

/* All return 0 or -errno; the caller must not go on after a failure. */
VGPU_MUST_CHECK int vgpu_isolate_start(void);
VGPU_MUST_CHECK int vgpu_isolate_namespaces(void);
/* A directory made below `parent` and removed again, so empty for ever: its descriptor, or -errno. */
VGPU_MUST_CHECK int vgpu_isolate_empty_dir(const char *parent);
/* Make the directory the root, and close it. */
VGPU_MUST_CHECK int vgpu_isolate_root(int dir);
VGPU_MUST_CHECK int vgpu_isolate_user(uid_t uid, gid_t gid);
/* The same, but programs started from here may still do vgpu_isolate_root(), and then drop that right
 * with vgpu_isolate_capabilities(). */
VGPU_MUST_CHECK int vgpu_isolate_user_but_root(uid_t uid, gid_t gid);
/* None left, of this thread. */
VGPU_MUST_CHECK int vgpu_isolate_capabilities(void);
/* Dies when its parent does; -ESRCH: the parent is not `parent` any more. */
VGPU_MUST_CHECK int vgpu_isolate_tie(pid_t parent);

VGPU_MUST_CHECK int vgpu_isolate_vm_syscalls(void);
VGPU_MUST_CHECK int vgpu_isolate_exec_syscalls(uint32_t exec_kind);
/* Fits vgpu_exec_set_lockdown(): the memory limit, then the system calls. */
VGPU_MUST_CHECK int vgpu_isolate_exec(uint32_t exec_kind, uint64_t memory_limit);

#endif /* VGPU_DAEMON_ISOLATION_H */
