# SPDX-License-Identifier: MIT
#
# libvgpu: the static library that unit tests link, and the shared one that
# programs use, from the same objects; and its pkg-config file.

LIBVGPU_SOURCES := $(wildcard guest-driver/lib/*.c)
LIBVGPU_SO      := $(O)/lib/libvgpu.so
LIBVGPU_REAL    := $(LIBVGPU_SO).1.$(VERSION)
LIBVGPU_PREFIX  ?= /usr/local
LIBVGPU_LIBDIR  ?= $(LIBVGPU_PREFIX)/lib

$(eval $(call vgpu_lib,vgpu,$(LIBVGPU_SOURCES),-fvisibility=hidden -Iguest-driver/lib))

LIBS += $(LIBVGPU_SO) $(O)/lib/pkgconfig/libvgpu.pc

$(LIBVGPU_REAL): $(OBJS_vgpu) guest-driver/lib/libvgpu.map
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  LD   $@";) $(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,libvgpu.so.1 \
		-Wl,--version-script=guest-driver/lib/libvgpu.map -Wl,--no-undefined-version \
		-o $@ $(OBJS_vgpu) -lpthread

$(LIBVGPU_SO): $(LIBVGPU_REAL)
	$(Q)ln -sfn $(notdir $(LIBVGPU_REAL)) $(LIBVGPU_SO).1
	$(Q)ln -sfn libvgpu.so.1 $@

$(O)/lib/pkgconfig/libvgpu.pc: guest-driver/lib/libvgpu.pc.in
	@mkdir -p $(@D)
	$(Q)sed -e 's|@prefix@|$(LIBVGPU_PREFIX)|; s|@libdir@|$(LIBVGPU_LIBDIR)|; s|@version@|$(VERSION)|' \
		$< >$@

$(eval $(call vgpu_test,libvgpu,tests/unit/lib/test_libvgpu.c tests/unit/lib/fake_kernel.c,vgpu,,-Iguest-driver/lib))
