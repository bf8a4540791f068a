// SPDX-License-Identifier: MIT
/*
 * Runs until *p becomes non-zero: an endless kernel when nobody writes it
 */
extern "C" __global__ void spin(volatile int *p)
{
    while (*p == 0)
        ;
}
