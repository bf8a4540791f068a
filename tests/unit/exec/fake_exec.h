/* SPDX-License-Identifier: MIT */
/*
 * A scripted executor: takes jobs until a stream holds `capacity` of them, keeps them until the test
 * says that one is done, in any order, and writes down what it was asked.
 */
#ifndef VGPU_TESTS_EXEC_FAKE_EXEC_H
#define VGPU_TESTS_EXEC_FAKE_EXEC_H

#include <exec/exec.h>

#define FAKE_MAX 4096

struct vgpu_exec {
    uint32_t capacity; /* jobs per stream; more are FULL */
    bool inline_nops;  /* NOPs of an idle stream are DONE at once */
    bool skip_order;   /* allow finishing out of stream order (an executor's bug) */
    struct vgpu_job *held[FAKE_MAX];
    uint32_t held_count;
    struct vgpu_job *done[FAKE_MAX];
    uint32_t done_count;
    uint64_t submitted[FAKE_MAX]; /* cookies, in order of acceptance */
    uint32_t submitted_count;
    uint32_t fulls;
    uint64_t frees;
    uint64_t queries;
    uint32_t params_sum; /* of the latest launch */
    char image[64];      /* start of the latest module */
    uint16_t load_status;
    uint16_t launch_status;
};

extern const struct vgpu_exec_ops fake_exec_ops;

/* The job with this cookie is done: poll() will tell. */
void fake_exec_finish(struct vgpu_exec *e, uint64_t cookie, uint16_t status);
bool fake_exec_has(const struct vgpu_exec *e, uint64_t cookie);

#endif
