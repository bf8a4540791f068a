/* SPDX-License-Identifier: MIT */
/* The kernels of tests/kernels/language.cu in C: the same functions, compiled for the processor; the C++ ones anew. */
#include "programs.h"

#include <stddef.h>

typedef uint32_t u32;
typedef unsigned long long u64;
typedef uint16_t u16;
typedef uint8_t u8;

#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"
#define FN static
#include "../../../kernels/language.h"

#define REFERENCE(name)                                                                            \
    static void ref_##name(const union word *in, union word *out, int n)                           \
    {                                                                                              \
        for (int i = 0; i < n; i++)                                                                \
            out[i].u = name##_of(&in->u, i, n);                                                    \
    }

EACH_LANGUAGE(REFERENCE)

static void ref_templates(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        u32 x = in[i].u, a = 0, b = 0, d = 0;
        u64 c = 0;

        for (int k = 0; k < 5; k++)
            a += (x >> k) * (x >> k);
        for (int k = 0; k < 7; k++)
            b += (u32)(u8)(x >> k) * (u8)(x >> k);
        for (int k = 0; k < 3; k++) {
            c += (u64)(x >> k) * (x >> k);
            d += (u32)((int16_t)(x >> k) * (int16_t)(x >> k));
        }
        out[i].u = a + (u8)b * 3u + (u32)(c >> 5) + (u32)(int16_t)d * 7;
    }
}

static void ref_bases(const union word *in, union word *out, int n)
{
    for (int i = 0; i < n; i++) {
        u32 plain = in[i].u, full = in[i].u ^ 0x5555, sum = 0;

        for (int k = 0; k < 6; k++) {
            u32 way = in[(i + k) % n].u;

            sum = sum * 31 + (way & 1 ? full * 3 * way : plain + way) +
                  (way >> 1 & 1 ? full * 3 * 2 : plain + 2) * 2 +
                  (way >> 2 & 1 ? way * 7 + full * 3 + full : way * 5);
        }
        out[i].u = sum;
    }
}

#define PROGRAM(name) {#name, ref_##name, 0, 0, 0, 0},
const struct program programs_language[] = {EACH_LANGUAGE(PROGRAM) PROGRAM(templates)
                                                PROGRAM(bases){NULL, NULL, 0, 0, 0, 0}};
