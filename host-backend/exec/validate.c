// SPDX-License-Identifier: MIT
/*
 * Validation of context commands; see validate.h.
 *
 * The table is indexed by opcode.  All reserved bytes of a payload are at its end, so a row
 * holds how many bytes are used, expanded at compile time to one mask per 64-bit word: the test
 * for "everything else is zero" is six ANDs and no branch.
 */
#include <exec/validate.h>

#include <endian.h>
#include <string.h>

#define PAYLOAD_WORDS 6

/* Bits of payload word `w` that must be zero when the first `used` bytes have a meaning. */
#define RSVD_MASK(used, w)                                                                         \
    ((used) >= 8 * ((w) + 1) ? 0ull                                                                \
     : (used) <= 8 * (w)     ? ~0ull                                                               \
                             : ~0ull << (8 * (((used)-8 * (w)) & 7)))
#define RSVD_MASKS(used)                                                                           \
    {                                                                                              \
        RSVD_MASK(used, 0), RSVD_MASK(used, 1), RSVD_MASK(used, 2), RSVD_MASK(used, 3),            \
            RSVD_MASK(used, 4), RSVD_MASK(used, 5)                                                 \
    }

typedef uint16_t check_job_fn(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                              struct vgpu_job *job);
typedef uint16_t check_call_fn(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                               struct vgpu_call *call);

struct cmd_row {
    uint64_t rsvd[PAYLOAD_WORDS];
    enum vgpu_cmd_class class;
    union {
        check_job_fn *job;
        check_call_fn *call;
    } check;
};

/* ---- Queued commands ---- */

static uint16_t check_nop(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                          struct vgpu_job *job)
{
    return VGPU_ST_OK;
}

static uint16_t check_copy(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                           struct vgpu_job *job)
{
    const struct vgpu_cmd_copy *c = &sqe->u.copy;
    uint32_t access =
        job->opcode == VGPU_CMD_COPY_H2D ? VGPU_BUF_DEVICE_READS : VGPU_BUF_DEVICE_WRITES;
    uint16_t status;
    uint64_t end;

    job->u.copy.dev_addr = le64toh(c->dev_addr);
    job->u.copy.bytes = le64toh(c->bytes);
    job->u.copy.buf_off = le64toh(c->buf_off);
    status = vgpu_gbufs_find(v->bufs, le32toh(c->buf), access, job->u.copy.buf_off,
                             job->u.copy.bytes, &job->u.copy.buf);
    if (status != VGPU_ST_OK)
        return status;
    if (__builtin_add_overflow(job->u.copy.dev_addr, job->u.copy.bytes, &end))
        return VGPU_ST_BAD_ADDRESS;
    return VGPU_ST_OK;
}

static uint16_t check_d2d(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                          struct vgpu_job *job)
{
    const struct vgpu_cmd_copy_d2d *c = &sqe->u.copy_d2d;
    uint64_t end;

    job->u.d2d.dst = le64toh(c->dst);
    job->u.d2d.src = le64toh(c->src);
    job->u.d2d.bytes = le64toh(c->bytes);
    if (__builtin_add_overflow(job->u.d2d.dst, job->u.d2d.bytes, &end) ||
        __builtin_add_overflow(job->u.d2d.src, job->u.d2d.bytes, &end))
        return VGPU_ST_BAD_ADDRESS;
    return VGPU_ST_OK;
}

static uint16_t check_memset(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                             struct vgpu_job *job)
{
    const struct vgpu_cmd_memset *c = &sqe->u.memset;
    uint64_t addr = le64toh(c->dev_addr), count = le64toh(c->count), bytes, end;
    uint32_t value = le32toh(c->value), width = le32toh(c->width);

    if (width != 1 && width != 2 && width != 4)
        return VGPU_ST_BAD_VALUE;
    if (addr % width || (width < 4 && value >> (8 * width)))
        return VGPU_ST_BAD_VALUE;
    if (__builtin_mul_overflow(count, (uint64_t)width, &bytes) ||
        __builtin_add_overflow(addr, bytes, &end))
        return VGPU_ST_BAD_ADDRESS;
    job->u.memset.dev_addr = addr;
    job->u.memset.count = count;
    job->u.memset.value = value;
    job->u.memset.width = width;
    return VGPU_ST_OK;
}

