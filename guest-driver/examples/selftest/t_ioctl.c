/* SPDX-License-Identifier: MIT */
/*
 * Arguments of ioctls: each refusal, starting from a call that is right.
 */
#include "st.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* VGPU-UAPI-002 */
static void unknown_ioctls(void)
{
    struct vgpu_status_query status;
    struct st_raw raw;

    st_raw_open(&raw);
    ST_EQUAL(st_ioctl(raw.fd, _IO(VGPU_IOCTL_BASE, 0x7f), NULL), -ENOTTY, "unknown number");
    ST_EQUAL(st_ioctl(raw.fd, _IOR('w', 0x48, struct vgpu_status_query), &status), -ENOTTY,
             "unknown type");
    ST_EQUAL(st_ioctl(raw.fd, _IOR(VGPU_IOCTL_BASE, 0x48, uint32_t), &status), -ENOTTY,
             "another size");
    ST_EQUAL(st_ioctl(raw.fd, _IOW(VGPU_IOCTL_BASE, 0x48, struct vgpu_status_query), &status),
             -ENOTTY, "another direction");
    st_raw_close(&raw);
}

static void info_negotiates_size(void)
{
    uint8_t room[4096 + 8];
    struct vgpu_info info;
    struct st_raw raw;
    uint32_t size = 8;

    st_raw_open(&raw);
    ST_EQUAL(raw.info.size, sizeof(info), "size the kernel knows");
    ST_EQUAL(raw.info.uapi_version, VGPU_UAPI_VERSION, "uapi version");
    memset(room, 0xee, sizeof(room));
    memcpy(room, &size, 4);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_INFO, room), 0, "a short struct");
    ST_CHECK(room[4] == VGPU_UAPI_VERSION && room[8] == 0xee, "8 bytes must be written, no more");
    size = sizeof(info) + 64;
    memset(room, 0xee, sizeof(room));
    memcpy(room, &size, 4);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_INFO, room), 0, "a long struct");
    for (size_t i = 0; i < 64; i++)
        ST_CHECK(room[sizeof(info) + i] == 0, "byte %zu of the unknown part is not zero", i);
    ST_CHECK(room[sizeof(info) + 64] == 0xee, "written beyond the struct");
    size = 3;
    memcpy(room, &size, 4);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_INFO, room), -EINVAL, "size 3");
    size = 4097;
    memcpy(room, &size, 4);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_INFO, room), -E2BIG, "size 4097");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_INFO, (void *)8), -EFAULT, "a bad pointer");
    st_raw_close(&raw);
}

static void before_setup(void)
{
    struct vgpu_buf_register reg = {.addr = 4096, .bytes = 4096, .flags = VGPU_BUF_FLAGS};
    struct vgpu_buf_alloc alloc = {.bytes = 4096};
    struct vgpu_buf_unregister unreg = {.buf = 1};
    struct vgpu_submit submit = {.count = 1};
    struct vgpu_reap reap = {.count = 1};
    struct vgpu_wait wait = {0};
    struct vgpu_set_eventfd ev = {.fd = -1};
    struct vgpu_status_query status;
    struct st_raw raw;

    st_raw_open(&raw);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_REGISTER, &reg), -EINVAL, "BUF_REGISTER");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_ALLOC, &alloc), -EINVAL, "BUF_ALLOC");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_UNREGISTER, &unreg), -EINVAL, "BUF_UNREGISTER");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SUBMIT, &submit), -EINVAL, "SUBMIT");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_REAP, &reap), -EINVAL, "REAP");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_WAIT, &wait), -EINVAL, "WAIT");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &ev), -EINVAL, "SET_EVENTFD");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_STATUS, &status), 0, "STATUS");
    ST_EQUAL(status.state, 0, "state before set-up");
    ST_EQUAL(status.device_generation, raw.info.generation, "the device's generation");
    st_raw_close(&raw);
}

