/* SPDX-License-Identifier: MIT */
/*
 * Copies are exact to the byte: any size, any offset, by each way the library has,
 * and they touch nothing beside.
 */
#include "st.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GUARD 64

static const size_t sizes[] = {1,      2,       3,       4,       63,      255,
                               4095,   4096,    4097,    12289,   65536,   524288,
                               524289, 1048589, 2097151, 2097152, 3145741, 5242887};
static const size_t offsets[] = {0, 1, 7, 4093};

#define NSIZES   (sizeof(sizes) / sizeof(sizes[0]))
#define NOFFSETS (sizeof(offsets) / sizeof(offsets[0]))
#define ROOM     (sizes[NSIZES - 1] + 2 * 4096 + 2 * GUARD)

struct copy_bed {
    struct vgpu_ctx *ctx;
    uint8_t *src, *dst;
    uint64_t dev;
};

static void bed_open(struct copy_bed *bed, uint32_t flags)
{
    struct vgpu_options options = {.flags = flags};

    bed->ctx = st_open(&options);
    st_need_compute(bed->ctx);
    bed->src = malloc(ROOM);
    bed->dst = malloc(ROOM);
    ST_CHECK(bed->src && bed->dst, "no memory");
    ST_EQUAL(vgpu_mem_alloc(bed->ctx, ROOM, &bed->dev), 0, "vgpu_mem_alloc");
}

static void check_range(const uint8_t *dst, const uint8_t *src, size_t at, size_t bytes,
                        const char *what)
{
    for (size_t i = 0; i < bytes; i++)
        ST_CHECK(dst[at + i] == src[i], "%s: %zu bytes at %zu: byte %zu is %#x instead of %#x",
                 what, bytes, at, i, dst[at + i], src[i]);
    for (size_t i = 0; i < GUARD; i++)
        ST_CHECK((at < GUARD || dst[at - 1 - i] == 0xa5) && dst[at + bytes + i] == 0xa5,
                 "%s: %zu bytes at %zu: a byte beside was written", what, bytes, at);
}

/* Up from one place, down to another, through a shifted place of the device. */
static void round_trip(struct copy_bed *bed, size_t bytes, size_t off, uint32_t seed)
{
    uint64_t dev = bed->dev + (off * 3) % 4099;
    size_t back = GUARD + (off * 5) % 4097;

    st_pattern(bed->src + off, bytes, seed);
    ST_EQUAL(vgpu_copy_h2d(bed->ctx, NULL, dev, bed->src + off, bytes), 0, "h2d");
    memset(bed->dst, 0xa5, back + bytes + GUARD);
    ST_EQUAL(vgpu_copy_d2h(bed->ctx, NULL, bed->dst + back, dev, bytes), 0, "d2h");
    check_range(bed->dst, bed->src + off, back, bytes, "copy");
}

static void round_trips(struct copy_bed *bed)
{
    for (size_t s = 0; s < NSIZES; s++)
        for (size_t o = 0; o < NOFFSETS; o++)
            round_trip(bed, sizes[s], offsets[o], (uint32_t)(s * 16 + o));
}

static void plain(void)
{
    struct copy_bed bed;

    bed_open(&bed, 0);
    round_trips(&bed);
    ST_EQUAL(vgpu_copy_h2d(bed.ctx, NULL, bed.dev, bed.src, 0), 0, "no bytes");
    vgpu_close(bed.ctx);
}

static void staged(void)
{
    struct copy_bed bed;

    bed_open(&bed, VGPU_OPEN_ALWAYS_STAGE);
    round_trips(&bed);
    vgpu_close(bed.ctx);
}

static void registered(void)
{
    struct vgpu_host *src, *dst;
    struct copy_bed bed;
    int err;

    bed_open(&bed, 0);
    /* Odd starts and lengths: the device sees the first and last page in part. */
    err = vgpu_host_register(bed.ctx, bed.src + 5, ROOM - 9, VGPU_BUF_DEVICE_READS, &src);
    if (err == -EOPNOTSUPP)
        st_skip("user memory can't be registered in this guest");
    ST_EQUAL(err, 0, "registering the source");
    ST_EQUAL(vgpu_host_register(bed.ctx, bed.dst + 1, ROOM - 2, VGPU_BUF_DEVICE_WRITES, &dst), 0,
             "registering the target");
    bed.src += 5;
    for (size_t s = 0; s < NSIZES; s++)
        for (size_t o = 0; o < NOFFSETS; o++)
            if (offsets[o] + sizes[s] < ROOM - 9)
                round_trip(&bed, sizes[s], offsets[o], (uint32_t)(s * 16 + o));
    ST_EQUAL(vgpu_copy_h2d_async(bed.ctx, NULL, bed.dev, dst, 0, 16), 0, "submitting");
    ST_CHECK(vgpu_sync(bed.ctx) == -EACCES && vgpu_last_status() == VGPU_ST_BAD_ACCESS,
             "reading what was registered for writing: %s", vgpu_status_name(vgpu_last_status()));
    ST_EQUAL(vgpu_host_free(src), 0, "unregistering");
    ST_EQUAL(vgpu_host_free(dst), 0, "unregistering");
    vgpu_close(bed.ctx);
}

