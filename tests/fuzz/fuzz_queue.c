/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a hostile guest program on its context queue, against the real drain (ring, validation, dispatch,
 * calls, buffers) with an executor that only keeps jobs and moves what copies ask for.
 *
 * The input is a program of one-byte steps with operands (enum step).  The guest writes well-formed and
 * damaged submissions, moves its indices to anything, writes over what it has published, drops buffers under
 * running copies; the executor finishes jobs in any order that streams allow, refuses when it is full, or
 * loses the context.
 *
 * Beside what sanitizers see, this must hold after every step:
 *   each submission consumed is completed at most once, and by the end exactly once unless the context was lost;
 *   nothing is written into the guest's half of the queue block, or outside a buffer's bytes;
 *   no more completions are published than the completion queue holds beyond what the guest may have read;
 *   a barrier reaches the executor only when that holds no job.
 *
 * Also linked into the unit tests, which replay the corpus.
 */
#include <exec/dispatch.h>

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SQ_LOG2     7u
#define CQ_LOG2     6u
#define CQ_ENTRIES  (1u << CQ_LOG2)
#define BUFFERS     4u /* id 0 is the argument arena */
#define BUF_PAGES   2u
#define BUF_HEAD    100u /* before the buffer, in its first page */
#define BUF_BYTES   (BUF_PAGES * VGPU_PAGE_BYTES - BUF_HEAD - 60) /* and as many behind it */
#define CANARY      0xa5
#define MAX_HELD    CQ_ENTRIES
#define MAX_STEPS   4096u
#define MAX_IMAGE   4096u
#define FIRST_INDEX (UINT32_MAX - 40) /* both indices wrap soon */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
    STEP_COMMAND, /* [opcode 1] [stream 1] [payload: count 1, bytes] */
    STEP_RAW,     /* [64 bytes] */
    STEP_PUBLISH,
    STEP_RUN,
    STEP_FINISH,   /* [which 1] [status 1] */
    STEP_INDEX,    /* [which 1] [value 4] */
    STEP_REAP,     /* [how many 1] */
    STEP_DROP,     /* [id 1] */
    STEP_SCRIBBLE, /* [where 2] [byte 1]: over the guest's half, published or not */
    STEP_ARM,
    STEP_MEMORY,   /* [id 1] [where 2] [byte 1]: the guest writes into a buffer */
    STEP_CAPACITY, /* [jobs 1] */
    STEP_END
};

struct vgpu_exec {
    struct vgpu_job *held[MAX_HELD];
    uint32_t held_count;
    struct vgpu_job *done[MAX_HELD];
    uint32_t done_count;
    uint32_t capacity;
};

static struct world {
    struct vgpu_exec exec;
    struct vgpu_ring ring;
    struct vgpu_gbufs bufs;
    struct vgpu_dispatch d;
    uint8_t *block;
    size_t block_bytes;
    uint8_t *view[BUFFERS];
    uint32_t prod;     /* the guest's, not yet published */
    uint32_t reaped;   /* completions looked at */
    uint32_t consumed; /* submissions seen to be consumed */
    uint32_t completed;
    uint32_t owed[2 * CQ_ENTRIES]; /* submissions consumed and not completed, by their index */
    uint32_t owed_count;
    bool honest; /* no index was forged, so completions can be counted */
} w;

struct input {
    const uint8_t *at;
    size_t left;
};

static uint32_t take(struct input *in, size_t n)
{
    uint32_t value = 0;

    n = n < in->left ? n : in->left;
    memcpy(&value, in->at, n);
    in->at += n;
    in->left -= n;
    return value;
}

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* ---- The executor ---- */

static enum vgpu_submit_result fz_submit(struct vgpu_exec *e, struct vgpu_job *job)
{
    uint32_t same = 0;

