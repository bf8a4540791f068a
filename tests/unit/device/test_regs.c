/* SPDX-License-Identifier: MIT */
/*
 * The register file: every register's access and reset value by walking the table, refusals,
 * sticky errors, test registers, heartbeat.
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

static void expect_error(uint32_t bit, uint16_t status, uint64_t addr)
{
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), bit);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_DETAIL), status);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_ADDR_LO), (uint32_t)addr);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_ADDR_HI), (uint32_t)(addr >> 32));
    fake_wr(f, VGPU_REG_ERR_STATUS, VGPU_ALL_ONES);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), 0);
}

static void expect_no_error(void)
{
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), 0);
}

/* VGPU-REG-002 VGPU-REG-040 */
START_TEST(constants_describe_the_device)
{
    char name[VGPU_DEVICE_NAME_BYTES];

    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MAGIC), VGPU_MAGIC);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ABI_VERSION), VGPU_ABI_VERSION);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_FEATURES_LO), 0);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_FEATURES_HI), 0);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_GENERATION), 7);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_HEARTBEAT_MS), 100);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ADMIN_MAX_MS), 2000);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MAX_CONTEXTS), 16);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_RING_LOG2), 12 << 8 | 6);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MAX_BUFFERS), 64);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MSIX_VECTORS), 32);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MAX_BUFFER_LO), 0);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MAX_BUFFER_HI), 1);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MAX_IMAGE_LO), 64 << 20);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MAX_IMAGE_HI), 0);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MAX_PARAM), 4096);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MAX_SG), 1000);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_MAX_ARENA), 0x400000);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_EXEC_KIND), VGPU_EXEC_NULL);
    for (uint32_t i = 0; i < sizeof(name); i += 4) {
        uint32_t word = fake_rd(f, VGPU_REG_DEVICE_NAME + i);

        memcpy(name + i, &word, 4);
    }
    ck_assert_mem_eq(name, f->cfg.props.name, sizeof(name));
    expect_no_error();
}
END_TEST

/* VGPU-REG-002: access and reset, for the register `_i` of the table. */
START_TEST(register_behaves_as_its_table_line_says)
{
    struct vgpu_reg_info r = vgpu_reg_describe((size_t)_i);
    const bool ro = !strcmp(r.access, "RO"), wo = !strcmp(r.access, "WO");

    ck_assert_uint_eq(r.offset % 4, 0);
    for (uint32_t w = 0; w < r.words; w++) {
        const uint32_t reg = r.offset + 4 * w, before = fake_rd(f, reg);

        if (!strcmp(r.reset, "value"))
            ck_assert_msg(before == (wo ? 0 : r.value), "%s resets to 0x%x", r.name, before);
        if (ro) {
            fake_wr(f, reg, ~before);
            ck_assert_msg(fake_rd(f, reg) == before, "%s was written", r.name);
            expect_no_error();
        } else if (!strcmp(r.access, "RW")) {
            fake_wr(f, reg, 0x5aa5c33c);
            ck_assert_msg(fake_rd(f, reg) ==
                              (reg == VGPU_REG_TEST_ECHO ? ~0x5aa5c33cu : 0x5aa5c33cu),
                          "%s does not keep a value", r.name);
            fake_wr(f, VGPU_REG_CONTROL, VGPU_CONTROL_RESET);
            ck_assert_msg(fake_rd(f, reg) == r.value, "%s survives a reset", r.name);
        } else if (wo) {
            ck_assert_msg(before == 0, "%s can be read", r.name);
        }
    }
}
END_TEST

/* VGPU-REG-004: a write in a state that does not accept it does nothing but say so. */
START_TEST(register_write_is_refused_in_other_states)
{
    struct vgpu_reg_info r = vgpu_reg_describe((size_t)_i);
    struct fake *const states[] = {fake_quiescing(), fake_disabled(), fake_ready()};

    for (size_t i = 0; i < 3; i++) {
        struct fake *g = states[i];
        const uint32_t state = fake_rd(g, VGPU_REG_STATE), before = fake_rd(g, r.offset);

        if (strcmp(r.access, "RO") && !(r.states & 1u << state)) {
            fake_wr(g, r.offset, 0x1234);
            ck_assert_uint_eq(fake_rd(g, VGPU_REG_ERR_STATUS), VGPU_ERR_ACCESS);
            ck_assert_uint_eq(fake_rd(g, VGPU_REG_ERR_DETAIL), VGPU_ST_BAD_STATE);
            ck_assert_uint_eq(fake_rd(g, VGPU_REG_ERR_ADDR_LO), r.offset);
            ck_assert_uint_eq(fake_rd(g, r.offset), before);
            ck_assert_uint_eq(fake_rd(g, VGPU_REG_STATE), state);
        }
        fake_free(g);
    }
}
END_TEST

