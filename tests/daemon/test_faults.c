/* SPDX-License-Identifier: MIT */
/*
 * Faults: kernels that go wrong, programs and guests that die, host processes
 * that are killed or hang.  Each test shows who suffers, that the reason can be
 * read, and that everybody else goes on.
 */
#include "fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Start a kernel that never ends; returns once it runs. */
static uint64_t start_spin(struct gs_ctx *ctx)
{
    struct fx_kernel k = fx_kernel(ctx, fx_ptx_basic, "spin");
    struct vgpu_sqe sqe;
    uint64_t flag, cookie;

    fx_ok(gs_mem_alloc(ctx, 4096, &flag));
    sqe = gs_launch_sqe(ctx, k.function, 1, 32, &flag, sizeof(flag));
    fx_is(gs_submit(ctx, &sqe, &cookie), 0);
    gs_flush(ctx);
    /* An immediate command behind the launch answers: the launch has been consumed. */
    fx_ok(gs_mem_alloc(ctx, 4096, &flag));
    return cookie;
}

/* A command on a lost context: the status that lost it, or none at all. */
static void fails_with(struct gs_ctx *ctx, uint64_t cookie, int status)
{
    int rc = gs_wait(ctx, cookie, NULL);

    ck_assert_msg(rc == status || rc == -EOWNERDEAD, "got %s", fx_status_name(rc));
}

static void others_work(struct gs_ctx *same_vm)
{
    fx_works(same_vm);
    if (fx.ctx[1])
        fx_works(fx.ctx[1]);
}

/* CUDA names the error, not the address. */
static uint64_t fault_addr(uint64_t addr)
{
    return fx_cuda() ? 0 : addr;
}

/* ---- Kernels ---- */

/* VGPU-LAUNCH-003 VGPU-LOST-004 */
START_TEST(out_of_bounds_store_loses_its_context_alone)
{
    struct gs_ctx *ctx = fx.ctx[0], *other;
    struct fx_kernel k = fx_kernel(ctx, fx_ptx_basic, "fault");
    struct vgpu_ctx_status status;
    struct vgpu_sqe sqe;
    char told[64];
    struct {
        uint64_t p, off;
    } params;
    uint64_t cookie;

    fx_ok(gs_ctx_create(fx.vm[0], NULL, &other));
    fx_ok(gs_mem_alloc(ctx, 4096, &params.p));
    params.off = 4092;
    fx_ok(gs_launch(ctx, k.function, 1, 1, &params, sizeof(params))); /* the last word is inside */
    params.off = 1ull << 30;
    sqe = gs_launch_sqe(ctx, k.function, 1, 1, &params, sizeof(params));
    fx_is(gs_submit(ctx, &sqe, &cookie), 0);
    gs_flush(ctx);
    fails_with(ctx, cookie, VGPU_ST_ILLEGAL_ADDRESS);
    fx_is(gs_ctx_wait_lost(ctx, &status), VGPU_ST_ILLEGAL_ADDRESS);
    ck_assert_uint_eq(status.fault_addr, fault_addr(params.p + params.off));
    if (fx_cuda())
        snprintf(told, sizeof(told), "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal");
    else
        snprintf(told, sizeof(told), "%llx", (unsigned long long)(params.p + params.off));
    ck_assert_msg(strstr((char *)status.message, "fault") && strstr((char *)status.message, told),
                  "message lacks kernel or '%s': %s", told, status.message);
    fx_is(gs_nop(ctx), -EOWNERDEAD);
    others_work(other);
    fx_ok(gs_ctx_destroy(ctx));
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
    fx_ok(gs_ctx_destroy(other));
}
END_TEST

/* VGPU-LAUNCH-003 */
START_TEST(misaligned_store_loses_its_context)
{
    struct gs_ctx *ctx = fx.ctx[0];
    struct fx_kernel k = fx_kernel(ctx, fx_ptx_basic, "misaligned");
    struct vgpu_ctx_status status;
    struct vgpu_sqe sqe;
    uint64_t p, cookie;

    fx_ok(gs_mem_alloc(ctx, 4096, &p));
    sqe = gs_launch_sqe(ctx, k.function, 1, 1, &p, sizeof(p));
    fx_is(gs_submit(ctx, &sqe, &cookie), 0);
    gs_flush(ctx);
    fails_with(ctx, cookie, VGPU_ST_MISALIGNED);
    fx_is(gs_ctx_wait_lost(ctx, &status), VGPU_ST_MISALIGNED);
    ck_assert_uint_eq(status.fault_addr, fault_addr(p + 1));
    fx_works(fx.ctx[1]);
}
END_TEST

