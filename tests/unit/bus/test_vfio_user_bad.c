/* SPDX-License-Identifier: MIT */
/*
 * The vfio-user server with a client that does not behave.  Wrong values: an error reply, and the
 * next good message is served.  Wrong framing: the connection ends.  Each row starts from a
 * good message and breaks one thing.  Last, random bytes.
 */
#include "bus_tests.h"
#include "noise.h"
#include "vu_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Error replies ---- */

#define U32(n, v)                                                                                  \
    {                                                                                              \
        .at = (n), .width = 4, .value = (v)                                                        \
    }
#define U64(n, v)                                                                                  \
    {                                                                                              \
        .at = (n), .width = 8, .value = (v)                                                        \
    }

struct edit {
    unsigned int at;
    unsigned int width; /* 0: none */
    uint64_t value;
};

struct refusal {
    const char *name;
    uint16_t command;
    uint32_t bytes; /* of the payload; 0 stands for the good length */
    struct edit edit, edit2;
    unsigned int fds;
    int err;
};

/* Good payloads, by command; argsz first where there is one. */
static const uint32_t good_map[8] = {32, 3, 0, 0, 0x10000, 0, 0x1000, 0};
static const uint32_t good_unmap[6] = {24, 0, 0, 0, 0x1000, 0};
static const uint32_t good_info[4] = {16};
static const uint32_t good_region[8] = {32};
static const uint32_t good_io_fds[4] = {4096, 0, 2};
static const uint32_t good_irq_info[4] = {16, 0, 2};
static const uint32_t good_irqs[5] = {20, 0x24, 2, 0, 1}; /* one eventfd for vector 0 */
static const uint32_t good_read[4] = {0, 0, 0, 4};
static const uint32_t good_write[5] = {0x180, 0, 0, 4, 7};

static const struct {
    const uint32_t *data;
    uint32_t bytes;
    unsigned int fds;
} good[VU_COMMAND_END] = {
    [VU_DMA_MAP] = {good_map, 32, 1},
    [VU_DMA_UNMAP] = {good_unmap, 24, 0},
    [VU_DEVICE_GET_INFO] = {good_info, 16, 0},
    [VU_DEVICE_GET_REGION_INFO] = {good_region, 32, 0},
    [VU_DEVICE_GET_REGION_IO_FDS] = {good_io_fds, 16, 0},
    [VU_DEVICE_GET_IRQ_INFO] = {good_irq_info, 16, 0},
    [VU_DEVICE_SET_IRQS] = {good_irqs, 20, 1},
    [VU_REGION_READ] = {good_read, 16, 0},
    [VU_REGION_WRITE] = {good_write, 20, 0},
};

#define SAME_FDS 100u /* as many as the good message has */

