/* SPDX-License-Identifier: MIT */
/*
 * The DMA table: what may be mapped, found, read and taken away, and that memory which
 * its owner truncates answers -EFAULT instead of killing.
 */
#include "bus_tests.h"
#include "noise.h"

#include <bus/dma.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

#define PAGE VGPU_DMA_PAGE
#define RW   (VGPU_DMA_READ | VGPU_DMA_WRITE)

static struct vgpu_dma *dma;
static int ram; /* a memfd of 64 pages */

static int ram_dup(void)
{
    int fd = dup(ram);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static void setup(void)
{
    ck_assert_int_eq(vgpu_guard_init(), 0);
    dma = vgpu_dma_create();
    ck_assert_ptr_nonnull(dma);
    ram = memfd_create("ram", MFD_CLOEXEC);
    ck_assert_int_ge(ram, 0);
    ck_assert_int_eq(ftruncate(ram, 64 * PAGE), 0);
}

static void teardown(void)
{
    vgpu_dma_destroy(dma);
    close(ram);
}

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

START_TEST(bytes_written_are_read_back_and_are_in_the_file)
{
    char buf[16] = "";

    ck_assert_int_eq(vgpu_dma_map(dma, 0x100000, 4 * PAGE, 2 * PAGE, RW, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_write(dma, 0x100000 + PAGE - 4, "across", 7), 0);
    ck_assert_int_eq(vgpu_dma_read(dma, 0x100000 + PAGE - 4, buf, 7), 0);
    ck_assert_str_eq(buf, "across");
    ck_assert_int_eq(pread(ram, buf, 7, 3 * PAGE - 4), 7);
    ck_assert_str_eq(buf, "across");
}
END_TEST

START_TEST(access_spans_adjacent_ranges)
{
    char out[2 * PAGE], in[2 * PAGE];

    memset(out, 0x5a, sizeof(out));
    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 8 * PAGE, RW, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_map(dma, PAGE, PAGE, 3 * PAGE, RW, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_write(dma, 0, out, sizeof(out)), 0);
    ck_assert_int_eq(vgpu_dma_read(dma, 0, in, sizeof(in)), 0);
    ck_assert_mem_eq(in, out, sizeof(in));
    ck_assert_int_eq(vgpu_dma_read(dma, 1, in, sizeof(in)), -EFAULT);
}
END_TEST

START_TEST(words_are_aligned_and_shared)
{
    uint32_t value = 0;

    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 0, RW, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_store32(dma, 64, 0x12345678), 0);
    ck_assert_int_eq(vgpu_dma_load32(dma, 64, &value), 0);
    ck_assert_uint_eq(value, 0x12345678);
    ck_assert_int_eq(vgpu_dma_load32(dma, 65, &value), -EFAULT);
    ck_assert_int_eq(vgpu_dma_store32(dma, 66, 1), -EFAULT);
    ck_assert_int_eq(vgpu_dma_load32(dma, PAGE, &value), -EFAULT);
}
END_TEST

/* ---- What may not be mapped ---- */

struct bad_map {
    const char *name;
    uint64_t addr, bytes, offset;
    int err;
};

static const struct bad_map bad_maps[] = {
    {"no bytes", 0x1000, 0, 0, -EINVAL},
    {"unaligned address", 0x1001, PAGE, 0, -EINVAL},
    {"unaligned length", 0x1000, PAGE + 1, 0, -EINVAL},
    {"unaligned offset", 0x1000, PAGE, 1, -EINVAL},
    {"wraps around", 0xfffffffffffff000ull, 2 * PAGE, 0, -EINVAL},
    {"offset wraps around", 0x1000, 2 * PAGE, 0xfffffffffffff000ull, -EINVAL},
    {"beyond the file", 0x1000, 2 * PAGE, 63 * PAGE, -ERANGE},
    {"overlaps the end of a range", 0x41000, PAGE, 0, -EEXIST},
    {"overlaps the start of a range", 0x3f000, 2 * PAGE, 0, -EEXIST},
    {"holds a range", 0x3f000, 8 * PAGE, 0, -EEXIST},
};

START_TEST(bad_map_is_refused_and_its_descriptor_closed)
{
    const struct bad_map *m = &bad_maps[_i];
    int before;

    ck_assert_int_eq(vgpu_dma_map(dma, 0x40000, 2 * PAGE, 0, RW, ram_dup()), 0);
    before = count_fds();
    ck_assert_msg(vgpu_dma_map(dma, m->addr, m->bytes, m->offset, RW, ram_dup()) == m->err, "%s",
                  m->name);
    ck_assert_int_eq(count_fds(), before);
}
END_TEST

/* VGPU-BUS-002 */
START_TEST(what_is_no_shareable_file_is_refused)
{
    int pipe_fds[2];
    int ro = open("/proc/self/exe", O_RDONLY);
    int opath = open("/proc/self/exe", O_PATH);
    int null = open("/dev/zero", O_RDWR);

    ck_assert_int_eq(pipe(pipe_fds), 0);
    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 0, RW, pipe_fds[0]), -EBADF);
    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 0, RW, null), -EBADF);
    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 0, VGPU_DMA_READ, opath), -EBADF);
    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 0, RW, dup(ro)), -EBADF);
    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 0, VGPU_DMA_READ, ro), 0);
    close(pipe_fds[1]);
}
END_TEST