static void allocated(void)
{
    struct vgpu_host *host;
    struct copy_bed bed;
    uint8_t *mem;

    bed_open(&bed, 0);
    ST_EQUAL(vgpu_host_alloc(bed.ctx, 2 * ROOM, &host), 0, "vgpu_host_alloc");
    mem = vgpu_host_addr(host);
    for (size_t s = 0; s < NSIZES; s++) {
        size_t bytes = sizes[s], off = offsets[s % NOFFSETS], back = ROOM + GUARD + s;

        st_pattern(mem + off, bytes, (uint32_t)s);
        memset(mem + ROOM, 0xa5, ROOM);
        ST_EQUAL(vgpu_copy_h2d_async(bed.ctx, NULL, bed.dev + s, host, off, bytes), 0, "h2d");
        ST_EQUAL(vgpu_copy_d2h_async(bed.ctx, NULL, host, back, bed.dev + s, bytes), 0, "d2h");
        ST_EQUAL(vgpu_stream_sync(bed.ctx, NULL), 0, "sync");
        check_range(mem, mem + off, back, bytes, "allocated");
    }
    ST_EQUAL(vgpu_host_free(host), 0, "vgpu_host_free");
    vgpu_close(bed.ctx);
}

/* What the program writes after registering reaches the device: no stale copy of a page. */
static void no_stale_pages(void)
{
    struct vgpu_host *host;
    struct copy_bed bed;
    uint8_t *mem = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int err;

    bed_open(&bed, 0);
    err = vgpu_host_register(bed.ctx, mem, 65536, VGPU_BUF_DEVICE_READS, &host);
    if (err == -EOPNOTSUPP)
        st_skip("user memory can't be registered in this guest");
    ST_EQUAL(err, 0, "registering untouched memory");
    st_pattern(mem, 65536, 9);
    ST_EQUAL(vgpu_copy_h2d(bed.ctx, NULL, bed.dev, mem, 65536), 0, "h2d");
    memset(bed.dst, 0xa5, 65536 + 2 * GUARD);
    ST_EQUAL(vgpu_copy_d2h(bed.ctx, NULL, bed.dst + GUARD, bed.dev, 65536), 0, "d2h");
    check_range(bed.dst, mem, GUARD, 65536, "fresh pages");
    /* Unmapped while registered: the pages stay the device's, and nothing breaks. */
    munmap(mem, 65536);
    ST_EQUAL(vgpu_copy_h2d_async(bed.ctx, NULL, bed.dev, host, 0, 65536), 0, "after munmap");
    ST_EQUAL(vgpu_sync(bed.ctx), 0, "sync");
    ST_EQUAL(vgpu_host_free(host), 0, "vgpu_host_free");
    vgpu_close(bed.ctx);
}

/* The program takes registered memory away, and puts other memory in its place, while copies
 * from it run: the device goes on with the pages that were registered. */
/* VGPU-UAPI-010 */
static void unmapped_while_in_use(void)
{
    const size_t bytes = 2 << 20, copies = 16;
    struct vgpu_host *host;
    struct copy_bed bed;
    uint8_t *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int err;

    bed_open(&bed, 0);
    ST_CHECK(mem != MAP_FAILED, "mmap: %s", strerror(errno));
    st_pattern(mem, bytes, 11);
    st_pattern(bed.src, bytes, 11);
    err = vgpu_host_register(bed.ctx, mem, bytes, VGPU_BUF_DEVICE_READS, &host);
    if (err == -EOPNOTSUPP)
        st_skip("user memory can't be registered in this guest");
    ST_EQUAL(err, 0, "registering");
    for (size_t i = 0; i < copies; i++)
        ST_EQUAL(vgpu_copy_h2d_async(bed.ctx, NULL, bed.dev, host, 0, bytes), 0, "h2d");
    ST_CHECK(mmap(mem, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                  0) == mem,
             "mmap over it: %s", strerror(errno));
    memset(mem, 0x5a, bytes);
    for (size_t i = 0; i < copies; i++)
        ST_EQUAL(vgpu_copy_h2d_async(bed.ctx, NULL, bed.dev, host, 0, bytes), 0, "h2d");
    ST_EQUAL(vgpu_sync(bed.ctx), 0, "sync");
    memset(bed.dst, 0xa5, bytes + 2 * GUARD);
    ST_EQUAL(vgpu_copy_d2h(bed.ctx, NULL, bed.dst + GUARD, bed.dev, bytes), 0, "d2h");
    check_range(bed.dst, bed.src, GUARD, bytes, "unmapped in use");
    ST_EQUAL(vgpu_host_free(host), 0, "vgpu_host_free");
    for (size_t i = 0; i < bytes; i++)
        ST_CHECK(mem[i] == 0x5a, "byte %zu of the new memory was written", i);
    vgpu_close(bed.ctx);
}

