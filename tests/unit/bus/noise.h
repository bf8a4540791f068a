/* SPDX-License-Identifier: MIT */
/* Reproducible noise (xorshift) for a test: the same after the same seed, which is not 0. */
#ifndef VGPU_TESTS_UNIT_BUS_NOISE_H
#define VGPU_TESTS_UNIT_BUS_NOISE_H

#include <stdint.h>

static uint32_t noise_state;

static inline void noise_seed(uint32_t seed)
{
    noise_state = seed;
}

static inline uint32_t noise(void)
{
    noise_state ^= noise_state << 13;
    noise_state ^= noise_state >> 17;
    noise_state ^= noise_state << 5;
    return noise_state;
}

#endif