static const struct refusal refusals[] = {
    {"second VERSION", VU_VERSION, 4, {0}, {0}, 0, EINVAL},
    {"command 0", 0, 16, {0}, {0}, 0, EOPNOTSUPP},
    {"unknown command", 14, 16, {0}, {0}, 0, EOPNOTSUPP},
    {"command 65535", 65535, 16, {0}, {0}, 0, EOPNOTSUPP},
    {"server's own command", VU_DMA_READ, 16, {0}, {0}, 0, EOPNOTSUPP},

    {"map: short", VU_DMA_MAP, 31, {0}, {0}, SAME_FDS, EINVAL},
    {"map: long", VU_DMA_MAP, 33, {0}, {0}, SAME_FDS, EINVAL},
    {"map: empty", VU_DMA_MAP, 1, {0}, {0}, SAME_FDS, EINVAL},
    {"map: argsz", VU_DMA_MAP, 0, U32(0, 31), {0}, SAME_FDS, EINVAL},
    {"map: unknown flag", VU_DMA_MAP, 0, U32(4, 7), {0}, SAME_FDS, EINVAL},
    {"map: two descriptors", VU_DMA_MAP, 0, {0}, {0}, 2, EINVAL},
    {"map: no bytes", VU_DMA_MAP, 0, U64(24, 0), {0}, SAME_FDS, EINVAL},
    {"map: unaligned", VU_DMA_MAP, 0, U64(16, 0x10800), {0}, SAME_FDS, EINVAL},
    {"map: wraps", VU_DMA_MAP, 0, U64(16, ~0xfffull), U64(24, 0x2000), SAME_FDS, EINVAL},
    {"map: beyond the file", VU_DMA_MAP, 0, U64(8, 1 << 20), {0}, SAME_FDS, ERANGE},
    {"map: mapped already", VU_DMA_MAP, 0, U64(16, 0x1000), {0}, SAME_FDS, EEXIST},

    {"unmap: short", VU_DMA_UNMAP, 23, {0}, {0}, 0, EINVAL},
    {"unmap: argsz", VU_DMA_UNMAP, 0, U32(0, 8), {0}, 0, EINVAL},
    {"unmap: unknown flag", VU_DMA_UNMAP, 0, U32(4, 4), {0}, 0, EINVAL},
    {"unmap: dirty bitmap", VU_DMA_UNMAP, 40, U32(4, 1), {0}, 0, EOPNOTSUPP},
    {"unmap: no bytes", VU_DMA_UNMAP, 0, U64(16, 0), {0}, 0, EINVAL},
    {"unmap: wraps", VU_DMA_UNMAP, 0, U64(8, ~0ull), {0}, 0, EINVAL},
    {"unmap: part of a range", VU_DMA_UNMAP, 0, U64(8, 0x1000), {0}, 0, EINVAL},
    {"unmap all: with an address", VU_DMA_UNMAP, 0, U32(4, 2), {0}, 0, EINVAL},
    {"unmap: descriptor", VU_DMA_UNMAP, 0, {0}, {0}, 1, EINVAL},

    {"info: short", VU_DEVICE_GET_INFO, 15, {0}, {0}, 0, EINVAL},
    {"info: argsz", VU_DEVICE_GET_INFO, 0, U32(0, 15), {0}, 0, EINVAL},
    {"region info: short", VU_DEVICE_GET_REGION_INFO, 16, {0}, {0}, 0, EINVAL},
    {"region info: argsz", VU_DEVICE_GET_REGION_INFO, 0, U32(0, 0), {0}, 0, EINVAL},
    {"region info: no such", VU_DEVICE_GET_REGION_INFO, 0, U32(8, 9), {0}, 0, EINVAL},
    {"region info: huge", VU_DEVICE_GET_REGION_INFO, 0, U32(8, ~0u), {0}, 0, EINVAL},
    {"io fds: argsz", VU_DEVICE_GET_REGION_IO_FDS, 0, U32(0, 4), {0}, 0, EINVAL},
    {"io fds: flags", VU_DEVICE_GET_REGION_IO_FDS, 0, U32(4, 1), {0}, 0, EINVAL},
    {"io fds: no such region", VU_DEVICE_GET_REGION_IO_FDS, 0, U32(8, 99), {0}, 0, EINVAL},
    {"io fds: count", VU_DEVICE_GET_REGION_IO_FDS, 0, U32(12, 1), {0}, 0, EINVAL},
    {"irq info: argsz", VU_DEVICE_GET_IRQ_INFO, 0, U32(0, 1), {0}, 0, EINVAL},
    {"irq info: no such", VU_DEVICE_GET_IRQ_INFO, 0, U32(8, 5), {0}, 0, EINVAL},

    {"irqs: short", VU_DEVICE_SET_IRQS, 19, {0}, {0}, SAME_FDS, EINVAL},
    {"irqs: long", VU_DEVICE_SET_IRQS, 24, {0}, {0}, SAME_FDS, EINVAL},
    {"irqs: argsz", VU_DEVICE_SET_IRQS, 0, U32(0, 19), {0}, SAME_FDS, EINVAL},
    {"irqs: two kinds of data", VU_DEVICE_SET_IRQS, 0, U32(4, 0x25), {0}, SAME_FDS, EINVAL},
    {"irqs: no data kind", VU_DEVICE_SET_IRQS, 0, U32(4, 0x20), {0}, SAME_FDS, EINVAL},
    {"irqs: two actions", VU_DEVICE_SET_IRQS, 0, U32(4, 0x34), {0}, SAME_FDS, EINVAL},
    {"irqs: no action", VU_DEVICE_SET_IRQS, 0, U32(4, 0x04), {0}, SAME_FDS, EINVAL},
    {"irqs: unknown flag", VU_DEVICE_SET_IRQS, 0, U32(4, 0x64), {0}, SAME_FDS, EINVAL},
    {"irqs: mask by eventfd", VU_DEVICE_SET_IRQS, 0, U32(4, 0x0c), {0}, SAME_FDS, EOPNOTSUPP},
    {"irqs: no such type", VU_DEVICE_SET_IRQS, 0, U32(8, 9), {0}, SAME_FDS, EINVAL},
    {"irqs: type without vectors", VU_DEVICE_SET_IRQS, 0, U32(8, 0), {0}, SAME_FDS, EINVAL},
    {"irqs: start", VU_DEVICE_SET_IRQS, 0, U32(12, 32), {0}, SAME_FDS, EINVAL},
    {"irqs: start wraps", VU_DEVICE_SET_IRQS, 0, U32(12, ~0u), {0}, SAME_FDS, EINVAL},
    {"irqs: count", VU_DEVICE_SET_IRQS, 0, U32(16, 33), {0}, SAME_FDS, EINVAL},
    {"irqs: count wraps", VU_DEVICE_SET_IRQS, 0, U32(12, 8), U32(16, ~0u - 4), SAME_FDS, EINVAL},
    {"irqs: count of 0 eventfds", VU_DEVICE_SET_IRQS, 0, U32(16, 0), {0}, SAME_FDS, EINVAL},
    {"irqs: fewer descriptors", VU_DEVICE_SET_IRQS, 0, U32(16, 3), {0}, 2, EINVAL},
    {"irqs: more descriptors", VU_DEVICE_SET_IRQS, 0, {0}, {0}, 3, EINVAL},
    {"irqs: bools missing", VU_DEVICE_SET_IRQS, 0, U32(4, 0x22), {0}, 0, EINVAL},
    {"irqs: none, with descriptors", VU_DEVICE_SET_IRQS, 0, U32(4, 0x21), {0}, 1, EINVAL},
    {"irqs: disable from the middle", VU_DEVICE_SET_IRQS, 0, U32(4, 0x21), U64(12, 5), 0, EINVAL},

    {"read: short", VU_REGION_READ, 15, {0}, {0}, 0, EINVAL},
    {"read: no bytes", VU_REGION_READ, 0, U32(12, 0), {0}, 0, EINVAL},
    {"read: no such region", VU_REGION_READ, 0, U32(8, 9), {0}, 0, EINVAL},
    {"read: empty region", VU_REGION_READ, 0, U32(8, 1), {0}, 0, EINVAL},
    {"read: beyond the end", VU_REGION_READ, 0, U64(0, VGPU_BAR_REGS_SIZE - 3), {0}, 0, EINVAL},
    {"read: wraps", VU_REGION_READ, 0, U64(0, ~0ull), {0}, 0, EINVAL},
    {"read: too much", VU_REGION_READ, 0, U32(12, ~0u), {0}, 0, EINVAL},
    {"config: beyond the end", VU_REGION_READ, 0, U32(8, 7), U64(0, 4094), 0, EINVAL},
    {"write: short", VU_REGION_WRITE, 12, {0}, {0}, 0, EINVAL},
    {"write: less data than said", VU_REGION_WRITE, 0, U32(12, 8), {0}, 0, EINVAL},
    {"write: more data than said", VU_REGION_WRITE, 0, U32(12, 2), {0}, 0, EINVAL},
    {"write: beyond the end", VU_REGION_WRITE, 0, U64(0, VGPU_BAR_REGS_SIZE), {0}, 0, EINVAL},
    {"write: descriptor", VU_REGION_WRITE, 0, {0}, {0}, 1, EINVAL},
    {"reset: payload", VU_DEVICE_RESET, 4, {0}, {0}, 0, EINVAL},
};

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* VGPU-BUS-001 */
START_TEST(a_wrong_message_gets_an_error_and_the_next_is_served)
{
    const struct refusal *r = &refusals[_i];
    struct vu_dma_map map = {32, 3, 0, 0, 0x8000};
    struct vu_device_info info = {.argsz = sizeof(info)};
    bool known = r->command < VU_COMMAND_END && good[r->command].data;
    uint32_t bytes = r->bytes ? r->bytes : good[r->command].bytes;
    unsigned int fds = r->fds == SAME_FDS ? good[r->command].fds : r->fds;
    int ram = vuf_ram(1 << 16), event = eventfd(0, EFD_NONBLOCK);
    int ref = r->command == VU_DEVICE_SET_IRQS ? event : ram, list[4] = {ref, ref, ref, ref};
    uint8_t payload[64] = {0};
    int before, err;

    ck_assert_int_eq(vuf_call(VU_DMA_MAP, &map, sizeof(map), &ram, 1), 0);
    if (known)
        memcpy(payload, good[r->command].data, good[r->command].bytes);
    memcpy(payload + r->edit.at, &r->edit.value, r->edit.width);
    memcpy(payload + r->edit2.at, &r->edit2.value, r->edit2.width);
    before = count_fds();
    err = vuf_call(r->command, payload, bytes, list, fds);
    ck_assert_msg(err == r->err, "%s: error %d, expected %d", r->name, err, r->err);
    ck_assert_msg(count_fds() == before, "%s: descriptors leaked", r->name);
    ck_assert_int_eq(vuf_call(VU_DEVICE_GET_INFO, &info, sizeof(info), NULL, 0), 0);
    close(ram);
    close(event);
}
END_TEST

