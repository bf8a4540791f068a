// SPDX-License-Identifier: MIT
/*
 * Registered buffers: many runs, partial pages, both the mapped and the staged form, and all that
 * a message about one may get wrong.
 */
#include "suites.h"

#include <exec/gbuf.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE  4096u
#define PAGES 64u
#define BOTH  (VGPU_BUF_DEVICE_READS | VGPU_BUF_DEVICE_WRITES)

struct fixture {
    struct vgpu_gbufs bufs;
    int fds[2];
    uint8_t *mem[2]; /* the two files, as the guest sees them */
};

static void fixture_init(struct fixture *f)
{
    ck_assert_int_eq(vgpu_gbufs_init(&f->bufs, 8), 0);
    for (int i = 0; i < 2; i++) {
        f->fds[i] = memfd_create("ram", MFD_CLOEXEC);
        ck_assert_int_eq(ftruncate(f->fds[i], PAGES * PAGE), 0);
        f->mem[i] = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f->fds[i], 0);
        ck_assert_ptr_ne(f->mem[i], MAP_FAILED);
        for (uint32_t k = 0; k < PAGES * PAGE; k++)
            f->mem[i][k] = (uint8_t)(k / PAGE * 7 + k + (uint32_t)i * 101);
    }
}

static void fixture_fini(struct fixture *f)
{
    vgpu_gbufs_fini(&f->bufs);
    for (int i = 0; i < 2; i++) {
        munmap(f->mem[i], PAGES * PAGE);
        close(f->fds[i]);
    }
}

static uint16_t begin(struct fixture *f, const struct vgpu_x_buf *msg)
{
    int fds[2] = {dup(f->fds[0]), dup(f->fds[1])};

    return vgpu_gbufs_begin(&f->bufs, msg, fds, 2);
}

static uint16_t add(struct fixture *f, uint32_t id, uint32_t flags, uint64_t off, uint64_t bytes,
                    const struct vgpu_xrun *runs, uint32_t count)
{
    const struct vgpu_x_buf msg = {
        .id = id, .flags = flags, .first_off = off, .bytes = bytes, .run_count = count};
    uint16_t status = begin(f, &msg);

    for (uint32_t i = 0; i < count && status == VGPU_ST_OK; i++)
        status = vgpu_gbufs_add(&f->bufs, id, &runs[i], 1);
    return status == VGPU_ST_OK ? vgpu_gbufs_commit(&f->bufs, id) : status;
}

static unsigned int open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned int n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Scattered over both files, backwards, in runs of different length. */
static const struct vgpu_xrun scattered[] = {
    {.fd = 1, .offset = 40 * PAGE, .bytes = PAGE}, {.fd = 0, .offset = 3 * PAGE, .bytes = 2 * PAGE},
    {.fd = 0, .offset = 1 * PAGE, .bytes = PAGE},  {.fd = 1, .offset = 0, .bytes = 5 * PAGE},
    {.fd = 0, .offset = 63 * PAGE, .bytes = PAGE},
};
#define SCATTERED_PAGES 10u
#define SCATTERED_COUNT 5u

/* Where byte `at` of the concatenated runs lies. */
static uint8_t *byte_at(struct fixture *f, uint64_t at)
{
    for (uint32_t i = 0; i < SCATTERED_COUNT; i++) {
        if (at < scattered[i].bytes)
            return &f->mem[scattered[i].fd][scattered[i].offset + at];
        at -= scattered[i].bytes;
    }
    ck_abort();
    return NULL;
}

/* `_i` 0: mapped, 1: staged */
static void scattered_add(struct fixture *f, int staged, uint64_t first_off, uint64_t bytes)
{
    if (staged)
        f->bufs.mappings_max = 2;
    ck_assert_uint_eq(add(f, 3, BOTH, first_off, bytes, scattered, SCATTERED_COUNT), VGPU_ST_OK);
}

