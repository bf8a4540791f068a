// SPDX-License-Identifier: MIT
/*
 * The device's half of a ring, step by step against the guest's half in the same thread: what each
 * side sees after each step, and every index a hostile guest may write.
 */
#include "guest.h"
#include "suites.h"

#include <errno.h>
#include <exec/ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOG2    6
#define ENTRIES 64u

struct pair {
    void *block;
    struct guest guest;
    struct vgpu_ring ring;
    int irq_fd;
};

static void pair_init_log2(struct pair *p, uint32_t first, unsigned int sq_log2,
                           unsigned int cq_log2)
{
    size_t bytes = vgpu_queue_bytes(cq_log2, sq_log2);

    p->block = aligned_alloc(4096, bytes);
    memset(p->block, 0, bytes);
    guest_init(&p->guest, p->block, sq_log2, cq_log2, first);
    ck_assert_int_eq(vgpu_ring_attach(&p->ring, p->block, bytes, sq_log2, cq_log2), 0);
    p->irq_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    p->ring.irq_fd = p->irq_fd;
}

static void pair_init(struct pair *p, uint32_t first)
{
    pair_init_log2(p, first, LOG2, LOG2);
}

static void pair_fini(struct pair *p)
{
    close(p->irq_fd);
    free(p->block);
}

static unsigned int irqs(struct pair *p)
{
    eventfd_t value = 0;

    return eventfd_read(p->irq_fd, &value) == 0 ? (unsigned int)value : 0;
}

static void post(struct pair *p, uint64_t cookie)
{
    struct vgpu_sqe sqe = {.cookie = cookie};

    ck_assert(guest_post(&p->guest, &sqe));
}

static void echo(struct pair *p)
{
    struct vgpu_sqe sqe;
    uint32_t idx = vgpu_ring_consume(&p->ring, &sqe);

    vgpu_ring_complete(&p->ring, idx, sqe.cookie, VGPU_ST_OK, 7, sqe.cookie + 1);
}

/* ---- Sizes ---- */

START_TEST(sizes_outside_the_abi_are_refused)
{
    static const struct {
        unsigned int sq, cq;
    } bad[] = {{5, 6}, {6, 5}, {13, 6}, {6, 13}, {32, 6}, {0, 0}};
    void *block = calloc(1, 1 << 20);
    struct vgpu_ring ring;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(vgpu_ring_attach(&ring, block, 1 << 20, bad[i].sq, bad[i].cq), -EINVAL);
    ck_assert_int_eq(vgpu_ring_attach(&ring, block, vgpu_queue_bytes(6, 6) - 1, 6, 6), -EINVAL);
    ck_assert_int_eq(vgpu_ring_attach(&ring, block, vgpu_queue_bytes(6, 6), 6, 6), 0);
    free(block);
}
END_TEST

START_TEST(indices_found_at_attach_must_make_sense)
{
    size_t bytes = vgpu_queue_bytes(LOG2, LOG2);
    uint8_t *block = aligned_alloc(4096, bytes);
    struct vgpu_ring ring;
    struct guest g;

    memset(block, 0, bytes);
    guest_init(&g, block, LOG2, LOG2, 0);
    g.rw->sq_prod = ENTRIES + 1;
    ck_assert_int_eq(vgpu_ring_attach(&ring, block, bytes, LOG2, LOG2), -EPROTO);
    g.rw->sq_prod = ENTRIES;
    ck_assert_int_eq(vgpu_ring_attach(&ring, block, bytes, LOG2, LOG2), 0);
    g.rw->cq_cons = 1;
    ck_assert_int_eq(vgpu_ring_attach(&ring, block, bytes, LOG2, LOG2), -EPROTO);
    free(block);
}
END_TEST

/* ---- Order and content, at several starting points ---- */

static const uint32_t firsts[] = {0,         1, UINT32_MAX, UINT32_MAX - 10, UINT32_MAX - ENTRIES,
                                  0x7fffffff};

START_TEST(entries_come_out_in_order_across_every_wrap)
{
    struct pair p;
    struct vgpu_cqe cqe;
    uint64_t sent = 0, got = 0;

    pair_init(&p, firsts[_i]);
    for (int round = 0; round < 50; round++) {
        uint32_t n = 1 + (uint32_t)(round * 37 % ENTRIES);

        for (uint32_t i = 0; i < n; i++)
            post(&p, sent++);
        (void)guest_publish(&p.guest);
        ck_assert_uint_eq(vgpu_ring_ready(&p.ring, UINT32_MAX), n);
        for (uint32_t i = 0; i < n; i++)
            echo(&p);
        ck_assert_uint_eq(vgpu_ring_ready(&p.ring, UINT32_MAX), 0);
        vgpu_ring_publish(&p.ring);
        vgpu_ring_publish_cons(&p.ring);
        for (uint32_t i = 0; i < n; i++) {
            ck_assert(guest_reap(&p.guest, &cqe));
            ck_assert_uint_eq(cqe.cookie, got);
            ck_assert_uint_eq(cqe.result, got + 1);
            ck_assert_uint_eq(cqe.aux, 7);
            ck_assert_uint_eq(cqe.sq_idx, (uint32_t)(firsts[_i] + got));
            got++;
        }
        ck_assert(!guest_reap(&p.guest, &cqe));
    }
    pair_fini(&p);
}
END_TEST

