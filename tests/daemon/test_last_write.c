/* SPDX-License-Identifier: MIT */
/*
 * What the transfers of an executor can do to guest memory after it was told to stop.
 *
 * The tests have one shape.  The (rogue) executor writes a buffer without end.  Its context is ended in
 * one of the ways there are.  The process dies, and the writing goes on: that is looked at.  All the
 * while the guest must not be told that it is over.  Then the writer is released; from the moment the
 * guest is told, the memory is the guest's and never changes again.
 */
#include "fixture.h"
#include "rogue/rogue.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define BUF_BYTES (256u << 10)
#define MINE      0x22

static void setup(void)
{
    vgpud_program = "../daemon-test/vgpud-rogue";
    fx_setup_null();
}

static struct gs_buf buf;
static uint8_t *memory; /* the buffer behind its first word */
static size_t memory_bytes;

static bool process_is_dying(pid_t pid)
{
    char state[64];

    fx_proc_field(pid, "State", state, sizeof(state));
    return state[0] == 't';
}

/* Is `value` in the last byte, before the time is up? */
static bool memory_becomes(uint8_t value)
{
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);

    while (__atomic_load_n(&memory[memory_bytes - 1], __ATOMIC_ACQUIRE) != value) {
        if (gs_now_ns() > deadline)
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

/* A context whose executor writes into `buf` for ever. */
static pid_t begin(void)
{
    struct vgpu_sqe copy = {.opcode = VGPU_CMD_COPY_D2H};
    uint32_t module;
    uint64_t dev;

    fx_ok(gs_module_load(fx.ctx[0], ROGUE_DIE_SLOWLY, strlen(ROGUE_DIE_SLOWLY), NULL, 0, &module));
    fx_ok(gs_mem_alloc(fx.ctx[0], BUF_BYTES, &dev));
    fx_ok(gs_buf_create(fx.ctx[0], BUF_BYTES, 0, VGPU_BUF_FLAGS, &buf));
    memory = buf.ptr + ROGUE_HEAD;
    memory_bytes = BUF_BYTES - ROGUE_HEAD;
    copy.u.copy = (struct vgpu_cmd_copy){dev, 0, BUF_BYTES, buf.id, {0}};
    fx_ok(gs_run(fx.ctx[0], &copy, NULL));
    ck_assert(memory_becomes(ROGUE_BYTE));
    return fx_exec_pid(fx.ctx[0]);
}

/* It has been killed, and still it writes. */
static void outlives(pid_t pid)
{
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);

    while (!process_is_dying(pid)) {
        ck_assert_msg(gs_now_ns() < deadline, "process %d was not told to end", (int)pid);
        poll(NULL, 0, 1);
    }
    for (int i = 0; i < 3; i++) {
        memset(memory, MINE, memory_bytes);
        ck_assert(memory_becomes(ROGUE_BYTE));
    }
}

/* VGPU-LIFE-040: the device waits, but it is there. */
static void heart_beats(struct gs_vm *vm)
{
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);
    uint32_t first = gs_reg_read(vm, VGPU_REG_HEARTBEAT);

    while (gs_reg_read(vm, VGPU_REG_HEARTBEAT) - first < 3) {
        ck_assert_msg(gs_now_ns() < deadline, "the heartbeat stands at %u", first);
        poll(NULL, 0, 1);
    }
}

static void release(void)
{
    __atomic_store_n((uint32_t *)(void *)buf.ptr, ROGUE_RELEASE, __ATOMIC_RELEASE);
}

/* The guest has been told that it is over. */
static void is_over(pid_t pid, struct gs_vm *vm)
{
    struct gs_ctx *ctx;

    memset(memory, MINE, memory_bytes);
    ck_assert(!proc_alive(pid));
    fx_ok(gs_ctx_create(vm, NULL, &ctx));
    for (int i = 0; i < 500; i++)
        fx_ok(gs_nop(ctx));
    ck_assert_uint_eq(fx_first_other(memory, memory_bytes, MINE), memory_bytes);
    fx_ok(gs_ctx_destroy(ctx));
}

