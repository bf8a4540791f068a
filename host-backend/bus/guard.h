/* SPDX-License-Identifier: MIT */
/*
 * Touching memory that somebody else may take away.
 *
 * Guest RAM is a file whose owner may truncate it at any moment; a load from a page
 * that is gone raises SIGBUS.  These functions survive that: they answer -EFAULT
 * instead.  Everything in a vm process that reads or writes guest RAM goes through here.
 *
 * One thread per process only: the recovery point is a global.  Nothing but the
 * copy itself runs under the guard, so a SIGBUS from anywhere else still kills.
 */
#ifndef VGPU_BUS_GUARD_H
#define VGPU_BUS_GUARD_H

#include <stddef.h>
#include <stdint.h>

#define VGPU_MUST_CHECK __attribute__((warn_unused_result))

/* Install the SIGBUS handler.  Once per process; 0 or -errno. */
VGPU_MUST_CHECK int vgpu_guard_init(void);

VGPU_MUST_CHECK int vgpu_guard_copy(void *dst, const void *src, size_t bytes);
/* Acquire and release, on naturally aligned words. */
VGPU_MUST_CHECK int vgpu_guard_load32(const uint32_t *word, uint32_t *value);
VGPU_MUST_CHECK int vgpu_guard_store32(uint32_t *word, uint32_t value);

#endif /* VGPU_BUS_GUARD_H */
