/* SPDX-License-Identifier: MIT */
/* Each function of hashes.h on 16 words of input, its result folded into one word. */
#ifndef VGPU_TESTS_KERNELS_HASHES_OF_WORDS_H
#define VGPU_TESTS_KERNELS_HASHES_OF_WORDS_H

#define SHA256_IV                                                                                                      \
    {                                                                                                                  \
        0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au, 0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u         \
    }

FN void message(u32 *m, const u32 *in, int i, int n)
{
    for (int k = 0; k < 16; k++)
        m[k] = in[(i + k) % n];
}

FN u32 fold(const u32 *words, int count)
{
    u32 sum = 0;

    for (int k = 0; k < count; k++)
        sum = sum * 31 + words[k];
    return sum;
}

FN u32 sha256_of(const u32 *m)
{
    u32 h[8] = SHA256_IV;

    sha256_block(h, m);
    return fold(h, 8);
}

FN u32 sha512_of(const u32 *m)
{
    u64 h[8] = {0x6a09e667f3bcc908ull, 0xbb67ae8584caa73bull, 0x3c6ef372fe94f82bull, 0xa54ff53a5f1d36f1ull,
                0x510e527fade682d1ull, 0x9b05688c2b3e6c1full, 0x1f83d9abfb41bd6bull, 0x5be0cd19137e2179ull};
    u64 w[16], sum = 0;

    for (int k = 0; k < 16; k++)
        w[k] = (u64)m[k] << 32 | m[15 - k];
    sha512_block(h, w);
    for (int k = 0; k < 8; k++)
        sum = sum * 31 + h[k];
    return (u32)(sum ^ sum >> 32);
}

FN u32 md5_of(const u32 *m)
{
    u32 h[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};

    md5_block(h, m);
    return fold(h, 4);
}

FN u32 chacha20_of(const u32 *m)
{
    u32 s[16];

    chacha20_block(s, m);
    return fold(s, 16);
}

FN u32 siphash_2_4_of(const u32 *m)
{
    u64 w[9];

    for (int k = 0; k < 8; k++)
        w[k] = (u64)m[2 * k + 1] << 32 | m[2 * k];
    w[8] = 64ull << 56;
    return (u32)siphash(w, w + 2, 7);
}

FN u32 xxhash_of(const u32 *m)
{
    return xxhash32(m, (int)(m[0] % 17));
}

FN u32 blake2s_of(const u32 *m)
{
    const u32 iv[8] = SHA256_IV;
    u32 h[8] = SHA256_IV;

    h[0] ^= 0x01010020u;
    blake2s_last(h, iv, m, 64);
    return fold(h, 8);
}

FN u32 keccak_of(const u32 *m)
{
    u64 a[25] = {0};

    for (int k = 0; k < 16; k++)
        a[k] = (u64)m[k] << 32 | m[(k + 5) % 16];
    keccak_f(a);
    return (u32)(a[0] ^ a[24] >> 32);
}

FN u32 adler_of(const u32 *m)
{
    u8 bytes[64];

    for (int k = 0; k < 64; k++)
        bytes[k] = (u8)(m[k / 4] >> k % 4 * 8);
    return adler32(bytes, (int)(m[0] % 65));
}

FN u32 aes128_of(const u32 *m, const u8 *sub)
{
    u8 block[16], key[16];
    u32 sum = 0;

    for (int k = 0; k < 16; k++) {
        block[k] = (u8)(m[k / 4] >> k % 4 * 8);
        key[k] = (u8)(m[4 + k / 4] >> k % 4 * 8);
    }
    aes128_block(block, key, sub);
    for (int k = 0; k < 16; k++)
        sum = sum * 31 + block[k];
    return sum;
}

#endif
