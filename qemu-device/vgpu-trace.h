/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace events of the vGPU device.
 *
 * The device is built into QEMU as well as loaded into a stock one, and a
 * loaded object cannot have events of the kind that tracetool generates.  So
 * the events are described here and registered with QEMU's own event control:
 * they are listed and switched by name like any others (`-trace`, the monitor's
 * trace-event commands), and print to QEMU's log.
 *
 * To add one: a line in VGPU_TRACE_EVENTS, and VGPU_TRACE(name, format, ...)
 * where it happens.
 */
#ifndef VGPU_TRACE_H
#define VGPU_TRACE_H

#include "qemu/log.h"
#include "trace/control.h"

#define VGPU_TRACE_EVENTS(X) \
    X(conn_attempt)          \
    X(conn_state)            \
    X(conn_lost)             \
    X(conn_live)             \
    X(msg_send)              \
    X(msg_recv)              \
    X(reg_read)              \
    X(reg_write)             \
    X(doorbell_fd)           \
    X(doorbell_slow)         \
    X(doorbell_missed)       \
    X(dma_map)               \
    X(dma_unmap)             \
    X(dma_skip)              \
    X(iommu_notify)          \
    X(irq_notify)            \
    X(irq_route)             \
    X(device_reset)

#define VGPU_TRACE_DECLARE(name) extern TraceEvent vgpu_trace_##name;
VGPU_TRACE_EVENTS(VGPU_TRACE_DECLARE)
#undef VGPU_TRACE_DECLARE

#define VGPU_TRACE(name, fmt, ...)                                    \
    do {                                                              \
        if (trace_event_get_state_dynamic(&vgpu_trace_##name) &&      \
            qemu_loglevel_mask(LOG_TRACE)) {                          \
            qemu_log("vgpu_" #name " " fmt "\n", ##__VA_ARGS__);      \
        }                                                             \
    } while (0)

/* Make the events known to QEMU.  Once per process. */
void vgpu_trace_register(void);

/* Switch all events on or off. */
void vgpu_trace_enable_all(bool on);

#endif /* VGPU_TRACE_H */
