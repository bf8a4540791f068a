/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the plug-in needs of the device: to make its type known.
 */
#ifndef VGPU_PCI_H
#define VGPU_PCI_H

/* Once per process.  A QEMU with the device built in does it by itself. */
void vgpu_pci_register_types(void);

#endif /* VGPU_PCI_H */
