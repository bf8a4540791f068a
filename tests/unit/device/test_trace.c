/* SPDX-License-Identifier: MIT */
/*
 * Replays the traces of the spec's annex (blocks marked `trace`) against the device, line by line:
 * what an outside author reads there is what the device does.
 */
#include "fake_host.h"
#include "suites.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fake *f;
static unsigned int irqs_seen[VGPU_MSIX_VECTORS];

static uint32_t reg_by_name(const char *name)
{
    for (size_t i = 0; i < vgpu_reg_count(); i++)
        if (!strcmp(vgpu_reg_describe(i).name, name))
            return vgpu_reg_describe(i).offset;
    ck_abort_msg("no register %s", name);
}

static void host_event(unsigned int line, const char *what)
{
    uint32_t ctx;
    int64_t status, addr;

    if (!strcmp(what, "reaped"))
        vgpu_dev_reset_done(f->dev);
    else if (sscanf(what, "created %" SCNu32, &ctx) == 1)
        vgpu_dev_ctx_created(f->dev, ctx, VGPU_ST_OK);
    else if (sscanf(what, "destroyed %" SCNu32, &ctx) == 1)
        vgpu_dev_ctx_destroyed(f->dev, ctx);
    else if (sscanf(what, "lost %" SCNu32 " %" SCNi64 " %" SCNi64, &ctx, &status, &addr) == 3)
        vgpu_dev_ctx_lost(f->dev, ctx, (uint16_t)status, (uint64_t)addr, "as told");
    else
        ck_abort_msg("line %u: unknown host event %s", line, what);
}

static void memory_access(unsigned int line, uint64_t addr, const char *way, uint32_t value)
{
    uint32_t *word = fake_mem(f, addr);

    if (!strcmp(way, "<-"))
        *word = value;
    else
        ck_assert_msg(*word == value, "line %u: word at 0x%" PRIx64 " is 0x%x", line, addr, *word);
}

static void replay_line(unsigned int line, char *text)
{
    char name[32], way[3], *comment = strchr(text, ';');
    uint32_t got;
    int64_t value, addr;

    if (comment)
        *comment = '\0';
    text[strcspn(text, "\n")] = '\0';
    for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
        text[n - 1] = '\0';

    if (sscanf(text, "R %31s -> %" SCNi64, name, &value) == 2) {
        got = fake_rd(f, reg_by_name(name));
        ck_assert_msg(got == (uint32_t)value, "line %u: %s reads 0x%x", line, name, got);
    } else if (sscanf(text, "W %31s <- %" SCNi64, name, &value) == 2) {
        fake_wr(f, reg_by_name(name), (uint32_t)value);
        vgpu_dev_work(f->dev, 100);
    } else if (sscanf(text, "M %" SCNi64 " %2s %" SCNi64, &addr, way, &value) == 3) {
        memory_access(line, (uint64_t)addr, way, (uint32_t)value);
    } else if (sscanf(text, "I %" SCNi64, &value) == 1) {
        ck_assert(value >= 0 && value < VGPU_MSIX_VECTORS);
        ck_assert_msg(f->irqs[value] == irqs_seen[value] + 1, "line %u: vector %d: %u interrupts",
                      line, (int)value, f->irqs[value] - irqs_seen[value]);
        irqs_seen[value]++;
    } else if (!strncmp(text, "H ", 2)) {
        host_event(line, text + 2);
    } else {
        ck_abort_msg("line %u is no line of a trace: %s", line, text);
    }
}

/* Every block of the annex, in order, on one device. */
START_TEST(traces_of_the_spec_can_be_replayed)
{
    FILE *spec = fopen(VGPU_SPEC, "r");
    unsigned int line = 0, blocks = 0, replayed = 0;
    bool inside = false;
    char text[512];

    ck_assert_msg(spec != NULL, "no spec at %s", VGPU_SPEC);
    f = fake_disabled();
    while (fgets(text, sizeof(text), spec)) {
        line++;
        if (!inside && !strcmp(text, "```trace\n")) {
            inside = true;
            blocks++;
        } else if (inside && !strcmp(text, "```\n")) {
            inside = false;
        } else if (inside) {
            replay_line(line, text);
            replayed++;
        }
    }
    fclose(spec);
    ck_assert_uint_eq(blocks, 2);
    ck_assert_uint_ge(replayed, 80);
    /* no interrupt came that the traces do not show */
    for (unsigned int v = 0; v < VGPU_MSIX_VECTORS; v++)
        ck_assert_uint_eq(f->irqs[v], irqs_seen[v]);
    fake_free(f);
}
END_TEST

Suite *trace_suite(void)
{
    Suite *s = suite_create("device_trace");
    TCase *tc = tcase_create("trace");

    tcase_add_test(tc, traces_of_the_spec_can_be_replayed);
    suite_add_tcase(s, tc);
    return s;
}