START_TEST(protection_is_kept)
{
    struct vgpu_dma_piece piece;
    char c = 0;

    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 0, VGPU_DMA_READ, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_map(dma, PAGE, PAGE, 0, VGPU_DMA_WRITE, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_map(dma, 2 * PAGE, PAGE, 0, RW, -1), 0);
    ck_assert_int_eq(vgpu_dma_read(dma, 0, &c, 1), 0);
    ck_assert_int_eq(vgpu_dma_write(dma, 0, &c, 1), -EFAULT);
    ck_assert_int_eq(vgpu_dma_write(dma, PAGE, &c, 1), 0);
    ck_assert_int_eq(vgpu_dma_read(dma, PAGE, &c, 1), -EFAULT);
    ck_assert_int_eq(vgpu_dma_read(dma, 2 * PAGE, &c, 1), -EFAULT);
    ck_assert_int_eq(vgpu_dma_resolve(dma, 0, PAGE, VGPU_DMA_WRITE, &piece), -EFAULT);
    ck_assert_int_eq(vgpu_dma_resolve(dma, 2 * PAGE, PAGE, 0, &piece), -EFAULT);
}
END_TEST

START_TEST(access_may_not_wrap_around)
{
    char buf[32];

    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 0, RW, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_map(dma, 0xfffffffffffff000ull, PAGE, PAGE, RW, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_read(dma, 0xfffffffffffffff0ull, buf, 16), 0);
    ck_assert_int_eq(vgpu_dma_read(dma, 0xfffffffffffffff0ull, buf, 32), -EFAULT);
    ck_assert_int_eq(vgpu_dma_write(dma, 0xfffffffffffffff0ull, buf, 32), -EFAULT);
}
END_TEST

/* ---- Files ---- */

START_TEST(descriptors_of_one_file_are_kept_once)
{
    struct vgpu_dma_stats stats;
    struct vgpu_dma_piece a, b;
    int before = count_fds();

    for (uint64_t i = 0; i < 64; i++)
        ck_assert_int_eq(vgpu_dma_map(dma, i * 2 * PAGE, PAGE, i * PAGE, RW, ram_dup()), 0);
    vgpu_dma_get_stats(dma, &stats);
    ck_assert_uint_eq(stats.ranges, 64);
    ck_assert_uint_eq(stats.files, 1);
    ck_assert_uint_eq(stats.mapped_bytes, 64 * PAGE);
    ck_assert_int_eq(count_fds(), before + 1);
    ck_assert_int_eq(vgpu_dma_resolve(dma, 0, 1, RW, &a), 0);
    ck_assert_int_eq(vgpu_dma_resolve(dma, 126 * PAGE, 1, RW, &b), 0);
    ck_assert_uint_eq(a.file, b.file);
    ck_assert_uint_eq(b.offset, 63 * PAGE);
    vgpu_dma_unmap_all(dma);
    ck_assert_int_eq(count_fds(), before);
}
END_TEST

