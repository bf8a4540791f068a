/* SPDX-License-Identifier: MIT */
/*
 * A guest's program that has the cuda executor make every driver call it knows: memory, copies both
 * ways and on the device, direct and staged, modules, kernels, variables, streams, events, printing.
 */
#ifndef VGPU_TESTS_DAEMON_CUDA_PROGRAM_H
#define VGPU_TESTS_DAEMON_CUDA_PROGRAM_H

#include "guestsim.h"

struct fx_outcome {
    int status; /* of the first command that failed, VGPU_ST_OK if none did */
    const char *step;
};

/* Run it to its end or to the first command that fails; asserts that every result up to there is right. */
struct fx_outcome fx_use_everything(struct gs_ctx *ctx);

#endif /* VGPU_TESTS_DAEMON_CUDA_PROGRAM_H */