START_TEST(scattered_runs_read_and_write_as_one)
{
    const uint64_t first_off = 1000, bytes = SCATTERED_PAGES * PAGE - 1000 - 777;
    struct fixture f;
    struct vgpu_gbuf *buf;
    uint8_t *copy = malloc(bytes);

    fixture_init(&f);
    scattered_add(&f, _i, first_off, bytes);
    ck_assert_uint_eq(vgpu_gbufs_find(&f.bufs, 3, BOTH, 0, bytes, &buf), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbuf_bytes(buf), bytes);
    ck_assert_int_eq(vgpu_gbuf_read(buf, 0, copy, bytes), 0);
    for (uint64_t i = 0; i < bytes; i++)
        ck_assert_uint_eq(copy[i], *byte_at(&f, first_off + i));

    /* Across every run boundary, and the bytes around stay as they are. */
    for (uint64_t at = PAGE - 3; at + 6 < SCATTERED_PAGES * PAGE - 777; at += PAGE) {
        uint8_t before = *byte_at(&f, at - 1), after = *byte_at(&f, at + 6);

        ck_assert_int_eq(vgpu_gbuf_write(buf, at - first_off, "abcdef", 6), 0);
        for (uint64_t k = 0; k < 6; k++)
            ck_assert_uint_eq(*byte_at(&f, at + k), "abcdef"[k]);
        ck_assert_uint_eq(*byte_at(&f, at - 1), before);
        ck_assert_uint_eq(*byte_at(&f, at + 6), after);
        ck_assert_int_eq(vgpu_gbuf_read(buf, at - first_off, copy, 6), 0);
        ck_assert_int_eq(memcmp(copy, "abcdef", 6), 0);
    }
    free(copy);
    fixture_fini(&f);
}
END_TEST

START_TEST(mapped_buffer_is_one_span_and_staged_has_none)
{
    struct fixture f;
    struct vgpu_gbuf *buf;
    struct vgpu_span span;

    fixture_init(&f);
    scattered_add(&f, _i, 8, 9 * PAGE);
    ck_assert_uint_eq(vgpu_gbufs_find(&f.bufs, 3, BOTH, 0, 1, &buf), VGPU_ST_OK);
    if (_i == 1) {
        ck_assert_int_eq(vgpu_gbuf_spans(buf, 0, 100, &span, 1), -EOPNOTSUPP);
        ck_assert_uint_eq(f.bufs.mappings, 0);
    } else {
        ck_assert_int_eq(vgpu_gbuf_spans(buf, 4000, 5000, &span, 1), 1);
        ck_assert_uint_eq(span.bytes, 5000);
        ck_assert_uint_eq(*(uint8_t *)span.ptr, *byte_at(&f, 4008));
        ck_assert_int_eq(vgpu_gbuf_spans(buf, 0, 0, &span, 1), 0);
        ck_assert_int_eq(vgpu_gbuf_spans(buf, 0, 1, &span, 0), -E2BIG);
        ck_assert_uint_eq(f.bufs.mappings, SCATTERED_COUNT);
    }
    ck_assert_int_eq(vgpu_gbufs_drop(&f.bufs, 3), VGPU_GBUF_DROPPED);
    ck_assert_uint_eq(f.bufs.mappings, 0);
    fixture_fini(&f);
}
END_TEST

START_TEST(staged_access_beyond_a_shrunk_file_is_an_error)
{
    struct fixture f;
    struct vgpu_gbuf *buf;
    uint8_t byte;

    fixture_init(&f);
    scattered_add(&f, 1, 0, 10 * PAGE);
    ck_assert_uint_eq(vgpu_gbufs_find(&f.bufs, 3, BOTH, 0, 1, &buf), VGPU_ST_OK);
    ck_assert_int_eq(ftruncate(f.fds[0], 2 * PAGE), 0);
    ck_assert_int_eq(vgpu_gbuf_read(buf, 0, &byte, 1), 0);
    ck_assert_int_eq(vgpu_gbuf_read(buf, PAGE, &byte, 1), -EFAULT);
    fixture_fini(&f);
}
END_TEST

/* ---- Lookups ---- */