static uint16_t check_launch(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                             struct vgpu_job *job)
{
    const struct vgpu_cmd_launch *c = &sqe->u.launch;
    struct vgpu_gbuf *arena;
    uint16_t status;

    job->u.launch.function = le32toh(c->function);
    job->u.launch.shared_bytes = le32toh(c->shared_bytes);
    job->u.launch.param_bytes = le16toh(c->param_bytes);
    job->u.launch.params = NULL;
    for (int i = 0; i < 3; i++) {
        job->u.launch.grid[i] = le32toh(c->grid[i]);
        job->u.launch.block[i] = le16toh(c->block[i]);
        if (job->u.launch.grid[i] == 0 || job->u.launch.block[i] == 0)
            return VGPU_ST_BAD_VALUE;
    }
    if (le32toh(c->param_off) % 16)
        return VGPU_ST_BAD_VALUE;
    if (job->u.launch.param_bytes > VGPU_MAX_PARAM_BYTES)
        return VGPU_ST_BAD_PARAMS;
    status = vgpu_gbufs_find(v->bufs, VGPU_BUF_ARENA, VGPU_BUF_DEVICE_READS, le32toh(c->param_off),
                             job->u.launch.param_bytes, &arena);
    if (status != VGPU_ST_OK)
        return status;
    return v->ops->launch_check(v->exec, c);
}

static uint16_t check_event_job(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                                struct vgpu_job *job)
{
    job->u.event = le32toh(sqe->u.event.id);
    return job->u.event ? VGPU_ST_OK : VGPU_ST_BAD_HANDLE;
}

/* ---- Immediate and barrier commands ---- */

static uint16_t check_none(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                           struct vgpu_call *call)
{
    return VGPU_ST_OK;
}

static uint16_t check_alloc(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                            struct vgpu_call *call)
{
    call->u.alloc_bytes = le64toh(sqe->u.mem_alloc.bytes);
    return call->u.alloc_bytes ? VGPU_ST_OK : VGPU_ST_BAD_VALUE;
}

static uint16_t check_free(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                           struct vgpu_call *call)
{
    call->u.free_addr = le64toh(sqe->u.mem_free.addr);
    return VGPU_ST_OK;
}

static uint16_t check_mem_info(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                               struct vgpu_call *call)
{
    const struct vgpu_cmd_mem_info *c = &sqe->u.mem_info;

    call->u.mem_info.out_off = le64toh(c->out_off);
    return vgpu_gbufs_find(v->bufs, le32toh(c->out_buf), VGPU_BUF_DEVICE_WRITES,
                           call->u.mem_info.out_off, sizeof(struct vgpu_mem_info),
                           &call->u.mem_info.out);
}

static uint16_t check_load(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                           struct vgpu_call *call)
{
    const struct vgpu_cmd_module_load *c = &sqe->u.module_load;
    uint16_t status;

    call->u.load.image_off = le64toh(c->image_off);
    call->u.load.image_bytes = le64toh(c->image_bytes);
    call->u.load.log_off = le64toh(c->log_off);
    call->u.load.log_bytes = le32toh(c->log_bytes);
    call->u.load.log = NULL;
    if (call->u.load.image_bytes == 0 || call->u.load.image_bytes > v->max_image_bytes)
        return VGPU_ST_BAD_VALUE;
    status = vgpu_gbufs_find(v->bufs, le32toh(c->image_buf), VGPU_BUF_DEVICE_READS,
                             call->u.load.image_off, call->u.load.image_bytes, &call->u.load.image);
    if (status != VGPU_ST_OK || call->u.load.log_bytes == 0)
        return status;
    return vgpu_gbufs_find(v->bufs, le32toh(c->log_buf), VGPU_BUF_DEVICE_WRITES,
                           call->u.load.log_off, call->u.load.log_bytes, &call->u.load.log);
}