    for (uint32_t i = 0; i < e->held_count; i++)
        same += e->held[i]->stream == job->stream;
    if (same >= e->capacity)
        return VGPU_SUBMIT_FULL;
    if (job->opcode == VGPU_CMD_LAUNCH) {
        volatile uint8_t sum = 0;

        for (uint32_t i = 0; i < job->u.launch.param_bytes; i++)
            sum = (uint8_t)(sum + job->u.launch.params[i]);
    }
    if (job->opcode == VGPU_CMD_NOP && same == 0)
        return VGPU_SUBMIT_DONE;
    must(e->held_count + e->done_count < MAX_HELD);
    e->held[e->held_count++] = job;
    return VGPU_SUBMIT_QUEUED;
}

/* Move what the copy says, a page at a time: the range has been promised to lie in the buffer. */
static void fz_copy(struct vgpu_job *job)
{
    uint8_t page[VGPU_PAGE_BYTES];
    uint64_t left = job->u.copy.bytes, off = job->u.copy.buf_off;

    memset(page, 0x11, sizeof(page));
    while (left) {
        size_t n = left < sizeof(page) ? left : sizeof(page);

        must((job->opcode == VGPU_CMD_COPY_H2D
                  ? vgpu_gbuf_read(job->u.copy.buf, off, page, n)
                  : vgpu_gbuf_write(job->u.copy.buf, off, page, n)) == 0);
        off += n;
        left -= n;
    }
}

static void fz_finish(struct vgpu_exec *e, uint32_t which, uint16_t status)
{
    struct vgpu_job *job;
    uint32_t at;

    if (!e->held_count)
        return;
    job = e->held[which % e->held_count];
    for (at = 0; e->held[at]->stream != job->stream; at++)
        ; /* the oldest of that stream */
    job = e->held[at];
    memmove(&e->held[at], &e->held[at + 1], (e->held_count - at - 1) * sizeof(e->held[0]));
    e->held_count--;
    if (job->opcode == VGPU_CMD_COPY_H2D || job->opcode == VGPU_CMD_COPY_D2H)
        fz_copy(job);
    job->status = status;
    e->done[e->done_count++] = job;
}

static size_t fz_poll(struct vgpu_exec *e, struct vgpu_job **jobs, size_t max)
{
    size_t n = e->done_count < max ? e->done_count : max;

    memcpy(jobs, e->done, n * sizeof(*jobs));
    memmove(e->done, e->done + n, (e->done_count - n) * sizeof(*jobs));
    e->done_count -= (uint32_t)n;
    return n;
}

static bool fz_stream_exists(struct vgpu_exec *e, uint32_t stream)
{
    return stream < 200;
}

static uint16_t fz_launch_check(struct vgpu_exec *e, const struct vgpu_cmd_launch *launch)
{
    return le32toh(launch->function) == 13 ? VGPU_ST_BAD_HANDLE : VGPU_ST_OK;
}

static uint16_t fz_alloc(struct vgpu_exec *e, uint64_t bytes, uint64_t *addr)
{
    *addr = 0x10000;
    return bytes > 1u << 30 ? VGPU_ST_OUT_OF_MEMORY : VGPU_ST_OK;
}

static uint16_t fz_free(struct vgpu_exec *e, uint64_t addr)
{
    must(e->held_count + e->done_count == 0);
    return addr ? VGPU_ST_OK : VGPU_ST_BAD_ADDRESS;
}

static uint64_t fz_held(struct vgpu_exec *e)
{
    return 4096;
}

static uint16_t fz_load(struct vgpu_exec *e, const void *image, size_t bytes, char *log,
                        size_t log_room, size_t *log_bytes, uint32_t *module)
{
    memset(log, 'x', log_room - 1);
    log[log_room - 1] = '\0';
    *log_bytes = log_room - 1;
    *module = 1;
    return bytes && *(const uint8_t *)image == 'b' ? VGPU_ST_BAD_IMAGE : VGPU_ST_OK;
}

