/* SPDX-License-Identifier: MIT */
/*
 * Malformed vfio-user messages: an error reply where the message can be told
 * apart from the next, the end of that connection where it can't - and never an
 * effect on the daemon, on another VM, or on the next connection.
 */
#include "fixture.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct gs_vfu wire;

/* A negotiated connection with nothing mapped. */
static void wire_open(unsigned int i)
{
    fx_is(gs_vfu_connect(&wire, fx.d.sockets[i]), 0);
    fx_is(gs_vfu_version(&wire, 0, 0, 16), 0);
}

static void wire_setup(void)
{
    static const char *const options[] = {FX_CPU_OPTIONS, FX_CPU_OPTIONS};

    memset(&fx, 0, sizeof(fx));
    fx_start(options, 2);
    wire.fd = -1;
    fx_attach(1); /* the neighbour, which must not notice anything */
}

static void wire_teardown(void)
{
    gs_vfu_close(&wire);
    fx_works(fx.ctx[1]);
    /* The VM that was mistreated takes the next client. */
    fx_wait_clean(0);
    fx_attach(0);
    fx_works(fx.ctx[0]);
    fx_teardown();
}

/* Send these bytes; the server must end the connection (possibly after replies). */
static void drops(const void *bytes, size_t count)
{
    struct gs_vfu_hdr hdr;
    uint8_t payload[256];
    int rc = gs_vfu_send_raw(&wire, bytes, count, NULL, 0);

    while (rc == 0)
        rc = gs_vfu_recv_raw(&wire, &hdr, payload, sizeof(payload), NULL, 0, NULL);
    fx_is(rc, -ECONNRESET);
}

/* A call that must be answered by this errno, the connection staying usable. */
static void refuses(enum gs_vfu_cmd command, const void *req, size_t bytes, const int *fds,
                    size_t fd_count, int error)
{
    uint8_t reply[256];
    struct gs_vfu_call call = {.command = command,
                               .req = req,
                               .req_bytes = bytes,
                               .fds = fds,
                               .fd_count = fd_count,
                               .reply = reply,
                               .reply_room = sizeof(reply)};
    uint32_t magic;
    int rc = gs_vfu_call(&wire, &call);

    ck_assert_msg(!wire.dead, "command %d: connection ended instead of an error", command);
    ck_assert_msg(error ? rc == -error : rc < 0, "command %d: got %s", command, fx_status_name(rc));
    fx_is(gs_vfu_region_read(&wire, 0, VGPU_REG_MAGIC, &magic, 4), 0);
    ck_assert_uint_eq(magic, VGPU_MAGIC);
}

/* ---- Framing ---- */

static const struct gs_vfu_hdr bad_headers[] = {
    {1, GS_VFU_GET_INFO, 0, 0, 0}, /* no room for the header itself */
    {1, GS_VFU_GET_INFO, 15, 0, 0},
    {1, GS_VFU_GET_INFO, 0xffffffff, 0, 0},
    {1, GS_VFU_REGION_WRITE, 0x7fffffff, 0, 0},
    {1, GS_VFU_GET_INFO, 16, GS_VFU_REPLY, 0}, /* a reply to nothing */
    {1, GS_VFU_GET_INFO, 16, 0x2, 0},          /* unknown type */
};

START_TEST(bad_header_ends_the_connection)
{
    wire_open(0);
    drops(&bad_headers[_i], sizeof(bad_headers[_i]));
}
END_TEST

START_TEST(anything_before_version_ends_the_connection)
{
    struct {
        struct gs_vfu_hdr hdr;
        struct {
            uint32_t argsz, flags, regions, irqs;
        } body;
    } msg = {{1, GS_VFU_GET_INFO, 32, 0, 0}, {16, 0, 0, 0}};

    fx_is(gs_vfu_connect(&wire, fx.d.sockets[0]), 0);
    drops(&msg, sizeof(msg));
}
END_TEST

