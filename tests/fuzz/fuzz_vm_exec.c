/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: what a vm process that was taken over may tell an exec process: the real conversation
 * (xsock), control requests and buffers, with jobs that hold buffers while they are dropped.
 *
 * The input is a program of one-byte steps (enum step).  Requests are well-formed or damaged, in any order,
 * with right and wrong descriptors; jobs take, use and release buffers; quota is asked for while
 * other requests wait.
 *
 * Beside what sanitizers see, this must hold:
 *   each request is answered at most once, in order, and by the end exactly once unless the conversation
 *   was ended;
 *   a dropped buffer is answered for only when no job holds it;
 *   a buffer that was found can be read and written in whole;
 *   in the end no mapping and no descriptor is left.
 *
 * Also linked into the unit tests, which replay the corpus.
 */
#include <exec/control.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFERS     8u
#define PAGES       16u /* of each file */
#define MAX_REFS    32u
#define MAX_STEPS   1024u
#define MAX_OWED    1024u
#define ANSWER_ROOM 2048 /* of a socket's buffer, for one answer that nobody has taken in yet */
#define FILES       2u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
    STEP_BEGIN,  /* [id 1] [flags 1] [pages 1] [first 1] [runs 1] [descriptors 1] */
    STEP_ADD,    /* [id 1] [runs 1] { [file 1] [page 1] [pages 1] } */
    STEP_COMMIT, /* [id 1] */
    STEP_DROP,   /* [id 1] */
    STEP_WHOLE,  /* [id 1] [pages 1]: all of registering, as it should be */
    STEP_IRQ,    /* [descriptors 1] */
    STEP_RAW,    /* [type 1] [length 2] [run count 1] [descriptors 1] */
    STEP_GET,    /* [id 1]: a job takes it */
    STEP_PUT,    /* [which 1] */
    STEP_USE,    /* [which 1] [off 2] [bytes 2] */
    STEP_COLLECT,
    STEP_QUOTA, /* [answer 1] */
    STEP_STOP,
    STEP_END
};

static struct world {
    struct vgpu_xsock sock;
    struct vgpu_gbufs bufs;
    struct vgpu_ring ring;
    struct vgpu_control control;
    int peer;
    int files[FILES];
    struct vgpu_gbuf *refs[MAX_REFS];
    uint32_t ref_id[MAX_REFS];
    uint32_t ref_count;
    uint32_t seq;
    uint32_t owed[MAX_OWED]; /* in order */
    uint32_t owed_first, owed_count;
    uint32_t owed_max; /* as many answers as can wait: an exec process blocks on more */
    bool over;
} w;

struct input {
    const uint8_t *at;
    size_t left;
};

static uint32_t take(struct input *in, size_t n)
{
    uint32_t value = 0;

    n = n < in->left ? n : in->left;
    memcpy(&value, in->at, n);
    in->at += n;
    in->left -= n;
    return value;
}

#define must(holds) must_at(holds, __LINE__)

static void must_at(bool holds, int line)
{
    if (holds)
        return;
    fprintf(stderr, "%s:%d does not hold\n", __FILE__, line);
    abort();
}

/* ---- The vm process ---- */

