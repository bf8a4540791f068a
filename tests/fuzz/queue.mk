# SPDX-License-Identifier: MIT
#
# The drain of a context queue under libFuzzer (clang only).  Included by tests/fuzz/module.mk.
# `make fuzz-queue SECONDS=N` runs it; new inputs go to $(BUILD)/fuzz/corpus-queue, the committed corpus is
# only read.

FUZZ_QUEUE_SRC := tests/fuzz/fuzz_queue.c \
                  $(addprefix host-backend/exec/,ring.c validate.c dispatch.c call.c gbuf.c foreign.c)

$(BUILD)/fuzz/queue: $(FUZZ_QUEUE_SRC) $(wildcard host-backend/exec/*.h include/vgpu/*.h)
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  FUZZ $@";) $(FUZZ_CC) $(FUZZ_FLAGS) -fno-strict-aliasing -o $@ $(filter %.c,$^)

.PHONY: fuzz-queue
fuzz-queue: $(BUILD)/fuzz/queue
	@mkdir -p $(BUILD)/fuzz/corpus-queue
	$(Q)$(BUILD)/fuzz/queue -max_total_time=$(or $(SECONDS),20) -max_len=4096 -timeout=10 \
	    -artifact_prefix=$(BUILD)/fuzz/queue- -print_final_stats=1 \
	    $(BUILD)/fuzz/corpus-queue tests/fuzz/corpus/queue
