/* SPDX-License-Identifier: MIT */
/*
 * What the tests of vgpu-dm and vgpuctl share: a folder, running a program of ours to its end, and
 * a control socket behind which a scripted peer stands in for vgpud.
 */
#ifndef VGPU_TESTS_UNIT_TOOLS_H
#define VGPU_TESTS_UNIT_TOOLS_H

#include "unit.h"

#include <stdbool.h>

/* What the peer does once it has a request. */
enum peer_mode {
    PEER_SERVE,    /* serves at once */
    PEER_LATE,     /* the device is registered some lists after the attach */
    PEER_NEVER,    /* it never is */
    PEER_REFUSE,   /* answers attach with an error */
    PEER_SILENT,   /* takes attach, and says nothing */
    PEER_CLOSE,    /* closes without an answer */
    PEER_NONSENSE, /* answers what is not JSON */
    PEER_NO_VMS,   /* answers attach with JSON that lacks the VM */
};

#define PEER_REFUSAL "domain 7: slot 0x10 is taken by another device: choose another"

extern char tools_dir[];        /* absolute path of the test's folder */
extern char tools_out[1 << 16]; /* standard error and output of the last run */

void tools_setup(void);
void tools_teardown(void); /* ends the peer too */

/* A path in tools_dir; valid for the next few calls. */
const char *in_dir(const char *name);
/* Write an executable /bin/sh script; its path, as in_dir(). */
const char *tools_script(const char *name, const char *text);
bool tools_exists(const char *name);
/* A file's text, "" if there is none; valid until the next call. */
const char *tools_text(const char *name);

/*
 * Run build/VARIANT/bin/PROGRAM with these words, NULL at the end, to its end, or kill it at a
 * deadline and fail.  `%` in a word stands for tools_dir.  The exit status; 1000 + signal.
 */
int tools_run(const char *program, const char *const *words);
#define RUN(program, ...) tools_run(program, (const char *const[]){__VA_ARGS__, NULL})

/* The peer listens at in_dir("control.sock") and keeps serving. */
void peer_start(enum peer_mode mode);
/* All requests so far, a line each. */
const char *peer_requests(void);

Suite *vgpu_dm_args_suite(void);
Suite *vgpu_dm_suite(void);
Suite *vgpuctl_suite(void);

#endif
