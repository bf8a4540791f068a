/* SPDX-License-Identifier: MIT */
/*
 * Log lines of the daemon's processes: one write() to standard error each, so that lines of
 * several processes never mix.
 *
 *   vgpud[812]: warning: vm3(build) ctx2: executor process died: signal 9
 *
 * What a guest can cause is limited per source: a struct vgpu_log_limit lets a burst through, then
 * a line per second, and says how many it left out.  The control path (start, attach, contexts) and
 * the data path (messages, buffers, interrupts) have a debug switch each.
 */
#ifndef VGPU_DAEMON_LOG_H
#define VGPU_DAEMON_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vgpu_log_level { VGPU_LOG_ERROR, VGPU_LOG_WARN, VGPU_LOG_INFO, VGPU_LOG_DEBUG };

#define VGPU_LOG_CONTROL (1u << 0)
#define VGPU_LOG_DATA    (1u << 1)

struct vgpu_log_limit {
    uint64_t refill_ms; /* when a token was last added; 0: never used */
    uint32_t tokens;
    uint32_t left_out;
};

/* Level and debug switches of this process; `tag` stands in each line before the message ("" or
 * like "vm3(build)") and is copied. */
void vgpu_log_setup(enum vgpu_log_level level, uint32_t debug, const char *tag);
enum vgpu_log_level vgpu_log_get_level(void);
uint32_t vgpu_log_get_debug(void);

void vgpu_log(enum vgpu_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A line whose cause a guest controls. */
void vgpu_log_limited(struct vgpu_log_limit *limit, enum vgpu_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Shown only with that switch on, whatever the level. */
void vgpu_debug(uint32_t path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A line as vgpu_log() writes it, with its newline, for who can't call that: a signal handler.  How long
 * it is; `line` has at least 2 bytes. */
size_t vgpu_log_compose(char *line, size_t room, enum vgpu_log_level level, const char *text);

/* May a line of this source be written now? For tests, `now_ms` is the caller's. */
bool vgpu_log_limit_pass(struct vgpu_log_limit *limit, uint64_t now_ms, uint32_t *left_out);

#endif /* VGPU_DAEMON_LOG_H */
