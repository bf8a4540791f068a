/* SPDX-License-Identifier: MIT */
/*
 * guest-eventfd: a context that does nothing, whose completions signal an eventfd.
 *
 * Prints "waiting" once that is so, and then how many signals it has seen, after each that
 * wakes it up, until it is killed.  Exit status 1 with the reason if it can't.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <vgpu/uapi.h>

static int fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    return EXIT_FAILURE;
}

int main(void)
{
    struct vgpu_queue_setup setup = {
        .sq_log2 = 6, .cq_log2 = 6, .flags = VGPU_QUEUE_KERNEL_SUBMIT, .arena_bytes = 65536};
    struct vgpu_set_eventfd watch = {.fd = eventfd(0, EFD_CLOEXEC)};
    int fd = open("/dev/vgpu0", O_RDWR | O_CLOEXEC);
    uint64_t count, sum = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (fd < 0 || watch.fd < 0)
        return fail("opening");
    if (ioctl(fd, VGPU_IOCTL_QUEUE_SETUP, &setup))
        return fail("QUEUE_SETUP");
    if (ioctl(fd, VGPU_IOCTL_SET_EVENTFD, &watch))
        return fail("SET_EVENTFD");
    puts("waiting");
    while (read(watch.fd, &count, sizeof(count)) == sizeof(count)) {
        sum += count;
        printf("%llu\n", (unsigned long long)sum);
        usleep(50000);
    }
    return fail("reading the eventfd");
}
