/* SPDX-License-Identifier: MIT */
/*
 * The vfio-user server under test: see vu_fixture.h.  The device has no executors: what it asks for is
 * counted, not done.
 */
#include "vu_fixture.h"

#ifdef VUF_STANDALONE
/* In a fuzzer there is no test to fail: Check's assertions, as far as they are used here. */
#include <stdlib.h>
#define ck_assert(cond)         ((cond) ? (void)0 : abort())
#define ck_assert_int_eq(a, b)  ck_assert((intmax_t)(a) == (intmax_t)(b))
#define ck_assert_int_ge(a, b)  ck_assert((intmax_t)(a) >= (intmax_t)(b))
#define ck_assert_uint_eq(a, b) ck_assert((uintmax_t)(a) == (uintmax_t)(b))
#define ck_assert_uint_ne(a, b) ck_assert((uintmax_t)(a) != (uintmax_t)(b))
#else
#include "unit.h"
#endif

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct vuf vuf;

/* ---- Ops of the device: memory from the table, no executors ---- */

static int op_read(void *o, uint64_t addr, void *buf, size_t bytes)
{
    return vgpu_dma_read(vuf.dma, addr, buf, bytes);
}

static int op_write(void *o, uint64_t addr, const void *buf, size_t bytes)
{
    return vgpu_dma_write(vuf.dma, addr, buf, bytes);
}

static int op_load32(void *o, uint64_t addr, uint32_t *value)
{
    return vgpu_dma_load32(vuf.dma, addr, value);
}

static int op_store32(void *o, uint64_t addr, uint32_t value)
{
    return vgpu_dma_store32(vuf.dma, addr, value);
}

static void op_irq(void *o, unsigned int vector)
{
    vgpu_irqs_raise(&vuf.irqs, vector);
}

static void op_reset(void *o)
{
    vuf.resets++;
}

/* ---- Ops of the bus ---- */

static void bus_log(void *o, enum vgpu_dev_log level, const char *message)
{
}

static void bus_doorbell(void *o, uint32_t ctx)
{
    vuf.last_doorbell = ctx;
}

static int bus_doorbell_fd(void *o, uint32_t ctx)
{
    return vuf.doorbells[ctx];
}

static void bus_irq_changed(void *o, unsigned int vector)
{
    vuf.irq_changes |= 1u << vector;
}

static bool bus_dma_unmapped(void *o, uint64_t addr, uint64_t bytes, uint64_t cookie)
{
    vuf.unmap_cookie = cookie;
    vuf.unmaps++;
    return !vuf.unmap_busy;
}

static const struct vgpu_bus_ops bus_ops = {bus_doorbell, bus_doorbell_fd, bus_irq_changed,
                                            bus_dma_unmapped, bus_log};

/* ---- Fixture ---- */

void vuf_setup(void)
{
    const struct vgpu_vfio_user_config config = {.contexts = VUF_CONTEXTS};
    const struct vgpu_dev_ops dev_ops =
        idle_dev_ops(op_read, op_write, op_load32, op_store32, op_irq, op_reset);
    int pair[2];

    memset(&vuf, 0, sizeof(vuf));
    vuf.last_doorbell = UINT32_MAX;
    ck_assert_int_eq(vgpu_guard_init(), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    for (int i = 0; i < VUF_CONTEXTS; i++)
        vuf.doorbells[i] = eventfd(0, EFD_NONBLOCK);
    vgpu_irqs_init(&vuf.irqs);
    vuf.dma = vgpu_dma_create();
    vuf.dev = idle_dev_create(&dev_ops);
    vuf.client = pair[0];
    vuf.vu = vgpu_vfio_user_create(pair[1], &config, vuf.dev, vuf.dma, &vuf.irqs, &bus_ops, NULL);
    ck_assert(vuf.dma && vuf.dev && vuf.vu);
}

void vuf_setup_ready(void)
{
    static const char version[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":16}}";

    vuf_setup();
    ck_assert_int_eq(vuf_call(VU_VERSION, version, sizeof(version), NULL, 0), 0);
}

static void drop_fds(void)
{
    for (size_t i = 0; i < vuf.fd_count; i++)
        close(vuf.fds[i]);
    vuf.fd_count = 0;
}

void vuf_teardown(void)
{
    drop_fds();
    vgpu_vfio_user_destroy(vuf.vu);
    vgpu_dev_destroy(vuf.dev);
    vgpu_dma_destroy(vuf.dma);
    vgpu_irqs_fini(&vuf.irqs);
    for (int i = 0; i < VUF_CONTEXTS; i++)
        close(vuf.doorbells[i]);
    close(vuf.client);
}

void vuf_send_raw(const void *data, size_t bytes, const int *fds, size_t fd_count)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int) * 253)];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)data, bytes};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd_count) {
        struct cmsghdr *c;

        mh.msg_control = control.buf;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
    }
    ck_assert_int_eq(sendmsg(vuf.client, &mh, MSG_NOSIGNAL), (ssize_t)bytes);
}

int vuf_send(uint16_t command, uint32_t flags, const void *payload, size_t bytes, const int *fds,
             size_t fd_count)
{
    static uint8_t buf[1 << 16];
    struct vu_header header = {
        .id = 77, .command = command, .bytes = (uint32_t)(sizeof(header) + bytes), .flags = flags};

    ck_assert(sizeof(header) + bytes <= sizeof(buf));
    memcpy(buf, &header, sizeof(header));
    if (bytes)
        memcpy(buf + sizeof(header), payload, bytes);
    vuf_send_raw(buf, sizeof(header) + bytes, fds, fd_count);
    return vgpu_vfio_user_receive(vuf.vu);
}

bool vuf_recv(void)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int) * 253)];
    } control;
    struct iovec iov[2] = {{&vuf.reply, sizeof(vuf.reply)}, {vuf.data, sizeof(vuf.data)}};
    struct msghdr mh = {.msg_iov = iov,
                        .msg_iovlen = 2,
                        .msg_control = control.buf,
                        .msg_controllen = sizeof(control.buf)};
    ssize_t n = recvmsg(vuf.client, &mh, MSG_DONTWAIT);

    drop_fds();
    if (n <= 0)
        return false;
    ck_assert_int_ge(n, (ssize_t)sizeof(vuf.reply));
    ck_assert_uint_eq(vuf.reply.bytes, (size_t)n);
    ck_assert_uint_eq(vuf.reply.id, 77);
    ck_assert_uint_eq(vuf.reply.flags & VU_FLAG_TYPE_MASK, VU_TYPE_REPLY);
    vuf.data_bytes = (size_t)n - sizeof(vuf.reply);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
        vuf.fd_count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(vuf.fds, CMSG_DATA(c), vuf.fd_count * sizeof(int));
    }
    if (vuf.reply.flags & VU_FLAG_ERROR) {
        ck_assert_uint_ne(vuf.reply.error, 0);
        ck_assert_uint_eq(vuf.data_bytes, 0);
    }
    return true;
}

int vuf_call(uint16_t command, const void *payload, size_t bytes, const int *fds, size_t fd_count)
{
    ck_assert_int_eq(vuf_send(command, 0, payload, bytes, fds, fd_count), 0);
    ck_assert(vuf_recv());
    ck_assert_uint_eq(vuf.reply.command, command);
    return vuf.reply.flags & VU_FLAG_ERROR ? (int)vuf.reply.error : 0;
}

int vuf_ram(size_t bytes)
{
    int fd = memfd_create("ram", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
    return fd;
}
