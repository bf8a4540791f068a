/* SPDX-License-Identifier: MIT */
/*
 * The domain behind the fake libraries: see fakexen.h.  fakexen_calls.c has the libraries' functions.
 */
#include "fakexen_int.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct fakexen fakexen; /* of whole pages, as its alignment makes it */

/* A process that a test forks changes the same domain. */
static void share(void)
{
    static bool shared;

    if (!shared && mmap(&fakexen, sizeof(fakexen), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != &fakexen)
        abort();
    shared = true;
}

void fakexen_start(domid_t domid, unsigned int vcpus)
{
    share();
    fakexen_stop();
    fakexen.domid = domid;
    fakexen.vcpus = vcpus;
    fakexen.memory_file = memfd_create("guest memory", MFD_CLOEXEC);
    if (fakexen.memory_file < 0 || ftruncate(fakexen.memory_file, FAKEXEN_PAGES * FAKEXEN_PAGE) ||
        pipe2(fakexen.events, O_NONBLOCK | O_CLOEXEC))
        abort();
    fakexen.memory = mmap(NULL, FAKEXEN_PAGES * FAKEXEN_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
                          fakexen.memory_file, 0);
    if (fakexen.memory == MAP_FAILED)
        abort();
    fakexen.running = true;
}

void fakexen_stop(void)
{
    if (fakexen.running) {
        munmap(fakexen.memory, FAKEXEN_PAGES * FAKEXEN_PAGE);
        close(fakexen.memory_file);
        close(fakexen.events[0]);
        close(fakexen.events[1]);
    }
    memset(&fakexen, 0, sizeof(fakexen));
}

/* ---- Calls that fail ---- */

static struct fakexen_count *count_of(const char *function)
{
    struct fakexen_count *c = fakexen.counts;

    while (c->function && strcmp(c->function, function))
        c++;
    if (c == &fakexen.counts[FAKEXEN_FUNCTIONS])
        abort();
    c->function = function;
    return c;
}

bool fakexen_fails(const char *function)
{
    struct fakexen_count *c = count_of(function);

    if (fakexen.hook)
        fakexen.hook();
    c->calls++;
    if (fakexen.later.function && !strcmp(fakexen.later.function, function)) {
        fakexen.later.function = NULL;
        fakexen_request(fakexen.later.vcpu, &fakexen.later.req);
    }
    if (!c->fail_in || --c->fail_in)
        return false;
    errno = c->err;
    return true;
}

void fakexen_fail(const char *function, unsigned int nth, int err)
{
    struct fakexen_count *c = count_of(function);

    c->fail_in = nth;
    c->err = err;
}

void fakexen_on_call(void (*hook)(void))
{
    fakexen.hook = hook;
}

unsigned int fakexen_calls(const char *function)
{
    return count_of(function)->calls;
}

/* ---- What a test sees ---- */

void fakexen_view(struct fakexen_view *view)
{
    *view = fakexen.view;
    view->handles = (unsigned int)fakexen.handles[FAKEXEN_DM] + fakexen.handles[FAKEXEN_MEMORY] +
                    fakexen.handles[FAKEXEN_EVENTS];
    view->enabled = fakexen.servers[0].exists && fakexen.servers[0].enabled;
    for (unsigned int i = 0; i < FAKEXEN_SERVERS; i++) {
        const struct fakexen_server *s = &fakexen.servers[i];

        view->servers += s->exists;
        for (unsigned int j = 0; s->exists && j < FAKEXEN_RANGES; j++)
            view->ranges += s->ranges[j].used;
        view->functions += s->exists && s->functions;
    }
    for (unsigned int i = 0; i < FAKEXEN_PORTS; i++)
        view->ports += fakexen.ports[i].bound;
}

void fakexen_killed(void)
{
    memset(fakexen.handles, 0, sizeof(fakexen.handles));
    for (unsigned int i = 0; i < FAKEXEN_PORTS; i++)
        fakexen.ports[i].bound = fakexen.ports[i].masked = false;
    fakexen.view.pages = 0;
    fakexen.view.restricted = false;
    fakexen.hook = NULL;
}

void fakexen_domain_dies(void)
{
    fakexen.dying = true;
    memset(fakexen.servers, 0, sizeof(fakexen.servers));
    memset(fakexen.in_xen, 0, sizeof(fakexen.in_xen));
    fakexen.view.hung = 0;
}

void fakexen_pause(void)
{
    fakexen.paused = true;
}

void fakexen_server_replaced(void)
{
    fakexen_server_goes();
    fakexen.servers[0] = (struct fakexen_server){.exists = true, .enabled = true};
}

bool fakexen_is_ours(uint64_t addr)
{
    for (unsigned int i = 0; i < FAKEXEN_SERVERS; i++) {
        for (unsigned int j = 0; j < FAKEXEN_RANGES; j++) {
            const struct fakexen_range *r = &fakexen.servers[i].ranges[j];

            if (fakexen.servers[i].exists && r->used && addr >= r->start && addr <= r->end)
                return true;
        }
    }
    return false;
}

uint8_t *fakexen_memory(void)
{
    return fakexen.memory;
}

/* ---- The guest's side of the request page ---- */

ioreq_t *fakexen_slot(unsigned int vcpu)
{
    shared_iopage_t *page = (shared_iopage_t *)(void *)fakexen.requests;

    return &page->vcpu_ioreq[vcpu];
}

/* An event is seen once, and not again before the port has been unmasked. */
static void event(unsigned int port)
{
    struct fakexen_port *p = &fakexen.ports[port];
    const uint32_t number = port;

    if (!p->bound)
        return;
    if (p->masked)
        p->latched = true;
    else if (write(fakexen.events[1], &number, sizeof(number)) != sizeof(number))
        abort();
    p->masked = true;
}

void fakexen_unmask(unsigned int port)
{
    bool again = fakexen.ports[port].latched;

    fakexen.ports[port].masked = fakexen.ports[port].latched = false;
    if (again)
        event(port);
}

/* A server that is disabled gets nothing: the access has ended at once. */
void fakexen_request(unsigned int vcpu, const ioreq_t *req)
{
    ioreq_t *slot = fakexen_slot(vcpu);
    uint32_t port = slot->vp_eport;

    fakexen.in_xen[vcpu] = (struct fakexen_vcpu){.waits = fakexen.servers[0].enabled,
                                                 .answered = !fakexen.servers[0].enabled,
                                                 .data = ~0ull};
    if (!fakexen.servers[0].enabled)
        return;
    *slot = *req;
    slot->vp_eport = port;
    slot->state = STATE_IOREQ_READY;
    event(FAKEXEN_LOCAL + vcpu);
}

void fakexen_request_during(const char *function, unsigned int vcpu, const ioreq_t *req)
{
    fakexen.later = (struct fakexen_later){.function = function, .vcpu = vcpu, .req = *req};
}

void fakexen_notified(unsigned int vcpu)
{
    struct fakexen_vcpu *v = &fakexen.in_xen[vcpu];
    ioreq_t *slot = fakexen_slot(vcpu);

    if (!v->waits || slot->state != STATE_IORESP_READY)
        return;
    v->waits = false;
    if (fakexen.paused)
        return;
    v->answered = true;
    v->data = slot->data;
    slot->state = STATE_IOREQ_NONE;
}

void fakexen_server_goes(void)
{
    for (unsigned int i = 0; i < fakexen.vcpus; i++) {
        fakexen.view.hung += fakexen.in_xen[i].waits && fakexen_slot(i)->state != STATE_IOREQ_NONE;
        fakexen.in_xen[i].waits = false;
    }
}

bool fakexen_answered(unsigned int vcpu, uint64_t *data)
{
    if (!fakexen.in_xen[vcpu].answered)
        return false;
    *data = fakexen.in_xen[vcpu].data;
    return true;
}

void fakexen_stray_event(void)
{
    fakexen.ports[FAKEXEN_STRAY].bound = true;
    event(FAKEXEN_STRAY);
    fakexen.ports[FAKEXEN_STRAY].bound = false;
}
