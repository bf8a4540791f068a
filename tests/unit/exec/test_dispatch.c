// SPDX-License-Identifier: MIT
/*
 * The drain with a scripted executor: order, barriers, back-pressure per stream, events across
 * streams, and the end of a context.
 */
#include "fake_exec.h"
#include "guest.h"
#include "suites.h"
#include "unit.h"

#include <exec/dispatch.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE        4096u
#define ARENA_BYTES (4 * PAGE)
#define LOG2        6
#define ENTRIES     64u

struct world {
    void *block;
    uint8_t *arena;
    struct guest guest;
    struct vgpu_ring ring;
    struct vgpu_gbufs bufs;
    struct vgpu_exec exec;
    struct vgpu_dispatch d;
    uint64_t held; /* by the VM */
};

static uint64_t world_vm_held(void *opaque)
{
    return ((struct world *)opaque)->held;
}

static uint8_t *world_buf(struct world *w, uint32_t id, uint32_t flags, uint64_t bytes)
{
    const struct vgpu_x_buf msg = {.id = id, .flags = flags, .bytes = bytes, .run_count = 1};
    const struct vgpu_xrun run = {.bytes = bytes};
    int fd = memfd_create("ram", MFD_CLOEXEC);
    uint8_t *view;

    ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
    view = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_uint_eq(vgpu_gbufs_begin(&w->bufs, &msg, &fd, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_add(&w->bufs, id, &run, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_commit(&w->bufs, id), VGPU_ST_OK);
    return view;
}

static void world_init(struct world *w, uint32_t capacity)
{
    size_t bytes = vgpu_queue_bytes(LOG2, LOG2 + 2);
    struct vgpu_dispatch_config cfg = {
        .ops = &fake_exec_ops,
        .exec = &w->exec,
        .ring = &w->ring,
        .bufs = &w->bufs,
        .budget = 512,
        .max_image_bytes = 1 << 20,
        .memory_limit = 1 << 20,
        .vm_held = world_vm_held,
        .opaque = w,
    };

    memset(w, 0, sizeof(*w));
    w->exec.capacity = capacity;
    w->block = aligned_alloc(4096, bytes);
    memset(w->block, 0, bytes);
    guest_init(&w->guest, w->block, LOG2 + 2, LOG2, UINT32_MAX - 20);
    ck_assert_int_eq(vgpu_ring_attach(&w->ring, w->block, bytes, LOG2 + 2, LOG2), 0);
    ck_assert_int_eq(vgpu_gbufs_init(&w->bufs, 4), 0);
    w->arena = world_buf(w, VGPU_BUF_ARENA, VGPU_BUF_FLAGS, ARENA_BYTES);
    ck_assert_int_eq(vgpu_dispatch_init(&w->d, &cfg), 0);
}

static void world_fini(struct world *w)
{
    vgpu_dispatch_fini(&w->d);
    vgpu_gbufs_fini(&w->bufs);
    munmap(w->arena, ARENA_BYTES);
    free(w->block);
}

static void submit(struct world *w, struct vgpu_sqe sqe)
{
    ck_assert(guest_post(&w->guest, &sqe));
    (void)guest_publish(&w->guest);
}

static void submit_op(struct world *w, uint16_t opcode, uint32_t stream, uint64_t cookie)
{
    submit(w, (struct vgpu_sqe){.opcode = opcode, .stream = stream, .cookie = cookie});
}

static void submit_event(struct world *w, uint16_t opcode, uint32_t stream, uint32_t event,
                         uint64_t cookie)
{
    struct vgpu_sqe sqe = {.opcode = opcode, .stream = stream, .cookie = cookie};

    sqe.u.event.id = event;
    submit(w, sqe);
}

/* Run until nothing more happens. */
static void run(struct world *w)
{
    while (vgpu_dispatch_run(&w->d))
        ;
}

static void finish(struct world *w, uint64_t cookie)
{
    fake_exec_finish(&w->exec, cookie, VGPU_ST_OK);
    run(w);
}

static struct vgpu_cqe expect(struct world *w, uint64_t cookie, uint16_t status)
{
    struct vgpu_cqe cqe;

    ck_assert_msg(guest_reap(&w->guest, &cqe), "no completion; expected cookie %llu",
                  (unsigned long long)cookie);
    ck_assert_uint_eq(cqe.cookie, cookie);
    ck_assert_uint_eq(cqe.status, status);
    return cqe;
}

static void expect_none(struct world *w)
{
    struct vgpu_cqe cqe;

    ck_assert(!guest_reap(&w->guest, &cqe));
}

/* ---- Classes ---- */

START_TEST(completions_come_as_the_executor_finishes_across_streams)
{
    struct world w;

    world_init(&w, 10);
    submit_op(&w, VGPU_CMD_NOP, 1, 11);
    submit_op(&w, VGPU_CMD_NOP, 1, 12);
    submit_op(&w, VGPU_CMD_NOP, 2, 21);
    run(&w);
    ck_assert_uint_eq(w.d.in_executor, 3);
    expect_none(&w);
    finish(&w, 21);
    expect(&w, 21, VGPU_ST_OK);
    finish(&w, 11);
    fake_exec_finish(&w.exec, 12, VGPU_ST_BAD_ADDRESS);
    run(&w);
    ck_assert_uint_eq(expect(&w, 11, VGPU_ST_OK).sq_idx, UINT32_MAX - 20);
    ck_assert_uint_eq(expect(&w, 12, VGPU_ST_BAD_ADDRESS).sq_idx, UINT32_MAX - 19);
    ck_assert_uint_eq(w.d.errors, 1);
    ck_assert_uint_eq(w.d.lost, 0);
    ck_assert_uint_eq(w.d.in_executor, 0);
    world_fini(&w);
}
END_TEST

START_TEST(immediate_overtakes_queued)
{
    struct world w;
    struct vgpu_sqe alloc = {.opcode = VGPU_CMD_MEM_ALLOC, .cookie = 2};

    world_init(&w, 10);
    submit_op(&w, VGPU_CMD_NOP, 0, 1);
    alloc.u.mem_alloc.bytes = 4096;
    submit(&w, alloc);
    run(&w);
    ck_assert_uint_eq(expect(&w, 2, VGPU_ST_OK).result, 0xabc000);
    expect_none(&w);
    finish(&w, 1);
    expect(&w, 1, VGPU_ST_OK);
    world_fini(&w);
}
END_TEST

static const uint16_t barriers[] = {VGPU_CMD_FENCE, VGPU_CMD_MEM_FREE, VGPU_CMD_MODULE_UNLOAD,
                                    VGPU_CMD_STREAM_DESTROY, VGPU_CMD_EVENT_DESTROY};

START_TEST(barrier_waits_for_all_before_and_holds_all_after)
{
    struct world w;
    struct vgpu_sqe sqe = {.opcode = barriers[_i], .cookie = 3};

    world_init(&w, 1);
    submit_op(&w, VGPU_CMD_NOP, 1, 1);
    submit_op(&w, VGPU_CMD_NOP, 1, 2); /* parked: also "before" */
    if (sqe.opcode != VGPU_CMD_FENCE)
        sqe.u.module_unload.module = 77;
    submit(&w, sqe);
    submit_op(&w, VGPU_CMD_EVENT_CREATE, 0, 4);
    submit_op(&w, VGPU_CMD_NOP, 2, 5);
    run(&w);
    ck_assert(!vgpu_dispatch_wants_ring(&w.d));
    ck_assert_uint_eq(w.exec.submitted_count, 1);
    expect_none(&w);
    finish(&w, 1);
    expect(&w, 1, VGPU_ST_OK);
    expect_none(&w);
    ck_assert(fake_exec_has(&w.exec, 2));
    finish(&w, 2);
    expect(&w, 2, VGPU_ST_OK);
    expect(&w, 3, VGPU_ST_OK);
    ck_assert_uint_eq(expect(&w, 4, VGPU_ST_OK).result, 5);
    ck_assert(fake_exec_has(&w.exec, 5));
    world_fini(&w);
}
END_TEST

START_TEST(refused_barrier_does_not_wait)
{
    struct world w;
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_FENCE, .cookie = 2, .flags = 1};

    world_init(&w, 10);
    submit_op(&w, VGPU_CMD_NOP, 1, 1);
    submit(&w, sqe);
    run(&w);
    expect(&w, 2, VGPU_ST_BAD_FLAGS);
    world_fini(&w);
}
END_TEST

START_TEST(jobs_done_inside_submit_complete_in_one_run)
{
    struct world w;

    world_init(&w, 10);
    w.exec.inline_nops = true;
    for (uint64_t i = 0; i < 60; i++)
        submit_op(&w, VGPU_CMD_NOP, 0, i);
    ck_assert_uint_eq(vgpu_dispatch_run(&w.d), 60);
    for (uint64_t i = 0; i < 60; i++)
        expect(&w, i, VGPU_ST_OK);
    world_fini(&w);
}
END_TEST

START_TEST(budget_bounds_one_run)
{
    struct world w;

    world_init(&w, 10);
    w.exec.inline_nops = true;
    w.d.budget = 7;
    for (uint64_t i = 0; i < 20; i++)
        submit_op(&w, VGPU_CMD_NOP, 0, i);
    ck_assert_uint_eq(vgpu_dispatch_run(&w.d), 7);
    ck_assert_uint_eq(vgpu_dispatch_run(&w.d), 7);
    ck_assert_uint_eq(vgpu_dispatch_run(&w.d), 6);
    ck_assert_uint_eq(vgpu_dispatch_run(&w.d), 0);
    world_fini(&w);
}
END_TEST

/* ---- Back-pressure ---- */

/* VGPU-STRM-002 */
START_TEST(full_stream_does_not_block_others)
{
    struct world w;

    world_init(&w, 2);
    for (uint64_t i = 0; i < 10; i++)
        submit_op(&w, VGPU_CMD_NOP, 1, 100 + i);
    for (uint64_t i = 0; i < 2; i++)
        submit_op(&w, VGPU_CMD_NOP, 2, 200 + i);
    run(&w);
    ck_assert_uint_eq(w.d.parked, 8);
    ck_assert(fake_exec_has(&w.exec, 200));
    ck_assert(fake_exec_has(&w.exec, 201));
    finish(&w, 200);
    expect(&w, 200, VGPU_ST_OK);

    /* And the full one keeps its order to the end. */
    for (uint64_t i = 0; i < 10; i++) {
        ck_assert(fake_exec_has(&w.exec, 100 + i));
        finish(&w, 100 + i);
        expect(&w, 100 + i, VGPU_ST_OK);
    }
    ck_assert_uint_eq(w.d.parked, 0);
    ck_assert_uint_eq(w.d.park_map, 0);
    world_fini(&w);
}
END_TEST

START_TEST(parked_stream_is_not_asked_again_for_each_new_job)
{
    struct world w;
    uint32_t fulls;

    world_init(&w, 1);
    submit_op(&w, VGPU_CMD_NOP, 1, 1);
    submit_op(&w, VGPU_CMD_NOP, 1, 2);
    run(&w);
    fulls = w.exec.fulls;
    for (uint64_t i = 3; i < 40; i++)
        submit_op(&w, VGPU_CMD_NOP, 1, i);
    ck_assert_uint_eq(vgpu_dispatch_run(&w.d), 37);
    ck_assert_uint_le(w.exec.fulls - fulls, 1);
    world_fini(&w);
}
END_TEST

START_TEST(completion_slots_bound_what_is_parked)
{
    struct world w;

    world_init(&w, 1);
    for (uint64_t i = 0; i < 3 * ENTRIES; i++)
        submit_op(&w, VGPU_CMD_NOP, 1, i);
    run(&w);
    ck_assert_uint_eq(w.d.parked + w.d.in_executor, ENTRIES);
    for (uint64_t i = 0; i < 3 * ENTRIES; i++) {
        finish(&w, i);
        expect(&w, i, VGPU_ST_OK);
    }
    run(&w);
    ck_assert_uint_eq(w.d.parked + w.d.in_executor, 0);
    world_fini(&w);
}
END_TEST

/* VGPU-CMD-001 */
START_TEST(random_streams_keep_their_order)
{
    struct world w;
    uint64_t rng = 4711 + (uint64_t)_i, sent = 0, got = 0;
    uint64_t next_of[200] = {0}, seen_of[200] = {0};

    world_init(&w, 1 + (uint32_t)_i);
    while (got < 20000) {
        struct vgpu_cqe cqe;

        rng = rng * 6364136223846793005ull + 1442695040888963407ull;
        if ((rng >> 40) % 3 && sent < 20000) {
            uint32_t stream = (uint32_t)(rng >> 33) % 200;
            const struct vgpu_sqe sqe = {.stream = stream,
                                         .cookie = (uint64_t)stream << 32 | next_of[stream]};

            if (guest_post(&w.guest, &sqe)) {
                next_of[stream]++;
                sent++;
                (void)guest_publish(&w.guest);
            }
        } else if (w.exec.held_count) {
            /* The oldest job of some stream. */
            uint32_t pick = (uint32_t)(rng >> 33) % w.exec.held_count, k = 0;

            while (w.exec.held[k]->stream != w.exec.held[pick]->stream)
                k++;
            fake_exec_finish(&w.exec, w.exec.held[k]->cookie, VGPU_ST_OK);
        }
        run(&w);
        vgpu_ring_publish_cons(&w.ring);
        while (guest_reap(&w.guest, &cqe)) {
            unit_check((uint32_t)cqe.cookie == seen_of[cqe.cookie >> 32],
                       "stream %u: job %u completed as number %llu", (uint32_t)(cqe.cookie >> 32),
                       (uint32_t)cqe.cookie, (unsigned long long)seen_of[cqe.cookie >> 32]);
            seen_of[cqe.cookie >> 32]++;
            got++;
        }
        unit_check(w.d.parked == 0 || w.d.in_executor > 0, "%u streams parked behind no job",
                   w.d.parked);
    }
    world_fini(&w);
}
END_TEST

/* ---- Events ---- */

START_TEST(event_wait_is_not_submitted_before_a_parked_record)
{
    struct world w;

    world_init(&w, 1);
    submit_op(&w, VGPU_CMD_NOP, 1, 1);
    submit_event(&w, VGPU_CMD_EVENT_RECORD, 1, 7, 2); /* parked behind 1 */
    submit_event(&w, VGPU_CMD_EVENT_WAIT, 2, 7, 3);   /* must not overtake it */
    submit_op(&w, VGPU_CMD_NOP, 3, 4);
    run(&w);
    ck_assert(!fake_exec_has(&w.exec, 3));
    ck_assert(!vgpu_dispatch_wants_ring(&w.d));
    finish(&w, 1);
    /* Now the record goes, then the wait, then the rest: in the ring's order. */
    ck_assert_uint_eq(w.exec.submitted_count, 4);
    ck_assert_uint_eq(w.exec.submitted[1], 2);
    ck_assert_uint_eq(w.exec.submitted[2], 3);
    ck_assert_uint_eq(w.exec.submitted[3], 4);
    ck_assert(vgpu_dispatch_wants_ring(&w.d));
    finish(&w, 2);
    expect(&w, 1, VGPU_ST_OK);
    ck_assert_uint_eq(expect(&w, 2, VGPU_ST_OK).result, 2000);
    world_fini(&w);
}
END_TEST

START_TEST(later_record_does_not_overtake_a_parked_wait)
{
    struct world w;

    world_init(&w, 1);
    submit_op(&w, VGPU_CMD_NOP, 1, 1);
    submit_event(&w, VGPU_CMD_EVENT_WAIT, 1, 7, 2);
    submit_event(&w, VGPU_CMD_EVENT_RECORD, 2, 7, 3);
    run(&w);
    ck_assert(!fake_exec_has(&w.exec, 3));
    finish(&w, 1);
    ck_assert(fake_exec_has(&w.exec, 2));
    ck_assert(fake_exec_has(&w.exec, 3));
    world_fini(&w);
}
END_TEST

START_TEST(events_of_the_parked_stream_itself_do_not_stop_the_ring)
{
    struct world w;

    world_init(&w, 1);
    for (uint64_t i = 0; i < 5; i++) {
        submit_event(&w, VGPU_CMD_EVENT_RECORD, 1, 7, 10 + i);
        submit_op(&w, VGPU_CMD_NOP, 2, 20 + i);
    }
    run(&w);
    ck_assert(vgpu_dispatch_wants_ring(&w.d));
    ck_assert(fake_exec_has(&w.exec, 20));
    for (uint64_t i = 0; i < 5; i++)
        finish(&w, 10 + i);
    for (uint64_t i = 0; i < 5; i++)
        expect(&w, 10 + i, VGPU_ST_OK);
    world_fini(&w);
}
END_TEST

/* VGPU-STRM-011 */
START_TEST(query_of_a_parked_record_is_not_ready)
{
    struct world w;
    struct vgpu_sqe query = {.opcode = VGPU_CMD_EVENT_QUERY, .cookie = 3};

    world_init(&w, 1);
    submit_op(&w, VGPU_CMD_NOP, 1, 1);
    submit_event(&w, VGPU_CMD_EVENT_RECORD, 1, 7, 2);
    query.u.event.id = 7;
    submit(&w, query);
    query.u.event.id = 8;
    query.cookie = 4;
    submit(&w, query);
    run(&w);
    expect(&w, 3, VGPU_ST_NOT_READY);
    ck_assert_uint_eq(w.exec.queries, 1);
    ck_assert_uint_eq(expect(&w, 4, VGPU_ST_OK).result, 42);
    finish(&w, 1);
    expect(&w, 1, VGPU_ST_OK);
    query.u.event.id = 7;
    query.cookie = 5;
    submit(&w, query);
    run(&w);
    expect(&w, 5, VGPU_ST_OK); /* the executor's answer, now that it knows */
    world_fini(&w);
}
END_TEST

/* ---- Records, logs, parameters ---- */

/* VGPU-LAUNCH-002 */
START_TEST(launch_parameters_are_copied_when_consumed)
{
    struct world w;
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_LAUNCH, .cookie = 1};

    world_init(&w, 1);
    submit_op(&w, VGPU_CMD_NOP, 0, 9);
    sqe.u.launch = (struct vgpu_cmd_launch){
        .grid = {1, 1, 1}, .block = {1, 1, 1}, .param_bytes = 4096, .param_off = 8192};
    memset(w.arena + 8192, 1, 4096);
    submit(&w, sqe);
    run(&w);
    /* Parked; the guest changes its mind too late. */
    ck_assert_uint_eq(w.d.parked, 1);
    memset(w.arena, 0xff, ARENA_BYTES);
    finish(&w, 9);
    ck_assert_uint_eq(w.exec.params_sum, 4096);
    w.exec.launch_status = VGPU_ST_LAUNCH_RESOURCES;
    sqe.cookie = 2;
    submit(&w, sqe);
    run(&w);
    expect(&w, 9, VGPU_ST_OK);
    expect(&w, 2, VGPU_ST_LAUNCH_RESOURCES);
    world_fini(&w);
}
END_TEST

