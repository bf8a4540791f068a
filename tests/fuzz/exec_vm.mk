# SPDX-License-Identifier: MIT
#
# Hostile exec processes against their vm process, under libFuzzer (clang only).  Included by
# tests/fuzz/module.mk.  `make fuzz-exec_vm SECONDS=N` runs it; new inputs go to
# $(BUILD)/fuzz/corpus-exec_vm, the committed corpus is only read.

# No processes: who waits for one or kills one asks the target.
FUZZ_EXEC_VM_WRAP := -Xlinker --wrap=waitid -Xlinker --wrap=syscall
FUZZ_EXEC_VM_SRC  := tests/fuzz/fuzz_exec_vm.c \
                     $(wildcard host-backend/bus/*.c host-backend/device/*.c host-backend/daemon/vm*.c) \
                     $(addprefix host-backend/daemon/,loop.c log.c genlock.c isolation.c isolation_seccomp.c spawn.c)

$(BUILD)/fuzz/exec_vm: $(FUZZ_EXEC_VM_SRC) $(wildcard host-backend/*/*.h host-backend/device/*.def include/vgpu/*.h)
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  FUZZ $@";) $(FUZZ_CC) $(FUZZ_FLAGS) -DVGPU_VERSION='"fuzz"' -o $@ $(filter %.c,$^) \
	    $(FUZZ_EXEC_VM_WRAP) -lseccomp -ljson-c

.PHONY: fuzz-exec_vm
fuzz-exec_vm: $(BUILD)/fuzz/exec_vm
	@mkdir -p $(BUILD)/fuzz/corpus-exec_vm
	$(Q)$(BUILD)/fuzz/exec_vm -max_total_time=$(or $(SECONDS),20) -max_len=2048 -len_control=0 -timeout=10 \
	    -artifact_prefix=$(BUILD)/fuzz/exec_vm- -print_final_stats=1 \
	    $(BUILD)/fuzz/corpus-exec_vm tests/fuzz/corpus/exec_vm

$(eval $(call vgpu_test,corpus-exec_vm,tests/fuzz/replay_main.c tests/fuzz/replay.c tests/fuzz/fuzz_exec_vm.c, \
	daemon bus device,$(FUZZ_EXEC_VM_WRAP) -lseccomp -ljson-c,-DVGPU_CORPUS_DIR='"$(CURDIR)/tests/fuzz/corpus/exec_vm"'))