START_TEST(files_are_limited)
{
    bool removed;

    for (uint32_t i = 0; i <= VGPU_DMA_MAX_FILES; i++) {
        int fd = memfd_create("one", MFD_CLOEXEC);

        ck_assert_int_eq(ftruncate(fd, PAGE), 0);
        ck_assert_int_eq(vgpu_dma_map(dma, (uint64_t)i * PAGE, PAGE, 0, RW, fd),
                         i < VGPU_DMA_MAX_FILES ? 0 : -EMFILE);
    }
    ck_assert_int_eq(vgpu_dma_unmap(dma, 0, PAGE, &removed), 0);
    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 0, RW, ram_dup()), 0);
}
END_TEST

START_TEST(a_file_that_grew_is_reached_to_its_new_end)
{
    char c = 'x';

    ck_assert_int_eq(vgpu_dma_map(dma, 0, PAGE, 0, RW, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_write(dma, 0, &c, 1), 0);
    ck_assert_int_eq(ftruncate(ram, 128 * PAGE), 0);
    ck_assert_int_eq(vgpu_dma_map(dma, PAGE, PAGE, 127 * PAGE, RW, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_write(dma, PAGE, &c, 1), 0);
    ck_assert_int_eq(vgpu_dma_read(dma, 0, &c, 1), 0);
    ck_assert_int_eq(c, 'x');
}
END_TEST

#ifndef __SANITIZE_THREAD__
START_TEST(a_truncated_file_faults_and_does_not_kill)
{
    uint32_t value;
    char buf[8];

    ck_assert_int_eq(vgpu_dma_map(dma, 0, 64 * PAGE, 0, RW, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_read(dma, 0, buf, sizeof(buf)), 0);
    ck_assert_int_eq(ftruncate(ram, 2 * PAGE), 0);
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(vgpu_dma_read(dma, 3 * PAGE, buf, sizeof(buf)), -EFAULT);
        ck_assert_int_eq(vgpu_dma_write(dma, 4 * PAGE, buf, sizeof(buf)), -EFAULT);
        ck_assert_int_eq(vgpu_dma_load32(dma, 5 * PAGE, &value), -EFAULT);
        ck_assert_int_eq(vgpu_dma_store32(dma, 6 * PAGE, 1), -EFAULT);
        ck_assert_int_eq(vgpu_dma_write(dma, PAGE, buf, sizeof(buf)), 0);
    }
}
END_TEST
#endif

#ifndef SANITIZED /* their handlers make an exit of it */
START_TEST(a_sigbus_of_anybody_else_still_kills)
{
    int fd = memfd_create("short", MFD_CLOEXEC);
    volatile char *p;

    ck_assert_int_eq(ftruncate(fd, PAGE), 0);
    p = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert(p != MAP_FAILED);
    (void)p[PAGE];
}
END_TEST
#endif

/* ---- Unmapping ---- */

START_TEST(unmap_takes_whole_ranges_only)
{
    bool removed = true;
    char c;

    for (uint64_t i = 0; i < 4; i++)
        ck_assert_int_eq(vgpu_dma_map(dma, i * 4 * PAGE, 4 * PAGE, 0, RW, ram_dup()), 0);
    ck_assert_int_eq(vgpu_dma_unmap(dma, PAGE, PAGE, &removed), -EINVAL);
    ck_assert_int_eq(vgpu_dma_unmap(dma, 0, 6 * PAGE, &removed), -EINVAL);
    ck_assert_int_eq(vgpu_dma_unmap(dma, 2 * PAGE, 6 * PAGE, &removed), -EINVAL);
    ck_assert_int_eq(vgpu_dma_unmap(dma, 0, 0, &removed), -EINVAL);
    ck_assert_int_eq(vgpu_dma_unmap(dma, 1, UINT64_MAX, &removed), -EINVAL);
    ck_assert_int_eq(vgpu_dma_read(dma, 0, &c, 1), 0);
    ck_assert_int_eq(vgpu_dma_unmap(dma, 4 * PAGE, 8 * PAGE, &removed), 0);
    ck_assert(removed);
    ck_assert_int_eq(vgpu_dma_read(dma, 4 * PAGE, &c, 1), -EFAULT);
    ck_assert_int_eq(vgpu_dma_read(dma, 11 * PAGE, &c, 1), -EFAULT);
    ck_assert_int_eq(vgpu_dma_read(dma, 3 * PAGE, &c, 1), 0);
    ck_assert_int_eq(vgpu_dma_read(dma, 12 * PAGE, &c, 1), 0);
}
END_TEST

START_TEST(unmap_of_nothing_is_no_error)
{
    bool removed = true;

    ck_assert_int_eq(vgpu_dma_unmap(dma, 0x8000000000000000ull, 0x8000000000000000ull, &removed),
                     0);
    ck_assert(!removed);
}
END_TEST

/* Thousands of random maps and unmaps, compared with an array that knows the truth. */
START_TEST(random_maps_agree_with_a_model)
{
    enum { SLOTS = 256 };
    static bool model[SLOTS];
    struct vgpu_dma_stats stats;
    uint32_t mapped = 0;

    noise_seed(7);
    for (int step = 0; step < 20000; step++) {
        uint64_t slot = (uint64_t)noise() % SLOTS, n = 1 + (uint64_t)noise() % 3;
        bool any = false, all = true, removed;
        uint32_t probe;

        n = slot + n > SLOTS ? SLOTS - slot : n;
        for (uint64_t i = slot; i < slot + n; i++) {
            any |= model[i];
            all &= model[i];
        }
        if (noise() % 2) {
            ck_assert_int_eq(vgpu_dma_map(dma, slot * PAGE, PAGE, 0, RW, ram_dup()),
                             model[slot] ? -EEXIST : 0);
            mapped += !model[slot];
            model[slot] = true;
        } else {
            ck_assert_int_eq(vgpu_dma_unmap(dma, slot * PAGE, n * PAGE, &removed), 0);
            ck_assert(removed == any);
            for (uint64_t i = slot; i < slot + n; i++) {
                mapped -= model[i];
                model[i] = false;
            }
        }
        slot = (uint64_t)noise() % SLOTS;
        ck_assert_int_eq(vgpu_dma_load32(dma, slot * PAGE, &probe), model[slot] ? 0 : -EFAULT);
    }
    vgpu_dma_get_stats(dma, &stats);
    ck_assert_uint_eq(stats.ranges, mapped);
}
END_TEST

Suite *dma_suite(void)
{
    Suite *s = suite_create("bus/dma");
    TCase *tc = tcase_create("table");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, bytes_written_are_read_back_and_are_in_the_file);
    tcase_add_test(tc, access_spans_adjacent_ranges);
    tcase_add_test(tc, words_are_aligned_and_shared);
    tcase_add_loop_test(tc, bad_map_is_refused_and_its_descriptor_closed, 0,
                        (int)(sizeof(bad_maps) / sizeof(bad_maps[0])));
    tcase_add_test(tc, what_is_no_shareable_file_is_refused);
    tcase_add_test(tc, protection_is_kept);
    tcase_add_test(tc, access_may_not_wrap_around);
    tcase_add_test(tc, descriptors_of_one_file_are_kept_once);
    tcase_add_test(tc, files_are_limited);
    tcase_add_test(tc, a_file_that_grew_is_reached_to_its_new_end);
#ifndef __SANITIZE_THREAD__
    /* ThreadSanitizer's memcpy() can't be left by a jump; the table has one thread anyway. */
    tcase_add_test(tc, a_truncated_file_faults_and_does_not_kill);
#endif
    tcase_add_test(tc, unmap_takes_whole_ranges_only);
    tcase_add_test(tc, unmap_of_nothing_is_no_error);
    tcase_add_test(tc, random_maps_agree_with_a_model);
#ifndef SANITIZED
    tcase_add_test_raise_signal(tc, a_sigbus_of_anybody_else_still_kills, SIGBUS);
#endif
    suite_add_tcase(s, tc);
    return s;
}
