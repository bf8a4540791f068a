// SPDX-License-Identifier: MIT
/*
 * Every thread says who it is, once.
 */
#include <cstdio>

extern "C" __global__ void hello(int base)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;

    printf("thread %d of block %d: %.4f %s\n", threadIdx.x, blockIdx.x, (base + i) / 16.0,
           i % 2 ? "odd" : "even");
}
