/* SPDX-License-Identifier: MIT */
/*
 * What a domain's vCPUs may do through the Xen bus: config space, BARs of all sizes and places, string
 * instructions, interrupts, DMA; and requests that no processor makes.
 */
#include "bus_tests.h"
#include "idle_dev.h"
#include "noise.h"
#include "xen_fixture.h"

#include <bus/xen_lib.h>

#include <errno.h>
#include <string.h>

#define REGS      XF_BAR(VGPU_BAR_REGS)
#define DOORBELLS XF_BAR(VGPU_BAR_DOORBELL)
#define ECHO      (REGS + VGPU_REG_TEST_ECHO)
#define NOWHERE   0xf8000000ull
#define REQUESTS  20000

static struct fakexen_view view(void)
{
    struct fakexen_view v;

    fakexen_view(&v);
    return v;
}

static void setup_placed(void)
{
    xf_setup_attached();
    xf_place_bars();
}

/* ---- Config space ---- */

START_TEST(config_space_is_the_devices)
{
    ck_assert_uint_eq(xf_config_read(0, 4), VGPU_PCI_VENDOR_ID | VGPU_PCI_DEVICE_ID << 16);
    ck_assert_uint_eq(xf_config_read(2, 2), VGPU_PCI_DEVICE_ID);
    ck_assert_uint_eq(xf_config_read(1, 1), VGPU_PCI_VENDOR_ID >> 8);
    ck_assert_uint_eq(xf_config_read(4092, 4), 0);
    ck_assert_uint_eq(xf_config_read(4093, 4), 0xffffffff);
    ck_assert_uint_eq(xf_config_read(0, 3), 0xffffffff);
    ck_assert_uint_eq(xf_config_read(0, 0), 0xffffffff);
    ck_assert_uint_eq(xf_config_read(0, 8), 0xffffffff);
    xf_config_write(0x3c, 1, 11);
    ck_assert_uint_eq(xf_config_read(0x3c, 4), 11);
    xf_config_write(0x3c, 8, 12);
    ck_assert_uint_eq(xf_config_read(0x3c, 4), 11);
}
END_TEST

START_TEST(ranges_follow_the_bars)
{
    ck_assert_uint_eq(view().ranges, 3);
    ck_assert(fakexen_is_ours(REGS) && fakexen_is_ours(REGS + VGPU_BAR_REGS_SIZE - 1));
    ck_assert(!fakexen_is_ours(REGS + VGPU_BAR_REGS_SIZE));
    /* sizing, as firmware does it: memory off first */
    xf_config_write(0x04, 2, 0);
    ck_assert_uint_eq(view().ranges, 0);
    xf_config_write(0x10, 4, 0xffffffff);
    ck_assert_uint_eq(xf_config_read(0x10, 4), ~(VGPU_BAR_REGS_SIZE - 1u) | 4);
    /* above 4 GiB */
    xf_config_write(0x10, 4, 0);
    xf_config_write(0x14, 4, 0x20);
    xf_config_write(0x04, 2, 6);
    ck_assert_uint_eq(view().ranges, 3);
    ck_assert(!fakexen_is_ours(REGS) && fakexen_is_ours(0x2000000000ull));
    ck_assert_uint_eq(xf_read(0x2000000000ull + VGPU_REG_MAGIC, 4), VGPU_MAGIC);
    ck_assert_uint_eq(xf_read(REGS + VGPU_REG_MAGIC, 4), ~0ull);
}
END_TEST

START_TEST(a_bar_takes_the_place_of_another)
{
    /* two swap: one write can only place both at the same address, which Xen refuses once */
    unsigned int logs = xf.logs;

    xf_config_write(0x10, 4, (uint32_t)XF_BAR(VGPU_BAR_MSIX));
    ck_assert_uint_eq(xf.logs, logs + 1);
    unit_check(strstr(xf.log, "BAR 0 can't be at 0xf4000000: File exists"), "log: %s", xf.log);
    for (int i = 0; i < 100; i++)
        xf_config_write(0x3c, 1, 1);
    ck_assert_uint_eq(xf.logs, logs + 1);
    xf_config_write(0x20, 4, (uint32_t)REGS);
    ck_assert_uint_eq(view().ranges, 3);
    ck_assert_uint_eq(xf_read(XF_BAR(VGPU_BAR_MSIX) + VGPU_REG_MAGIC, 4), VGPU_MAGIC);
    /* and where nothing can be */
    xf_config_write(0x10, 4, 0xffffffff);
    xf_config_write(0x14, 4, 0xffffffff);
    ck_assert_uint_eq(view().ranges, 2);
}
END_TEST