START_TEST(find_checks_id_direction_and_range)
{
    static const struct {
        uint32_t id, access;
        uint64_t off, bytes;
        uint16_t status;
    } cases[] = {
        {1, VGPU_BUF_DEVICE_READS, 0, 5000, VGPU_ST_OK},
        {1, VGPU_BUF_DEVICE_READS, 5000, 0, VGPU_ST_OK},
        {1, VGPU_BUF_DEVICE_READS, 4999, 1, VGPU_ST_OK},
        {1, VGPU_BUF_DEVICE_READS, 4999, 2, VGPU_ST_BAD_RANGE},
        {1, VGPU_BUF_DEVICE_READS, 5001, 0, VGPU_ST_BAD_RANGE},
        {1, VGPU_BUF_DEVICE_READS, 0, 5001, VGPU_ST_BAD_RANGE},
        {1, VGPU_BUF_DEVICE_READS, 1, UINT64_MAX, VGPU_ST_BAD_RANGE},
        {1, VGPU_BUF_DEVICE_READS, UINT64_MAX, 1, VGPU_ST_BAD_RANGE},
        {1, VGPU_BUF_DEVICE_READS, UINT64_MAX, UINT64_MAX, VGPU_ST_BAD_RANGE},
        {1, VGPU_BUF_DEVICE_WRITES, 0, 1, VGPU_ST_BAD_ACCESS},
        {1, BOTH, 0, 1, VGPU_ST_BAD_ACCESS},
        {2, VGPU_BUF_DEVICE_WRITES, 0, 1, VGPU_ST_OK},
        {2, VGPU_BUF_DEVICE_READS, 0, 1, VGPU_ST_BAD_ACCESS},
        {0, VGPU_BUF_DEVICE_READS, 0, 1, VGPU_ST_BAD_BUFFER},
        {7, VGPU_BUF_DEVICE_READS, 0, 1, VGPU_ST_BAD_BUFFER},
        {8, VGPU_BUF_DEVICE_READS, 0, 1, VGPU_ST_BAD_BUFFER},
        {UINT32_MAX, VGPU_BUF_DEVICE_READS, 0, 1, VGPU_ST_BAD_BUFFER},
    };
    struct vgpu_xrun run = {.fd = 0, .offset = PAGE, .bytes = 2 * PAGE};
    struct fixture f;

    fixture_init(&f);
    ck_assert_uint_eq(add(&f, 1, VGPU_BUF_DEVICE_READS, 16, 5000, &run, 1), VGPU_ST_OK);
    ck_assert_uint_eq(add(&f, 2, VGPU_BUF_DEVICE_WRITES, 0, 5000, &run, 1), VGPU_ST_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vgpu_gbuf *buf = NULL;
        uint16_t status = vgpu_gbufs_find(&f.bufs, cases[i].id, cases[i].access, cases[i].off,
                                          cases[i].bytes, &buf);

        ck_assert_msg(status == cases[i].status, "case %zu: 0x%x", i, status);
        ck_assert((buf != NULL) == (status == VGPU_ST_OK));
    }
    fixture_fini(&f);
}
END_TEST

START_TEST(buffer_in_the_making_is_not_found)
{
    const struct vgpu_x_buf msg = {.id = 1, .flags = BOTH, .bytes = PAGE, .run_count = 1};
    struct fixture f;
    struct vgpu_gbuf *buf;

    fixture_init(&f);
    ck_assert_uint_eq(begin(&f, &msg), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_find(&f.bufs, 1, BOTH, 0, 1, &buf), VGPU_ST_BAD_BUFFER);
    /* Not all runs came: it is given up. */
    ck_assert_uint_eq(vgpu_gbufs_commit(&f.bufs, 1), VGPU_ST_HOST_ERROR);
    ck_assert(vgpu_gbufs_is_gone(&f.bufs, 1));
    ck_assert_uint_eq(vgpu_gbufs_commit(&f.bufs, 1), VGPU_ST_NO_BUFFER);
    fixture_fini(&f);
}
END_TEST

/* ---- Dropping ---- */

static int detached;
static bool refuses;

static bool on_detach(void *opaque, struct vgpu_gbuf *buf)
{
    detached++;
    ck_assert_ptr_eq(*vgpu_gbuf_priv(buf), opaque);
    return !refuses;
}