START_TEST(loss_raises_the_admin_vector)
{
    struct vgpu_ctx_status status;

    while (gs_irq_wait(fx.vm[0], VGPU_VECTOR_ADMIN, 0) == 0)
        ;
    (void)start_spin(fx.ctx[0]);
    while (gs_irq_wait(fx.vm[0], VGPU_VECTOR_ADMIN, 0) == 0)
        ;
    ck_assert(!gs_ctx_is_lost(fx.vm[0], fx.ctx[0]->id));
    fx_is(gs_irq_wait(fx.vm[0], VGPU_VECTOR_ADMIN, GS_TIMEOUT_MS), 0);
    fx_is(gs_ctx_wait_lost(fx.ctx[0], &status), VGPU_ST_TIMEOUT);
}
END_TEST

/* VGPU-STRM-030 */
START_TEST(endless_kernel_is_ended_by_its_deadline)
{
    struct vgpu_ctx_status status;
    struct gs_ctx *other;
    uint64_t cookie;

    fx_ok(gs_ctx_create(fx.vm[0], NULL, &other));
    cookie = start_spin(fx.ctx[0]);
    others_work(other); /* while it runs */
    fails_with(fx.ctx[0], cookie, VGPU_ST_TIMEOUT);
    fx_is(gs_ctx_wait_lost(fx.ctx[0], &status), VGPU_ST_TIMEOUT);
    ck_assert_msg(strstr((char *)status.message, "spin"), "message: %s", status.message);
    others_work(other);
    fx_ok(gs_ctx_destroy(other));
}
END_TEST

/* ---- Programs and guests ---- */

START_TEST(context_destroyed_in_mid_kernel_is_freed)
{
    struct fx_account account;

    (void)start_spin(fx.ctx[0]);
    fx_ok(gs_ctx_destroy(fx.ctx[0]));
    fx.ctx[0] = NULL;
    fx_account(0, &account);
    ck_assert_uint_eq(account.contexts, 0);
    ck_assert_uint_eq(account.executors, 0);
    ck_assert_uint_eq(account.memory_held, 0);
    ck_assert_uint_eq(account.buffers, 0);
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
}
END_TEST

START_TEST(guest_killed_in_mid_kernel_leaves_nothing)
{
    struct fx_account account;
    struct gs_buf buf;
    uint64_t dev;
    pid_t exec;

    fx_ok(gs_buf_create(fx.ctx[0], 1 << 20, 0, VGPU_BUF_FLAGS, &buf));
    fx_ok(gs_mem_alloc(fx.ctx[0], 32 << 20, &dev));
    (void)start_spin(fx.ctx[0]);
    fx_account(0, &account);
    exec = account.exec_pid[fx.ctx[0]->id];
    ck_assert_int_gt(exec, 0);
    ck_assert_uint_ge(account.memory_held, 32 << 20);
    ck_assert_uint_ge(account.buffers, 1);
    gs_buf_forget(&buf);
    fx_drop(0);
    ck_assert_msg(proc_wait_gone(exec, GS_TIMEOUT_MS), "its executor lives on");
    fx_wait_clean(0);
    fx_attach(0);
    fx_works(fx.ctx[0]);
}
END_TEST

START_TEST(device_reset_in_mid_kernel_leads_out)
{
    (void)start_spin(fx.ctx[0]);
    gs_ctx_forget(fx.ctx[0]);
    fx_is(gs_vm_reset(fx.vm[0]), 0);
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
}
END_TEST

START_TEST(bus_reset_in_mid_kernel_leads_out)
{
    struct gs_vfu_call call = {.command = GS_VFU_DEVICE_RESET};

    (void)start_spin(fx.ctx[0]);
    fx_is(gs_vfu_call(&fx.vm[0]->vfu, &call), 0);
    fx_is(gs_reg_wait(fx.vm[0], VGPU_REG_STATE, ~0u, VGPU_STATE_DISABLED, GS_TIMEOUT_MS), 0);
    gs_ctx_forget(fx.ctx[0]);
    fx_is(gs_vm_enable(fx.vm[0], 0), 0);
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
}
END_TEST

/* ---- Host processes ---- */

