/* SPDX-License-Identifier: MIT */
/*
 * libvgpu against a fake kernel and device; see fake_kernel.h.
 */
#include "fake_kernel.h"
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fake fake;
static struct vgpu_ctx *ctx;

/* The device's thread runs: what a test tells it goes under its lock. */
#define FAKE_SET(field, value)                                                                     \
    do {                                                                                           \
        pthread_mutex_lock(&fake.lock);                                                            \
        fake.field = (value);                                                                      \
        pthread_mutex_unlock(&fake.lock);                                                          \
    } while (0)

static void open_with(const struct vgpu_options *options)
{
    ck_assert_int_eq(vgpu_open_sys(&fake.sys, NULL, options, &ctx), 0);
}

static void setup_small(void)
{
    const struct vgpu_options options = {.sq_log2 = 6, .arena_bytes = 8192};

    fake_init(&fake);
    fake.first_idx = 0xffffffe0u; /* indices wrap early in each test */
    open_with(&options);
}

static void teardown(void)
{
    vgpu_close(ctx);
    fake_fini(&fake);
}

/* ---- open ---- */

START_TEST(open_unwinds_whatever_call_fails)
{
    int failures = 0, err;

    for (int n = 1;; n++) {
        fake_init(&fake);
        fake.fail_call = n;
        err = vgpu_open_sys(&fake.sys, NULL, NULL, &ctx);
        if (!err)
            vgpu_close(ctx);
        fake_fini(&fake);
        if (!err)
            break;
        failures++;
    }
    ck_assert_int_eq(failures, 7); /* open, INFO, QUEUE_SETUP, four mappings */
}
END_TEST

START_TEST(open_refuses_bad_options)
{
    static const struct vgpu_options bad[] = {
        {.arena_bytes = 100}, {.sq_log2 = 13}, {.flags = 0x80}};

    fake_init(&fake);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(vgpu_open_sys(&fake.sys, NULL, &bad[i], &ctx), -EINVAL);
    ck_assert_int_eq(fake.calls, 0);
    fake_fini(&fake);
}
END_TEST

/* ---- the ring ---- */

START_TEST(commands_complete_across_the_wrap)
{
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(vgpu_nop(ctx, NULL), 0);
}
END_TEST

/* Rings so far.  A ring is counted at the latest with the command after it. */
static uint32_t doorbells(void)
{
    uint32_t n;

    ck_assert_int_eq(vgpu_nop(ctx, NULL), 0);
    pthread_mutex_lock(&fake.lock);
    n = fake.doorbells;
    pthread_mutex_unlock(&fake.lock);
    return n;
}

START_TEST(doorbell_is_rung_only_when_asked)
{
    /* The event index is where the indices start: the first submission passes it. */
    ck_assert_int_eq(vgpu_nop(ctx, NULL), 0);
    ck_assert_uint_eq(doorbells(), 1);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(vgpu_nop(ctx, NULL), 0);
    ck_assert_uint_eq(doorbells(), 1);
    pthread_mutex_lock(&fake.lock);
    ((struct vgpu_queue_ro *)fake.block)->sq_event = ctx->sq_prod + 1;
    pthread_mutex_unlock(&fake.lock);
    ck_assert_int_eq(vgpu_nop(ctx, NULL), 0);
    ck_assert_int_eq(vgpu_nop(ctx, NULL), 0);
    ck_assert_uint_eq(doorbells(), 2);
}
END_TEST

START_TEST(a_full_ring_makes_submitters_wait)
{
    /* 2000 commands nobody waits for, through 64 slots. */
    for (uint32_t i = 0; i < 2000; i++)
        ck_assert_int_eq(vgpu_memset(ctx, NULL, FAKE_DEVICE_BASE, i & 0xff, 1, 64), 0);
    ck_assert_int_eq(vgpu_sync(ctx), 0);
    ck_assert_uint_eq(fake.memory[63], 1999 & 0xff);
}
END_TEST

START_TEST(stray_completions_are_ignored)
{
    uint64_t addr;

    FAKE_SET(stray, true);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(vgpu_mem_alloc(ctx, 256, &addr), 0);
    ck_assert_uint_eq(addr, FAKE_DEVICE_BASE + 199 * 256);
}
END_TEST

