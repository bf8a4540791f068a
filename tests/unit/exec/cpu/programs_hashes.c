/* SPDX-License-Identifier: MIT */
/*
 * The kernels of tests/kernels/hashes.cu in C: the same functions, compiled for the processor. That they are the
 * algorithms they claim to be is tested by the vectors which their authors published.
 */
#include "programs.h"
#include "unit.h"

#include <string.h>

typedef uint32_t u32;
typedef unsigned long long u64;
typedef uint8_t u8;

#define FN    static inline
#define TABLE static const
#include "../../../kernels/hashes.h"
#include "../../../kernels/hashes_of_words.h"

#define REFERENCE(name)                                                                            \
    static void ref_##name(const union word *in, union word *out, int n)                           \
    {                                                                                              \
        u32 m[16];                                                                                 \
                                                                                                   \
        for (int i = 0; i < n; i++) {                                                              \
            message(m, &in->u, i, n);                                                              \
            out[i].u = name##_of(m);                                                               \
        }                                                                                          \
    }

REFERENCE(sha256)
REFERENCE(sha512)
REFERENCE(md5)
REFERENCE(chacha20)
REFERENCE(siphash_2_4)
REFERENCE(xxhash)
REFERENCE(blake2s)
REFERENCE(keccak)
REFERENCE(adler)

static void make_sub(u8 *sub)
{
    for (int k = 0; k < 256; k++)
        sub[k] = aes_sub((u8)k);
}

static void ref_aes128(const union word *in, union word *out, int n)
{
    u8 sub[256];
    u32 m[16];

    make_sub(sub);
    for (int i = 0; i < n; i++) {
        message(m, &in->u, i, n);
        out[i].u = aes128_of(m, sub);
    }
}

/* The message "abc", padded: 0x80 behind it, its 24 bits at the end. */
static void check_sha(void)
{
    u32 h[8] = SHA256_IV, m[16] = {0x61626380u, [15] = 24};
    u64 wide[8] = {0x6a09e667f3bcc908ull, 0xbb67ae8584caa73bull, 0x3c6ef372fe94f82bull,
                   0xa54ff53a5f1d36f1ull, 0x510e527fade682d1ull, 0x9b05688c2b3e6c1full,
                   0x1f83d9abfb41bd6bull, 0x5be0cd19137e2179ull};
    u64 w[16] = {0x6162638000000000ull, [15] = 24};

    sha256_block(h, m);
    ck_assert_uint_eq(h[0], 0xba7816bfu);
    ck_assert_uint_eq(h[7], 0xf20015adu);
    sha512_block(wide, w);
    ck_assert_uint_eq(wide[0], 0xddaf35a193617abaull);
    ck_assert_uint_eq(wide[7], 0x2a9ac94fa54ca49full);
}

static void check_md5_and_blake(void)
{
    const u32 iv[8] = SHA256_IV, abc[16] = {0x00636261u};
    u32 md5[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
    u32 m[16] = {0x80636261u, [14] = 24}, h[8] = SHA256_IV;

    md5_block(md5, m);
    ck_assert_uint_eq(md5[0], 0x98500190u);
    ck_assert_uint_eq(md5[3], 0x727fe128u);
    h[0] ^= 0x01010020u;
    blake2s_last(h, iv, abc, 3);
    ck_assert_uint_eq(h[0], 0x8c5e8c50u);
    ck_assert_uint_eq(h[7], 0x82596786u);
}

/* FIPS 197, appendix C.1; RFC 8439, section 2.3.2. */
static void check_ciphers(void)
{
    static const u8 cipher[16] = {0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30,
                                  0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a};
    const u32 in[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u, 0x03020100u,
                        0x07060504u, 0x0b0a0908u, 0x0f0e0d0cu, 0x13121110u, 0x17161514u,
                        0x1b1a1918u, 0x1f1e1d1cu, 1,           0x09000000u, 0x4a000000u};
    u8 block[16], key[16], sub[256];
    u32 s[16];

    make_sub(sub);
    for (int i = 0; i < 16; i++) {
        block[i] = (u8)(i * 0x11);
        key[i] = (u8)i;
    }
    aes128_block(block, key, sub);
    ck_assert_mem_eq(block, cipher, 16);
    chacha20_block(s, in);
    ck_assert_uint_eq(s[0], 0xe4e7f110u);
    ck_assert_uint_eq(s[15], 0x4e3c50a2u);
}

void programs_hashes_check(void)
{
    const u64 key[2] = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};
    const u64 words[2] = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull & 0xffffffffffffffull};
    const u64 tagged[2] = {words[0], words[1] | 15ull << 56};
    u64 a[25] = {0};

    check_sha();
    check_md5_and_blake();
    check_ciphers();
    ck_assert_uint_eq(siphash(key, tagged, 2), 0xa129ca6149be45e5ull);
    ck_assert_uint_eq(xxhash32(NULL, 0), 0x02cc5d05u);
    ck_assert_uint_eq(adler32((const u8 *)"Wikipedia", 9), 0x11e60398u);
    keccak_f(a);
    ck_assert_uint_eq(a[0], 0xf1258f7940e1dde7ull);
    ck_assert_uint_eq(a[24], 0xeaf1ff7b5ceca249ull);
}

const struct program programs_hashes[] = {
    {"sha256", ref_sha256, .blocks = 0},
    {"sha512", ref_sha512, .blocks = 0},
    {"md5", ref_md5, .blocks = 0},
    {"chacha20", ref_chacha20, .blocks = 0},
    {"siphash_2_4", ref_siphash_2_4, .blocks = 0},
    {"xxhash", ref_xxhash, .blocks = 0},
    {"blake2s", ref_blake2s, .blocks = 0},
    {"keccak", ref_keccak, .blocks = 0},
    {"adler", ref_adler, .blocks = 0},
    {"aes128", ref_aes128, .blocks = 0},
    {.name = NULL},
};