/* VGPU-RING-010 */
START_TEST(nothing_is_seen_before_it_is_published)
{
    struct pair p;
    struct vgpu_cqe cqe;

    pair_init(&p, firsts[_i]);
    post(&p, 1);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 8), 0);
    ck_assert(!vgpu_ring_has_news(&p.ring));
    (void)guest_publish(&p.guest);
    ck_assert(vgpu_ring_has_news(&p.ring));
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 8), 1);
    echo(&p);
    ck_assert(!guest_reap(&p.guest, &cqe));
    vgpu_ring_publish(&p.ring);
    ck_assert(guest_reap(&p.guest, &cqe));
    pair_fini(&p);
}
END_TEST

START_TEST(batch_publishes_itself)
{
    struct pair p;
    struct vgpu_cqe cqe;

    pair_init(&p, firsts[_i]);
    for (uint32_t i = 0; i < VGPU_RING_BATCH; i++)
        post(&p, i);
    (void)guest_publish(&p.guest);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, ENTRIES), VGPU_RING_BATCH);
    for (uint32_t i = 0; i < VGPU_RING_BATCH; i++) {
        ck_assert(!guest_reap(&p.guest, &cqe));
        echo(&p);
    }
    ck_assert(guest_reap(&p.guest, &cqe));
    pair_fini(&p);
}
END_TEST

START_TEST(budget_limits_what_is_ready)
{
    struct pair p;

    pair_init(&p, firsts[_i]);
    for (int i = 0; i < 10; i++)
        post(&p, 0);
    (void)guest_publish(&p.guest);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 4), 4);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 0), 0);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 100), 10);
    pair_fini(&p);
}
END_TEST

/* ---- Slots ---- */

START_TEST(completion_slot_is_reserved_before_consuming)
{
    struct pair p;
    struct vgpu_sqe sqe;
    struct vgpu_cqe cqe;
    uint32_t idx[ENTRIES];

    /* More submissions than completions fit. */
    pair_init_log2(&p, firsts[_i], LOG2 + 2, LOG2);
    for (uint32_t i = 0; i < 2 * ENTRIES; i++)
        post(&p, i);
    (void)guest_publish(&p.guest);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, UINT32_MAX), ENTRIES);
    for (uint32_t i = 0; i < ENTRIES; i++)
        idx[i] = vgpu_ring_consume(&p.ring, &sqe);
    /* All reserved, none completed. */
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, UINT32_MAX), 0);
    ck_assert_int_eq(vgpu_ring_look(&p.ring), VGPU_RING_STALLED);
    for (uint32_t i = 0; i < ENTRIES; i++)
        vgpu_ring_complete(&p.ring, idx[i], i, 0, 0, 0);
    vgpu_ring_publish(&p.ring);
    /* All completed, none taken. */
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, UINT32_MAX), 0);
    ck_assert_int_eq(vgpu_ring_look(&p.ring), VGPU_RING_STALLED);
    ck_assert(guest_reap(&p.guest, &cqe));
    ck_assert_int_eq(vgpu_ring_look(&p.ring), VGPU_RING_WORK);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, UINT32_MAX), 1);
    pair_fini(&p);
}
END_TEST

/* VGPU-RING-015 */
START_TEST(consumed_slots_are_given_back_late_but_given_back)
{
    struct pair p;

    pair_init(&p, firsts[_i]);
    for (uint32_t i = 0; i < ENTRIES; i++)
        post(&p, i);
    (void)guest_publish(&p.guest);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, ENTRIES), ENTRIES);
    echo(&p);
    vgpu_ring_publish(&p.ring);
    ck_assert_uint_eq(p.guest.ro->sq_cons, firsts[_i]);
    for (uint32_t i = 1; i < ENTRIES / 8; i++)
        echo(&p);
    vgpu_ring_publish(&p.ring);
    ck_assert_uint_eq(p.guest.ro->sq_cons, firsts[_i] + ENTRIES / 8);
    echo(&p);
    vgpu_ring_publish(&p.ring);
    vgpu_ring_publish_cons(&p.ring);
    ck_assert_uint_eq(p.guest.ro->sq_cons, firsts[_i] + ENTRIES / 8 + 1);
    pair_fini(&p);
}
END_TEST

