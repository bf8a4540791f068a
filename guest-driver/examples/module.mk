# SPDX-License-Identifier: MIT
#
# The example programs and vgpu-selftest, linked to the shared libvgpu.

EXAMPLE_COMPUTE := vecadd saxpy matmul reduce hello fault spin vgpu-speed
EXAMPLE_LIBS    := -L$(O)/lib -lvgpu -lpthread

$(foreach p,$(EXAMPLE_COMPUTE),$(eval \
  $(call vgpu_prog,$(p),guest-driver/examples/$(p).c guest-driver/examples/common.c,,$(EXAMPLE_LIBS))))
$(eval $(call vgpu_prog,vgpu-info,guest-driver/examples/vgpu-info.c,,$(EXAMPLE_LIBS)))
$(eval $(call vgpu_prog,vgpu-selftest,guest-driver/examples/vgpu-selftest.c \
  $(wildcard guest-driver/examples/selftest/*.c),,$(EXAMPLE_LIBS),-Iguest-driver/examples/selftest))

$(patsubst %,$(O)/bin/%,$(EXAMPLE_COMPUTE) vgpu-info vgpu-selftest): $(O)/lib/libvgpu.so
