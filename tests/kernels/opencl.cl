// SPDX-License-Identifier: MIT
/*
 * Kernels as OpenCL programs have them: vectors of 2 to 16 elements, swizzles, local and constant memory, generic
 * pointers.  n is the length of `in`.  A group has 256 work-items.
 */
#include "opencl.h"

#pragma OPENCL EXTENSION cl_khr_fp64 : enable

#define GROUP 256

typedef __global const uint *input;
typedef __global uint *output;

/* Four elements a work-item, the rest one by one. */
__kernel void saxpy4(input in, output out, int n)
{
    int i = (int)get_global_id(0) * 4;
    float4 v;

    if (i + 4 <= n) {
        v = convert_float4(*(__global const uint4 *)(in + i) >> 8);
        *(__global uint4 *)(out + i) = as_uint4(v * 0.75f + v.wxyz);
        return;
    }
    for (int k = i; k < n; k++)
        out[k] = as_uint((float)(in[k] >> 8) * 0.75f);
}

/* Pixels of four bytes, five of them with weights, edges repeated. */
__constant ushort weights[5] = {1, 4, 6, 4, 1};

__kernel void blur(input in, output out, int n)
{
    int i = (int)get_global_id(0);
    ushort4 sum = (ushort4)8;

    if (i >= n)
        return;
    for (int k = -2; k <= 2; k++)
        sum += convert_ushort4(as_uchar4(in[clamp(i + k, 0, n - 1)])) * weights[k + 2];
    out[i] = as_uint(convert_uchar4(sum >> (ushort4)4));
}

/* Edges in an image 64 wide. */
__kernel void sobel(input in, output out, int n)
{
    int i = (int)get_global_id(0), x = i % 64, y = i / 64;
    short2 gradient = (short2)0;

    if (i >= n)
        return;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++) {
            int at = clamp(y + dy, 0, (n - 1) / 64) * 64 + clamp(x + dx, 0, 63);
            short p = (short)(in[at < n ? at : n - 1] & 255);

            gradient += (short2)((short)(dx * (2 - dy * dy)), (short)(dy * (2 - dx * dx))) * p;
        }
    out[i] = (uint)(gradient.x < 0 ? -gradient.x : gradient.x) << 16 |
             (uint)(gradient.y < 0 ? -gradient.y : gradient.y);
}

/* Luma and the two differences of a colour in fixed point. */
__kernel void colours(input in, output out, int n)
{
    int i = (int)get_global_id(0);
    int3 yuv;
    uchar4 c;

    if (i >= n)
        return;
    c = as_uchar4(in[i]);
    yuv = (int3)(66, -38, 112) * c.x + (int3)(129, -74, -94) * c.y + (int3)(25, 112, -18) * c.z;
    yuv = ((yuv + 128) >> 8) + (int3)(16, 128, 128);
    out[i] = as_uint((uchar4)((uchar)yuv.z, (uchar)yuv.y, (uchar)yuv.x, c.w));
}

/* Sums, exclusive ors and the greatest of a group in one tree. */
__kernel void reduce(input in, output out, int n)
{
    __local uint4 part[GROUP];
    uint l = get_local_id(0), i = get_global_id(0);
    uint x = i < (uint)n ? in[i] : 0;

    part[l] = (uint4)(x, x, x, popcount(x));
    barrier();
    for (uint step = GROUP / 2; step; step /= 2) {
        if (l < step) {
            uint4 a = part[l], b = part[l + step];

            part[l] = (uint4)(a.x + b.x, a.y ^ b.y, a.z > b.z ? a.z : b.z, a.w + b.w);
        }
        barrier();
    }
    if (l < 4)
        out[get_group_id(0) * 4 + l] = ((__local uint *)part)[l];
}

/* A running sum of each group, between two halves of local memory. */
__kernel void scan(input in, output out, int n)
{
    __local uint buffer[2][GROUP];
    uint l = get_local_id(0), i = get_global_id(0), from = 0;

    buffer[0][l] = i < (uint)n ? in[i] : 0;
    for (uint step = 1; step < GROUP; step *= 2) {
        barrier();
        buffer[!from][l] = buffer[from][l] + (l >= step ? buffer[from][l - step] : 0);
        from = !from;
    }
    if (i < (uint)n)
        out[i] = buffer[from][l];
}

