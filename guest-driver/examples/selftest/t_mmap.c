/* SPDX-License-Identifier: MIT */
/*
 * Mappings: what may be mapped, how, and what can't be made of it afterwards.
 */
#include "st.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static void refuse(int fd, size_t bytes, int prot, uint64_t off, int want, const char *what)
{
    void *addr = st_map(fd, bytes, prot, off);

    ST_CHECK(!addr, "%s: it was mapped", what);
    ST_EQUAL(errno, want, what);
}

static void read_only_half(void)
{
    const int rw = PROT_READ | PROT_WRITE;
    struct st_raw raw;
    void *addr;

    st_raw_setup(&raw, 0);
    refuse(raw.fd, raw.setup.ro_bytes, rw, raw.setup.ro_off, EACCES, "writable");
    refuse(raw.fd, raw.setup.ro_bytes, PROT_READ | PROT_EXEC, raw.setup.ro_off, EACCES,
           "executable");
    refuse(raw.fd, raw.setup.ro_bytes + 4096, PROT_READ, raw.setup.ro_off, EINVAL, "too long");
    refuse(raw.fd, raw.setup.ro_bytes - 4096, PROT_READ, raw.setup.ro_off, EINVAL, "too short");
    refuse(raw.fd, raw.setup.ro_bytes, PROT_READ, raw.setup.ro_off + 4096, EINVAL, "shifted");
    addr = st_map(raw.fd, raw.setup.ro_bytes, PROT_READ, raw.setup.ro_off);
    ST_CHECK(addr, "mmap: %s", strerror(errno));
    ST_CHECK(mprotect(addr, 4096, rw) && errno == EACCES, "it became writable");
    ST_CHECK(mprotect(addr, 4096, PROT_READ | PROT_EXEC) && errno == EACCES,
             "it became executable");
    ST_EQUAL(((struct vgpu_queue_ro *)addr)->ctx_state, VGPU_CTX_STATE_ACTIVE, "state word");
    ST_EQUAL(((struct vgpu_queue_ro *)addr)->generation, raw.setup.generation, "generation");
    st_raw_close(&raw);
}

static void other_regions(void)
{
    const int rw = PROT_READ | PROT_WRITE;
    struct st_raw raw;
    void *addr;

    st_raw_setup(&raw, 0);
    refuse(raw.fd, raw.setup.rw_bytes + 4096, rw, raw.setup.rw_off, EINVAL, "long rings");
    refuse(raw.fd, 8192, rw, raw.setup.doorbell_off, EINVAL, "two doorbell pages");
    refuse(raw.fd, 4096, rw, raw.setup.doorbell_off + 4096, EINVAL, "the neighbour's doorbell");
    refuse(raw.fd, 4096, rw, raw.setup.arena_off, EINVAL, "a part of the arena");
    refuse(raw.fd, 4096, rw, 0, EINVAL, "offset 0");
    refuse(raw.fd, 4096, rw, 1ull << 60, EINVAL, "an offset far out");
    addr = mmap(NULL, raw.setup.rw_bytes, rw, MAP_PRIVATE, raw.fd, (off_t)raw.setup.rw_off);
    ST_CHECK(addr == MAP_FAILED && errno == EINVAL, "private rings");
    addr = st_map(raw.fd, raw.setup.rw_bytes, rw, raw.setup.rw_off);
    ST_CHECK(addr, "rings: %s", strerror(errno));
    ST_CHECK(mremap(addr, raw.setup.rw_bytes, raw.setup.rw_bytes + 4096, MREMAP_MAYMOVE) ==
                 MAP_FAILED,
             "a mapping grew");
    ST_CHECK(st_map(raw.fd, 4096, rw, raw.setup.doorbell_off), "doorbell: %s", strerror(errno));
    addr = st_map(raw.fd, raw.setup.arena_bytes, rw, raw.setup.arena_off);
    ST_CHECK(addr, "arena: %s", strerror(errno));
    for (uint32_t i = 0; i < raw.setup.arena_bytes; i++)
        ST_CHECK(((uint8_t *)addr)[i] == 0, "byte %u of a new arena is not zero", i);
    st_raw_close(&raw);
}