struct ending {
    int (*end)(void);
    atomic_bool done;
    int rc;
    pthread_t thread;
};

static void *ending_main(void *arg)
{
    struct ending *e = arg;

    e->rc = e->end();
    atomic_store(&e->done, true);
    return NULL;
}

static void ends_only_when_released(int (*end)(void))
{
    struct ending e = {.end = end};
    pid_t pid = begin();

    ck_assert_int_eq(pthread_create(&e.thread, NULL, ending_main, &e), 0);
    outlives(pid);
    heart_beats(fx.vm[0]);
    ck_assert_msg(!atomic_load(&e.done), "answered while memory is being written");
    release();
    pthread_join(e.thread, NULL);
    fx_ok(e.rc);
    is_over(pid, fx.vm[0]);
}

static int end_destroy(void)
{
    struct vgpu_admin_sqe sqe = {.opcode = VGPU_ADMIN_CTX_DESTROY};
    struct vgpu_cqe cqe;
    int rc;

    sqe.u.ctx_destroy.ctx = fx.ctx[0]->id;
    rc = gs_admin(fx.vm[0], &sqe, &cqe);
    return rc ? rc : cqe.status;
}

static int end_reset(void)
{
    return gs_vm_reset(fx.vm[0]);
}

static int end_unmap(void)
{
    const struct gs_region *low = &fx.vm[0]->ram.region[0];

    return gs_vfu_dma_unmap(&fx.vm[0]->vfu, low->dma, low->bytes);
}

/* VGPU-ADM-032 */
START_TEST(destroy_waits_for_the_last_write)
{
    ends_only_when_released(end_destroy);
    gs_ctx_forget(fx.ctx[0]);
    gs_buf_forget(&buf);
}
END_TEST

/* Two commands under way at once, by one thread: a QUERY is answered while a CTX_DESTROY before it
 * waits without bound.  VGPU-LIFE-043 */
START_TEST(query_is_answered_while_a_destroy_waits)
{
    struct vgpu_admin_sqe destroy = {.opcode = VGPU_ADMIN_CTX_DESTROY, .cookie = 1};
    struct vgpu_admin_sqe query = {.opcode = VGPU_ADMIN_QUERY, .cookie = 2};
    uint32_t bound_ms = gs_reg_read(fx.vm[0], VGPU_REG_ADMIN_MAX_MS);
    void *page = gs_ram_alloc(&fx.vm[0]->ram, VGPU_PAGE_BYTES);
    pid_t pid = begin();
    struct vgpu_cqe cqe;

    ck_assert_uint_ne(bound_ms, 0);
    ck_assert_ptr_nonnull(page);
    query.u.query.out_addr = gs_ram_dma(&fx.vm[0]->ram, page);
    query.u.query.out_bytes = sizeof(struct vgpu_device_props);
    query.u.query.what = VGPU_QUERY_PROPS;
    destroy.u.ctx_destroy.ctx = fx.ctx[0]->id;
    fx_ok(gs_admin_submit(fx.vm[0], &destroy));
    outlives(pid);
    fx_ok(gs_admin_submit(fx.vm[0], &query));
    fx_ok(gs_admin_wait(fx.vm[0], &cqe, bound_ms));
    ck_assert_uint_eq(cqe.cookie, query.cookie);
    ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
    memset(memory, MINE, memory_bytes);
    ck_assert(memory_becomes(ROGUE_BYTE));
    release();
    fx_ok(gs_admin_wait(fx.vm[0], &cqe, GS_TIMEOUT_MS));
    ck_assert_uint_eq(cqe.cookie, destroy.cookie);
    ck_assert_uint_eq(cqe.status, VGPU_ST_OK);
    gs_ctx_forget(fx.ctx[0]);
    is_over(pid, fx.vm[0]);
    gs_buf_forget(&buf);
    gs_ram_free(&fx.vm[0]->ram, page, VGPU_PAGE_BYTES);
}
END_TEST

