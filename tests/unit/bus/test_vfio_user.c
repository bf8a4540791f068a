/* SPDX-License-Identifier: MIT */
/*
 * The vfio-user server with a client that behaves: each command's reply, what it does to device,
 * DMA table and vectors, and the replies that come later.
 */
#include "bus_tests.h"
#include "vu_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int version_call(uint16_t major, uint16_t minor, const char *json)
{
    uint8_t buf[4 + 256];
    size_t n = json ? strlen(json) + 1 : 0;

    memcpy(buf, &major, 2);
    memcpy(buf + 2, &minor, 2);
    if (n)
        memcpy(buf + 4, json, n);
    return vuf_call(VU_VERSION, buf, 4 + n, NULL, 0);
}

static struct vu_version reply_version(void)
{
    struct vu_version v;

    memcpy(&v, vuf.data, sizeof(v));
    return v;
}

START_TEST(version_is_the_lower_minor)
{
    ck_assert_int_eq(version_call(0, (uint16_t)_i, NULL), 0);
    ck_assert_uint_eq(reply_version().major, 0);
    ck_assert_uint_eq(reply_version().minor, _i < 1 ? 0 : 1);
    ck_assert_str_eq((const char *)vuf.data + 4, "{\"capabilities\":{}}");
}
END_TEST

START_TEST(version_answers_capabilities_that_were_asked)
{
    ck_assert_int_eq(version_call(0, 0,
                                  "{\"capabilities\":{\"max_msg_fds\":16,\"pgsizes\":4096,"
                                  "\"max_data_xfer_size\":1048576,\"max_dma_maps\":65535,"
                                  "\"write_multiple\":true}}"),
                     0);
    /* no more than the client takes: QEMU's own would refuse the server */
    ck_assert_ptr_nonnull(strstr((const char *)vuf.data + 4, "\"max_msg_fds\":16,"));
    ck_assert_ptr_nonnull(strstr((const char *)vuf.data + 4, "\"max_data_xfer_size\":1048576"));
    ck_assert_ptr_null(strstr((const char *)vuf.data + 4, "write_multiple"));
}
END_TEST

/* {what the client takes, the answer} */
static const unsigned int fds_taken[][2] = {{0, 16}, {3, 16}, {17, 17}, {253, 253}, {254, 253}};

START_TEST(version_takes_as_many_descriptors_as_the_client)
{
    char ask[80], answer[80];

    snprintf(ask, sizeof(ask), "{\"capabilities\":{\"max_msg_fds\":%u}}", fds_taken[_i][0]);
    snprintf(answer, sizeof(answer), "{\"capabilities\":{\"max_msg_fds\":%u}}", fds_taken[_i][1]);
    ck_assert_int_eq(version_call(0, 1, ask), 0);
    ck_assert_str_eq((const char *)vuf.data + 4, answer);
}
END_TEST

START_TEST(device_info)
{
    struct vu_device_info info = {.argsz = sizeof(info)};

    ck_assert_int_eq(vuf_call(VU_DEVICE_GET_INFO, &info, sizeof(info), NULL, 0), 0);
    memcpy(&info, vuf.data, sizeof(info));
    ck_assert_uint_eq(info.flags, VU_DEVICE_PCI | VU_DEVICE_RESETTABLE);
    ck_assert_uint_ge(info.num_regions, 8);
    ck_assert_uint_ge(info.num_irqs, 3);
}
END_TEST

START_TEST(region_info_of_every_region)
{
    static const uint64_t bytes[VU_REGIONS] = {[0] = VGPU_BAR_REGS_SIZE,
                                               [2] = VGPU_BAR_DOORBELL_SIZE,
                                               [4] = VGPU_BAR_MSIX_SIZE,
                                               [7] = 4096};

    for (uint32_t i = 0; i < VU_REGIONS; i++) {
        struct vu_region_info info = {.argsz = sizeof(info), .index = i};

        ck_assert_int_eq(vuf_call(VU_DEVICE_GET_REGION_INFO, &info, sizeof(info), NULL, 0), 0);
        memcpy(&info, vuf.data, sizeof(info));
        ck_assert_uint_eq(info.bytes, bytes[i]);
        ck_assert_uint_eq(info.flags, bytes[i] ? VU_REGION_READABLE | VU_REGION_WRITABLE : 0);
        ck_assert_uint_eq(vuf.fd_count, 0);
    }
}
END_TEST

