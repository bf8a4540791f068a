# SPDX-License-Identifier: MIT
#
# Tools for people on the host.

$(eval $(call vgpu_prog,vgpu-ptx,host-backend/tools/vgpu-ptx.c host-backend/tools/vgpu-ptx-args.c,ptx,$(PTX_LDLIBS)))

DM_SOURCES := $(addprefix host-backend/tools/vgpu-dm,.c -args.c -daemon.c)
$(eval $(call vgpu_prog,vgpu-dm,$(DM_SOURCES),daemon,-linih -ljson-c))
$(eval $(call vgpu_test,tools,$(wildcard tests/unit/tools/*.c) host-backend/tools/vgpu-dm-args.c,daemon,-linih -ljson-c))
# It starts the real ones.
$(O)/test/tools: $(O)/bin/vgpu-dm $(O)/bin/vgpuctl $(O)/bin/vgpud
