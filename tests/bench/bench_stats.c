/* SPDX-License-Identifier: MIT */
/*
 * Samples, medians, and where a thread runs.
 */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

struct bench_samples *bench_samples_create(size_t room)
{
    struct bench_samples *s = calloc(1, sizeof(*s));

    if (s)
        s->ns = calloc(room, sizeof(*s->ns));
    if (!s || !s->ns) {
        free(s);
        return NULL;
    }
    s->room = room;
    /* Fault the pages in before anything is timed. */
    memset(s->ns, 0xff, room * sizeof(*s->ns));
    return s;
}

void bench_samples_destroy(struct bench_samples *s)
{
    if (s)
        free(s->ns);
    free(s);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

double bench_percentile(struct bench_samples *s, double percent)
{
    size_t at;

    if (!s->count)
        return -1;
    qsort(s->ns, s->count, sizeof(*s->ns), compare_u64);
    at = (size_t)(percent / 100.0 * (double)(s->count - 1) + 0.5);
    return (double)s->ns[at];
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(const double *values, size_t count)
{
    double sorted[BENCH_MAX_RUNS];

    if (!count || count > BENCH_MAX_RUNS)
        return -1;
    memcpy(sorted, values, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), compare_double);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

int bench_pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

void bench_unpin(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (int i = 0; i < CPU_SETSIZE; i++)
        CPU_SET(i, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}
