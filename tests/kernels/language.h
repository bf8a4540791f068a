/* SPDX-License-Identifier: MIT */
/*
 * What the language has and compilers turn into unusual PTX: structures by value, packed ones, bit fields, unions,
 * arrays with computed indices, jump tables, recursion, 128-bit integers, goto. In the C that a compiler for the host
 * takes as it is: language.cu makes kernels of it, tests/unit/exec/cpu/programs_language.c calls it on the
 * processor. FN stands before functions that are to be calls; each *_of takes the input, an index and the count.
 */
#ifndef VGPU_TESTS_KERNELS_LANGUAGE_H
#define VGPU_TESTS_KERNELS_LANGUAGE_H

#define AT(k) in[((k) + i) % n]

struct packed_record {
    u8 a;
    u32 b;
    u16 c;
    u64 d;
} __attribute__((packed));

FN struct packed_record packed_step(struct packed_record p, u32 x)
{
    p.a = (u8)(p.a + x);
    p.b ^= x * 3;
    p.c = (u16)(p.c - x);
    p.d *= x | 1;
    return p;
}

FN u32 packed_of(const u32 *in, int i, int n)
{
    struct packed_record p = {(u8)AT(0), AT(1), (u16)AT(2), (u64)AT(0) << 32 | AT(3)};

    for (int k = 0; k < 4; k++)
        p = packed_step(p, AT(k));
    return p.a + p.b + p.c + (u32)(p.d >> 17);
}

struct fields {
    u32 a : 3, b : 7;
    int c : 9;
    u32 d : 13;
    u64 e : 40;
    int f : 2;
};

FN void fields_step(struct fields *p, u32 x)
{
    p->a += x & 7;
    p->b = (u32)p->c & 127;
    p->c = (int)(x << 20) >> 23;
    p->d ^= x >> 19;
    p->e = (p->e * 31 + x) & 0xffffffffffull;
    p->f = (int)(x << 30) >> 30;
}

FN u32 fields_of(const u32 *in, int i, int n)
{
    struct fields b = {1, 2, -3, 4, 5, 0};

    for (int k = 0; k < 6; k++)
        fields_step(&b, AT(k));
    return b.a + b.b * 3u + (u32)b.c * 5u + b.d * 7u + (u32)(b.e >> 9) + (u32)b.f;
}

union pun {
    u32 u;
    float f;
    u8 b[4];
    u16 h[2];
};

FN u32 unions_of(const u32 *in, int i, int n)
{
    union pun x, y;

    x.u = (AT(0) & 0x807fffffu) | (120 + (AT(0) >> 23 & 15)) << 23;
    y = x;
    y.f = y.f * 3.0f + x.f;
    x.b[AT(0) & 3] ^= y.b[AT(1) & 3];
    x.h[AT(0) >> 31] = (u16)(x.h[AT(0) >> 31] + y.h[0]);
    return x.u ^ y.u;
}

FN u32 arrays_of(const u32 *in, int i, int n)
{
    u32 a[37], s = 0;
    signed char c[19];
    short h[11];
    double d[5], t = 0;

    for (int k = 0; k < 37; k++)
        a[k] = AT(k);
    for (int k = 0; k < 19; k++)
        c[k] = (signed char)(a[k] >> k);
    for (int k = 0; k < 11; k++)
        h[k] = (short)a[k * 7 % 37];
    for (int k = 0; k < 5; k++)
        d[k] = a[k] % 1000;
    for (u32 k = 0; k < 50; k++) {
        u32 j = a[k % 37] % 37;

        s = s * 33 + a[j];
        a[(j * 5 + k) % 37] ^= s;
        c[s % 19] = (signed char)(c[s % 19] + h[s % 11]);
        h[(s >> 5) % 11] = (short)(h[(s >> 5) % 11] - c[k % 19]);
        d[s % 5] += c[k % 19];
    }
    for (int k = 0; k < 5; k++)
        t += d[k];
    return s + a[s % 37] + (u32)c[s % 19] + (u32)h[s % 11] + (u32)(int)t;
}

