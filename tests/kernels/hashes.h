/* SPDX-License-Identifier: MIT */
/*
 * Hashes and ciphers over one 64-byte block each, in the C that a compiler for the host takes as it is: hashes.cu
 * makes kernels of them, tests/unit/exec/cpu/programs_hashes.c calls them on the processor, after it has held
 * them against published test vectors. FN and TABLE stand before functions and tables.
 *
 * Sources: FIPS 180-4 (SHA-256, SHA-512), RFC 1321 (MD5), FIPS 197 (AES), RFC 8439 (ChaCha20), RFC 7693 (BLAKE2s),
 * FIPS 202 (Keccak), SipHash and xxHash as published by their authors.
 */
#ifndef VGPU_TESTS_KERNELS_HASHES_H
#define VGPU_TESTS_KERNELS_HASHES_H

TABLE u32 sha256_k[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u, 0xab1c5ed5u,
    0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu, 0x9bdc06a7u, 0xc19bf174u,
    0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu, 0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau,
    0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u, 0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u,
    0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu, 0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u,
    0xa2bfe8a1u, 0xa81a664bu, 0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u,
    0x19a4c116u, 0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u, 0xc67178f2u,
};
TABLE u64 sha512_k[80] = {
    0x428a2f98d728ae22ull, 0x7137449123ef65cdull, 0xb5c0fbcfec4d3b2full, 0xe9b5dba58189dbbcull,
    0x3956c25bf348b538ull, 0x59f111f1b605d019ull, 0x923f82a4af194f9bull, 0xab1c5ed5da6d8118ull,
    0xd807aa98a3030242ull, 0x12835b0145706fbeull, 0x243185be4ee4b28cull, 0x550c7dc3d5ffb4e2ull,
    0x72be5d74f27b896full, 0x80deb1fe3b1696b1ull, 0x9bdc06a725c71235ull, 0xc19bf174cf692694ull,
    0xe49b69c19ef14ad2ull, 0xefbe4786384f25e3ull, 0x0fc19dc68b8cd5b5ull, 0x240ca1cc77ac9c65ull,
    0x2de92c6f592b0275ull, 0x4a7484aa6ea6e483ull, 0x5cb0a9dcbd41fbd4ull, 0x76f988da831153b5ull,
    0x983e5152ee66dfabull, 0xa831c66d2db43210ull, 0xb00327c898fb213full, 0xbf597fc7beef0ee4ull,
    0xc6e00bf33da88fc2ull, 0xd5a79147930aa725ull, 0x06ca6351e003826full, 0x142929670a0e6e70ull,
    0x27b70a8546d22ffcull, 0x2e1b21385c26c926ull, 0x4d2c6dfc5ac42aedull, 0x53380d139d95b3dfull,
    0x650a73548baf63deull, 0x766a0abb3c77b2a8ull, 0x81c2c92e47edaee6ull, 0x92722c851482353bull,
    0xa2bfe8a14cf10364ull, 0xa81a664bbc423001ull, 0xc24b8b70d0f89791ull, 0xc76c51a30654be30ull,
    0xd192e819d6ef5218ull, 0xd69906245565a910ull, 0xf40e35855771202aull, 0x106aa07032bbd1b8ull,
    0x19a4c116b8d2d0c8ull, 0x1e376c085141ab53ull, 0x2748774cdf8eeb99ull, 0x34b0bcb5e19b48a8ull,
    0x391c0cb3c5c95a63ull, 0x4ed8aa4ae3418acbull, 0x5b9cca4f7763e373ull, 0x682e6ff3d6b2b8a3ull,
    0x748f82ee5defb2fcull, 0x78a5636f43172f60ull, 0x84c87814a1f0ab72ull, 0x8cc702081a6439ecull,
    0x90befffa23631e28ull, 0xa4506cebde82bde9ull, 0xbef9a3f7b2c67915ull, 0xc67178f2e372532bull,
    0xca273eceea26619cull, 0xd186b8c721c0c207ull, 0xeada7dd6cde0eb1eull, 0xf57d4f7fee6ed178ull,
    0x06f067aa72176fbaull, 0x0a637dc5a2c898a6ull, 0x113f9804bef90daeull, 0x1b710b35131c471bull,
    0x28db77f523047d84ull, 0x32caab7b40c72493ull, 0x3c9ebe0a15c9bebcull, 0x431d67c49c100d4cull,
    0x4cc5d4becb3e42b6ull, 0x597f299cfc657e2aull, 0x5fcb6fab3ad6faecull, 0x6c44198c4a475817ull,
};
TABLE u32 md5_k[64] = {
    0xd76aa478u, 0xe8c7b756u, 0x242070dbu, 0xc1bdceeeu, 0xf57c0fafu, 0x4787c62au, 0xa8304613u, 0xfd469501u,
    0x698098d8u, 0x8b44f7afu, 0xffff5bb1u, 0x895cd7beu, 0x6b901122u, 0xfd987193u, 0xa679438eu, 0x49b40821u,
    0xf61e2562u, 0xc040b340u, 0x265e5a51u, 0xe9b6c7aau, 0xd62f105du, 0x02441453u, 0xd8a1e681u, 0xe7d3fbc8u,
    0x21e1cde6u, 0xc33707d6u, 0xf4d50d87u, 0x455a14edu, 0xa9e3e905u, 0xfcefa3f8u, 0x676f02d9u, 0x8d2a4c8au,
    0xfffa3942u, 0x8771f681u, 0x6d9d6122u, 0xfde5380cu, 0xa4beea44u, 0x4bdecfa9u, 0xf6bb4b60u, 0xbebfbc70u,
    0x289b7ec6u, 0xeaa127fau, 0xd4ef3085u, 0x04881d05u, 0xd9d4d039u, 0xe6db99e5u, 0x1fa27cf8u, 0xc4ac5665u,
    0xf4292244u, 0x432aff97u, 0xab9423a7u, 0xfc93a039u, 0x655b59c3u, 0x8f0ccc92u, 0xffeff47du, 0x85845dd1u,
    0x6fa87e4fu, 0xfe2ce6e0u, 0xa3014314u, 0x4e0811a1u, 0xf7537e82u, 0xbd3af235u, 0x2ad7d2bbu, 0xeb86d391u,
};
TABLE u8 md5_r[16] = {7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21};
TABLE u64 keccak_rc[24] = {
    0x0000000000000001ull, 0x0000000000008082ull, 0x800000000000808aull, 0x8000000080008000ull,
    0x000000000000808bull, 0x0000000080000001ull, 0x8000000080008081ull, 0x8000000000008009ull,
    0x000000000000008aull, 0x0000000000000088ull, 0x0000000080008009ull, 0x000000008000000aull,
    0x000000008000808bull, 0x800000000000008bull, 0x8000000000008089ull, 0x8000000000008003ull,
    0x8000000000008002ull, 0x8000000000000080ull, 0x000000000000800aull, 0x800000008000000aull,
    0x8000000080008081ull, 0x8000000000008080ull, 0x0000000080000001ull, 0x8000000080008008ull,
};
/* A table, since clang 14 leaves the remainder out of (t + 1) * (t + 2) / 2 % 64. */
TABLE u8 keccak_rotation[24] = {1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14,
                                27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44};
