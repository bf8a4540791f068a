/* SPDX-License-Identifier: MIT */
/*
 * Queues: submission by the kernel, waiting, poll, eventfd.
 */
#include "st.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull

static void submit_nops(struct st_raw *raw, uint64_t first_cookie, uint32_t n)
{
    struct vgpu_sqe sqe[64] = {0};
    uint32_t done = 0;

    ST_CHECK(n <= 64, "a test's own limit");
    for (uint32_t i = 0; i < n; i++)
        sqe[i] = (struct vgpu_sqe){.opcode = VGPU_CMD_NOP, .cookie = first_cookie + i};
    while (done < n) {
        struct vgpu_submit arg = {.entries = (uintptr_t)(sqe + done), .count = n - done};
        int err = st_ioctl(raw->fd, VGPU_IOCTL_SUBMIT, &arg);

        ST_CHECK(!err || err == -EAGAIN, "SUBMIT: %s", strerror(-err));
        done += err ? 0 : arg.count;
    }
}

static uint32_t reap(struct st_raw *raw, struct vgpu_cqe *cqe, uint32_t room)
{
    struct vgpu_reap arg = {.entries = (uintptr_t)cqe, .count = room};

    ST_EQUAL(st_ioctl(raw->fd, VGPU_IOCTL_REAP, &arg), 0, "REAP");
    ST_CHECK(arg.count <= room, "%u completions in room for %u", arg.count, room);
    return arg.count;
}

static int wait_past(struct st_raw *raw, uint32_t idx, uint64_t timeout_ns)
{
    struct vgpu_wait arg = {.timeout_ns =
                                timeout_ns == UINT64_MAX ? timeout_ns : st_now_ns() + timeout_ns,
                            .cq_idx = idx};

    return st_ioctl(raw->fd, VGPU_IOCTL_WAIT, &arg);
}

/* Thousands of commands around a ring of 64, each completed once and in order. */
static void kernel_submission(void)
{
    struct vgpu_cqe cqe[64];
    uint64_t next = 0, sent = 0;
    struct st_raw raw;

    st_raw_setup(&raw, VGPU_QUEUE_KERNEL_SUBMIT);
    while (next < 5000) {
        uint32_t n;

        if (sent < 5000 && sent - next < 32) {
            submit_nops(&raw, sent, 17);
            sent += 17;
        }
        n = reap(&raw, cqe, 64);
        for (uint32_t i = 0; i < n; i++) {
            ST_EQUAL(cqe[i].cookie, next, "cookie");
            ST_EQUAL(cqe[i].status, VGPU_ST_OK, "status");
            next++;
        }
        if (!n)
            ST_EQUAL(wait_past(&raw, (uint32_t)next, 30 * SECOND_NS), 0, "WAIT");
    }
    st_raw_close(&raw);
}

static void kernel_submission_refusals(void)
{
    struct vgpu_sqe sqe = {.opcode = VGPU_CMD_NOP};
    struct vgpu_submit submit = {.entries = (uintptr_t)&sqe, .count = 1, .rsvd = 1};
    struct vgpu_reap arg = {.entries = 8, .count = 4};
    struct vgpu_cqe cqe;
    struct st_raw raw, mapped;

    st_raw_setup(&raw, VGPU_QUEUE_KERNEL_SUBMIT);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SUBMIT, &submit), -EINVAL, "reserved field");
    submit.rsvd = 0;
    submit.count = 0;
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SUBMIT, &submit), -EINVAL, "no entries");
    submit.count = 1;
    submit.entries = 8;
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SUBMIT, &submit), -EFAULT, "bad entries");
    ST_EQUAL(reap(&raw, &cqe, 1), 0, "completions of nothing");
    submit_nops(&raw, 77, 1);
    ST_EQUAL(wait_past(&raw, 0, 30 * SECOND_NS), 0, "WAIT");
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_REAP, &arg), -EFAULT, "bad room");
    ST_EQUAL(reap(&raw, &cqe, 0), 0, "no room");
    ST_EQUAL(reap(&raw, &cqe, 1), 1, "the completion is still there");
    ST_EQUAL(cqe.cookie, 77, "its cookie");
    st_raw_setup(&mapped, 0);
    submit.entries = (uintptr_t)&sqe;
    ST_EQUAL(st_ioctl(mapped.fd, VGPU_IOCTL_SUBMIT, &submit), -EINVAL, "on a mapped queue");
    arg.entries = (uintptr_t)&cqe;
    ST_EQUAL(st_ioctl(mapped.fd, VGPU_IOCTL_REAP, &arg), -EINVAL, "REAP on a mapped queue");
    st_raw_close(&mapped);
    st_raw_close(&raw);
}