static uint16_t check_lookup(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                             struct vgpu_call *call)
{
    const struct vgpu_cmd_lookup *c = &sqe->u.lookup;
    uint32_t least = call->opcode == VGPU_CMD_FUNC_LOOKUP ? sizeof(struct vgpu_func_info)
                                                          : sizeof(struct vgpu_global_info);
    uint16_t status;

    call->u.lookup.module = le32toh(c->module);
    call->u.lookup.name_off = le64toh(c->name_off);
    call->u.lookup.name_bytes = le32toh(c->name_bytes);
    call->u.lookup.out_off = le64toh(c->out_off);
    call->u.lookup.out_bytes = le32toh(c->out_bytes);
    if (call->u.lookup.name_bytes == 0 || call->u.lookup.name_bytes > VGPU_MAX_NAME_BYTES ||
        call->u.lookup.out_bytes < least)
        return VGPU_ST_BAD_VALUE;
    status =
        vgpu_gbufs_find(v->bufs, le32toh(c->name_buf), VGPU_BUF_DEVICE_READS,
                        call->u.lookup.name_off, call->u.lookup.name_bytes, &call->u.lookup.name);
    if (status != VGPU_ST_OK)
        return status;
    return vgpu_gbufs_find(v->bufs, le32toh(c->out_buf), VGPU_BUF_DEVICE_WRITES,
                           call->u.lookup.out_off, call->u.lookup.out_bytes, &call->u.lookup.out);
}

static uint16_t check_output(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                             struct vgpu_call *call)
{
    const struct vgpu_cmd_output_read *c = &sqe->u.output_read;

    call->u.output.out_off = le64toh(c->out_off);
    call->u.output.out_bytes = le32toh(c->out_bytes);
    if (call->u.output.out_bytes == 0)
        return VGPU_ST_BAD_VALUE;
    return vgpu_gbufs_find(v->bufs, le32toh(c->out_buf), VGPU_BUF_DEVICE_WRITES,
                           call->u.output.out_off, call->u.output.out_bytes, &call->u.output.out);
}

static uint16_t check_priority(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                               struct vgpu_call *call)
{
    call->u.priority = (int32_t)le32toh(sqe->u.stream_create.priority);
    return VGPU_ST_OK;
}

/* Modules, streams and events are all named by the payload's first word. */
static uint16_t check_handle(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                             struct vgpu_call *call)
{
    call->u.handle = le32toh(sqe->u.module_unload.module);
    return call->u.handle ? VGPU_ST_OK : VGPU_ST_BAD_HANDLE;
}

VGPU_ABI_ASSERT(offsetof(struct vgpu_cmd_module_unload, module) == 0 &&
                    offsetof(struct vgpu_cmd_stream, id) == 0 &&
                    offsetof(struct vgpu_cmd_event, id) == 0,
                "check_handle() reads the first word");

/* ---- The table ---- */