START_TEST(a_reset_takes_the_bars_away)
{
    xf_config_write(0x58, 2, 0x8000); /* initiate function-level reset */
    ck_assert_uint_eq(xf.resets, 1);
    ck_assert_uint_eq(view().ranges, 0);
    ck_assert_uint_eq(xf_config_read(0x10, 4), 4);
}
END_TEST

/* ---- BARs ---- */

START_TEST(registers_are_read_and_written)
{
    xf_write(ECHO, 4, 0x12345678);
    ck_assert_uint_eq(xf_read(ECHO, 4), 0xedcba987);
    xf_write(ECHO, 4, 0xffffffff00000000ull); /* what is above the size is no one's */
    ck_assert_uint_eq(xf_read(ECHO, 4), 0xffffffff);
    ck_assert_uint_eq(xf_read(REGS + VGPU_BAR_REGS_SIZE - 2, 4), ~0ull);
    ck_assert_uint_eq(xf_read(REGS - 2, 4), ~0ull);
    ck_assert_uint_eq(xf_read(NOWHERE, 4), ~0ull);
    ck_assert_uint_eq(xf_read(~0ull - 1, 8), ~0ull);
    xf_write(NOWHERE, 4, 1);
    for (uint32_t size = 0; size < 40; size++) {
        if (size != 1 && size != 2 && size != 4 && size != 8)
            unit_check(xf_read(ECHO, size) == ~0ull, "%u bytes", size);
    }
    ck_assert_uint_eq(xf_read(ECHO, 4), 0xffffffff);
}
END_TEST

START_TEST(doorbells_arrive)
{
    const uint64_t queue = 16 * FAKEXEN_PAGE;

    idle_dev_lay_context(fakexen_memory() + queue, queue, 3);
    xf_write(REGS + VGPU_REG_ADMIN_BASE_LO, 4, queue);
    xf_write(REGS + VGPU_REG_ADMIN_LOG2, 4, IDLE_DEV_QUEUE_LOG2 << 8 | IDLE_DEV_QUEUE_LOG2);
    xf_write(REGS + VGPU_REG_CONTROL, 4, VGPU_CONTROL_ENABLE);
    xf_write(REGS + VGPU_REG_ADMIN_DOORBELL, 4, 1);
    vgpu_dev_work(xf.dev, 10);
    vgpu_dev_ctx_created(xf.dev, 3, VGPU_ST_OK);
    xf_write(DOORBELLS + 4 * VGPU_DOORBELL_STRIDE, 4, 0); /* no such context */
    ck_assert_uint_eq(xf.last_doorbell, UINT32_MAX);
    xf_write(DOORBELLS + 3 * VGPU_DOORBELL_STRIDE + VGPU_DOORBELL_OFFSET, 4, 0);
    ck_assert_uint_eq(xf.last_doorbell, 3);
}
END_TEST

static ioreq_t string_request(uint64_t at, uint64_t data, uint32_t count, int dir, int df)
{
    return (ioreq_t){.type = IOREQ_TYPE_COPY,
                     .addr = at,
                     .data = data,
                     .size = 4,
                     .count = count,
                     .dir = dir & 1,
                     .df = df & 1,
                     .data_is_ptr = 1};
}