/* ---- What a hostile guest writes ---- */

START_TEST(producer_index_beyond_the_ring_breaks_it)
{
    static const uint32_t beyond[] = {ENTRIES + 1, ENTRIES + 2, 0x80000000, UINT32_MAX};
    struct pair p;

    for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
        pair_init(&p, firsts[_i]);
        p.guest.rw->sq_prod = firsts[_i] + beyond[i];
        ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 8), 0);
        ck_assert(p.ring.broken);
        ck_assert_int_eq(vgpu_ring_look(&p.ring), VGPU_RING_BROKEN);
        /* For good, even if the guest thinks better of it. */
        p.guest.rw->sq_prod = firsts[_i] + 1;
        ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 8), 0);
        ck_assert_int_eq(vgpu_ring_arm(&p.ring), VGPU_RING_BROKEN);
        pair_fini(&p);
    }
    pair_init(&p, firsts[_i]);
    p.guest.rw->sq_prod = firsts[_i] + ENTRIES;
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, UINT32_MAX), ENTRIES);
    ck_assert(!p.ring.broken);
    pair_fini(&p);
}
END_TEST

START_TEST(consumer_index_ahead_of_what_was_published_breaks_the_ring)
{
    struct pair p;

    pair_init(&p, firsts[_i]);
    post(&p, 1);
    (void)guest_publish(&p.guest);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 1), 1);
    echo(&p);
    /* Completed but not published: not the guest's yet. */
    p.guest.rw->cq_cons = firsts[_i] + 1;
    ck_assert_int_eq(vgpu_ring_look(&p.ring), VGPU_RING_BROKEN);
    pair_fini(&p);
}
END_TEST

START_TEST(consumer_index_that_goes_back_breaks_the_ring)
{
    struct pair p;
    struct vgpu_cqe cqe;

    pair_init(&p, firsts[_i]);
    for (int i = 0; i < 10; i++)
        post(&p, 1);
    (void)guest_publish(&p.guest);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 10), 10);
    for (int i = 0; i < 10; i++)
        echo(&p);
    vgpu_ring_publish(&p.ring);
    for (int i = 0; i < 10; i++)
        ck_assert(guest_reap(&p.guest, &cqe));
    ck_assert_int_eq(vgpu_ring_look(&p.ring), VGPU_RING_EMPTY);
    p.guest.rw->cq_cons = firsts[_i] + 9;
    ck_assert_int_eq(vgpu_ring_look(&p.ring), VGPU_RING_BROKEN);
    pair_fini(&p);
}
END_TEST

START_TEST(device_never_reads_its_own_indices_back)
{
    struct pair p;
    struct vgpu_cqe cqe;

    pair_init(&p, firsts[_i]);
    post(&p, 5);
    p.guest.ro->cq_prod = p.guest.ro->sq_cons = 0xdeadbeef;
    (void)guest_publish(&p.guest);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 8), 1);
    echo(&p);
    vgpu_ring_publish(&p.ring);
    vgpu_ring_publish_cons(&p.ring);
    ck_assert_uint_eq(p.guest.ro->cq_prod, firsts[_i] + 1);
    ck_assert_uint_eq(p.guest.ro->sq_cons, firsts[_i] + 1);
    ck_assert(guest_reap(&p.guest, &cqe));
    ck_assert_uint_eq(cqe.cookie, 5);
    pair_fini(&p);
}
END_TEST

/* ---- Doorbells and interrupts ---- */

START_TEST(doorbell_is_wanted_when_armed_and_not_otherwise)
{
    struct pair p;

    pair_init(&p, firsts[_i]);
    ck_assert_int_eq(vgpu_ring_arm(&p.ring), VGPU_RING_EMPTY);
    post(&p, 1);
    ck_assert(guest_publish(&p.guest));
    vgpu_ring_disarm(&p.ring);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 8), 1);
    echo(&p);
    vgpu_ring_publish(&p.ring);
    for (int i = 0; i < 20; i++) {
        post(&p, 1);
        ck_assert(!guest_publish(&p.guest));
    }
    ck_assert_int_eq(vgpu_ring_arm(&p.ring), VGPU_RING_WORK);
    pair_fini(&p);
}
END_TEST

/* The three places where the guest's submission can fall: before, between and after the two halves
 * of arming.  In each, somebody notices. */
