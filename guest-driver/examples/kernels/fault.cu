// SPDX-License-Identifier: MIT
/*
 * Stores to p[off]: with off beyond the allocation, the fault of a guest program
 */
extern "C" __global__ void fault(int *p, long long off)
{
    p[off] = 1;
}
