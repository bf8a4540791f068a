/* SPDX-License-Identifier: MIT */
/*
 * A Xen bus under test: the real bus and device core on the fake of Xen's libraries.  The fake kernel
 * device of Dom0 (/dev/xen/privcmd) is part of the fixture: see xen_fixture.c.
 */
#ifndef VGPU_TESTS_UNIT_BUS_XEN_FIXTURE_H
#define VGPU_TESTS_UNIT_BUS_XEN_FIXTURE_H

#include <bus/xen.h>
#include <vgpu/hw.h>

#include "fakexen.h"

#define XF_DOMAIN 7
#define XF_VCPUS  2
#define XF_SLOT   6

struct xf {
    struct vgpu_xen *xen;
    struct vgpu_dev *dev;
    int state_fd;
    int privcmd_errno;  /* 0: Dom0 has its device */
    int restrict_errno; /* 0: and that can be narrowed */
    bool no_libraries;
    char why[200];
    /* recorded */
    uint32_t last_doorbell; /* UINT32_MAX: none */
    unsigned int logs;      /* warnings and worse */
    char log[200];          /* the last of them */
    unsigned int resets;
    void (*step)(void); /* called before the bus writes its file; NULL: nothing is */
};

extern struct xf xf;

void xf_setup(void);          /* a domain and a device, not opened */
void xf_setup_attached(void); /* and served */
void xf_teardown(void);       /* asserts that nothing is left */

int xf_open(void);
int xf_attach(void);
/* The process is killed: of the bus and the device, what is in Xen and in the file remains.  Another
 * process's device is there, to be attached. */
void xf_killed(void);
/* A call failed with that error, and one line that has this part in it. */
void xf_expect_why(int ret, int expected, const char *part);

/* A vCPU's access, served: what it read. */
uint64_t xf_access(unsigned int vcpu, const ioreq_t *req);
uint32_t xf_config_read(uint32_t offset, uint32_t bytes);
void xf_config_write(uint32_t offset, uint32_t bytes, uint32_t value);
uint64_t xf_read(uint64_t addr, uint32_t bytes);
void xf_write(uint64_t addr, uint32_t bytes, uint64_t value);
/* As firmware does: all BARs at XF_BAR(n), memory and bus mastering on. */
#define XF_BAR(n) (0xf0000000ull + ((uint64_t)(n) << 24))
void xf_place_bars(void);
/* As a driver does, once the BARs are placed.  A vector is masked until it is unmasked. */
#define XF_MSIX_ENTRY(vector) (XF_BAR(VGPU_BAR_MSIX) + VGPU_MSIX_TABLE_OFFSET + 16ull * (vector))
void xf_msix_enable(bool enable);
void xf_msix_program(unsigned int vector, uint64_t addr, uint32_t data);
void xf_msix_unmask(unsigned int vector);

#endif
