/* SPDX-License-Identifier: MIT */
/*
 * Every access to a word that the guest may change at the same moment, and every fence
 * of the exec process.  Nothing outside this header writes a barrier of its own; each
 * use says which access of the other side it pairs with (rules R1 to R4 of vgpu/ring.h).
 *
 * Words are little-endian 32-bit, as is this machine (vgpu/layout.h refuses others).
 */
#ifndef VGPU_EXEC_BARRIER_H
#define VGPU_EXEC_BARRIER_H

#include <linux/types.h>
#include <stdint.h>

static inline uint32_t vgpu_load_acquire(const __le32 *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint32_t vgpu_load_relaxed(const __le32 *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void vgpu_store_release(__le32 *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline void vgpu_store_relaxed(__le32 *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* Orders every access before it, stores included, before every access after it. */
static inline void vgpu_fence_full(void)
{
#ifdef __SANITIZE_THREAD__
    /* ThreadSanitizer does not model fences; a sequentially consistent exchange on x86 and on
     * arm64 with its acquire and release halves is one for the machine. */
    static uint32_t fence_word;

    (void)__atomic_fetch_add(&fence_word, 1, __ATOMIC_SEQ_CST);
    __asm__ volatile("" ::: "memory");
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Copy one ring entry: each word is read exactly once, whatever the compiler would like. */
static inline void vgpu_copy_from_shared(uint64_t *dst, const uint64_t *src, unsigned int words)
{
    for (unsigned int i = 0; i < words; i++)
        dst[i] = __atomic_load_n(&src[i], __ATOMIC_RELAXED);
}

static inline void vgpu_copy_to_shared(uint64_t *dst, const uint64_t *src, unsigned int words)
{
    for (unsigned int i = 0; i < words; i++)
        __atomic_store_n(&dst[i], src[i], __ATOMIC_RELAXED);
}

static inline void vgpu_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif /* VGPU_EXEC_BARRIER_H */
