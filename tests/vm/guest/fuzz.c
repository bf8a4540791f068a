/* SPDX-License-Identifier: MIT */
/*
 * guest-fuzz: random programs against /dev/vgpu0.
 *
 *   guest-fuzz SEED SECONDS [DEVICE]
 *
 * A program is a child process that makes some dozens of calls, chosen by a generator that its number
 * seeds: it opens, sets up, registers, maps, submits, waits, forks, unmaps and closes; arguments
 * are right ones of which some fields were replaced by values that have gone wrong elsewhere (0, -1, one
 * beside a limit, pointers to nothing and into the middle of something).  It writes
 * anything into the halves of the queue that it may write, and rings.  It ends in the middle
 * of what it does: by itself, or killed.
 *
 * Whatever it does is its own affair: no call may hang, and a killed program must go away.  What the
 * kernel thinks of it is for the kernel's checkers and the caller to find.
 *
 * Prints how many programs and calls there were, and how many of each ioctl succeeded.  Exit
 * status 0; 1 if a program did not end, with its number: `guest-fuzz NUMBER 0` runs it alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vgpu/layout.h>
#include <vgpu/uapi.h>

#define MAX_FILES 4u
#define MAX_MAPS  16u
#define MAX_CALLS 60u
#define MEM_BYTES (64u * 4096u)
#define GAP_BYTES 0x10000u /* on either side of it, for pointers that miss */
#define LIFE_MS   3000     /* then a program is killed */
#define DEATH_MS  60000    /* and then it must be gone */
#define IOCTLS    10u
#define ONE_IN(n) (rnd() % (n) == 0)

struct map {
    uint8_t *at;
    size_t bytes;
    bool writable;
};

/* What all programs have done, in shared memory: they die. */
static struct tally {
    uint64_t calls;
    uint64_t tried[IOCTLS];
    uint64_t good[IOCTLS];
} * tally;

static const char *device = "/dev/vgpu0";
static uint64_t state;
static int files[MAX_FILES];
static struct vgpu_queue_setup queues[MAX_FILES];
static uint64_t alloc_offsets[MAX_FILES];
static struct map maps[MAX_MAPS];
static uint8_t *memory; /* its last page is replaced again and again; nothing lies behind it */

