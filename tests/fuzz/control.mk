# SPDX-License-Identifier: MIT
#
# vgpud's sockets under libFuzzer (clang only).  Included by tests/fuzz/module.mk.
# `make fuzz-control SECONDS=N` runs it; new inputs go to $(BUILD)/fuzz/corpus-control, the committed
# corpus is only read.

# No processes: who starts one, waits for one or kills one asks the target.
FUZZ_CONTROL_WRAP := -Xlinker --wrap=waitid -Xlinker --wrap=kill -Xlinker --wrap=vgpu_spawn
FUZZ_CONTROL_SRC  := tests/fuzz/fuzz_control.c \
                     $(addprefix host-backend/daemon/,attach.c server.c control.c \
                     config.c probe.c loop.c log.c spawn.c)

$(BUILD)/fuzz/control: $(FUZZ_CONTROL_SRC) $(wildcard host-backend/daemon/*.h include/vgpu/*.h)
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  FUZZ $@";) $(FUZZ_CC) $(FUZZ_FLAGS) -DVGPU_VERSION='"fuzz"' -o $@ $(filter %.c,$^) \
	    $(FUZZ_CONTROL_WRAP) -linih -ljson-c

.PHONY: fuzz-control
fuzz-control: $(BUILD)/fuzz/control
	@mkdir -p $(BUILD)/fuzz/corpus-control
	$(Q)$(BUILD)/fuzz/control -max_total_time=$(or $(SECONDS),20) -max_len=2048 -len_control=0 -timeout=10 \
	    -artifact_prefix=$(BUILD)/fuzz/control- -print_final_stats=1 \
	    $(BUILD)/fuzz/corpus-control tests/fuzz/corpus/control

$(eval $(call vgpu_test,corpus-control,tests/fuzz/replay_main.c tests/fuzz/replay.c tests/fuzz/fuzz_control.c, \
	daemon,$(FUZZ_CONTROL_WRAP) -linih -ljson-c,-DVGPU_CORPUS_DIR='"$(CURDIR)/tests/fuzz/corpus/control"'))