static bool vm_send(const void *data, size_t bytes, uint32_t fd_count, bool irq)
{
    union {
        char buf[CMSG_SPACE(FILES * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {(void *)(uintptr_t)data, bytes};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    int event = irq ? eventfd(0, EFD_CLOEXEC) : -1;
    ssize_t n;

    fd_count = fd_count < FILES ? fd_count : FILES;
    memset(&control, 0, sizeof(control));
    if (fd_count) {
        struct cmsghdr *c;

        mh.msg_control = &control;
        mh.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        for (uint32_t i = 0; i < fd_count; i++)
            memcpy(CMSG_DATA(c) + i * sizeof(int), irq && !i ? &event : &w.files[i], sizeof(int));
    }
    n = sendmsg(w.peer, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (event >= 0)
        close(event);
    return n >= 0;
}

static bool vm_request(struct vgpu_xmsg *msg, const struct vgpu_xrun *runs, uint32_t fd_count)
{
    static uint8_t data[sizeof(*msg) + 256 * sizeof(*runs)];
    size_t bytes = sizeof(*msg) + msg->run_count * sizeof(*runs);

    if (w.owed_count == w.owed_max)
        return false;
    msg->seq = ++w.seq;
    memcpy(data, msg, sizeof(*msg));
    if (msg->run_count)
        memcpy(data + sizeof(*msg), runs, msg->run_count * sizeof(*runs));
    if (!vm_send(data, bytes, fd_count, msg->type == VGPU_X_IRQ))
        return false;
    w.owed[(w.owed_first + w.owed_count++) % MAX_OWED] = msg->seq;
    return true;
}

static void vm_take_answers(void)
{
    struct vgpu_xmsg msg;
    ssize_t n;

    while ((n = recv(w.peer, &msg, sizeof(msg), MSG_DONTWAIT)) > 0) {
        must(n == sizeof(msg) && !msg.run_count);
        if (msg.type == VGPU_X_QUOTA_TAKE)
            continue;
        must(msg.type == VGPU_X_REPLY && w.owed_count);
        must(msg.seq == w.owed[w.owed_first++ % MAX_OWED]);
        w.owed_count--;
    }
}

/* ---- The exec process ---- */

static void run(void)
{
    if (w.over)
        return;
    if (vgpu_control_run(&w.control) != VGPU_CONTROL_OK)
        w.over = true;
    /* A buffer that a job holds is there. */
    for (uint32_t i = 0; i < w.ref_count; i++)
        must(!vgpu_gbufs_is_gone(&w.bufs, w.ref_id[i]));
    vm_take_answers();
}

static void collect(void)
{
    if (vgpu_gbufs_collect(&w.bufs) && !w.over && vgpu_control_flush(&w.control) != VGPU_CONTROL_OK)
        w.over = true;
    vm_take_answers();
}

static void step_get(uint32_t id)
{
    struct vgpu_gbuf *buf;

    if (w.ref_count == MAX_REFS || vgpu_gbufs_find(&w.bufs, id, 0, 0, 0, &buf) != VGPU_ST_OK)
        return;
    vgpu_gbuf_get(buf);
    w.ref_id[w.ref_count] = id;
    w.refs[w.ref_count++] = buf;
}

static void step_put(uint32_t which)
{
    if (!w.ref_count)
        return;
    which %= w.ref_count;
    vgpu_gbuf_put(w.refs[which]);
    w.ref_count--;
    w.refs[which] = w.refs[w.ref_count];
    w.ref_id[which] = w.ref_id[w.ref_count];
}

static void step_use(struct input *in)
{
    static uint8_t data[PAGES * VGPU_PAGE_BYTES * 2];
    uint32_t which = take(in, 1) % (w.ref_count ? w.ref_count : 1);
    uint64_t off = take(in, 2), bytes = take(in, 2);
    struct vgpu_gbuf *buf;
    uint32_t id = w.ref_id[which];

    if (!w.ref_count)
        return;
    if (vgpu_gbufs_find(&w.bufs, id, VGPU_BUF_DEVICE_READS, off, bytes, &buf) == VGPU_ST_OK)
        must(vgpu_gbuf_read(buf, off, data, bytes) == 0);
    if (vgpu_gbufs_find(&w.bufs, id, VGPU_BUF_DEVICE_WRITES, off, bytes, &buf) == VGPU_ST_OK)
        must(vgpu_gbuf_write(buf, off, data, bytes) == 0);
}

/* ---- Steps ---- */

static void send_buf(uint32_t type, uint32_t id)
{
    struct vgpu_xmsg msg = {.type = type};

    msg.u.buf.id = id;
    (void)vm_request(&msg, NULL, 0);
}

static void step_begin(struct input *in)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_BUF_BEGIN};

    msg.u.buf.id = take(in, 1);
    msg.u.buf.flags = take(in, 1);
    msg.u.buf.bytes = take(in, 1) * (uint64_t)VGPU_PAGE_BYTES;
    msg.u.buf.first_off = take(in, 1) * 16u;
    msg.u.buf.bytes -= msg.u.buf.first_off & 0xff0;
    msg.u.buf.run_count = take(in, 1);
    (void)vm_request(&msg, NULL, take(in, 1));
}

static void step_add(struct input *in)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_BUF_ADD};
    struct vgpu_xrun runs[255];

    msg.u.buf.id = take(in, 1);
    msg.run_count = take(in, 1) % 255;
    for (uint32_t i = 0; i < msg.run_count; i++) {
        uint32_t fd = take(in, 1);

        runs[i] = (struct vgpu_xrun){.fd = fd & 3, .rsvd = fd == 255};
        runs[i].offset = take(in, 1) * (uint64_t)VGPU_PAGE_BYTES + (fd == 254);
        runs[i].bytes = take(in, 1) * (uint64_t)VGPU_PAGE_BYTES;
    }
    (void)vm_request(&msg, runs, 0);
}

static void step_whole(uint32_t id, uint32_t pages)
{
    struct vgpu_xmsg msg = {.type = VGPU_X_BUF_BEGIN};
    struct vgpu_xrun runs[PAGES];

    id %= BUFFERS;
    pages = 1 + pages % PAGES;
    msg.u.buf.id = id;
    msg.u.buf.flags = 1 + id % 3;
    msg.u.buf.bytes = pages * (uint64_t)VGPU_PAGE_BYTES - 100;
    msg.u.buf.first_off = 100;
    msg.u.buf.run_count = pages;
    (void)vm_request(&msg, NULL, FILES);
    msg = (struct vgpu_xmsg){.type = VGPU_X_BUF_ADD, .run_count = pages};
    msg.u.buf.id = id;
    for (uint32_t i = 0; i < pages; i++)
        runs[i] = (struct vgpu_xrun){.fd = i % FILES,
                                     .offset = (PAGES - 1 - i) * (uint64_t)VGPU_PAGE_BYTES,
                                     .bytes = VGPU_PAGE_BYTES};
    (void)vm_request(&msg, runs, 0);
    send_buf(VGPU_X_BUF_COMMIT, id);
}

