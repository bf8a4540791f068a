/* SPDX-License-Identifier: MIT */
/*
 * Commands through the mapped ring: each refusal, starting from one that is right.
 * A refused command costs nothing but its status: the context goes on.
 */
#include "st.h"

#include <errno.h>
#include <string.h>

#define ARENA_OFF 0

static void unknown_opcodes(void)
{
    static const uint16_t opcodes[] = {0x0002, 0x000f, 0x0013, 0x0024, 0x0034, 0x0042,
                                       0x0052, 0x005d, 0x00ff, 0x8001, 0x8005, 0xffff};
    struct vgpu_ctx *ctx = st_open(NULL);

    for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
        struct vgpu_sqe sqe = {.opcode = opcodes[i]};

        st_expect_status(ctx, &sqe, VGPU_ST_BAD_OPCODE, "an unknown opcode");
    }
    ST_EQUAL(vgpu_nop(ctx, NULL), 0, "the context goes on");
    vgpu_close(ctx);
}

static const uint16_t all_opcodes[] = {
    VGPU_CMD_NOP,           VGPU_CMD_FENCE,         VGPU_CMD_MEM_ALLOC,     VGPU_CMD_MEM_FREE,
    VGPU_CMD_MEM_INFO,      VGPU_CMD_COPY_H2D,      VGPU_CMD_COPY_D2H,      VGPU_CMD_COPY_D2D,
    VGPU_CMD_MEMSET,        VGPU_CMD_MODULE_LOAD,   VGPU_CMD_MODULE_UNLOAD, VGPU_CMD_FUNC_LOOKUP,
    VGPU_CMD_LAUNCH,        VGPU_CMD_GLOBAL_LOOKUP, VGPU_CMD_STREAM_CREATE, VGPU_CMD_STREAM_DESTROY,
    VGPU_CMD_EVENT_CREATE,  VGPU_CMD_EVENT_RECORD,  VGPU_CMD_EVENT_WAIT,    VGPU_CMD_EVENT_QUERY,
    VGPU_CMD_EVENT_DESTROY, VGPU_CMD_OUTPUT_READ,
};

static void flags_and_reserved(void)
{
    struct vgpu_ctx *ctx = st_open(NULL);

    for (size_t i = 0; i < sizeof(all_opcodes) / sizeof(all_opcodes[0]); i++) {
        for (int bit = 0; bit < 16; bit += 5) {
            struct vgpu_sqe sqe = {.opcode = all_opcodes[i], .flags = (uint16_t)(1u << bit)};

            st_expect_status(ctx, &sqe, VGPU_ST_BAD_FLAGS, "an unknown flag");
        }
        struct vgpu_sqe sqe = {.opcode = all_opcodes[i]};

        sqe.u.payload[47] = 0x80;
        st_expect_status(ctx, &sqe, VGPU_ST_BAD_RESERVED, "a reserved byte");
    }
    ST_EQUAL(vgpu_nop(ctx, NULL), 0, "the context goes on");
    vgpu_close(ctx);
}

static void streams_where_none_belongs(void)
{
    static const uint16_t opcodes[] = {VGPU_CMD_FENCE, VGPU_CMD_MEM_ALLOC, VGPU_CMD_EVENT_CREATE,
                                       VGPU_CMD_STREAM_CREATE};
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_NOP, .stream = 12345};

    for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
        struct vgpu_sqe bad = {.opcode = opcodes[i], .stream = 1};
        uint16_t status;

        bad.u.mem_alloc.bytes = opcodes[i] == VGPU_CMD_MEM_ALLOC ? 4096 : 0;
        status = st_command(ctx, &bad);
        ST_CHECK(vgpu_status_blame(status) == VGPU_BLAME_PROGRAM, "opcode %#x: status %s",
                 opcodes[i], vgpu_status_name(status));
    }
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_HANDLE, "an unknown stream");
    vgpu_close(ctx);
}

static struct vgpu_sqe h2d(uint64_t dev, uint32_t buf, uint64_t off, uint64_t bytes)
{
    return (struct vgpu_sqe){
        .opcode = VGPU_CMD_COPY_H2D,
        .u.copy = {.dev_addr = dev, .buf_off = off, .bytes = bytes, .buf = buf}};
}

