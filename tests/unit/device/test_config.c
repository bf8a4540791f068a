/* SPDX-License-Identifier: MIT */
/*
 * PCI config space: identity, capability chain, BAR sizing as an operating system does it,
 * read-only bits, function-level reset.
 */
#include "fake_host.h"
#include "suites.h"

#include <string.h>

static struct fake *f;

static void setup(void)
{
    f = fake_disabled();
}

static void teardown(void)
{
    fake_free(f);
}

static uint32_t cfg_rd(uint32_t offset, size_t bytes)
{
    uint32_t value = 0;

    vgpu_dev_config_read(f->dev, offset, &value, bytes);
    return value;
}

static void cfg_wr(uint32_t offset, uint32_t value, size_t bytes)
{
    vgpu_dev_config_write(f->dev, offset, &value, bytes);
}

/* Offset of the capability with this id; walks as a driver does. */
static uint32_t cfg_cap(uint8_t id)
{
    uint32_t at = cfg_rd(0x34, 1);

    for (int hops = 0; at && hops < 10; hops++, at = cfg_rd(at + 1, 1)) {
        ck_assert_uint_ge(at, 0x40);
        ck_assert_uint_eq(at % 4, 0);
        if (cfg_rd(at, 1) == id)
            return at;
    }
    return 0;
}

/* VGPU-PCI-001 */
START_TEST(identity_is_that_of_the_abi)
{
    ck_assert_uint_eq(cfg_rd(0x00, 2), VGPU_PCI_VENDOR_ID);
    ck_assert_uint_eq(cfg_rd(0x02, 2), VGPU_PCI_DEVICE_ID);
    ck_assert_uint_eq(cfg_rd(0x06, 2), 0x10);
    ck_assert_uint_eq(cfg_rd(0x08, 4), VGPU_PCI_CLASS << 8 | VGPU_PCI_REVISION);
    ck_assert_uint_eq(cfg_rd(0x0e, 1), 0);
    ck_assert_uint_eq(cfg_rd(0x2c, 2), VGPU_PCI_SUBSYS_VENDOR);
    ck_assert_uint_eq(cfg_rd(0x2e, 2), VGPU_PCI_SUBSYS_ID);
    ck_assert_uint_eq(cfg_rd(0x3d, 1), 0);  /* no INTx */
    ck_assert_uint_eq(cfg_rd(0x100, 4), 0); /* no extended capabilities */
}
END_TEST

/* VGPU-PCI-002 */
START_TEST(bars_answer_sizing)
{
    static const struct {
        uint32_t offset;
        uint64_t size;
    } bars[] = {
        {0x10, VGPU_BAR_REGS_SIZE}, {0x18, VGPU_BAR_DOORBELL_SIZE}, {0x20, VGPU_BAR_MSIX_SIZE}};

    for (size_t i = 0; i < 3; i++) {
        uint32_t low = cfg_rd(bars[i].offset, 4);
        uint64_t mask;

        ck_assert_uint_eq(low, 0x4);
        cfg_wr(bars[i].offset, 0xffffffff, 4);
        cfg_wr(bars[i].offset + 4, 0xffffffff, 4);
        mask = (uint64_t)cfg_rd(bars[i].offset + 4, 4) << 32 | cfg_rd(bars[i].offset, 4);
        ck_assert_uint_eq(mask & 0xf, 0x4);
        ck_assert_uint_eq(~(mask & ~UINT64_C(0xf)) + 1, bars[i].size);
        cfg_wr(bars[i].offset, 0xfebf0000, 4);
        cfg_wr(bars[i].offset + 4, 0x12, 4);
        ck_assert_uint_eq(cfg_rd(bars[i].offset, 4), (0xfebf0000 & (uint32_t)mask) | 4);
        ck_assert_uint_eq(cfg_rd(bars[i].offset + 4, 4), 0x12);
    }
}
END_TEST

/* VGPU-PCI-003 */
START_TEST(msix_capability_points_at_bar_4)
{
    uint32_t cap = cfg_cap(0x11);

    ck_assert_uint_ne(cap, 0);
    ck_assert_uint_eq(cfg_rd(cap + 2, 2), VGPU_MSIX_VECTORS - 1);
    ck_assert_uint_eq(cfg_rd(cap + 4, 4), VGPU_MSIX_TABLE_OFFSET | VGPU_BAR_MSIX);
    ck_assert_uint_eq(cfg_rd(cap + 8, 4), VGPU_MSIX_PBA_OFFSET | VGPU_BAR_MSIX);
    cfg_wr(cap + 2, 0xffff, 2);
    ck_assert_uint_eq(cfg_rd(cap + 2, 2), 0xc000 | (VGPU_MSIX_VECTORS - 1));
}
END_TEST

