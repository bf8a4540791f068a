/* SPDX-License-Identifier: MIT */
/*
 * MSI-X emulation: masks of both kinds, pending bits, table accesses, attachment to a device.
 */
#include "fake_host.h"
#include "suites.h"

#include <string.h>

static struct vgpu_msix *m;
static struct {
    unsigned int count;
    unsigned int vector;
    uint64_t addr;
    uint32_t data;
} sent;

static void deliver(void *opaque, unsigned int vector, uint64_t addr, uint32_t data)
{
    ck_assert_ptr_eq(opaque, &sent);
    sent.count++;
    sent.vector = vector;
    sent.addr = addr;
    sent.data = data;
}

static void wr(uint64_t offset, uint32_t value)
{
    vgpu_msix_bar_write(m, offset, &value, 4);
}

static uint32_t rd(uint64_t offset)
{
    uint32_t value;

    vgpu_msix_bar_read(m, offset, &value, 4);
    return value;
}

static void program(unsigned int vector, uint32_t mask)
{
    wr(vector * 16 + 0, 0xfee00000 + vector * 4096);
    wr(vector * 16 + 4, 1);
    wr(vector * 16 + 8, 0x4000 + vector);
    wr(vector * 16 + 12, mask);
}

static void setup(void)
{
    memset(&sent, 0, sizeof(sent));
    m = vgpu_msix_create(deliver, &sent);
    ck_assert_ptr_nonnull(m);
}

static void teardown(void)
{
    vgpu_msix_destroy(m);
}

START_TEST(reset_state_is_disabled_and_masked)
{
    for (unsigned int v = 0; v < VGPU_MSIX_VECTORS; v++) {
        ck_assert_uint_eq(rd(v * 16 + 12), 1);
        ck_assert(vgpu_msix_is_masked(m, v));
        vgpu_msix_notify(m, v);
        ck_assert(!vgpu_msix_is_pending(m, v));
    }
    ck_assert_uint_eq(sent.count, 0);
}
END_TEST

START_TEST(every_vector_sends_its_own_message)
{
    vgpu_msix_set_control(m, true, false);
    for (unsigned int v = 0; v < VGPU_MSIX_VECTORS; v++) {
        program(v, 0);
        vgpu_msix_notify(m, v);
        ck_assert_uint_eq(sent.count, v + 1);
        ck_assert_uint_eq(sent.vector, v);
        ck_assert_uint_eq(sent.addr, UINT64_C(0x1fee00000) + v * 4096);
        ck_assert_uint_eq(sent.data, 0x4000 + v);
    }
}
END_TEST

/* VGPU-PCI-022 */
START_TEST(masked_vector_stays_pending_and_is_sent_once)
{
    program(5, 1);
    program(6, 0);
    vgpu_msix_set_control(m, true, false);
    for (int i = 0; i < 3; i++)
        vgpu_msix_notify(m, 5);
    ck_assert_uint_eq(sent.count, 0);
    ck_assert(vgpu_msix_is_pending(m, 5));
    ck_assert_uint_eq(rd(VGPU_MSIX_PBA_OFFSET), 1u << 5);
    wr(6 * 16 + 8, 77); /* touching another entry sends nothing */
    ck_assert_uint_eq(sent.count, 0);
    wr(5 * 16 + 12, 0);
    ck_assert_uint_eq(sent.count, 1);
    ck_assert_uint_eq(sent.vector, 5);
    ck_assert_uint_eq(rd(VGPU_MSIX_PBA_OFFSET), 0);
}
END_TEST

START_TEST(function_mask_holds_everything_back)
{
    program(0, 0);
    program(31, 0);
    program(7, 1);
    vgpu_msix_set_control(m, true, true);
    vgpu_msix_notify(m, 0);
    vgpu_msix_notify(m, 7);
    vgpu_msix_notify(m, 31);
    ck_assert_uint_eq(sent.count, 0);
    ck_assert_uint_eq(rd(VGPU_MSIX_PBA_OFFSET), 1u | 1u << 7 | 1u << 31);
    vgpu_msix_set_control(m, true, false);
    ck_assert_uint_eq(sent.count, 2);
    ck_assert_uint_eq(rd(VGPU_MSIX_PBA_OFFSET), 1u << 7);
}
END_TEST

START_TEST(message_changed_while_masked_is_the_one_sent)
{
    program(2, 1);
    vgpu_msix_set_control(m, true, false);
    vgpu_msix_notify(m, 2);
    wr(2 * 16 + 8, 0x99);
    wr(2 * 16 + 12, 0);
    ck_assert_uint_eq(sent.data, 0x99);
}
END_TEST