/* VGPU-MEM-010 */
static void copy_refusals(void)
{
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_host *host;
    struct vgpu_sqe sqe;
    uint64_t dev;
    uint32_t arena;

    ST_EQUAL(vgpu_mem_alloc(ctx, 8192, &dev), 0, "vgpu_mem_alloc");
    ST_EQUAL(vgpu_host_alloc(ctx, 8192, &host), 0, "vgpu_host_alloc");
    arena = 512 << 10;
    sqe = h2d(dev, VGPU_BUF_ARENA, ARENA_OFF, 4096);
    st_expect_status(ctx, &sqe, VGPU_ST_OK, "a good copy");
    sqe = h2d(dev, 4000, 0, 16);
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_BUFFER, "an unknown buffer");
    sqe = h2d(dev, 0xffffffffu, 0, 16);
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_BUFFER, "buffer 2^32 - 1");
    sqe = h2d(dev, VGPU_BUF_ARENA, arena - 15, 16);
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_RANGE, "one byte beyond the buffer");
    sqe = h2d(dev, VGPU_BUF_ARENA, ~0ull - 7, 16);
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_RANGE, "offset + length overflows");
    sqe = h2d(dev, VGPU_BUF_ARENA, 0, ~0ull);
    ST_CHECK(vgpu_status_blame(st_command(ctx, &sqe)) == VGPU_BLAME_PROGRAM, "2^64 - 1 bytes");
    sqe = h2d(~0ull - 7, VGPU_BUF_ARENA, 0, 16);
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_ADDRESS, "device address overflows");
    ST_EQUAL(vgpu_host_free(host), 0, "vgpu_host_free");
    sqe = h2d(dev, 1, 0, 16);
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_BUFFER, "a buffer that is gone");
    vgpu_close(ctx);
}

/* VGPU-MEM-011 VGPU-MEM-003 */
static void address_refusals(void)
{
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_sqe sqe;
    uint64_t dev;

    st_need_compute(ctx);
    ST_EQUAL(vgpu_mem_alloc(ctx, 8192, &dev), 0, "vgpu_mem_alloc");
    sqe = h2d(dev + 8192 - 15, VGPU_BUF_ARENA, 0, 16);
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_ADDRESS, "one byte beyond the allocation");
    sqe = h2d(dev - 1, VGPU_BUF_ARENA, 0, 16);
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_ADDRESS, "one byte before it");
    sqe = h2d(0, VGPU_BUF_ARENA, 0, 16);
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_ADDRESS, "address 0");
    sqe = (struct vgpu_sqe){.opcode = VGPU_CMD_COPY_D2D,
                            .u.copy_d2d = {.dst = dev, .src = 64, .bytes = 16}};
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_ADDRESS, "D2D from nowhere");
    sqe = (struct vgpu_sqe){.opcode = VGPU_CMD_MEMSET,
                            .u.memset = {.dev_addr = dev, .count = 8193, .value = 1, .width = 1}};
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_ADDRESS, "MEMSET beyond the allocation");
    ST_EQUAL(vgpu_mem_free(ctx, dev), 0, "vgpu_mem_free");
    ST_CHECK(vgpu_mem_free(ctx, dev) < 0 &&
                 vgpu_status_blame(vgpu_last_status()) == VGPU_BLAME_PROGRAM,
             "a double free");
    ST_CHECK(vgpu_mem_free(ctx, dev + 256) < 0, "freeing an address inside");
    sqe = h2d(dev, VGPU_BUF_ARENA, 0, 16);
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_ADDRESS, "freed memory");
    vgpu_close(ctx);
}

static void alloc_refusals(void)
{
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_info info;
    uint64_t addr, before, after;

    vgpu_get_info(ctx, &info);
    ST_EQUAL(vgpu_mem_alloc(ctx, 0, &addr), -EINVAL, "no bytes");
    ST_EQUAL(vgpu_last_status(), VGPU_ST_BAD_VALUE, "its status");
    ST_EQUAL(vgpu_mem_alloc(ctx, ~0ull, &addr), -ENOMEM, "2^64 - 1 bytes");
    ST_EQUAL(vgpu_mem_info(ctx, &before, NULL), 0, "vgpu_mem_info");
    ST_EQUAL(vgpu_mem_alloc(ctx, info.memory_bytes + 1, &addr), -ENOMEM, "over the limit");
    ST_EQUAL(vgpu_last_status(), VGPU_ST_OUT_OF_MEMORY, "its status");
    ST_EQUAL(vgpu_mem_info(ctx, &after, NULL), 0, "vgpu_mem_info");
    ST_EQUAL(after, before, "bytes free after refusals");
    vgpu_close(ctx);
}