START_TEST(module_log_comes_back_whatever_the_status)
{
    struct world w;
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_MODULE_LOAD, .cookie = 1};
    struct vgpu_cqe cqe;

    world_init(&w, 1);
    memcpy(w.arena, "image!", 6);
    memset(w.arena + 100, 0x55, 100);
    sqe.u.module_load =
        (struct vgpu_cmd_module_load){.image_bytes = 6, .log_off = 100, .log_bytes = 50};
    w.exec.load_status = VGPU_ST_BAD_PTX;
    submit(&w, sqe);
    run(&w);
    cqe = expect(&w, 1, VGPU_ST_BAD_PTX);
    ck_assert_uint_eq(cqe.aux, 13);
    ck_assert_uint_eq(cqe.result, 0);
    ck_assert_str_eq((char *)w.arena + 100, "line 3: error");
    ck_assert_uint_eq(w.arena[114], 0x55);
    ck_assert_int_eq(memcmp(w.exec.image, "image!", 6), 0);

    /* A log that is cut. */
    w.exec.load_status = VGPU_ST_OK;
    sqe.u.module_load.log_bytes = 5;
    submit(&w, sqe);
    run(&w);
    cqe = expect(&w, 1, VGPU_ST_OK);
    ck_assert_uint_eq(cqe.aux, 4);
    ck_assert_uint_eq(cqe.result, 77);
    ck_assert_str_eq((char *)w.arena + 100, "line");
    ck_assert_uint_eq(w.d.calls.modules, 1);
    sqe.u.module_load.log_bytes = 0;
    submit(&w, sqe);
    run(&w);
    ck_assert_uint_eq(expect(&w, 1, VGPU_ST_OK).aux, 0);
    world_fini(&w);
}
END_TEST

