# SPDX-License-Identifier: MIT
# The exec process: drain, executors null and cpu.  Link `exec ptx` and the libraries ptx needs.
EXEC_SOURCES := $(wildcard host-backend/exec/*.c) $(wildcard host-backend/exec/null/*.c)
$(eval $(call vgpu_lib,exec,$(EXEC_SOURCES)))

EXEC_TESTS := $(addprefix tests/unit/exec/,main.c guest.c fake_vm.c test_process.c)
$(eval $(call vgpu_test,exec,$(EXEC_TESTS),exec,))
