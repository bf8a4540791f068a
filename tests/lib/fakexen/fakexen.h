/* SPDX-License-Identifier: MIT */
/*
 * A fake of Xen's user-space libraries: what a test says to it, and asks of it.
 *
 * One shared object under the names of all four libraries, with their ABI as in the public headers, which
 * the bus loads as it loads the real ones.  Behind them is one HVM domain: its memory, its ioreq servers
 * and event channels, and the messages it was sent.  What a call answers follows the comments of
 * those headers and xen/hvm/dm_op.h: an id that is no server's is ENOENT, a range or function that
 * a server of the domain has already is EEXIST, one that it has not is ENOENT, an event channel that is
 * bound already is EINVAL.
 *
 * A vCPU waits from its request until its slot has an answer and its event channel was signalled, as
 * in Xen: one that waits when its server is destroyed hangs.  A paused domain's
 * vCPUs are woken, but fetch nothing.
 *
 * For error paths and sanitizers only: what a guest sees is tested under the real Xen (tests/xen).
 * One thread; state is reset by fakexen_start(), and shared with processes that are forked afterwards.
 */
#ifndef VGPU_TESTS_FAKEXEN_H
#define VGPU_TESTS_FAKEXEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <xen/xen.h>
#include <xen/hvm/ioreq.h>

#define FAKEXEN_PAGE     4096u
#define FAKEXEN_PAGES    256u /* of the domain's memory, from address 0 */
#define FAKEXEN_READONLY 255u /* the last of them can't be mapped for writing */
#define FAKEXEN_MESSAGES 16u

struct fakexen_message {
    uint64_t addr;
    uint32_t data;
};

/* What is there now, and was done so far. */
struct fakexen_view {
    unsigned int handles; /* open, of all libraries */
    unsigned int servers;
    unsigned int ranges; /* of all servers */
    unsigned int functions;
    unsigned int pages; /* mapped: guest memory and request pages */
    unsigned int ports; /* bound */
    bool enabled;       /* the first server */
    unsigned int hung;  /* vCPUs that wait for a server that was destroyed */
    bool restricted;    /* all handles are, to the domain */
    unsigned int maps;  /* calls that mapped guest memory */
    unsigned int message_count;
    struct fakexen_message messages[FAKEXEN_MESSAGES]; /* the first ones */
};

/* A domain with this id and so many vCPUs (HVM; 0: a PV domain), and no server. */
void fakexen_start(domid_t domid, unsigned int vcpus);
/* Frees what a test has left. */
void fakexen_stop(void);
/* The nth call of a function from now on (1: the next) fails with this errno. */
void fakexen_fail(const char *function, unsigned int nth, int err);
/* Called at the start of each call that can fail, until fakexen_killed(); NULL: nothing is. */
void fakexen_on_call(void (*hook)(void));
/* Calls of it since fakexen_start(). */
unsigned int fakexen_calls(const char *function);
void fakexen_view(struct fakexen_view *view);
/* The process that owned the handles was killed, or a fork of it: Xen keeps the servers, not the handles. */
void fakexen_killed(void);
/* The domain dies: its servers go, and its vCPUs. */
void fakexen_domain_dies(void);

/* Is that address some server's? */
bool fakexen_is_ours(uint64_t addr);
/* The domain's memory, for the guest's side. */
uint8_t *fakexen_memory(void);
/* A vCPU makes a request of the first server, and waits for the answer. */
void fakexen_request(unsigned int vcpu, const ioreq_t *req);
/* The same in the middle of the next call of this function, before that does anything. */
void fakexen_request_during(const char *function, unsigned int vcpu, const ioreq_t *req);
void fakexen_pause(void);
/* The first server is another one, of the same id, without a function. */
void fakexen_server_replaced(void);
/* Has it been answered, and the vCPU woken?  Then *data is what it read. */
bool fakexen_answered(unsigned int vcpu, uint64_t *data);
/* The request's slot, to put it into a state by hand. */
ioreq_t *fakexen_slot(unsigned int vcpu);
/* An event on a port that is no vCPU's. */
void fakexen_stray_event(void);

#endif