/* A count larger than the ring: what fits is accepted, and said. */
static void oversized_submission(void)
{
    static struct vgpu_sqe sqe[300];
    struct vgpu_submit arg = {.entries = (uintptr_t)sqe, .count = 300};
    struct st_raw raw;

    st_raw_setup(&raw, VGPU_QUEUE_KERNEL_SUBMIT);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SUBMIT, &arg), 0, "SUBMIT");
    ST_EQUAL(arg.count, 64, "accepted, however fast the device is");
    ST_EQUAL(wait_past(&raw, 63, 30 * SECOND_NS), 0, "the first 64 complete");
    arg.count = ~0u;
    arg.entries = 4096;
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SUBMIT, &arg), -EFAULT, "2^32 - 1 entries");
    st_raw_close(&raw);
}

static void on_alarm(int sig)
{
}

/* VGPU-UAPI-020 */
static void waiting(void)
{
    struct sigaction act = {.sa_handler = on_alarm};
    struct itimerval timer = {.it_value.tv_usec = 50000};
    struct st_raw raw;
    uint64_t start = st_now_ns();
    struct vgpu_wait arg = {.timeout_ns = 0};

    st_raw_setup(&raw, VGPU_QUEUE_KERNEL_SUBMIT);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_WAIT, &arg), -ETIMEDOUT, "a time long past");
    ST_EQUAL(wait_past(&raw, 0, 50000000), -ETIMEDOUT, "50 ms");
    ST_CHECK(st_now_ns() - start >= 50000000, "it came back early");
    arg = (struct vgpu_wait){.timeout_ns = 0, .cq_idx = (uint32_t)-5};
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_WAIT, &arg), 0, "an index that has passed");
    sigaction(SIGALRM, &act, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    ST_EQUAL(wait_past(&raw, 0, UINT64_MAX), -EINTR, "a handler without SA_RESTART");
    act.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &act, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    start = st_now_ns();
    ST_EQUAL(wait_past(&raw, 0, 200000000), -ETIMEDOUT, "restarted by SA_RESTART");
    ST_CHECK(st_now_ns() - start >= 200000000, "the restarted call ended early");
    st_raw_close(&raw);
}

static void poll_tells(void)
{
    struct pollfd pfd = {.events = POLLIN};
    struct vgpu_cqe cqe[4];
    struct st_raw raw;

    st_raw_setup(&raw, VGPU_QUEUE_KERNEL_SUBMIT);
    pfd.fd = raw.fd;
    ST_EQUAL(poll(&pfd, 1, 0), 0, "nothing yet");
    for (int i = 0; i < 50; i++) {
        submit_nops(&raw, (uint64_t)i, 1);
        ST_EQUAL(poll(&pfd, 1, 30000), 1, "a completion");
        ST_EQUAL(pfd.revents, POLLIN, "what poll says");
        ST_EQUAL(reap(&raw, cqe, 4), 1, "completions");
        ST_EQUAL(poll(&pfd, 1, 0), 0, "nothing left");
    }
    st_raw_close(&raw);
}

