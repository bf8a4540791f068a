# SPDX-License-Identifier: MIT
#
# The tiny HVM guest of the Xen tests: 32-bit and freestanding, so without the
# flags of everything else.
XEN_TINY := $(BUILD)/xen/tiny.elf

$(XEN_TINY): tests/xen/guest/tiny.c tests/xen/guest/head.S tests/xen/guest/tiny.ld \
             include/vgpu/hw.h $(RECIPES)
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  CC   $@";) $(CC) -m32 -O2 -Wall -Wextra -Werror -std=gnu11 -ffreestanding \
	    -fno-pic -fno-pie -no-pie -nostdlib -static -fno-stack-protector -mno-sse -Iinclude \
	    -Wl,-T,tests/xen/guest/tiny.ld -Wl,--build-id=none -Wl,--no-warn-rwx-segments \
	    -o $@ tests/xen/guest/head.S tests/xen/guest/tiny.c