START_TEST(string_instructions_are_taken_apart)
{
    uint32_t *memory = (uint32_t *)(void *)(fakexen_memory() + 8 * FAKEXEN_PAGE - 8);
    ioreq_t req = string_request(REGS + VGPU_REG_MAGIC, 8 * FAKEXEN_PAGE - 8, 4, IOREQ_READ, 0);

    /* over the end of a page */
    xf_access(0, &req);
    for (uint32_t i = 0; i < 4; i++)
        ck_assert_uint_eq(memory[i], (uint32_t)xf_read(REGS + VGPU_REG_MAGIC + 4 * i, 4));
    /* downwards, addresses are those of the last */
    memset(memory, 0, 16);
    req = string_request(REGS + VGPU_REG_MAGIC + 4, 8 * FAKEXEN_PAGE - 4, 2, IOREQ_READ, 1);
    xf_access(0, &req);
    ck_assert_uint_eq(memory[0], VGPU_MAGIC);
    ck_assert_uint_eq(memory[1], (uint32_t)xf_read(REGS + VGPU_REG_ABI_VERSION, 4));
    memory[0] = 5;
    req = string_request(ECHO, 8 * FAKEXEN_PAGE - 8, 1, IOREQ_WRITE, 0);
    xf_access(0, &req);
    ck_assert_uint_eq(xf_read(ECHO, 4), ~5u);
    /* registers to registers is what no one does, and memory that isn't there */
    unsigned int logs = xf.logs;
    req = string_request(ECHO, (uint64_t)FAKEXEN_PAGES * FAKEXEN_PAGE, 2, IOREQ_WRITE, 0);
    xf_access(0, &req);
    ck_assert_uint_eq(xf.logs, logs + 1);
    req = string_request(ECHO, (uint64_t)FAKEXEN_READONLY * FAKEXEN_PAGE, 1, IOREQ_READ, 0);
    xf_access(0, &req);
    ck_assert_uint_eq(xf.logs, logs + 2);
    req = string_request(ECHO, ~0ull - 1, 1, IOREQ_READ, 0);
    xf_access(0, &req);
    ck_assert_uint_eq(xf.logs, logs + 3);
}
END_TEST

/* A port stays where it is; the data go on. */
START_TEST(string_instructions_reach_config_space)
{
    uint32_t *memory = (uint32_t *)(void *)(fakexen_memory() + 2 * FAKEXEN_PAGE);
    uint32_t ids = VGPU_PCI_VENDOR_ID | VGPU_PCI_DEVICE_ID << 16, line;
    struct vgpu_xen_stats before, after;
    ioreq_t req = string_request((uint64_t)XF_SLOT << 35, 2 * FAKEXEN_PAGE, 3, IOREQ_READ, 0);

    req.type = IOREQ_TYPE_PCI_CONFIG;
    vgpu_xen_get_stats(xf.xen, &before);
    xf_access(0, &req); /* rep insl */
    vgpu_xen_get_stats(xf.xen, &after);
    ck_assert(memory[0] == ids && memory[1] == ids && memory[2] == ids && !memory[3]);
    ck_assert_uint_eq(after.strings, before.strings + 1);
    ck_assert_uint_eq(after.config, before.config + 1);
    /* rep outsb: the last one stays */
    memcpy(memory, "\x11\x22\x33", 3);
    req.addr = (uint64_t)XF_SLOT << 35 | 0x3c;
    req.dir = IOREQ_WRITE;
    req.size = 1;
    xf_access(0, &req);
    line = xf_config_read(0x3c, 1);
    ck_assert_uint_eq(line, 0x33);
    /* rep outsl: a BAR moves, downwards in memory */
    memory[0] = 0xe8000000;
    memory[1] = 0xe9000000;
    req = string_request((uint64_t)XF_SLOT << 35 | 0x10, 2 * FAKEXEN_PAGE + 4, 2, IOREQ_WRITE, 1);
    req.type = IOREQ_TYPE_PCI_CONFIG;
    xf_access(0, &req);
    ck_assert(fakexen_is_ours(0xe8000000) && !fakexen_is_ours(0xe9000000) &&
              !fakexen_is_ours(REGS));
}
END_TEST

START_TEST(a_request_is_of_bounded_length)
{
    struct vgpu_xen_stats before, after;
    ioreq_t req = string_request(ECHO, 0, 4096, IOREQ_WRITE, 0);

    req.data_is_ptr = 0;
    xf_access(0, &req);
    vgpu_xen_get_stats(xf.xen, &before);
    req.count = UINT32_MAX;
    xf_access(0, &req);
    req.data_is_ptr = 1;
    xf_access(0, &req);
    vgpu_xen_get_stats(xf.xen, &after);
    ck_assert_uint_eq(after.mmio, before.mmio + 2);
    ck_assert_uint_eq(after.strings, before.strings);
    unit_check(strstr(xf.log, "4294967295 times"), "log: %s", xf.log);
}
END_TEST

/* VGPU-BUS-010 */
START_TEST(a_request_of_no_known_type_reads_as_ones)
{
    const ioreq_t req = {.type = 99, .size = 4, .count = 1, .dir = IOREQ_READ};

    ck_assert_uint_eq(xf_access(0, &req), ~0ull);
    unit_check(strstr(xf.log, "unknown type 99"), "log: %s", xf.log);
}
END_TEST