FN u32 step_of(u32 op, u32 a, u32 b)
{
    switch (op) {
    case 0: return a + b;
    case 1: return a - b;
    case 2: return a * b;
    case 3: return a / (b | 1);
    case 4: return a % (b | 1);
    case 5: return a ^ b;
    case 6: return a & ~b;
    case 7: return a << (b & 31);
    case 8: return a >> (b & 31);
    case 9: return (u32)((int)a >> (b & 31));
    case 10: return a * 3 + b;
    case 11: return (a << 7 | a >> 25) + b;
    case 12: a ^= b; /* and on */
    case 13: return a * 2654435761u;
    case 14: return ~a;
    case 15: return a > b ? a : b;
    case 17: return a < b ? a : b;
    case 20: return (int)a < (int)b;
    default: return a + op;
    }
}

FN u32 jump_table_of(const u32 *in, int i, int n)
{
    u32 a = AT(0), b = AT(1);

    for (int k = 0; k < 40; k++) {
        u32 t = step_of((AT(k) >> 3) % 23, a, b);

        b = a;
        a = t;
    }
    return a ^ b;
}

FN u32 ackermann(u32 m, u32 n)
{
    return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

FN void permute(u32 *a, int k, int m, u32 *h)
{
    u32 s = 0;

    for (int j = k; j < m; j++) {
        u32 t = a[k];

        a[k] = a[j];
        a[j] = t;
        permute(a, k + 1, m, h);
        a[j] = a[k];
        a[k] = t;
    }
    if (k == m) {
        for (int j = 0; j < m; j++)
            s = s * 10 + a[j];
        *h = *h * 31 + s;
    }
}

FN u32 recursions_of(const u32 *in, int i, int n)
{
    u32 a[4] = {AT(0) & 7, AT(0) >> 3 & 7, AT(0) >> 6 & 7, AT(0) >> 9 & 7}, h = 0;

    permute(a, 0, 2 + (int)((AT(0) >> 20) % 3), &h);
    return h + ackermann(2, AT(1) % 4);
}

FN u32 wide_integers_of(const u32 *in, int i, int n)
{
    unsigned __int128 a = (unsigned __int128)AT(0) << 96 | (unsigned __int128)AT(1) << 50 | AT(2);
    __int128 b = -(__int128)((unsigned __int128)(AT(3) & 0x7fffffff) << 64 | AT(0));

    for (int k = 0; k < 8; k++) {
        a = a * (unsigned __int128)b + (a >> 61) - ((unsigned __int128)b << 3);
        b = (__int128)((unsigned __int128)b + (unsigned __int128)((__int128)a >> (k * 9 + 1)));
        b ^= (__int128)(a << (AT(0) & 63));
        if (b < (__int128)a)
            b = ~b;
    }
    return (u32)a ^ (u32)(a >> 32) ^ (u32)(a >> 64) ^ (u32)(b >> 96) ^ (u32)b;
}

FN u32 jumps_of(const u32 *in, int i, int n)
{
    u32 a = AT(0), b = AT(1), s = 0, k = 0;

top:
    if (a & 1) {
        a = a * 3 + 1;
        if (++s > 60)
            goto done;
        goto mid;
    }
    a >>= 1;
    if (a == 0)
        goto done;
mid:
    b ^= a;
    if ((b & 7) == 3) {
        if (++k < 9)
            goto top;
        s += 1000;
        goto done;
    }
    if (s++ < 50)
        goto top;
done:
    return a + b * 3 + s * 7 + k;
}

FN u32 loops_of(const u32 *in, int i, int n)
{
    u32 s = 0;

    for (u32 x = 0; x < (AT(0) & 15); x++) {
        for (u32 y = 0;; y++) {
            if (y > (AT(1) & 7))
                break;
            if ((x ^ y) & 1)
                continue;
            for (u32 z = AT(2) & 31; z; z >>= 1) {
                if (z == (y | 1)) {
                    s += 3;
                    break;
                }
                s += z;
                if (s > 500)
                    return s;
            }
            if (s % 11 == 0)
                goto next;
        }
        s ^= x;
    next:;
    }
    return s + 1;
}

FN u32 narrow_of(const u32 *in, int i, int n)
{
    signed char a = (signed char)AT(0);
    u8 b = (u8)AT(1);
    short c = (short)AT(0);
    u16 d = (u16)AT(2);

    for (int k = 0; k < 9; k++) {
        a = (signed char)(a * b + k);
        b = (u8)(b / (u8)(k + 1) + a);
        c = (short)(c - (short)(a * 8));
        d = (u16)(d % (u16)(b | 1) + c);
        a = (signed char)(a >> 1);
        c = (short)(c / (short)(k + 3));
        d = (u16)(d >> (a & 3));
        a = (signed char)-a;
        b = (u8)~b;
        c = a < c ? c : a;
        d = b > d ? d : b;
    }
    return (u32)a + b * 3u + (u32)c * 5u + d * 7u;
}

FN u32 volatiles_of(const u32 *in, int i, int n)
{
    volatile u32 a[4];
    volatile signed char b = (signed char)AT(0);

    for (int k = 0; k < 4; k++)
        a[k] = AT(k);
    a[1] += a[0];
    a[2] = a[1] ^ a[3];
    b = (signed char)(b * 3);
    b = (signed char)(b - (int)(a[2] & 0xff));
    return a[2] + a[1] + (u32)b;
}

struct large {
    u32 a[20];
    u8 t[13];
};

FN struct large large_step(struct large b, u32 k)
{
    b.a[k % 20]++;
    b.t[k % 13] = (u8)(b.t[k % 13] + b.a[(k + 1) % 20]);
    return b;
}

FN u32 structures_of(const u32 *in, int i, int n)
{
    struct large b, c;
    u32 s = 0;

    for (u32 k = 0; k < 20; k++)
        b.a[k] = k * 0x01010101u;
    for (u32 k = 0; k < 13; k++)
        b.t[k] = (u8)(k * 11);
    b.a[3] = AT(0);
    for (int k = 0; k < 15; k++) {
        c = large_step(b, AT(k) & 1023);
        if (AT(k) & 4)
            b = c;
    }
    for (int k = 0; k < 20; k++)
        s = s * 3 + b.a[k];
    for (int k = 0; k < 13; k++)
        s = s * 3 + b.t[k];
    return s;
}

/* Duff's device: a switch into a loop. */
FN u32 duff_of(const u32 *in, int i, int n)
{
    u32 c = (AT(0) & 31) + 1, s = 0, k = (c + 7) / 8;
    int p = 0;

    switch (c & 7) {
    case 0:
        do {
            s = s * 3 + AT(p++);
        case 7: s = s * 3 + AT(p++);
        case 6: s = s * 5 + AT(p++);
        case 5: s = s * 7 + AT(p++);
        case 4: s = s * 3 + AT(p++);
        case 3: s = s * 11 + AT(p++);
        case 2: s = s * 3 + AT(p++);
        case 1: s = s * 13 + AT(p++);
        } while (--k > 0);
    }
    return s;
}

#define EACH_LANGUAGE(X)                                                                                               \
    X(packed)                                                                                                          \
    X(fields)                                                                                                          \
    X(unions)                                                                                                          \
    X(arrays)                                                                                                          \
    X(jump_table)                                                                                                      \
    X(recursions)                                                                                                      \
    X(wide_integers)                                                                                                   \
    X(jumps)                                                                                                           \
    X(loops)                                                                                                           \
    X(narrow)                                                                                                          \
    X(volatiles)                                                                                                       \
    X(structures)                                                                                                      \
    X(duff)

#endif
