// SPDX-License-Identifier: MIT
/*
 * Immediate and barrier commands; see call.h.  One function per command that has more to do than to
 * call the executor; the switch at the end is the whole list.
 */
#include <exec/call.h>

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

VGPU_ABI_ASSERT(sizeof(((struct vgpu_call_env *)0)->func[0]) ==
                    sizeof(struct vgpu_func_info) +
                        VGPU_CALL_MAX_PARAMS * sizeof(struct vgpu_param_info),
                "parameters follow the fixed record");

int vgpu_call_env_init(struct vgpu_call_env *env)
{
    env->log = malloc(VGPU_CALL_LOG_BYTES);
    env->func = malloc(sizeof(*env->func));
    if (!env->log || !env->func) {
        vgpu_call_env_fini(env);
        return -ENOMEM;
    }
    return 0;
}

void vgpu_call_env_fini(struct vgpu_call_env *env)
{
    free(env->log);
    free(env->func);
    env->log = NULL;
    env->func = NULL;
}

static uint16_t call_write(struct vgpu_gbuf *buf, uint64_t off, const void *src, size_t bytes)
{
    return vgpu_gbuf_write(buf, off, src, bytes) < 0 ? VGPU_ST_HOST_ERROR : VGPU_ST_OK;
}

static void call_mem_info(struct vgpu_call_env *env, const struct vgpu_call *call,
                          struct vgpu_call_result *res)
{
    uint64_t ctx = env->ops->mem_held(env->exec);
    uint64_t held = env->vm_held(env->opaque);
    struct vgpu_mem_info info = {0};

    if (held < ctx)
        held = ctx;
    info.limit_bytes = htole64(env->memory_limit);
    info.held_bytes = htole64(held);
    info.ctx_bytes = htole64(ctx);
    res->result = held < env->memory_limit ? env->memory_limit - held : 0;
    res->status = call_write(call->u.mem_info.out, call->u.mem_info.out_off, &info, sizeof(info));
    if (res->status != VGPU_ST_OK)
        res->result = 0;
}

static void call_write_log(const struct vgpu_call_env *env, const struct vgpu_call *call,
                           size_t log_bytes, struct vgpu_call_result *res)
{
    uint16_t status;

    env->log[log_bytes] = '\0';
    status = call_write(call->u.load.log, call->u.load.log_off, env->log, log_bytes + 1);
    if (status == VGPU_ST_OK)
        res->aux = (uint32_t)log_bytes;
    else if (res->status == VGPU_ST_OK)
        res->status = status;
}

/* The image is copied before it is parsed: the guest may change its pages at any time. */
static void call_module_load(struct vgpu_call_env *env, const struct vgpu_call *call,
                             struct vgpu_call_result *res)
{
    size_t bytes = call->u.load.image_bytes, log_bytes = 0;
    size_t room = call->u.load.log_bytes;
    uint32_t module = 0;
    void *image;

    if (room > VGPU_CALL_LOG_BYTES)
        room = VGPU_CALL_LOG_BYTES;
    image = malloc(bytes);
    if (!image) {
        res->status = VGPU_ST_HOST_MEMORY;
        return;
    }
    if (vgpu_gbuf_read(call->u.load.image, call->u.load.image_off, image, bytes) < 0) {
        res->status = VGPU_ST_HOST_ERROR;
    } else {
        env->log[0] = '\0';
        res->status = env->ops->module_load(env->exec, image, bytes, env->log, room ? room : 1,
                                            &log_bytes, &module);
        if (log_bytes >= room)
            log_bytes = room ? room - 1 : 0;
        if (call->u.load.log)
            call_write_log(env, call, log_bytes, res);
    }
    free(image);
    if (res->status == VGPU_ST_OK) {
        res->result = module;
        env->modules++;
    } else if (module) {
        /* Loaded, but its log could not be delivered: the guest never learns the handle. */
        (void)env->ops->module_unload(env->exec, module);
    }
}

/* A name without NUL inside, copied and terminated. */
static uint16_t call_read_name(const struct vgpu_call *call, char name[VGPU_MAX_NAME_BYTES + 1])
{
    size_t bytes = call->u.lookup.name_bytes;

    if (vgpu_gbuf_read(call->u.lookup.name, call->u.lookup.name_off, name, bytes) < 0)
        return VGPU_ST_HOST_ERROR;
    name[bytes] = '\0';
    return memchr(name, '\0', bytes) ? VGPU_ST_BAD_VALUE : VGPU_ST_OK;
}

static void call_func_lookup(struct vgpu_call_env *env, const struct vgpu_call *call,
                             struct vgpu_call_result *res)
{
    uint32_t room =
        (call->u.lookup.out_bytes - sizeof(struct vgpu_func_info)) / sizeof(struct vgpu_param_info);
    char name[VGPU_MAX_NAME_BYTES + 1];
    uint32_t function = 0, count;
    size_t bytes;

