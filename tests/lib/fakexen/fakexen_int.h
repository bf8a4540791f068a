/* SPDX-License-Identifier: MIT */
/* Private to the fake of Xen's libraries: the domain's state. */
#ifndef VGPU_TESTS_FAKEXEN_INT_H
#define VGPU_TESTS_FAKEXEN_INT_H

#include "fakexen.h"

#include <errno.h>

#define FAKEXEN_SERVERS   8u /* MAX_NR_IOREQ_SERVERS */
#define FAKEXEN_RANGES    8u
#define FAKEXEN_VCPUS     128u
#define FAKEXEN_REMOTE    16u  /* the guest's port of vCPU 0; others follow */
#define FAKEXEN_LOCAL     200u /* ours */
#define FAKEXEN_STRAY     (FAKEXEN_LOCAL + FAKEXEN_VCPUS)
#define FAKEXEN_PORTS     (FAKEXEN_STRAY + 1)
#define FAKEXEN_FUNCTIONS 40u

enum fakexen_library { FAKEXEN_DM, FAKEXEN_MEMORY, FAKEXEN_EVENTS, FAKEXEN_LIBRARIES };

struct fakexen_range {
    bool used;
    uint64_t start, end; /* inclusive */
};

struct fakexen_server {
    bool exists, enabled;
    uint32_t functions; /* a bit for each slot of the bus */
    struct fakexen_range ranges[FAKEXEN_RANGES];
};

struct fakexen_port {
    bool bound, masked, latched;
};

/* A vCPU in Xen: from its request until the answer is signalled, and what it read. */
struct fakexen_vcpu {
    bool waits, answered;
    uint64_t data;
};

/* A request that comes in the middle of a call. */
struct fakexen_later {
    const char *function; /* NULL: none */
    unsigned int vcpu;
    ioreq_t req;
};

struct fakexen_count {
    const char *function; /* a literal */
    unsigned int calls, fail_in;
    int err;
};

struct fakexen {
    bool running, dying, paused;
    domid_t domid;
    unsigned int vcpus; /* 0: not an HVM domain */
    int memory_file;
    uint8_t *memory;
    int events[2]; /* port numbers */
    unsigned int handles[FAKEXEN_LIBRARIES];
    struct fakexen_server servers[FAKEXEN_SERVERS];
    struct fakexen_port ports[FAKEXEN_PORTS];
    struct fakexen_vcpu in_xen[FAKEXEN_VCPUS];
    struct fakexen_later later;
    void (*hook)(void);
    struct fakexen_count counts[FAKEXEN_FUNCTIONS + 1];
    struct fakexen_view view; /* the counters; the rest is filled in when asked for */
    uint8_t requests[FAKEXEN_PAGE] __attribute__((aligned(4096)));
};

extern struct fakexen fakexen;

/* Count a call; true: it fails, errno is set. */
bool fakexen_fails(const char *function);
void fakexen_unmask(unsigned int port);
/* The vCPU's event channel was signalled. */
void fakexen_notified(unsigned int vcpu);
/* What waits for the server now waits for ever. */
void fakexen_server_goes(void);

#endif
