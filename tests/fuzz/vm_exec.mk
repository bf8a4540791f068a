# SPDX-License-Identifier: MIT
#
# What a vm process tells an exec process, under libFuzzer (clang only).  Included by
# tests/fuzz/module.mk.  `make fuzz-vm_exec SECONDS=N` runs it; new inputs go to
# $(BUILD)/fuzz/corpus-vm_exec, the committed corpus is only read.

FUZZ_VM_EXEC_SRC := tests/fuzz/fuzz_vm_exec.c $(addprefix host-backend/exec/,control.c xsock.c gbuf.c foreign.c)

$(BUILD)/fuzz/vm_exec: $(FUZZ_VM_EXEC_SRC) $(wildcard host-backend/exec/*.h include/vgpu/*.h)
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  FUZZ $@";) $(FUZZ_CC) $(FUZZ_FLAGS) -o $@ $(filter %.c,$^)

.PHONY: fuzz-vm_exec
fuzz-vm_exec: $(BUILD)/fuzz/vm_exec
	@mkdir -p $(BUILD)/fuzz/corpus-vm_exec
	$(Q)$(BUILD)/fuzz/vm_exec -max_total_time=$(or $(SECONDS),20) -max_len=2048 -len_control=0 -timeout=10 \
	    -artifact_prefix=$(BUILD)/fuzz/vm_exec- -print_final_stats=1 \
	    $(BUILD)/fuzz/corpus-vm_exec tests/fuzz/corpus/vm_exec

$(eval $(call vgpu_test,corpus-vm_exec,tests/fuzz/replay_main.c tests/fuzz/replay.c tests/fuzz/fuzz_vm_exec.c, \
	exec,,-DVGPU_CORPUS_DIR='"$(CURDIR)/tests/fuzz/corpus/vm_exec"'))
