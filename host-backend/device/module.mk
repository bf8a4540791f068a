# SPDX-License-Identifier: MIT
# The device core, and its unit tests.

$(eval $(call vgpu_lib,device,$(addprefix host-backend/device/, \
        core.c regs.c queue.c admin.c sg.c ctx.c config.c msix.c)))