START_TEST(every_other_bit_is_read_only)
{
    uint8_t before[VGPU_CONFIG_BYTES], ones[VGPU_CONFIG_BYTES], after[VGPU_CONFIG_BYTES];
    unsigned int writable = 0;

    memset(ones, 0xff, sizeof(ones));
    ones[0x59] = 0x7f; /* all but the function-level reset */
    vgpu_dev_config_read(f->dev, 0, before, sizeof(before));
    vgpu_dev_config_write(f->dev, 0, ones, sizeof(ones));
    vgpu_dev_config_read(f->dev, 0, after, sizeof(after));
    for (size_t i = 0; i < sizeof(before); i++)
        writable += (unsigned int)__builtin_popcount(before[i] ^ after[i]);
    /* command 5, cache line 8, BARs 3 * 32 + 18 + 12 + 18, line 8, MSI-X 2, device control 9 - 3
     * set, link control 3 */
    ck_assert_uint_eq(cfg_rd(0x04, 2), 0x0546);
    ck_assert_uint_eq(writable, 5 + 8 + 96 + 48 + 8 + 2 + 6 + 3);
    ck_assert_uint_eq(cfg_rd(0x00, 4), VGPU_PCI_DEVICE_ID << 16 | VGPU_PCI_VENDOR_ID);
}
END_TEST

START_TEST(writes_of_any_width_merge)
{
    cfg_wr(0x05, 0x04, 1);
    ck_assert_uint_eq(cfg_rd(0x04, 2), 0x0400);
    cfg_wr(0x04, 0x06, 1);
    ck_assert_uint_eq(cfg_rd(0x04, 2), 0x0406);
    cfg_wr(0x13, 0xfe, 1);
    ck_assert_uint_eq(cfg_rd(0x10, 4), 0xfe000004);
}
END_TEST

START_TEST(range_outside_is_all_ones_and_ignored)
{
    uint8_t data[8];

    memset(data, 0, sizeof(data));
    vgpu_dev_config_read(f->dev, VGPU_CONFIG_BYTES - 4, data, 8);
    for (int i = 0; i < 8; i++)
        ck_assert_uint_eq(data[i], 0xff);
    vgpu_dev_config_write(f->dev, VGPU_CONFIG_BYTES - 4, data, 8);
    vgpu_dev_config_write(f->dev, 0xffffffff, data, 8);
    ck_assert_uint_eq(cfg_rd(VGPU_CONFIG_BYTES - 4, 4), 0);
}
END_TEST

/* VGPU-PCI-004 VGPU-PCI-030 */
START_TEST(function_level_reset_is_offered_and_resets_all)
{
    uint32_t cap = cfg_cap(0x10);

    ck_assert_uint_ne(cap, 0);
    ck_assert_uint_eq(cfg_rd(cap + 2, 2), 2);
    ck_assert(cfg_rd(cap + 4, 4) & 1u << 28);
    cfg_wr(0x10, 0xfe000000, 4);
    cfg_wr(0x04, 0x6, 2);
    cfg_wr(0x43, 0x80, 1);
    fake_wr(f, VGPU_REG_ADMIN_LOG2, 0x606);
    cfg_wr(cap + 8, cfg_rd(cap + 8, 2) | 0x8000, 2);
    ck_assert_int_eq(fake_last(f)->type, OP_RESET);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_STATE), VGPU_STATE_RESETTING);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ADMIN_LOG2), 0);
    ck_assert_uint_eq(cfg_rd(cap + 8, 2), 0x2810); /* reads back without the bit */
    ck_assert_uint_eq(cfg_rd(0x04, 2), 0);
    ck_assert_uint_eq(cfg_rd(0x10, 4), 4);
    ck_assert_uint_eq(cfg_rd(0x42, 2), VGPU_MSIX_VECTORS - 1);
}
END_TEST

START_TEST(control_reset_leaves_config_space_alone)
{
    cfg_wr(0x10, 0xfe000000, 4);
    cfg_wr(0x04, 0x6, 2);
    fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
    ck_assert_uint_eq(cfg_rd(0x10, 4), 0xfe000004);
    ck_assert_uint_eq(cfg_rd(0x04, 2), 6);
}
END_TEST

Suite *config_suite(void)
{
    Suite *s = suite_create("device_config");
    TCase *tc = tcase_create("config");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, identity_is_that_of_the_abi);
    tcase_add_test(tc, bars_answer_sizing);
    tcase_add_test(tc, msix_capability_points_at_bar_4);
    tcase_add_test(tc, every_other_bit_is_read_only);
    tcase_add_test(tc, writes_of_any_width_merge);
    tcase_add_test(tc, range_outside_is_all_ones_and_ignored);
    tcase_add_test(tc, function_level_reset_is_offered_and_resets_all);
    tcase_add_test(tc, control_reset_leaves_config_space_alone);
    suite_add_tcase(s, tc);
    return s;
}
