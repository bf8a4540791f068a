/* SPDX-License-Identifier: MIT */
/*
 * Xen's libraries, loaded when a domain is to be served: a host without Xen needs none of them.
 * Only those whose ABI is stable; the functions have their own names and types.
 */
#ifndef VGPU_BUS_XEN_LIB_H
#define VGPU_BUS_XEN_LIB_H

#include <stddef.h>
#include <bus/guard.h>

#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xentoolcore.h>

#define XEN_FUNCTIONS(F)                                                                           \
    F(XENDEVICEMODEL, xendevicemodel_close)                                                        \
    F(XENDEVICEMODEL, xendevicemodel_create_ioreq_server)                                          \
    F(XENDEVICEMODEL, xendevicemodel_destroy_ioreq_server)                                         \
    F(XENDEVICEMODEL, xendevicemodel_get_ioreq_server_info)                                        \
    F(XENDEVICEMODEL, xendevicemodel_inject_msi)                                                   \
    F(XENDEVICEMODEL, xendevicemodel_map_io_range_to_ioreq_server)                                 \
    F(XENDEVICEMODEL, xendevicemodel_map_pcidev_to_ioreq_server)                                   \
    F(XENDEVICEMODEL, xendevicemodel_nr_vcpus)                                                     \
    F(XENDEVICEMODEL, xendevicemodel_open)                                                         \
    F(XENDEVICEMODEL, xendevicemodel_set_ioreq_server_state)                                       \
    F(XENDEVICEMODEL, xendevicemodel_unmap_io_range_from_ioreq_server)                             \
    F(XENDEVICEMODEL, xendevicemodel_unmap_pcidev_from_ioreq_server)                               \
    F(XENFOREIGNMEMORY, xenforeignmemory_close)                                                    \
    F(XENFOREIGNMEMORY, xenforeignmemory_map)                                                      \
    F(XENFOREIGNMEMORY, xenforeignmemory_map_resource)                                             \
    F(XENFOREIGNMEMORY, xenforeignmemory_open)                                                     \
    F(XENFOREIGNMEMORY, xenforeignmemory_unmap)                                                    \
    F(XENFOREIGNMEMORY, xenforeignmemory_unmap_resource)                                           \
    F(XENEVTCHN, xenevtchn_bind_interdomain)                                                       \
    F(XENEVTCHN, xenevtchn_close)                                                                  \
    F(XENEVTCHN, xenevtchn_fd)                                                                     \
    F(XENEVTCHN, xenevtchn_notify)                                                                 \
    F(XENEVTCHN, xenevtchn_open)                                                                   \
    F(XENEVTCHN, xenevtchn_pending)                                                                \
    F(XENEVTCHN, xenevtchn_unmask)                                                                 \
    F(XENTOOLCORE, xentoolcore_restrict_all)

#define XEN_LIB_MEMBER(lib, name) __typeof__(&name) name;
struct xen_lib {
    XEN_FUNCTIONS(XEN_LIB_MEMBER)
};
extern struct xen_lib xen_lib;

/* Load them, once.  0, or -ENOENT with one line in `why`. */
VGPU_MUST_CHECK int xen_lib_load(char *why, size_t why_bytes);

#endif /* VGPU_BUS_XEN_LIB_H */