/* ---- Guest memory ---- */

/* VGPU-BUS-011 */
START_TEST(memory_is_mapped_once_and_given_up_when_told)
{
    uint32_t *word = (uint32_t *)(void *)(fakexen_memory() + 3 * FAKEXEN_PAGE);
    const ioreq_t invalidate = {.type = IOREQ_TYPE_INVALIDATE, .size = 4, .count = 1};
    unsigned int pages = view().pages;
    uint32_t value = 0;
    uint8_t many[3 * FAKEXEN_PAGE];

    *word = 0x1234;
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(vgpu_xen_dma_load32(xf.xen, 3 * FAKEXEN_PAGE, &value), 0);
    ck_assert_uint_eq(value, 0x1234);
    ck_assert_uint_eq(view().maps, 1);
    ck_assert_uint_eq(view().pages, pages + 1);
    ck_assert_int_eq(vgpu_xen_dma_store32(xf.xen, 3 * FAKEXEN_PAGE, 7), 0);
    ck_assert_uint_eq(*word, 7);
    xf_access(0, &invalidate);
    ck_assert_uint_eq(view().pages, pages);
    /* more than the cache holds, over ends of pages */
    for (uint64_t at = 1; at + sizeof(many) < FAKEXEN_READONLY * FAKEXEN_PAGE; at += 5000) {
        memset(fakexen_memory() + at, (int)at, sizeof(many));
        ck_assert_int_eq(vgpu_xen_dma_read(xf.xen, at, many, sizeof(many)), 0);
        unit_check(many[0] == (uint8_t)at && many[sizeof(many) - 1] == (uint8_t)at, "at %lu", at);
    }
    ck_assert_uint_le(view().pages, pages + 64);
}
END_TEST

START_TEST(memory_that_is_not_there_is_a_fault)
{
    const uint64_t end = (uint64_t)FAKEXEN_PAGES * FAKEXEN_PAGE;
    uint32_t value = 0;
    uint8_t two[2] = {0};
    unsigned int pages = view().pages;

    ck_assert_int_eq(vgpu_xen_dma_read(xf.xen, end, &value, 4), -EFAULT);
    ck_assert_int_eq(vgpu_xen_dma_write(xf.xen, end - FAKEXEN_PAGE, &value, 4), -EFAULT);
    ck_assert_int_eq(vgpu_xen_dma_read(xf.xen, ~0ull, two, 2), -EFAULT);
    ck_assert_int_eq(vgpu_xen_dma_load32(xf.xen, 2, &value), -EFAULT);
    ck_assert_int_eq(vgpu_xen_dma_store32(xf.xen, end, 0), -EFAULT);
    ck_assert_uint_eq(view().pages, pages);
    fakexen_fail("xenforeignmemory_map", 1, ENOMEM);
    ck_assert_int_eq(vgpu_xen_dma_read(xf.xen, 0, &value, 4), -EFAULT);
    ck_assert_int_eq(vgpu_xen_dma_read(xf.xen, 0, &value, 4), 0);
}
END_TEST

START_TEST(without_leave_the_device_touches_nothing)
{
    uint32_t value = 0;

    xf_msix_enable(true);
    xf_msix_program(0, 0xfee00000, 0x41);
    xf_msix_unmask(0);
    xf_config_write(0x04, 2, 2); /* memory, but no bus master */
    ck_assert_int_eq(vgpu_xen_dma_read(xf.xen, 0, &value, 4), -EFAULT);
    ck_assert_int_eq(vgpu_xen_dma_write(xf.xen, 0, &value, 4), -EFAULT);
    ck_assert_int_eq(vgpu_xen_dma_load32(xf.xen, 0, &value), -EFAULT);
    ck_assert_int_eq(vgpu_xen_dma_store32(xf.xen, 0, 1), -EFAULT);
    vgpu_xen_irq(xf.xen, 0);
    ck_assert_uint_eq(view().message_count, 0);
    /* a processor's own string access is no DMA */
    const ioreq_t req = string_request(REGS + VGPU_REG_MAGIC, 0, 1, IOREQ_READ, 0);
    xf_access(0, &req);
    memcpy(&value, fakexen_memory(), sizeof(value));
    ck_assert_uint_eq(value, VGPU_MAGIC);
}
END_TEST

/* ---- Interrupts ---- */