/* VGPU-MOD-011 */
START_TEST(function_record_is_cut_to_the_room_and_aux_tells_all)
{
    struct world w;
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_FUNC_LOOKUP, .cookie = 1};
    struct vgpu_param_info param;
    struct vgpu_cqe cqe;

    world_init(&w, 1);
    memcpy(w.arena, "kernel", 6);
    memset(w.arena + 64, 0x55, 200);
    sqe.u.lookup = (struct vgpu_cmd_lookup){.name_bytes = 6, .out_off = 64, .out_bytes = 64 + 20};
    submit(&w, sqe);
    run(&w);
    cqe = expect(&w, 1, VGPU_ST_OK);
    ck_assert_uint_eq(cqe.result, 55);
    ck_assert_uint_eq(cqe.aux, 64 + 3 * 8);
    memcpy(&param, w.arena + 64 + 64 + 8, sizeof(param));
    ck_assert_uint_eq(param.offset, 8);
    ck_assert_uint_eq(w.arena[64 + 64 + 16], 0x55);
    sqe.u.lookup.name_bytes = 5;
    submit(&w, sqe);
    run(&w);
    ck_assert_uint_eq(expect(&w, 1, VGPU_ST_NOT_FOUND).result, 0);
    world_fini(&w);
}
END_TEST