TABLE u8 blake2s_sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

FN u32 rol32(u32 x, int n)
{
    return x << n | x >> (32 - n);
}

FN u64 rol64(u64 x, int n)
{
    return n ? x << n | x >> (64 - n) : x;
}

/* h: 8 words of state; m: 16 words, each with its first byte highest. */
FN void sha256_block(u32 *h, const u32 *m)
{
    u32 w[64], s[8];

    for (int i = 0; i < 64; i++)
        if (i < 16)
            w[i] = m[i];
        else
            w[i] = w[i - 16] + w[i - 7] + (rol32(w[i - 15], 25) ^ rol32(w[i - 15], 14) ^ w[i - 15] >> 3) +
                   (rol32(w[i - 2], 15) ^ rol32(w[i - 2], 13) ^ w[i - 2] >> 10);
    for (int i = 0; i < 8; i++)
        s[i] = h[i];
    for (int i = 0; i < 64; i++) {
        u32 e = s[4], a = s[0];
        u32 t1 = s[7] + (rol32(e, 26) ^ rol32(e, 21) ^ rol32(e, 7)) + ((e & s[5]) ^ (~e & s[6])) + sha256_k[i] + w[i];
        u32 t2 = (rol32(a, 30) ^ rol32(a, 19) ^ rol32(a, 10)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

        for (int k = 7; k > 0; k--)
            s[k] = s[k - 1];
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        h[i] += s[i];
}

FN void sha512_block(u64 *h, const u64 *m)
{
    u64 w[80], s[8];

    for (int i = 0; i < 80; i++)
        if (i < 16)
            w[i] = m[i];
        else
            w[i] = w[i - 16] + w[i - 7] + (rol64(w[i - 15], 63) ^ rol64(w[i - 15], 56) ^ w[i - 15] >> 7) +
                   (rol64(w[i - 2], 45) ^ rol64(w[i - 2], 3) ^ w[i - 2] >> 6);
    for (int i = 0; i < 8; i++)
        s[i] = h[i];
    for (int i = 0; i < 80; i++) {
        u64 e = s[4], a = s[0];
        u64 t1 = s[7] + (rol64(e, 50) ^ rol64(e, 46) ^ rol64(e, 23)) + ((e & s[5]) ^ (~e & s[6])) + sha512_k[i] + w[i];
        u64 t2 = (rol64(a, 36) ^ rol64(a, 30) ^ rol64(a, 25)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

        for (int k = 7; k > 0; k--)
            s[k] = s[k - 1];
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        h[i] += s[i];
}

/* m: 16 words, each with its first byte lowest. */
FN void md5_block(u32 *h, const u32 *m)
{
    u32 a = h[0], b = h[1], c = h[2], d = h[3];

    for (int i = 0; i < 64; i++) {
        u32 f, old = d;
        int g;

        switch (i / 16) {
        case 0: f = (b & c) | (~b & d), g = i; break;
        case 1: f = (d & b) | (~d & c), g = (5 * i + 1) % 16; break;
        case 2: f = b ^ c ^ d, g = (3 * i + 5) % 16; break;
        default: f = c ^ (b | ~d), g = 7 * i % 16; break;
        }
        d = c;
        c = b;
        b += rol32(a + f + md5_k[i] + m[g], md5_r[i / 16 * 4 + i % 4]);
        a = old;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
}

FN u8 aes_times(u8 a, u8 b)
{
    u8 product = 0;

    for (; b; b >>= 1) {
        if (b & 1)
            product ^= a;
        a = (u8)(a << 1 ^ (a & 0x80 ? 0x1b : 0));
    }
    return product;
}

/* The S-box of one byte, as FIPS 197 defines it: the inverse in GF(2^8), then the affine map. */
FN u8 aes_sub(u8 x)
{
    u8 inverse = 1, square = x;

    for (int i = 0; i < 7; i++) { /* x^254 */
        square = aes_times(square, square);
        inverse = aes_times(inverse, square);
    }
    return (u8)(inverse ^ (inverse << 1 | inverse >> 7) ^ (inverse << 2 | inverse >> 6) ^
                (inverse << 3 | inverse >> 5) ^ (inverse << 4 | inverse >> 4) ^ 0x63);
}

/* AES-128 of one block; sub: the S-box. */
FN void aes128_block(u8 *block, const u8 *key, const u8 *sub)
{
    u8 k[16], t[16], rcon = 1;

    for (int i = 0; i < 16; i++) {
        k[i] = key[i];
        block[i] ^= key[i];
    }
    for (int round = 1; round <= 10; round++) {
        for (int i = 0; i < 16; i++) /* SubBytes and ShiftRows */
            t[i] = sub[block[(i + 4 * (i % 4)) % 16]];
        for (int i = 0; i < 4; i++)
            k[i] ^= sub[k[12 + (i + 1) % 4]] ^ (i ? 0 : rcon);
        for (int i = 4; i < 16; i++)
            k[i] ^= k[i - 4];
        rcon = aes_times(rcon, 2);
        for (int i = 0; i < 16; i++) {
            int c = i / 4 * 4;

            block[i] = k[i] ^ (round == 10 ? t[i]
                                           : aes_times(t[i], 2) ^ aes_times(t[c + (i + 1) % 4], 3) ^
                                                 t[c + (i + 2) % 4] ^ t[c + (i + 3) % 4]);
        }
    }
}

#define CHACHA_ROUND(a, b, c, d)                                                                                       \
    (s[a] += s[b], s[d] = rol32(s[d] ^ s[a], 16), s[c] += s[d], s[b] = rol32(s[b] ^ s[c], 12), s[a] += s[b],            \
     s[d] = rol32(s[d] ^ s[a], 8), s[c] += s[d], s[b] = rol32(s[b] ^ s[c], 7))

/* in: constants, key, counter and nonce as RFC 8439 lays them out. */
FN void chacha20_block(u32 *out, const u32 *in)
{
    u32 s[16];

    for (int i = 0; i < 16; i++)
        s[i] = in[i];
    for (int i = 0; i < 10; i++) {
        CHACHA_ROUND(0, 4, 8, 12);
        CHACHA_ROUND(1, 5, 9, 13);
        CHACHA_ROUND(2, 6, 10, 14);
        CHACHA_ROUND(3, 7, 11, 15);
        CHACHA_ROUND(0, 5, 10, 15);
        CHACHA_ROUND(1, 6, 11, 12);
        CHACHA_ROUND(2, 7, 8, 13);
        CHACHA_ROUND(3, 4, 9, 14);
    }
    for (int i = 0; i < 16; i++)
        out[i] = s[i] + in[i];
}

FN void sip_round(u64 *v)
{
    v[0] += v[1], v[1] = rol64(v[1], 13) ^ v[0], v[0] = rol64(v[0], 32);
    v[2] += v[3], v[3] = rol64(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rol64(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rol64(v[1], 17) ^ v[2], v[2] = rol64(v[2], 32);
}

/* SipHash-2-4 of whole words and a last word that holds the length. */
FN u64 siphash(const u64 *key, const u64 *words, int count)
{
    u64 v[4] = {key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull, key[0] ^ 0x6c7967656e657261ull,
                key[1] ^ 0x7465646279746573ull};

    for (int i = 0; i < count; i++) {
        v[3] ^= words[i];
        sip_round(v);
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* xxHash32 of words alone, seed 0; count < 4: the path of short inputs. */
FN u32 xxhash32(const u32 *words, int count)
{
    const u32 p1 = 0x9e3779b1u, p2 = 0x85ebca77u, p3 = 0xc2b2ae3du, p4 = 0x27d4eb2fu, p5 = 0x165667b1u;
    u32 a[4] = {p1 + p2, p2, 0, 0u - p1}, h = p5;
    int i = 0;

    if (count >= 4) {
        for (; i + 4 <= count; i += 4)
            for (int k = 0; k < 4; k++)
                a[k] = rol32(a[k] + words[i + k] * p2, 13) * p1;
        h = rol32(a[0], 1) + rol32(a[1], 7) + rol32(a[2], 12) + rol32(a[3], 18);
    }
    h += (u32)count * 4;
    for (; i < count; i++)
        h = rol32(h + words[i] * p3, 17) * p4;
    h = (h ^ h >> 15) * p2;
    h = (h ^ h >> 13) * p3;
    return h ^ h >> 16;
}

#define BLAKE_MIX(a, b, c, d, x, y)                                                                                    \
    (v[a] += v[b] + (x), v[d] = rol32(v[d] ^ v[a], 16), v[c] += v[d], v[b] = rol32(v[b] ^ v[c], 20),                    \
     v[a] += v[b] + (y), v[d] = rol32(v[d] ^ v[a], 24), v[c] += v[d], v[b] = rol32(v[b] ^ v[c], 25))

/* The last block of a message of `bytes` bytes. */
FN void blake2s_last(u32 *h, const u32 *iv, const u32 *m, u32 bytes)
{
    u32 v[16];

    for (int i = 0; i < 8; i++) {
        v[i] = h[i];
        v[i + 8] = iv[i];
    }
    v[12] ^= bytes;
    v[14] = ~v[14];
    for (int r = 0; r < 10; r++) {
        const u8 *s = blake2s_sigma[r];

        BLAKE_MIX(0, 4, 8, 12, m[s[0]], m[s[1]]);
        BLAKE_MIX(1, 5, 9, 13, m[s[2]], m[s[3]]);
        BLAKE_MIX(2, 6, 10, 14, m[s[4]], m[s[5]]);
        BLAKE_MIX(3, 7, 11, 15, m[s[6]], m[s[7]]);
        BLAKE_MIX(0, 5, 10, 15, m[s[8]], m[s[9]]);
        BLAKE_MIX(1, 6, 11, 12, m[s[10]], m[s[11]]);
        BLAKE_MIX(2, 7, 8, 13, m[s[12]], m[s[13]]);
        BLAKE_MIX(3, 4, 9, 14, m[s[14]], m[s[15]]);
    }
    for (int i = 0; i < 8; i++)
        h[i] ^= v[i] ^ v[i + 8];
}

FN void keccak_f(u64 *a)
{
    for (int round = 0; round < 24; round++) {
        u64 c[5], b[25];
        int x = 1, y = 0;

        for (int i = 0; i < 5; i++)
            c[i] = a[i] ^ a[i + 5] ^ a[i + 10] ^ a[i + 15] ^ a[i + 20];
        for (int i = 0; i < 25; i++)
            a[i] ^= c[(i + 4) % 5] ^ rol64(c[(i + 1) % 5], 1);
        b[0] = a[0];
        for (int t = 0; t < 24; t++) {
            int next = (2 * x + 3 * y) % 5;

            b[y + 5 * next] = rol64(a[x + 5 * y], keccak_rotation[t]);
            x = y;
            y = next;
        }
        for (int i = 0; i < 25; i++)
            a[i] = b[i] ^ (~b[i / 5 * 5 + (i + 1) % 5] & b[i / 5 * 5 + (i + 2) % 5]);
        a[0] ^= keccak_rc[round];
    }
}

FN u32 adler32(const u8 *bytes, int count)
{
    u32 a = 1, b = 0;

    for (int i = 0; i < count; i++) {
        a = (a + bytes[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

#endif
