/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a hostile vfio-user client against the server and the device core behind it.
 *
 * The input is a list of messages, each [command] [what] [length, 2 bytes] [payload].  `what` has the
 * number of descriptors in its low two bits; bit 2 takes the next four bytes for the header's
 * flags, bit 3 for its size, bit 4 sends only half and ends the connection, bit 5 answers
 * what the server owes (an unmap, a reset) afterwards, bit 6 makes unmaps wait.  VERSION has
 * been said, unless the first byte of the input is 0xff.
 *
 * Beside what sanitizers see, this must hold: the process keeps its number of descriptors, and every
 * connection that is not ended still answers.
 *
 * Also linked into the unit tests, which replay the corpus.
 */
#include "../unit/bus/vu_fixture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define RAM_BYTES 0x10000u
#define MAX_BYTES 512u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

static uint32_t take(struct input *in, size_t n)
{
    uint32_t value = 0;

    n = n < in->left ? n : in->left;
    memcpy(&value, in->at, n);
    in->at += n;
    in->left -= n;
    return value;
}

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 128; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Take in all that the server has to say: a reply may be larger than the socket's buffer, and then
 * the server keeps the rest of it until it may send again. */
static void drain(void)
{
    uint8_t buf[4096];

    do {
        while (recv(vuf.client, buf, sizeof(buf), MSG_DONTWAIT) > 0)
            ;
    } while (vgpu_vfio_user_wants_send(vuf.vu) && !vgpu_vfio_user_send(vuf.vu));
}

static void settle(void)
{
    struct vgpu_dev_stats stats;

    vgpu_vfio_user_unmap_done(vuf.vu, vuf.unmap_cookie);
    vgpu_dev_get_stats(vuf.dev, &stats);
    if (stats.state == VGPU_STATE_RESETTING) {
        vgpu_dev_reset_done(vuf.dev);
        vgpu_vfio_user_reset_done(vuf.vu);
    }
    vgpu_dev_work(vuf.dev, 64);
}

/* One message.  False: the connection is over. */
static bool one_message(struct input *in, const int *fds)
{
    uint8_t buf[sizeof(struct vu_header) + MAX_BYTES];
    uint32_t command = take(in, 1), what = take(in, 1), bytes = take(in, 2) % MAX_BYTES;
    struct vu_header h = {.id = 77, .command = (uint16_t)command};
    size_t total;

    if (what & 4)
        h.flags = take(in, 4);
    bytes = bytes < in->left ? bytes : (uint32_t)in->left;
    h.bytes = what & 8 ? take(in, 4) : (uint32_t)sizeof(h) + bytes;
    bytes = bytes < in->left ? bytes : (uint32_t)in->left;
    memcpy(buf, &h, sizeof(h));
    memcpy(buf + sizeof(h), in->at, bytes);
    in->at += bytes;
    in->left -= bytes;
    total = sizeof(h) + bytes;
    vuf.unmap_busy = what & 64;
    vuf_send_raw(buf, what & 16 ? (total + 1) / 2 : total, fds, what & 3);
    if (what & 16)
        shutdown(vuf.client, SHUT_WR);
    if (vgpu_vfio_user_receive(vuf.vu) || vgpu_vfio_user_send(vuf.vu))
        return false;
    if (what & 32)
        settle();
    drain();
    return !(what & (8 | 16));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    int before = count_fds(), ram, fds[3];
    bool open = true, fresh = size && data[0] == 0xff;

    if (fresh) {
        take(&in, 1);
        vuf_setup();
    } else {
        vuf_setup_ready();
    }
    ram = vuf_ram(RAM_BYTES);
    fds[0] = fds[2] = ram;
    fds[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    while (in.left && open)
        open = one_message(&in, fds);
    if (open && !fresh) {
        const struct vu_device_info info = {.argsz = sizeof(info)};

        settle();
        drain();
        if (vuf_send(VU_DEVICE_GET_INFO, 0, &info, sizeof(info), NULL, 0) || !vuf_recv())
            abort();
    }
    close(ram);
    close(fds[1]);
    vuf_teardown();
    if (count_fds() != before)
        abort();
    return 0;
}
