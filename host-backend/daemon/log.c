/* SPDX-License-Identifier: MIT */
/*
 * Log lines: see log.h.
 *
 * Bytes that are not printable ASCII are shown as '?': messages may quote what a guest wrote,
 * and must not be able to forge lines or to talk to a terminal.
 */
#include <daemon/log.h>
#include <daemon/loop.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_BURST     16u
#define LOG_REFILL_MS 1000u
#define LOG_LINE      1024

static struct {
    enum vgpu_log_level level;
    uint32_t debug;
    char tag[96];
} log_state = {.level = VGPU_LOG_INFO};

void vgpu_log_setup(enum vgpu_log_level level, uint32_t debug, const char *tag)
{
    log_state.level = level;
    log_state.debug = debug;
    snprintf(log_state.tag, sizeof(log_state.tag), "%s%s", tag, tag[0] ? " " : "");
}

enum vgpu_log_level vgpu_log_get_level(void)
{
    return log_state.level;
}

uint32_t vgpu_log_get_debug(void)
{
    return log_state.debug;
}

static void log_line(enum vgpu_log_level level, const char *suffix, const char *fmt, va_list ap)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    char line[LOG_LINE];
    int n = snprintf(line, sizeof(line), "vgpud[%d]: %s: %s", (int)getpid(), names[level],
                     log_state.tag);

    n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
    if (n < (int)sizeof(line))
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%s", suffix);
    if (n > (int)sizeof(line) - 1)
        n = (int)sizeof(line) - 1;
    for (int i = 0; i < n; i++) {
        if (line[i] < ' ' || line[i] > '~')
            line[i] = '?';
    }
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return; /* nowhere left to complain */
}

void vgpu_log(enum vgpu_log_level level, const char *fmt, ...)
{
    va_list ap;

    if (level > log_state.level)
        return;
    va_start(ap, fmt);
    log_line(level, "", fmt, ap);
    va_end(ap);
}

void vgpu_debug(uint32_t path, const char *fmt, ...)
{
    va_list ap;

    if (!(log_state.debug & path))
        return;
    va_start(ap, fmt);
    log_line(VGPU_LOG_DEBUG, "", fmt, ap);
    va_end(ap);
}

bool vgpu_log_limit_pass(struct vgpu_log_limit *limit, uint64_t now_ms, uint32_t *left_out)
{
    uint64_t periods;

    if (!limit->refill_ms) {
        limit->tokens = LOG_BURST;
        limit->refill_ms = now_ms ? now_ms : 1;
    }
    periods = now_ms > limit->refill_ms ? (now_ms - limit->refill_ms) / LOG_REFILL_MS : 0;
    limit->refill_ms += periods * LOG_REFILL_MS;
    limit->tokens =
        periods > LOG_BURST - limit->tokens ? LOG_BURST : limit->tokens + (uint32_t)periods;
    if (!limit->tokens) {
        limit->left_out += limit->left_out < UINT32_MAX;
        return false;
    }
    limit->tokens--;
    *left_out = limit->left_out;
    limit->left_out = 0;
    return true;
}

void vgpu_log_limited(struct vgpu_log_limit *limit, enum vgpu_log_level level, const char *fmt, ...)
{
    char suffix[48] = "";
    uint32_t left_out = 0;
    va_list ap;

    if (level > log_state.level || !vgpu_log_limit_pass(limit, vgpu_now_ms(), &left_out))
        return;
    if (left_out)
        snprintf(suffix, sizeof(suffix), " (%u like it left out)", left_out);
    va_start(ap, fmt);
    log_line(level, suffix, fmt, ap);
    va_end(ap);
}