/* The rows above are worth something only if their starting points are good. */
START_TEST(the_starting_points_are_good)
{
    for (uint16_t c = 0; c < VU_COMMAND_END; c++) {
        int fd = c == VU_DEVICE_SET_IRQS ? eventfd(0, EFD_NONBLOCK) : vuf_ram(1 << 16);

        if (good[c].data)
            ck_assert_msg(!vuf_call(c, good[c].data, good[c].bytes, &fd, good[c].fds), "command %u",
                          c);
        close(fd);
    }
}
END_TEST

START_TEST(a_descriptor_that_is_no_eventfd_is_refused)
{
    int pair[2], fds[3];

    ck_assert_int_eq(pipe(pair), 0);
    fds[0] = pair[1];
    fds[1] = vuf_ram(4096);
    fds[2] = vuf.client;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(vuf_call(VU_DEVICE_SET_IRQS, good_irqs, sizeof(good_irqs), &fds[i], 1),
                         EINVAL);
    ck_assert_uint_eq(vuf.irq_changes, 0);
    close(pair[0]);
    close(pair[1]);
    close(fds[1]);
}
END_TEST

START_TEST(unknown_header_flags_are_refused)
{
    struct vu_device_info info = {.argsz = sizeof(info)};

    ck_assert_int_eq(vuf_send(VU_DEVICE_GET_INFO, 1u << 6, &info, sizeof(info), NULL, 0), 0);
    ck_assert(vuf_recv());
    ck_assert_uint_eq(vuf.reply.error, EINVAL);
    ck_assert_int_eq(vuf_send(VU_DEVICE_GET_INFO, VU_FLAG_ERROR, &info, sizeof(info), NULL, 0), 0);
    ck_assert(vuf_recv());
    ck_assert_uint_eq(vuf.reply.error, EINVAL);
}
END_TEST