static void fills(void)
{
    static const uint32_t widths[] = {1, 2, 4};
    const uint32_t value = 0x8badf00d;
    struct copy_bed bed;

    bed_open(&bed, 0);
    for (size_t w = 0; w < 3; w++) {
        uint32_t width = widths[w], part = width == 4 ? value : value & ((1u << 8 * width) - 1);

        for (size_t count = 1; count < 5000; count = count * 3 + 1) {
            size_t bytes = count * width;

            ST_EQUAL(vgpu_memset(bed.ctx, NULL, bed.dev, 0xa5, 1, bytes + 3 * GUARD), 0, "guard");
            ST_EQUAL(vgpu_memset(bed.ctx, NULL, bed.dev + GUARD, part, width, count), 0, "fill");
            ST_EQUAL(vgpu_copy_d2h(bed.ctx, NULL, bed.dst, bed.dev, bytes + 2 * GUARD), 0, "d2h");
            for (size_t i = 0; i < count; i++)
                memcpy(bed.src + i * width, &part, width);
            check_range(bed.dst, bed.src, GUARD, bytes, "fill");
        }
    }
    vgpu_close(bed.ctx);
}

/* VGPU-MEM-012 */
static void overlaps(void)
{
    static const int shifts[] = {-4096, -513, -1, 1, 17, 4096};
    const size_t bytes = 70001, at = 8192;
    struct copy_bed bed;

    bed_open(&bed, 0);
    for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
        st_pattern(bed.src, 100000, (uint32_t)i);
        ST_EQUAL(vgpu_copy_h2d(bed.ctx, NULL, bed.dev, bed.src, 100000), 0, "h2d");
        ST_EQUAL(vgpu_copy_d2d(bed.ctx, NULL, bed.dev + at + (uint64_t)(int64_t)shifts[i],
                               bed.dev + at, bytes),
                 0, "d2d");
        memmove(bed.src + at + shifts[i], bed.src + at, bytes);
        ST_EQUAL(vgpu_copy_d2h(bed.ctx, NULL, bed.dst, bed.dev, 100000), 0, "d2h");
        ST_CHECK(!memcmp(bed.src, bed.dst, 100000), "moved by %d: wrong", shifts[i]);
    }
    vgpu_close(bed.ctx);
}

static void new_memory_is_clean(void)
{
    struct copy_bed bed;
    uint64_t addr;

    bed_open(&bed, 0);
    for (int round = 0; round < 4; round++) {
        ST_EQUAL(vgpu_mem_alloc(bed.ctx, 1 << 20, &addr), 0, "vgpu_mem_alloc");
        ST_EQUAL(addr % 256, 0, "alignment");
        ST_EQUAL(vgpu_copy_d2h(bed.ctx, NULL, bed.dst, addr, 1 << 20), 0, "d2h");
        for (size_t i = 0; i < 1 << 20; i++)
            ST_CHECK(bed.dst[i] == 0, "byte %zu of new memory is %#x", i, bed.dst[i]);
        ST_EQUAL(vgpu_memset(bed.ctx, NULL, addr, 0xff, 1, 1 << 20), 0, "memset");
        ST_EQUAL(vgpu_mem_free(bed.ctx, addr), 0, "vgpu_mem_free");
    }
    vgpu_close(bed.ctx);
}

static const struct st_test tests[] = {
    {"copy", "plain memory, odd sizes and offsets", plain},
    {"copy", "staged, odd sizes and offsets", staged},
    {"copy", "registered memory, odd sizes and offsets", registered},
    {"copy", "allocated buffers, asynchronously", allocated},
    {"copy", "registered pages are the program's pages", no_stale_pages},
    {"copy", "registered memory unmapped while copies run", unmapped_while_in_use},
    {"copy", "fills of 1, 2 and 4 bytes", fills},
    {"copy", "overlapping copies on the device move", overlaps},
    {"copy", "new device memory holds zeroes", new_memory_is_clean},
};

ST_GROUP(st_group_copy, tests);