START_TEST(doorbells_come_as_eventfds)
{
    struct vu_region_io_fds ask = {.argsz = sizeof(ask) + VUF_CONTEXTS * sizeof(struct vu_io_fd),
                                   .index = 2};
    uint64_t n = 1;

    ck_assert_int_eq(vuf_call(VU_DEVICE_GET_REGION_IO_FDS, &ask, sizeof(ask), NULL, 0), 0);
    ck_assert_uint_eq(vuf.fd_count, VUF_CONTEXTS);
    ck_assert_uint_eq(vuf.data_bytes, ask.argsz);
    for (uint32_t i = 0; i < VUF_CONTEXTS; i++) {
        struct vu_io_fd io;

        memcpy(&io, vuf.data + sizeof(ask) + i * sizeof(io), sizeof(io));
        ck_assert_uint_eq(io.offset, i * 0x1000);
        ck_assert_uint_eq(io.bytes, 4);
        ck_assert_uint_eq(io.type, VU_IO_FD_IOEVENTFD);
        ck_assert_int_eq(write(vuf.fds[io.fd_index], &n, sizeof(n)), sizeof(n));
        n = 0;
        ck_assert_int_eq(read(vuf.doorbells[i], &n, sizeof(n)), sizeof(n));
        ck_assert_uint_eq(n, 1);
    }
}
END_TEST

START_TEST(doorbells_of_a_small_argsz_only_tell_the_size)
{
    struct vu_region_io_fds ask = {.argsz = sizeof(ask), .index = 2};

    ck_assert_int_eq(vuf_call(VU_DEVICE_GET_REGION_IO_FDS, &ask, sizeof(ask), NULL, 0), 0);
    memcpy(&ask, vuf.data, sizeof(ask));
    ck_assert_uint_eq(vuf.data_bytes, sizeof(ask));
    ck_assert_uint_eq(vuf.fd_count, 0);
    ck_assert_uint_eq(ask.argsz, sizeof(ask) + VUF_CONTEXTS * sizeof(struct vu_io_fd));
    ck_assert_uint_eq(ask.count, VUF_CONTEXTS);
}
END_TEST

START_TEST(doorbells_are_no_more_than_the_client_takes)
{
    struct vu_region_io_fds ask = {.argsz = 4096, .index = 2};

    vuf_setup();
    ck_assert_int_eq(version_call(0, 1, "{\"capabilities\":{\"max_msg_fds\":3}}"), 0);
    ck_assert_int_eq(vuf_call(VU_DEVICE_GET_REGION_IO_FDS, &ask, sizeof(ask), NULL, 0), 0);
    ck_assert_uint_eq(vuf.fd_count, 3);
    vuf_teardown();
}
END_TEST

static uint32_t reg_read(uint32_t region, uint64_t offset)
{
    struct vu_region_access a = {.offset = offset, .region = region, .count = 4};
    uint32_t v;

    ck_assert_int_eq(vuf_call(VU_REGION_READ, &a, sizeof(a), NULL, 0), 0);
    ck_assert_uint_eq(vuf.data_bytes, sizeof(a) + 4);
    memcpy(&v, vuf.data + sizeof(a), sizeof(v));
    return v;
}

static void reg_write(uint32_t region, uint64_t offset, uint32_t value, uint32_t flags)
{
    struct {
        struct vu_region_access a;
        uint32_t value;
    } msg = {{offset, region, 4}, value};
    size_t bytes = sizeof(msg.a) + 4;

    ck_assert_int_eq(vuf_send(VU_REGION_WRITE, flags, &msg, bytes, NULL, 0), 0);
    ck_assert(vuf_recv() == !(flags & VU_FLAG_NO_REPLY));
}

START_TEST(registers_are_read_and_written)
{
    ck_assert_uint_eq(reg_read(0, VGPU_REG_MAGIC), VGPU_MAGIC);
    reg_write(0, VGPU_REG_TEST_ECHO, 0x1234, 0);
    ck_assert_uint_eq(reg_read(0, VGPU_REG_TEST_ECHO), ~0x1234u);
    reg_write(0, VGPU_REG_TEST_ECHO, 0x5678, VU_FLAG_NO_REPLY);
    ck_assert_uint_eq(reg_read(0, VGPU_REG_TEST_ECHO), ~0x5678u);
}
END_TEST