START_TEST(disabling_forgets_what_is_pending)
{
    program(2, 1);
    vgpu_msix_set_control(m, true, false);
    vgpu_msix_notify(m, 2);
    vgpu_msix_set_control(m, false, false);
    vgpu_msix_set_control(m, true, false);
    wr(2 * 16 + 12, 0);
    ck_assert_uint_eq(sent.count, 0);
}
END_TEST

START_TEST(table_keeps_only_what_it_defines)
{
    uint64_t wide = 0xffffffffffffffff, back;

    vgpu_msix_bar_write(m, 0, &wide, 8);
    vgpu_msix_bar_write(m, 8, &wide, 8);
    vgpu_msix_bar_read(m, 0, &back, 8);
    ck_assert_uint_eq(back, 0xfffffffffffffffc);
    vgpu_msix_bar_read(m, 8, &back, 8);
    ck_assert_uint_eq(back, 0x1ffffffff);
    wr(VGPU_MSIX_PBA_OFFSET, 0xffffffff);
    ck_assert_uint_eq(rd(VGPU_MSIX_PBA_OFFSET), 0);
}
END_TEST

START_TEST(odd_accesses_read_zero_and_do_nothing)
{
    static const struct {
        uint64_t offset;
        size_t bytes;
    } odd[] = {{0, 1},
               {0, 2},
               {2, 4},
               {4, 8},
               {VGPU_MSIX_VECTORS * 16, 4},
               {0x1ffc, 4},
               {VGPU_MSIX_PBA_OFFSET + 8, 4},
               {0x3ffc, 4},
               {UINT64_MAX - 7, 8},
               {0, 16}};
    uint8_t data[16], zero[16] = {0}, before[512], after[512];

    program(0, 1);
    for (uint64_t i = 0; i < sizeof(before); i += 4)
        vgpu_msix_bar_read(m, i, before + i, 4);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        memset(data, 0xff, sizeof(data));
        vgpu_msix_bar_write(m, odd[i].offset, data, odd[i].bytes);
        vgpu_msix_bar_read(m, odd[i].offset, data, odd[i].bytes);
        ck_assert_mem_eq(data, zero, odd[i].bytes);
    }
    for (uint64_t i = 0; i < sizeof(after); i += 4)
        vgpu_msix_bar_read(m, i, after + i, 4);
    ck_assert_mem_eq(before, after, sizeof(before));
}
END_TEST

START_TEST(attached_table_follows_the_device)
{
    struct fake *f = fake_disabled();
    uint32_t value = 0xc000, doorbell;

    vgpu_dev_attach_msix(f->dev, m);
    vgpu_dev_config_write(f->dev, 0x42, &value, 2); /* enabled, function masked */
    value = 0;
    vgpu_dev_bar_write(f->dev, VGPU_BAR_MSIX, 4 * 16 + 12, &value, 4, &doorbell);
    vgpu_msix_notify(m, 4);
    ck_assert(vgpu_msix_is_pending(m, 4));
    vgpu_dev_bar_read(f->dev, VGPU_BAR_MSIX, VGPU_MSIX_PBA_OFFSET, &value, 4);
    ck_assert_uint_eq(value, 1u << 4);
    value = 0x8000;
    vgpu_dev_config_write(f->dev, 0x42, &value, 2);
    ck_assert_uint_eq(sent.count, 1);
    vgpu_dev_reset(f->dev);
    ck_assert(vgpu_msix_is_masked(m, 4));
    ck_assert_uint_eq(rd(4 * 16 + 12), 1);
    vgpu_dev_attach_msix(f->dev, NULL);
    vgpu_dev_bar_read(f->dev, VGPU_BAR_MSIX, 4 * 16 + 12, &value, 4);
    ck_assert_uint_eq(value, 0);
    fake_free(f);
}
END_TEST

Suite *msix_suite(void)
{
    Suite *s = suite_create("device_msix");
    TCase *tc = tcase_create("msix");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, reset_state_is_disabled_and_masked);
    tcase_add_test(tc, every_vector_sends_its_own_message);
    tcase_add_test(tc, masked_vector_stays_pending_and_is_sent_once);
    tcase_add_test(tc, function_mask_holds_everything_back);
    tcase_add_test(tc, message_changed_while_masked_is_the_one_sent);
    tcase_add_test(tc, disabling_forgets_what_is_pending);
    tcase_add_test(tc, table_keeps_only_what_it_defines);
    tcase_add_test(tc, odd_accesses_read_zero_and_do_nothing);
    tcase_add_test(tc, attached_table_follows_the_device);
    suite_add_tcase(s, tc);
    return s;
}
