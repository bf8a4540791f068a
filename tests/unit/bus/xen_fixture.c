/* SPDX-License-Identifier: MIT */
/*
 * The Xen bus under test: see xen_fixture.h.
 *
 * The program is linked so that open(), ioctl(), pwrite() and dlopen() of all its objects come here: Dom0's device is
 * /dev/null, which can be narrowed or not, and libraries are the fake ones, or missing.
 */
#include "xen_fixture.h"
#include "idle_dev.h"
#include "unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xen/sys/privcmd.h>

#define CONFIG_COMMAND    0x04
#define CONFIG_BAR(n)     (0x10u + 4u * (n))
#define CONFIG_MSIX       0x42 /* its control word */
#define MSIX_ENABLE       0x8000
#define MEMORY_AND_MASTER 0x6
#define SERVED_AT_MOST    8  /* events for one access */
#define XF_KILLED         96 /* processes in one test */

struct xf xf;

/* ---- What isn't in the libraries ---- */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
ssize_t __real_pwrite64(int fd, const void *buf, size_t bytes, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t bytes, off_t at);
void *__real_dlopen(const char *name, int flags);
void *__wrap_dlopen(const char *name, int flags);

int __wrap_open64(const char *path, int flags, ...)
{
    va_list ap;
    int mode;

    va_start(ap, flags);
    mode = flags & O_CREAT ? va_arg(ap, int) : 0;
    va_end(ap);
    if (strcmp(path, "/dev/xen/privcmd"))
        return __real_open64(path, flags, mode);
    errno = xf.privcmd_errno;
    return errno ? -1 : __real_open64("/dev/null", flags);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (request != IOCTL_PRIVCMD_RESTRICT)
        return __real_ioctl(fd, request, arg);
    ck_assert_uint_eq(*(domid_t *)arg, XF_DOMAIN);
    errno = xf.restrict_errno;
    return errno ? -1 : 0;
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t bytes, off_t at)
{
    if (xf.step)
        xf.step();
    return __real_pwrite64(fd, buf, bytes, at);
}

void *__wrap_dlopen(const char *name, int flags)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", xf.no_libraries ? "/nowhere" : FAKEXEN_DIR, name);
    return __real_dlopen(path, flags);
}

/* ---- Ops ---- */

static int op_read(void *o, uint64_t addr, void *buf, size_t bytes)
{
    return vgpu_xen_dma_read(xf.xen, addr, buf, bytes);
}

static int op_write(void *o, uint64_t addr, const void *buf, size_t bytes)
{
    return vgpu_xen_dma_write(xf.xen, addr, buf, bytes);
}

static int op_load32(void *o, uint64_t addr, uint32_t *value)
{
    return vgpu_xen_dma_load32(xf.xen, addr, value);
}

static int op_store32(void *o, uint64_t addr, uint32_t value)
{
    return vgpu_xen_dma_store32(xf.xen, addr, value);
}

static void op_irq(void *o, unsigned int vector)
{
    if (xf.xen) /* before, nobody listens */
        vgpu_xen_irq(xf.xen, vector);
}

static void op_reset(void *o)
{
    xf.resets++;
}

static void bus_doorbell(void *o, uint32_t ctx)
{
    xf.last_doorbell = ctx;
}

static void bus_log(void *o, enum vgpu_dev_log level, const char *message)
{
    if (level > VGPU_DEV_LOG_WARN)
        return;
    xf.logs++;
    snprintf(xf.log, sizeof(xf.log), "%s", message);
}

static const struct vgpu_xen_ops bus_ops = {bus_doorbell, bus_log};

/* ---- Fixture ---- */

static void device_create(void)
{
    const struct vgpu_dev_ops ops =
        idle_dev_ops(op_read, op_write, op_load32, op_store32, op_irq, op_reset);

    xf.dev = idle_dev_create(&ops);
    ck_assert(xf.dev);
}

void xf_setup(void)
{
    memset(&xf, 0, sizeof(xf));
    xf.last_doorbell = UINT32_MAX;
    ck_assert_int_eq(vgpu_guard_init(), 0);
    fakexen_start(XF_DOMAIN, XF_VCPUS);
    xf.state_fd = memfd_create("state", MFD_CLOEXEC);
    ck_assert(xf.state_fd >= 0);
    device_create();
}

int xf_open(void)
{
    return vgpu_xen_open(XF_DOMAIN, XF_SLOT, &xf.xen, xf.why, sizeof(xf.why));
}

int xf_attach(void)
{
    return vgpu_xen_attach(xf.xen, xf.dev, &bus_ops, NULL, xf.state_fd, xf.why, sizeof(xf.why));
}