/* VGPU-BUS-012 */
START_TEST(messages_go_out_as_the_table_says)
{
    xf_msix_enable(true);
    xf_msix_program(1, 0xfee01000, 0x52);
    vgpu_xen_irq(xf.xen, 1); /* masked, as a reset leaves it */
    ck_assert_uint_eq(view().message_count, 0);
    xf_msix_unmask(1);
    ck_assert_uint_eq(view().message_count, 1);
    ck_assert_uint_eq(view().messages[0].addr, 0xfee01000);
    ck_assert_uint_eq(view().messages[0].data, 0x52);
    fakexen_fail("xendevicemodel_inject_msi", 1, EINVAL);
    vgpu_xen_irq(xf.xen, 1);
    unit_check(strstr(xf.log, "vector 1: message 0x52 to 0xfee01000 was not delivered"), "log: %s",
               xf.log);
}
END_TEST

/* The guest masks it by the event channel; the table's bit stays set (vgpu_xen_irq()). */
START_TEST(messages_that_became_event_channels_pass_the_mask)
{
    xf_msix_enable(true);
    xf_msix_program(0, 0xfee17000, 0x4300); /* vector 0: a pirq */
    vgpu_xen_irq(xf.xen, 0);
    ck_assert_uint_eq(view().message_count, 1);
    ck_assert_uint_eq(view().messages[0].data, 0x4300);
    xf_msix_enable(false);
    vgpu_xen_irq(xf.xen, 0);
    ck_assert_uint_eq(view().message_count, 1);
}
END_TEST

/* ---- Anything ---- */

/* Mostly near what is there; the rest anywhere. */
static uint64_t some_address(void)
{
    static const uint64_t near[] = {
        REGS, DOORBELLS, XF_MSIX_ENTRY(0), 0, FAKEXEN_PAGES * FAKEXEN_PAGE, ~0ull};
    uint64_t at = near[noise() % 6];

    return at + (uint64_t)(noise() % 0x8000) - 0x2000;
}

/* VGPU-BUS-010 */
START_TEST(any_request_is_answered)
{
    noise_seed(1);
    for (int i = 0; i < REQUESTS; i++) {
        ioreq_t req = {
            .type = (uint8_t)(noise() % 8 ? IOREQ_TYPE_COPY : noise() % 12),
            .addr = some_address(),
            .data = noise() % 2 ? some_address() : (uint64_t)noise() << 16,
            .size = 1u << noise() % 5,
            .count = (uint32_t)(noise() % 16 ? noise() % 8 : noise()),
            .dir = noise() & 1,
            .df = noise() & 1,
            .data_is_ptr = noise() % 4 == 0,
        };

        if (noise() % 16 == 0) {
            req.type = IOREQ_TYPE_PCI_CONFIG;
            req.addr = (uint64_t)(noise() % 0x1010);
        }
        xf_access(noise() % XF_VCPUS, &req);
    }
    ck_assert_int_eq(vgpu_xen_check(xf.xen), 0);
    xf_config_write(0x04, 2, 0);
    ck_assert_uint_eq(view().ranges, 0);
}
END_TEST

Suite *xen_access_suite(void)
{
    Suite *s = suite_create("xen_access");
    TCase *placed = tcase_create("placed");

    tcase_add_checked_fixture(placed, setup_placed, xf_teardown);
    tcase_add_test(placed, config_space_is_the_devices);
    tcase_add_test(placed, ranges_follow_the_bars);
    tcase_add_test(placed, a_bar_takes_the_place_of_another);
    tcase_add_test(placed, a_reset_takes_the_bars_away);
    tcase_add_test(placed, registers_are_read_and_written);
    tcase_add_test(placed, doorbells_arrive);
    tcase_add_test(placed, string_instructions_are_taken_apart);
    tcase_add_test(placed, string_instructions_reach_config_space);
    tcase_add_test(placed, a_request_is_of_bounded_length);
    tcase_add_test(placed, a_request_of_no_known_type_reads_as_ones);
    tcase_add_test(placed, memory_is_mapped_once_and_given_up_when_told);
    tcase_add_test(placed, memory_that_is_not_there_is_a_fault);
    tcase_add_test(placed, without_leave_the_device_touches_nothing);
    tcase_add_test(placed, messages_go_out_as_the_table_says);
    tcase_add_test(placed, messages_that_became_event_channels_pass_the_mask);
    tcase_add_test(placed, any_request_is_answered);
    suite_add_tcase(s, placed);
    return s;
}
