/* SPDX-License-Identifier: MIT */
/*
 * What the daemon tests share: a vgpud of their own, machines attached to it,
 * assertions that print statuses by name, the daemon's accounting, kernels.
 *
 * Each test has a fresh vgpud (checked fixture).  fx_teardown() closes the
 * machines, waits until the accounting says that nothing is left of them, stops
 * the daemon and judges it, so every test is also a test for leaks.
 */
#ifndef VGPU_TESTS_DAEMON_FIXTURE_H
#define VGPU_TESTS_DAEMON_FIXTURE_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guestsim.h"
#include "unit.h"
#include "vgpud_proc.h"

#define FX_MAX_VMS 2

struct fx {
    struct vgpud d;
    struct gs_vm *vm[FX_MAX_VMS];
    struct gs_ctx *ctx[FX_MAX_VMS]; /* one context of each attached machine */
};
extern struct fx fx;

/* Every Check test here may take this long; none is expected to. */
#define FX_TIMEOUT_S 240

/* The usual VM: small memory limit and a deadline, so that limits can be reached. */
#define FX_CPU_OPTIONS  "executor=cpu,memory=256M,deadline=2s,threads=2"
#define FX_CPU_PATIENT  "executor=cpu,memory=256M,threads=2"
#define FX_NULL_OPTIONS "executor=null,memory=256M"

/*
 * True if VGPU_TEST_EXECUTOR=cuda: every VM above that has executor=cpu gets executor=cuda
 * instead, on the fake driver built beside the program.  What differs by design (CUDA tells no
 * fault address) is asked for by this in the tests.
 */
bool fx_cuda(void);
/* Settings of the fake driver, lines of NAME=VALUE (tests/lib/fakecuda/fake_device.c), for what
 * starts from now on.  fx_start() with fx_fake_first. */
void fx_fake_settings(const char *lines);
/* The settings at vgpud's start; set before fx_start(). */
extern const char *fx_fake_first;

void fx_start(const char *const *options, unsigned int vms);
/* Attach machine `i`, with a context. */
void fx_attach(unsigned int i);
void fx_setup_cpu(void);     /* one VM, attached */
void fx_setup_patient(void); /* the same without a deadline */
void fx_setup_two(void);     /* two, attached */
void fx_setup_null(void);
void fx_setup_bare(void); /* vgpud with one cpu VM, nothing attached */
void fx_teardown(void);
/* Close machine `i` as if its guest had been killed. */
void fx_drop(unsigned int i);

TCase *fx_tcase(Suite *s, const char *name, void (*setup)(void));

/* ---- Assertions ---- */
const char *fx_status_name(int rc);
/* The end of the daemon's log, on stderr. */
void fx_explain(void);
#define fx_is(expr, want)                                                                          \
    do {                                                                                           \
        int fx_rc_ = (expr), fx_want_ = (want);                                                    \
        if (fx_rc_ != fx_want_)                                                                    \
            fx_explain();                                                                          \
        ck_assert_msg(fx_rc_ == fx_want_, "%s: got %s, expected %s", #expr,                        \
                      fx_status_name(fx_rc_), fx_status_name(fx_want_));                           \
    } while (0)
#define fx_ok(expr) fx_is(expr, VGPU_ST_OK)

/* Index of the first byte that is not `value`; `bytes` if there is none.  (Check notes every
 * assertion it passes, so loops look first and assert once.) */
size_t fx_first_other(const uint8_t *data, size_t bytes, uint8_t value);

/* ---- Accounting ---- */
struct fx_account {
    bool attached;
    uint64_t vm_processes; /* those that are ending included */
    uint64_t contexts;     /* existing, lost ones included */
    uint64_t executors;    /* exec processes alive */
    uint64_t buffers;
    uint64_t memory_held;
    uint64_t dma_bytes;
    uint64_t commands;
    uint64_t doorbells;
    uint64_t interrupts;
    uint64_t kernels;
    uint64_t bytes_h2d, bytes_d2h, bytes_staged;
    pid_t vm_pid;
    pid_t exec_pid[VGPU_MAX_CONTEXTS]; /* by context; 0: none */
};
/* What vgpuctl says of VM `i`. */
void fx_account(unsigned int i, struct fx_account *account);
/* The exec process of a context of VM 0, which must have one. */
pid_t fx_exec_pid(const struct gs_ctx *ctx);
/* A field of /proc/PID/status, which must exist. */
void fx_proc_field(pid_t pid, const char *field, char *out, size_t room);
/* Wait until VM `i` holds nothing: no contexts, processes, buffers, memory. */
void fx_wait_clean(unsigned int i);

/* ---- Kernels (PTX text) ---- */
extern const char fx_ptx_say[];   /* say(n) prints n and a line's end */
extern const char fx_ptx_basic[]; /* vecadd, scale, fault, spin, wait, where */

struct fx_kernel {
    uint32_t module;
    uint32_t function;
};
/* Load `ptx` and look `name` up, asserting success. */
struct fx_kernel fx_kernel(struct gs_ctx *ctx, const char *ptx, const char *name);

/* vecadd of `n` elements on patterns grown from `seed`, every element verified. */
void fx_vecadd(struct gs_ctx *ctx, uint32_t n, uint32_t seed);
/* Push `total` NOPs through in bursts of changing size; each completes once, in order. */
void fx_pump(struct gs_ctx *ctx, uint32_t total);
/* The context answers and computes right. */
void fx_works(struct gs_ctx *ctx);

#endif /* VGPU_TESTS_DAEMON_FIXTURE_H */
