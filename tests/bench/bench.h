/* SPDX-License-Identifier: MIT */
/*
 * vgpu-bench: what the transport costs, beside what the machine itself costs.
 *
 * A figure alone says little, machines differ.  So each is taken together with
 * its floor - the least this machine needs for the same thing with nothing around
 * it - in the same run, one directly after the other, and the ratio of the two is
 * what is judged.  A run is repeated; value, floor and ratio of a row are the
 * medians over the runs, so that a neighbour's burst spoils one run and not the row.
 */
#ifndef VGPU_TESTS_BENCH_H
#define VGPU_TESTS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guestsim.h"
#include "vgpud_proc.h"

#define BENCH_MAX_RUNS 64

enum bench_better { BENCH_LESS, BENCH_MORE };

/* A row of the table, and how it is judged (architecture's figures). */
struct bench_row {
    const char *name;
    const char *unit;
    const char *floor_name;
    enum bench_better better;
    double bar; /* on the ratio, or on the value if bar_on_value; 0: not judged */
    double goal;
    bool bar_on_value;
    /* by run */
    double value[BENCH_MAX_RUNS];
    double floor[BENCH_MAX_RUNS];
    unsigned int runs;
};

/* Times of one kind, for percentiles. */
struct bench_samples {
    uint64_t *ns;
    size_t count;
    size_t room;
};

struct bench_samples *bench_samples_create(size_t room);
void bench_samples_destroy(struct bench_samples *s);
static inline void bench_sample(struct bench_samples *s, uint64_t ns)
{
    if (s->count < s->room)
        s->ns[s->count++] = ns;
}
/* Sorts. `percent` 0..100. */
double bench_percentile(struct bench_samples *s, double percent);
double bench_median(const double *values, size_t count);

/* Bind the calling thread to one processor; -errno where that isn't allowed. */
int bench_pin(int cpu);
void bench_unpin(void);

/* Floors: median nanoseconds of one round trip; negative on failure. */
double bench_floor_pingpong(size_t rounds);
double bench_floor_eventfd(size_t rounds);
double bench_floor_unix(size_t rounds);
double bench_floor_tcp(size_t rounds);
/* Bytes per second of memcpy between private memory and the given shared memory. */
double bench_floor_memcpy(void *shared, size_t bytes, bool to_shared, unsigned int rounds);

/* The transport.  Median (or percentile) nanoseconds, or commands per second; negative on failure. */
double bench_null_polled(struct gs_ctx *ctx, size_t rounds);
double bench_null_sleeping(struct gs_ctx *ctx, size_t rounds, double percentile);
double bench_null_rate(struct gs_ctx *ctx, unsigned int ms);
/* 99th percentile of null commands of `victim`, both sides asleep, while another VM's guest does harm.
 * Nanoseconds; negative on failure. */
enum bench_harm {
    BENCH_HARM_SLEEP,
    BENCH_HARM_SPIN,
    BENCH_HARM_DOORBELLS,
    BENCH_HARM_INDICES,
    BENCH_HARM_ERRORS,
};
double bench_beside(struct gs_ctx *victim, struct gs_vm *vm, enum bench_harm harm, size_t rounds);
/* Bytes per second. */
double bench_copy(struct gs_ctx *ctx, const struct gs_buf *buf, uint64_t dev, bool to_device,
                  unsigned int rounds);

#endif /* VGPU_TESTS_BENCH_H */
