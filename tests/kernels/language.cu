// SPDX-License-Identifier: MIT
/*
 * What the language has (language.h), as kernels of the form kernel(const u32 *in, u32 *out, int n), and in C++ what
 * C has not. References: tests/unit/exec/cpu/programs_language.c.
 */
#include "portable.h"

typedef unsigned short u16;

#define FN static __device__ __attribute__((noinline))
#include "language.h"

#define KERNEL(name)                                                                                                   \
    extern "C" __global__ void name(const u32 *in, u32 *out, int n)                                                    \
    {                                                                                                                  \
        int i = GLOBAL_ID;                                                                                             \
                                                                                                                       \
        if (i < n)                                                                                                     \
            out[i] = name##_of(in, i, n);                                                                              \
    }

EACH_LANGUAGE(KERNEL)

/* A template's structures as arguments and results, of sizes that no register has. */
template <typename T, int N> struct vector {
    T v[N];

    __device__ T dot(const vector o) const
    {
        T s = 0;

        for (int k = 0; k < N; k++)
            s += v[k] * o.v[k];
        return s;
    }
};

template <typename T, int N> __device__ __attribute__((noinline)) vector<T, N> vector_of(u32 x)
{
    vector<T, N> r;

    for (int k = 0; k < N; k++)
        r.v[k] = (T)(x >> k);
    return r;
}

extern "C" __global__ void templates(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i >= n)
        return;
    vector<u32, 5> a = vector_of<u32, 5>(in[i]);
    vector<u8, 7> b = vector_of<u8, 7>(in[i]);
    vector<u64, 3> c = vector_of<u64, 3>(in[i]);
    vector<short, 3> d = vector_of<short, 3>(in[i]);

    out[i] = a.dot(a) + b.dot(b) * 3 + (u32)(c.dot(c) >> 5) + (u32)d.dot(d) * 7;
}

/* Two bases with virtual functions: the second's table moves `this` before it calls. */
struct shape {
    u32 x;
    __device__ shape(u32 x) : x(x) {}
    __device__ virtual u32 area(u32 k) const { return x + k; }
    __device__ virtual u32 twice() { return area(2) * 2; }
};
struct named {
    u64 name;
    __device__ virtual u32 length(u32 a) const { return a * 5; }
};
struct both : shape, named {
    __device__ both(u32 x) : shape(x) { name = x * 3u; }
    __device__ u32 area(u32 k) const override { return (u32)name * k; }
    __device__ u32 length(u32 a) const override { return a * 7 + (u32)name + x; }
};

extern "C" __global__ void bases(const u32 *in, u32 *out, int n)
{
    int i = GLOBAL_ID;

    if (i >= n)
        return;
    shape plain(in[i]);
    both full(in[i] ^ 0x5555);
    named other;
    shape *s[2] = {&plain, &full};
    named *m[2] = {&other, &full};
    u32 sum = 0;

    other.name = 1;
    for (int k = 0; k < 6; k++) {
        u32 way = in[(i + k) % n];

        sum = sum * 31 + s[way & 1]->area(way) + s[way >> 1 & 1]->twice() + m[way >> 2 & 1]->length(way);
    }
    out[i] = sum;
}
