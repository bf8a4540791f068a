/* SPDX-License-Identifier: MIT */
/*
 * guest-failnth: walk the driver's error paths by making its allocations fail.
 *
 *   guest-failnth file [DEVICE]     open, set up, register, map, close
 *   guest-failnth probe PCI-ADDRESS unbind and bind the driver
 *
 * Runs in a guest whose kernel has fault injection.  A sequence of system calls is
 * repeated; each time another allocation that the kernel makes on behalf of this
 * thread fails (/proc/thread-self/fail-nth): each of the first EACH_UNTIL, then one
 * of STRIDE, until a round ends with no allocation left to fail.  Every call must succeed or report a want of memory;
 * what it leaves behind is for the kernel's checkers and the caller to find.
 *
 * Prints the number of failures injected.  Exit status 0 if all was as it should be,
 * 1 if not, 77 if the kernel has no fault injection.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vgpu/cmd.h>
#include <vgpu/uapi.h>

#define FAIL_NTH     "/proc/thread-self/fail-nth"
#define MAX_FAILING  20000u
#define EACH_UNTIL   400u /* further on the kernel's own work for many vectors repeats itself: */
#define STRIDE       7u   /* one in so many */
#define BUFFER_BYTES 0x8000u
#define EXIT_SKIP    77

/* A round's verdict: which call failed, and how; NULL if none did. */
struct outcome {
    const char *call;
    int error;
};

static int fail_nth_fd = -1;

/* Arm (n > 0) or disarm (0). */
static bool fail_nth_set(unsigned int n)
{
    char text[16];
    int length = snprintf(text, sizeof(text), "%u", n);

    return pwrite(fail_nth_fd, text, (size_t)length, 0) == length;
}

/* Has the armed failure happened?  Then the counter has run down to 0. */
static bool fail_nth_fired(void)
{
    char text[16] = "";

    if (pread(fail_nth_fd, text, sizeof(text) - 1, 0) < 1)
        return false;
    return strtoul(text, NULL, 10) == 0;
}

static bool failed(struct outcome *out, const char *call)
{
    out->call = call;
    out->error = errno;
    return false;
}

static bool map_part(int fd, struct outcome *out, const char *what, uint64_t offset, size_t bytes,
                     int protection)
{
    void *at = mmap(NULL, bytes, protection, MAP_SHARED, fd, (off_t)offset);

    if (at == MAP_FAILED)
        return failed(out, what);
    munmap(at, bytes);
    return true;
}

static bool register_buffer(int fd, struct outcome *out, void *memory)
{
    struct vgpu_buf_register reg = {
        .addr = (uintptr_t)memory + 100,
        .bytes = BUFFER_BYTES - 200,
        .flags = VGPU_BUF_DEVICE_READS | VGPU_BUF_DEVICE_WRITES,
    };
    struct vgpu_buf_unregister unreg = {0};

    if (ioctl(fd, VGPU_IOCTL_BUF_REGISTER, &reg) != 0)
        return failed(out, "BUF_REGISTER");
    if (reg.result == VGPU_BUF_RESULT_MUST_STAGE)
        return true;
    unreg.buf = reg.buf;
    if (ioctl(fd, VGPU_IOCTL_BUF_UNREGISTER, &unreg) != 0)
        return failed(out, "BUF_UNREGISTER");
    return true;
}

static bool use_context(int fd, struct outcome *out, void *memory)
{
    struct vgpu_info info = {.size = sizeof(info)};
    struct vgpu_queue_setup queue = {.sq_log2 = 6, .cq_log2 = 6, .arena_bytes = 0x4000};
    struct vgpu_buf_alloc alloc = {.bytes = BUFFER_BYTES};
    struct vgpu_status_query status = {0};
    const int rw = PROT_READ | PROT_WRITE;

    if (ioctl(fd, VGPU_IOCTL_INFO, &info) != 0)
        return failed(out, "INFO");
    if (ioctl(fd, VGPU_IOCTL_QUEUE_SETUP, &queue) != 0)
        return failed(out, "QUEUE_SETUP");
    if (!map_part(fd, out, "mmap of the read-only half", queue.ro_off, queue.ro_bytes, PROT_READ) ||
        !map_part(fd, out, "mmap of the writable half", queue.rw_off, queue.rw_bytes, rw) ||
        !map_part(fd, out, "mmap of the doorbell", queue.doorbell_off, 4096, rw) ||
        !map_part(fd, out, "mmap of the arena", queue.arena_off, queue.arena_bytes, rw))
        return false;
    if (ioctl(fd, VGPU_IOCTL_BUF_ALLOC, &alloc) != 0)
        return failed(out, "BUF_ALLOC");
    if (!map_part(fd, out, "mmap of a buffer", alloc.mmap_off, BUFFER_BYTES, rw) ||
        !register_buffer(fd, out, memory))
        return false;
    if (ioctl(fd, VGPU_IOCTL_STATUS, &status) != 0)
        return failed(out, "STATUS");
    return true;
}

