/* SPDX-License-Identifier: MIT */
/*
 * The generation file: see genlock.h.
 *
 * The counter is one decimal line, for people to read.  0 and all-ones are no generations (the
 * register reads 0 before one is announced, all-ones when nothing answers).  An empty file
 * counts from 0, and so does one with a hole here: a Xen bus may have written its own part, behind
 * this one (bus/xen_state.c), first.  One that holds something else is refused rather than guessed at, because
 * a generation must not come twice.
 */
#include <daemon/genlock.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define GENLOCK_BYTES 11 /* ten digits and a newline */

static VGPU_MUST_CHECK int genlock_read(int fd, uint32_t *generation)
{
    static const char hole[GENLOCK_BYTES];
    char text[GENLOCK_BYTES + 1] = "";
    ssize_t n = pread(fd, text, GENLOCK_BYTES, 0);
    unsigned long value;
    char *end;

    if (n < 0)
        return -errno;
    *generation = 0;
    if (!n || (n == GENLOCK_BYTES && !memcmp(text, hole, GENLOCK_BYTES)))
        return 0;
    value = strtoul(text, &end, 10);
    if (n != GENLOCK_BYTES || end != text + GENLOCK_BYTES - 1 || *end != '\n' || value > UINT32_MAX)
        return -EBADMSG;
    *generation = (uint32_t)value;
    return 0;
}

int vgpu_genlock_take(int fd, uint32_t *generation)
{
    char text[GENLOCK_BYTES + 1];
    uint32_t value = 0;
    int ret;

    if (flock(fd, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    ret = genlock_read(fd, &value);
    if (ret)
        return ret;
    do {
        value++;
    } while (value == 0 || value == UINT32_MAX);
    snprintf(text, sizeof(text), "%010u\n", value);
    if (pwrite(fd, text, GENLOCK_BYTES, 0) != GENLOCK_BYTES)
        return -EIO;
    *generation = value;
    return 0;
}
