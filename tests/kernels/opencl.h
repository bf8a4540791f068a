/* SPDX-License-Identifier: MIT */
/* Of the functions that OpenCL C has built in, those that opencl.cl uses: clang leaves them to a library. */
#ifndef VGPU_TESTS_KERNELS_OPENCL_H
#define VGPU_TESTS_KERNELS_OPENCL_H

#define OVERLOADED static inline __attribute__((overloadable, always_inline))

#define get_local_id(d)   ((uint)__nvvm_read_ptx_sreg_tid_x())
#define get_local_size(d) ((uint)__nvvm_read_ptx_sreg_ntid_x())
#define get_group_id(d)   ((uint)__nvvm_read_ptx_sreg_ctaid_x())
#define get_num_groups(d) ((uint)__nvvm_read_ptx_sreg_nctaid_x())
#define get_global_id(d)  (get_group_id(d) * get_local_size(d) + get_local_id(d))
#define barrier()         __syncthreads()

#define atomic_add(p, v)        __nvvm_atom_add_gen_i((int *)(p), (int)(v))
#define atomic_max(p, v)        ((uint)__nvvm_atom_max_gen_ui((uint *)(p), (uint)(v)))
#define atomic_cmpxchg(p, c, v) ((uint)__nvvm_atom_cas_gen_i((int *)(p), (int)(c), (int)(v)))

#define vload_half(i, p)     __builtin_load_halff((p) + (i))
#define vstore_half(v, i, p) __builtin_store_halff(v, (p) + (i))

#define convert_uchar4(v)   __builtin_convertvector(v, uchar4)
#define convert_ushort4(v)  __builtin_convertvector(v, ushort4)
#define convert_uint4(v)    __builtin_convertvector(v, uint4)
#define convert_int4(v)     __builtin_convertvector(v, int4)
#define convert_float4(v)   __builtin_convertvector(v, float4)
#define convert_ushort16(v) __builtin_convertvector(v, ushort16)
#define convert_uchar16(v)  __builtin_convertvector(v, uchar16)

OVERLOADED int clamp(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}
OVERLOADED int4 clamp(int4 x, int low, int high)
{
    x = x < low ? (int4)low : x;
    return x > high ? (int4)high : x;
}
OVERLOADED uint min(uint a, uint b)
{
    return a < b ? a : b;
}
OVERLOADED uint rotate(uint x, uint n)
{
    return x << (n & 31) | x >> (-n & 31);
}
OVERLOADED uint2 rotate(uint2 x, uint2 n)
{
    return x << (n & 31) | x >> (-n & 31);
}
OVERLOADED uchar16 add_sat(uchar16 a, uchar16 b)
{
    ushort16 sum = convert_ushort16(a) + convert_ushort16(b);

    return convert_uchar16(sum > (ushort16)255 ? (ushort16)255 : sum);
}
OVERLOADED uint popcount(uint x)
{
    return (uint)__builtin_popcount(x);
}
OVERLOADED uint clz(uint x)
{
    return x ? (uint)__builtin_clz(x) : 32;
}
OVERLOADED ulong mul_hi(ulong a, ulong b)
{
    ulong low = (a & 0xffffffff) * (b & 0xffffffff);
    ulong ab = (a >> 32) * (b & 0xffffffff) + (low >> 32);
    ulong ba = (a & 0xffffffff) * (b >> 32) + (ab & 0xffffffff);

    return (a >> 32) * (b >> 32) + (ab >> 32) + (ba >> 32);
}
OVERLOADED float dot(float4 a, float4 b)
{
    return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

#endif