START_TEST(table_has_the_registers_locked_that_must_be)
{
    static const uint32_t locked[] = {VGPU_REG_DRV_FEATURES_LO, VGPU_REG_DRV_FEATURES_HI,
                                      VGPU_REG_ADMIN_BASE_LO, VGPU_REG_ADMIN_BASE_HI,
                                      VGPU_REG_ADMIN_LOG2};

    fake_free(f);
    f = fake_ready();
    for (size_t i = 0; i < sizeof(locked) / sizeof(locked[0]); i++) {
        const uint32_t before = fake_rd(f, locked[i]);

        fake_wr(f, locked[i], ~before);
        ck_assert_uint_eq(fake_rd(f, locked[i]), before);
        expect_error(VGPU_ERR_ACCESS, VGPU_ST_BAD_STATE, locked[i]);
    }
}
END_TEST

/* VGPU-REG-003 */
START_TEST(bad_access_reads_zero_and_is_reported)
{
    static const struct {
        uint64_t offset;
        size_t bytes;
    } bad[] = {
        {VGPU_REG_MAGIC, 1},
        {VGPU_REG_MAGIC, 2},
        {VGPU_REG_MAGIC, 8},
        {0x001, 4},
        {0x002, 4},
        {0x003, 4},
        {0x06c, 4},
        {0x084, 4},
        {0x110, 4},
        {0x19c, 4},
        {VGPU_REG_END - 4, 4},
        {VGPU_REG_END, 4},
        {0x3ffc, 4},
        {UINT64_C(1) << 32, 4},
        {UINT64_MAX - 3, 4},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t data = UINT64_MAX, zero = 0;
        uint32_t doorbell = 0;

        vgpu_dev_bar_read(f->dev, VGPU_BAR_REGS, bad[i].offset, &data, bad[i].bytes);
        ck_assert_mem_eq(&data, &zero, bad[i].bytes);
        expect_error(VGPU_ERR_ACCESS, VGPU_ST_BAD_REGISTER, bad[i].offset);
        vgpu_dev_bar_write(f->dev, VGPU_BAR_REGS, bad[i].offset, &data, bad[i].bytes, &doorbell);
        ck_assert_uint_eq(doorbell, UINT32_MAX);
        expect_error(VGPU_ERR_ACCESS, VGPU_ST_BAD_REGISTER, bad[i].offset);
    }
}
END_TEST

START_TEST(oversized_access_is_refused_whole)
{
    uint8_t data[64], zero[64] = {0};
    uint32_t doorbell;

    memset(data, 0xaa, sizeof(data));
    vgpu_dev_bar_read(f->dev, VGPU_BAR_REGS, VGPU_REG_DEVICE_NAME, data, sizeof(data));
    ck_assert_mem_eq(data, zero, sizeof(data));
    vgpu_dev_bar_write(f->dev, VGPU_BAR_REGS, VGPU_REG_CONTROL, data, sizeof(data), &doorbell);
    expect_error(VGPU_ERR_ACCESS, VGPU_ST_BAD_REGISTER, VGPU_REG_DEVICE_NAME);
}
END_TEST

/* VGPU-REG-010 */
START_TEST(first_error_is_frozen_until_all_are_cleared)
{
    fake_wr(f, VGPU_REG_TEST_IRQ, 99);
    (void)fake_rd(f, 0x1fc);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), VGPU_ERR_TEST | VGPU_ERR_ACCESS);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_DETAIL), VGPU_ST_ADMIN_VALUE);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_ADDR_LO), 99);

    fake_wr(f, VGPU_REG_ERR_STATUS, VGPU_ERR_TEST);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_STATUS), VGPU_ERR_ACCESS);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_ADDR_LO), 99);

    fake_wr(f, VGPU_REG_ERR_STATUS, VGPU_ERR_ACCESS);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_DETAIL), 0);
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_ERR_ADDR_LO), 0);
    (void)fake_rd(f, 0x1f8);
    expect_error(VGPU_ERR_ACCESS, VGPU_ST_BAD_REGISTER, 0x1f8);
}
END_TEST