START_TEST(unknown_major_version_is_refused)
{
    int rc;

    fx_is(gs_vfu_connect(&wire, fx.d.sockets[0]), 0);
    rc = gs_vfu_version(&wire, 9, 0, 16);
    ck_assert_msg(rc < 0, "version 9 was accepted");
}
END_TEST

START_TEST(version_json_of_any_kind_is_survived)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "null",
                                        "{\"capabilities\":7}",
                                        "{\"capabilities\":{\"max_msg_fds\":-1}}",
                                        "{\"capabilities\":{\"max_msg_fds\":99999999999999999999}}",
                                        "{\"capabilities\":{\"max_msg_fds\":\"x\"}}",
                                        "\x01\x02\xff"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct {
            uint16_t major, minor;
        } version = {0, 0};
        uint8_t reply[1024];
        struct gs_vfu_call call = {.command = GS_VFU_VERSION,
                                   .req = &version,
                                   .req_bytes = sizeof(version),
                                   .data = texts[i],
                                   .data_bytes = strlen(texts[i]) + 1,
                                   .reply = reply,
                                   .reply_room = sizeof(reply)};

        fx_is(gs_vfu_connect(&wire, fx.d.sockets[0]), 0);
        (void)gs_vfu_call(&wire, &call); /* accepted or refused, both are answers */
        gs_vfu_close(&wire);
        fx_wait_clean(0);
    }
    wire_open(0);
}
END_TEST

START_TEST(message_cut_off_by_the_end_of_the_stream_is_survived)
{
    struct gs_vfu_hdr hdr = {1, GS_VFU_REGION_WRITE, 16 + 16 + 4, 0, 0};

    for (size_t cut = 1; cut < sizeof(hdr); cut += 5) {
        wire_open(0);
        fx_is(gs_vfu_send_raw(&wire, &hdr, cut, NULL, 0), 0);
        gs_vfu_close(&wire);
        fx_wait_clean(0);
    }
    wire_open(0);
    fx_is(gs_vfu_send_raw(&wire, &hdr, sizeof(hdr), NULL, 0), 0);
}
END_TEST

/* One byte at a time is as good as all at once. */
START_TEST(slow_sender_is_served)
{
    struct {
        struct gs_vfu_hdr hdr;
        uint64_t offset;
        uint32_t region, count;
    } msg = {{77, GS_VFU_REGION_READ, 32, 0, 0}, VGPU_REG_MAGIC, 0, 4};
    struct gs_vfu_hdr hdr;
    uint8_t reply[64];
    uint32_t magic;

    wire_open(0);
    for (size_t i = 0; i < sizeof(msg); i++)
        fx_is(gs_vfu_send_raw(&wire, (uint8_t *)&msg + i, 1, NULL, 0), 0);
    fx_is(gs_vfu_recv_raw(&wire, &hdr, reply, sizeof(reply), NULL, 0, NULL), 0);
    ck_assert_uint_eq(hdr.id, 77);
    memcpy(&magic, reply + 16, 4);
    ck_assert_uint_eq(magic, VGPU_MAGIC);
}
END_TEST

/* ---- Values ---- */

START_TEST(unknown_commands_get_an_error)
{
    static const uint16_t commands[] = {0,   GS_VFU_DMA_READ, GS_VFU_DMA_WRITE, 14, 15, 16, 17, 18,
                                        255, 0xffff};
    uint64_t body[8] = {0};

    wire_open(0);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        refuses((enum gs_vfu_cmd)commands[i], body, sizeof(body), NULL, 0, 0);
}
END_TEST

START_TEST(short_payloads_get_an_error)
{
    static const enum gs_vfu_cmd commands[] = {
        GS_VFU_DMA_MAP,      GS_VFU_DMA_UNMAP, GS_VFU_GET_INFO,    GS_VFU_GET_REGION_INFO,
        GS_VFU_GET_IRQ_INFO, GS_VFU_SET_IRQS,  GS_VFU_REGION_READ, GS_VFU_REGION_WRITE,
    };
    uint8_t body[64] = {0};

    wire_open(0);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        for (size_t bytes = 0; bytes < 16; bytes += 5)
            refuses(commands[i], body, bytes, NULL, 0, 0);
}
END_TEST

