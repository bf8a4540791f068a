/* SPDX-License-Identifier: MIT */
/*
 * A real vgpud under test, in a directory of its own.
 *
 * vgpud_start() runs the vgpud that was built beside the test program, with one
 * socket per VM, a control socket and a log file below a fresh temporary
 * directory; the daemon dies with the test.  vgpud_stop() ends it by SIGTERM and
 * judges: exit status 0, in time, nothing of its process tree left, and no
 * sanitizer report in the log.
 */
#ifndef VGPU_TESTS_VGPUD_PROC_H
#define VGPU_TESTS_VGPUD_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VGPUD_MAX_VMS 4

/* Sanitizers slow the daemon tenfold: loops run less often there. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define VGPUD_SANITIZED 1
#else
#define VGPUD_SANITIZED 0
#endif
#define VGPUD_CYCLES(full, sanitized) (VGPUD_SANITIZED ? (sanitized) : (full))

struct vgpud {
    pid_t pid; /* 0: not running */
    char dir[64];
    char control[96];
    char log[96];
    char sockets[VGPUD_MAX_VMS][96]; /* of VMs vm0, vm1, ... */
    unsigned int vms;
    char *options[VGPUD_MAX_VMS];
};

/* What is started: a name in bin/ beside the test's own folder, or a path from there. */
extern const char *vgpud_program;

/* One VM per string: everything after name= and socket=, such as "executor=cpu,memory=1G".
 * 0 or -errno, with the log on stderr. */
int vgpud_start(struct vgpud *d, const char *const *vm_options, unsigned int vms);
/* Start again after a kill, in the same directory with the same sockets. */
int vgpud_restart(struct vgpud *d);
/* SIGTERM, wait, judge, remove the directory.  0, or -errno with the log on stderr. */
int vgpud_stop(struct vgpud *d);
/* kill -9, and reap. The children's fate is the test's subject. */
void vgpud_kill(struct vgpud *d);

/* The whole log, freed by the caller; NULL when unreadable. */
char *vgpud_log(const struct vgpud *d);
/* Wait until the log contains `text`. */
bool vgpud_log_wait(const struct vgpud *d, const char *text, unsigned int timeout_ms);

/* ---- /proc ---- */

/* Children of `pid`, at most `room`; how many there are. */
size_t proc_children(pid_t pid, pid_t *out, size_t room);
/* All descendants. */
size_t proc_tree(pid_t pid, pid_t *out, size_t room);
bool proc_alive(pid_t pid); /* exists and is no zombie */
bool proc_wait_gone(pid_t pid, unsigned int timeout_ms);
/* user + system time in clock ticks; 0 when gone */
uint64_t proc_cpu_ticks(pid_t pid);
size_t proc_fd_count(pid_t pid);
uint64_t proc_rss_bytes(pid_t pid);

#endif /* VGPU_TESTS_VGPUD_PROC_H */
