/* SPDX-License-Identifier: MIT */
/*
 * SIGBUS-safe access to shared memory: see guard.h.
 *
 * The handler jumps back to the recovery point if one is armed, and otherwise
 * restores the default action and returns, so that the faulting instruction runs again
 * and the process dies with the right signal and a core at the right place.  The handler is
 * left by a jump, which must not leave SIGBUS blocked behind: it is unblocked before, also where
 * a sanitizer's own handler around this one had blocked it.
 */
#include <bus/guard.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

static sigjmp_buf guard_point;
static volatile sig_atomic_t guard_armed;

static void guard_sigbus(int sig)
{
    sigset_t set;

    if (guard_armed) {
        guard_armed = 0;
        sigemptyset(&set);
        sigaddset(&set, sig);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        siglongjmp(guard_point, 1);
    }
    signal(sig, SIG_DFL);
}

int vgpu_guard_init(void)
{
    struct sigaction sa = {.sa_handler = guard_sigbus};

    sigemptyset(&sa.sa_mask);
    return sigaction(SIGBUS, &sa, NULL) ? -errno : 0;
}

/* The compiler must not move the accesses across the arming: it can't see the jump. */
#define guard_fence() __atomic_signal_fence(__ATOMIC_SEQ_CST)

int vgpu_guard_copy(void *dst, const void *src, size_t bytes)
{
    if (sigsetjmp(guard_point, 0))
        return -EFAULT;
    guard_armed = 1;
    guard_fence();
    memcpy(dst, src, bytes);
    guard_fence();
    guard_armed = 0;
    return 0;
}

int vgpu_guard_load32(const uint32_t *word, uint32_t *value)
{
    uint32_t v;

    if (sigsetjmp(guard_point, 0))
        return -EFAULT;
    guard_armed = 1;
    guard_fence();
    /* Pairs with the driver's release of its queue index (ring.h, R1 and R2). */
    v = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    guard_fence();
    guard_armed = 0;
    *value = v;
    return 0;
}

int vgpu_guard_store32(uint32_t *word, uint32_t value)
{
    if (sigsetjmp(guard_point, 0))
        return -EFAULT;
    guard_armed = 1;
    guard_fence();
    /* Pairs with the driver's acquire of the device's index (ring.h, R1 and R2). */
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
    guard_fence();
    guard_armed = 0;
    return 0;
}