START_TEST(impossible_index_ends_the_context)
{
    fake_pause(&fake, true);
    fake_publish(&fake, ctx->cq_cons + 65);
    ck_assert_int_eq(vgpu_nop(ctx, NULL), -EIO);
    ck_assert_int_eq(vgpu_last_status(), VGPU_ST_OK);
}
END_TEST

static void *lose_soon(void *arg)
{
    /* The main thread is about to wait; whether it already does must not matter. */
    fake_lose(&fake, VGPU_ST_EXEC_DIED);
    return NULL;
}

/* VGPU-RING-030 */
START_TEST(loss_ends_waiting_with_its_reason)
{
    pthread_t thread;

    fake_pause(&fake, true);
    pthread_create(&thread, NULL, lose_soon, NULL);
    ck_assert_int_eq(vgpu_nop(ctx, NULL), -EIO);
    ck_assert_int_eq(vgpu_last_status(), VGPU_ST_EXEC_DIED);
    pthread_join(thread, NULL);
    ck_assert_int_eq(vgpu_sync(ctx), -EIO);
    ck_assert_int_eq(vgpu_last_status(), VGPU_ST_EXEC_DIED);
}
END_TEST

START_TEST(a_child_is_refused)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        bool ok = vgpu_nop(ctx, NULL) == -EPERM && vgpu_last_status() == VGPU_ST_OK;

        _exit(ok ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(vgpu_nop(ctx, NULL), 0);
}
END_TEST

/* ---- threads ---- */

static void *worker(void *arg)
{
    uint64_t dev = FAKE_DEVICE_BASE + (uintptr_t)arg * (1 << 20);
    uint8_t up[5000], down[5000];

    for (uint32_t i = 0; i < 150; i++) {
        size_t n = 1 + (i * 37) % sizeof(up);

        memset(up, (int)(i + (uintptr_t)arg), n);
        memset(down, 0, n);
        if (vgpu_copy_h2d(ctx, NULL, dev, up, n) || vgpu_nop(ctx, NULL) ||
            vgpu_copy_d2h(ctx, NULL, down, dev, n) || memcmp(up, down, n))
            return "a thread saw another's data or an error";
    }
    return NULL;
}

static void run_workers(void)
{
    pthread_t thread[6];
    void *why;

    for (uintptr_t i = 0; i < 6; i++)
        pthread_create(&thread[i], NULL, worker, (void *)i);
    for (int i = 0; i < 6; i++) {
        pthread_join(thread[i], &why);
        ck_assert_msg(!why, "%s", (char *)why);
    }
}

START_TEST(threads_share_a_small_ring_and_arena)
{
    run_workers();
}
END_TEST

START_TEST(completions_out_of_order_find_their_waiters)
{
    FAKE_SET(shuffle, true);
    ctx->spin_max_ns = 0; /* everybody sleeps */
    run_workers();
}
END_TEST

/* ---- copies ---- */

static void copy_through(size_t bytes)
{
    uint8_t *up = malloc(bytes), *down = calloc(1, bytes);

    for (size_t i = 0; i < bytes; i++)
        up[i] = (uint8_t)(i * 7 + (i >> 12));
    ck_assert_int_eq(vgpu_copy_h2d(ctx, NULL, FAKE_DEVICE_BASE + 3, up, bytes), 0);
    ck_assert_int_eq(vgpu_copy_d2h(ctx, NULL, down, FAKE_DEVICE_BASE + 3, bytes), 0);
    ck_assert(!memcmp(up, down, bytes));
    free(up);
    free(down);
}

START_TEST(small_copies_use_the_arena)
{
    copy_through(1);
    copy_through(4096);
    ck_assert_int_eq(fake.allocs + fake.registers, 0);
}
END_TEST

START_TEST(middle_copies_are_staged)
{
    copy_through(4097);
    copy_through(3 * VGPU_STAGE_BYTES - 1);
    ck_assert_int_eq(fake.allocs, 1);
    ck_assert_int_eq(fake.registers, 0);
}
END_TEST

START_TEST(large_copies_are_registered_and_let_go)
{
    copy_through(VGPU_REGISTER_MIN);
    ck_assert_int_eq(fake.registers, 2);
    for (int i = 1; i < FAKE_BUFFERS; i++)
        ck_assert(!fake.bufs[i].used);
}
END_TEST