START_TEST(config_space_is_read_in_one_piece)
{
    struct vu_region_access a = {.region = 7, .count = 4096};
    uint16_t ids[2];

    ck_assert_int_eq(vuf_call(VU_REGION_READ, &a, sizeof(a), NULL, 0), 0);
    ck_assert_uint_eq(vuf.data_bytes, sizeof(a) + 4096);
    memcpy(ids, vuf.data + sizeof(a), sizeof(ids));
    ck_assert_uint_eq(ids[0], VGPU_PCI_VENDOR_ID);
    ck_assert_uint_eq(ids[1], VGPU_PCI_DEVICE_ID);
}
END_TEST

/* ---- DMA ---- */

static int map_call(uint64_t addr, uint64_t bytes, uint32_t flags, int fd)
{
    struct vu_dma_map map = {.argsz = sizeof(map), .flags = flags, .addr = addr, .bytes = bytes};

    return vuf_call(VU_DMA_MAP, &map, sizeof(map), &fd, fd >= 0);
}

/* Make context 5 through the admin queue, so that its doorbell means something. */
static void create_context(int ram)
{
    static uint8_t memory[IDLE_DEV_QUEUE_BYTES];

    idle_dev_lay_context(memory, 0x10000, 5);
    ck_assert_int_eq(map_call(0x10000, 1 << 16, 3, ram), 0);
    ck_assert_int_eq(pwrite(ram, memory, sizeof(memory), 0), sizeof(memory));
    reg_write(0, VGPU_REG_ADMIN_BASE_LO, 0x10000, 0);
    reg_write(0, VGPU_REG_ADMIN_LOG2, IDLE_DEV_QUEUE_LOG2 << 8 | IDLE_DEV_QUEUE_LOG2, 0);
    reg_write(0, VGPU_REG_CONTROL, VGPU_CONTROL_ENABLE, 0);
    ck_assert_uint_eq(reg_read(0, VGPU_REG_STATE), VGPU_STATE_READY);
    reg_write(0, VGPU_REG_ADMIN_DOORBELL, 1, 0);
    vgpu_dev_work(vuf.dev, 10);
    vgpu_dev_ctx_created(vuf.dev, 5, VGPU_ST_OK);
}

START_TEST(a_doorbell_written_as_a_message_rings)
{
    int ram = vuf_ram(1 << 16);

    create_context(ram);
    reg_write(2, 5 * 0x1000, 1, VU_FLAG_NO_REPLY);
    ck_assert_uint_eq(vuf.last_doorbell, 5);
    vuf.last_doorbell = UINT32_MAX;
    reg_write(2, 5 * 0x1000 + 8, 1, 0);
    reg_write(2, 4 * 0x1000, 1, 0);   /* no such context now */
    reg_write(2, 200 * 0x1000, 1, 0); /* nor ever */
    ck_assert_uint_eq(vuf.last_doorbell, UINT32_MAX);
    close(ram);
}
END_TEST

START_TEST(mapped_memory_serves_the_test_dma)
{
    int ram = vuf_ram(1 << 16);
    uint32_t word = 0x0f0f0f0f, seen = 0;

    ck_assert_int_eq(map_call(0x10000, 1 << 16, 3, ram), 0);
    ck_assert_int_eq(pwrite(ram, &word, 4, 0x100), 4);
    reg_write(0, VGPU_REG_TEST_DMA_LO, 0x10100, 0);
    reg_write(0, VGPU_REG_TEST_DMA_LEN, 4, 0);
    reg_write(0, VGPU_REG_TEST_DMA_GO, 1, 0);
    ck_assert_uint_eq(reg_read(0, VGPU_REG_TEST_DMA_STATUS), VGPU_ST_OK);
    ck_assert_int_eq(pread(ram, &seen, 4, 0x104), 4);
    ck_assert_uint_eq(seen, ~word);
    close(ram);
}
END_TEST

