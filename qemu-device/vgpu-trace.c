/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Definition and registration of the trace events of vgpu-trace.h.
 *
 * A TraceEvent is what tracetool would generate for an event without the
 * "vcpu" property: an id (given at registration), a name, and a state word that
 * QEMU's event control sets.  Built into QEMU the events are registered before
 * the command line is parsed.  The plug-in registers them when it is loaded,
 * after `-trace` was handled, and has an argument of its own instead
 * (plugin.c).
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "vgpu-trace.h"

#define VGPU_TRACE_DEFINE(ev)                  \
    static uint16_t vgpu_trace_state_##ev;     \
    TraceEvent vgpu_trace_##ev = {             \
        .vcpu_id = TRACE_VCPU_EVENT_NONE,      \
        .name = "vgpu_" #ev,                   \
        .sstate = true,                        \
        .dstate = &vgpu_trace_state_##ev,      \
    };
VGPU_TRACE_EVENTS(VGPU_TRACE_DEFINE)

#define VGPU_TRACE_POINTER(ev) &vgpu_trace_##ev,
static TraceEvent *vgpu_trace_events[] = {
    VGPU_TRACE_EVENTS(VGPU_TRACE_POINTER)
    NULL,
};

void vgpu_trace_register(void)
{
    trace_event_register_group(vgpu_trace_events);
}

void vgpu_trace_enable_all(bool on)
{
    for (TraceEvent **ev = vgpu_trace_events; *ev; ev++) {
        trace_event_set_state_dynamic(*ev, on);
    }
}

trace_init(vgpu_trace_register);