START_TEST(an_error_of_a_posted_message_is_not_answered)
{
    ck_assert_int_eq(vuf_send(200, VU_FLAG_NO_REPLY, NULL, 0, NULL, 0), 0);
    ck_assert(!vuf_recv());
}
END_TEST

START_TEST(unanswered_unmaps_are_limited)
{
    struct vu_dma_unmap un = {.argsz = sizeof(un), .addr = 0x1000, .bytes = 0x1000};
    struct vu_dma_map map = {32, 3, 0, 0x1000, 0x1000};
    int ram = vuf_ram(1 << 16);
    unsigned int i;

    vuf.unmap_busy = true;
    for (i = 0; i < 5000; i++) {
        ck_assert_int_eq(vuf_call(VU_DMA_MAP, &map, sizeof(map), &ram, 1), 0);
        ck_assert_int_eq(vuf_send(VU_DMA_UNMAP, 0, &un, sizeof(un), NULL, 0), 0);
        if (vuf_recv())
            break;
    }
    ck_assert_uint_lt(i, 5000);
    ck_assert_uint_eq(vuf.reply.error, ENOBUFS);
    close(ram);
}
END_TEST

/* ---- Dropped connections ---- */

struct drop {
    const char *name;
    struct vu_header header;
};

static const struct drop drops[] = {
    {"size 0", {77, VU_REGION_READ, 0, 0, 0}},
    {"size below a header", {77, VU_REGION_READ, 15, 0, 0}},
    {"size above the limit", {77, VU_REGION_WRITE, (1u << 20) + 4097, 0, 0}},
    {"size of 4 GiB", {77, VU_REGION_WRITE, ~0u, 0, 0}},
    {"a reply", {77, VU_REGION_READ, 32, VU_TYPE_REPLY, 0}},
    {"no message type", {77, VU_REGION_READ, 32, 7, 0}},
};