START_TEST(large_copies_are_staged_where_registering_fails)
{
    FAKE_SET(fail_register, -ENOMEM);
    copy_through(VGPU_REGISTER_MIN + 5);
    ck_assert_int_eq(fake.allocs, 1);
}
END_TEST

START_TEST(copies_work_without_a_staging_pool)
{
    FAKE_SET(fail_register, -ENOMEM);
    FAKE_SET(fail_alloc, -ENOMEM);
    copy_through(100001);
}
END_TEST

START_TEST(registered_memory_is_used_directly)
{
    static uint8_t memory[65536];
    struct vgpu_host *host;

    ck_assert_int_eq(vgpu_host_register(ctx, memory, sizeof(memory), VGPU_BUF_DEVICE_READS, &host),
                     0);
    memory[777] = 42;
    ck_assert_int_eq(vgpu_copy_h2d(ctx, NULL, FAKE_DEVICE_BASE, memory + 700, 64000), 0);
    ck_assert_uint_eq(fake.memory[77], 42);
    ck_assert_int_eq(fake.allocs, 0);
    ck_assert_int_eq(fake.registers, 1);
    /* The other direction was not registered, and one byte more is not inside. */
    ck_assert_int_eq(vgpu_copy_d2h(ctx, NULL, memory, FAKE_DEVICE_BASE, 8192), 0);
    ck_assert_int_eq(fake.allocs, 1);
    ck_assert_int_eq(vgpu_host_free(host), 0);
}
END_TEST

START_TEST(a_failing_copy_reports_its_status)
{
    uint8_t byte[5000] = {0};

    ck_assert_int_eq(vgpu_copy_h2d(ctx, NULL, 64, byte, 1), -EFAULT);
    ck_assert_int_eq(vgpu_last_status(), VGPU_ST_BAD_ADDRESS);
    ck_assert_int_eq(
        vgpu_copy_h2d(ctx, NULL, FAKE_DEVICE_BASE + FAKE_DEVICE_BYTES - 4999, byte, 5000), -EFAULT);
    ck_assert_int_eq(vgpu_last_status(), VGPU_ST_BAD_ADDRESS);
    ck_assert_int_eq(vgpu_nop(ctx, NULL), 0);
}
END_TEST

/* ---- modules ---- */

static struct vgpu_function *get_function(const char *name)
{
    struct vgpu_function *function;
    struct vgpu_module *module;

    ck_assert_int_eq(vgpu_module_load(ctx, "good", 5, &module, NULL, 0), 0);
    ck_assert_int_eq(vgpu_module_function(module, name, &function), 0);
    return function;
}

START_TEST(a_failed_load_brings_the_log)
{
    struct vgpu_module *module;
    char log[12];

    ck_assert_int_eq(vgpu_module_load(ctx, "bad!", 5, &module, log, sizeof(log)), -EBADMSG);
    ck_assert_int_eq(vgpu_last_status(), VGPU_ST_BAD_PTX);
    ck_assert_str_eq(log, "line 3: wha");
    ck_assert_int_eq(vgpu_module_load(ctx, "bad!", 0, &module, log, sizeof(log)), -EINVAL);
    ck_assert_str_eq(log, "");
    ck_assert_int_eq(vgpu_module_load(ctx, "bad!", 2 << 20, &module, log, sizeof(log)), -E2BIG);
}
END_TEST

START_TEST(parameters_are_packed_by_the_layout)
{
    struct vgpu_launch_config config = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    struct vgpu_function *function = get_function("add");
    uint32_t values[FAKE_PARAMS];
    const void *args[FAKE_PARAMS];

    for (uint32_t i = 0; i < FAKE_PARAMS; i++) {
        values[i] = 100 + i;
        args[i] = &values[i];
    }
    ck_assert_int_eq(vgpu_launch_args(function, &config, args, FAKE_PARAMS), 0);
    ck_assert_int_eq(vgpu_sync(ctx), 0);
    for (uint32_t i = 0; i < FAKE_PARAMS; i++)
        ck_assert_uint_eq(fake.params[i], 100 + i);
    ck_assert_int_eq(vgpu_launch_args(function, &config, args, FAKE_PARAMS - 1), -EINVAL);
    ck_assert_int_eq(vgpu_last_status(), VGPU_ST_BAD_PARAMS);
    ck_assert_int_eq(vgpu_launch(function, &config, values, sizeof(values) - 4), -EINVAL);
    ck_assert_uint_eq(fake.launches, 1);
}
END_TEST