static bool round_file(const char *device, struct outcome *out, void *memory)
{
    int fd = open(device, O_RDWR | O_CLOEXEC);
    bool ok;

    if (fd < 0)
        return failed(out, "open");
    ok = use_context(fd, out, memory);
    close(fd);
    return ok;
}

static bool write_sysfs(const char *path, const char *text, struct outcome *out, const char *call)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok;

    if (fd < 0)
        return failed(out, call);
    ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (!ok)
        failed(out, call);
    close(fd);
    return ok;
}

static bool round_probe(const char *address, struct outcome *out)
{
    return write_sysfs("/sys/bus/pci/drivers/vgpu/bind", address, out, "bind");
}

static bool is_bound(const char *address)
{
    char path[128];

    snprintf(path, sizeof(path), "/sys/bus/pci/drivers/vgpu/%s", address);
    return access(path, F_OK) == 0;
}

/*
 * Without memory the kernel's request_region() says EBUSY and its MSI-X code ENOSPC
 * (it takes any failed allocation of a vector for vectors having run out): a probe can
 * but pass these on.
 */
static bool is_want_of_memory(int error, bool probe)
{
    return error == ENOMEM || error == EAGAIN || (probe && (error == EBUSY || error == ENOSPC));
}

/* One round with the Nth allocation failing.  *fired says whether one was there. */
static bool run_round(bool probe, const char *target, void *memory, unsigned int n, bool *fired)
{
    struct outcome out = {0};
    struct outcome ignored = {0};
    bool ok;

    if (probe && is_bound(target) &&
        !write_sysfs("/sys/bus/pci/drivers/vgpu/unbind", target, &out, "unbind")) {
        printf("round %u: unbind: %s\n", n, strerror(out.error));
        return false;
    }
    if (!fail_nth_set(n)) {
        perror(FAIL_NTH);
        return false;
    }
    ok = probe ? round_probe(target, &out) : round_file(target, &out, memory);
    *fired = fail_nth_fired();
    fail_nth_set(0);
    /* a driver whose probe failed is not bound; bring the device back for the next round */
    if (probe && !is_bound(target) && *fired &&
        !write_sysfs("/sys/bus/pci/drivers/vgpu/bind", target, &ignored, "bind")) {
        printf("round %u: a device whose probe failed cannot be bound again: %s\n", n,
               strerror(ignored.error));
        return false;
    }
    if (ok || (*fired && is_want_of_memory(out.error, probe)))
        return true;
    printf("round %u: %s: %s\n", n, out.call, strerror(out.error));
    return false;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    bool probe = strcmp(what, "probe") == 0;
    const char *target = argc > 2 ? argv[2] : "/dev/vgpu0";
    bool fired = true;
    bool good = true;
    unsigned int n = 0, failures = 0;
    void *memory;

    if ((!probe && strcmp(what, "file") != 0) || (probe && argc < 3)) {
        fprintf(stderr, "usage: guest-failnth file [DEVICE] | probe PCI-ADDRESS\n");
        return EXIT_FAILURE;
    }
    fail_nth_fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
    if (fail_nth_fd < 0) {
        printf("this kernel has no fault injection\n");
        return EXIT_SKIP;
    }
    memory = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        return EXIT_FAILURE;
    }
    while (good && fired && n < MAX_FAILING) {
        n += n < EACH_UNTIL ? 1 : STRIDE;
        good = run_round(probe, target, memory, n, &fired);
        failures += good && fired;
    }
    if (good && fired) {
        printf("still failing at allocation %u\n", n);
        good = false;
    }
    printf("%s: %u of about %u allocations failed in turn\n", what, failures, n);
    return good && failures > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
