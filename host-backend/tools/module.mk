# SPDX-License-Identifier: MIT
#
# Tools for people on the host.

$(eval $(call vgpu_prog,vgpu-ptx,host-backend/tools/vgpu-ptx.c host-backend/tools/vgpu-ptx-args.c,ptx,$(PTX_LDLIBS)))