static uint16_t fz_barrier(struct vgpu_exec *e, uint32_t handle)
{
    must(e->held_count + e->done_count == 0);
    return handle < 100 ? VGPU_ST_OK : VGPU_ST_BAD_HANDLE;
}

static uint16_t fz_func(struct vgpu_exec *e, uint32_t module, const char *name, uint32_t *function,
                        struct vgpu_func_info *info, struct vgpu_param_info *params, uint32_t room)
{
    uint32_t count = (uint32_t)strlen(name);

    info->param_count = htole32(count);
    for (uint32_t i = 0; i < count && i < room; i++)
        params[i] = (struct vgpu_param_info){.offset = htole32(i * 8), .bytes = htole32(8)};
    *function = 2;
    return VGPU_ST_OK;
}

static uint16_t fz_global(struct vgpu_exec *e, uint32_t module, const char *name,
                          struct vgpu_global_info *info)
{
    info->addr = htole64(strlen(name));
    return VGPU_ST_OK;
}

/* Whatever there is room for. */
static size_t fz_output(struct vgpu_exec *e, void *buf, size_t room, uint64_t *lost)
{
    memset(buf, 'x', room);
    *lost = room;
    return room;
}

static uint16_t fz_create(struct vgpu_exec *e, uint32_t *handle)
{
    *handle = 3;
    return VGPU_ST_OK;
}

static uint16_t fz_stream(struct vgpu_exec *e, int32_t priority, uint32_t *stream)
{
    *stream = 4;
    return VGPU_ST_OK;
}

static uint16_t fz_query(struct vgpu_exec *e, uint32_t event, uint64_t *time_ns)
{
    return VGPU_ST_NOT_READY;
}

static const struct vgpu_exec_ops fz_ops = {
    .name = "fuzz",
    .mem_alloc = fz_alloc,
    .mem_free = fz_free,
    .mem_held = fz_held,
    .module_load = fz_load,
    .module_unload = fz_barrier,
    .func_lookup = fz_func,
    .global_lookup = fz_global,
    .stream_create = fz_stream,
    .stream_destroy = fz_barrier,
    .stream_exists = fz_stream_exists,
    .event_create = fz_create,
    .event_query = fz_query,
    .event_destroy = fz_barrier,
    .launch_check = fz_launch_check,
    .output_read = fz_output,
    .submit = fz_submit,
    .poll = fz_poll,
};

static uint64_t fz_vm_held(void *opaque)
{
    return 8192;
}

/* ---- The world ---- */

