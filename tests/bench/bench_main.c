/* SPDX-License-Identifier: MIT */
/*
 * vgpu-bench: runs the figures, prints them as JSON rows.
 *
 *   vgpu-bench [--runs N] [--quick] [--realtime]
 *
 * One vgpud serves three VMs: null executor polling, null executor sleeping at
 * once, and the cpu executor.  With --realtime everything, floors included, runs under
 * SCHED_RR: on a machine that others use, too, the two sides of a ring otherwise seldom
 * run at the same time.  Progress goes to stderr, the JSON array to stdout;
 * scripts/bench-report.py makes the table.  Exit status 1 if something could not be
 * measured; a missed bar is for the reader to judge.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES (96u << 20)
#define RAM_BYTES  (256ull << 20)

enum {
    ROW_NULL_POLLED,
    ROW_NULL_RATE,
    ROW_NULL_SLEEPING,
    ROW_COPY_H2D,
    ROW_COPY_D2H,
    ROW_UNIX,
    ROW_TCP,
    ROW_BESIDE_DOORBELLS,
    ROW_BESIDE_INDICES,
    ROW_BESIDE_ERRORS,
    ROWS,
};

static struct bench_row rows[ROWS] = {
    [ROW_NULL_POLLED] = {.name = "null_polled_p50",
                         .unit = "us",
                         .floor_name = "shm_pingpong_p50",
                         .better = BENCH_LESS,
                         .bar = 8,
                         .goal = 4},
    [ROW_NULL_RATE] = {.name = "null_rate",
                       .unit = "1/s",
                       .floor_name = "shm_pingpong_rate",
                       .better = BENCH_MORE,
                       .bar = 5e6,
                       .goal = 20e6,
                       .bar_on_value = true},
    [ROW_NULL_SLEEPING] = {.name = "null_sleeping_p50",
                           .unit = "us",
                           .floor_name = "eventfd_pingpong_p50",
                           .better = BENCH_LESS,
                           .bar = 1.5,
                           .goal = 1.2},
    [ROW_COPY_H2D] = {.name = "copy_h2d",
                      .unit = "B/s",
                      .floor_name = "memcpy_from_guest_ram",
                      .better = BENCH_MORE,
                      .bar = 0.80,
                      .goal = 0.98},
    [ROW_COPY_D2H] = {.name = "copy_d2h",
                      .unit = "B/s",
                      .floor_name = "memcpy_to_guest_ram",
                      .better = BENCH_MORE,
                      .bar = 0.80,
                      .goal = 0.98},
    [ROW_UNIX] = {.name = "unix_rpc_p50",
                  .unit = "us",
                  .floor_name = "null_polled_p50",
                  .better = BENCH_MORE},
    [ROW_TCP] = {.name = "tcp_rpc_p50",
                 .unit = "us",
                 .floor_name = "null_polled_p50",
                 .better = BENCH_MORE},
    [ROW_BESIDE_DOORBELLS] = {.name = "null_p99_by_doorbells",
                              .unit = "us",
                              .floor_name = "null_p99_by_harmless",
                              .better = BENCH_LESS,
                              .bar = 2},
    [ROW_BESIDE_INDICES] = {.name = "null_p99_by_indices",
                            .unit = "us",
                            .floor_name = "null_p99_by_harmless",
                            .better = BENCH_LESS,
                            .bar = 2},
    [ROW_BESIDE_ERRORS] = {.name = "null_p99_by_errors",
                           .unit = "us",
                           .floor_name = "null_p99_by_harmless",
                           .better = BENCH_LESS,
                           .bar = 2},
};

struct setup {
    struct vgpud d;
    struct gs_vm *vm[3];
    struct gs_ctx *ctx[3];
    struct gs_buf buf;
    uint64_t dev;
};

static int setup_open(struct setup *s)
{
    static const char *const options[3] = {"executor=null,memory=1G,poll-us=1000",
                                           "executor=null,memory=1G,poll-us=0",
                                           "executor=cpu,memory=1G,poll-us=50"};
    int rc = vgpud_start(&s->d, options, 3);

    for (unsigned int i = 0; i < 3 && !rc; i++) {
        struct gs_vm_config config = {.socket = s->d.sockets[i],
                                      .ram_bytes = i == 2 ? 2 * RAM_BYTES : 0};
        struct gs_ctx_config cfg = {.sq_log2 = 10, .cq_log2 = 10, .poll_us = i == 2 ? 2000 : 0};

        rc = gs_vm_open(&config, &s->vm[i]);
        if (!rc)
            rc = gs_ctx_create(s->vm[i], &cfg, &s->ctx[i]);
    }
    if (!rc) /* the sleeping guest blocks in read(), as the floor does */
        rc = fcntl(s->vm[1]->irq_fds[s->ctx[1]->vector], F_SETFL, 0);
    if (!rc)
        rc = gs_mem_alloc(s->ctx[2], COPY_BYTES, &s->dev);
    if (!rc)
        rc = gs_buf_create(s->ctx[2], COPY_BYTES, 0, VGPU_BUF_FLAGS, &s->buf);
    if (!rc) {
        memset(s->buf.ptr, 1, COPY_BYTES);
        rc = gs_copy_h2d(s->ctx[2], s->dev, &s->buf, 0, COPY_BYTES);
    }
    return rc;
}

static void setup_close(struct setup *s)
{
    for (unsigned int i = 0; i < 3; i++)
        gs_vm_close(s->vm[i]);
    if (vgpud_stop(&s->d))
        fprintf(stderr, "vgpu-bench: vgpud did not end well\n");
}