START_TEST(submission_around_arming_is_never_missed)
{
    struct pair p;

    pair_init(&p, firsts[_i]);
    post(&p, 1);
    ck_assert(guest_publish(&p.guest)); /* the start: armed at the first index */
    ck_assert_int_eq(vgpu_ring_arm(&p.ring), VGPU_RING_WORK);
    pair_fini(&p);

    /* Published, event not read yet: the device must see it. */
    pair_init(&p, firsts[_i]);
    post(&p, 1);
    __atomic_store_n(&p.guest.rw->sq_prod, p.guest.sq_prod, __ATOMIC_RELEASE);
    ck_assert_int_eq(vgpu_ring_arm(&p.ring), VGPU_RING_WORK);
    pair_fini(&p);

    pair_init(&p, firsts[_i]);
    ck_assert_int_eq(vgpu_ring_arm(&p.ring), VGPU_RING_EMPTY);
    post(&p, 1);
    ck_assert(guest_publish(&p.guest));
    pair_fini(&p);
}
END_TEST

START_TEST(interrupt_is_raised_when_the_event_is_passed_and_only_then)
{
    struct pair p;
    struct vgpu_cqe cqe;

    pair_init(&p, firsts[_i]);
    for (int i = 0; i < 6; i++)
        post(&p, 1);
    (void)guest_publish(&p.guest);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 6), 6);

    echo(&p);
    vgpu_ring_publish(&p.ring);
    ck_assert_uint_eq(irqs(&p), 0);
    ck_assert(!guest_arm(&p.guest)); /* one is there already */
    ck_assert(guest_reap(&p.guest, &cqe));
    ck_assert(guest_arm(&p.guest));
    vgpu_ring_publish(&p.ring); /* nothing new */
    ck_assert_uint_eq(irqs(&p), 0);
    echo(&p);
    ck_assert_uint_eq(irqs(&p), 0);
    vgpu_ring_publish(&p.ring);
    ck_assert_uint_eq(irqs(&p), 1);
    echo(&p);
    vgpu_ring_publish(&p.ring); /* past the event: no second one */
    ck_assert_uint_eq(irqs(&p), 0);

    /* "Tell me at the third from now": one interrupt for a batch that passes it. */
    p.guest.ro->cq_event = firsts[_i] + 4;
    echo(&p);
    vgpu_ring_publish(&p.ring);
    ck_assert_uint_eq(irqs(&p), 0);
    echo(&p);
    echo(&p);
    vgpu_ring_publish(&p.ring);
    ck_assert_uint_eq(irqs(&p), 1);
    ck_assert_uint_eq(p.ring.interrupts, 2);
    pair_fini(&p);
}
END_TEST

START_TEST(no_interrupt_without_a_descriptor)
{
    struct pair p;

    pair_init(&p, 0);
    p.ring.irq_fd = -1;
    ck_assert(guest_arm(&p.guest));
    post(&p, 1);
    (void)guest_publish(&p.guest);
    ck_assert_uint_eq(vgpu_ring_ready(&p.ring, 1), 1);
    echo(&p);
    vgpu_ring_publish(&p.ring);
    ck_assert_uint_eq(p.ring.interrupts, 0);
    pair_fini(&p);
}
END_TEST

Suite *ring_suite(void)
{
    Suite *s = suite_create("ring");
    TCase *tc = tcase_create("ring");
    int n = (int)(sizeof(firsts) / sizeof(firsts[0]));

    tcase_add_test(tc, sizes_outside_the_abi_are_refused);
    tcase_add_test(tc, indices_found_at_attach_must_make_sense);
    tcase_add_loop_test(tc, entries_come_out_in_order_across_every_wrap, 0, n);
    tcase_add_loop_test(tc, nothing_is_seen_before_it_is_published, 0, n);
    tcase_add_loop_test(tc, batch_publishes_itself, 0, n);
    tcase_add_loop_test(tc, budget_limits_what_is_ready, 0, n);
    tcase_add_loop_test(tc, completion_slot_is_reserved_before_consuming, 0, n);
    tcase_add_loop_test(tc, consumed_slots_are_given_back_late_but_given_back, 0, n);
    tcase_add_loop_test(tc, producer_index_beyond_the_ring_breaks_it, 0, n);
    tcase_add_loop_test(tc, consumer_index_ahead_of_what_was_published_breaks_the_ring, 0, n);
    tcase_add_loop_test(tc, consumer_index_that_goes_back_breaks_the_ring, 0, n);
    tcase_add_loop_test(tc, device_never_reads_its_own_indices_back, 0, n);
    tcase_add_loop_test(tc, doorbell_is_wanted_when_armed_and_not_otherwise, 0, n);
    tcase_add_loop_test(tc, submission_around_arming_is_never_missed, 0, n);
    tcase_add_loop_test(tc, interrupt_is_raised_when_the_event_is_passed_and_only_then, 0, n);
    tcase_add_test(tc, no_interrupt_without_a_descriptor);
    suite_add_tcase(s, tc);
    return s;
}