/* VGPU-BUS-001 */
START_TEST(a_message_that_cannot_be_framed_ends_the_connection)
{
    vuf_send_raw(&drops[_i].header, sizeof(drops[_i].header), NULL, 0);
    ck_assert_msg(vgpu_vfio_user_receive(vuf.vu) == -EPROTO, "%s", drops[_i].name);
    ck_assert(!vuf_recv());
}
END_TEST

START_TEST(the_end_is_told)
{
    shutdown(vuf.client, SHUT_WR);
    ck_assert_int_eq(vgpu_vfio_user_receive(vuf.vu), -ECONNRESET);
}
END_TEST

START_TEST(the_end_in_the_middle_of_a_message_is_told)
{
    struct vu_header h = {77, VU_REGION_READ, 32, 0, 0};

    vuf_send_raw(&h, sizeof(h), NULL, 0);
    shutdown(vuf.client, SHUT_WR);
    ck_assert_int_eq(vgpu_vfio_user_receive(vuf.vu), -ECONNRESET);
}
END_TEST

START_TEST(descriptors_without_end_are_closed)
{
    struct vu_header h = {77, VU_REGION_WRITE, 4096, 0, 0};
    int before = count_fds(), null = open("/dev/null", O_RDONLY), fds[200], ret;
    uint8_t byte = 0;

    for (int i = 0; i < 200; i++)
        fds[i] = null;
    vuf_send_raw(&h, sizeof(h), fds, 200);
    vuf_send_raw(&byte, 1, fds, 200);
    ret = vgpu_vfio_user_receive(vuf.vu);
    ck_assert_int_eq(ret, -EPROTO);
    vgpu_vfio_user_destroy(vuf.vu);
    vuf.vu = NULL;
    close(null);
    ck_assert_int_eq(count_fds(), before - 1);
}
END_TEST

/* ---- Before VERSION ---- */

struct bad_version {
    const char *name;
    const char *payload;
    size_t bytes;
};

#define PAYLOAD(text) text, sizeof(text) - 1
#define V00           "\0\0\0\0"

static const struct bad_version bad_versions[] = {
    {"empty", PAYLOAD("")},
    {"three bytes", PAYLOAD("\0\0\0")},
    {"major 1", PAYLOAD("\1\0\0\0")},
    {"no NUL", PAYLOAD(V00 "{}")},
    {"no JSON", PAYLOAD(V00 "hello\0")},
    {"cut off", PAYLOAD(V00 "{\"capabilities\":{\0")},
    {"no object", PAYLOAD(V00 "[1,2]\0")},
    {"capabilities are a number", PAYLOAD(V00 "{\"capabilities\":1}\0")},
    {"max_msg_fds is text", PAYLOAD(V00 "{\"capabilities\":{\"max_msg_fds\":\"8\"}}\0")},
    {"max_msg_fds is negative", PAYLOAD(V00 "{\"capabilities\":{\"max_msg_fds\":-1}}\0")},
    {"max_data_xfer_size is an object",
     PAYLOAD(V00 "{\"capabilities\":{\"max_data_xfer_size\":{}}}\0")},
    {"nested too deep", PAYLOAD(V00 "{\"a\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}\0")},
    {"NUL in the middle", PAYLOAD(V00 "{\"a\":\0 1}\0")},
};

