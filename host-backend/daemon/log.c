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

size_t vgpu_log_compose(char *line, size_t room, enum vgpu_log_level level, const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    int length = snprintf(line, room, "vgpud[%d]: %s: %s%s", (int)getpid(), names[level],
                          log_state.tag, text);
    size_t n = length < (int)room - 1 ? (size_t)length : room - 1;

    for (size_t i = 0; i < n; i++) {
        if (line[i] < ' ' || line[i] > '~')
            line[i] = '?';
    }
    line[n++] = '\n';
    return n;
}

static void log_line(enum vgpu_log_level level, const char *suffix, const char *fmt, va_list ap)
{
    char text[LOG_LINE], line[LOG_LINE];
    int n = vsnprintf(text, sizeof(text), fmt, ap);

    if (n < (int)sizeof(text))
        snprintf(text + n, sizeof(text) - (size_t)n, "%s", suffix);
    if (write(STDERR_FILENO, line, vgpu_log_compose(line, sizeof(line), level, text)) < 0)
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