START_TEST(what_stock_qemu_maps_is_accepted)
{
    struct vu_dma_unmap un = {.argsz = sizeof(un)};
    int ram = vuf_ram(1 << 20);

    ck_assert_int_eq(map_call(0xfffc0000, 0x40000, 1, -1), 0); /* a ROM, without memory */
    ck_assert_int_eq(map_call(0, 0xa0000, 3, ram), 0);
    un.addr = 0x8000000000000000ull; /* never mapped, up to the end of the address space */
    un.bytes = 0x8000000000000000ull;
    ck_assert_int_eq(vuf_call(VU_DMA_UNMAP, &un, sizeof(un), NULL, 0), 0);
    ck_assert_uint_eq(vuf.data_bytes, sizeof(un));
    ck_assert_mem_eq(vuf.data, &un, sizeof(un));
    ck_assert_uint_eq(vuf.unmaps, 0);
    un.addr = 0;
    un.bytes = 0xa0000;
    ck_assert_int_eq(vuf_call(VU_DMA_UNMAP, &un, sizeof(un), NULL, 0), 0);
    ck_assert_uint_eq(vuf.unmaps, 1);
    close(ram);
}
END_TEST

START_TEST(unmap_all_takes_everything)
{
    struct vu_dma_unmap un = {.argsz = sizeof(un), .flags = VU_DMA_UNMAP_ALL};
    struct vgpu_dma_stats stats;
    int ram = vuf_ram(1 << 16);

    ck_assert_int_eq(map_call(0, 4096, 3, ram), 0);
    ck_assert_int_eq(map_call(1 << 20, 4096, 3, ram), 0);
    ck_assert_int_eq(vuf_call(VU_DMA_UNMAP, &un, sizeof(un), NULL, 0), 0);
    vgpu_dma_get_stats(vuf.dma, &stats);
    ck_assert_uint_eq(stats.ranges, 0);
    close(ram);
}
END_TEST

START_TEST(an_unmap_in_use_is_answered_later)
{
    struct vu_dma_unmap un = {.argsz = sizeof(un), .addr = 0x1000, .bytes = 0x1000};
    int ram = vuf_ram(1 << 16);

    ck_assert_int_eq(map_call(0x1000, 0x1000, 3, ram), 0);
    vuf.unmap_busy = true;
    ck_assert_int_eq(vuf_send(VU_DMA_UNMAP, 0, &un, sizeof(un), NULL, 0), 0);
    ck_assert(!vuf_recv());
    ck_assert_uint_eq(reg_read(0, VGPU_REG_MAGIC), VGPU_MAGIC); /* served meanwhile */
    ck_assert_int_eq(map_call(0x1000, 0x1000, 3, ram), 0);      /* the range is free at once */
    vgpu_vfio_user_unmap_done(vuf.vu, vuf.unmap_cookie);
    ck_assert(vuf_recv());
    ck_assert_uint_eq(vuf.reply.command, VU_DMA_UNMAP);
    ck_assert_mem_eq(vuf.data, &un, sizeof(un));
    close(ram);
}
END_TEST

START_TEST(a_reset_is_answered_when_it_is_done)
{
    ck_assert_int_eq(vuf_send(VU_DEVICE_RESET, 0, NULL, 0, NULL, 0), 0);
    ck_assert_uint_eq(vuf.resets, 1);
    ck_assert(!vuf_recv());
    vgpu_dev_reset_done(vuf.dev);
    vgpu_vfio_user_reset_done(vuf.vu);
    ck_assert(vuf_recv());
    ck_assert_uint_eq(vuf.reply.command, VU_DEVICE_RESET);
    ck_assert_uint_eq(reg_read(0, VGPU_REG_STATE), VGPU_STATE_DISABLED);
}
END_TEST

/* ---- Interrupts ---- */

static int irqs_call(uint32_t flags, uint32_t start, uint32_t count, const int *fds, size_t n)
{
    struct vu_irq_set set = {sizeof(set), flags, VU_IRQ_MSIX, start, count};

    return vuf_call(VU_DEVICE_SET_IRQS, &set, sizeof(set), fds, n);
}

#define EVENTFDS (VU_IRQ_DATA_EVENTFD | VU_IRQ_ACTION_TRIGGER)

START_TEST(irq_info)
{
    for (uint32_t i = 0; i < VU_IRQS; i++) {
        struct vu_irq_info info = {.argsz = sizeof(info), .index = i};

        ck_assert_int_eq(vuf_call(VU_DEVICE_GET_IRQ_INFO, &info, sizeof(info), NULL, 0), 0);
        memcpy(&info, vuf.data, sizeof(info));
        ck_assert_uint_eq(info.count, i == VU_IRQ_MSIX ? VGPU_MSIX_VECTORS : 0);
    }
}
END_TEST