START_TEST(launches_in_flight_have_their_own_parameters)
{
    struct vgpu_launch_config config = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    struct vgpu_function *function = get_function("add");
    uint32_t block[FAKE_PARAMS] = {0};

    /* More than slots and blocks: launching waits for completions. */
    for (uint32_t i = 0; i < 500; i++) {
        block[0] = i;
        ck_assert_int_eq(vgpu_launch(function, &config, block, sizeof(block)), 0);
    }
    ck_assert_int_eq(vgpu_sync(ctx), 0);
    ck_assert_uint_eq(fake.launches, 500);
    ck_assert_uint_eq(fake.sum, 499 * 500 / 2);
}
END_TEST

START_TEST(a_layout_too_large_for_the_arena_is_fetched_by_a_buffer)
{
    struct vgpu_function *function = get_function("wide");
    struct vgpu_param_info param;

    ck_assert_int_eq(vgpu_function_param(function, FAKE_WIDE_PARAMS - 1, &param), 0);
    ck_assert_uint_eq(param.offset, (FAKE_WIDE_PARAMS - 1) * 4);
    ck_assert_int_eq(vgpu_function_param(function, FAKE_WIDE_PARAMS, &param), -EINVAL);
}
END_TEST

START_TEST(a_failed_launch_is_reported_once_and_to_its_stream)
{
    struct vgpu_launch_config config = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    struct vgpu_function *function = get_function("add");
    uint32_t block[FAKE_PARAMS] = {0};
    struct vgpu_stream *stream;

    ck_assert_int_eq(vgpu_stream_create(ctx, 0, &stream), 0);
    config.stream = stream;
    FAKE_SET(next_status, VGPU_ST_LAUNCH_RESOURCES);
    ck_assert_int_eq(vgpu_launch(function, &config, block, sizeof(block)), 0);
    ck_assert_int_eq(vgpu_stream_sync(ctx, NULL), 0);
    ck_assert_int_eq(vgpu_stream_sync(ctx, stream), -EINVAL);
    ck_assert_int_eq(vgpu_last_status(), VGPU_ST_LAUNCH_RESOURCES);
    ck_assert_int_eq(vgpu_stream_sync(ctx, stream), 0);
    ck_assert_int_eq(vgpu_stream_destroy(stream), 0);
}
END_TEST

/* ---- what kernels print ---- */

static struct {
    char text[20000];
    size_t bytes;
    uint64_t lost;
    unsigned int calls;
} heard;

static void hear(void *opaque, const char *text, size_t bytes, uint64_t lost)
{
    ck_assert_ptr_eq(opaque, &heard);
    ck_assert_uint_le(bytes, sizeof(heard.text) - heard.bytes);
    memcpy(heard.text + heard.bytes, text, bytes);
    heard.bytes += bytes;
    heard.lost += lost;
    heard.calls++;
}

static void print(const char *text, uint32_t lost)
{
    size_t bytes = strlen(text);

    ck_assert_uint_le(bytes, sizeof(fake.output));
    pthread_mutex_lock(&fake.lock);
    memcpy(fake.output, text, bytes);
    fake.output_bytes = (uint32_t)bytes;
    fake.output_lost = lost;
    pthread_mutex_unlock(&fake.lock);
}

static void launch(struct vgpu_function *function)
{
    struct vgpu_launch_config config = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    uint32_t block[FAKE_PARAMS] = {0};

    ck_assert_int_eq(vgpu_launch(function, &config, block, sizeof(block)), 0);
}

START_TEST(programs_that_never_print_pay_nothing)
{
    struct vgpu_function *add = get_function("add");
    uint8_t byte;

    for (int i = 0; i < 10; i++) {
        launch(add);
        ck_assert_int_eq(vgpu_stream_sync(ctx, NULL), 0);
        ck_assert_int_eq(vgpu_sync(ctx), 0);
        ck_assert_int_eq(vgpu_copy_d2h(ctx, NULL, &byte, FAKE_DEVICE_BASE, 1), 0);
    }
    ck_assert_uint_eq(fake.output_reads, 0);
}
END_TEST