START_TEST(global_record_is_written)
{
    struct world w;
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_GLOBAL_LOOKUP, .cookie = 1};
    struct vgpu_global_info info;

    world_init(&w, 1);
    w.arena[0] = 'g';
    sqe.u.lookup = (struct vgpu_cmd_lookup){.name_bytes = 1, .out_off = 64, .out_bytes = 16};
    submit(&w, sqe);
    run(&w);
    ck_assert_uint_eq(expect(&w, 1, VGPU_ST_OK).result, 0xdef0);
    memcpy(&info, w.arena + 64, sizeof(info));
    ck_assert_uint_eq(info.addr, 0xdef0);
    ck_assert_uint_eq(info.bytes, 16);
    world_fini(&w);
}
END_TEST

/* ---- Buffers and the end ---- */

START_TEST(copy_holds_its_buffer_until_it_is_done)
{
    struct world w;
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_COPY_H2D, .stream = 1, .cookie = 2};

    world_init(&w, 1);
    (void)world_buf(&w, 2, VGPU_BUF_FLAGS, PAGE);
    submit_op(&w, VGPU_CMD_NOP, 1, 1);
    sqe.u.copy = (struct vgpu_cmd_copy){.buf = 2, .bytes = 100};
    submit(&w, sqe);
    run(&w);
    ck_assert_int_eq(vgpu_gbufs_drop(&w.bufs, 2), VGPU_GBUF_IN_USE);
    finish(&w, 1);
    ck_assert(!vgpu_gbufs_collect(&w.bufs));
    finish(&w, 2);
    ck_assert(vgpu_gbufs_collect(&w.bufs));
    expect(&w, 1, VGPU_ST_OK);
    expect(&w, 2, VGPU_ST_OK);
    ck_assert_uint_eq(w.d.bytes_h2d, 100);
    sqe.cookie = 3;
    submit(&w, sqe);
    run(&w);
    expect(&w, 3, VGPU_ST_BAD_BUFFER);
    world_fini(&w);
}
END_TEST

