/* SPDX-License-Identifier: MIT */
/*
 * Asking vgpud: see control_client.h.
 *
 * One deadline holds for the whole conversation, kept by polling a socket that never blocks: a daemon
 * that is stopped, or that answers a byte at a time, ends it as surely as one that is silent.
 */
#include <daemon/control_client.h>
#include <daemon/loop.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENT_MAX_BYTES (256u << 20)
#define CLIENT_POLL_MS   20

/* Until the socket can do `events`: 0, or -ETIMEDOUT. */
static VGPU_MUST_CHECK int client_wait(int fd, short events, uint64_t end_ms)
{
    for (;;) {
        struct pollfd pfd = {.fd = fd, .events = events};
        uint64_t now = vgpu_now_ms();
        int n;

        if (now >= end_ms)
            return -ETIMEDOUT;
        n = poll(&pfd, 1, end_ms - now > 60000 ? 60000 : (int)(end_ms - now));
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static VGPU_MUST_CHECK int client_connect(const char *path, uint64_t end_ms)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd, ret;

    if (strlen(path) >= sizeof(sa.sun_path))
        return -ENAMETOOLONG;
    memcpy(sa.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    for (;;) {
        if (!connect(fd, (const struct sockaddr *)&sa, sizeof(sa)))
            return fd;
        ret = -errno;
        /* A full queue of waiting clients: nothing to poll for, so look again. */
        if (ret != -EAGAIN && ret != -EINTR)
            break;
        if (vgpu_now_ms() >= end_ms) {
            ret = -ETIMEDOUT;
            break;
        }
        poll(NULL, 0, 10);
    }
    close(fd);
    return ret;
}

static VGPU_MUST_CHECK int client_send(int fd, const char *text, size_t bytes, uint64_t end_ms)
{
    while (bytes) {
        ssize_t n = send(fd, text, bytes, MSG_NOSIGNAL);
        int ret;

        if (n >= 0) {
            text += n;
            bytes -= (size_t)n;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        ret = client_wait(fd, POLLOUT, end_ms);
        if (ret)
            return ret;
    }
    return 0;
}

/* To the end of the stream: *text is NUL-terminated and the caller's. */
static VGPU_MUST_CHECK int client_receive(int fd, uint64_t end_ms, char **text)
{
    size_t used = 0, room = 4096;
    char *buf = malloc(room);
    int ret = buf ? 0 : -ENOMEM;

    while (!ret) {
        ssize_t n = recv(fd, buf + used, room - used - 1, 0);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            ret = client_wait(fd, POLLIN, end_ms);
            continue;
        }
        if (n <= 0) {
            ret = n < 0 ? -errno : used ? 0 : -ECONNRESET;
            break;
        }
        used += (size_t)n;
        if (used == room - 1) {
            char *bigger = room < CLIENT_MAX_BYTES ? realloc(buf, room * 2) : NULL;

            if (!bigger) {
                ret = room < CLIENT_MAX_BYTES ? -ENOMEM : -EPROTO;
                break;
            }
            buf = bigger;
            room *= 2;
        }
    }
    if (ret) {
        free(buf);
        return ret;
    }
    buf[used] = '\0';
    *text = buf;
    return 0;
}

static VGPU_MUST_CHECK int client_converse(const char *path, const char *request, uint64_t end_ms,
                                           char **text)
{
    int fd = client_connect(path, end_ms), ret;

    if (fd < 0)
        return fd;
    ret = client_send(fd, request, strlen(request), end_ms);
    if (!ret)
        ret = client_send(fd, "\n", 1, end_ms);
    /* A daemon that refuses may close before it has read all: what it said still counts. */
    if (!ret || ret == -EPIPE || ret == -ECONNRESET) {
        int sent = ret;

        ret = client_receive(fd, end_ms, text);
        if (ret && sent)
            ret = sent;
    }
    close(fd);
    return ret;
}

int vgpu_control_call(const char *path, const char *request, uint32_t timeout_ms,
                      struct json_object **answer, char *why)
{
    struct json_object *root, *error;
    char *text = NULL;
    int ret = client_converse(path, request, vgpu_now_ms() + timeout_ms, &text);

    if (ret == -ETIMEDOUT) {
        snprintf(why, VGPU_WHY_BYTES, "%.110s: no answer within %.3g s", path, timeout_ms / 1000.0);
        return ret;
    }
    if (ret) {
        snprintf(why, VGPU_WHY_BYTES, "%.110s: %s", path,
                 ret == -ECONNRESET || ret == -EPIPE ? "vgpud closed without an answer"
                                                     : strerror(-ret));
        return ret;
    }
    root = json_tokener_parse(text);
    free(text);
    if (!json_object_is_type(root, json_type_object)) {
        snprintf(why, VGPU_WHY_BYTES, "%.110s: the answer is not JSON: is this vgpud's socket?",
                 path);
        ret = -EPROTO;
    } else if (json_object_object_get_ex(root, "error", &error)) {
        snprintf(why, VGPU_WHY_BYTES, "%.500s", json_object_get_string(error));
        ret = -EREMOTEIO;
    }
    if (ret) {
        json_object_put(root);
        return ret;
    }
    *answer = root;
    return 0;
}

static uint32_t ms_left(uint64_t end_ms)
{
    uint64_t now = vgpu_now_ms();

    return now < end_ms ? (uint32_t)(end_ms - now) : 0;
}

int vgpu_control_attach(const char *path, const char *vm, const char *name, uint32_t timeout_ms,
                        struct json_object **answer, char *why)
{
    uint64_t end_ms = vgpu_now_ms() + timeout_ms;
    char request[VGPU_CONTROL_LINE];
    int ret;

    if (snprintf(request, sizeof(request), "attach %s", vm) >= (int)sizeof(request)) {
        snprintf(why, VGPU_WHY_BYTES, "the VM's description is longer than %zu bytes",
                 sizeof(request) - sizeof("attach "));
        return -EREMOTEIO;
    }
    ret = vgpu_control_call(path, request, timeout_ms, answer, why);
    snprintf(request, sizeof(request), "list %s", name);
    while (!ret) {
        struct json_object *found = vgpu_control_find_vm(*answer, name);

        if (found && vgpu_json_bool(found, "attached"))
            return 0;
        if (found && json_object_object_get_ex(found, "failed", NULL)) {
            snprintf(why, VGPU_WHY_BYTES, "%.500s", vgpu_json_text(found, "failed"));
            json_object_put(*answer);
            return -ECANCELED;
        }
        json_object_put(*answer);
        poll(NULL, 0, CLIENT_POLL_MS);
        ret = vgpu_control_call(path, request, ms_left(end_ms), answer, why);
        if (ret == -ETIMEDOUT)
            snprintf(why, VGPU_WHY_BYTES,
                     "vgpud took the domain, but has not registered its device within %.3g s: "
                     "see vgpud's log",
                     timeout_ms / 1000.0);
    }
    return ret;
}

struct json_object *vgpu_control_find_vm(struct json_object *answer, const char *name)
{
    struct json_object *vms;

    if (!json_object_object_get_ex(answer, "vms", &vms) ||
        !json_object_is_type(vms, json_type_array))
        return NULL;
    for (size_t i = 0; i < json_object_array_length(vms); i++) {
        struct json_object *vm = json_object_array_get_idx(vms, i);

        if (json_object_is_type(vm, json_type_object) && !strcmp(vgpu_json_text(vm, "name"), name))
            return vm;
    }
    return NULL;
}

const char *vgpu_json_text(struct json_object *obj, const char *key)
{
    struct json_object *value;
    const char *text =
        json_object_object_get_ex(obj, key, &value) ? json_object_get_string(value) : NULL;

    return text ? text : "?";
}

uint64_t vgpu_json_u64(struct json_object *obj, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(obj, key, &value) ? json_object_get_uint64(value) : 0;
}

bool vgpu_json_bool(struct json_object *obj, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(obj, key, &value) && json_object_get_boolean(value);
}