static bool put(unsigned int row, double value, double floor)
{
    struct bench_row *r = &rows[row];

    if (value <= 0 || floor <= 0) {
        fprintf(stderr, "vgpu-bench: %s could not be measured\n", r->name);
        return false;
    }
    r->value[r->runs] = value;
    r->floor[r->runs++] = floor;
    return true;
}

/* The sleeping VM's guest beside the polling VM's, which means harm. */
static bool run_beside(struct setup *s, unsigned int scale)
{
    static const struct {
        unsigned int row;
        enum bench_harm harm;
    } harms[] = {{ROW_BESIDE_DOORBELLS, BENCH_HARM_DOORBELLS},
                 {ROW_BESIDE_INDICES, BENCH_HARM_INDICES},
                 {ROW_BESIDE_ERRORS, BENCH_HARM_ERRORS}};
    bool ok = true;

    for (size_t i = 0; i < sizeof(harms) / sizeof(harms[0]); i++) {
        double asleep = bench_beside(s->ctx[1], s->vm[0], BENCH_HARM_SLEEP, 1000 * scale) / 1e3;
        double spins = bench_beside(s->ctx[1], s->vm[0], BENCH_HARM_SPIN, 1000 * scale) / 1e3;
        double harm = bench_beside(s->ctx[1], s->vm[0], harms[i].harm, 1000 * scale) / 1e3;

        ok &= put(harms[i].row, harm, asleep > spins && spins > 0 ? asleep : spins);
    }
    return ok;
}

/* One run: each figure directly after its floor. */
static bool run_once(struct setup *s, unsigned int scale)
{
    double shm = bench_floor_pingpong(20000 * scale) / 1e3;
    double polled = bench_null_polled(s->ctx[0], 20000 * scale) / 1e3;
    bool ok = put(ROW_NULL_POLLED, polled, shm);
    double floor;

    ok &= put(ROW_NULL_RATE, bench_null_rate(s->ctx[0], 100 * scale), shm > 0 ? 1e6 / shm : -1);
    floor = bench_floor_eventfd(500 * scale) / 1e3;
    ok &= put(ROW_NULL_SLEEPING, bench_null_sleeping(s->ctx[1], 500 * scale, 50) / 1e3, floor);
    floor = bench_floor_memcpy(s->buf.ptr, COPY_BYTES, false, 4 + scale);
    ok &= put(ROW_COPY_H2D, bench_copy(s->ctx[2], &s->buf, s->dev, true, 4 + scale), floor);
    floor = bench_floor_memcpy(s->buf.ptr, COPY_BYTES, true, 4 + scale);
    ok &= put(ROW_COPY_D2H, bench_copy(s->ctx[2], &s->buf, s->dev, false, 4 + scale), floor);
    ok &= put(ROW_UNIX, bench_floor_unix(500 * scale) / 1e3, polled);
    ok &= put(ROW_TCP, bench_floor_tcp(500 * scale) / 1e3, polled);
    return ok & run_beside(s, scale);
}

static void print_rows(void)
{
    printf("[\n");
    for (unsigned int i = 0; i < ROWS; i++) {
        const struct bench_row *r = &rows[i];
        double ratio[BENCH_MAX_RUNS];

        for (unsigned int k = 0; k < r->runs; k++)
            ratio[k] = r->value[k] / r->floor[k];
        printf("  {\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"floor_name\": \"%s\", "
               "\"floor\": %.6g, \"ratio\": %.4g, \"better\": \"%s\", \"bar\": %g, \"goal\": %g, "
               "\"bar_on\": \"%s\", \"runs\": %u}%s\n",
               r->name, bench_median(r->value, r->runs), r->unit, r->floor_name,
               bench_median(r->floor, r->runs), bench_median(ratio, r->runs),
               r->better == BENCH_LESS ? "less" : "more", r->bar, r->goal,
               r->bar_on_value ? "value" : "ratio", r->runs, i + 1 < ROWS ? "," : "");
    }
    printf("]\n");
}

/* Inherited by vgpud and all that it starts. */
static bool go_realtime(void)
{
    const struct sched_param param = {.sched_priority = 1};

    if (!sched_setscheduler(0, SCHED_RR, &param))
        return true;
    fprintf(stderr, "vgpu-bench: no real-time scheduling: %s\n", strerror(errno));
    return false;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"runs", required_argument, NULL, 'r'},
                                            {"quick", no_argument, NULL, 'q'},
                                            {"realtime", no_argument, NULL, 't'},
                                            {0}};
    unsigned int runs = 9, scale = 5;
    struct setup setup = {0};
    bool ok = true;
    int opt, rc;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'r')
            runs = (unsigned int)strtoul(optarg, NULL, 10);
        else if (opt == 'q')
            scale = 1;
        else if (opt == 't' && !go_realtime())
            return 1;
        if (opt == '?' || runs < 1 || runs > BENCH_MAX_RUNS) {
            fprintf(stderr, "usage: vgpu-bench [--runs 1..%d] [--quick] [--realtime]\n",
                    BENCH_MAX_RUNS);
            return 2;
        }
    }
    rc = setup_open(&setup);
    if (rc) {
        fprintf(stderr, "vgpu-bench: cannot attach to vgpud: %d\n", rc);
        ok = false;
    }
    for (unsigned int i = 0; i < runs && ok; i++) {
        fprintf(stderr, "vgpu-bench: run %u of %u\n", i + 1, runs);
        ok = run_once(&setup, scale);
    }
    setup_close(&setup);
    if (ok)
        print_rows();
    return ok ? 0 : 1;
}