    res->status = call_read_name(call, name);
    if (res->status != VGPU_ST_OK)
        return;
    if (room > VGPU_CALL_MAX_PARAMS)
        room = VGPU_CALL_MAX_PARAMS;
    memset(&env->func->info, 0, sizeof(env->func->info));
    res->status = env->ops->func_lookup(env->exec, call->u.lookup.module, name, &function,
                                        &env->func->info, env->func->params, room);
    if (res->status != VGPU_ST_OK)
        return;
    count = le32toh(env->func->info.param_count);
    bytes =
        sizeof(env->func->info) + (count < room ? count : room) * sizeof(struct vgpu_param_info);
    res->status = call_write(call->u.lookup.out, call->u.lookup.out_off, env->func, bytes);
    if (res->status != VGPU_ST_OK)
        return;
    res->result = function;
    res->aux = (uint32_t)sizeof(env->func->info) + count * (uint32_t)sizeof(struct vgpu_param_info);
}

static void call_global_lookup(struct vgpu_call_env *env, const struct vgpu_call *call,
                               struct vgpu_call_result *res)
{
    char name[VGPU_MAX_NAME_BYTES + 1];
    struct vgpu_global_info info = {0};

    res->status = call_read_name(call, name);
    if (res->status != VGPU_ST_OK)
        return;
    res->status = env->ops->global_lookup(env->exec, call->u.lookup.module, name, &info);
    if (res->status != VGPU_ST_OK)
        return;
    res->status = call_write(call->u.lookup.out, call->u.lookup.out_off, &info, sizeof(info));
    if (res->status == VGPU_ST_OK)
        res->result = le64toh(info.addr);
}

/* The text is gone from the FIFO even if the guest's memory could not be written. */
static void call_output_read(struct vgpu_call_env *env, const struct vgpu_call *call,
                             struct vgpu_call_result *res)
{
    size_t room = call->u.output.out_bytes, bytes;
    uint64_t lost = 0;

    if (!env->ops->output_read)
        return;
    if (room > VGPU_CALL_LOG_BYTES)
        room = VGPU_CALL_LOG_BYTES;
    bytes = env->ops->output_read(env->exec, env->log, room, &lost);
    res->status = call_write(call->u.output.out, call->u.output.out_off, env->log, bytes);
    res->result = bytes;
    res->aux = lost < UINT32_MAX ? (uint32_t)lost : UINT32_MAX;
}

static void call_module_unload(struct vgpu_call_env *env, const struct vgpu_call *call,
                               struct vgpu_call_result *res)
{
    res->status = env->ops->module_unload(env->exec, call->u.handle);
    if (res->status == VGPU_ST_OK)
        env->modules--;
}

void vgpu_call_run(struct vgpu_call_env *env, const struct vgpu_call *call,
                   struct vgpu_call_result *res)
{
    const struct vgpu_exec_ops *ops = env->ops;
    struct vgpu_exec *exec = env->exec;
    uint32_t handle = 0;

    *res = (struct vgpu_call_result){.status = VGPU_ST_OK};
    switch (call->opcode) {
    case VGPU_CMD_FENCE: break;
    case VGPU_CMD_MEM_ALLOC:
        res->status = ops->mem_alloc(exec, call->u.alloc_bytes, &res->result);
        break;
    case VGPU_CMD_MEM_FREE: res->status = ops->mem_free(exec, call->u.free_addr); break;
    case VGPU_CMD_MEM_INFO: call_mem_info(env, call, res); break;
    case VGPU_CMD_MODULE_LOAD: call_module_load(env, call, res); break;
    case VGPU_CMD_MODULE_UNLOAD: call_module_unload(env, call, res); break;
    case VGPU_CMD_FUNC_LOOKUP: call_func_lookup(env, call, res); break;
    case VGPU_CMD_GLOBAL_LOOKUP: call_global_lookup(env, call, res); break;
    case VGPU_CMD_OUTPUT_READ: call_output_read(env, call, res); break;
    case VGPU_CMD_STREAM_CREATE:
        res->status = ops->stream_create(exec, call->u.priority, &handle);
        res->result = handle;
        break;
    case VGPU_CMD_STREAM_DESTROY: res->status = ops->stream_destroy(exec, call->u.handle); break;
    case VGPU_CMD_EVENT_CREATE:
        res->status = ops->event_create(exec, &handle);
        res->result = handle;
        break;
    case VGPU_CMD_EVENT_QUERY:
        res->status = ops->event_query(exec, call->u.handle, &res->result);
        break;
    case VGPU_CMD_EVENT_DESTROY: res->status = ops->event_destroy(exec, call->u.handle); break;
    default: res->status = VGPU_ST_BAD_OPCODE; break;
    }
    if (res->status != VGPU_ST_OK)
        res->result = 0;
}