/* A matrix of 64 x 64 by its transpose, in tiles of 16 x 16; a work-group makes one. */
__kernel void gram(input in, output out, int n)
{
    __local int a[16][17], b[16][17];
    uint l = get_local_id(0), x = l % 16, y = l / 16;
    uint row = get_group_id(0) / 4 * 16, column = get_group_id(0) % 4 * 16;
    int sum = 0;

    for (uint k = 0; k < 64; k += 16) {
        a[y][x] = (int)in[(row + y) * 64 + k + x] >> 16;
        b[y][x] = (int)in[(column + y) * 64 + k + x] >> 16;
        barrier();
        for (uint j = 0; j < 16; j += 4)
            for (uint m = 0; m < 4; m++)
                sum += a[y][j + m] * b[x][j + m];
        barrier();
    }
    out[(row + y) * 64 + column + x] = (uint)sum;
}

/* Indices of a group in the order of their keys; equal keys keep theirs. */
__kernel void order(input in, output out, int n)
{
    __local int2 items[GROUP];
    uint l = get_local_id(0), i = get_global_id(0);

    items[l] = (int2)(i < (uint)n ? (int)(in[i] % 64) : 64, (int)l);
    barrier();
    for (uint size = 2; size <= GROUP; size *= 2)
        for (uint step = size / 2; step; step /= 2) {
            uint other = l ^ step;
            int2 a = items[l], b = items[other];
            bool is_less = b.x < a.x || (b.x == a.x && b.y < a.y);

            barrier();
            items[l] = is_less == ((l < other) == !(l & size)) ? b : a;
            barrier();
        }
    if (i < (uint)n)
        out[i] = (uint)items[l].y;
}

/* Byte counts, in local memory first. */
__kernel void histogram(input in, output out, int n)
{
    __local uint counts[256];
    uint l = get_local_id(0);

    counts[l] = 0;
    barrier();
    for (uint i = get_global_id(0); i < (uint)n; i += get_local_size(0) * get_num_groups(0)) {
        uchar4 c = as_uchar4(in[i]);

        atomic_add(&counts[c.x], 1);
        atomic_add(&counts[c.y], 1);
        atomic_add(&counts[c.z], 1);
        atomic_add(&counts[c.w], 1);
    }
    barrier();
    if (counts[l])
        atomic_add(&out[l], counts[l]);
}

/* Points that stay near. */
__kernel void julia(input in, output out, int n)
{
    int i = (int)get_global_id(0), k = 0;
    float2 z, c = (float2)(-0.75f, 0.125f);

    if (i >= n)
        return;
    z = (float2)((float)(in[i] & 0xffff), (float)(in[i] >> 16)) / 32768.0f - 1.0f;
    for (; k < 64 && z.x * z.x + z.y * z.y <= 4.0f; k++)
        z = (float2)(z.x * z.x - z.y * z.y, 2.0f * z.x * z.y) + c;
    out[i] = (uint)k;
}

/* A block cipher of two words (XTEA), the words of a pair in a vector. */
__constant uint4 key = (uint4)(0x12345678, 0x9abcdef0, 0x0f1e2d3c, 0x4b5a6978);

__kernel void encrypt(input in, output out, int n)
{
    int i = (int)get_global_id(0);
    uint sum = 0, k[4] = {key.x, key.y, key.z, key.w};
    uint2 v;

    if (i >= n / 2)
        return;
    v = *(__global const uint2 *)(in + 2 * i);
    for (int round = 0; round < 32; round++) {
        v.x += (((v.y << 4) ^ (v.y >> 5)) + v.y) ^ (sum + k[sum & 3]);
        sum += 0x9e3779b9;
        v.y += (((v.x << 4) ^ (v.x >> 5)) + v.x) ^ (sum + k[sum >> 11 & 3]);
    }
    *(__global uint2 *)(out + 2 * i) = rotate(v, (uint2)(7, 19)).yx;
}

/* Sixteen bytes at once, with saturation. */
__kernel void brighten(input in, output out, int n)
{
    int i = (int)get_global_id(0);
    uchar16 v;

    if (i >= n / 4)
        return;
    v = as_uchar16(*(__global const uint4 *)(in + 4 * i));
    v = add_sat(v, v.s0123456789abcdef >> (uchar16)1);
    v.even = v.odd > v.even ? v.odd : v.even;
    v.hi.s7 = (uchar)i;
    *(__global uint4 *)(out + 4 * i) = as_uint4(v.sfedcba9876543210);
}

/* Halves that are only kept in memory. */
__kernel void halves(input in, output out, int n)
{
    __local ushort storage[GROUP]; /* half is a type of pointers alone */
    __local half *kept = (__local half *)storage;
    uint l = get_local_id(0), i = get_global_id(0);
    __global half *to = (__global half *)out;

    vstore_half((float)(in[i < (uint)n ? i : 0] & 1023), l, kept);
    barrier();
    if (i < (uint)n) {
        vstore_half(vload_half(l, kept) * 0.5f, 2 * i, to);
        vstore_half(vload_half(l ^ 1, kept) - 512.0f, 2 * i + 1, to);
    }
}

