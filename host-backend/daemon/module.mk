# SPDX-License-Identifier: MIT
# vgpud (all roles in one binary) and vgpuctl.  Library `daemon`: everything but main().

DAEMON_DIR := host-backend/daemon
DAEMON_SOURCES := $(filter-out %/vgpud.c %/vgpuctl.c,$(wildcard $(DAEMON_DIR)/*.c))
DAEMON_LIBNAMES := daemon bus device exec $(if $(wildcard host-backend/exec/cpu/module.mk),ptx)
DAEMON_LDLIBS := -lseccomp -linih -ljson-c -lzstd -llz4 -ldl -lm -lpthread

$(eval $(call vgpu_lib,daemon,$(DAEMON_SOURCES)))
$(eval $(call vgpu_prog,vgpud,$(DAEMON_DIR)/vgpud.c $(TSAN_SOURCES),$(DAEMON_LIBNAMES),$(DAEMON_LDLIBS)))
$(eval $(call vgpu_prog,vgpuctl,$(DAEMON_DIR)/vgpuctl.c,daemon,-linih -ljson-c))

$(eval $(call vgpu_test,daemon,$(addprefix tests/unit/daemon/,main.c test_config.c test_small.c \
	test_loop.c test_process.c vm_fixture.c test_vm.c test_vgpud.c),$(DAEMON_LIBNAMES),$(DAEMON_LDLIBS)))
# It starts the real ones.
$(O)/test/daemon: $(O)/bin/vgpud $(O)/bin/vgpuctl
