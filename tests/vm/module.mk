# SPDX-License-Identifier: MIT
#
# Programs that run in test guests; make-initramfs.sh takes bin/guest-*.
$(eval $(call vgpu_prog,guest-failnth,tests/vm/guest/failnth.c,,))
$(eval $(call vgpu_prog,guest-dma,tests/vm/guest/dma.c,,))
$(eval $(call vgpu_prog,guest-linger,tests/vm/guest/linger.c,,-L$(O)/lib -lvgpu -lpthread))
$(O)/bin/guest-linger: $(O)/lib/libvgpu.so
$(eval $(call vgpu_prog,guest-eventfd,tests/vm/guest/eventfd.c,,))
$(eval $(call vgpu_prog,guest-fuzz,tests/vm/guest/fuzz.c,,))