START_TEST(control_refuses_unknown_values)
{
    static const uint32_t bad[] = {0, 3, 4, 0x80000001u, VGPU_ALL_ONES};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fake_wr(f, VGPU_REG_CONTROL, bad[i]);
        expect_error(VGPU_ERR_ACCESS, VGPU_ST_ADMIN_VALUE, VGPU_REG_CONTROL);
        ck_assert_uint_eq(fake_rd(f, VGPU_REG_STATE), VGPU_STATE_DISABLED);
    }
}
END_TEST

/* VGPU-REG-020 */
START_TEST(test_irq_raises_each_vector_and_refuses_others)
{
    for (uint32_t v = 0; v < VGPU_MSIX_VECTORS; v++) {
        fake_wr(f, VGPU_REG_TEST_IRQ, v);
        ck_assert_uint_eq(f->irqs[v], 1);
    }
    expect_no_error();
    fake_wr(f, VGPU_REG_TEST_IRQ, VGPU_MSIX_VECTORS);
    expect_error(VGPU_ERR_TEST, VGPU_ST_ADMIN_VALUE, VGPU_MSIX_VECTORS);
}
END_TEST

static uint32_t test_dma(uint64_t addr, uint32_t len, uint32_t go)
{
    fake_wr(f, VGPU_REG_TEST_DMA_LO, (uint32_t)addr);
    fake_wr(f, VGPU_REG_TEST_DMA_HI, (uint32_t)(addr >> 32));
    fake_wr(f, VGPU_REG_TEST_DMA_LEN, len);
    fake_wr(f, VGPU_REG_TEST_DMA_GO, go);
    return fake_rd(f, VGPU_REG_TEST_DMA_STATUS);
}

/* VGPU-REG-021 */
START_TEST(test_dma_writes_the_complement_behind_the_source)
{
    static const uint32_t lens[] = {4, 8, 100, VGPU_TEST_DMA_MAX};

    ck_assert_uint_eq(fake_rd(f, VGPU_REG_TEST_DMA_STATUS), VGPU_ST_BUSY);
    for (size_t n = 0; n < sizeof(lens) / sizeof(lens[0]); n++) {
        uint8_t *p = fake_mem(f, OUT_ADDR + 2);
        const uint32_t len = lens[n];

        memset(p, 0xee, 2 * VGPU_TEST_DMA_MAX + 1);
        for (uint32_t i = 0; i < len; i++)
            p[i] = (uint8_t)(i * 7 + n);
        ck_assert_uint_eq(test_dma(OUT_ADDR + 2, len, 1), VGPU_ST_OK);
        for (uint32_t i = 0; i < len; i++) {
            ck_assert_uint_eq(p[i], (uint8_t)(i * 7 + n));
            ck_assert_uint_eq(p[len + i], (uint8_t)~p[i]);
        }
        ck_assert_uint_eq(p[2 * len], 0xee);
    }
    expect_no_error();
}
END_TEST

START_TEST(test_dma_refuses_bad_lengths_and_values)
{
    static const struct {
        uint32_t len, go;
    } bad[] = {{0, 1},           {2, 1}, {6, 1}, {VGPU_TEST_DMA_MAX + 4, 1},
               {0x80000000u, 1}, {4, 0}, {4, 2}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_uint_eq(test_dma(OUT_ADDR, bad[i].len, bad[i].go), VGPU_ST_ADMIN_VALUE);
        expect_error(VGPU_ERR_TEST, VGPU_ST_ADMIN_VALUE, bad[i].go != 1 ? bad[i].go : bad[i].len);
    }
    ck_assert_uint_eq(test_dma(UINT64_MAX - 7, 4, 1), VGPU_ST_ADMIN_VALUE);
    expect_error(VGPU_ERR_TEST, VGPU_ST_ADMIN_VALUE, 4);
}
END_TEST

START_TEST(test_dma_reports_the_address_it_could_not_reach)
{
    const uint64_t end = RAM_BASE + RAM_BYTES;

    ck_assert_uint_eq(test_dma(0x1000, 64, 1), VGPU_ST_BAD_DMA);
    expect_error(VGPU_ERR_DMA, VGPU_ST_BAD_DMA, 0x1000);
    ck_assert_uint_eq(test_dma(end - 64, 64, 1), VGPU_ST_BAD_DMA);
    expect_error(VGPU_ERR_DMA, VGPU_ST_BAD_DMA, end);
}
END_TEST