static void epoll_tells(void)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET}, got;
    struct vgpu_cqe cqe[4];
    struct st_raw raw;
    int ep = epoll_create1(EPOLL_CLOEXEC);

    st_raw_setup(&raw, VGPU_QUEUE_KERNEL_SUBMIT);
    ST_EQUAL(epoll_ctl(ep, EPOLL_CTL_ADD, raw.fd, &ev), 0, "epoll_ctl");
    for (int i = 0; i < 20; i++) {
        submit_nops(&raw, (uint64_t)i, 1);
        ST_EQUAL(epoll_wait(ep, &got, 1, 30000), 1, "edge");
        ST_EQUAL(reap(&raw, cqe, 4), 1, "completions");
        /* Looking once arms the next edge. */
        ST_EQUAL(epoll_wait(ep, &got, 1, 0), 0, "no edge without a completion");
    }
    close(ep);
    st_raw_close(&raw);
}

static void eventfd_counts(void)
{
    struct vgpu_set_eventfd arg = {.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    struct pollfd pfd = {.fd = arg.fd, .events = POLLIN};
    struct vgpu_cqe cqe[64];
    struct st_raw raw;
    uint64_t count;

    st_raw_setup(&raw, VGPU_QUEUE_KERNEL_SUBMIT);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &arg), 0, "SET_EVENTFD");
    for (int i = 0; i < 50; i++) {
        uint32_t seen = 0;

        submit_nops(&raw, 0, 5);
        while (seen < 5) {
            ST_EQUAL(poll(&pfd, 1, 30000), 1, "a signal");
            ST_EQUAL(read(pfd.fd, &count, 8), 8, "read");
            seen += reap(&raw, cqe, 64);
        }
        ST_EQUAL(seen, 5, "completions");
    }
    /* Set while completions wait: they must not be forgotten. */
    arg.fd = -1;
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &arg), 0, "taking it away");
    while (read(pfd.fd, &count, 8) == 8 && poll(&pfd, 1, 0) == 1)
        ;
    submit_nops(&raw, 0, 1);
    ST_EQUAL(wait_past(&raw, 250, 30 * SECOND_NS), 0, "WAIT");
    arg.fd = pfd.fd;
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_SET_EVENTFD, &arg), 0, "setting it again");
    ST_EQUAL(poll(&pfd, 1, 30000), 1, "a signal for what was there before");
    st_raw_close(&raw);
}

/* The program breaks its own ring: it loses its context and nobody else does. */
static void producer_beyond_ring(void)
{
    struct vgpu_ctx *other = st_open(NULL);
    struct pollfd pfd = {.events = POLLIN};
    struct vgpu_status_query query;
    volatile uint32_t *doorbell;
    struct vgpu_queue_rw *rw;
    struct st_raw raw;

    st_raw_setup(&raw, 0);
    rw = st_map(raw.fd, raw.setup.rw_bytes, 3, raw.setup.rw_off);
    doorbell = st_map(raw.fd, 4096, 3, raw.setup.doorbell_off);
    ST_CHECK(rw && doorbell, "mmap: %s", strerror(errno));
    __atomic_store_n(&rw->sq_prod, 1000, __ATOMIC_SEQ_CST);
    *doorbell = 1;
    pfd.fd = raw.fd;
    ST_EQUAL(poll(&pfd, 1, 30000), 1, "poll");
    ST_CHECK(pfd.revents & POLLERR, "poll says %#x", pfd.revents);
    ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_STATUS, &query), 0, "STATUS");
    ST_EQUAL(query.state, VGPU_CTX_STATE_LOST, "state");
    ST_EQUAL(query.status, VGPU_ST_BAD_RING, "reason");
    ST_EQUAL(wait_past(&raw, 0, UINT64_MAX), -EIO, "WAIT");
    ST_EQUAL(vgpu_nop(other, NULL), 0, "another context");
    st_raw_close(&raw);
    vgpu_close(other);
}