/* VGPU-UAPI-002 */
static void setup_refusals(void)
{
    struct st_raw raw;

    st_raw_open(&raw);
    const uint32_t min = raw.info.min_ring_log2, max = raw.info.max_ring_log2;
    const uint32_t arena = raw.info.max_arena_bytes;
    const struct {
        const char *what;
        struct vgpu_queue_setup arg;
    } cases[] = {
        {"sq_log2 too small", {.sq_log2 = min - 1, .cq_log2 = min, .arena_bytes = 4096}},
        {"sq_log2 too large", {.sq_log2 = max + 1, .cq_log2 = max + 1, .arena_bytes = 4096}},
        {"sq_log2 huge", {.sq_log2 = 0x80000000u, .cq_log2 = min, .arena_bytes = 4096}},
        {"cq_log2 below sq_log2", {.sq_log2 = min + 1, .cq_log2 = min, .arena_bytes = 4096}},
        {"cq_log2 too large", {.sq_log2 = min, .cq_log2 = max + 1, .arena_bytes = 4096}},
        {"unknown flag", {.sq_log2 = min, .cq_log2 = min, .flags = 2, .arena_bytes = 4096}},
        {"no arena", {.sq_log2 = min, .cq_log2 = min, .arena_bytes = 0}},
        {"unaligned arena", {.sq_log2 = min, .cq_log2 = min, .arena_bytes = 4100}},
        {"arena too large", {.sq_log2 = min, .cq_log2 = min, .arena_bytes = arena + 4096}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vgpu_queue_setup arg = cases[i].arg;

        ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_QUEUE_SETUP, &arg), -EINVAL, cases[i].what);
    }
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_QUEUE_SETUP, (void *)8), -EFAULT, "a bad pointer");
    raw.setup = (struct vgpu_queue_setup){.sq_log2 = max, .cq_log2 = max, .arena_bytes = arena};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_QUEUE_SETUP, &raw.setup), 0, "the largest queue");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_QUEUE_SETUP, &raw.setup), -EINVAL, "a second queue");
    st_raw_close(&raw);
}

static void *anon(size_t bytes, int prot)
{
    void *addr = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ST_CHECK(addr != MAP_FAILED, "mmap: %s", strerror(errno));
    return addr;
}

static void register_refusals(void)
{
    struct st_raw raw;
    uint8_t *mem = anon(16384, PROT_READ | PROT_WRITE);
    void *readonly = anon(4096, PROT_READ);

    st_raw_setup(&raw, 0);
    const uint64_t at = (uintptr_t)mem, ro = (uintptr_t)readonly;
    const struct {
        const char *what;
        struct vgpu_buf_register arg;
        int want;
    } cases[] = {
        {"no flag", {.addr = at, .bytes = 4096}, -EINVAL},
        {"unknown flag", {.addr = at, .bytes = 4096, .flags = 4}, -EINVAL},
        {"reserved field", {.addr = at, .bytes = 4096, .flags = 1, .rsvd = 1}, -EINVAL},
        {"no bytes", {.addr = at, .bytes = 0, .flags = 1}, -EINVAL},
        {"too many bytes",
         {.addr = at, .bytes = raw.info.max_buffer_bytes + 1, .flags = 1},
         -EINVAL},
        {"end overflows", {.addr = ~0ull - 100, .bytes = 4096, .flags = 1}, -EFAULT},
        {"kernel address", {.addr = 0xffff888000000000ull, .bytes = 4096, .flags = 1}, -EFAULT},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vgpu_buf_register arg = cases[i].arg;

        ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_REGISTER, &arg), cases[i].want, cases[i].what);
    }
    if (raw.info.flags & VGPU_INFO_MUST_STAGE) {
        struct vgpu_buf_register arg = {.addr = at, .bytes = 4096, .flags = 1};

        ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_REGISTER, &arg), 0, "a good one, staging");
        ST_EQUAL(arg.result, VGPU_BUF_RESULT_MUST_STAGE, "result");
        ST_EQUAL(arg.buf, VGPU_BUF_NONE, "buffer id");
        return;
    }
    munmap(mem + 8192, 4096);
    struct vgpu_buf_register hole = {.addr = at, .bytes = 16384, .flags = 1};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_REGISTER, &hole), -EFAULT, "a hole in the middle");
    struct vgpu_buf_register write = {.addr = ro, .bytes = 4096, .flags = VGPU_BUF_DEVICE_WRITES};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_REGISTER, &write), -EFAULT, "read-only memory");
    struct vgpu_buf_register read = {.addr = ro, .bytes = 4096, .flags = VGPU_BUF_DEVICE_READS};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_REGISTER, &read), 0, "read-only memory to read");
    st_raw_close(&raw);
}

static void alloc_refusals(void)
{
    struct vgpu_buf_alloc alloc = {.bytes = 4096, .flags = 1};
    struct st_raw raw;

    st_raw_setup(&raw, 0);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_ALLOC, &alloc), -EINVAL, "unknown flag");
    alloc = (struct vgpu_buf_alloc){.bytes = 0};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_ALLOC, &alloc), -EINVAL, "no bytes");
    alloc = (struct vgpu_buf_alloc){.bytes = ~0ull};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_ALLOC, &alloc), -ENOMEM, "all bytes there are");
    alloc = (struct vgpu_buf_alloc){.bytes = 1};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_ALLOC, &alloc), 0, "one byte");
    ST_EQUAL(alloc.bytes, 4096, "rounded up");
    st_raw_close(&raw);
}

