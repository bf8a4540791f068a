/* SPDX-License-Identifier: MIT */
/*
 * The kernel and the device of libvgpu's unit tests; see fake_kernel.h.
 */
#include "fake_kernel.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct vgpu_queue_ro *fake_ro(struct fake *f)
{
    return (struct vgpu_queue_ro *)f->block;
}

static struct vgpu_queue_rw *fake_rw(struct fake *f)
{
    return (struct vgpu_queue_rw *)(f->block + f->setup.ro_bytes);
}

static uint32_t get(const __le32 *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void put(__le32 *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* ---- the device ---- */

static uint8_t *fake_buffer(struct fake *f, uint32_t buf, uint64_t off, uint64_t bytes)
{
    uint8_t *addr = buf ? (buf < FAKE_BUFFERS ? f->bufs[buf].addr : NULL) : f->arena;
    size_t size = buf ? (buf < FAKE_BUFFERS ? f->bufs[buf].bytes : 0) : f->setup.arena_bytes;

    if (!addr || off > size || bytes > size - off)
        return NULL;
    return addr + off;
}

static uint8_t *fake_memory(struct fake *f, uint64_t addr, uint64_t bytes)
{
    uint64_t off = addr - FAKE_DEVICE_BASE;

    return off <= FAKE_DEVICE_BYTES && bytes <= FAKE_DEVICE_BYTES - off ? f->memory + off : NULL;
}

static uint16_t fake_copy(struct fake *f, const struct vgpu_sqe *sqe)
{
    const struct vgpu_cmd_copy *c = &sqe->u.copy;
    uint8_t *buf = fake_buffer(f, c->buf, c->buf_off, c->bytes);
    uint8_t *dev = fake_memory(f, c->dev_addr, c->bytes);

    if (!buf)
        return VGPU_ST_BAD_BUFFER;
    if (!dev)
        return VGPU_ST_BAD_ADDRESS;
    memcpy(sqe->opcode == VGPU_CMD_COPY_H2D ? dev : buf,
           sqe->opcode == VGPU_CMD_COPY_H2D ? buf : dev, c->bytes);
    return VGPU_ST_OK;
}

static uint16_t fake_load(struct fake *f, const struct vgpu_sqe *sqe, struct vgpu_cqe *cqe)
{
    const struct vgpu_cmd_module_load *c = &sqe->u.module_load;
    uint8_t *image = fake_buffer(f, c->image_buf, c->image_off, c->image_bytes);
    uint8_t *log = fake_buffer(f, c->log_buf, c->log_off, c->log_bytes);
    static const char text[] = "line 3: what is this?";

    if (!image || (c->log_bytes && !log))
        return VGPU_ST_BAD_BUFFER;
    if (!memcmp(image, "good", 4)) {
        cqe->result = 5;
        return VGPU_ST_OK;
    }
    cqe->aux = c->log_bytes < sizeof(text) ? c->log_bytes : sizeof(text);
    memcpy(log, text, cqe->aux);
    return VGPU_ST_BAD_PTX;
}

/* "add" has FAKE_PARAMS parameters, "wide" so many that the layout needs a buffer. */
static uint16_t fake_lookup(struct fake *f, const struct vgpu_sqe *sqe, struct vgpu_cqe *cqe)
{
    const struct vgpu_cmd_lookup *c = &sqe->u.lookup;
    char *name = (char *)fake_buffer(f, c->name_buf, c->name_off, c->name_bytes);
    uint8_t *out = fake_buffer(f, c->out_buf, c->out_off, c->out_bytes);
    bool wide = c->name_bytes == 4 && name && !memcmp(name, "wide", 4);
    uint32_t count = wide ? FAKE_WIDE_PARAMS : FAKE_PARAMS;
    struct vgpu_func_info info = {.param_count = count, .param_bytes = count * 4};

    if (!name || !out)
        return VGPU_ST_BAD_BUFFER;
    if (c->name_bytes == 3 && !memcmp(name, "say", 3))
        info.flags = VGPU_FUNC_MAY_PRINT;
    else if (!wide && (c->name_bytes != 3 || memcmp(name, "add", 3)))
        return VGPU_ST_NOT_FOUND;
    memcpy(out, &info, sizeof(info));
    for (uint32_t i = 0; i < count; i++) {
        struct vgpu_param_info param = {.offset = i * 4, .bytes = 4};
        uint64_t at = sizeof(info) + (uint64_t)i * sizeof(param);

        if (at + sizeof(param) <= c->out_bytes)
            memcpy(out + at, &param, sizeof(param));
    }
    cqe->aux = (uint32_t)(sizeof(info) + count * sizeof(struct vgpu_param_info));
    cqe->result = wide ? 9 : 8;
    return VGPU_ST_OK;
}

static uint16_t fake_launch(struct fake *f, const struct vgpu_sqe *sqe)
{
    const struct vgpu_cmd_launch *c = &sqe->u.launch;
    uint32_t words = c->param_bytes / 4;
    const uint8_t *params = fake_buffer(f, VGPU_BUF_ARENA, c->param_off, c->param_bytes);
    uint16_t status = f->next_status;

    f->launches++;
    f->next_status = VGPU_ST_OK;
    if (!params || c->param_off % 16 || words > FAKE_WIDE_PARAMS)
        return VGPU_ST_BAD_PARAMS;
    memcpy(f->params, params, c->param_bytes);
    for (uint32_t i = 0; i < words; i++)
        f->sum += f->params[i];
    return status;
}

static uint16_t fake_output(struct fake *f, const struct vgpu_sqe *sqe, struct vgpu_cqe *cqe)
{
    const struct vgpu_cmd_output_read *c = &sqe->u.output_read;
    uint8_t *out = fake_buffer(f, c->out_buf, c->out_off, c->out_bytes);
    uint32_t bytes = f->output_bytes < c->out_bytes ? f->output_bytes : c->out_bytes;

    f->output_reads++;
    if (!out)
        return VGPU_ST_BAD_BUFFER;
    memcpy(out, f->output, bytes);
    f->output_bytes -= bytes;
    memmove(f->output, f->output + bytes, f->output_bytes);
    cqe->result = bytes;
    cqe->aux = f->output_lost;
    f->output_lost = 0;
    return VGPU_ST_OK;
}

static uint16_t fake_memset(struct fake *f, const struct vgpu_sqe *sqe)
{
    const struct vgpu_cmd_memset *c = &sqe->u.memset;
    uint8_t *at = fake_memory(f, c->dev_addr, c->count * c->width);

    for (uint64_t i = 0; at && i < c->count; i++)
        memcpy(at + i * c->width, &c->value, c->width);
    return at ? VGPU_ST_OK : VGPU_ST_BAD_ADDRESS;
}

static void fake_execute(struct fake *f, const struct vgpu_sqe *sqe, struct vgpu_cqe *cqe)
{
    *cqe = (struct vgpu_cqe){.cookie = sqe->cookie};
    switch (sqe->opcode) {
    case VGPU_CMD_MEM_ALLOC:
        cqe->result = FAKE_DEVICE_BASE + f->next_alloc;
        f->next_alloc += (sqe->u.mem_alloc.bytes + 255) & ~255ull;
        cqe->status = f->next_alloc > FAKE_DEVICE_BYTES ? VGPU_ST_OUT_OF_MEMORY : VGPU_ST_OK;
        break;
    case VGPU_CMD_COPY_H2D:
    case VGPU_CMD_COPY_D2H: cqe->status = fake_copy(f, sqe); break;
    case VGPU_CMD_MEMSET: cqe->status = fake_memset(f, sqe); break;
    case VGPU_CMD_MODULE_LOAD: cqe->status = fake_load(f, sqe, cqe); break;
    case VGPU_CMD_FUNC_LOOKUP: cqe->status = fake_lookup(f, sqe, cqe); break;
    case VGPU_CMD_LAUNCH: cqe->status = fake_launch(f, sqe); break;
    case VGPU_CMD_OUTPUT_READ: cqe->status = fake_output(f, sqe, cqe); break;
    case VGPU_CMD_STREAM_CREATE:
    case VGPU_CMD_EVENT_CREATE: cqe->result = 3; break;
    case 0x7fff: cqe->status = VGPU_ST_BAD_OPCODE; break;
    default: break;
    }
}

static void fake_complete(struct fake *f, const struct vgpu_cqe *cqe)
{
    struct vgpu_cqe *ring = (struct vgpu_cqe *)(f->block + vgpu_queue_cq_offset());
    uint32_t prod = fake_ro(f)->cq_prod;

    ring[prod & ((1u << f->setup.cq_log2) - 1)] = *cqe;
    put(&fake_ro(f)->cq_prod, prod + 1);
    pthread_cond_broadcast(&f->moved);
}

/* Holds the lock.  Completions keep room in the ring for themselves and for strays. */
static bool fake_step(struct fake *f)
{
    struct vgpu_sqe *ring = (struct vgpu_sqe *)(f->block + vgpu_queue_sq_offset(f->setup.cq_log2));
    uint32_t mask = (1u << f->setup.sq_log2) - 1, cons = fake_ro(f)->sq_cons;
    uint32_t ready = get(&fake_rw(f)->sq_prod) - cons;
    uint32_t owed = fake_ro(f)->cq_prod - get(&fake_rw(f)->cq_cons);
    struct vgpu_cqe cqe[2];
    uint32_t n = f->shuffle && ready >= 2 ? 2 : 1;

    ck_assert_uint_le(ready, mask + 1);
    if (!ready || owed + 4 > 1u << f->setup.cq_log2)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct vgpu_sqe sqe = ring[(cons + i) & mask];

        fake_execute(f, &sqe, &cqe[i]);
    }
    put(&fake_ro(f)->sq_cons, cons + n);
    for (uint32_t i = n; i-- > 0;) {
        if (f->stray) {
            struct vgpu_cqe stray = {.cookie = cqe[i].cookie ^ (1ull << 40), .status = 0x7777};

            fake_complete(f, &stray);
        }
        fake_complete(f, &cqe[i]);
    }
    return true;
}

static void *fake_thread(void *arg)
{
    struct fake *f = arg;

    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        bool busy =
            !f->paused && get(&fake_ro(f)->ctx_state) == VGPU_CTX_STATE_ACTIVE && fake_step(f);

        if (__atomic_exchange_n((uint32_t *)f->doorbell, 0, __ATOMIC_RELAXED))
            f->doorbells++;
        pthread_mutex_unlock(&f->lock);
        if (!busy)
            sched_yield();
        pthread_mutex_lock(&f->lock);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* ---- the kernel ---- */

/* Does this call fail?  Counts it. */
static bool fake_fails(struct fake *f)
{
    return ++f->calls == f->fail_call;
}

static int fake_open(void *opaque, const char *path)
{
    struct fake *f = opaque;

    if (fake_fails(f))
        return -ENODEV;
    f->open_fds++;
    return 1000;
}

static int fake_close(void *opaque, int fd)
{
    struct fake *f = opaque;

    ck_assert_int_eq(fd, 1000);
    f->open_fds--;
    return 0;
}

static int fake_setup(struct fake *f, struct vgpu_queue_setup *arg)
{
    size_t bytes = vgpu_queue_bytes(arg->cq_log2, arg->sq_log2);

    arg->ro_bytes = vgpu_queue_rw_offset(arg->cq_log2);
    arg->rw_bytes = (uint32_t)bytes - arg->ro_bytes;
    arg->ro_off = 1;
    arg->rw_off = 2;
    arg->doorbell_off = 3;
    arg->arena_off = 4;
    f->setup = *arg;
    f->block = aligned_alloc(4096, bytes);
    f->arena = aligned_alloc(4096, arg->arena_bytes);
    f->doorbell = aligned_alloc(4096, 4096);
    memset(f->block, 0, bytes);
    memset(f->doorbell, 0, 4096);
    fake_ro(f)->ctx_state = VGPU_CTX_STATE_ACTIVE;
    fake_ro(f)->cq_prod = fake_ro(f)->sq_cons = fake_ro(f)->sq_event = f->first_idx;
    fake_rw(f)->sq_prod = fake_rw(f)->cq_cons = f->first_idx;
    f->running = !pthread_create(&f->thread, NULL, fake_thread, f);
    return 0;
}

static int fake_add_buffer(struct fake *f, uint8_t *addr, size_t bytes, bool owned, uint32_t *id)
{
    for (uint32_t i = 1; i < FAKE_BUFFERS; i++) {
        if (f->bufs[i].used)
            continue;
        f->bufs[i] = (struct fake_buf){.addr = addr, .bytes = bytes, .used = true, .owned = owned};
        *id = i;
        return 0;
    }
    return -ENOSPC;
}

static int fake_buf_alloc(struct fake *f, struct vgpu_buf_alloc *arg)
{
    if (f->fail_alloc)
        return f->fail_alloc;
    f->allocs++;
    arg->bytes = (arg->bytes + 4095) & ~4095ull;
    if (fake_add_buffer(f, aligned_alloc(4096, arg->bytes), arg->bytes, true, &arg->buf))
        return -ENOSPC;
    arg->mmap_off = 100 + arg->buf;
    return 0;
}

static int fake_buf_register(struct fake *f, struct vgpu_buf_register *arg)
{
    if (f->fail_register)
        return f->fail_register;
    f->registers++;
    return fake_add_buffer(f, (uint8_t *)(uintptr_t)arg->addr, arg->bytes, false, &arg->buf);
}

static int fake_buf_unregister(struct fake *f, struct vgpu_buf_unregister *arg)
{
    struct fake_buf *buf = &f->bufs[arg->buf];

    if (!buf->used)
        return -ENOENT;
    if (buf->owned)
        free(buf->addr);
    *buf = (struct fake_buf){0};
    return 0;
}

static int fake_wait(struct fake *f, struct vgpu_wait *arg)
{
    while (get(&fake_ro(f)->ctx_state) == VGPU_CTX_STATE_ACTIVE &&
           (int32_t)(get(&fake_ro(f)->cq_prod) - arg->cq_idx) <= 0 && arg->timeout_ns)
        pthread_cond_wait(&f->moved, &f->lock);
    arg->cq_prod = get(&fake_ro(f)->cq_prod);
    return get(&fake_ro(f)->ctx_state) == VGPU_CTX_STATE_ACTIVE ? 0 : -EIO;
}

static int fake_dispatch(struct fake *f, unsigned long cmd, void *arg)
{
    switch (cmd) {
    case VGPU_IOCTL_INFO: *(struct vgpu_info *)arg = f->info; return 0;
    case VGPU_IOCTL_BUF_ALLOC: return fake_buf_alloc(f, arg);
    case VGPU_IOCTL_BUF_REGISTER: return fake_buf_register(f, arg);
    case VGPU_IOCTL_BUF_UNREGISTER: return fake_buf_unregister(f, arg);
    case VGPU_IOCTL_WAIT: return fake_wait(f, arg);
    default: return -ENOTTY;
    }
}

static int fake_ioctl(void *opaque, int fd, unsigned long cmd, void *arg)
{
    struct fake *f = opaque;
    int err;

    if (cmd != VGPU_IOCTL_WAIT && fake_fails(f))
        return -ENOMEM;
    if (cmd == VGPU_IOCTL_QUEUE_SETUP)
        return fake_setup(f, arg);
    pthread_mutex_lock(&f->lock);
    err = fake_dispatch(f, cmd, arg);
    pthread_mutex_unlock(&f->lock);
    return err;
}

static void *fake_map(void *opaque, int fd, size_t bytes, int prot, uint64_t offset)
{
    struct fake *f = opaque;

    if (fake_fails(f))
        return NULL;
    f->maps++;
    switch (offset) {
    case 1: return f->block;
    case 2: return f->block + f->setup.ro_bytes;
    case 3: return f->doorbell;
    case 4: return f->arena;
    default: return f->bufs[offset - 100].addr;
    }
}

static void fake_unmap(void *opaque, void *addr, size_t bytes)
{
    ((struct fake *)opaque)->maps--;
}

void fake_init(struct fake *f)
{
    memset(f, 0, sizeof(*f));
    f->sys = (struct vgpu_sys){.open = fake_open,
                               .close = fake_close,
                               .ioctl = fake_ioctl,
                               .map = fake_map,
                               .unmap = fake_unmap,
                               .opaque = f};
    f->info = (struct vgpu_info){.size = sizeof(f->info),
                                 .exec_kind = VGPU_EXEC_CPU,
                                 .min_ring_log2 = 6,
                                 .max_ring_log2 = 12,
                                 .max_image_bytes = 1 << 20,
                                 .max_arena_bytes = 1 << 20,
                                 .max_param_bytes = 4096};
    f->memory = calloc(1, FAKE_DEVICE_BYTES);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->moved, NULL);
}

void fake_fini(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_mutex_unlock(&f->lock);
    if (f->running)
        pthread_join(f->thread, NULL);
    ck_assert_int_eq(f->open_fds, 0);
    ck_assert_int_eq(f->maps, 0);
    for (uint32_t i = 0; i < FAKE_BUFFERS; i++)
        if (f->bufs[i].owned)
            free(f->bufs[i].addr);
    free(f->block);
    free(f->arena);
    free(f->doorbell);
    free(f->memory);
}

void fake_lose(struct fake *f, uint16_t status)
{
    pthread_mutex_lock(&f->lock);
    put(&fake_ro(f)->lost_status, status);
    put(&fake_ro(f)->ctx_state, VGPU_CTX_STATE_LOST);
    pthread_cond_broadcast(&f->moved);
    pthread_mutex_unlock(&f->lock);
}

void fake_publish(struct fake *f, uint32_t cq_prod)
{
    pthread_mutex_lock(&f->lock);
    put(&fake_ro(f)->cq_prod, cq_prod);
    pthread_cond_broadcast(&f->moved);
    pthread_mutex_unlock(&f->lock);
}

void fake_pause(struct fake *f, bool paused)
{
    pthread_mutex_lock(&f->lock);
    f->paused = paused;
    pthread_mutex_unlock(&f->lock);
}