/* After one of these nobody counts answers. */
static void step_raw(struct input *in)
{
    static uint8_t data[1u << 16];
    struct vgpu_xmsg msg = {.type = take(in, 1)};
    uint32_t bytes = take(in, 2), fds;

    msg.run_count = take(in, 1);
    fds = take(in, 1);
    memset(data, 0, sizeof(data));
    memcpy(data, &msg, sizeof(msg));
    if (bytes == sizeof(msg) + msg.run_count * sizeof(struct vgpu_xrun))
        bytes++; /* a good one would be answered */
    (void)vm_send(data, bytes ? bytes : 1, fds, false);
}

static void step_quota(uint32_t how)
{
    struct vgpu_xmsg msg = {.type = how & 1 ? VGPU_X_STOP : VGPU_X_QUOTA};
    uint64_t held = 0;
    int rc;

    if (w.over)
        return;
    msg.seq = w.sock.seq + 1 + (how & 2 ? 7 : 0);
    msg.u.quota_reply.status = how & 4 ? VGPU_ST_OUT_OF_MEMORY : VGPU_ST_OK;
    if (!vm_send(&msg, sizeof(msg), how >> 6, false))
        return;
    rc = vgpu_xsock_quota_take(&w.sock, how, &held);
    w.over = rc < 0 && rc != -ENOMEM;
}

static void one_step(struct input *in)
{
    uint32_t which;

    switch (take(in, 1) % STEP_END) {
    case STEP_BEGIN: step_begin(in); break;
    case STEP_ADD: step_add(in); break;
    case STEP_COMMIT: send_buf(VGPU_X_BUF_COMMIT, take(in, 1)); break;
    case STEP_DROP: send_buf(VGPU_X_BUF_DROP, take(in, 1)); break;
    case STEP_WHOLE:
        which = take(in, 1);
        step_whole(which, take(in, 1));
        break;
    case STEP_IRQ: {
        struct vgpu_xmsg msg = {.type = VGPU_X_IRQ};

        (void)vm_request(&msg, NULL, take(in, 1) % 3);
        break;
    }
    case STEP_RAW: step_raw(in); break;
    case STEP_GET: step_get(take(in, 1)); return;
    case STEP_PUT: step_put(take(in, 1)); return;
    case STEP_USE: step_use(in); return;
    case STEP_COLLECT: collect(); break;
    case STEP_QUOTA: step_quota(take(in, 1)); return;
    case STEP_STOP: {
        struct vgpu_xmsg msg = {.type = VGPU_X_STOP};

        (void)vm_send(&msg, sizeof(msg), 0, false);
        break;
    }
    default: break;
    }
    if (in->left && *in->at & 1) /* else they gather */
        run();
}

static void setup(void)
{
    int pair[2], room = MAX_OWED * ANSWER_ROOM;
    socklen_t room_bytes = sizeof(room);

    memset(&w, 0, sizeof(w));
    must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    w.peer = pair[0];
    if (setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)))
        must(!setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)));
    must(!getsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, &room_bytes));
    w.owed_max = (uint32_t)room / ANSWER_ROOM;
    w.owed_max = w.owed_max < MAX_OWED ? w.owed_max : MAX_OWED;
    for (uint32_t i = 0; i < FILES; i++) {
        w.files[i] = memfd_create("ram", MFD_CLOEXEC);
        must(w.files[i] >= 0 && !ftruncate(w.files[i], PAGES * VGPU_PAGE_BYTES));
    }
    vgpu_xsock_init(&w.sock, pair[1]);
    must(!vgpu_gbufs_init(&w.bufs, BUFFERS));
    w.bufs.mappings_max = PAGES; /* what is more is staged */
    w.ring.irq_fd = -1;
    vgpu_control_init(&w.control, &w.sock, &w.bufs, &w.ring);
}

static void settle(void)
{
    while (w.ref_count)
        step_put(0);
    for (uint32_t i = 0; i < MAX_OWED && !w.over; i++) {
        run();
        collect();
    }
    must(w.over || (!w.owed_count && !w.control.count && !w.bufs.dropping));
    vgpu_gbufs_fini(&w.bufs);
    must(w.bufs.mappings == 0 && w.bufs.live == 0);
    vgpu_xsock_fini(&w.sock);
    if (w.ring.irq_fd >= 0)
        close(w.ring.irq_fd);
    close(w.sock.fd);
    close(w.peer);
    for (uint32_t i = 0; i < FILES; i++)
        close(w.files[i]);
}

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    int before = count_fds();

    setup();
    for (unsigned int i = 0; in.left && i < MAX_STEPS && !w.over; i++)
        one_step(&in);
    settle();
    must(count_fds() == before);
    return 0;
}