START_TEST(reset_waits_for_the_last_write)
{
    ends_only_when_released(end_reset);
}
END_TEST

/* The buffer's memory, the rings and all go: only the process's death gives them free. */
START_TEST(unmap_waits_for_the_last_write)
{
    const struct gs_region *low = &fx.vm[0]->ram.region[0];
    struct ending e = {.end = end_unmap};
    pid_t pid = begin();

    ck_assert_uint_lt(gs_ram_dma(&fx.vm[0]->ram, buf.ptr), low->dma + low->bytes);
    ck_assert_int_eq(pthread_create(&e.thread, NULL, ending_main, &e), 0);
    outlives(pid);
    ck_assert_msg(!atomic_load(&e.done), "answered while memory is being written");
    release();
    pthread_join(e.thread, NULL);
    fx_ok(e.rc);
    memset(memory, MINE, memory_bytes);
    ck_assert(!proc_alive(pid));
    ck_assert_uint_eq(fx_first_other(memory, memory_bytes, MINE), memory_bytes);
}
END_TEST

/* A lost context is there until it is destroyed, and that waits like any. */
START_TEST(killed_executor_is_waited_for)
{
    struct ending e = {.end = end_destroy};
    pid_t pid = begin();

    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    outlives(pid);
    ck_assert_int_eq(pthread_create(&e.thread, NULL, ending_main, &e), 0);
    memset(memory, MINE, memory_bytes);
    ck_assert(memory_becomes(ROGUE_BYTE));
    ck_assert(!atomic_load(&e.done));
    release();
    pthread_join(e.thread, NULL);
    fx_ok(e.rc);
    gs_ctx_forget(fx.ctx[0]);
    is_over(pid, fx.vm[0]);
    gs_buf_forget(&buf);
}
END_TEST

/* The vm process dies: its successor does not announce itself before the last write. */
START_TEST(new_generation_waits_for_the_last_write)
{
    struct gs_vm_config config = {.socket = fx.d.sockets[0], .flags = GS_VM_NO_ENABLE};
    struct fx_account account;
    pid_t pid = begin();
    struct gs_vm *vm;

    fx_account(0, &account);
    ck_assert_int_eq(kill(account.vm_pid, SIGKILL), 0);
    ck_assert(proc_wait_gone(account.vm_pid, GS_TIMEOUT_MS));
    outlives(pid);
    fx_is(gs_vm_open(&config, &vm), 0);
    ck_assert_uint_eq(gs_reg_read(vm, VGPU_REG_STATE), VGPU_STATE_QUIESCING);
    memset(memory, MINE, memory_bytes);
    ck_assert(memory_becomes(ROGUE_BYTE));
    heart_beats(vm);
    ck_assert_uint_eq(gs_reg_read(vm, VGPU_REG_STATE), VGPU_STATE_QUIESCING);
    release();
    fx_is(gs_reg_wait(vm, VGPU_REG_STATE, ~0u, VGPU_STATE_DISABLED, GS_TIMEOUT_MS), 0);
    fx_is(gs_vm_enable(vm, 0), 0);
    is_over(pid, vm);
    gs_vm_close(vm);
}
END_TEST

static Suite *last_write_suite(void)
{
    Suite *s = suite_create("last write");
    TCase *tc = fx_tcase(s, "last writes", setup);

    tcase_add_test(tc, destroy_waits_for_the_last_write);
    tcase_add_test(tc, query_is_answered_while_a_destroy_waits);
    tcase_add_test(tc, reset_waits_for_the_last_write);
    tcase_add_test(tc, unmap_waits_for_the_last_write);
    tcase_add_test(tc, killed_executor_is_waited_for);
    tcase_add_test(tc, new_generation_waits_for_the_last_write);
    return s;
}

VGPU_UNIT_MAIN(last_write_suite)
