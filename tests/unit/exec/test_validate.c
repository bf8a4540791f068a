// SPDX-License-Identifier: MIT
/*
 * Validation of context commands.  Each opcode has a valid command here; every refusal is tested by
 * breaking one thing in one of them, so a test can't pass for another reason than its own.
 */
#include "suites.h"

#include <exec/validate.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE        4096u
#define ARENA_BYTES (4 * PAGE)
#define BUF_BYTES   10000u
#define MAX_IMAGE   9000u
#define BUF_READ    1 /* the device may read it */
#define BUF_WRITE   2
#define FUNCTION    5

struct world {
    struct vgpu_gbufs bufs;
    struct vgpu_exec_ops ops;
    struct vgpu_validator v;
};

static bool world_stream_exists(struct vgpu_exec *exec, uint32_t stream)
{
    return stream == 0 || stream == 9;
}

static uint16_t world_launch_check(struct vgpu_exec *exec, const struct vgpu_cmd_launch *launch)
{
    return launch->function == FUNCTION ? VGPU_ST_OK : VGPU_ST_BAD_HANDLE;
}

static void world_buf(struct world *w, uint32_t id, uint32_t flags, uint64_t bytes)
{
    const struct vgpu_x_buf msg = {.id = id, .flags = flags, .bytes = bytes, .run_count = 1};
    const struct vgpu_xrun run = {.bytes = (bytes + PAGE - 1) / PAGE * PAGE};
    int fd = memfd_create("ram", MFD_CLOEXEC);

    ck_assert_int_eq(ftruncate(fd, (off_t)run.bytes), 0);
    ck_assert_uint_eq(vgpu_gbufs_begin(&w->bufs, &msg, &fd, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_add(&w->bufs, id, &run, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_commit(&w->bufs, id), VGPU_ST_OK);
}

static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    ck_assert_int_eq(vgpu_gbufs_init(&w->bufs, 4), 0);
    world_buf(w, VGPU_BUF_ARENA, VGPU_BUF_FLAGS, ARENA_BYTES);
    world_buf(w, BUF_READ, VGPU_BUF_DEVICE_READS, BUF_BYTES);
    world_buf(w, BUF_WRITE, VGPU_BUF_DEVICE_WRITES, BUF_BYTES);
    w->ops.stream_exists = world_stream_exists;
    w->ops.launch_check = world_launch_check;
    w->v = (struct vgpu_validator){.ops = &w->ops, .bufs = &w->bufs, .max_image_bytes = MAX_IMAGE};
}

/* ---- One valid command per opcode ---- */

static struct vgpu_sqe valid(uint16_t opcode)
{
    struct vgpu_sqe s = {.opcode = opcode, .cookie = 0x1122334455667788ull};

    switch (opcode) {
    case VGPU_CMD_MEM_ALLOC: s.u.mem_alloc.bytes = 1; break;
    case VGPU_CMD_MEM_FREE: s.u.mem_free.addr = 0x1000; break;
    case VGPU_CMD_MEM_INFO: s.u.mem_info.out_buf = BUF_WRITE; break;
    case VGPU_CMD_COPY_H2D:
        s.u.copy = (struct vgpu_cmd_copy){
            .dev_addr = 0x10000, .buf_off = 8, .bytes = BUF_BYTES - 8, .buf = BUF_READ};
        break;
    case VGPU_CMD_COPY_D2H:
        s.u.copy = (struct vgpu_cmd_copy){
            .dev_addr = 0x10000, .buf_off = 8, .bytes = BUF_BYTES - 8, .buf = BUF_WRITE};
        break;
    case VGPU_CMD_COPY_D2D:
        s.u.copy_d2d = (struct vgpu_cmd_copy_d2d){.dst = 0x10000, .src = 0x20000, .bytes = 7};
        break;
    case VGPU_CMD_MEMSET:
        s.u.memset =
            (struct vgpu_cmd_memset){.dev_addr = 0x10002, .count = 3, .value = 0xffff, .width = 2};
        break;
    case VGPU_CMD_MODULE_LOAD:
        s.u.module_load = (struct vgpu_cmd_module_load){.image_off = 100,
                                                        .image_bytes = MAX_IMAGE,
                                                        .log_off = 16,
                                                        .image_buf = BUF_READ,
                                                        .log_buf = BUF_WRITE,
                                                        .log_bytes = BUF_BYTES - 16};
        break;
    case VGPU_CMD_MODULE_UNLOAD: s.u.module_unload.module = 3; break;
    case VGPU_CMD_FUNC_LOOKUP:
    case VGPU_CMD_GLOBAL_LOOKUP:
        s.u.lookup = (struct vgpu_cmd_lookup){.name_off = 4,
                                              .out_off = 8,
                                              .module = 3,
                                              .name_buf = BUF_READ,
                                              .name_bytes = VGPU_MAX_NAME_BYTES,
                                              .out_buf = BUF_WRITE,
                                              .out_bytes = BUF_BYTES - 8};
        break;
    case VGPU_CMD_LAUNCH:
        s.u.launch = (struct vgpu_cmd_launch){.function = FUNCTION,
                                              .grid = {4, 3, 2},
                                              .block = {32, 2, 1},
                                              .param_bytes = VGPU_MAX_PARAM_BYTES,
                                              .param_off = ARENA_BYTES - VGPU_MAX_PARAM_BYTES,
                                              .shared_bytes = 11};
        break;
    case VGPU_CMD_OUTPUT_READ:
        s.u.output_read = (struct vgpu_cmd_output_read){
            .out_off = 8, .out_bytes = BUF_BYTES - 8, .out_buf = BUF_WRITE};
        break;
    case VGPU_CMD_STREAM_CREATE: s.u.stream_create.priority = (uint32_t)-5; break;
    case VGPU_CMD_STREAM_DESTROY: s.u.stream_id.id = 9; break;
    case VGPU_CMD_EVENT_RECORD:
    case VGPU_CMD_EVENT_WAIT:
    case VGPU_CMD_EVENT_QUERY:
    case VGPU_CMD_EVENT_DESTROY: s.u.event.id = 7; break;
    default: break;
    }
    return s;
}

static const struct {
    uint16_t opcode;
    enum vgpu_cmd_class class;
    unsigned int used; /* bytes of the payload that mean something */
} commands[] = {
    {VGPU_CMD_NOP, VGPU_CLASS_QUEUED, 0},
    {VGPU_CMD_FENCE, VGPU_CLASS_BARRIER, 0},
    {VGPU_CMD_MEM_ALLOC, VGPU_CLASS_IMMEDIATE, 8},
    {VGPU_CMD_MEM_FREE, VGPU_CLASS_BARRIER, 8},
    {VGPU_CMD_MEM_INFO, VGPU_CLASS_IMMEDIATE, 12},
    {VGPU_CMD_COPY_H2D, VGPU_CLASS_QUEUED, 28},
    {VGPU_CMD_COPY_D2H, VGPU_CLASS_QUEUED, 28},
    {VGPU_CMD_COPY_D2D, VGPU_CLASS_QUEUED, 24},
    {VGPU_CMD_MEMSET, VGPU_CLASS_QUEUED, 24},
    {VGPU_CMD_MODULE_LOAD, VGPU_CLASS_IMMEDIATE, 36},
    {VGPU_CMD_MODULE_UNLOAD, VGPU_CLASS_BARRIER, 4},
    {VGPU_CMD_FUNC_LOOKUP, VGPU_CLASS_IMMEDIATE, 36},
    {VGPU_CMD_GLOBAL_LOOKUP, VGPU_CLASS_IMMEDIATE, 36},
    {VGPU_CMD_LAUNCH, VGPU_CLASS_QUEUED, 32},
    {VGPU_CMD_OUTPUT_READ, VGPU_CLASS_IMMEDIATE, 16},
    {VGPU_CMD_STREAM_CREATE, VGPU_CLASS_IMMEDIATE, 4},
    {VGPU_CMD_STREAM_DESTROY, VGPU_CLASS_BARRIER, 4},
    {VGPU_CMD_EVENT_CREATE, VGPU_CLASS_IMMEDIATE, 0},
    {VGPU_CMD_EVENT_RECORD, VGPU_CLASS_QUEUED, 4},
    {VGPU_CMD_EVENT_WAIT, VGPU_CLASS_QUEUED, 4},
    {VGPU_CMD_EVENT_QUERY, VGPU_CLASS_IMMEDIATE, 4},
    {VGPU_CMD_EVENT_DESTROY, VGPU_CLASS_BARRIER, 4},
};
#define COMMANDS ((int)(sizeof(commands) / sizeof(commands[0])))

static uint16_t check(struct world *w, const struct vgpu_sqe *sqe, struct vgpu_job *job,
                      struct vgpu_call *call)
{
    if (vgpu_cmd_class(sqe->opcode) == VGPU_CLASS_QUEUED)
        return vgpu_validate_job(&w->v, sqe, job);
    return vgpu_validate_call(&w->v, sqe, call);
}

static uint16_t check_only(struct world *w, const struct vgpu_sqe *sqe)
{
    struct vgpu_job job;
    struct vgpu_call call;

    return check(w, sqe, &job, &call);
}

/* ---- All commands ---- */

START_TEST(valid_command_passes)
{
    struct world w;
    struct vgpu_sqe sqe = valid(commands[_i].opcode);

    world_init(&w);
    ck_assert_int_eq(vgpu_cmd_class(sqe.opcode), commands[_i].class);
    ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_OK);
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

/* VGPU-NEG-002: there are no features yet, so none that was negotiated. */
START_TEST(every_other_opcode_is_refused)
{
    struct world w;

    world_init(&w);
    for (uint32_t opcode = 0; opcode <= UINT16_MAX; opcode++) {
        struct vgpu_sqe sqe = {.opcode = (uint16_t)opcode};
        struct vgpu_job job;
        struct vgpu_call call;
        bool known = false;

        for (int i = 0; i < COMMANDS; i++)
            known |= commands[i].opcode == opcode;
        if (known)
            continue;
        ck_assert_int_eq(vgpu_cmd_class((uint16_t)opcode), VGPU_CLASS_REFUSED);
        ck_assert_uint_eq(vgpu_validate_job(&w.v, &sqe, &job), VGPU_ST_BAD_OPCODE);
        ck_assert_uint_eq(vgpu_validate_call(&w.v, &sqe, &call), VGPU_ST_BAD_OPCODE);
    }
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

START_TEST(every_flag_is_refused)
{
    struct world w;

    world_init(&w);
    for (int bit = 0; bit < 16; bit++) {
        struct vgpu_sqe sqe = valid(commands[_i].opcode);

        sqe.flags = (uint16_t)(1u << bit);
        ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_BAD_FLAGS);
    }
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

START_TEST(every_reserved_bit_is_refused)
{
    struct world w;

    world_init(&w);
    for (unsigned int bit = 8 * commands[_i].used; bit < 8 * 48; bit++) {
        struct vgpu_sqe sqe = valid(commands[_i].opcode);

        sqe.u.payload[bit / 8] |= (uint8_t)(1u << bit % 8);
        ck_assert_msg(check_only(&w, &sqe) == VGPU_ST_BAD_RESERVED, "opcode 0x%x bit %u",
                      sqe.opcode, bit);
    }
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

START_TEST(stream_must_exist_or_be_zero)
{
    struct world w;
    struct vgpu_sqe sqe = valid(commands[_i].opcode);
    bool queued = commands[_i].class == VGPU_CLASS_QUEUED;

    world_init(&w);
    sqe.stream = 9;
    ck_assert_uint_eq(check_only(&w, &sqe), queued ? VGPU_ST_OK : VGPU_ST_BAD_VALUE);
    sqe.stream = 10;
    ck_assert_uint_eq(check_only(&w, &sqe), queued ? VGPU_ST_BAD_HANDLE : VGPU_ST_BAD_VALUE);
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

/* A call can't be smuggled through as a job, nor the other way round. */
START_TEST(class_decides_which_check_applies)
{
    struct world w;
    struct vgpu_sqe sqe = valid(commands[_i].opcode);
    struct vgpu_job job;
    struct vgpu_call call;

    world_init(&w);
    if (commands[_i].class == VGPU_CLASS_QUEUED)
        ck_assert_uint_eq(vgpu_validate_call(&w.v, &sqe, &call), VGPU_ST_BAD_OPCODE);
    else
        ck_assert_uint_eq(vgpu_validate_job(&w.v, &sqe, &job), VGPU_ST_BAD_OPCODE);
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

/* ---- What comes out ---- */

START_TEST(jobs_carry_what_the_submission_said)
{
    struct world w;
    struct vgpu_job job;
    struct vgpu_sqe sqe = valid(VGPU_CMD_COPY_D2H);

    world_init(&w);
    memset(&job, 0xff, sizeof(job));
    sqe.stream = 9;
    ck_assert_uint_eq(vgpu_validate_job(&w.v, &sqe, &job), VGPU_ST_OK);
    ck_assert_uint_eq(job.opcode, VGPU_CMD_COPY_D2H);
    ck_assert_uint_eq(job.stream, 9);
    ck_assert_uint_eq(job.cookie, 0x1122334455667788ull);
    ck_assert_uint_eq(job.status, VGPU_ST_OK);
    ck_assert_uint_eq(job.aux, 0);
    ck_assert_uint_eq(job.result, 0);
    ck_assert_uint_eq(job.u.copy.dev_addr, 0x10000);
    ck_assert_uint_eq(job.u.copy.buf_off, 8);
    ck_assert_uint_eq(job.u.copy.bytes, BUF_BYTES - 8);
    ck_assert_uint_eq(vgpu_gbuf_bytes(job.u.copy.buf), BUF_BYTES);

    sqe = valid(VGPU_CMD_LAUNCH);
    ck_assert_uint_eq(vgpu_validate_job(&w.v, &sqe, &job), VGPU_ST_OK);
    ck_assert_uint_eq(job.u.launch.function, FUNCTION);
    ck_assert_uint_eq(job.u.launch.grid[0], 4);
    ck_assert_uint_eq(job.u.launch.grid[2], 2);
    ck_assert_uint_eq(job.u.launch.block[0], 32);
    ck_assert_uint_eq(job.u.launch.block[1], 2);
    ck_assert_uint_eq(job.u.launch.shared_bytes, 11);
    ck_assert_uint_eq(job.u.launch.param_bytes, VGPU_MAX_PARAM_BYTES);

    sqe = valid(VGPU_CMD_MEMSET);
    ck_assert_uint_eq(vgpu_validate_job(&w.v, &sqe, &job), VGPU_ST_OK);
    ck_assert_uint_eq(job.u.memset.dev_addr, 0x10002);
    ck_assert_uint_eq(job.u.memset.count, 3);
    ck_assert_uint_eq(job.u.memset.value, 0xffff);
    ck_assert_uint_eq(job.u.memset.width, 2);
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

START_TEST(calls_carry_what_the_submission_said)
{
    struct world w;
    struct vgpu_call call;
    struct vgpu_sqe sqe = valid(VGPU_CMD_STREAM_CREATE);

    world_init(&w);
    ck_assert_uint_eq(vgpu_validate_call(&w.v, &sqe, &call), VGPU_ST_OK);
    ck_assert_int_eq(call.u.priority, -5);
    sqe = valid(VGPU_CMD_MODULE_LOAD);
    ck_assert_uint_eq(vgpu_validate_call(&w.v, &sqe, &call), VGPU_ST_OK);
    ck_assert_uint_eq(call.u.load.image_bytes, MAX_IMAGE);
    ck_assert_ptr_ne(call.u.load.log, NULL);
    sqe.u.module_load.log_bytes = 0;
    ck_assert_uint_eq(vgpu_validate_call(&w.v, &sqe, &call), VGPU_ST_OK);
    ck_assert_ptr_eq(call.u.load.log, NULL);
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

/* ---- One refusal each ---- */

#define U64_MAX UINT64_MAX
#define REFUSALS(X)                                                                                \
    X(MEM_ALLOC, mem_alloc.bytes, 0, BAD_VALUE)                                                    \
    X(MEM_INFO, mem_info.out_buf, 3, BAD_BUFFER)                                                   \
    X(MEM_INFO, mem_info.out_buf, BUF_READ, BAD_ACCESS)                                            \
    X(MEM_INFO, mem_info.out_off, BUF_BYTES - 31, BAD_RANGE)                                       \
    X(MEM_INFO, mem_info.out_off, U64_MAX - 30, BAD_RANGE)                                         \
    X(COPY_H2D, copy.buf, 3, BAD_BUFFER)                                                           \
    X(COPY_H2D, copy.buf, 4, BAD_BUFFER)                                                           \
    X(COPY_H2D, copy.buf, 0xffffffff, BAD_BUFFER)                                                  \
    X(COPY_H2D, copy.buf, BUF_WRITE, BAD_ACCESS)                                                   \
    X(COPY_H2D, copy.buf_off, 9, BAD_RANGE)                                                        \
    X(COPY_H2D, copy.buf_off, U64_MAX, BAD_RANGE)                                                  \
    X(COPY_H2D, copy.bytes, BUF_BYTES - 7, BAD_RANGE)                                              \
    X(COPY_H2D, copy.bytes, U64_MAX - 0x10000, BAD_RANGE)                                          \
    X(COPY_H2D, copy.dev_addr, U64_MAX - 8, BAD_ADDRESS)                                           \
    X(COPY_D2H, copy.buf, BUF_READ, BAD_ACCESS)                                                    \
    X(COPY_D2H, copy.buf, 3, BAD_BUFFER)                                                           \
    X(COPY_D2H, copy.bytes, BUF_BYTES - 7, BAD_RANGE)                                              \
    X(COPY_D2H, copy.dev_addr, U64_MAX - 8, BAD_ADDRESS)                                           \
    X(COPY_D2D, copy_d2d.dst, U64_MAX - 6, BAD_ADDRESS)                                            \
    X(COPY_D2D, copy_d2d.src, U64_MAX - 6, BAD_ADDRESS)                                            \
    X(COPY_D2D, copy_d2d.bytes, U64_MAX, BAD_ADDRESS)                                              \
    X(MEMSET, memset.width, 0, BAD_VALUE)                                                          \
    X(MEMSET, memset.width, 3, BAD_VALUE)                                                          \
    X(MEMSET, memset.width, 4, BAD_VALUE) /* not aligned to it */                                  \
    X(MEMSET, memset.width, 8, BAD_VALUE)                                                          \
    X(MEMSET, memset.width, 1, BAD_VALUE) /* value has more bits */                                \
    X(MEMSET, memset.value, 0x10000, BAD_VALUE)                                                    \
    X(MEMSET, memset.dev_addr, 0x10001, BAD_VALUE)                                                 \
    X(MEMSET, memset.dev_addr, U64_MAX - 3, BAD_ADDRESS)                                           \
    X(MEMSET, memset.count, 1ull << 63, BAD_ADDRESS)                                               \
    X(MODULE_LOAD, module_load.image_bytes, 0, BAD_VALUE)                                          \
    X(MODULE_LOAD, module_load.image_bytes, MAX_IMAGE + 1, BAD_VALUE)                              \
    X(MODULE_LOAD, module_load.image_off, BUF_BYTES - MAX_IMAGE + 1, BAD_RANGE)                    \
    X(MODULE_LOAD, module_load.image_buf, 3, BAD_BUFFER)                                           \
    X(MODULE_LOAD, module_load.image_buf, BUF_WRITE, BAD_ACCESS)                                   \
    X(MODULE_LOAD, module_load.log_buf, BUF_READ, BAD_ACCESS)                                      \
    X(MODULE_LOAD, module_load.log_buf, 3, BAD_BUFFER)                                             \
    X(MODULE_LOAD, module_load.log_bytes, BUF_BYTES - 15, BAD_RANGE)                               \
    X(MODULE_LOAD, module_load.log_off, U64_MAX, BAD_RANGE)                                        \
    X(MODULE_UNLOAD, module_unload.module, 0, BAD_HANDLE)                                          \
    X(FUNC_LOOKUP, lookup.name_bytes, 0, BAD_VALUE)                                                \
    X(FUNC_LOOKUP, lookup.name_bytes, VGPU_MAX_NAME_BYTES + 1, BAD_VALUE)                          \
    X(FUNC_LOOKUP, lookup.out_bytes, 63, BAD_VALUE)                                                \
    X(FUNC_LOOKUP, lookup.out_bytes, BUF_BYTES - 7, BAD_RANGE)                                     \
    X(FUNC_LOOKUP, lookup.name_off, BUF_BYTES - 1023, BAD_RANGE)                                   \
    X(FUNC_LOOKUP, lookup.name_buf, BUF_WRITE, BAD_ACCESS)                                         \
    X(FUNC_LOOKUP, lookup.name_buf, 3, BAD_BUFFER)                                                 \
    X(FUNC_LOOKUP, lookup.out_buf, BUF_READ, BAD_ACCESS)                                           \
    X(FUNC_LOOKUP, lookup.out_buf, 3, BAD_BUFFER)                                                  \
    X(GLOBAL_LOOKUP, lookup.out_bytes, 15, BAD_VALUE)                                              \
    X(GLOBAL_LOOKUP, lookup.name_bytes, 0, BAD_VALUE)                                              \
    X(LAUNCH, launch.function, 6, BAD_HANDLE)                                                      \
    X(LAUNCH, launch.grid[0], 0, BAD_VALUE)                                                        \
    X(LAUNCH, launch.grid[1], 0, BAD_VALUE)                                                        \
    X(LAUNCH, launch.grid[2], 0, BAD_VALUE)                                                        \
    X(LAUNCH, launch.block[0], 0, BAD_VALUE)                                                       \
    X(LAUNCH, launch.block[1], 0, BAD_VALUE)                                                       \
    X(LAUNCH, launch.block[2], 0, BAD_VALUE)                                                       \
    X(LAUNCH, launch.param_off, 8, BAD_VALUE)                                                      \
    X(LAUNCH, launch.param_off, ARENA_BYTES - VGPU_MAX_PARAM_BYTES + 16, BAD_RANGE)                \
    X(LAUNCH, launch.param_off, 0xfffffff0, BAD_RANGE)                                             \
    X(LAUNCH, launch.param_bytes, VGPU_MAX_PARAM_BYTES + 1, BAD_PARAMS)                            \
    X(LAUNCH, launch.param_bytes, 0xffff, BAD_PARAMS)                                              \
    X(OUTPUT_READ, output_read.out_bytes, 0, BAD_VALUE)                                            \
    X(OUTPUT_READ, output_read.out_bytes, BUF_BYTES - 7, BAD_RANGE)                                \
    X(OUTPUT_READ, output_read.out_off, U64_MAX, BAD_RANGE)                                        \
    X(OUTPUT_READ, output_read.out_buf, BUF_READ, BAD_ACCESS)                                      \
    X(OUTPUT_READ, output_read.out_buf, 3, BAD_BUFFER)                                             \
    X(STREAM_DESTROY, stream_id.id, 0, BAD_HANDLE)                                                 \
    X(EVENT_RECORD, event.id, 0, BAD_HANDLE)                                                       \
    X(EVENT_WAIT, event.id, 0, BAD_HANDLE)                                                         \
    X(EVENT_QUERY, event.id, 0, BAD_HANDLE)                                                        \
    X(EVENT_DESTROY, event.id, 0, BAD_HANDLE)

/* VGPU-MOD-001 */
START_TEST(one_broken_field_is_refused)
{
    struct world w;
    struct vgpu_sqe sqe;

    world_init(&w);
#define REFUSE(op, field, value, st)                                                               \
    sqe = valid(VGPU_CMD_##op);                                                                    \
    sqe.u.field = (__typeof__(sqe.u.field))(value);                                                \
    ck_assert_msg(check_only(&w, &sqe) == VGPU_ST_##st, #op " " #field " = " #value ": 0x%x",      \
                  check_only(&w, &sqe));
    REFUSALS(REFUSE)
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

START_TEST(empty_copies_and_edges_are_allowed)
{
    struct world w;
    struct vgpu_sqe sqe;

    world_init(&w);
#define ALLOW(op, field, value)                                                                    \
    sqe = valid(VGPU_CMD_##op);                                                                    \
    sqe.u.field = (value);                                                                         \
    ck_assert_msg(check_only(&w, &sqe) == VGPU_ST_OK, #op " " #field " = " #value)
    ALLOW(COPY_H2D, copy.bytes, 0);
    ALLOW(COPY_D2D, copy_d2d.bytes, 0);
    ALLOW(COPY_D2D, copy_d2d.src, 0x10003); /* overlap */
    ALLOW(MEMSET, memset.count, 0);
    ALLOW(LAUNCH, launch.param_bytes, 0);
    ALLOW(MEM_INFO, mem_info.out_off, BUF_BYTES - 32);
    ALLOW(FUNC_LOOKUP, lookup.out_bytes, 64);
    ALLOW(GLOBAL_LOOKUP, lookup.out_bytes, 16);
    ALLOW(OUTPUT_READ, output_read.out_bytes, 1);
    ALLOW(STREAM_CREATE, stream_create.priority, 0xffffffff);
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

/* VGPU-CMD-003: break everything, then mend one thing after the other. */
START_TEST(checks_are_made_in_the_order_of_the_spec)
{
    struct world w;
    struct vgpu_sqe sqe = valid(VGPU_CMD_COPY_D2H);

    world_init(&w);
    sqe.flags = 1;
    sqe.stream = 10;
    sqe.u.copy.rsvd[3] = 1;
    sqe.u.copy.buf = 3;
    sqe.u.copy.bytes = BUF_BYTES;
    sqe.u.copy.dev_addr = UINT64_MAX;
    ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_BAD_FLAGS);
    sqe.flags = 0;
    ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_BAD_RESERVED);
    sqe.u.copy.rsvd[3] = 0;
    ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_BAD_HANDLE);
    sqe.stream = 9;
    ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_BAD_BUFFER);
    sqe.u.copy.buf = BUF_READ;
    ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_BAD_RANGE);
    sqe.u.copy.buf_off = 0;
    ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_BAD_ACCESS);
    sqe.u.copy.buf = BUF_WRITE;
    ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_BAD_ADDRESS);
    sqe.u.copy.dev_addr = 0x10000;
    ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_OK);
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

START_TEST(dropped_buffer_is_refused)
{
    struct world w;
    struct vgpu_sqe sqe = valid(VGPU_CMD_COPY_H2D);
    struct vgpu_job job;

    world_init(&w);
    ck_assert_uint_eq(vgpu_validate_job(&w.v, &sqe, &job), VGPU_ST_OK);
    vgpu_gbuf_get(job.u.copy.buf);
    ck_assert_int_eq(vgpu_gbufs_drop(&w.bufs, BUF_READ), VGPU_GBUF_IN_USE);
    ck_assert_uint_eq(check_only(&w, &sqe), VGPU_ST_BAD_BUFFER);
    vgpu_gbufs_fini(&w.bufs);
}
END_TEST

Suite *validate_suite(void)
{
    Suite *s = suite_create("validate");
    TCase *tc = tcase_create("validate");

    tcase_add_loop_test(tc, valid_command_passes, 0, COMMANDS);
    tcase_add_test(tc, every_other_opcode_is_refused);
    tcase_add_loop_test(tc, every_flag_is_refused, 0, COMMANDS);
    tcase_add_loop_test(tc, every_reserved_bit_is_refused, 0, COMMANDS);
    tcase_add_loop_test(tc, stream_must_exist_or_be_zero, 0, COMMANDS);
    tcase_add_loop_test(tc, class_decides_which_check_applies, 0, COMMANDS);
    tcase_add_test(tc, jobs_carry_what_the_submission_said);
    tcase_add_test(tc, calls_carry_what_the_submission_said);
    tcase_add_test(tc, one_broken_field_is_refused);
    tcase_add_test(tc, empty_copies_and_edges_are_allowed);
    tcase_add_test(tc, checks_are_made_in_the_order_of_the_spec);
    tcase_add_test(tc, dropped_buffer_is_refused);
    suite_add_tcase(s, tc);
    return s;
}
