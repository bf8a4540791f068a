# SPDX-License-Identifier: MIT
#
# Tools for people on the host.

PTX_TOOL_SOURCES := $(addprefix host-backend/tools/vgpu-ptx,.c -args.c -cpu.c -cuda.c)
$(eval $(call vgpu_prog,vgpu-ptx,$(PTX_TOOL_SOURCES),exec ptx,$(PTX_LDLIBS) -ldl))

DM_SOURCES := $(addprefix host-backend/tools/vgpu-dm,.c -args.c -daemon.c)
$(eval $(call vgpu_prog,vgpu-dm,$(DM_SOURCES),daemon,-linih -ljson-c))
$(eval $(call vgpu_test,tools,$(wildcard tests/unit/tools/*.c) host-backend/tools/vgpu-dm-args.c,daemon,-linih -ljson-c))
# It starts the real ones.
$(O)/test/tools: $(O)/bin/vgpu-dm $(O)/bin/vgpuctl $(O)/bin/vgpud