/* The consumer index is the program's too: nonsense in it must not hang or crash. */
static void consumer_beyond_ring(void)
{
    struct vgpu_ctx *other = st_open(NULL);
    volatile uint32_t *doorbell;
    struct vgpu_queue_rw *rw;
    struct vgpu_sqe *sq;
    struct st_raw raw;
    uint64_t until = st_now_ns() + 30 * SECOND_NS;
    struct vgpu_status_query query;
    struct vgpu_queue_ro *ro;

    st_raw_setup(&raw, 0);
    ro = st_map(raw.fd, raw.setup.ro_bytes, 1, raw.setup.ro_off);
    rw = st_map(raw.fd, raw.setup.rw_bytes, 3, raw.setup.rw_off);
    doorbell = st_map(raw.fd, 4096, 3, raw.setup.doorbell_off);
    ST_CHECK(ro && rw && doorbell, "mmap: %s", strerror(errno));
    sq = (struct vgpu_sqe *)((uint8_t *)rw + 4096);
    memset(sq, 0, sizeof(*sq));
    __atomic_store_n(&rw->cq_cons, 0x40000000, __ATOMIC_SEQ_CST);
    __atomic_store_n(&rw->sq_prod, 1, __ATOMIC_SEQ_CST);
    *doorbell = 1;
    do
        ST_EQUAL(st_ioctl(raw.fd, VGPU_IOCTL_STATUS, &query), 0, "STATUS");
    while (query.state == VGPU_CTX_STATE_ACTIVE && st_now_ns() < until &&
           !__atomic_load_n(&ro->cq_prod, __ATOMIC_ACQUIRE));
    if (query.state == VGPU_CTX_STATE_LOST)
        ST_EQUAL(query.status, VGPU_ST_BAD_RING, "reason");
    ST_CHECK(query.state == VGPU_CTX_STATE_LOST || ro->cq_prod == 1, "neither lost nor completed");
    ST_EQUAL(vgpu_nop(other, NULL), 0, "another context");
    st_raw_close(&raw);
    vgpu_close(other);
}

/* As if the barrier before the look at sq_event had been none: a program that waits gets its answer. */
static void forgotten_doorbell(void)
{
    struct vgpu_queue_rw *rw;
    struct st_raw raw;

    st_raw_setup(&raw, 0);
    rw = st_map(raw.fd, raw.setup.rw_bytes, 3, raw.setup.rw_off);
    ST_CHECK(rw, "mmap: %s", strerror(errno));
    memset((uint8_t *)rw + 4096, 0, 2 * sizeof(struct vgpu_sqe));
    for (uint32_t i = 0; i < 2; i++) {
        usleep(300000); /* the back end sleeps by now, most likely */
        __atomic_store_n(&rw->sq_prod, i + 1, __ATOMIC_SEQ_CST);
        ST_EQUAL(wait_past(&raw, i, 30 * SECOND_NS), 0, "WAIT without a doorbell");
    }
    st_raw_close(&raw);
}

static const struct st_test tests[] = {
    {"queue", "kernel submission completes each command once, in order", kernel_submission},
    {"queue", "SUBMIT and REAP refuse each bad field", kernel_submission_refusals},
    {"queue", "more entries than the ring holds are accepted in part", oversized_submission},
    {"queue", "WAIT keeps its absolute time, also when restarted", waiting},
    {"queue", "poll reports completions", poll_tells},
    {"queue", "edge-triggered epoll misses none", epoll_tells},
    {"queue", "an eventfd is signalled at every move", eventfd_counts},
    {"queue", "a producer index beyond the ring loses the context", producer_beyond_ring},
    {"queue", "a consumer index beyond the ring harms nobody", consumer_beyond_ring},
    {"queue", "commands are noticed without a doorbell, in time", forgotten_doorbell},
};

ST_GROUP(st_group_queue, tests);