START_TEST(sticky_status_ends_the_context)
{
    struct world w;

    world_init(&w, 10);
    submit_op(&w, VGPU_CMD_NOP, 1, 1);
    submit_op(&w, VGPU_CMD_NOP, 2, 2);
    run(&w);
    fake_exec_finish(&w.exec, 1, VGPU_ST_ILLEGAL_ADDRESS);
    run(&w);
    expect(&w, 1, VGPU_ST_ILLEGAL_ADDRESS);
    ck_assert_uint_eq(w.d.lost, VGPU_ST_ILLEGAL_ADDRESS);
    submit_op(&w, VGPU_CMD_NOP, 3, 3);
    ck_assert_uint_eq(vgpu_dispatch_run(&w.d), 0);
    expect_none(&w);
    world_fini(&w);
}
END_TEST

START_TEST(broken_ring_ends_the_context)
{
    struct world w;

    world_init(&w, 10);
    submit_op(&w, VGPU_CMD_NOP, 1, 1);
    run(&w);
    __atomic_store_n(&w.guest.rw->sq_prod, w.guest.sq_prod + 4 * ENTRIES + 1, __ATOMIC_RELEASE);
    run(&w);
    ck_assert_uint_eq(w.d.lost, VGPU_ST_BAD_RING);
    world_fini(&w);
}
END_TEST

