/* SPDX-License-Identifier: MIT */
/*
 * The memory ordering of the rings (spec 7.3), in one place.  No other file of the
 * library names a barrier or an atomic builtin on ring memory.
 *
 *   vgpu_load_acquire   R1 and R2 on the side that reads an index
 *   vgpu_store_release  R1 and R2 on the side that writes it
 *   vgpu_full_fence     R3 and R4: own write before the other side's word is read
 *   vgpu_load_relaxed, vgpu_store_relaxed
 *                       a hint, re-read with acquire before anything depends on it
 *
 * Ring memory is shared with another processor that is not part of the program:
 * each access is one machine access, never repeated and never invented.
 */
#ifndef VGPU_BARRIER_H
#define VGPU_BARRIER_H

#include <stdint.h>

static inline uint32_t vgpu_load_acquire(const volatile uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint32_t vgpu_load_relaxed(const volatile uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void vgpu_store_relaxed(volatile uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline void vgpu_store_release(volatile uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* ThreadSanitizer does not model fences; a read-modify-write is one to the processor. */
static inline void vgpu_full_fence(void)
{
#if defined(__SANITIZE_THREAD__)
    static uint32_t dummy;

    __atomic_fetch_add(&dummy, 0, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* The doorbell: uncached, its value is ignored. */
static inline void vgpu_ring_doorbell(volatile uint32_t *doorbell)
{
    __atomic_store_n(doorbell, 1, __ATOMIC_RELAXED);
}

static inline void vgpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

#endif
