/* SPDX-License-Identifier: MIT */
/*
 * Interrupts and memory maps that change while thousands of commands per second complete: vectors are
 * masked and unmasked, lose their eventfds and get others, memory of live buffers is unmapped.  Every
 * completion comes once and in order, and none is slept through: a wait that ends by its time-out with
 * the completion there gives -ENOMSG.
 */
#include "fixture.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORKERS 3u

struct worker {
    struct gs_ctx *ctx;
    atomic_bool stop;
    atomic_ullong commands;
    pthread_t thread;
};

static struct worker workers[WORKERS];

/* By turns: commands that are each slept for, and bursts. */
static void *work(void *arg)
{
    struct worker *w = arg;

    while (!atomic_load(&w->stop)) {
        for (int i = 0; i < 20; i++)
            fx_ok(gs_nop(w->ctx));
        fx_pump(w->ctx, 200);
        atomic_fetch_add(&w->commands, 220);
    }
    return NULL;
}

/* Contexts on vectors 1, 2 and 2: one of its own, one shared. */
static void start(void)
{
    memset(workers, 0, sizeof(workers));
    for (unsigned int i = 0; i < WORKERS; i++) {
        struct gs_ctx_config cfg = {.vector = i ? 2 : 1, .first_idx = 0xfffffe00u};

        fx_ok(gs_ctx_create(fx.vm[0], &cfg, &workers[i].ctx));
    }
    /* Only now: who shares a vector looks at the others' contexts. */
    for (unsigned int i = 0; i < WORKERS; i++)
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
}

/* Ends them once each has done its turn: on a busy machine one may only have begun. */
static void join(void)
{
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);

    for (unsigned int i = 0; i < WORKERS; i++) {
        while (!atomic_load(&workers[i].commands) && gs_now_ns() < deadline)
            poll(NULL, 0, 1);
        atomic_store(&workers[i].stop, true);
    }
    for (unsigned int i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
}

static void finish(void)
{
    struct fx_account account;
    uint64_t commands = 0;

    join();
    for (unsigned int i = 0; i < WORKERS; i++) {
        ck_assert_uint_gt(workers[i].commands, 0);
        commands += workers[i].commands;
        /* Slept, and been woken. */
        ck_assert_uint_gt(workers[i].ctx->interrupts, 0);
        fx_ok(gs_ctx_destroy(workers[i].ctx));
    }
    fx_account(0, &account);
    ck_assert_uint_eq(account.commands, commands);
}

static void mask(unsigned int vector, bool masked)
{
    fx_is(gs_vfu_mask_irqs(&fx.vm[0]->vfu, vector, 1, masked), 0);
}

/* All vectors lose their eventfds, as when a guest disables MSI-X, and get new ones. */
static void reroute(void)
{
    fx_is(gs_vfu_disable_irqs(&fx.vm[0]->vfu), 0);
    for (unsigned int v = 0; v < fx.vm[0]->vectors; v++)
        fx_is(gs_irq_swap(fx.vm[0], v), 0);
}

START_TEST(masking_under_load_loses_no_interrupt)
{
    start();
    for (int i = 0; i < VGPUD_CYCLES(2000, 200); i++) {
        unsigned int vector = 1 + (unsigned int)i % 2;

        mask(vector, true);
        if (i % 5 == 0)
            poll(NULL, 0, 1); /* so that all who use it wait */
        mask(vector, false);
    }
    finish();
}
END_TEST

START_TEST(rerouting_under_load_loses_no_interrupt)
{
    start();
    for (int i = 0; i < VGPUD_CYCLES(200, 30); i++)
        reroute();
    finish();
}
END_TEST

/* An eventfd that is replaced while its vector is masked is the one signalled afterwards. */
START_TEST(eventfds_replaced_behind_a_mask_are_signalled)
{
    start();
    for (int i = 0; i < VGPUD_CYCLES(500, 60); i++) {
        unsigned int vector = 1 + (unsigned int)i % 2;

        mask(vector, true);
        fx_is(gs_irq_swap(fx.vm[0], vector), 0);
        mask(vector, false);
    }
    finish();
}
END_TEST

#define EXTRA_DMA   0x900000000ull
#define EXTRA_BYTES (64u << 10)

/* All of it at once, with buffers of one context that come, are used, and go by being unmapped. */
START_TEST(everything_changes_at_once)
{
    const struct vgpu_sg_entry sg = {EXTRA_DMA, EXTRA_BYTES};
    const struct gs_ctx_config cfg = {.vector = 3};
    struct gs_vm *vm = fx.vm[0];
    struct gs_ctx *ctx;
    struct vgpu_cqe cqe;
    struct vgpu_sqe copy = {.opcode = VGPU_CMD_COPY_D2H};
    int fd = memfd_create("extra", MFD_CLOEXEC), rc;
    uint64_t dev;

    ck_assert_int_eq(ftruncate(fd, EXTRA_BYTES), 0);
    fx_ok(gs_ctx_create(vm, &cfg, &ctx));
    fx_ok(gs_mem_alloc(ctx, EXTRA_BYTES, &dev));
    copy.u.copy = (struct vgpu_cmd_copy){dev, 0, EXTRA_BYTES, 9, {0}};
    start();
    for (int i = 0; i < VGPUD_CYCLES(150, 20); i++) {
        fx_is(gs_vfu_dma_map(&vm->vfu, EXTRA_DMA, EXTRA_BYTES, fd, 0, 3), 0);
        fx_ok(gs_buf_register_raw(vm, ctx->id, 9, VGPU_BUF_FLAGS, &sg, 1, EXTRA_BYTES));
        mask(1, true);
        fx_ok(gs_run(ctx, &copy, NULL));
        fx_is(gs_irq_swap(vm, 2), 0);
        fx_is(gs_submit(ctx, &copy, NULL), 0);
        gs_flush(ctx);
        fx_is(gs_vfu_dma_unmap(&vm->vfu, EXTRA_DMA, EXTRA_BYTES), 0);
        mask(1, false);
        rc = gs_wait_any(ctx, &cqe, GS_TIMEOUT_MS);
        ck_assert_msg(!rc && (cqe.status == VGPU_ST_OK || cqe.status == VGPU_ST_BAD_BUFFER),
                      "the copy under the unmap: %s, %s", fx_status_name(rc),
                      fx_status_name(cqe.status));
        fx_is(gs_run(ctx, &copy, NULL), VGPU_ST_BAD_BUFFER);
        fx_ok(gs_buf_unregister_raw(vm, ctx->id, 9));
        if (i % 10 == 0)
            reroute();
    }
    join();
    for (unsigned int i = 0; i < WORKERS; i++) {
        ck_assert_uint_gt(workers[i].commands, 0);
        fx_ok(gs_ctx_destroy(workers[i].ctx));
    }
    fx_ok(gs_ctx_destroy(ctx));
    close(fd);
}
END_TEST

static Suite *changes_suite(void)
{
    Suite *s = suite_create("changes");
    TCase *tc = fx_tcase(s, "interrupts", fx_setup_null);

    tcase_add_test(tc, masking_under_load_loses_no_interrupt);
    tcase_add_test(tc, rerouting_under_load_loses_no_interrupt);
    tcase_add_test(tc, eventfds_replaced_behind_a_mask_are_signalled);
    tc = fx_tcase(s, "all", fx_setup_cpu);
    tcase_add_test(tc, everything_changes_at_once);
    return s;
}

VGPU_UNIT_MAIN(changes_suite)