/* A polynomial in double precision, both words of the result. */
__kernel void polynomial(input in, output out, int n)
{
    int i = (int)get_global_id(0);
    double2 x, sum = (double2)(1.0, -1.0);

    if (i >= n / 4)
        return;
    x = (double2)((double)in[4 * i], (double)(int)in[4 * i + 1]) / 4294967296.0;
    for (int k = 1; k < 9; k++)
        sum = sum * x + 1.0 / k;
    ((__global ulong2 *)out)[i] = (ulong2)(as_ulong(sum.x), as_ulong(sum.y / (1.0 + x.y * x.y)));
}

/* Products of 128 bits, quotients and remainders of 64. */
__kernel void longs(input in, output out, int n)
{
    int i = (int)get_global_id(0);
    ulong a, b, c;

    if (i >= n)
        return;
    a = (ulong)in[i] << 32 | in[(i + 1) % n];
    b = (ulong)in[(i + 2) % n] * in[(i + 3) % n];
    c = mul_hi(a, b) ^ a * b;
    c += a / ((b >> 24) + 1) + a % ((b >> 40) + 1) + (ulong)((long)a / ((long)b | 1));
    out[i] = as_uint2(c).x ^ as_uint2(c).y ^ clz(in[i]);
}

/* A pointer whose address space is not known before it is used. */
__constant uint table[8] = {3, 1, 4, 1, 5, 9, 2, 6};

static uint sum_of(const uint *p, int count)
{
    uint sum = 0;

    for (int k = 0; k < count; k++)
        sum = sum * 31 + p[k];
    return sum;
}

__kernel void any_space(input in, output out, int n)
{
    __local uint shared[8];
    uint own[8], i = get_global_id(0);
    const uint *p;

    if (get_local_id(0) < 8)
        shared[get_local_id(0)] = get_local_id(0) * get_local_id(0);
    barrier();
    if (i >= (uint)n)
        return;
    for (uint k = 0; k < 8; k++)
        own[(k * 5 + i) & 7] = in[i] >> k ^ table[k];
    p = in[i] % 3 == 0 ? (const uint *)shared : own;
    if (in[i] % 3 == 1 && i + 8 <= (uint)n)
        p = (const uint *)(in + i);
    out[i] = sum_of(p, 8);
}

/* A small machine: a program in constant memory, a stack in private memory. */
struct step {
    uchar code;
    int2 value;
};

__constant struct step program[] = {
    {0, {7, 0}}, {1, {0, 0}}, {2, {0, 0}}, {0, {13, 1}}, {3, {0, 0}}, {4, {5, 0}},
    {1, {0, 0}}, {5, {0, 0}}, {6, {3, 9}}, {2, {0, 0}},  {7, {0, 0}},
};

__kernel void machine(input in, output out, int n)
{
    int i = (int)get_global_id(0), depth = 0, stack[8];

    if (i >= n)
        return;
    for (uint k = 0; k < sizeof(program) / sizeof(program[0]); k++) {
        struct step s = program[k];

        switch (s.code) {
        case 0: stack[depth++] = s.value.x + s.value.y; break;
        case 1: stack[depth++] = (int)in[i]; break;
        case 2: depth--; stack[depth - 1] += stack[depth]; break;
        case 3: depth--; stack[depth - 1] *= stack[depth]; break;
        case 4: stack[depth - 1] >>= s.value.x; break;
        case 5: depth--; stack[depth - 1] ^= stack[depth]; break;
        case 6: stack[depth++] = stack[0] % s.value.x - s.value.y; break;
        default: stack[depth - 1] = -stack[depth - 1]; break;
        }
    }
    out[i] = (uint)stack[0];
}

/* Nearest of eight points, the points' coordinates in a vector each. */
__kernel void nearest(input in, output out, int n)
{
    __local float4 points[8];
    uint l = get_local_id(0), i = get_global_id(0), best = 0;
    float least = 1e30f;
    float4 v;

    if (l < 8)
        points[l] = convert_float4(convert_int4(as_uchar4(in[l % (uint)n])));
    barrier();
    if (i >= (uint)n)
        return;
    v = convert_float4(convert_int4(as_uchar4(in[i])));
    for (uint k = 0; k < 8; k++) {
        float4 d = v - points[k];
        float far = dot(d, d);

        best = far < least ? k : best;
        least = far < least ? far : least;
    }
    out[i] = best << 24 | (uint)least;
}