START_TEST(killed_executor_costs_its_context)
{
    struct vgpu_ctx_status status;
    struct fx_account account;
    struct gs_ctx *other;

    fx_ok(gs_ctx_create(fx.vm[0], NULL, &other));
    for (int round = 0; round < VGPUD_CYCLES(10, 3); round++) {
        uint64_t cookie = start_spin(fx.ctx[0]);

        fx_account(0, &account);
        ck_assert_int_gt(account.exec_pid[fx.ctx[0]->id], 0);
        kill(account.exec_pid[fx.ctx[0]->id], SIGKILL);
        fails_with(fx.ctx[0], cookie, -EOWNERDEAD);
        fx_is(gs_ctx_wait_lost(fx.ctx[0], &status), VGPU_ST_EXEC_DIED);
        ck_assert_msg(status.message[0], "no reason given");
        fx_works(other);
        fx_ok(gs_ctx_destroy(fx.ctx[0]));
        fx_ok(gs_ctx_create(fx.vm[0], NULL, &fx.ctx[0]));
    }
    fx_works(fx.ctx[0]);
    fx_ok(gs_ctx_destroy(other));
}
END_TEST

START_TEST(hung_executor_does_not_hang_destroy)
{
    struct fx_account account;
    pid_t exec;

    fx_account(0, &account);
    exec = account.exec_pid[fx.ctx[0]->id];
    kill(exec, SIGSTOP);
    fx_ok(gs_ctx_destroy(fx.ctx[0]));
    fx.ctx[0] = NULL;
    ck_assert(proc_wait_gone(exec, 1000));
    fx_works(fx.ctx[1]);
}
END_TEST

START_TEST(hung_executor_does_not_hang_unmap)
{
    struct fx_account account;
    struct gs_vm *vm = fx.vm[0];

    fx_account(0, &account);
    kill(account.exec_pid[fx.ctx[0]->id], SIGSTOP);
    for (unsigned int r = 0; r < GS_RAM_REGIONS; r++)
        fx_is(gs_vfu_dma_unmap(&vm->vfu, vm->ram.region[r].dma, vm->ram.region[r].bytes), 0);
    ck_assert(proc_wait_gone(account.exec_pid[fx.ctx[0]->id], 1000));
    fx_works(fx.ctx[1]);
}
END_TEST

START_TEST(killed_vm_process_costs_its_connection)
{
    struct fx_account account;
    uint32_t generation = fx.vm[0]->generation;
    pid_t exec;

    (void)start_spin(fx.ctx[0]);
    fx_account(0, &account);
    exec = account.exec_pid[fx.ctx[0]->id];
    kill(account.vm_pid, SIGKILL);
    fx_is(gs_reg_wait(fx.vm[0], VGPU_REG_STATE, ~0u, VGPU_ALL_ONES, GS_TIMEOUT_MS), 0);
    ck_assert_uint_eq(gs_reg_read(fx.vm[0], VGPU_REG_MAGIC), VGPU_ALL_ONES);
    fx_is(gs_nop(fx.ctx[0]), -ECONNRESET);
    fx_works(fx.ctx[1]);
    fx_drop(0);
    fx_attach(0); /* waits in QUIESCING until the old executor is gone */
    ck_assert_msg(!proc_alive(exec), "a generation was announced while an old executor lived");
    ck_assert_uint_gt(fx.vm[0]->generation, generation);
    fx_works(fx.ctx[0]);
    ck_assert_msg(vgpud_log_wait(&fx.d, "vm0", 0), "nothing about vm0 in the log");
}
END_TEST

START_TEST(killed_daemon_comes_back_as_a_new_generation)
{
    for (int round = 0; round < VGPUD_CYCLES(10, 3); round++) {
        struct fx_account account;
        uint32_t generation = fx.vm[0]->generation;
        pid_t exec;

        (void)start_spin(fx.ctx[0]);
        fx_account(0, &account);
        exec = account.exec_pid[fx.ctx[0]->id];
        vgpud_kill(&fx.d);
        fx_is(vgpud_restart(&fx.d), 0);
        for (unsigned int i = 0; i < 2; i++) {
            fx_drop(i);
            fx_attach(i);
        }
        ck_assert_msg(!proc_alive(exec), "round %d: announced while an old executor lived", round);
        ck_assert_msg(fx.vm[0]->generation > generation, "generation %u after %u",
                      fx.vm[0]->generation, generation);
        fx_works(fx.ctx[0]);
        fx_works(fx.ctx[1]);
    }
}
END_TEST