static void kernel_submit_maps_less(void)
{
    const int rw = PROT_READ | PROT_WRITE;
    struct st_raw raw;

    st_raw_setup(&raw, VGPU_QUEUE_KERNEL_SUBMIT);
    ST_EQUAL(raw.setup.rw_off, 0, "rw_off");
    ST_EQUAL(raw.setup.doorbell_off, 0, "doorbell_off");
    refuse(raw.fd, raw.setup.rw_bytes, rw, 2ull << 36, EINVAL, "rings");
    refuse(raw.fd, 4096, rw, 3ull << 36, EINVAL, "doorbell");
    ST_CHECK(st_map(raw.fd, raw.setup.ro_bytes, PROT_READ, raw.setup.ro_off), "state: %s",
             strerror(errno));
    st_raw_close(&raw);
}

static void before_setup(void)
{
    struct st_raw raw;

    st_raw_open(&raw);
    refuse(raw.fd, 4096, PROT_READ | PROT_WRITE, 4ull << 36, EINVAL, "the arena");
    st_raw_close(&raw);
}

static void buffers(void)
{
    const int rw = PROT_READ | PROT_WRITE;
    struct vgpu_buf_alloc alloc = {.bytes = 9 << 20};
    struct vgpu_buf_unregister unreg = {0};
    struct st_raw raw;
    uint64_t *addr;

    st_raw_setup(&raw, 0);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_ALLOC, &alloc), 0, "BUF_ALLOC");
    refuse(raw.fd, 4096, rw, alloc.mmap_off, EINVAL, "a part");
    refuse(raw.fd, 9 << 20, rw, alloc.mmap_off + (1ull << 36), EINVAL, "an unknown buffer");
    addr = st_map(raw.fd, 9 << 20, rw, alloc.mmap_off);
    ST_CHECK(addr, "mmap: %s", strerror(errno));
    /* Each page must be another page, and the same at each look. */
    for (size_t i = 0; i < (9 << 20) / 8; i++) {
        ST_CHECK(addr[i] == 0, "word %zu of a new buffer is not zero", i);
        addr[i] = i;
    }
    for (size_t i = 0; i < (9 << 20) / 8; i++)
        ST_CHECK(addr[i] == i, "word %zu is %llu", i, (unsigned long long)addr[i]);
    munmap(addr, 9 << 20);
    unreg.buf = alloc.buf;
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_UNREGISTER, &unreg), 0, "BUF_UNREGISTER");
    refuse(raw.fd, 9 << 20, rw, alloc.mmap_off, EINVAL, "a buffer that is gone");
    st_raw_close(&raw);
}

/* A partly unmapped ring is the program's own problem and nobody else's. */
static void partial_unmap(void)
{
    struct vgpu_ctx *other = st_open(NULL);
    struct st_raw raw;
    uint8_t *rings;

    st_raw_setup(&raw, 0);
    rings = st_map(raw.fd, raw.setup.rw_bytes, PROT_READ | PROT_WRITE, raw.setup.rw_off);
    ST_CHECK(rings, "rings: %s", strerror(errno));
    munmap(rings, 4096);
    st_raw_close(&raw);
    ST_EQUAL(rings[4096], 0, "the rest stays mapped after close");
    munmap(rings + 4096, raw.setup.rw_bytes - 4096);
    ST_EQUAL(vgpu_nop(other, NULL), 0, "another context");
    vgpu_close(other);
}

static const struct st_test tests[] = {
    {"mmap", "the read-only half can't be written, now or later", read_only_half},
    {"mmap", "regions have one size and one place", other_regions},
    {"mmap", "kernel submission maps no rings and no doorbell", kernel_submit_maps_less},
    {"mmap", "nothing can be mapped before set-up", before_setup},
    {"mmap", "an allocated buffer of many pieces is one mapping", buffers},
    {"mmap", "rings may be unmapped in part", partial_unmap},
};

ST_GROUP(st_group_mmap, tests);