START_TEST(statuses_that_lose_a_context_are_those_of_the_list)
{
#define IS(name, value, cuda, is_lost, text)                                                       \
    ck_assert_msg(vgpu_status_is_lost(VGPU_ST_##name) == is_lost, #name);
    VGPU_STATUS_LIST(IS)
    ck_assert(!vgpu_status_is_lost(0x7777));
}
END_TEST

Suite *dispatch_suite(void)
{
    Suite *s = suite_create("dispatch");
    TCase *tc = tcase_create("dispatch");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, completions_come_as_the_executor_finishes_across_streams);
    tcase_add_test(tc, immediate_overtakes_queued);
    tcase_add_loop_test(tc, barrier_waits_for_all_before_and_holds_all_after, 0, 5);
    tcase_add_test(tc, refused_barrier_does_not_wait);
    tcase_add_test(tc, jobs_done_inside_submit_complete_in_one_run);
    tcase_add_test(tc, budget_bounds_one_run);
    tcase_add_test(tc, full_stream_does_not_block_others);
    tcase_add_test(tc, parked_stream_is_not_asked_again_for_each_new_job);
    tcase_add_test(tc, completion_slots_bound_what_is_parked);
    tcase_add_loop_test(tc, random_streams_keep_their_order, 0, 3);
    tcase_add_test(tc, event_wait_is_not_submitted_before_a_parked_record);
    tcase_add_test(tc, later_record_does_not_overtake_a_parked_wait);
    tcase_add_test(tc, events_of_the_parked_stream_itself_do_not_stop_the_ring);
    tcase_add_test(tc, query_of_a_parked_record_is_not_ready);
    tcase_add_test(tc, launch_parameters_are_copied_when_consumed);
    tcase_add_test(tc, module_log_comes_back_whatever_the_status);
    tcase_add_test(tc, function_record_is_cut_to_the_room_and_aux_tells_all);
    tcase_add_test(tc, global_record_is_written);
    tcase_add_test(tc, copy_holds_its_buffer_until_it_is_done);
    tcase_add_test(tc, sticky_status_ends_the_context);
    tcase_add_test(tc, broken_ring_ends_the_context);
    tcase_add_test(tc, statuses_that_lose_a_context_are_those_of_the_list);
    suite_add_tcase(s, tc);
    return s;
}