static void memset_refusals(void)
{
    struct vgpu_ctx *ctx = st_open(NULL);
    uint64_t dev;

    ST_EQUAL(vgpu_mem_alloc(ctx, 8192, &dev), 0, "vgpu_mem_alloc");
    const struct {
        const char *what;
        struct vgpu_cmd_memset cmd;
        uint16_t want;
    } cases[] = {
        {"width 3", {.dev_addr = dev, .count = 1, .width = 3}, VGPU_ST_BAD_VALUE},
        {"width 0", {.dev_addr = dev, .count = 1, .width = 0}, VGPU_ST_BAD_VALUE},
        {"width 8", {.dev_addr = dev, .count = 1, .width = 8}, VGPU_ST_BAD_VALUE},
        {"misaligned", {.dev_addr = dev + 2, .count = 1, .width = 4}, VGPU_ST_BAD_VALUE},
        {"wide value", {.dev_addr = dev, .count = 1, .value = 256, .width = 1}, VGPU_ST_BAD_VALUE},
        {"count overflows",
         {.dev_addr = dev, .count = 1ull << 62, .width = 4},
         VGPU_ST_BAD_ADDRESS},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MEMSET, .u.memset = cases[i].cmd};

        st_expect_status(ctx, &sqe, cases[i].want, cases[i].what);
    }
    vgpu_close(ctx);
}

static void handle_refusals(void)
{
    static const uint16_t opcodes[] = {VGPU_CMD_MODULE_UNLOAD, VGPU_CMD_STREAM_DESTROY,
                                       VGPU_CMD_EVENT_RECORD,  VGPU_CMD_EVENT_WAIT,
                                       VGPU_CMD_EVENT_QUERY,   VGPU_CMD_EVENT_DESTROY};
    static const uint32_t handles[] = {0, 77777, 0xffffffffu};
    struct vgpu_ctx *ctx = st_open(NULL);

    for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
        for (size_t h = 0; h < 3; h++) {
            struct vgpu_sqe sqe = {.opcode = opcodes[i], .u.event.id = handles[h]};

            st_expect_status(ctx, &sqe, VGPU_ST_BAD_HANDLE, "an unknown handle");
        }
    }
    vgpu_close(ctx);
}

/* VGPU-SEC-001 */
static void handles_of_another_context(void)
{
    struct vgpu_ctx *one = st_open(NULL), *two = st_open(NULL);
    struct vgpu_sqe create = {.opcode = VGPU_CMD_STREAM_CREATE};
    struct vgpu_sqe use = {.opcode = VGPU_CMD_NOP};
    struct vgpu_cqe cqe;

    ST_EQUAL(vgpu_raw_command(one, &create, &cqe), 0, "STREAM_CREATE");
    ST_EQUAL(cqe.status, VGPU_ST_OK, "its status");
    use.stream = (uint32_t)cqe.result;
    st_expect_status(one, &use, VGPU_ST_OK, "the stream of its context");
    st_expect_status(two, &use, VGPU_ST_BAD_HANDLE, "the stream of another context");
    vgpu_close(one);
    vgpu_close(two);
}

/* VGPU-MOD-010 */
static void lookup_refusals(void)
{
    struct vgpu_cmd_lookup good = {
        .name_off = 0, .out_off = 2048, .module = 99999, .name_bytes = 4, .out_bytes = 1024};
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_FUNC_LOOKUP};
    struct vgpu_ctx *ctx = st_open(NULL);
    struct vgpu_host *host;

    ST_EQUAL(vgpu_host_alloc(ctx, 4096, &host), 0, "vgpu_host_alloc");
    memcpy(vgpu_host_addr(host), "none", 4);
    /* The library's first buffer: ids are given out from 1. */
    good.name_buf = good.out_buf = 1;
    sqe.u.lookup = good;
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_HANDLE, "an unknown module");
    sqe.u.lookup.name_bytes = 0;
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_VALUE, "an empty name");
    sqe.u.lookup.name_bytes = 1025;
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_VALUE, "a long name");
    sqe.u.lookup = good;
    sqe.u.lookup.out_bytes = 63;
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_VALUE, "too little room");
    sqe.u.lookup = good;
    sqe.u.lookup.name_buf = 4000;
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_BUFFER, "a name in an unknown buffer");
    sqe.u.lookup = good;
    sqe.u.lookup.out_off = ~0ull - 63;
    st_expect_status(ctx, &sqe, VGPU_ST_BAD_RANGE, "a record that overflows");
    vgpu_close(ctx);
}

static const struct st_test tests[] = {
    {"command", "unknown opcodes", unknown_opcodes},
    {"command", "unknown flags and reserved bytes of every opcode", flags_and_reserved},
    {"command", "streams where none belongs, and unknown ones", streams_where_none_belongs},
    {"command", "copies: buffer ids, offsets, overflows", copy_refusals},
    {"command", "device addresses outside allocations, double free", address_refusals},
    {"command", "allocations of nothing and of too much", alloc_refusals},
    {"command", "fills: width, alignment, value, overflow", memset_refusals},
    {"command", "unknown modules, streams and events", handle_refusals},
    {"command", "a handle of another context", handles_of_another_context},
    {"command", "lookups: names, room, buffers", lookup_refusals},
};

ST_GROUP(st_group_command, tests);
