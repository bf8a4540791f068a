# SPDX-License-Identifier: MIT
#
# One non-recursive makefile.  Each folder describes what it builds in a
# `module.mk` fragment with the three macros below; everything generated lands
# under $(BUILD)/$(VARIANT), so several variants live side by side:
#
#   rel    optimised, what is shipped and benchmarked
#   asan   AddressSanitizer + UndefinedBehaviorSanitizer, unit tests
#   tsan   ThreadSanitizer, daemon tests
#
# `make help` lists the targets.

BUILD   ?= build
VARIANT ?= rel
CC      ?= gcc
AR      ?= ar
V       ?=

VERSION := 0.1.0
O       := $(BUILD)/$(VARIANT)
Q       := $(if $(V),,@)
PYTHON  := /usr/bin/python3

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
        -Wpointer-arith -Wundef -Wvla -Wno-unused-parameter -Werror
BASE := -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DVGPU_VERSION='"$(VERSION)"' \
        -Iinclude -Ihost-backend -fno-strict-aliasing -fPIC -g -MMD -MP
HARDEN := -fstack-protector-strong

OPT_rel  := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
OPT_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -fsanitize=thread -fno-omit-frame-pointer
LD_rel   := -Wl,-z,relro,-z,now
LD_asan  := -fsanitize=address,undefined
LD_tsan  := -fsanitize=thread

ALL_CFLAGS  = $(BASE) $(WARN) $(HARDEN) $(OPT_$(VARIANT)) $(CFLAGS)
ALL_LDFLAGS = $(LD_$(VARIANT)) $(LDFLAGS)

LIBS :=
PROGS :=
TESTS :=

# $(call vgpu_lib,NAME,SOURCES[,EXTRA_CFLAGS])
define vgpu_lib
OBJS_$(1) := $$(patsubst %.c,$$(O)/obj/$(1)/%.o,$(2))
LIBS += $$(O)/lib/lib$(1).a
$$(OBJS_$(1)): $$(O)/obj/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(Q)$$(if $$(V),,echo "  CC   $$<";) $$(CC) $$(ALL_CFLAGS) $(3) -c -o $$@ $$<
$$(O)/lib/lib$(1).a: $$(OBJS_$(1))
	@mkdir -p $$(@D)
	$$(Q)rm -f $$@; $$(AR) rcs $$@ $$^
-include $$(OBJS_$(1):.o=.d)
endef

# $(call vgpu_prog,NAME,SOURCES,LIBNAMES,LDLIBS[,EXTRA_CFLAGS])
define vgpu_prog
PROGS += $$(O)/bin/$(1)
$$(eval $$(call vgpu_link,$(1),bin/$(1),$(2),$(3),$(4),$(5)))
endef

# $(call vgpu_test,NAME,SOURCES,LIBNAMES,LDLIBS[,EXTRA_CFLAGS]): a Check program
define vgpu_test
TESTS += $$(O)/test/$(1)
$$(eval $$(call vgpu_link,test-$(1),test/$(1),$(2),$(3),$(4) -lcheck -lsubunit -lm -lrt -lpthread,$(5) -Itests/lib))
endef

define vgpu_link
POBJS_$(1) := $$(patsubst %.c,$$(O)/obj/$(1)/%.o,$(3))
$$(POBJS_$(1)): $$(O)/obj/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(Q)$$(if $$(V),,echo "  CC   $$<";) $$(CC) $$(ALL_CFLAGS) $(6) -c -o $$@ $$<
$$(O)/$(2): $$(POBJS_$(1)) $$(patsubst %,$$(O)/lib/lib%.a,$(4))
	@mkdir -p $$(@D)
	$$(Q)$$(if $$(V),,echo "  LD   $$@";) $$(CC) $$(ALL_LDFLAGS) -o $$@ $$(POBJS_$(1)) $$(patsubst %,$$(O)/lib/lib%.a,$(4)) $(5)
-include $$(POBJS_$(1):.o=.d)
endef

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

include $(sort $(wildcard host-backend/*/module.mk host-backend/exec/*/module.mk \
                 guest-driver/*/module.mk qemu-device/module.mk tests/*/module.mk))

.PHONY: all tests
all: $(LIBS) $(PROGS)
tests: $(TESTS)
