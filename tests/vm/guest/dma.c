/* SPDX-License-Identifier: MIT */
/*
 * What the device reaches under a vIOMMU: the memory that the guest's tables map, while they do.
 *
 * A buffer is registered, and the kernel's trace of its IOMMU says at which DMA addresses its pages
 * are.  The device's own DMA test (spec 4.8) then reads and writes each page under that address, which
 * must change the very bytes that it is to change.  The buffer is given back, which unmaps it, and its
 * pages stay this program's: the same address must be refused now, be named in the sticky error, and
 * change nothing.
 *
 *   guest-dma PCI-ADDRESS strict|lazy
 *
 * strict: the address is refused as soon as the buffer was given back.  lazy: the guest's kernel may
 * take its time over the unmapping, DEADLINE_S at most, and the device may reach the page until then.
 * Needs root, debugfs and iomem=relaxed (the registers are the driver's).  Prints how often each was
 * seen; exit status 1 with the reason.
 */
#include <vgpu/cmd.h>
#include <vgpu/hw.h>
#include <vgpu/status.h>
#include <vgpu/uapi.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE       4096u
#define PAGES      16u
#define ROUNDS     20u
#define DEADLINE_S 30
#define TRACING    "/sys/kernel/debug/tracing/"

static volatile uint32_t *regs;
static uint8_t *mem, model[PAGES * PAGE];
static uint64_t dma[PAGES];
static unsigned int reached, refused, late;

static _Noreturn void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        die("%s: writing '%s': %s", path, text, strerror(errno));
    close(fd);
}

/* ---- The registers ---- */

static uint32_t reg(unsigned int offset)
{
    return regs[offset / 4];
}

static void set_reg(unsigned int offset, uint32_t value)
{
    regs[offset / 4] = value;
}

static void map_registers(const char *pci)
{
    char path[128];
    void *at;
    int fd;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", pci);
    fd = open(path, O_RDWR | O_SYNC);
    if (fd < 0)
        die("%s: %s", path, strerror(errno));
    at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        die("%s: mmap: %s (is the guest booted with iomem=relaxed?)", path, strerror(errno));
    regs = at;
    if (reg(VGPU_REG_MAGIC) != VGPU_MAGIC)
        die("no magic number in BAR 0: %#x", reg(VGPU_REG_MAGIC));
}

/* The device's DMA test over a page: its first half is read, its second written.  The status. */
static uint32_t test_dma(uint64_t address)
{
    set_reg(VGPU_REG_ERR_STATUS, reg(VGPU_REG_ERR_STATUS));
    set_reg(VGPU_REG_TEST_DMA_LO, (uint32_t)address);
    set_reg(VGPU_REG_TEST_DMA_HI, (uint32_t)(address >> 32));
    set_reg(VGPU_REG_TEST_DMA_LEN, PAGE / 2);
    set_reg(VGPU_REG_TEST_DMA_GO, 1);
    return reg(VGPU_REG_TEST_DMA_STATUS);
}

/* ---- The memory ---- */

static void fill(unsigned int seed)
{
    for (size_t i = 0; i < sizeof(model); i++)
        model[i] = (uint8_t)(i * 31 + (i >> 8) * 7 + seed);
    memcpy(mem, model, sizeof(model));
}

static void is_unchanged(const char *when)
{
    for (size_t i = 0; i < sizeof(model); i++)
        if (mem[i] != model[i])
            die("%s: byte %zu of the buffer is %#x, not %#x", when, i, mem[i], model[i]);
}

static void is_reached(unsigned int page)
{
    uint32_t status = test_dma(dma[page]);

    if (status != VGPU_ST_OK || reg(VGPU_REG_ERR_STATUS))
        die("page %u at %#llx, which is mapped: status %#x, sticky errors %#x", page,
            (unsigned long long)dma[page], status, reg(VGPU_REG_ERR_STATUS));
    for (size_t i = 0; i < PAGE / 2; i++)
        model[page * PAGE + PAGE / 2 + i] = (uint8_t)~model[page * PAGE + i];
    is_unchanged("written by the device");
    reached++;
}

static void is_refused(unsigned int page)
{
    uint32_t status = test_dma(dma[page]);
    uint64_t named = reg(VGPU_REG_ERR_ADDR_LO) | (uint64_t)reg(VGPU_REG_ERR_ADDR_HI) << 32;

    if (status != VGPU_ST_BAD_DMA || reg(VGPU_REG_ERR_STATUS) != VGPU_ERR_DMA ||
        reg(VGPU_REG_ERR_DETAIL) != VGPU_ST_BAD_DMA || named != dma[page])
        die("page %u at %#llx, which is unmapped: status %#x, sticky errors %#x, detail %#x, "
            "address %#llx",
            page, (unsigned long long)dma[page], status, reg(VGPU_REG_ERR_STATUS),
            reg(VGPU_REG_ERR_DETAIL), (unsigned long long)named);
    is_unchanged("refused to the device");
    refused++;
}