START_TEST(bad_region_accesses_get_an_error)
{
    static const struct {
        uint64_t offset;
        uint32_t region, count;
    } rows[] = {
        {VGPU_BAR_REGS_SIZE, 0, 4},
        {VGPU_BAR_REGS_SIZE - 2, 0, 4},
        {~0ull, 0, 4},
        {~0ull - 3, 0, 8},
        {0, 1, 4},
        {0, 6, 4},
        {0, 99, 4},
        {0, 0xffffffff, 4},
        {0, 0, 0},
        {0, 0, 0xffffffff},
        {4096, 7, 4},
        {4092, 7, 8},
    };

    wire_open(0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct {
            uint64_t offset;
            uint32_t region, count;
            uint32_t data[2];
        } write = {rows[i].offset, rows[i].region, rows[i].count, {0, 0}};

        refuses(GS_VFU_REGION_READ, &rows[i], 16, NULL, 0, 0);
        if (rows[i].count <= sizeof(write.data))
            refuses(GS_VFU_REGION_WRITE, &write, 16 + rows[i].count, NULL, 0, 0);
    }
}
END_TEST

START_TEST(write_whose_count_is_not_its_length_gets_an_error)
{
    struct {
        uint64_t offset;
        uint32_t region, count;
        uint32_t data[4];
    } write = {VGPU_REG_TEST_ECHO, 0, 8, {1, 2, 3, 4}};

    wire_open(0);
    refuses(GS_VFU_REGION_WRITE, &write, 16 + 4, NULL, 0, EINVAL);
    write.count = 4;
    refuses(GS_VFU_REGION_WRITE, &write, 16 + 16, NULL, 0, EINVAL);
}
END_TEST

struct dma_map {
    uint32_t argsz, flags;
    uint64_t offset, addr, bytes;
};

