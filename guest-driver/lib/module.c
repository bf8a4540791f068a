/* SPDX-License-Identifier: MIT */
/*
 * Modules, functions and launches.
 *
 * An image travels in a buffer of its own, with room for the log behind it.  Names
 * and records of lookups go through an arena block; a kernel with so many
 * parameters that its layout does not fit is asked again with a buffer.
 *
 * A function remembers its attributes and parameter layout, so that launching
 * needs no round trip: the parameter block is copied into an arena block, which
 * belongs to the command until it completes.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKUP_NAME_BYTES VGPU_MAX_NAME_BYTES
#define LOOKUP_OUT_BYTES  (VGPU_ARENA_LARGE_BYTES - LOOKUP_NAME_BYTES)
#define PARAMS_MAX        VGPU_MAX_PARAM_BYTES /* a parameter has a byte at least */

struct vgpu_function {
    struct vgpu_module *module;
    struct vgpu_function *next;
    uint32_t id;
    struct vgpu_func_info info;
    struct vgpu_param_info params[];
};

struct vgpu_module {
    struct vgpu_ctx *ctx;
    struct vgpu_module *next;
    uint32_t id;
    struct vgpu_function *functions; /* ctx->lock */
};

/* ---- modules ---- */

static void log_copy(char *log, size_t log_bytes, const uint8_t *from, size_t from_bytes)
{
    size_t n;

    if (!log || !log_bytes)
        return;
    n = strnlen((const char *)from, from_bytes);
    if (n > log_bytes - 1)
        n = log_bytes - 1;
    memcpy(log, from, n);
    log[n] = '\0';
}

static int module_send(struct vgpu_ctx *ctx, const void *image, size_t bytes, char *log,
                       size_t log_bytes, uint32_t *id)
{
    uint32_t room = log ? (log_bytes < (1u << 20) ? (uint32_t)log_bytes : 1u << 20) : 0;
    size_t log_off = (bytes + 15) & ~(size_t)15;
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MODULE_LOAD};
    struct vgpu_host *host;
    struct vgpu_cqe cqe;
    uint16_t status;
    int err = host_alloc(ctx, log_off + room, true, &host);

    if (err)
        return err;
    memcpy(host->addr, image, bytes);
    sqe.u.module_load.image_buf = host->buf;
    sqe.u.module_load.image_bytes = bytes;
    sqe.u.module_load.log_buf = room ? host->buf : 0;
    sqe.u.module_load.log_off = room ? log_off : 0;
    sqe.u.module_load.log_bytes = room;
    err = vgpu_raw_command(ctx, &sqe, &cqe);
    status = err ? vgpu_last_status() : cqe.status;
    if (!err) {
        log_copy(log, log_bytes, host->addr + log_off, cqe.aux < room ? cqe.aux : room);
        *id = (uint32_t)cqe.result;
        err = vgpu_status_errno(status);
    }
    /* Freeing may fail on a lost context, which says less than the load did. */
    vgpu_host_free(host);
    vgpu_fail_errno(err);
    if (status != VGPU_ST_OK)
        vgpu_fail(status);
    return err;
}

int vgpu_module_load(struct vgpu_ctx *ctx, const void *image, size_t bytes,
                     struct vgpu_module **out, char *log, size_t log_bytes)
{
    struct vgpu_module *module;
    int err = engine_check(ctx);

    if (log && log_bytes)
        log[0] = '\0';
    if (err)
        return err;
    if (!bytes || bytes > ctx->info.max_image_bytes)
        return vgpu_fail_errno(bytes ? -E2BIG : -EINVAL);
    module = calloc(1, sizeof(*module));
    if (!module)
        return vgpu_fail_errno(-ENOMEM);
    module->ctx = ctx;
    err = module_send(ctx, image, bytes, log, log_bytes, &module->id);
    if (err) {
        free(module);
        return err;
    }
    pthread_mutex_lock(&ctx->lock);
    module->next = ctx->modules;
    ctx->modules = module;
    pthread_mutex_unlock(&ctx->lock);
    *out = module;
    return 0;
}

static int file_read(FILE *file, size_t max_bytes, uint8_t **out, size_t *out_bytes)
{
    size_t room = 64 << 10, n = 0;
    uint8_t *data = malloc(room);

    while (data) {
        uint8_t *bigger;

        n += fread(data + n, 1, room - n, file);
        if (n < room)
            break;
        bigger = room < 2 * max_bytes ? realloc(data, room *= 2) : NULL;
        if (!bigger)
            free(data);
        data = bigger;
    }
    if (!data)
        return -ENOMEM;
    if (ferror(file)) {
        free(data);
        return -EIO;
    }
    *out = data;
    *out_bytes = n;
    return 0;
}

