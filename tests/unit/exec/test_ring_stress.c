// SPDX-License-Identifier: MIT
/*
 * Two threads, one ring, both going to sleep whenever they can: no wake-up may be lost and no
 * entry lost, doubled or torn, in any interleaving that chance produces.  A lost wake-up shows as a
 * poll() on an eventfd that runs into its deadline while there is work.
 *
 * Run it under ThreadSanitizer too: the ring's indices are all that orders the entries.
 */
#include "guest.h"
#include "suites.h"
#include "unit.h"

#include <exec/ring.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SQ_LOG2     6
#define CQ_LOG2     6
#define DEADLINE_MS 30000
#define MOST_MS     4000 /* of one run; a loaded machine does fewer operations */
#define MAGIC       0x9e3779b97f4a7c15ull

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define OPS 150000ull
#else
#define OPS 500000ull
#endif

struct stress {
    struct vgpu_ring ring;
    struct guest guest;
    int doorbell_fd;
    int irq_fd;
    uint32_t flavour;
    bool stop; /* atomic: the guest has all it wanted */
    uint64_t device_sleeps;
    const char *failure; /* of the device thread */
};

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint32_t dice(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

/* Widen the windows between the steps of the protocol, now and then. */
static void dawdle(uint64_t *state)
{
    uint32_t d = dice(state) % 256;

    if (d == 0)
        sched_yield();
    else if (d < 24)
        for (uint32_t i = 0; i < d * 8; i++)
            vgpu_cpu_relax();
}

static bool wait_fd(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    eventfd_t value;

    if (poll(&pfd, 1, DEADLINE_MS) != 1)
        return false;
    return eventfd_read(fd, &value) == 0;
}

static void *device_main(void *arg)
{
    struct stress *s = arg;
    uint64_t done = 0, rng = 12345 + s->flavour;

    while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
        struct vgpu_sqe sqe;
        uint32_t ready = vgpu_ring_ready(&s->ring, 1 + dice(&rng) % 64);

        for (uint32_t i = 0; i < ready; i++) {
            uint32_t idx = vgpu_ring_consume(&s->ring, &sqe);

            if (sqe.cookie != done || sqe.u.mem_alloc.bytes != done * MAGIC)
                s->failure = "torn or wrong submission";
            vgpu_ring_complete(&s->ring, idx, sqe.cookie, 0, 0, done * MAGIC);
            done++;
        }
        vgpu_ring_publish(&s->ring);
        if (s->ring.broken)
            s->failure = "ring broken";
        if (s->failure)
            break;
        if (ready)
            continue;
        dawdle(&rng);
        switch (vgpu_ring_arm(&s->ring)) {
        case VGPU_RING_EMPTY:
            s->device_sleeps++;
            if (!wait_fd(s->doorbell_fd))
                s->failure = "device: lost doorbell";
            break;
        case VGPU_RING_BROKEN: s->failure = "ring broken"; break;
        default: sched_yield(); break;
        }
        vgpu_ring_disarm(&s->ring);
        if (s->failure)
            break;
    }
    return NULL;
}

/* Flavours: how many the guest submits at once, and how eagerly it takes completions. */
START_TEST(no_wakeup_and_no_entry_is_lost)
{
    static const uint32_t first[] = {0, UINT32_MAX - 1000, UINT32_MAX - 100000, 77};
    size_t bytes = vgpu_queue_bytes(CQ_LOG2, SQ_LOG2);
    void *block = aligned_alloc(4096, bytes);
    struct stress s = {.flavour = (uint32_t)_i};
    uint64_t sent = 0, got = 0, ops = OPS, rng = 99 + (uint64_t)_i;
    uint64_t until_ms = now_ms() + MOST_MS;
    uint32_t most = _i == 0 ? 1 : _i == 1 ? 4 : 64;
    pthread_t device;

    memset(block, 0, bytes);
    guest_init(&s.guest, block, SQ_LOG2, CQ_LOG2, first[_i]);
    s.doorbell_fd = s.guest.doorbell_fd = eventfd(0, EFD_CLOEXEC);
    s.irq_fd = eventfd(0, EFD_CLOEXEC);
    ck_assert_int_eq(vgpu_ring_attach(&s.ring, block, bytes, SQ_LOG2, CQ_LOG2), 0);
    s.ring.irq_fd = s.irq_fd;
    ck_assert_int_eq(pthread_create(&device, NULL, device_main, &s), 0);

    while (got < ops) {
        uint32_t batch = 1 + dice(&rng) % most;
        struct vgpu_cqe cqe;
        bool any = false;

        /* Never more outstanding than completions fit: the rule for programs that sleep. */
        for (uint32_t i = 0; i < batch && sent < ops && sent - got <= s.guest.cq_mask; i++) {
            struct vgpu_sqe sqe = {.cookie = sent};

            sqe.u.mem_alloc.bytes = sent * MAGIC;
            if (!guest_post(&s.guest, &sqe))
                break;
            sent++;
        }
        (void)guest_publish(&s.guest);
        if (now_ms() > until_ms && ops == OPS)
            ops = sent;
        dawdle(&rng);
        while (guest_reap(&s.guest, &cqe)) {
            unit_check(cqe.cookie == got && cqe.result == got * MAGIC &&
                           cqe.sq_idx == (uint32_t)(first[_i] + got),
                       "completion %llu: cookie %llu, result %#llx, sq_idx %u",
                       (unsigned long long)got, (unsigned long long)cqe.cookie,
                       (unsigned long long)cqe.result, cqe.sq_idx);
            got++;
            any = true;
        }
        if (any || sent == got)
            continue;
        dawdle(&rng);
        if (guest_arm(&s.guest))
            unit_check(wait_fd(s.irq_fd), "guest: lost interrupt at %llu; device says: %s",
                       (unsigned long long)got, s.failure ? s.failure : "nothing");
    }
    __atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
    eventfd_write(s.doorbell_fd, 1);
    pthread_join(device, NULL);
    ck_assert_msg(!s.failure, "%s", s.failure);
    /* The test must have tested something. */
    ck_assert_uint_gt(s.device_sleeps, 10);
    ck_assert_uint_gt(s.ring.interrupts, 10);
    close(s.doorbell_fd);
    close(s.irq_fd);
    free(block);
}
END_TEST

Suite *ring_stress_suite(void)
{
    Suite *s = suite_create("ring stress");
    TCase *tc = tcase_create("ring stress");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, no_wakeup_and_no_entry_is_lost, 0, 4);
    suite_add_tcase(s, tc);
    return s;
}
