// SPDX-License-Identifier: MIT
/*
 * Hashes and ciphers (hashes.h): each thread takes the 64 bytes that begin at its word, round the end of the input.
 * All have the form kernel(const u32 *in, u32 *out, int n). References: tests/unit/exec/cpu/programs_hashes.c.
 */
#include "portable.h"

#define FN    static __device__ inline
#define TABLE static __device__ __constant__ const
#include "hashes.h"
#include "hashes_of_words.h"

#define HASH(name)                                                                                                     \
    extern "C" __global__ void name(const u32 *in, u32 *out, int n)                                                    \
    {                                                                                                                  \
        int i = GLOBAL_ID;                                                                                             \
        u32 m[16];                                                                                                     \
                                                                                                                       \
        if (i < n) {                                                                                                   \
            message(m, in, i, n);                                                                                      \
            out[i] = name##_of(m);                                                                                     \
        }                                                                                                              \
    }

HASH(sha256)
HASH(sha512)
HASH(md5)
HASH(chacha20)
HASH(siphash_2_4)
HASH(xxhash)
HASH(blake2s)
HASH(keccak)
HASH(adler)

/* The S-box is made by the block that uses it. */
extern "C" __global__ void aes128(const u32 *in, u32 *out, int n)
{
    __shared__ u8 sub[256];
    int i = GLOBAL_ID;
    u32 m[16];

    sub[threadIdx.x] = aes_sub((u8)threadIdx.x);
    SYNC();
    if (i < n) {
        message(m, in, i, n);
        out[i] = aes128_of(m, sub);
    }
}