START_TEST(eventfds_in_chunks_are_signalled_and_taken_away)
{
    int fds[VGPU_MSIX_VECTORS];
    uint64_t n = 0;

    for (int i = 0; i < VGPU_MSIX_VECTORS; i++)
        fds[i] = eventfd(0, EFD_NONBLOCK);
    for (uint32_t at = 0; at < VGPU_MSIX_VECTORS; at += 8)
        ck_assert_int_eq(irqs_call(EVENTFDS, at, 8, fds + at, 8), 0);
    ck_assert_uint_eq(vuf.irq_changes, UINT32_MAX);
    /* Vector 0 told of the state before it had a descriptor. */
    ck_assert_int_eq(read(fds[0], &n, sizeof(n)), sizeof(n));
    for (int i = 0; i < VGPU_MSIX_VECTORS; i++) {
        reg_write(0, VGPU_REG_TEST_IRQ, (uint32_t)i, 0);
        ck_assert_int_eq(read(fds[i], &n, sizeof(n)), sizeof(n));
        ck_assert_uint_eq(n, 1);
    }
    ck_assert_int_eq(irqs_call(EVENTFDS, 3, 1, NULL, 0), 0); /* no descriptors: take away */
    reg_write(0, VGPU_REG_TEST_IRQ, 3, 0);
    ck_assert_int_lt(read(fds[3], &n, sizeof(n)), 0);
    ck_assert_int_eq(irqs_call(VU_IRQ_DATA_NONE | VU_IRQ_ACTION_TRIGGER, 0, 0, NULL, 0), 0);
    reg_write(0, VGPU_REG_TEST_IRQ, 4, 0);
    ck_assert_int_lt(read(fds[4], &n, sizeof(n)), 0);
    for (int i = 0; i < VGPU_MSIX_VECTORS; i++)
        close(fds[i]);
}
END_TEST

START_TEST(the_client_triggers_and_masks)
{
    uint8_t bools[sizeof(struct vu_irq_set) + 2] = {0};
    struct vu_irq_set set = {sizeof(bools), VU_IRQ_DATA_BOOL | VU_IRQ_ACTION_TRIGGER, VU_IRQ_MSIX,
                             6, 2};
    int fds[2] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
    uint64_t n;

    ck_assert_int_eq(irqs_call(EVENTFDS, 6, 2, fds, 2), 0);
    memcpy(bools, &set, sizeof(set));
    bools[sizeof(set) + 1] = 1;
    ck_assert_int_eq(vuf_call(VU_DEVICE_SET_IRQS, bools, sizeof(bools), NULL, 0), 0);
    ck_assert_int_lt(read(fds[0], &n, sizeof(n)), 0);
    ck_assert_int_eq(read(fds[1], &n, sizeof(n)), sizeof(n));
    ck_assert_int_eq(irqs_call(VU_IRQ_DATA_NONE | VU_IRQ_ACTION_MASK, 6, 1, NULL, 0), 0);
    reg_write(0, VGPU_REG_TEST_IRQ, 6, 0);
    ck_assert_int_lt(read(fds[0], &n, sizeof(n)), 0);
    ck_assert_int_eq(irqs_call(VU_IRQ_DATA_NONE | VU_IRQ_ACTION_UNMASK, 6, 1, NULL, 0), 0);
    ck_assert_int_eq(read(fds[0], &n, sizeof(n)), sizeof(n));
    close(fds[0]);
    close(fds[1]);
}
END_TEST

/* ---- Framing ---- */

START_TEST(a_message_may_come_byte_by_byte)
{
    struct {
        struct vu_header h;
        struct vu_region_access a;
    } msg = {{.id = 77, .command = VU_REGION_READ, .bytes = sizeof(msg)}, {.count = 4}};
    const uint8_t *p = (const uint8_t *)&msg;

    for (size_t i = 0; i < sizeof(msg); i++) {
        ck_assert(!vuf_recv());
        vuf_send_raw(p + i, 1, NULL, 0);
        ck_assert_int_eq(vgpu_vfio_user_receive(vuf.vu), 0);
    }
    ck_assert(vuf_recv());
}
END_TEST