/* splitmix64 */
static uint64_t rnd(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static uint64_t odd_value(void)
{
    static const uint64_t values[] = {
        0,         1,          2,          3,          6,
        12,        16,         17,         31,         32,
        63,        64,         4095,       4096,       4097,
        0x7fff,    0x10000,    0x7fffffff, 0x80000000, 0xfffffff0,
        1u << 20,  0xffffffff, 1ull << 32, INT64_MAX,  UINT64_MAX - 4095,
        UINT64_MAX};

    return ONE_IN(4) ? rnd() : values[rnd() % (sizeof(values) / sizeof(values[0]))];
}

static void *odd_pointer(void)
{
    switch (rnd() % 6) {
    case 0: return NULL;
    case 1: return (void *)(uintptr_t)odd_value();
    case 2: return memory + MEM_BYTES - rnd() % 8192;
    case 3: return maps[rnd() % MAX_MAPS].at;
    default: return memory + rnd() % MEM_BYTES;
    }
}

static uint64_t soon(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + rnd() % 3000000u;
}

/* Replace some of the 32-bit words. */
static void spoil(void *arg, size_t bytes)
{
    uint8_t *p = arg;

    if (!ONE_IN(3))
        return;
    for (unsigned int i = 0; i < 1 + rnd() % 2; i++) {
        uint64_t value = odd_value();
        size_t width = ONE_IN(2) && bytes >= 8 ? 8 : 4;

        memcpy(p + rnd() % (bytes / width) * width, &value, width);
    }
}

static int call(unsigned int file, unsigned int number, unsigned long request, void *arg,
                size_t bytes)
{
    int rc;

    spoil(arg, bytes);
    if (ONE_IN(40))
        request ^= 1ul << rnd() % 32;
    if (ONE_IN(60))
        arg = odd_pointer();
    rc = ioctl(files[file], request, arg);
    tally->tried[number]++;
    tally->good[number] += rc == 0;
    return rc;
}

/* ---- ioctls ---- */

static void do_info(unsigned int f)
{
    struct vgpu_info info = {.size = (uint32_t)(ONE_IN(2) ? sizeof(info) : odd_value() % 4096)};

    call(f, 0, VGPU_IOCTL_INFO, &info, sizeof(info.size));
}

static void do_setup(unsigned int f)
{
    struct vgpu_queue_setup q = {.sq_log2 = 6 + rnd() % 3, .cq_log2 = 8, .arena_bytes = 0x4000};

    q.flags = ONE_IN(2) ? VGPU_QUEUE_KERNEL_SUBMIT : 0;
    if (call(f, 1, VGPU_IOCTL_QUEUE_SETUP, &q, sizeof(q)) == 0)
        queues[f] = q;
}

static void do_register(unsigned int f)
{
    uint64_t first = rnd() % MEM_BYTES;
    struct vgpu_buf_register reg = {.addr = (uintptr_t)memory + first,
                                    .bytes = 1 + rnd() % (MEM_BYTES - first),
                                    .flags = 1 + rnd() % 3};

    if (ONE_IN(10))
        reg.addr = (uintptr_t)odd_pointer();
    call(f, 2, VGPU_IOCTL_BUF_REGISTER, &reg, sizeof(reg));
}

static void do_alloc(unsigned int f)
{
    struct vgpu_buf_alloc alloc = {.bytes = 1 + rnd() % 0x10000};

    if (call(f, 3, VGPU_IOCTL_BUF_ALLOC, &alloc, sizeof(alloc)) == 0)
        alloc_offsets[f] = alloc.mmap_off;
}

static void do_unregister(unsigned int f)
{
    struct vgpu_buf_unregister unreg = {.buf = (uint32_t)(rnd() % 6)};

    call(f, 4, VGPU_IOCTL_BUF_UNREGISTER, &unreg, sizeof(unreg));
}

static void do_submit(unsigned int f)
{
    struct vgpu_sqe entries[8];
    struct vgpu_submit submit = {.entries = (uintptr_t)entries, .count = (uint32_t)(1 + rnd() % 8)};

    memset(entries, 0, sizeof(entries));
    for (unsigned int i = 0; i < 8; i++) {
        entries[i].opcode = (uint16_t)(1 + rnd() % 0x20);
        entries[i].cookie = rnd();
        spoil(&entries[i], sizeof(entries[i]));
    }
    call(f, 5, VGPU_IOCTL_SUBMIT, &submit, sizeof(submit));
}

static void do_reap(unsigned int f)
{
    struct vgpu_cqe entries[8];
    struct vgpu_reap reap = {.entries = (uintptr_t)entries, .count = 8};

    if (ONE_IN(4))
        reap.entries = (uintptr_t)odd_pointer();
    call(f, 6, VGPU_IOCTL_REAP, &reap, sizeof(reap));
}

static void do_wait(unsigned int f)
{
    struct vgpu_wait wait = {.timeout_ns = soon(), .cq_idx = (uint32_t)(rnd() % 4)};

    call(f, 7, VGPU_IOCTL_WAIT, &wait, sizeof(wait));
}

static void do_status(unsigned int f)
{
    struct vgpu_status_query status = {0};

    call(f, 8, VGPU_IOCTL_STATUS, &status, sizeof(status));
}

static void do_eventfd(unsigned int f)
{
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct vgpu_set_eventfd set = {.fd = ONE_IN(5) ? -1 : ONE_IN(5) ? files[f] : event};

    call(f, 9, VGPU_IOCTL_SET_EVENTFD, &set, sizeof(set));
    close(event);
}

/* ---- Memory ---- */

static void do_map(unsigned int f)
{
    const struct vgpu_queue_setup *q = &queues[f];
    const uint64_t offsets[] = {q->ro_off,    q->rw_off,        q->doorbell_off,
                                q->arena_off, alloc_offsets[f], odd_value() & ~4095ull};
    const size_t sizes[] = {q->ro_bytes, q->rw_bytes, 4096, q->arena_bytes, 4096, 0x4000};
    struct map *map = &maps[rnd() % MAX_MAPS];
    unsigned int which = (unsigned int)(rnd() % 6);
    bool writable = which && !ONE_IN(8);
    size_t bytes = ONE_IN(6) ? 4096 * (1 + rnd() % 40) : sizes[which];
    int flags = ONE_IN(12) ? MAP_PRIVATE : MAP_SHARED;
    void *at;

    if (!bytes)
        return;
    at = mmap(NULL, bytes, PROT_READ | (writable ? PROT_WRITE : 0), flags, files[f],
              (off_t)offsets[which]);
    if (at == MAP_FAILED)
        return;
    if (map->at)
        munmap(map->at, map->bytes);
    *map = (struct map){at, bytes, writable};
}

/* What is mapped may be gone for good (SIGBUS): that ends this program, as it should. */
static void do_scribble(void)
{
    struct map *map = &maps[rnd() % MAX_MAPS];
    size_t at;

    if (!map->at)
        return;
    at = rnd() % (map->bytes / 4) * 4;
    if (map->writable)
        *(volatile uint32_t *)(void *)(map->at + at) = (uint32_t)odd_value();
    else
        (void)*(volatile uint32_t *)(void *)(map->at + at);
}

static void do_unmap(void)
{
    struct map *map = &maps[rnd() % MAX_MAPS];

    if (!map->at)
        return;
    if (ONE_IN(4)) {
        mprotect(map->at, map->bytes, (int)(rnd() % 4));
        map->writable = false;
        return;
    }
    if (ONE_IN(3) && map->bytes > 4096) { /* a part of it; the rest goes with the program */
        munmap(map->at + rnd() % (map->bytes / 4096) * 4096, 4096);
    } else {
        munmap(map->at, map->bytes);
    }
    map->at = NULL;
}

static void do_memory(void)
{
    uint8_t *last = memory + MEM_BYTES - 4096;

    if (ONE_IN(2))
        madvise(memory + rnd() % (MEM_BYTES / 4096) * 4096, 4096, MADV_DONTNEED);
    else
        mmap(last, 4096, ONE_IN(2) ? PROT_READ : PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* ---- Files and processes ---- */

static void do_open(unsigned int f)
{
    int fd = ONE_IN(8) && files[0] >= 0 ? dup(files[0]) : open(device, O_RDWR | O_CLOEXEC);

    if (files[f] >= 0)
        close(files[f]);
    files[f] = fd;
    memset(&queues[f], 0, sizeof(queues[f]));
    alloc_offsets[f] = 0;
}

static void do_poll(unsigned int f)
{
    struct pollfd pfd = {.fd = files[f], .events = POLLIN | POLLOUT | POLLPRI};
    char byte = 0;

    poll(&pfd, 1, (int)(rnd() % 3));
    if (ONE_IN(3) && (read(files[f], &byte, 1) > 0 || write(files[f], &byte, 1) > 0))
        _exit(3); /* there is nothing to be read or written */
}

static void one_call(void);

static void do_fork(void)
{
    pid_t pid = fork();

    if (pid)
        return;
    for (unsigned int i = 0; i < 4; i++)
        one_call();
    _exit(0);
}

static void one_call(void)
{
    static void (*const ioctls[])(unsigned int f) = {
        do_info,   do_setup, do_register, do_alloc,  do_unregister,
        do_submit, do_reap,  do_wait,     do_status, do_eventfd};
    unsigned int f = ONE_IN(4) ? (unsigned int)(rnd() % MAX_FILES) : 0,
                 what = (unsigned int)(rnd() % 40);

    tally->calls++;
    if (what < 2 || files[f] < 0)
        do_open(f);
    else if (what < 6)
        do_map(f);
    else if (what < 10)
        do_scribble();
    else if (what < 12)
        do_unmap();
    else if (what < 13)
        do_memory();
    else if (what < 15)
        do_poll(f);
    else if (what < 16)
        do_fork();
    else
        ioctls[rnd() % IOCTLS](f);
}

/* The program with this number.  Does not return. */
static void program(uint64_t number)
{
    unsigned int calls;

    state = number;
    for (unsigned int i = 0; i < MAX_FILES; i++)
        files[i] = -1;
    memory = mmap(NULL, MEM_BYTES + 2 * GAP_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        _exit(2);
    memory += GAP_BYTES;
    if (mprotect(memory, MEM_BYTES, PROT_READ | PROT_WRITE))
        _exit(2);
    memset(memory, 0x5a, MEM_BYTES);
    do_open(0);
    if (!ONE_IN(5))
        do_setup(0);
    calls = (unsigned int)(rnd() % MAX_CALLS);
    for (unsigned int i = 0; i < calls; i++)
        one_call();
    if (ONE_IN(3))
        raise(SIGKILL);
    _exit(0);
}

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* False if it can't be killed. */
static bool run(uint64_t number)
{
    uint64_t start = now_ms();
    bool killed = false;
    pid_t pid = fork();

    if (!pid) {
        setpgid(0, 0);
        program(number);
    }
    while (pid > 0 && waitpid(pid, NULL, WNOHANG) == 0) {
        if (!killed && now_ms() - start > LIFE_MS) {
            kill(pid, SIGKILL);
            killed = true;
        }
        if (now_ms() - start > LIFE_MS + DEATH_MS)
            return false;
        usleep(killed ? 10000 : 500);
    }
    kill(-pid, SIGKILL); /* its children */
    return pid > 0;
}

int main(int argc, char **argv)
{
    static const char *const names[IOCTLS] = {
        "INFO",   "QUEUE_SETUP", "BUF_REGISTER", "BUF_ALLOC", "BUF_UNREGISTER",
        "SUBMIT", "REAP",        "WAIT",         "STATUS",    "SET_EVENTFD"};
    uint64_t seed = argc > 2 ? strtoull(argv[1], NULL, 0) : 0, number = seed, end;

    if (argc < 3) {
        fprintf(stderr, "usage: guest-fuzz SEED SECONDS [DEVICE]\n");
        return EXIT_FAILURE;
    }
    device = argc > 3 ? argv[3] : device;
    signal(SIGCHLD, SIG_DFL);
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED) {
        perror("mmap");
        return EXIT_FAILURE;
    }
    end = now_ms() + strtoull(argv[2], NULL, 0) * 1000u;
    do {
        if (!run(number)) {
            printf("program %llu does not end\n", (unsigned long long)number);
            return EXIT_FAILURE;
        }
        number++;
    } while (now_ms() < end);
    printf("%llu programs, %llu calls;", (unsigned long long)(number - seed),
           (unsigned long long)tally->calls);
    for (unsigned int i = 0; i < IOCTLS; i++)
        printf(" %s %llu/%llu", names[i], (unsigned long long)tally->good[i],
               (unsigned long long)tally->tried[i]);
    printf("\n");
    return EXIT_SUCCESS;
}