/* VGPU-REG-030 */
START_TEST(heartbeat_advances_once_per_period)
{
    uint32_t first = fake_rd(f, VGPU_REG_HEARTBEAT);

    f->now_ms += 99;
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_HEARTBEAT), first);
    f->now_ms += 1;
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_HEARTBEAT), first + 1);
    f->now_ms += 1000;
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_HEARTBEAT), first + 11);
}
END_TEST

START_TEST(heartbeat_is_never_all_ones)
{
    f->now_ms = 5000 + UINT64_C(0xfffffffe) * 100;
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_HEARTBEAT), 0xfffffffe);
    f->now_ms += 100;
    ck_assert_uint_eq(fake_rd(f, VGPU_REG_HEARTBEAT), 0);
}
END_TEST

/* VGPU-PCI-012 */
START_TEST(doorbell_is_reported_for_existing_contexts_only)
{
    uint32_t value = 1, doorbell;
    uint64_t data = 1;

    fake_free(f);
    f = fake_ready();
    fake_make_ctx(f, 3);
    vgpu_dev_bar_write(f->dev, VGPU_BAR_DOORBELL, 0x3000, &value, 4, &doorbell);
    ck_assert_uint_eq(doorbell, 3);
    vgpu_dev_bar_write(f->dev, VGPU_BAR_DOORBELL, 0x2000, &value, 4, &doorbell);
    ck_assert_uint_eq(doorbell, UINT32_MAX);
    vgpu_dev_bar_write(f->dev, VGPU_BAR_DOORBELL, 0x3004, &value, 4, &doorbell);
    ck_assert_uint_eq(doorbell, UINT32_MAX);
    vgpu_dev_bar_write(f->dev, VGPU_BAR_DOORBELL, 0x3000, &data, 8, &doorbell);
    ck_assert_uint_eq(doorbell, UINT32_MAX);
    vgpu_dev_bar_write(f->dev, VGPU_BAR_DOORBELL, UINT64_MAX - 0xfff, &value, 4, &doorbell);
    ck_assert_uint_eq(doorbell, UINT32_MAX);
    vgpu_dev_bar_read(f->dev, VGPU_BAR_DOORBELL, 0x3000, &data, 8);
    ck_assert_uint_eq(data, 0);
    expect_no_error();
}
END_TEST

/* VGPU-PCI-002 */
START_TEST(bars_have_the_sizes_of_the_abi)
{
    static const uint64_t sizes[8] = {
        [VGPU_BAR_REGS] = VGPU_BAR_REGS_SIZE,
        [VGPU_BAR_DOORBELL] = VGPU_BAR_DOORBELL_SIZE,
        [VGPU_BAR_MSIX] = VGPU_BAR_MSIX_SIZE,
    };

    for (unsigned int bar = 0; bar < 8; bar++)
        ck_assert_uint_eq(vgpu_dev_bar_bytes(bar), sizes[bar]);
}
END_TEST

Suite *regs_suite(void)
{
    Suite *s = suite_create("device_regs");
    TCase *tc = tcase_create("registers");
    const int registers = (int)vgpu_reg_count();

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, constants_describe_the_device);
    tcase_add_loop_test(tc, register_behaves_as_its_table_line_says, 0, registers);
    tcase_add_loop_test(tc, register_write_is_refused_in_other_states, 0, registers);
    tcase_add_test(tc, table_has_the_registers_locked_that_must_be);
    tcase_add_test(tc, bad_access_reads_zero_and_is_reported);
    tcase_add_test(tc, oversized_access_is_refused_whole);
    tcase_add_test(tc, first_error_is_frozen_until_all_are_cleared);
    tcase_add_test(tc, control_refuses_unknown_values);
    tcase_add_test(tc, test_irq_raises_each_vector_and_refuses_others);
    tcase_add_test(tc, test_dma_writes_the_complement_behind_the_source);
    tcase_add_test(tc, test_dma_refuses_bad_lengths_and_values);
    tcase_add_test(tc, test_dma_reports_the_address_it_could_not_reach);
    tcase_add_test(tc, heartbeat_advances_once_per_period);
    tcase_add_test(tc, heartbeat_is_never_all_ones);
    tcase_add_test(tc, doorbell_is_reported_for_existing_contexts_only);
    tcase_add_test(tc, bars_have_the_sizes_of_the_abi);
    suite_add_tcase(s, tc);
    return s;
}
