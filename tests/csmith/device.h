/* SPDX-License-Identifier: MIT */
/*
 * What a program of csmith includes instead of csmith.h, so that one text compiles as CUDA device code (by nvcc, and
 * by clang without CUDA's headers) and as C++ for the host. DEV stands before every function and variable.
 * csmith's own safe_math.h is used as it is: it gives every operation one defined result.
 */
#ifndef VGPU_TESTS_CSMITH_DEVICE_H
#define VGPU_TESTS_CSMITH_DEVICE_H

#include <float.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__CUDA__) && !defined(__NVCC__)
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#endif
#if defined(__CUDA__) || defined(__NVCC__)
#define DEV __device__
#else
#define DEV
#endif
#ifndef __NVCC__
#define memcpy __builtin_memcpy
#define fabs   __builtin_fabs
#define fabsf  __builtin_fabsf
#endif

#undef NULL
#define NULL             nullptr
#define STATIC           static DEV
#define UNDEFINED(value) (value)
#define LOG_INDEX
#define LOG_EXEC
#define FUNC_NAME(name) (safe_##name)
#define assert(x)
#define _CSMITH_BITFIELD(x) ((x) > 32 ? (x) % 32 : (x))
#include <csmith/safe_math.h>

/* One value of all that the program leaves in its variables. */
static DEV uint64_t all_values = 0xcbf29ce484222325u;

static DEV inline void transparent_crc(uint64_t value, const char *, int)
{
    all_values = (all_values ^ value) * 0x100000001b3u;
    all_values ^= all_values >> 29;
}

#endif
