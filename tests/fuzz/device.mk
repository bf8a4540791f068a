# SPDX-License-Identifier: MIT
#
# The device core under libFuzzer (clang only).  Included by tests/fuzz/module.mk.
# `make fuzz-device SECONDS=N` runs it; new inputs go to $(BUILD)/fuzz/corpus-device, the
# committed corpus is only read.

FUZZ_CC    ?= clang-14
FUZZ_FLAGS := -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
              -fno-omit-frame-pointer -std=gnu11 -D_GNU_SOURCE -Iinclude -Ihost-backend $(WARN)

$(BUILD)/fuzz/device: tests/fuzz/fuzz_device.c $(wildcard host-backend/device/*.[ch]) \
                      $(wildcard host-backend/device/*.def include/vgpu/*.h)
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  FUZZ $@";) $(FUZZ_CC) $(FUZZ_FLAGS) -o $@ $(filter %.c,$^)

.PHONY: fuzz-device
fuzz-device: $(BUILD)/fuzz/device
	@mkdir -p $(BUILD)/fuzz/corpus-device
	$(Q)$(BUILD)/fuzz/device -max_total_time=$(or $(SECONDS),20) -max_len=4096 -timeout=10 \
	    -artifact_prefix=$(BUILD)/fuzz/device- -print_final_stats=1 \
	    $(BUILD)/fuzz/corpus-device tests/fuzz/corpus/device