static void buf_setup(uint32_t id, uint32_t flags)
{
    const struct vgpu_x_buf msg = {.id = id,
                                   .flags = flags,
                                   .bytes = BUF_BYTES,
                                   .first_off = BUF_HEAD,
                                   .run_count = BUF_PAGES};
    /* In reverse order, so that a mistake about runs shows. */
    const struct vgpu_xrun runs[BUF_PAGES] = {{.offset = VGPU_PAGE_BYTES, .bytes = VGPU_PAGE_BYTES},
                                              {.offset = 0, .bytes = VGPU_PAGE_BYTES}};
    int fd = memfd_create("ram", MFD_CLOEXEC);

    must(fd >= 0 && ftruncate(fd, BUF_PAGES * VGPU_PAGE_BYTES) == 0);
    w.view[id] = mmap(NULL, BUF_PAGES * VGPU_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(w.view[id] != MAP_FAILED);
    memset(w.view[id] + VGPU_PAGE_BYTES, CANARY, BUF_HEAD);
    memset(w.view[id] + VGPU_PAGE_BYTES - 60, CANARY, 60);
    must(vgpu_gbufs_begin(&w.bufs, &msg, &fd, 1) == VGPU_ST_OK &&
         vgpu_gbufs_add(&w.bufs, id, runs, BUF_PAGES) == VGPU_ST_OK &&
         vgpu_gbufs_commit(&w.bufs, id) == VGPU_ST_OK);
}

static void setup(void)
{
    struct vgpu_dispatch_config cfg = {.ops = &fz_ops,
                                       .exec = &w.exec,
                                       .ring = &w.ring,
                                       .bufs = &w.bufs,
                                       .budget = 24,
                                       .max_image_bytes = MAX_IMAGE,
                                       .memory_limit = 1 << 30,
                                       .vm_held = fz_vm_held};
    static const uint32_t flags[BUFFERS] = {VGPU_BUF_FLAGS, VGPU_BUF_FLAGS, VGPU_BUF_DEVICE_READS,
                                            VGPU_BUF_DEVICE_WRITES};
    struct vgpu_queue_ro *ro;
    struct vgpu_queue_rw *rw;

    memset(&w, 0, sizeof(w));
    w.exec.capacity = 8;
    w.honest = true;
    w.block_bytes = vgpu_queue_bytes(CQ_LOG2, SQ_LOG2);
    w.block = mmap(NULL, w.block_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(w.block != MAP_FAILED);
    ro = (void *)w.block;
    rw = (void *)(w.block + vgpu_queue_rw_offset(CQ_LOG2));
    ro->cq_prod = ro->sq_cons = rw->sq_prod = rw->cq_cons = FIRST_INDEX;
    w.prod = w.reaped = w.consumed = FIRST_INDEX;
    must(vgpu_ring_attach(&w.ring, w.block, w.block_bytes, SQ_LOG2, CQ_LOG2) == 0);
    must(vgpu_gbufs_init(&w.bufs, BUFFERS) == 0);
    for (uint32_t i = 0; i < BUFFERS; i++)
        buf_setup(i, flags[i]);
    must(vgpu_dispatch_init(&w.d, &cfg) == 0);
}

static void teardown(void)
{
    vgpu_dispatch_fini(&w.d);
    vgpu_gbufs_fini(&w.bufs);
    for (uint32_t i = 0; i < BUFFERS; i++)
        munmap(w.view[i], BUF_PAGES * VGPU_PAGE_BYTES);
    munmap(w.block, w.block_bytes);
}

/* ---- What must hold ---- */

static void check_buffers(void)
{
    for (uint32_t id = 0; id < BUFFERS; id++) {
        for (uint32_t i = 0; i < BUF_HEAD; i++)
            must(w.view[id][VGPU_PAGE_BYTES + i] == CANARY);
        for (uint32_t i = 1; i <= 60; i++)
            must(w.view[id][VGPU_PAGE_BYTES - i] == CANARY);
    }
}

static void owed_add(uint32_t sq_idx)
{
    must(w.owed_count < 2 * CQ_ENTRIES);
    w.owed[w.owed_count++] = sq_idx;
}

static void owed_remove(uint32_t sq_idx)
{
    uint32_t at = 0;

    while (at < w.owed_count && w.owed[at] != sq_idx)
        at++;
    must(at < w.owed_count);
    w.owed[at] = w.owed[--w.owed_count];
}

/* Completions published since the last look: each answers a submission that is owed one. */
static void check_completions(void)
{
    const struct vgpu_queue_ro *ro = (const void *)w.block;
    const struct vgpu_cqe *cq = (const void *)(w.block + vgpu_queue_cq_offset());

    for (; w.consumed != w.ring.sq_cons; w.consumed++)
        owed_add(w.consumed);
    must(ro->cq_prod == w.ring.cq_prod_pub && ro->sq_cons == w.ring.sq_cons_pub);
    must(w.ring.cq_prod + w.ring.owed - w.ring.cq_cons <= CQ_ENTRIES);
    must(w.ring.sq_prod - w.ring.sq_cons <= 1u << SQ_LOG2);
    for (; w.reaped != ro->cq_prod; w.reaped++) {
        const struct vgpu_cqe *cqe = &cq[w.reaped & (CQ_ENTRIES - 1)];

        must(!cqe->rsvd0 && !cqe->rsvd1);
        owed_remove(le32toh(cqe->sq_idx));
        w.completed++;
    }
}

/* The drain works; the guest's half stays as it was.  How much was done. */
static uint32_t run(void)
{
    static uint8_t before[1u << 16];
    size_t from = vgpu_queue_rw_offset(CQ_LOG2), bytes = w.block_bytes - from;
    uint32_t done = 0;

    must(bytes <= sizeof(before));
    memcpy(before, w.block + from, bytes);
    for (unsigned int i = 0; i < 64; i++) {
        uint32_t n = vgpu_dispatch_run(&w.d);

        if (!n)
            break;
        done += n;
        check_completions();
    }
    must(memcmp(before, w.block + from, bytes) == 0);
    check_completions();
    check_buffers();
    return done;
}

/* ---- The guest ---- */

static struct vgpu_sqe *slot(void)
{
    struct vgpu_sqe *sq = (void *)(w.block + vgpu_queue_sq_offset(CQ_LOG2));

    return &sq[w.prod++ & w.ring.sq_mask];
}

static void publish(uint32_t prod)
{
    struct vgpu_queue_rw *rw = (void *)(w.block + vgpu_queue_rw_offset(CQ_LOG2));

    rw->sq_prod = prod;
}

static void step_command(struct input *in)
{
    static const uint16_t opcodes[] = {
        VGPU_CMD_NOP,           VGPU_CMD_FENCE,
        VGPU_CMD_MEM_ALLOC,     VGPU_CMD_MEM_FREE,
        VGPU_CMD_MEM_INFO,      VGPU_CMD_COPY_H2D,
        VGPU_CMD_COPY_D2H,      VGPU_CMD_COPY_D2D,
        VGPU_CMD_MEMSET,        VGPU_CMD_MODULE_LOAD,
        VGPU_CMD_MODULE_UNLOAD, VGPU_CMD_FUNC_LOOKUP,
        VGPU_CMD_GLOBAL_LOOKUP, VGPU_CMD_LAUNCH,
        VGPU_CMD_STREAM_CREATE, VGPU_CMD_STREAM_DESTROY,
        VGPU_CMD_EVENT_CREATE,  VGPU_CMD_EVENT_RECORD,
        VGPU_CMD_EVENT_WAIT,    VGPU_CMD_EVENT_QUERY,
        VGPU_CMD_EVENT_DESTROY, VGPU_CMD_OUTPUT_READ,
    };
    struct vgpu_sqe sqe = {.cookie = w.prod};
    uint32_t bytes;

    sqe.opcode = htole16(opcodes[take(in, 1) % (sizeof(opcodes) / sizeof(opcodes[0]))]);
    sqe.stream = htole32(take(in, 1));
    bytes = take(in, 1) % (sizeof(sqe.u.payload) + 1);
    for (uint32_t i = 0; i < bytes; i++)
        sqe.u.payload[i] = (uint8_t)take(in, 1);
    *slot() = sqe;
}

static void step_raw(struct input *in)
{
    uint8_t raw[VGPU_SQE_BYTES];

    for (size_t i = 0; i < sizeof(raw); i++)
        raw[i] = (uint8_t)take(in, 1);
    memcpy(slot(), raw, sizeof(raw));
}

static void step_index(struct input *in)
{
    struct vgpu_queue_rw *rw = (void *)(w.block + vgpu_queue_rw_offset(CQ_LOG2));
    uint32_t which = take(in, 1), value = take(in, 4);

    w.honest = false;
    if (which & 2) /* near what is right, where off-by-one errors live */
        value = (which & 1 ? w.ring.cq_prod_pub : w.ring.sq_cons + w.ring.sq_mask) +
                (uint32_t)(int8_t)value;
    if (which & 1)
        rw->cq_cons = value;
    else
        rw->sq_prod = w.prod = value;
}

static void step_reap(uint32_t count)
{
    struct vgpu_queue_rw *rw = (void *)(w.block + vgpu_queue_rw_offset(CQ_LOG2));
    uint32_t there = w.ring.cq_prod_pub - rw->cq_cons;

    if (there <= CQ_ENTRIES)
        rw->cq_cons += count < there ? count : there;
}

static void step_scribble(struct input *in)
{
    size_t from = vgpu_queue_sq_offset(CQ_LOG2);
    size_t at = from + take(in, 2) % (w.block_bytes - from);

    w.block[at] = (uint8_t)take(in, 1);
}

/* Inside the buffer's bytes, so that the canaries stay. */
static void step_memory(struct input *in)
{
    uint32_t id = take(in, 1) % BUFFERS, at = BUF_HEAD + take(in, 2) % BUF_BYTES;

    w.view[id][(at + VGPU_PAGE_BYTES) % (BUF_PAGES * VGPU_PAGE_BYTES)] = (uint8_t)take(in, 1);
}

static uint16_t step_status(uint32_t which)
{
    static const uint16_t statuses[] = {VGPU_ST_OK, VGPU_ST_OK, VGPU_ST_BAD_ADDRESS,
                                        VGPU_ST_ILLEGAL_ADDRESS};

    return which < 250 ? statuses[which % 3] : statuses[3];
}

static void one_step(struct input *in)
{
    switch (take(in, 1) % STEP_END) {
    case STEP_COMMAND: step_command(in); break;
    case STEP_RAW: step_raw(in); break;
    case STEP_PUBLISH: publish(w.prod); break;
    case STEP_RUN: (void)run(); break;
    case STEP_FINISH: {
        uint32_t which = take(in, 1);

        fz_finish(&w.exec, which, step_status(take(in, 1)));
        break;
    }
    case STEP_INDEX: step_index(in); break;
    case STEP_REAP: step_reap(take(in, 1)); break;
    case STEP_DROP: (void)vgpu_gbufs_drop(&w.bufs, take(in, 1) % BUFFERS); break;
    case STEP_SCRIBBLE: step_scribble(in); break;
    case STEP_ARM:
        /* Asleep only if there is nothing to do, whatever the guest does to its indices. */
        must(vgpu_ring_arm(&w.ring) != VGPU_RING_EMPTY || w.ring.sq_prod == w.ring.sq_cons);
        vgpu_ring_disarm(&w.ring);
        break;
    case STEP_MEMORY: step_memory(in); break;
    case STEP_CAPACITY: w.exec.capacity = 1 + take(in, 1) % 16; break;
    default: break;
    }
    (void)vgpu_gbufs_collect(&w.bufs);
}

/* An honest guest gets every answer, however long it takes. */
static void settle(void)
{
    struct vgpu_queue_rw *rw = (void *)(w.block + vgpu_queue_rw_offset(CQ_LOG2));

    uint32_t done = 1;

    for (unsigned int i = 0; done || w.exec.held_count; i++) {
        must(i < 8 * (1u << SQ_LOG2)); /* it comes to an end */
        if (w.honest && rw->cq_cons != w.ring.cq_prod_pub) {
            rw->cq_cons = w.ring.cq_prod_pub;
            done = 1;
        } else {
            done = 0;
        }
        fz_finish(&w.exec, i, VGPU_ST_OK);
        done += run();
    }
    if (w.d.lost || !w.honest)
        return;
    must(w.ring.sq_cons == rw->sq_prod && w.ring.owed == 0);
    must(w.completed == w.ring.sq_cons - FIRST_INDEX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};

    setup();
    for (unsigned int i = 0; in.left && i < MAX_STEPS && !w.d.lost; i++)
        one_step(&in);
    settle();
    (void)vgpu_gbufs_collect(&w.bufs);
    /* What was dropped is unmapped when its last user has answered. */
    must(w.bufs.dropping == 0 || w.d.lost || w.d.parked || w.exec.held_count);
    teardown();
    return 0;
}