/* The guest's kernel gets around to unmapping: until then the device may still reach the page. */
static void wait_refused(unsigned int page)
{
    time_t end = time(NULL) + DEADLINE_S;

    while (test_dma(dma[page]) != VGPU_ST_BAD_DMA) {
        if (time(NULL) > end)
            die("page %u at %#llx is still mapped after %d s", page, (unsigned long long)dma[page],
                DEADLINE_S);
        late++;
        usleep(1000);
    }
}

/* ---- Where the pages are ---- */

static uint64_t physical(const void *at)
{
    int fd = open("/proc/self/pagemap", O_RDONLY);
    uint64_t entry;

    if (fd < 0 || pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)at / PAGE * 8)) != 8)
        die("/proc/self/pagemap: %s", strerror(errno));
    close(fd);
    entry &= (1ull << 55) - 1;
    if (!entry)
        die("/proc/self/pagemap does not say where %p is", at);
    return entry * PAGE;
}

static void trace_begin(void)
{
    char pid[16];

    snprintf(pid, sizeof(pid), "%d", getpid());
    write_file(TRACING "set_event_pid", pid);
    write_file(TRACING "trace", "");
    write_file(TRACING "events/iommu/map/enable", "1");
}

/* Fill in dma[] from what was mapped since trace_begin(). */
static void trace_end(void)
{
    unsigned long long first, end, paddr;
    FILE *trace = fopen(TRACING "trace", "r");
    char line[512];

    write_file(TRACING "events/iommu/map/enable", "0");
    if (!trace)
        die(TRACING "trace: %s", strerror(errno));
    memset(dma, 0, sizeof(dma));
    while (fgets(line, sizeof(line), trace)) {
        const char *at = strstr(line, "iova=");

        if (!at || sscanf(at, "iova=%llx - %llx paddr=%llx", &first, &end, &paddr) != 3)
            continue;
        for (unsigned int i = 0; i < PAGES; i++) {
            uint64_t where = physical(mem + i * PAGE);

            if (where >= paddr && where - paddr < end - first)
                dma[i] = first + (where - paddr);
        }
    }
    fclose(trace);
    for (unsigned int i = 0; i < PAGES; i++)
        if (!dma[i])
            die("the kernel's trace has no mapping of page %u", i);
}

static void round_trip(int fd, unsigned int round, bool lazy)
{
    struct vgpu_buf_register in = {.addr = (uintptr_t)mem,
                                   .bytes = PAGES * PAGE,
                                   .flags = VGPU_BUF_DEVICE_READS | VGPU_BUF_DEVICE_WRITES};
    struct vgpu_buf_unregister out = {0};

    fill(2 * round);
    trace_begin();
    if (ioctl(fd, VGPU_IOCTL_BUF_REGISTER, &in) || in.result != VGPU_BUF_RESULT_REGISTERED)
        die("BUF_REGISTER: %s, result %u", strerror(errno), in.result);
    trace_end();
    for (unsigned int i = 0; i < PAGES; i++)
        is_reached(i);
    out.buf = in.buf;
    if (ioctl(fd, VGPU_IOCTL_BUF_UNREGISTER, &out))
        die("BUF_UNREGISTER: %s", strerror(errno));
    for (unsigned int i = 0; lazy && i < PAGES; i++)
        wait_refused(i);
    fill(2 * round + 1);
    for (unsigned int i = 0; i < PAGES; i++)
        is_refused(i);
}

int main(int argc, char **argv)
{
    struct vgpu_queue_setup setup = {
        .sq_log2 = 6, .cq_log2 = 6, .flags = VGPU_QUEUE_KERNEL_SUBMIT, .arena_bytes = 65536};
    int fd;

    if (argc != 3 || (strcmp(argv[2], "strict") && strcmp(argv[2], "lazy")))
        die("usage: guest-dma PCI-ADDRESS strict|lazy");
    map_registers(argv[1]);
    mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);
    if (mem == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    fd = open("/dev/vgpu0", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        die("/dev/vgpu0: %s", strerror(errno));
    if (ioctl(fd, VGPU_IOCTL_QUEUE_SETUP, &setup))
        die("QUEUE_SETUP: %s", strerror(errno));
    for (unsigned int round = 0; round < ROUNDS; round++)
        round_trip(fd, round, !strcmp(argv[2], "lazy"));
    set_reg(VGPU_REG_ERR_STATUS, reg(VGPU_REG_ERR_STATUS));
    if (reg(VGPU_REG_STATE) != VGPU_STATE_READY)
        die("the device's state is %u", reg(VGPU_REG_STATE));
    printf("%u accesses to mapped pages, %u to unmapped ones\n", reached, refused);
    printf("%u while the unmapping was outstanding\n", late);
    return 0;
}
