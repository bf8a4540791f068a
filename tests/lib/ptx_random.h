/* SPDX-License-Identifier: MIT */
/*
 * Random PTX programs for differential tests: each is a module with one kernel k(.param .u64 out). Every thread
 * computes on registers of all kinds and stores them in the end: thread i of the grid writes the 128 bytes at out + 128 * i.
 */
#ifndef VGPU_TESTS_PTX_RANDOM_H
#define VGPU_TESTS_PTX_RANDOM_H

#define PTX_RANDOM_THREADS 192u /* as many as a test launches */
#define PTX_RANDOM_BYTES   (PTX_RANDOM_THREADS * 128u)
#define PTX_RANDOM_BLOCK   96u /* threads of a block whose threads meet: three full warps */

/* Only what a GPU and the CPU executor must do alike, to the bit. */
#define PTX_RANDOM_PORTABLE 1u

/* Threads that do not meet: any grid and block will do. malloc'ed text; NULL: no memory. */
char *ptx_random_program(unsigned seed, unsigned flags);
/* Threads that meet in blocks of PTX_RANDOM_BLOCK, one-dimensional. */
char *ptx_random_block_program(unsigned seed, unsigned flags);

#endif /* VGPU_TESTS_PTX_RANDOM_H */
