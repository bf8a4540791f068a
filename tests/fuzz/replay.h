/* SPDX-License-Identifier: MIT */
/* A fuzzer's committed corpus as a unit test: each input once found something, or leads somewhere. */
#ifndef VGPU_TESTS_FUZZ_REPLAY_H
#define VGPU_TESTS_FUZZ_REPLAY_H

#include <stddef.h>
#include <stdint.h>

/* The target, linked into the same program. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Run every file of the folder through the target.  How many there were; 0 if there is no such folder. */
unsigned int fuzz_replay(const char *corpus);

#endif