START_TEST(dropped_buffer_lives_until_its_last_job)
{
    struct vgpu_xrun run = {.fd = 0, .offset = 0, .bytes = PAGE};
    struct fixture f;
    struct vgpu_gbuf *buf, *again;
    uint8_t byte;

    fixture_init(&f);
    f.bufs.detach = on_detach;
    f.bufs.opaque = &f;
    ck_assert_uint_eq(add(&f, 1, BOTH, 0, PAGE, &run, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_find(&f.bufs, 1, BOTH, 0, PAGE, &buf), VGPU_ST_OK);
    *vgpu_gbuf_priv(buf) = &f;
    vgpu_gbuf_get(buf);
    vgpu_gbuf_get(buf);
    ck_assert_int_eq(vgpu_gbufs_drop(&f.bufs, 1), VGPU_GBUF_IN_USE);
    ck_assert_int_eq(vgpu_gbufs_drop(&f.bufs, 1), VGPU_GBUF_NONE);
    ck_assert_uint_eq(vgpu_gbufs_find(&f.bufs, 1, BOTH, 0, PAGE, &again), VGPU_ST_BAD_BUFFER);
    ck_assert_uint_eq(add(&f, 1, BOTH, 0, PAGE, &run, 1), VGPU_ST_BUFFER_EXISTS);
    vgpu_gbuf_put(buf);
    ck_assert(!vgpu_gbufs_collect(&f.bufs));
    ck_assert_int_eq(vgpu_gbuf_read(buf, 0, &byte, 1), 0);
    ck_assert_int_eq(detached, 0);
    vgpu_gbuf_put(buf);
    ck_assert(vgpu_gbufs_collect(&f.bufs));
    ck_assert_int_eq(detached, 1);
    ck_assert(vgpu_gbufs_is_gone(&f.bufs, 1));
    ck_assert(!vgpu_gbufs_collect(&f.bufs));
    ck_assert_uint_eq(f.bufs.live + f.bufs.dropping + f.bufs.mappings, 0);
    ck_assert_uint_eq(add(&f, 1, BOTH, 0, PAGE, &run, 1), VGPU_ST_OK);
    f.bufs.opaque = NULL;
    fixture_fini(&f);
    ck_assert_int_eq(detached, 2);
}
END_TEST

/* What the executor can't let go of stays mapped, and nobody hears that it is gone; whether it is asked at once or
 * when the last job has ended. */
START_TEST(a_buffer_the_executor_keeps_stays)
{
    const bool in_use = _i == 1;
    struct vgpu_xrun run = {.fd = 0, .offset = 0, .bytes = PAGE};
    struct fixture f;
    struct vgpu_gbuf *buf;
    uint8_t byte;

    fixture_init(&f);
    f.bufs.detach = on_detach;
    f.bufs.opaque = &f;
    refuses = true;
    ck_assert_uint_eq(add(&f, 1, BOTH, 0, PAGE, &run, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_find(&f.bufs, 1, BOTH, 0, PAGE, &buf), VGPU_ST_OK);
    *vgpu_gbuf_priv(buf) = &f;
    if (in_use)
        vgpu_gbuf_get(buf);
    ck_assert_int_eq(vgpu_gbufs_drop(&f.bufs, 1), VGPU_GBUF_IN_USE);
    if (in_use)
        vgpu_gbuf_put(buf);
    ck_assert(!vgpu_gbufs_collect(&f.bufs));
    ck_assert_int_eq(detached, in_use ? 1 : 2);
    ck_assert(!vgpu_gbufs_is_gone(&f.bufs, 1));
    ck_assert_int_eq(vgpu_gbufs_drop(&f.bufs, 1), VGPU_GBUF_NONE);
    ck_assert_uint_eq(add(&f, 1, BOTH, 0, PAGE, &run, 1), VGPU_ST_BUFFER_EXISTS);
    ck_assert_int_eq(vgpu_gbuf_read(buf, 0, &byte, 1), 0);
    ck_assert_uint_eq(f.bufs.dropping, 1);
    ck_assert_uint_eq(f.bufs.mappings, 1);
    fixture_fini(&f); /* the process's end takes all */
}
END_TEST

START_TEST(nothing_leaks)
{
    struct fixture f;
    unsigned int before;

    fixture_init(&f);
    before = open_fds();
    for (int i = 0; i < 100; i++) {
        scattered_add(&f, i % 2, 5, 9 * PAGE);
        ck_assert_int_eq(vgpu_gbufs_drop(&f.bufs, 3), VGPU_GBUF_DROPPED);
        f.bufs.mappings_max = VGPU_GBUF_MAX_MAPPINGS;
        ck_assert_uint_ne(add(&f, 3, BOTH, 5, 99 * PAGE, scattered, SCATTERED_COUNT), VGPU_ST_OK);
    }
    ck_assert_uint_eq(open_fds(), before);
    ck_assert_uint_eq(f.bufs.mappings, 0);
    fixture_fini(&f);
}
END_TEST

/* ---- What a message may get wrong: each starts from one that works ---- */

static const struct {
    const char *what;
    struct vgpu_x_buf msg;
    struct vgpu_xrun run;
    uint16_t status;
} wrong[] = {
#define MSG .id = 1, .flags = BOTH, .bytes = PAGE, .run_count = 1
#define RUN .fd = 0, .offset = PAGE, .bytes = PAGE
    {"nothing", {MSG}, {RUN}, VGPU_ST_OK},
    {"id", {.id = 8, .flags = BOTH, .bytes = PAGE, .run_count = 1}, {RUN}, VGPU_ST_ADMIN_VALUE},
    {"flags", {.id = 1, .flags = 4, .bytes = PAGE, .run_count = 1}, {RUN}, VGPU_ST_ADMIN_VALUE},
    {"no flag", {.id = 1, .bytes = PAGE, .run_count = 1}, {RUN}, VGPU_ST_ADMIN_VALUE},
    {"no bytes", {.id = 1, .flags = BOTH, .run_count = 1}, {RUN}, VGPU_ST_ADMIN_VALUE},
    {"bytes",
     {.id = 1, .flags = BOTH, .bytes = VGPU_MAX_BUFFER_BYTES + 1, .run_count = 1},
     {RUN},
     VGPU_ST_ADMIN_VALUE},
    {"first_off", {MSG, .first_off = PAGE}, {RUN}, VGPU_ST_ADMIN_VALUE},
    {"reserved", {MSG, .rsvd = 1}, {RUN}, VGPU_ST_ADMIN_VALUE},
    {"no runs", {.id = 1, .flags = BOTH, .bytes = PAGE}, {RUN}, VGPU_ST_ADMIN_VALUE},
    {"more runs than pages",
     {.id = 1, .flags = BOTH, .bytes = PAGE, .run_count = 4},
     {RUN},
     VGPU_ST_ADMIN_VALUE},
    {"longer than its runs", {MSG, .first_off = 1}, {RUN}, VGPU_ST_HOST_ERROR},
    {"run fd", {MSG}, {.fd = 2, .offset = PAGE, .bytes = PAGE}, VGPU_ST_HOST_ERROR},
    {"run offset", {MSG}, {.offset = PAGE + 8, .bytes = PAGE}, VGPU_ST_HOST_ERROR},
    {"run length", {MSG}, {.offset = PAGE, .bytes = PAGE + 8}, VGPU_ST_HOST_ERROR},
    {"empty run", {MSG}, {.offset = PAGE}, VGPU_ST_HOST_ERROR},
    {"run beyond the file", {MSG}, {.offset = PAGES * PAGE, .bytes = PAGE}, VGPU_ST_HOST_ERROR},
    {"run's end", {MSG}, {.offset = PAGE, .bytes = PAGES * PAGE}, VGPU_ST_HOST_ERROR},
    {"overflow", {MSG}, {.offset = ~(uint64_t)(PAGE - 1), .bytes = PAGE}, VGPU_ST_HOST_ERROR},
    {"negative offset", {MSG}, {.offset = 1ull << 63, .bytes = PAGE}, VGPU_ST_HOST_ERROR},
    {"run reserved", {MSG}, {RUN, .rsvd = 1}, VGPU_ST_HOST_ERROR},
};

START_TEST(wrong_messages_are_refused_and_leave_nothing)
{
    struct fixture f;
    unsigned int before;
    uint16_t status;

    fixture_init(&f);
    before = open_fds();
    status = begin(&f, &wrong[_i].msg);
    if (status == VGPU_ST_OK)
        status = vgpu_gbufs_add(&f.bufs, 1, &wrong[_i].run, 1);
    if (status == VGPU_ST_OK)
        status = vgpu_gbufs_commit(&f.bufs, 1);
    ck_assert_msg(status == wrong[_i].status, "%s: 0x%x", wrong[_i].what, status);
    if (status != VGPU_ST_OK)
        ck_assert(vgpu_gbufs_is_gone(&f.bufs, 1));
    else
        ck_assert_int_eq(vgpu_gbufs_drop(&f.bufs, 1), VGPU_GBUF_DROPPED);
    ck_assert_uint_eq(open_fds(), before);
    fixture_fini(&f);
}
END_TEST

START_TEST(more_runs_than_announced_are_refused)
{
    const struct vgpu_x_buf msg = {.id = 1, .flags = BOTH, .bytes = 4 * PAGE, .run_count = 4};
    struct fixture f;

    fixture_init(&f);
    ck_assert_uint_eq(vgpu_gbufs_add(&f.bufs, 1, scattered, 1), VGPU_ST_NO_BUFFER);
    ck_assert_uint_eq(begin(&f, &msg), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_add(&f.bufs, 1, scattered, 5), VGPU_ST_ADMIN_VALUE);
    ck_assert_uint_eq(vgpu_gbufs_add(&f.bufs, 1, scattered, 3), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_add(&f.bufs, 1, scattered, 2), VGPU_ST_ADMIN_VALUE);
    ck_assert_uint_eq(vgpu_gbufs_add(&f.bufs, 1, scattered + 3, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_commit(&f.bufs, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_add(&f.bufs, 1, scattered, 1), VGPU_ST_NO_BUFFER);
    fixture_fini(&f);
}
END_TEST

START_TEST(read_only_buffer_maps_a_read_only_file)
{
    struct vgpu_xrun run = {.offset = 0, .bytes = PAGE};
    struct vgpu_x_buf msg = {
        .id = 1, .flags = VGPU_BUF_DEVICE_READS, .bytes = PAGE, .run_count = 1};
    struct fixture f;
    char path[64];
    int fd;

    fixture_init(&f);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", f.fds[0]);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_eq(vgpu_gbufs_begin(&f.bufs, &msg, &(int){dup(fd)}, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_add(&f.bufs, 1, &run, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_commit(&f.bufs, 1), VGPU_ST_OK);
    /* For writing that is an error, not a silent second-best. */
    msg.id = 2;
    msg.flags = BOTH;
    ck_assert_uint_eq(vgpu_gbufs_begin(&f.bufs, &msg, &(int){dup(fd)}, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_add(&f.bufs, 2, &run, 1), VGPU_ST_OK);
    ck_assert_uint_eq(vgpu_gbufs_commit(&f.bufs, 2), VGPU_ST_HOST_ERROR);
    close(fd);
    fixture_fini(&f);
}
END_TEST

Suite *gbuf_suite(void)
{
    Suite *s = suite_create("gbuf");
    TCase *tc = tcase_create("gbuf");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, scattered_runs_read_and_write_as_one, 0, 2);
    tcase_add_loop_test(tc, mapped_buffer_is_one_span_and_staged_has_none, 0, 2);
    tcase_add_test(tc, staged_access_beyond_a_shrunk_file_is_an_error);
    tcase_add_test(tc, find_checks_id_direction_and_range);
    tcase_add_test(tc, buffer_in_the_making_is_not_found);
    tcase_add_test(tc, dropped_buffer_lives_until_its_last_job);
    tcase_add_loop_test(tc, a_buffer_the_executor_keeps_stays, 0, 2);
    tcase_add_test(tc, nothing_leaks);
    tcase_add_loop_test(tc, wrong_messages_are_refused_and_leave_nothing, 0,
                        (int)(sizeof(wrong) / sizeof(wrong[0])));
    tcase_add_test(tc, more_runs_than_announced_are_refused);
    tcase_add_test(tc, read_only_buffer_maps_a_read_only_file);
    suite_add_tcase(s, tc);
    return s;
}