/* An executor that can't be ended by its vm process still bars the next generation. */
START_TEST(new_generation_waits_for_the_last_old_executor)
{
    struct gs_vm_config config = {.socket = fx.d.sockets[0], .flags = GS_VM_NO_ENABLE};
    struct fx_account account;
    pid_t exec;

    fx_account(0, &account);
    exec = account.exec_pid[fx.ctx[0]->id];
    kill(exec, SIGSTOP);
    kill(account.vm_pid, SIGKILL);
    fx_drop(0);
    fx_is(gs_vm_open(&config, &fx.vm[0]), 0);
    /* Either the old executor is gone, or the device does not announce itself. */
    for (int i = 0; i < 20; i++) {
        bool alive = proc_alive(exec);

        if (alive)
            ck_assert_uint_eq(gs_reg_read(fx.vm[0], VGPU_REG_STATE), VGPU_STATE_QUIESCING);
        else
            break;
        poll(NULL, 0, 5);
    }
    kill(exec, SIGKILL);
    fx_is(gs_vm_test_registers(fx.vm[0]), 0);
    fx_is(gs_vm_enable(fx.vm[0], 0), 0);
    fx_ok(gs_ctx_create(fx.vm[0], NULL, &fx.ctx[0]));
    fx_works(fx.ctx[0]);
}
END_TEST

/* The monitor takes its memory away under the device: the VM's own affair. */
START_TEST(truncated_guest_memory_costs_that_vm)
{
    struct gs_vm *vm = fx.vm[0];
    struct vgpu_sqe nop = {.opcode = VGPU_CMD_NOP};
    uint64_t cookie;

    fx_is(gs_submit(fx.ctx[0], &nop, &cookie), 0);
    gs_flush(fx.ctx[0]);
    fx_ok(gs_wait(fx.ctx[0], cookie, NULL));
    /* From here on the simulated guest must not touch its memory either. */
    ck_assert_int_eq(ftruncate(vm->ram.fd, 0), 0);
    gs_vm_ring(vm, fx.ctx[0]->id);
    gs_reg_write(vm, VGPU_REG_ADMIN_DOORBELL, 1);
    gs_reg_write(vm, VGPU_REG_TEST_DMA_LO, (uint32_t)vm->ram.region[1].dma);
    gs_reg_write(vm, VGPU_REG_TEST_DMA_HI, 0);
    gs_reg_write(vm, VGPU_REG_TEST_DMA_LEN, 64);
    gs_reg_write(vm, VGPU_REG_TEST_DMA_GO, 1);
    (void)gs_reg_read(vm, VGPU_REG_TEST_DMA_STATUS);
    fx_works(fx.ctx[1]);
    ck_assert(proc_alive(fx.d.pid));
    fx_drop(0);
    fx_wait_clean(0);
    fx_attach(0);
    fx_works(fx.ctx[0]);
}
END_TEST

static Suite *faults_suite(void)
{
    Suite *s = suite_create("faults");
    TCase *tc = fx_tcase(s, "kernels", fx_setup_two);

    tcase_add_test(tc, out_of_bounds_store_loses_its_context_alone);
    tcase_add_test(tc, misaligned_store_loses_its_context);
    tcase_add_test(tc, loss_raises_the_admin_vector);
    tcase_add_test(tc, endless_kernel_is_ended_by_its_deadline);
    tc = fx_tcase(s, "guests", fx_setup_patient);
    tcase_add_test(tc, context_destroyed_in_mid_kernel_is_freed);
    tcase_add_test(tc, guest_killed_in_mid_kernel_leaves_nothing);
    tcase_add_test(tc, device_reset_in_mid_kernel_leads_out);
    tcase_add_test(tc, bus_reset_in_mid_kernel_leads_out);
    tc = fx_tcase(s, "processes", fx_setup_two);
    tcase_add_test(tc, killed_executor_costs_its_context);
    tcase_add_test(tc, hung_executor_does_not_hang_destroy);
    tcase_add_test(tc, hung_executor_does_not_hang_unmap);
    tcase_add_test(tc, killed_vm_process_costs_its_connection);
    tcase_add_test(tc, killed_daemon_comes_back_as_a_new_generation);
    tcase_add_test(tc, new_generation_waits_for_the_last_old_executor);
    tcase_add_test(tc, truncated_guest_memory_costs_that_vm);
    return s;
}

VGPU_UNIT_MAIN(faults_suite)
