# SPDX-License-Identifier: MIT
# The exec process: drain, executors null and cpu.  Programs link `exec ptx` and what ptx needs.

EXEC_SOURCES := $(wildcard host-backend/exec/*.c) $(wildcard host-backend/exec/null/*.c)
EXEC_CPU := $(if $(wildcard host-backend/exec/cpu/module.mk),y)
ifeq ($(EXEC_CPU),y)
EXEC_SOURCES += $(wildcard host-backend/exec/cpu/exec_cpu*.c)
endif
$(eval $(call vgpu_lib,exec,$(EXEC_SOURCES),$(if $(EXEC_CPU),-DVGPU_WITH_CPU)))

EXEC_TESTS := $(wildcard tests/unit/exec/*.c)
$(eval $(call vgpu_test,exec,$(EXEC_TESTS),exec,))