START_TEST(output_comes_with_whatever_waits)
{
    struct vgpu_function *say = get_function("say");
    struct vgpu_event *event;
    uint32_t reads;
    uint8_t byte;

    memset(&heard, 0, sizeof(heard));
    ck_assert_int_eq(vgpu_set_output(ctx, hear, &heard), 0);
    ck_assert_int_eq(vgpu_event_create(ctx, &event), 0);
    launch(say);
    print("a", 0);
    ck_assert_int_eq(vgpu_stream_sync(ctx, NULL), 0);
    print("b", 0);
    ck_assert_int_eq(vgpu_copy_d2h(ctx, NULL, &byte, FAKE_DEVICE_BASE, 1), 0);
    print("c", 0);
    ck_assert_int_eq(vgpu_event_record(event, NULL), 0);
    ck_assert_int_eq(vgpu_event_sync(event), 0);
    print("d", 0);
    ck_assert_int_eq(vgpu_sync(ctx), 0);
    ck_assert_str_eq(heard.text, "abcd");
    /* All that was launched has ended and was read: nothing more to ask for. */
    reads = fake.output_reads;
    ck_assert_int_eq(vgpu_stream_sync(ctx, NULL), 0);
    ck_assert_int_eq(vgpu_sync(ctx), 0);
    ck_assert_uint_eq(fake.output_reads, reads);
    launch(say);
    print("e", 0);
    ck_assert_int_eq(vgpu_sync(ctx), 0);
    ck_assert_str_eq(heard.text, "abcde");
    /* A program may ask in between. */
    print("f", 0);
    ck_assert_int_eq(vgpu_output_flush(ctx), 0);
    ck_assert_str_eq(heard.text, "abcdef");
    ck_assert_int_eq(vgpu_event_destroy(event), 0);
}
END_TEST

START_TEST(much_output_comes_whole_and_losses_are_told)
{
    char text[10001];

    memset(&heard, 0, sizeof(heard));
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        text[i] = (char)('a' + i % 23);
    text[sizeof(text) - 1] = '\0';
    ck_assert_int_eq(vgpu_set_output(ctx, hear, &heard), 0);
    launch(get_function("say"));
    print(text, 77);
    ck_assert_int_eq(vgpu_sync(ctx), 0);
    ck_assert_str_eq(heard.text, text);
    ck_assert_uint_eq(heard.lost, 77);
    ck_assert_uint_gt(heard.calls, 1);
}
END_TEST

/* An error of the work that was waited for is not hidden by reading the output after it. */
START_TEST(output_does_not_hide_an_error)
{
    struct vgpu_function *say = get_function("say");

    memset(&heard, 0, sizeof(heard));
    ck_assert_int_eq(vgpu_set_output(ctx, hear, &heard), 0);
    print("said", 0);
    FAKE_SET(next_status, VGPU_ST_LAUNCH_RESOURCES);
    launch(say);
    ck_assert_int_eq(vgpu_sync(ctx), -EINVAL);
    ck_assert_int_eq(vgpu_last_status(), VGPU_ST_LAUNCH_RESOURCES);
    ck_assert_str_eq(heard.text, "said");
}
END_TEST

START_TEST(closing_hands_out_the_rest)
{
    memset(&heard, 0, sizeof(heard));
    ck_assert_int_eq(vgpu_set_output(ctx, hear, &heard), 0);
    launch(get_function("say"));
    ck_assert_int_eq(vgpu_nop(ctx, NULL), 0);
    print("last words", 0);
    vgpu_close(ctx);
    ctx = NULL;
    ck_assert_str_eq(heard.text, "last words");
}
END_TEST

START_TEST(event_sync_waits_for_the_last_record)
{
    struct vgpu_event *event;
    uint64_t time_ns;

    ck_assert_int_eq(vgpu_event_create(ctx, &event), 0);
    ck_assert_int_eq(vgpu_event_sync(event), 0);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(vgpu_event_record(event, NULL), 0);
    ck_assert_int_eq(vgpu_event_sync(event), 0);
    ck_assert_uint_eq(event->done_seq, 10);
    ck_assert_int_eq(vgpu_event_query(event, &time_ns), 0);
    ck_assert_int_eq(vgpu_event_destroy(event), 0);
}
END_TEST

/* ---- status ---- */