/* The memory of processes that were killed: reachable, so that no leak is reported. */
static struct {
    struct vgpu_xen *xen;
    struct vgpu_dev *dev;
} killed[XF_KILLED];
static unsigned int killed_count;

void xf_killed(void)
{
    ck_assert_uint_lt(killed_count, XF_KILLED);
    fakexen_killed();
    killed[killed_count].xen = xf.xen;
    killed[killed_count++].dev = xf.dev;
    xf.xen = NULL;
    xf.step = NULL;
    device_create();
}

void xf_expect_why(int ret, int expected, const char *part)
{
    ck_assert_int_eq(ret, expected);
    unit_check(strstr(xf.why, part), "\"%s\" does not say \"%s\"", xf.why, part);
    unit_check(!strchr(xf.why, '\n'), "more than a line: %s", xf.why);
}

void xf_setup_attached(void)
{
    xf_setup();
    ck_assert_msg(!xf_open() && !xf_attach(), "%s", xf.why);
}

void xf_teardown(void)
{
    struct fakexen_view v;

    vgpu_xen_destroy(xf.xen);
    fakexen_view(&v);
    ck_assert_uint_eq(v.handles, 0);
    ck_assert_uint_eq(v.servers, 0);
    ck_assert_uint_eq(v.pages, 0);
    ck_assert_uint_eq(v.ports, 0);
    ck_assert_uint_eq(v.hung, 0);
    vgpu_dev_destroy(xf.dev);
    close(xf.state_fd);
    fakexen_stop();
}

/* ---- The guest ---- */

uint64_t xf_access(unsigned int vcpu, const ioreq_t *req)
{
    uint64_t data = 0;

    fakexen_request(vcpu, req);
    for (int i = 0; i < SERVED_AT_MOST; i++) {
        ck_assert_int_eq(vgpu_xen_receive(xf.xen), 0);
        if (fakexen_answered(vcpu, &data))
            return data;
    }
    ck_abort_msg("the request was not answered");
}

uint32_t xf_config_read(uint32_t offset, uint32_t bytes)
{
    const ioreq_t req = {.type = IOREQ_TYPE_PCI_CONFIG,
                         .addr = (uint64_t)XF_SLOT << 35 | offset,
                         .size = bytes,
                         .count = 1,
                         .dir = IOREQ_READ};

    return (uint32_t)xf_access(0, &req);
}

void xf_config_write(uint32_t offset, uint32_t bytes, uint32_t value)
{
    const ioreq_t req = {.type = IOREQ_TYPE_PCI_CONFIG,
                         .addr = (uint64_t)XF_SLOT << 35 | offset,
                         .data = value,
                         .size = bytes,
                         .count = 1,
                         .dir = IOREQ_WRITE};

    xf_access(0, &req);
}

uint64_t xf_read(uint64_t addr, uint32_t bytes)
{
    const ioreq_t req = {
        .type = IOREQ_TYPE_COPY, .addr = addr, .size = bytes, .count = 1, .dir = IOREQ_READ};

    return xf_access(1, &req);
}

void xf_write(uint64_t addr, uint32_t bytes, uint64_t value)
{
    const ioreq_t req = {.type = IOREQ_TYPE_COPY,
                         .addr = addr,
                         .data = value,
                         .size = bytes,
                         .count = 1,
                         .dir = IOREQ_WRITE};

    xf_access(1, &req);
}

void xf_place_bars(void)
{
    static const unsigned int bars[] = {VGPU_BAR_REGS, VGPU_BAR_DOORBELL, VGPU_BAR_MSIX};

    for (size_t i = 0; i < sizeof(bars) / sizeof(bars[0]); i++) {
        xf_config_write(CONFIG_BAR(bars[i]), 4, (uint32_t)XF_BAR(bars[i]));
        xf_config_write(CONFIG_BAR(bars[i] + 1), 4, (uint32_t)(XF_BAR(bars[i]) >> 32));
    }
    xf_config_write(CONFIG_COMMAND, 2, MEMORY_AND_MASTER);
}

void xf_msix_enable(bool enable)
{
    xf_config_write(CONFIG_MSIX, 2, enable ? MSIX_ENABLE : 0);
}

void xf_msix_program(unsigned int vector, uint64_t addr, uint32_t data)
{
    xf_write(XF_MSIX_ENTRY(vector), 8, addr);
    xf_write(XF_MSIX_ENTRY(vector) + 8, 4, data);
}

void xf_msix_unmask(unsigned int vector)
{
    xf_write(XF_MSIX_ENTRY(vector) + 12, 4, 0);
}
