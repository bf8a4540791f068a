/* SPDX-License-Identifier: MIT */
/*
 * The other end of vgpud's control socket (control.c): what vgpuctl and vgpu-dm ask with.
 *
 * A conversation is one request line and one JSON object; the connection is not used twice.
 */
#ifndef VGPU_DAEMON_CONTROL_CLIENT_H
#define VGPU_DAEMON_CONTROL_CLIENT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <daemon/config.h>

#define VGPU_CONTROL_PATH "/run/vgpu/control.sock" /* unless told otherwise */
#define VGPU_CONTROL_LINE 512                      /* a request, its newline or NUL included */

/*
 * Ask vgpud at socket `path`: `request` has no newline.  0 with *answer, an object that is the
 * caller's to put, or
 *
 *   -ENOENT, -ECONNREFUSED  nobody listens there
 *   -ETIMEDOUT              no answer within timeout_ms, sending included
 *   -EPROTO                 the answer is no JSON object, or far too long
 *   -EREMOTEIO              vgpud refuses; why is its own text
 *   another -errno          of the socket
 *
 * each with the reason in why[VGPU_WHY_BYTES].
 */
VGPU_MUST_CHECK int vgpu_control_call(const char *path, const char *request, uint32_t timeout_ms,
                                      struct json_object **answer, char *why);

/*
 * `attach`: vgpud is to serve the Xen domain that `vm` describes, in the form of --vm, under `name`.
 * 0 with *answer when its device is registered with Xen, so that the domain may run; -ECANCELED when it
 * can't be; else as above.  What fails other than by -EREMOTEIO was begun: detach.
 */
VGPU_MUST_CHECK int vgpu_control_attach(const char *path, const char *vm, const char *name,
                                        uint32_t timeout_ms, struct json_object **answer,
                                        char *why);

/* The VM called `name` in the answer to list or stats; borrowed, NULL if it is not there. */
struct json_object *vgpu_control_find_vm(struct json_object *answer, const char *name);

/* A member of an object; "?", 0 or false where it lacks. Text is borrowed. */
const char *vgpu_json_text(struct json_object *obj, const char *key);
uint64_t vgpu_json_u64(struct json_object *obj, const char *key);
bool vgpu_json_bool(struct json_object *obj, const char *key);

#endif /* VGPU_DAEMON_CONTROL_CLIENT_H */
