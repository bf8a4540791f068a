/* SPDX-License-Identifier: MIT */
/*
 * A guest beside another one that means harm: the times of its null commands, both sides asleep in
 * between, while the neighbour floods the device with doorbells, corrupts its indices and starts
 * again without end, or floods errors.
 *
 * The neighbour's processor time is the hypervisor's to give; what is measured here is what it
 * takes from others beyond that.  So the figures to compare with are taken beside a neighbour that only spins,
 * and beside one that sleeps: its processor is then idle, and one that has to be woken first may make the
 * victim slower than any harm does.  The worse of the two is what a harmless neighbour may cost.
 *
 * One vgpud with two VMs of the null executor; the victim's guest on processor 0, the neighbour's on 1.
 */
#include "bench.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAD_OPCODE 0x7777

struct neighbour {
    struct gs_vm *vm;
    enum bench_harm harm;
    atomic_bool stop;
    atomic_uint rounds;
    int rc;
};

static int harm_sleep(struct neighbour *n, struct gs_ctx **ctx)
{
    usleep(1000);
    return 0;
}

static int harm_spin(struct neighbour *n, struct gs_ctx **ctx)
{
    for (unsigned int i = 0; i < 10000; i++)
        __builtin_ia32_pause();
    return 0;
}

static int harm_doorbells(struct neighbour *n, struct gs_ctx **ctx)
{
    for (unsigned int i = 0; i < 100; i++)
        gs_vm_ring(n->vm, (*ctx)->id);
    return 0;
}

static int harm_errors(struct neighbour *n, struct gs_ctx **ctx)
{
    const struct vgpu_sqe bad = {.opcode = BAD_OPCODE};
    struct vgpu_cqe cqe;
    int rc;

    while (gs_submit(*ctx, &bad, NULL) == 0)
        ;
    gs_flush(*ctx);
    do {
        rc = gs_wait_any(*ctx, &cqe, GS_TIMEOUT_MS);
    } while (!rc && gs_ring_peek(&(*ctx)->ring));
    return rc;
}

/* The context is lost by it; the next one follows at once. */
static int harm_indices(struct neighbour *n, struct gs_ctx **ctx)
{
    static const uint32_t wrong[] = {0x80000000u, 100000, UINT32_MAX};
    unsigned int round = atomic_load(&n->rounds);
    struct vgpu_ctx_status status;
    int rc;

    __atomic_store_n(&(*ctx)->ring.rw->sq_prod, wrong[round % 3], __ATOMIC_RELEASE);
    gs_vm_ring(n->vm, (*ctx)->id);
    rc = gs_ctx_wait_lost(*ctx, &status);
    if (rc != VGPU_ST_BAD_RING)
        return rc ? rc : -1;
    rc = gs_ctx_destroy(*ctx);
    *ctx = NULL;
    return rc ? rc : gs_ctx_create(n->vm, NULL, ctx);
}

static void *neighbour_main(void *arg)
{
    static int (*const harms[])(struct neighbour * n, struct gs_ctx * *ctx) = {
        [BENCH_HARM_SLEEP] = harm_sleep,         [BENCH_HARM_SPIN] = harm_spin,
        [BENCH_HARM_DOORBELLS] = harm_doorbells, [BENCH_HARM_INDICES] = harm_indices,
        [BENCH_HARM_ERRORS] = harm_errors,
    };
    struct neighbour *n = arg;
    struct gs_ctx *ctx = NULL;

    bench_pin(1);
    n->rc = gs_ctx_create(n->vm, NULL, &ctx);
    while (!n->rc && !atomic_load(&n->stop)) {
        n->rc = harms[n->harm](n, &ctx);
        atomic_fetch_add(&n->rounds, 1);
    }
    if (ctx)
        gs_ctx_destroy(ctx);
    return NULL;
}

double bench_beside(struct gs_ctx *victim, struct gs_vm *vm, enum bench_harm harm, size_t rounds)
{
    struct neighbour n = {.vm = vm, .harm = harm};
    uint64_t deadline = gs_deadline(GS_TIMEOUT_MS);
    pthread_t thread;
    double p99 = -1;

    if (pthread_create(&thread, NULL, neighbour_main, &n))
        return -1;
    while (!atomic_load(&n.rounds) && gs_now_ns() < deadline)
        usleep(1000);
    p99 = bench_null_sleeping(victim, rounds, 99);
    atomic_store(&n.stop, true);
    pthread_join(thread, NULL);
    if (n.rc)
        fprintf(stderr, "vgpu-bench: the neighbour's harm %d failed: %d\n", (int)harm, n.rc);
    return n.rc || !atomic_load(&n.rounds) ? -1 : p99;
}