int vgpu_module_load_file(struct vgpu_ctx *ctx, const char *path, struct vgpu_module **module,
                          char *log, size_t log_bytes)
{
    FILE *file = fopen(path, "rbe");
    uint8_t *image;
    size_t bytes;
    int err;

    if (!file)
        return vgpu_fail_errno(-errno);
    err = file_read(file, ctx->info.max_image_bytes, &image, &bytes);
    fclose(file);
    if (err)
        return vgpu_fail_errno(err);
    err = vgpu_module_load(ctx, image, bytes, module, log, log_bytes);
    free(image);
    return err;
}

static void module_free(struct vgpu_module *module)
{
    while (module->functions) {
        struct vgpu_function *function = module->functions;

        module->functions = function->next;
        free(function);
    }
    free(module);
}

int vgpu_module_unload(struct vgpu_module *module)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MODULE_UNLOAD};
    struct vgpu_ctx *ctx;
    int err;

    if (!module)
        return 0;
    ctx = module->ctx;
    sqe.u.module_unload.module = module->id;
    err = engine_run(ctx, &sqe, NULL);
    if (err)
        return err;
    pthread_mutex_lock(&ctx->lock);
    for (struct vgpu_module **p = &ctx->modules; *p; p = &(*p)->next) {
        if (*p == module) {
            *p = module->next;
            break;
        }
    }
    pthread_mutex_unlock(&ctx->lock);
    module_free(module);
    return 0;
}

void module_forget_all(struct vgpu_ctx *ctx)
{
    while (ctx->modules) {
        struct vgpu_module *module = ctx->modules;

        ctx->modules = module->next;
        module_free(module);
    }
}

/* ---- lookups ---- */

/* Where a lookup's name and record are. */
struct lookup {
    uint32_t buf;
    uint64_t off;
    uint8_t *addr;
    uint32_t out_bytes;
};

static int lookup_run(struct vgpu_module *module, uint16_t opcode, const char *name,
                      const struct lookup *at, struct vgpu_cqe *cqe)
{
    size_t name_bytes = strlen(name);
    struct vgpu_sqe sqe = {.opcode = opcode};

    sqe.u.lookup.module = module->id;
    sqe.u.lookup.name_buf = at->buf;
    sqe.u.lookup.name_off = at->off;
    sqe.u.lookup.name_bytes = (uint32_t)name_bytes;
    sqe.u.lookup.out_buf = at->buf;
    sqe.u.lookup.out_off = at->off + LOOKUP_NAME_BYTES;
    sqe.u.lookup.out_bytes = at->out_bytes;
    memcpy(at->addr, name, name_bytes);
    return engine_run(module->ctx, &sqe, cqe);
}

static bool name_is_valid(const char *name)
{
    size_t n = strnlen(name, VGPU_MAX_NAME_BYTES + 1);

    return n >= 1 && n <= VGPU_MAX_NAME_BYTES;
}

/* Builds the object from the record; nothing in it is trusted to be consistent. */
static struct vgpu_function *function_new(struct vgpu_module *module, uint32_t id,
                                          const uint8_t *record, uint32_t bytes)
{
    struct vgpu_func_info info;
    struct vgpu_function *function;
    size_t params_bytes;

    memcpy(&info, record, sizeof(info));
    params_bytes = (size_t)info.param_count * sizeof(struct vgpu_param_info);
    if (info.param_count > PARAMS_MAX || info.param_bytes > VGPU_MAX_PARAM_BYTES ||
        sizeof(info) + params_bytes > bytes)
        return NULL;
    function = calloc(1, sizeof(*function) + params_bytes);
    if (!function)
        return NULL;
    function->module = module;
    function->id = id;
    function->info = info;
    memcpy(function->params, record + sizeof(info), params_bytes);
    return function;
}

/* Looks up with what is at hand; *needed says how large the record is. */
static int function_fetch(struct vgpu_module *module, const char *name, const struct lookup *at,
                          struct vgpu_function **out, uint32_t *needed)
{
    struct vgpu_cqe cqe;
    int err = lookup_run(module, VGPU_CMD_FUNC_LOOKUP, name, at, &cqe);

    if (err)
        return err;
    *needed = cqe.aux;
    if (cqe.aux > at->out_bytes)
        return 0;
    *out = function_new(module, (uint32_t)cqe.result, at->addr + LOOKUP_NAME_BYTES, cqe.aux);
    return *out ? 0 : vgpu_fail_errno(-ENOMEM);
}

static int function_fetch_large(struct vgpu_module *module, const char *name, uint32_t needed,
                                struct vgpu_function **out)
{
    struct vgpu_host *host;
    struct lookup at = {0};
    uint16_t status;
    int err = host_alloc(module->ctx, (size_t)LOOKUP_NAME_BYTES + needed, true, &host);

    if (err)
        return err;
    at = (struct lookup){.buf = host->buf, .addr = host->addr, .out_bytes = needed};
    err = function_fetch(module, name, &at, out, &needed);
    status = vgpu_last_status();
    vgpu_host_free(host);
    if (err && status != VGPU_ST_OK)
        vgpu_fail(status);
    return err ? err : *out ? 0 : vgpu_fail_errno(-EIO);
}