#define USED(type) ((int)offsetof(struct type, rsvd))
#define ROW(op, cls, used, member, fn)                                                             \
    [VGPU_CMD_##op] = {.rsvd = RSVD_MASKS(used), .class = VGPU_CLASS_##cls, .check = {.member = fn}}

/* clang-format off */
static const struct cmd_row rows[] = {
    ROW(NOP,            QUEUED,    0,                            job,  check_nop),
    ROW(FENCE,          BARRIER,   0,                            call, check_none),
    ROW(MEM_ALLOC,      IMMEDIATE, USED(vgpu_cmd_mem_alloc),     call, check_alloc),
    ROW(MEM_FREE,       BARRIER,   USED(vgpu_cmd_mem_free),      call, check_free),
    ROW(MEM_INFO,       IMMEDIATE, USED(vgpu_cmd_mem_info),      call, check_mem_info),
    ROW(COPY_H2D,       QUEUED,    USED(vgpu_cmd_copy),          job,  check_copy),
    ROW(COPY_D2H,       QUEUED,    USED(vgpu_cmd_copy),          job,  check_copy),
    ROW(COPY_D2D,       QUEUED,    USED(vgpu_cmd_copy_d2d),      job,  check_d2d),
    ROW(MEMSET,         QUEUED,    USED(vgpu_cmd_memset),        job,  check_memset),
    ROW(MODULE_LOAD,    IMMEDIATE, USED(vgpu_cmd_module_load),   call, check_load),
    ROW(MODULE_UNLOAD,  BARRIER,   USED(vgpu_cmd_module_unload), call, check_handle),
    ROW(FUNC_LOOKUP,    IMMEDIATE, USED(vgpu_cmd_lookup),        call, check_lookup),
    ROW(GLOBAL_LOOKUP,  IMMEDIATE, USED(vgpu_cmd_lookup),        call, check_lookup),
    ROW(LAUNCH,         QUEUED,    USED(vgpu_cmd_launch),        job,  check_launch),
    ROW(OUTPUT_READ,    IMMEDIATE, USED(vgpu_cmd_output_read),   call, check_output),
    ROW(STREAM_CREATE,  IMMEDIATE, USED(vgpu_cmd_stream_create), call, check_priority),
    ROW(STREAM_DESTROY, BARRIER,   USED(vgpu_cmd_stream),        call, check_handle),
    ROW(EVENT_CREATE,   IMMEDIATE, 0,                            call, check_none),
    ROW(EVENT_RECORD,   QUEUED,    USED(vgpu_cmd_event),         job,  check_event_job),
    ROW(EVENT_WAIT,     QUEUED,    USED(vgpu_cmd_event),         job,  check_event_job),
    ROW(EVENT_QUERY,    IMMEDIATE, USED(vgpu_cmd_event),         call, check_handle),
    ROW(EVENT_DESTROY,  BARRIER,   USED(vgpu_cmd_event),         call, check_handle),
};
/* clang-format on */

static const struct cmd_row *row_find(uint16_t opcode)
{
    if (opcode >= sizeof(rows) / sizeof(rows[0]) || rows[opcode].class == VGPU_CLASS_REFUSED)
        return NULL;
    return &rows[opcode];
}

enum vgpu_cmd_class vgpu_cmd_class(uint16_t opcode)
{
    const struct cmd_row *row = row_find(opcode);

    return row ? row->class : VGPU_CLASS_REFUSED;
}

static uint16_t check_header(const struct cmd_row *row, const struct vgpu_sqe *sqe)
{
    uint64_t words[PAYLOAD_WORDS];
    uint64_t extra = 0;

    if (sqe->flags)
        return VGPU_ST_BAD_FLAGS;
    memcpy(words, sqe->u.payload, sizeof(words));
    for (int i = 0; i < PAYLOAD_WORDS; i++)
        extra |= words[i] & row->rsvd[i];
    return extra ? VGPU_ST_BAD_RESERVED : VGPU_ST_OK;
}

uint16_t vgpu_validate_job(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                           struct vgpu_job *job)
{
    const struct cmd_row *row = row_find(le16toh(sqe->opcode));
    uint16_t status;

    if (!row || row->class != VGPU_CLASS_QUEUED)
        return VGPU_ST_BAD_OPCODE;
    status = check_header(row, sqe);
    if (status != VGPU_ST_OK)
        return status;
    job->opcode = le16toh(sqe->opcode);
    job->stream = le32toh(sqe->stream);
    job->cookie = le64toh(sqe->cookie);
    job->status = VGPU_ST_OK;
    job->aux = 0;
    job->result = 0;
    if (job->stream && !v->ops->stream_exists(v->exec, job->stream))
        return VGPU_ST_BAD_HANDLE;
    return row->check.job(v, sqe, job);
}

uint16_t vgpu_validate_call(const struct vgpu_validator *v, const struct vgpu_sqe *sqe,
                            struct vgpu_call *call)
{
    const struct cmd_row *row = row_find(le16toh(sqe->opcode));
    uint16_t status;

    if (!row || row->class == VGPU_CLASS_QUEUED)
        return VGPU_ST_BAD_OPCODE;
    status = check_header(row, sqe);
    if (status != VGPU_ST_OK)
        return status;
    if (sqe->stream)
        return VGPU_ST_BAD_VALUE;
    call->opcode = le16toh(sqe->opcode);
    return row->check.call(v, sqe, call);
}
