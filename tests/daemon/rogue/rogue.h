/* SPDX-License-Identifier: MIT */
/* What a guest says to the rogue executor: see rogue.c. */
#ifndef VGPU_TESTS_DAEMON_ROGUE_H
#define VGPU_TESTS_DAEMON_ROGUE_H

/* Images of modules. */
#define ROGUE_BREAK_OUT  "break out"
#define ROGUE_DIE_SLOWLY "die slowly"

#define ROGUE_FLOOD       "flood"
#define ROGUE_FLOOD_LINES 200000u

/* What it writes into a buffer, behind the first ROGUE_HEAD bytes; the word there that ends it. */
#define ROGUE_BYTE    0xd1
#define ROGUE_HEAD    8u
#define ROGUE_RELEASE 0x1e7160u

#endif