START_TEST(every_status_has_words_and_an_errno)
{
    static const uint16_t values[] = {
#define VALUE(name, value, cuda, lost, text) value,
        VGPU_STATUS_LIST(VALUE)
#undef VALUE
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        ck_assert_str_ne(vgpu_status_name(values[i]), "UNKNOWN");
        ck_assert(values[i] == VGPU_ST_OK ? vgpu_status_errno(values[i]) == 0
                                          : vgpu_status_errno(values[i]) < 0);
        ck_assert_uint_eq(vgpu_status_blame(values[i]), values[i] >> 8);
    }
    ck_assert_str_eq(vgpu_status_name(0x7777), "UNKNOWN");
    ck_assert_int_eq(vgpu_status_errno(0x7777), -EIO);
    ck_assert_int_eq(vgpu_status_cuda(VGPU_ST_ILLEGAL_ADDRESS), 700);
    ck_assert_int_eq(vgpu_status_cuda(0x7777), 999);
}
END_TEST

START_TEST(executors_have_names)
{
    struct vgpu_info info = {.exec_kind = VGPU_EXEC_CUDA, .name = "H100"};
    char text[96];

    ck_assert_str_eq(vgpu_executor_text(&info, text, sizeof(text)), "CUDA on H100");
    info.exec_kind = VGPU_EXEC_CPU;
    ck_assert_str_eq(vgpu_executor_text(&info, text, sizeof(text)), "CPU executor");
    info.exec_kind = VGPU_EXEC_NULL;
    ck_assert_str_eq(vgpu_executor_text(&info, text, sizeof(text)), "null executor");
}
END_TEST

static void add_case(Suite *suite, const char *name, bool opened, const TTest *const *tests)
{
    TCase *tcase = tcase_create(name);

    if (opened)
        tcase_add_checked_fixture(tcase, setup_small, teardown);
    tcase_set_timeout(tcase, 120);
    for (; *tests; tests++)
        tcase_add_test(tcase, *tests);
    suite_add_tcase(suite, tcase);
}

static Suite *libvgpu_suite(void)
{
    const TTest *const open_tests[] = {open_unwinds_whatever_call_fails, open_refuses_bad_options,
                                       NULL};
    const TTest *const ring_tests[] = {commands_complete_across_the_wrap,
                                       doorbell_is_rung_only_when_asked,
                                       a_full_ring_makes_submitters_wait,
                                       stray_completions_are_ignored,
                                       impossible_index_ends_the_context,
                                       loss_ends_waiting_with_its_reason,
                                       a_child_is_refused,
                                       NULL};
    const TTest *const thread_tests[] = {threads_share_a_small_ring_and_arena,
                                         completions_out_of_order_find_their_waiters, NULL};
    const TTest *const copy_tests[] = {small_copies_use_the_arena,
                                       middle_copies_are_staged,
                                       large_copies_are_registered_and_let_go,
                                       large_copies_are_staged_where_registering_fails,
                                       copies_work_without_a_staging_pool,
                                       registered_memory_is_used_directly,
                                       a_failing_copy_reports_its_status,
                                       NULL};
    const TTest *const module_tests[] = {a_failed_load_brings_the_log,
                                         parameters_are_packed_by_the_layout,
                                         launches_in_flight_have_their_own_parameters,
                                         a_layout_too_large_for_the_arena_is_fetched_by_a_buffer,
                                         a_failed_launch_is_reported_once_and_to_its_stream,
                                         event_sync_waits_for_the_last_record,
                                         NULL};
    const TTest *const output_tests[] = {programs_that_never_print_pay_nothing,
                                         output_comes_with_whatever_waits,
                                         much_output_comes_whole_and_losses_are_told,
                                         output_does_not_hide_an_error,
                                         closing_hands_out_the_rest,
                                         NULL};
    const TTest *const status_tests[] = {every_status_has_words_and_an_errno, executors_have_names,
                                         NULL};
    Suite *suite = suite_create("libvgpu");

    add_case(suite, "open", false, open_tests);
    add_case(suite, "ring", true, ring_tests);
    add_case(suite, "threads", true, thread_tests);
    add_case(suite, "copy", true, copy_tests);
    add_case(suite, "module", true, module_tests);
    add_case(suite, "output", true, output_tests);
    add_case(suite, "status", false, status_tests);
    return suite;
}

VGPU_UNIT_MAIN(libvgpu_suite)
