# SPDX-License-Identifier: MIT
#
# guestsim: a guest without a virtual machine; vgpud_proc: a vgpud to test against.

$(eval $(call vgpu_lib,guestsim,$(wildcard tests/lib/guestsim_*.c) tests/lib/vgpud_proc.c,-Itests/lib))
