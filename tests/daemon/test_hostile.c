/* SPDX-License-Identifier: MIT */
/*
 * Exec processes that a guest has taken over (the rogue executor): what they can reach, and what their
 * transfers can do to guest memory when they were told to stop.
 *
 * The memory tests have one shape.  The executor writes a buffer without end.  Its context is ended in
 * one of the ways there are.  The process dies, and the writing goes on: that is looked at.  All the
 * while the guest must not be told that it is over.  Then the writer is released; from the moment the
 * guest is told, the memory is the guest's and never changes again.
 */
#include "fixture.h"
#include "rogue/rogue.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define BUF_BYTES (256u << 10)
#define MINE      0x22

static void setup(void)
{
    vgpud_program = "../daemon-test/vgpud-rogue";
    fx_setup_null();
}

/* ---- What it can reach ---- */

static char report[4096];

static void break_out(struct gs_ctx *ctx)
{
    uint32_t module;

    fx_ok(gs_module_load(ctx, ROGUE_BREAK_OUT, strlen(ROGUE_BREAK_OUT), report, sizeof(report),
                         &module));
}

static int reported(const char *name)
{
    char key[64];
    const char *at;

    snprintf(key, sizeof(key), "%s=", name);
    for (at = strstr(report, key); at && at != report && at[-1] != ' '; at = strstr(at + 1, key))
        ;
    ck_assert_msg(at != NULL, "no '%s' in: %s", name, report);
    return atoi(at + strlen(key));
}

static unsigned int count_in_log(const char *text)
{
    char *log = vgpud_log(&fx.d);
    unsigned int n = 0;

    ck_assert_ptr_nonnull(log);
    for (const char *at = strstr(log, text); at; at = strstr(at + 1, text))
        n++;
    free(log);
    return n;
}

static pid_t exec_pid(void)
{
    struct fx_account account;

    fx_account(0, &account);
    ck_assert_int_gt(account.exec_pid[fx.ctx[0]->id], 0);
    return account.exec_pid[fx.ctx[0]->id];
}

START_TEST(a_taken_over_executor_reaches_nothing)
{
    static const char *const refused[] = {
        "open",   "open-root", "socket", "connect",  "ptrace", "read-others",
        "exec",   "fork",      "kill",   "pidfd",    "code",   "user-namespace",
        "setuid", "chroot",    "limits", "dumpable", "ioctl"};

    break_out(fx.ctx[0]);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        ck_assert_msg(reported(refused[i]) == EPERM, "%s: errno %d", refused[i],
                      reported(refused[i]));
    /* The empty root is root's to give. */
    ck_assert_int_eq(reported("stat"), geteuid() ? 0 : ENOENT);
    ck_assert_int_eq(reported("memory"), ENOMEM);
    /* The conversation; lock file, doorbell, interrupt and epoll set. */
    ck_assert_int_eq(reported("sockets"), 1);
    ck_assert_int_eq(reported("directories"), 0);
    ck_assert_int_eq(reported("others"), 4);
    fx_ok(gs_nop(fx.ctx[0]));
}
END_TEST

START_TEST(refused_calls_are_logged_once)
{
    static const char line[] =
        "vm0 ctx0 refused a system call that no good code makes here (only the "
        "first is logged): openat";

    ck_assert_uint_eq(count_in_log("refused a system call"), 0);
    for (int i = 0; i < 50; i++)
        break_out(fx.ctx[0]);
    ck_assert_uint_eq(count_in_log("refused a system call"), 1);
    ck_assert_uint_eq(count_in_log(line), 1);
}
END_TEST

/* A line for all that was left out, and then as before. */
START_TEST(what_executors_print_is_bounded_and_cannot_pass_for_others)
{
    uint32_t module;
    char *log;

    fx_ok(gs_module_load(fx.ctx[0], ROGUE_FLOOD, strlen(ROGUE_FLOOD), NULL, 0, &module));
    fx_ok(gs_nop(fx.ctx[0]));
    log = vgpud_log(&fx.d);
    ck_assert_ptr_nonnull(log);
    ck_assert_uint_lt(strlen(log), 1u << 20);
    ck_assert_ptr_nonnull(
        strstr(log, "warning: vm0(vm0) executor: ?[2J0: flood?vgpud[1]: error: "));
    ck_assert_ptr_null(strchr(log, '\033'));
    ck_assert_ptr_null(strstr(log, "\nvgpud[1]"));
    free(log);
    /* Some trickle through, and the next says how many did not. */
    for (int i = 0; i < 100 && !count_in_log("lines left out"); i++) {
        usleep(50000);
        fx_ok(gs_module_load(fx.ctx[0], ROGUE_FLOOD, strlen(ROGUE_FLOOD), NULL, 0, &module));
    }
    ck_assert_uint_ge(count_in_log("lines left out"), 1);
    ck_assert_uint_ge(count_in_log("executor: "), 100);
}
END_TEST

