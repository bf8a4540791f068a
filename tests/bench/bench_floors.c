/* SPDX-License-Identifier: MIT */
/*
 * The floors: what two threads, two sockets or one memcpy need on this machine.
 *
 * Each round trip runs between the calling thread, bound to processor 0, and a
 * partner bound to processor 1.  The partner always answers as soon as it can and ends when
 * it is told so; the time of every single round trip is taken.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define WARM_UP   1000
#define RPC_BYTES 64 /* a small call and its answer */

/* ---- Shared memory ---- */

struct shared_words {
    uint32_t ping;
    uint8_t pad0[124]; /* apart by two lines: adjacent-line prefetch */
    uint32_t pong;
    uint8_t pad1[124];
};

static void *pong_thread(void *arg)
{
    struct shared_words *w = arg;
    uint32_t seen = 0;

    bench_pin(1);
    while (seen != UINT32_MAX) {
        uint32_t ping = __atomic_load_n(&w->ping, __ATOMIC_ACQUIRE);

        if (ping == seen) {
            __builtin_ia32_pause();
            continue;
        }
        seen = ping;
        __atomic_store_n(&w->pong, seen, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void ping_once(struct shared_words *w, uint32_t value)
{
    __atomic_store_n(&w->ping, value, __ATOMIC_RELEASE);
    while (__atomic_load_n(&w->pong, __ATOMIC_ACQUIRE) != value)
        __builtin_ia32_pause();
}

double bench_floor_pingpong(size_t rounds)
{
    struct bench_samples *s = bench_samples_create(rounds);
    struct shared_words *w = aligned_alloc(256, sizeof(*w));
    pthread_t thread;
    double p50 = -1;
    uint64_t before;

    if (!s || !w)
        goto out;
    memset(w, 0, sizeof(*w));
    /* Created before this thread is bound: a thread inherits its maker's processors. */
    if (pthread_create(&thread, NULL, pong_thread, w))
        goto out;
    bench_pin(0);
    for (uint32_t i = 1; i <= WARM_UP; i++)
        ping_once(w, i);
    before = gs_now_ns();
    for (size_t i = 0; i < rounds; i++) {
        uint64_t now;

        ping_once(w, (uint32_t)(WARM_UP + 1 + i));
        now = gs_now_ns();
        bench_sample(s, now - before);
        before = now;
    }
    ping_once(w, UINT32_MAX);
    pthread_join(thread, NULL);
    p50 = bench_percentile(s, 50);
out:
    bench_unpin();
    free(w);
    bench_samples_destroy(s);
    return p50;
}

/* ---- Descriptors: eventfds, sockets ---- */

/* One direction each way; `bytes` per message, 8 for eventfds. */
struct wire_pair {
    int to_peer, from_peer; /* ours */
    int peer_in, peer_out;  /* the partner's */
    size_t bytes;
};

static bool transfer(int fd, void *buf, size_t bytes, bool out)
{
    for (size_t done = 0; done < bytes;) {
        char *at = (char *)buf + done;
        ssize_t n = out ? write(fd, at, bytes - done) : read(fd, at, bytes - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static void *echo_thread(void *arg)
{
    const struct wire_pair *w = arg;
    uint64_t msg[RPC_BYTES / 8];

    bench_pin(1);
    /* The first word of a message that ends it is 2; eventfds count, so it is exact there, too. */
    do {
        if (!transfer(w->peer_in, msg, w->bytes, false))
            break;
        if (!transfer(w->peer_out, msg, w->bytes, true))
            break;
    } while (msg[0] != 2);
    return NULL;
}

static double measure_wire(struct wire_pair *w, size_t rounds)
{
    struct bench_samples *s = bench_samples_create(rounds);
    uint64_t msg[RPC_BYTES / 8] = {1};
    double p50 = -1;
    pthread_t thread;
    bool ok = true;

    if (!s)
        return -1;
    if (pthread_create(&thread, NULL, echo_thread, w))
        goto out;
    bench_pin(0);
    for (size_t i = 0; i < WARM_UP / 4 + rounds && ok; i++) {
        uint64_t before = gs_now_ns();

        ok = transfer(w->to_peer, msg, w->bytes, true) &&
             transfer(w->from_peer, msg, w->bytes, false);
        if (i >= WARM_UP / 4)
            bench_sample(s, gs_now_ns() - before);
    }
    msg[0] = 2;
    ok = transfer(w->to_peer, msg, w->bytes, true) && ok;
    pthread_join(thread, NULL);
    if (ok)
        p50 = bench_percentile(s, 50);
out:
    bench_unpin();
    bench_samples_destroy(s);
    return p50;
}

double bench_floor_eventfd(size_t rounds)
{
    int a = eventfd(0, EFD_CLOEXEC), b = eventfd(0, EFD_CLOEXEC);
    struct wire_pair w = {a, b, a, b, 8};
    double p50 = a >= 0 && b >= 0 ? measure_wire(&w, rounds) : -1;

    close(a);
    close(b);
    return p50;
}

double bench_floor_unix(size_t rounds)
{
    struct wire_pair w = {.bytes = RPC_BYTES};
    int fds[2];
    double p50;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    w.to_peer = w.from_peer = fds[0];
    w.peer_in = w.peer_out = fds[1];
    p50 = measure_wire(&w, rounds);
    close(fds[0]);
    close(fds[1]);
    return p50;
}

/* A connected pair over the loopback interface, without Nagle's delay. */
static bool tcp_pair(int fds[2])
{
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t len = sizeof(sin);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds[1] = -1;
    if (listener >= 0 && fds[0] >= 0 && !bind(listener, (struct sockaddr *)&sin, sizeof(sin)) &&
        !listen(listener, 1) && !getsockname(listener, (struct sockaddr *)&sin, &len) &&
        !connect(fds[0], (struct sockaddr *)&sin, sizeof(sin)))
        fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    if (fds[1] < 0) {
        close(fds[0]);
        return false;
    }
    setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return true;
}

double bench_floor_tcp(size_t rounds)
{
    struct wire_pair w = {.bytes = RPC_BYTES};
    int fds[2];
    double p50;

    if (!tcp_pair(fds))
        return -1;
    w.to_peer = w.from_peer = fds[0];
    w.peer_in = w.peer_out = fds[1];
    p50 = measure_wire(&w, rounds);
    close(fds[0]);
    close(fds[1]);
    return p50;
}

/* ---- memcpy ---- */

double bench_floor_memcpy(void *shared, size_t bytes, bool to_shared, unsigned int rounds)
{
    struct bench_samples *s = bench_samples_create(rounds);
    void *private = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    double p50 = -1;

    if (!s || private == MAP_FAILED)
        goto out;
    memset(private, 1, bytes);
    for (unsigned int i = 0; i < rounds; i++) {
        uint64_t before = gs_now_ns();

        memcpy(to_shared ? shared : private, to_shared ? private : shared, bytes);
        __asm__ volatile("" ::: "memory");
        bench_sample(s, gs_now_ns() - before);
    }
    p50 = (double)bytes * 1e9 / bench_percentile(s, 50);
out:
    if (private != MAP_FAILED)
        munmap(private, bytes);
    bench_samples_destroy(s);
    return p50;
}