START_TEST(messages_may_come_many_at_once)
{
    static struct {
        struct vu_header h;
        struct vu_region_access a;
    } msgs[200];
    unsigned int replies = 0;

    for (int i = 0; i < 200; i++) {
        msgs[i].h =
            (struct vu_header){.id = 77, .command = VU_REGION_READ, .bytes = sizeof(msgs[i])};
        msgs[i].a = (struct vu_region_access){.count = 4};
    }
    vuf_send_raw(msgs, sizeof(msgs), NULL, 0);
    for (int i = 0; i < 200 && replies < 200; i++) {
        struct {
            struct vu_header h;
            uint8_t payload[20];
        } reply;

        ck_assert_int_eq(vgpu_vfio_user_receive(vuf.vu), 0);
        while (recv(vuf.client, &reply, sizeof(reply), MSG_DONTWAIT) == sizeof(reply))
            replies++;
    }
    ck_assert_uint_eq(replies, 200);
}
END_TEST

/* A client that asks and does not read: the server stops taking in, and nothing is lost. */
START_TEST(a_client_that_does_not_read_holds_up_itself_only)
{
    struct {
        struct vu_header h;
        struct vu_region_access a;
    } msg = {{.id = 77, .command = VU_REGION_READ, .bytes = sizeof(msg)},
             {.region = 7, .count = 4096}};
    static uint8_t buf[1 << 16];
    size_t asked = 0, got = 0, wants = 0;
    ssize_t n;

    while (asked < 4096 && !vgpu_vfio_user_wants_send(vuf.vu)) {
        if (send(vuf.client, &msg, sizeof(msg), MSG_DONTWAIT) == sizeof(msg))
            asked++;
        ck_assert_int_eq(vgpu_vfio_user_receive(vuf.vu), 0);
    }
    ck_assert(vgpu_vfio_user_wants_send(vuf.vu));
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(vgpu_vfio_user_receive(vuf.vu), 0);
        ck_assert_int_eq(vgpu_vfio_user_send(vuf.vu), 0);
    }
    wants = asked * (sizeof(struct vu_header) + sizeof(struct vu_region_access) + 4096);
    while (got < wants && (n = recv(vuf.client, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        got += (size_t)n;
        ck_assert_int_eq(vgpu_vfio_user_send(vuf.vu), 0);
        ck_assert_int_eq(vgpu_vfio_user_receive(vuf.vu), 0);
    }
    ck_assert_uint_eq(got, wants);
}
END_TEST

Suite *vfio_user_suite(void)
{
    Suite *s = suite_create("bus/vfio_user");
    TCase *fresh = tcase_create("fresh");
    TCase *tc = tcase_create("ready");

    tcase_add_checked_fixture(fresh, vuf_setup, vuf_teardown);
    tcase_add_loop_test(fresh, version_is_the_lower_minor, 0, 4);
    tcase_add_test(fresh, version_answers_capabilities_that_were_asked);
    tcase_add_loop_test(fresh, version_takes_as_many_descriptors_as_the_client, 0,
                        sizeof(fds_taken) / sizeof(fds_taken[0]));
    suite_add_tcase(s, fresh);
    tcase_add_checked_fixture(tc, vuf_setup_ready, vuf_teardown);
    tcase_add_test(tc, device_info);
    tcase_add_test(tc, region_info_of_every_region);
    tcase_add_test(tc, doorbells_come_as_eventfds);
    tcase_add_test(tc, doorbells_of_a_small_argsz_only_tell_the_size);
    tcase_add_test(tc, registers_are_read_and_written);
    tcase_add_test(tc, config_space_is_read_in_one_piece);
    tcase_add_test(tc, a_doorbell_written_as_a_message_rings);
    tcase_add_test(tc, mapped_memory_serves_the_test_dma);
    tcase_add_test(tc, what_stock_qemu_maps_is_accepted);
    tcase_add_test(tc, unmap_all_takes_everything);
    tcase_add_test(tc, an_unmap_in_use_is_answered_later);
    tcase_add_test(tc, a_reset_is_answered_when_it_is_done);
    tcase_add_test(tc, irq_info);
    tcase_add_test(tc, eventfds_in_chunks_are_signalled_and_taken_away);
    tcase_add_test(tc, the_client_triggers_and_masks);
    tcase_add_test(tc, a_message_may_come_byte_by_byte);
    tcase_add_test(tc, messages_may_come_many_at_once);
    tcase_add_test(tc, a_client_that_does_not_read_holds_up_itself_only);
    suite_add_tcase(s, tc);
    fresh = tcase_create("few descriptors");
    tcase_add_test(fresh, doorbells_are_no_more_than_the_client_takes);
    suite_add_tcase(s, fresh);
    return s;
}