START_TEST(a_bad_version_is_answered_and_ends_the_connection)
{
    const struct bad_version *v = &bad_versions[_i];

    ck_assert_msg(vuf_send(VU_VERSION, 0, v->payload, v->bytes, NULL, 0) == -EPROTO, "%s", v->name);
    ck_assert(vuf_recv());
    ck_assert(vuf.reply.flags & VU_FLAG_ERROR);
}
END_TEST

START_TEST(a_command_before_version_ends_the_connection)
{
    struct vu_device_info info = {.argsz = sizeof(info)};

    ck_assert_int_eq(vuf_send(VU_DEVICE_GET_INFO, 0, &info, sizeof(info), NULL, 0), -EPROTO);
    ck_assert(!vuf_recv());
}
END_TEST

/* ---- Noise ---- */

/* Whatever comes, the server answers, drops or waits; sanitizers watch. */
START_TEST(noise_does_no_harm)
{
    int ram = vuf_ram(1 << 16), fds[3] = {ram, eventfd(0, EFD_NONBLOCK), ram};
    uint8_t buf[256];

    noise_seed((uint32_t)_i + 1);
    for (int i = 0; i < 3000; i++) {
        struct vu_header h = {77, (uint16_t)(noise() % 17), 0, 0, 0};
        uint32_t bytes = noise() % 80;

        for (size_t k = 0; k < sizeof(buf); k++)
            buf[k] = (uint8_t)(noise() % 3 ? noise() % 40 : noise());
        if (h.command < VU_COMMAND_END && good[h.command].data && noise() % 4) {
            bytes = good[h.command].bytes;
            memcpy(buf, good[h.command].data, bytes);
            buf[noise() % bytes] ^= (uint8_t)(1 << noise() % 8);
        }
        h.bytes = (uint32_t)sizeof(h) + bytes;
        if (noise() % 300 == 0)
            h.flags = noise();
        if (vuf_send(h.command, h.flags, buf, bytes, fds, noise() % 4)) {
            vuf_teardown();
            vuf_setup_ready();
        }
        if (noise() % 2)
            vgpu_vfio_user_unmap_done(vuf.vu, vuf.unmap_cookie);
        vuf.unmap_busy = noise() % 2;
        if (vuf.resets && noise() % 4 == 0) {
            struct vgpu_dev_stats stats;

            vgpu_dev_get_stats(vuf.dev, &stats);
            if (stats.state == VGPU_STATE_RESETTING) {
                vgpu_dev_reset_done(vuf.dev);
                vgpu_vfio_user_reset_done(vuf.vu);
            }
        }
        while (recv(vuf.client, buf, sizeof(buf), MSG_DONTWAIT) > 0)
            ;
    }
    close(ram);
    close(fds[1]);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *vfio_user_bad_suite(void)
{
    Suite *s = suite_create("bus/vfio_user refusals");
    TCase *fresh = tcase_create("fresh");
    TCase *tc = tcase_create("ready");

    tcase_add_checked_fixture(fresh, vuf_setup, vuf_teardown);
    tcase_add_loop_test(fresh, a_bad_version_is_answered_and_ends_the_connection, 0,
                        ROWS(bad_versions));
    tcase_add_test(fresh, a_command_before_version_ends_the_connection);
    suite_add_tcase(s, fresh);
    tcase_add_checked_fixture(tc, vuf_setup_ready, vuf_teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, the_starting_points_are_good);
    tcase_add_loop_test(tc, a_wrong_message_gets_an_error_and_the_next_is_served, 0,
                        ROWS(refusals));
    tcase_add_test(tc, a_descriptor_that_is_no_eventfd_is_refused);
    tcase_add_test(tc, unknown_header_flags_are_refused);
    tcase_add_test(tc, an_error_of_a_posted_message_is_not_answered);
    tcase_add_test(tc, unanswered_unmaps_are_limited);
    tcase_add_loop_test(tc, a_message_that_cannot_be_framed_ends_the_connection, 0, ROWS(drops));
    tcase_add_test(tc, the_end_is_told);
    tcase_add_test(tc, the_end_in_the_middle_of_a_message_is_told);
    tcase_add_test(tc, descriptors_without_end_are_closed);
    tcase_add_loop_test(tc, noise_does_no_harm, 0, 4);
    suite_add_tcase(s, tc);
    return s;
}