/* ---- What the host sees of the processes ---- */

static void proc_field(pid_t pid, const char *field, char *out, size_t room)
{
    char path[64], line[256];
    FILE *file;
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (!found && fgets(line, sizeof(line), file)) {
        size_t n = strlen(field);

        if (strncmp(line, field, n) || line[n] != ':')
            continue;
        found = true;
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, room, "%s", line + n + 1 + strspn(line + n + 1, " \t"));
    }
    fclose(file);
    ck_assert_msg(found, "no %s in %s", field, path);
}

static void field_is(pid_t pid, const char *field, const char *want)
{
    char value[128];

    proc_field(pid, field, value, sizeof(value));
    ck_assert_msg(!strcmp(value, want), "process %d: %s is %s, expected %s", (int)pid, field, value,
                  want);
}

static void link_of(pid_t pid, const char *name, char *out, size_t room)
{
    char path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    n = readlink(path, out, room - 1);
    ck_assert_msg(n > 0, "%s: %s", path, strerror(errno));
    out[n] = '\0';
}

static void namespace_is_its_own(pid_t pid, const char *name)
{
    char own[128], ours[128];

    link_of(pid, name, own, sizeof(own));
    link_of(getpid(), name, ours, sizeof(ours));
    ck_assert_msg(strcmp(own, ours), "process %d shares %s", (int)pid, name);
}

static void is_powerless(pid_t pid, const char *capabilities)
{
    static const char *const namespaces[] = {"ns/net", "ns/ipc", "ns/uts"};
    char uid[128];

    field_is(pid, "CapInh", capabilities);
    field_is(pid, "CapPrm", capabilities);
    field_is(pid, "CapEff", capabilities);
    field_is(pid, "CapAmb", capabilities);
    field_is(pid, "CapBnd", "0000000000000000");
    field_is(pid, "NoNewPrivs", "1");
    field_is(pid, "Groups", "");
    proc_field(pid, "Uid", uid, sizeof(uid));
    ck_assert_msg(strncmp(uid, "0\t", 2), "process %d is root's", (int)pid);
    for (size_t i = 0; i < 3; i++)
        namespace_is_its_own(pid, namespaces[i]);
}

static void root_is_empty(pid_t pid)
{
    char root[256];

    link_of(pid, "root", root, sizeof(root));
    ck_assert_msg(strstr(root, "(deleted)"), "process %d has root %s", (int)pid, root);
}

static void find_spawner(pid_t vm_pid, pid_t *spawner)
{
    pid_t children[16];
    size_t n = proc_children(vm_pid, children, 16);

    *spawner = 0;
    for (size_t i = 0; i < n; i++) {
        char name[64];

        proc_field(children[i], "Name", name, sizeof(name));
        if (!strcmp(name, "vgpu-spawn"))
            *spawner = children[i];
    }
    ck_assert_int_gt(*spawner, 0);
}

START_TEST(processes_have_no_power_on_the_host)
{
    const char none[] = "0000000000000000";
    struct fx_account account;
    pid_t exec = exec_pid(), spawner;

    fx_account(0, &account);
    field_is(account.vm_pid, "Seccomp", "2");
    field_is(exec, "Seccomp", "2");
    field_is(exec, "NoNewPrivs", "1");
    if (geteuid())
        return; /* the rest is root's to give away */
    is_powerless(account.vm_pid, none);
    is_powerless(exec, none);
    root_is_empty(account.vm_pid);
    root_is_empty(exec);
    find_spawner(account.vm_pid, &spawner);
    is_powerless(spawner,
                 "0000000000040000"); /* CAP_SYS_CHROOT, for the exec processes' empty root */
}
END_TEST

/* ---- Transfers that outlive their owner ---- */

static struct gs_buf buf;
static uint8_t *memory; /* the buffer behind its first word */
static size_t memory_bytes;

static bool process_is_dying(pid_t pid)
{
    char state[64];

    proc_field(pid, "State", state, sizeof(state));
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
    return exec_pid();
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

static Suite *hostile_suite(void)
{
    Suite *s = suite_create("hostile");
    TCase *tc;

    tc = fx_tcase(s, "reach", setup);
    tcase_add_test(tc, a_taken_over_executor_reaches_nothing);
    tcase_add_test(tc, refused_calls_are_logged_once);
    tcase_add_test(tc, what_executors_print_is_bounded_and_cannot_pass_for_others);
    tcase_add_test(tc, processes_have_no_power_on_the_host);
    tc = fx_tcase(s, "last writes", setup);
    tcase_add_test(tc, destroy_waits_for_the_last_write);
    tcase_add_test(tc, reset_waits_for_the_last_write);
    tcase_add_test(tc, unmap_waits_for_the_last_write);
    tcase_add_test(tc, killed_executor_is_waited_for);
    tcase_add_test(tc, new_generation_waits_for_the_last_write);
    return s;
}

VGPU_UNIT_MAIN(hostile_suite)