int vgpu_module_function(struct vgpu_module *module, const char *name, struct vgpu_function **out)
{
    struct vgpu_ctx *ctx = module->ctx;
    struct vgpu_function *function = NULL;
    struct lookup at = {.buf = VGPU_BUF_ARENA, .out_bytes = LOOKUP_OUT_BYTES};
    uint32_t off, needed = 0;
    int err;

    if (!name_is_valid(name))
        return vgpu_fail_errno(-EINVAL);
    err = arena_alloc(ctx, VGPU_ARENA_LARGE_BYTES, &off);
    if (err)
        return err;
    at.off = off;
    at.addr = ctx->arena + off;
    err = function_fetch(module, name, &at, &function, &needed);
    arena_free(ctx, off);
    if (!err && !function)
        err = function_fetch_large(module, name, needed, &function);
    if (err)
        return err;
    pthread_mutex_lock(&ctx->lock);
    function->next = module->functions;
    module->functions = function;
    pthread_mutex_unlock(&ctx->lock);
    *out = function;
    return 0;
}

int vgpu_module_global(struct vgpu_module *module, const char *name, uint64_t *addr,
                       uint64_t *bytes)
{
    struct vgpu_ctx *ctx = module->ctx;
    struct vgpu_global_info info;
    struct lookup at = {.buf = VGPU_BUF_ARENA, .out_bytes = sizeof(info)};
    struct vgpu_cqe cqe;
    uint32_t off;
    int err;

    if (!name_is_valid(name))
        return vgpu_fail_errno(-EINVAL);
    err = arena_alloc(ctx, VGPU_ARENA_LARGE_BYTES, &off);
    if (err)
        return err;
    at.off = off;
    at.addr = ctx->arena + off;
    err = lookup_run(module, VGPU_CMD_GLOBAL_LOOKUP, name, &at, &cqe);
    if (!err) {
        memcpy(&info, at.addr + LOOKUP_NAME_BYTES, sizeof(info));
        *addr = info.addr;
        *bytes = info.bytes;
    }
    arena_free(ctx, off);
    return err;
}

void vgpu_function_info(const struct vgpu_function *function, struct vgpu_func_info *info)
{
    *info = function->info;
}

int vgpu_function_param(const struct vgpu_function *function, uint32_t index,
                        struct vgpu_param_info *param)
{
    if (index >= function->info.param_count)
        return vgpu_fail_errno(-EINVAL);
    *param = function->params[index];
    return 0;
}

/* ---- launches ---- */

int vgpu_launch(struct vgpu_function *function, const struct vgpu_launch_config *config,
                const void *params, size_t param_bytes)
{
    struct vgpu_ctx *ctx = function->module->ctx;
    struct detached det = {.arena_off = ARENA_NONE, .error = stream_error(ctx, config->stream)};
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_LAUNCH, .stream = stream_id(config->stream)};
    int err;

    if (config->rsvd)
        return vgpu_fail_errno(-EINVAL);
    if (param_bytes != function->info.param_bytes)
        return vgpu_fail(VGPU_ST_BAD_PARAMS);
    if (param_bytes) {
        err = arena_alloc(ctx, (uint32_t)param_bytes, &det.arena_off);
        if (err)
            return err;
        memcpy(ctx->arena + det.arena_off, params, param_bytes);
        sqe.u.launch.param_off = det.arena_off;
    }
    sqe.u.launch.function = function->id;
    memcpy(sqe.u.launch.grid, config->grid, sizeof(config->grid));
    memcpy(sqe.u.launch.block, config->block, sizeof(config->block));
    sqe.u.launch.param_bytes = (uint16_t)param_bytes;
    sqe.u.launch.shared_bytes = config->shared_bytes;
    /* Counted first: whoever sees the launch done must see it counted. */
    if (function->info.flags & VGPU_FUNC_MAY_PRINT)
        output_launched(ctx);
    err = engine_submit_detached(ctx, &sqe, &det);
    if (err && det.arena_off != ARENA_NONE)
        arena_free(ctx, det.arena_off);
    return err;
}

int vgpu_launch_args(struct vgpu_function *function, const struct vgpu_launch_config *config,
                     const void *const *args, uint32_t nargs)
{
    const struct vgpu_func_info *info = &function->info;
    uint8_t block[VGPU_MAX_PARAM_BYTES];

    if (nargs != info->param_count)
        return vgpu_fail(VGPU_ST_BAD_PARAMS);
    memset(block, 0, info->param_bytes);
    for (uint32_t i = 0; i < nargs; i++) {
        const struct vgpu_param_info *param = &function->params[i];
        uint32_t end;

        if (__builtin_add_overflow(param->offset, param->bytes, &end) || end > info->param_bytes)
            return vgpu_fail(VGPU_ST_BAD_PARAMS);
        memcpy(block + param->offset, args[i], param->bytes);
    }
    return vgpu_launch(function, config, block, info->param_bytes);
}