START_TEST(bad_dma_maps_get_an_error)
{
    int fd = memfd_create("ram", MFD_CLOEXEC), ro, pipes[2];
    char path[64];
    static const struct dma_map rows[] = {
        {32, 3, 0, 0x10000, 0},    /* empty */
        {32, 3, 0, 0x10001, 4096}, /* unaligned */
        {32, 3, 0, 0x10000, 4097},
        {32, 3, 1, 0x10000, 4096},
        {32, 3, 0, ~0ull - 4095, 8192}, /* wraps */
        {32, 3, ~0ull - 4095, 0x10000, 8192},
        {32, 0x80000003, 0, 0x10000, 4096}, /* unknown flag */
        {8, 3, 0, 0x10000, 4096},           /* argsz */
    };

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
    ck_assert_int_eq(pipe(pipes), 0);
    wire_open(0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        refuses(GS_VFU_DMA_MAP, &rows[i], sizeof(rows[i]), &fd, 1, EINVAL);
    /* Overlap with what is mapped. */
    fx_is(gs_vfu_dma_map(&wire, 0x100000, 0x10000, fd, 0, 3), 0);
    refuses(GS_VFU_DMA_MAP, &(struct dma_map){32, 3, 0, 0x108000, 0x10000}, 32, &fd, 1, EEXIST);
    refuses(GS_VFU_DMA_MAP, &(struct dma_map){32, 3, 0, 0x100000, 0x10000}, 32, &fd, 1, EEXIST);
    /* More descriptors than the one there is use for, and one that is no memory. */
    refuses(GS_VFU_DMA_MAP, &(struct dma_map){32, 3, 0, 0x400000, 4096}, 32, (int[]){fd, fd}, 2, 0);
    refuses(GS_VFU_DMA_MAP, &(struct dma_map){32, 3, 0, 0x400000, 4096}, 32, pipes, 1, 0);
    /* Writable DMA through a descriptor that is not. */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ro = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(ro, 0);
    refuses(GS_VFU_DMA_MAP, &(struct dma_map){32, 3, 0, 0x400000, 4096}, 32, &ro, 1, 0);
    close(ro);
    close(fd);
    close(pipes[0]);
    close(pipes[1]);
}
END_TEST

START_TEST(unmapping_what_was_never_mapped_is_harmless)
{
    wire_open(0);
    (void)gs_vfu_dma_unmap(&wire, 0, 1ull << 63);
    ck_assert(!wire.dead);
    (void)gs_vfu_dma_unmap(&wire, 0x1000, 0x1000);
    ck_assert(!wire.dead);
    (void)gs_vfu_dma_unmap(&wire, ~0ull - 4095, 8192);
    ck_assert(!wire.dead);
}
END_TEST

struct set_irqs {
    uint32_t argsz, flags, index, start, count;
};

START_TEST(bad_interrupt_settings_get_an_error)
{
    const uint32_t set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    int fds[8], file = memfd_create("no-eventfd", MFD_CLOEXEC);
    const struct set_irqs rows[] = {
        {20, set, 2, VGPU_MSIX_VECTORS, 1}, /* beyond the vectors */
        {20, set, 2, VGPU_MSIX_VECTORS - 1, 2},
        {20, set, 2, 0xffffffff, 2}, /* wraps */
        {20, set, 2, 0, 3},          /* more vectors than descriptors */
        {20, set, 99, 0, 1},
        {20, VFIO_IRQ_SET_DATA_EVENTFD, 2, 0, 1}, /* no action */
        {20, VFIO_IRQ_SET_ACTION_TRIGGER, 2, 0, 1},
        {20, set | VFIO_IRQ_SET_DATA_BOOL, 2, 0, 1},
        {20, 0xffffffff, 2, 0, 1},
    };

    for (int i = 0; i < 8; i++)
        fds[i] = eventfd(0, EFD_CLOEXEC);
    wire_open(0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        refuses(GS_VFU_SET_IRQS, &rows[i], sizeof(rows[i]), fds, 1, EINVAL);
    /* A descriptor that can't be signalled. */
    refuses(GS_VFU_SET_IRQS, &(struct set_irqs){20, set, 2, 0, 1}, 20, &file, 1, 0);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    close(file);
}
END_TEST

START_TEST(descriptors_nobody_asked_for_are_closed)
{
    struct fx_account account;
    int fds[64];
    size_t before, after;
    uint64_t body[4] = {16, 0, 0, 0};

    wire_open(0);
    fx_account(0, &account);
    ck_assert_int_gt(account.vm_pid, 0);
    for (int i = 0; i < 64; i++)
        fds[i] = eventfd(0, EFD_CLOEXEC);
    before = proc_fd_count(account.vm_pid);
    for (int i = 0; i < 20; i++) {
        struct {
            uint32_t argsz, flags, regions, irqs;
        } reply;
        struct gs_vfu_call call = {.command = GS_VFU_GET_INFO,
                                   .req = body,
                                   .req_bytes = 16,
                                   .fds = fds,
                                   .fd_count = 64,
                                   .reply = &reply,
                                   .reply_room = sizeof(reply)};

        if (gs_vfu_call(&wire, &call) && wire.dead)
            break; /* ending such a connection is an answer, too */
    }
    after = wire.dead ? before : proc_fd_count(account.vm_pid);
    ck_assert_msg(after <= before + 2, "%zu descriptors before, %zu after", before, after);
    for (int i = 0; i < 64; i++)
        close(fds[i]);
}
END_TEST

/* Random bytes behind a valid header: whatever comes of it, the daemon goes on. */
START_TEST(random_messages_are_survived)
{
    uint32_t state = 12345 + (uint32_t)_i;
    uint8_t bytes[512];

    for (int round = 0; round < VGPUD_CYCLES(60, 15); round++) {
        struct gs_vfu_hdr *hdr = (void *)bytes;
        size_t size;

        fx_is(gs_vfu_connect(&wire, fx.d.sockets[0]), 0);
        if (gs_vfu_version(&wire, 0, 0, 16))
            ck_abort_msg("round %d: no version reply", round);
        for (int m = 0; m < 20; m++) {
            for (size_t i = 0; i < sizeof(bytes); i++) {
                state = state * 1664525 + 1013904223;
                bytes[i] = state >> 30 ? (uint8_t)(state >> 16) : 0;
            }
            size = sizeof(*hdr) + state % (sizeof(bytes) - sizeof(*hdr));
            *hdr = (struct gs_vfu_hdr){1, (uint16_t)(state >> 8 & 15), (uint32_t)size,
                                       state & 0x40 ? GS_VFU_NO_REPLY : 0, 0};
            if (gs_vfu_send_raw(&wire, bytes, size, NULL, 0))
                break;
        }
        gs_vfu_close(&wire);
        fx_wait_clean(0);
    }
}
END_TEST

/* A second client while the first is attached is turned away, and the first lives on. */
START_TEST(second_connection_is_refused)
{
    int rc;

    fx_attach(0);
    rc = gs_vfu_connect(&wire, fx.d.sockets[0]);
    if (rc == 0)
        rc = gs_vfu_version(&wire, 0, 0, 16);
    ck_assert_msg(rc < 0, "a second client was served");
    fx_works(fx.ctx[0]);
    fx_drop(0);
}
END_TEST

/* A client that never reads its replies holds up nobody but itself. */
START_TEST(client_that_does_not_read_is_contained)
{
    struct {
        struct gs_vfu_hdr hdr;
        uint64_t offset;
        uint32_t region, count;
    } msg = {{1, GS_VFU_REGION_READ, 32, 0, 0}, 0, 7, 4096};
    struct fx_account account;
    uint64_t rss;
    int sent = 0;

    wire_open(0);
    fx_account(0, &account);
    rss = proc_rss_bytes(account.vm_pid);
    fcntl(wire.fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 20000; i++)
        sent += send(wire.fd, &msg, sizeof(msg), MSG_NOSIGNAL) == sizeof(msg);
    ck_assert_int_gt(sent, 10);
    fx_works(fx.ctx[1]);
    if (!VGPUD_SANITIZED)
        ck_assert_msg(proc_rss_bytes(account.vm_pid) < rss + (16u << 20),
                      "the vm process grew by %llu bytes",
                      (unsigned long long)(proc_rss_bytes(account.vm_pid) - rss));
}
END_TEST

static TCase *wire_tcase(Suite *s, const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_set_timeout(tc, FX_TIMEOUT_S);
    tcase_add_checked_fixture(tc, wire_setup, wire_teardown);
    suite_add_tcase(s, tc);
    return tc;
}

static Suite *wire_suite(void)
{
    Suite *s = suite_create("wire");
    TCase *tc = wire_tcase(s, "framing");

    tcase_add_loop_test(tc, bad_header_ends_the_connection, 0,
                        (int)(sizeof(bad_headers) / sizeof(bad_headers[0])));
    tcase_add_test(tc, anything_before_version_ends_the_connection);
    tcase_add_test(tc, unknown_major_version_is_refused);
    tcase_add_test(tc, version_json_of_any_kind_is_survived);
    tcase_add_test(tc, message_cut_off_by_the_end_of_the_stream_is_survived);
    tcase_add_test(tc, slow_sender_is_served);
    tc = wire_tcase(s, "values");
    tcase_add_test(tc, unknown_commands_get_an_error);
    tcase_add_test(tc, short_payloads_get_an_error);
    tcase_add_test(tc, bad_region_accesses_get_an_error);
    tcase_add_test(tc, write_whose_count_is_not_its_length_gets_an_error);
    tcase_add_test(tc, bad_dma_maps_get_an_error);
    tcase_add_test(tc, unmapping_what_was_never_mapped_is_harmless);
    tcase_add_test(tc, bad_interrupt_settings_get_an_error);
    tcase_add_test(tc, descriptors_nobody_asked_for_are_closed);
    tcase_add_loop_test(tc, random_messages_are_survived, 0, 2);
    tc = wire_tcase(s, "connections");
    tcase_add_test(tc, second_connection_is_refused);
    tcase_add_test(tc, client_that_does_not_read_is_contained);
    return s;
}

VGPU_UNIT_MAIN(wire_suite)