static void unregister_refusals(void)
{
    struct vgpu_buf_alloc alloc = {.bytes = 8192};
    struct vgpu_buf_unregister arg = {.buf = 0};
    struct st_raw raw;
    void *addr;

    st_raw_setup(&raw, 0);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_UNREGISTER, &arg), -EINVAL, "the arena");
    arg.buf = VGPU_BUF_NONE;
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_UNREGISTER, &arg), -EINVAL, "an unknown id");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_ALLOC, &alloc), 0, "BUF_ALLOC");
    arg = (struct vgpu_buf_unregister){.buf = alloc.buf, .rsvd = 1};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_UNREGISTER, &arg), -EINVAL, "reserved field");
    arg.rsvd = 0;
    addr = st_map(raw.fd, 8192, PROT_READ | PROT_WRITE, alloc.mmap_off);
    ST_CHECK(addr, "mmap: %s", strerror(errno));
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_UNREGISTER, &arg), -EBUSY, "a mapped buffer");
    munmap(addr, 4096);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_UNREGISTER, &arg), -EBUSY, "a half mapped buffer");
    munmap((uint8_t *)addr + 4096, 4096);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_UNREGISTER, &arg), 0, "an unmapped buffer");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_UNREGISTER, &arg), -EINVAL, "twice");
    st_raw_close(&raw);
}

static void eventfd_refusals(void)
{
    struct vgpu_set_eventfd arg = {.fd = -2};
    struct st_raw raw;
    int fd = eventfd(0, EFD_CLOEXEC);

    st_raw_setup(&raw, 0);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &arg), -EINVAL, "fd -2");
    arg = (struct vgpu_set_eventfd){.fd = fd, .rsvd = 1};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &arg), -EINVAL, "reserved field");
    arg = (struct vgpu_set_eventfd){.fd = raw.fd};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &arg), -EINVAL, "not an eventfd");
    arg.fd = 1000;
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &arg), -EBADF, "a closed fd");
    arg.fd = fd;
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &arg), 0, "a good one");
    arg.fd = -1;
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &arg), 0, "none");
    close(fd);
    st_raw_close(&raw);
}

/* The limit binds a program without CAP_IPC_LOCK; the count goes back. */
static void memlock_is_honoured(void)
{
    struct vgpu_buf_alloc alloc = {.bytes = 256 << 10};
    struct vgpu_buf_register reg = {.flags = VGPU_BUF_FLAGS};
    const struct rlimit limit = {.rlim_cur = 128 << 10, .rlim_max = 128 << 10};
    struct vgpu_buf_unregister unreg = {0};
    struct st_raw raw;

    st_raw_setup(&raw, 0);
    reg.addr = (uintptr_t)anon(256 << 10, PROT_READ | PROT_WRITE);
    ST_CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit) && !setresuid(65534, 65534, 65534),
             "giving up privileges: %s", strerror(errno));
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_ALLOC, &alloc), -ENOMEM, "allocating too much");
    reg.bytes = 256 << 10;
    if (!(raw.info.flags & VGPU_INFO_MUST_STAGE))
        ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_REGISTER, &reg), -ENOMEM, "pinning too much");
    for (int i = 0; i < 8; i++) {
        alloc = (struct vgpu_buf_alloc){.bytes = 100 << 10};
        ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_ALLOC, &alloc), 0, "within the limit, again");
        unreg.buf = alloc.buf;
        ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_BUF_UNREGISTER, &unreg), 0, "BUF_UNREGISTER");
    }
    st_raw_close(&raw);
}

static void buffer_ids_run_out(void)
{
    struct vgpu_buf_alloc alloc;
    struct st_raw raw;
    uint32_t n = 0;
    int err;

    st_raw_setup(&raw, 0);
    do {
        alloc = (struct vgpu_buf_alloc){.bytes = 4096};
        err = st_ioctl(raw.fd, VGPU_IOCTL_BUF_ALLOC, &alloc);
        n += !err;
    } while (!err);
    ST_EQUAL(err, -ENOSPC, "the end");
    ST_EQUAL(n, raw.info.max_buffers - 1, "buffers");
    st_raw_close(&raw);
}

static const struct st_test tests[] = {
    {"ioctl", "unknown requests are refused", unknown_ioctls},
    {"ioctl", "INFO negotiates its size", info_negotiates_size},
    {"ioctl", "before set-up only INFO and STATUS work", before_setup},
    {"ioctl", "QUEUE_SETUP refuses each bad field", setup_refusals},
    {"ioctl", "BUF_REGISTER refuses each bad field and bad memory", register_refusals},
    {"ioctl", "BUF_ALLOC refuses each bad field", alloc_refusals},
    {"ioctl", "BUF_UNREGISTER refuses what is unknown or mapped", unregister_refusals},
    {"ioctl", "SET_EVENTFD refuses what is no eventfd", eventfd_refusals},
    {"ioctl", "RLIMIT_MEMLOCK is honoured and given back", memlock_is_honoured},
    {"ioctl", "buffer ids run out with ENOSPC", buffer_ids_run_out},
};

ST_GROUP(st_group_ioctl, tests);
