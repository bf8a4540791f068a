# SPDX-License-Identifier: MIT
#
# The PTX loader and engine under libFuzzer (clang only).  Included by tests/fuzz/module.mk.
# `make fuzz-ptx SECONDS=N` runs it; new inputs go to $(BUILD)/fuzz/corpus-ptx, the committed corpus is only read.

FUZZ_PTX_CC    := $(or $(FUZZ_CC),clang-14)
FUZZ_PTX_FLAGS := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
                  -std=gnu11 -D_GNU_SOURCE -Iinclude -Ihost-backend -fno-strict-aliasing -ffp-contract=off -Wno-pass-failed
FUZZ_PTX_DIR   := $(BUILD)/fuzz/ptx-obj
FUZZ_PTX_OBJS  := $(patsubst %.c,$(FUZZ_PTX_DIR)/core/%.o,$(PTX_CORE_SRC) tests/fuzz/fuzz_ptx.c) \
                  $(patsubst %.c,$(FUZZ_PTX_DIR)/base/%.o,$(PTX_ENGINE_SRC)) \
                  $(patsubst %.c,$(FUZZ_PTX_DIR)/avx2/%.o,$(PTX_ENGINE_SRC))

$(FUZZ_PTX_DIR)/core/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CCACHE) $(FUZZ_PTX_CC) $(FUZZ_PTX_FLAGS) -c -o $@ $<
$(FUZZ_PTX_DIR)/base/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CCACHE) $(FUZZ_PTX_CC) $(FUZZ_PTX_FLAGS) -DPTX_ENGINE=base -c -o $@ $<
$(FUZZ_PTX_DIR)/avx2/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CCACHE) $(FUZZ_PTX_CC) $(FUZZ_PTX_FLAGS) -DPTX_ENGINE=avx2 -mavx2 -mfma -c -o $@ $<

$(FUZZ_PTX_OBJS): $(wildcard host-backend/exec/cpu/*.h host-backend/exec/cpu/*.def)

$(BUILD)/fuzz/ptx: $(FUZZ_PTX_OBJS)
	$(Q)$(if $(V),,echo "  FUZZ $@";) $(FUZZ_PTX_CC) -fsanitize=fuzzer,address,undefined -o $@ $^ $(PTX_LDLIBS)

.PHONY: fuzz-ptx
fuzz-ptx: $(BUILD)/fuzz/ptx
	@mkdir -p $(BUILD)/fuzz/corpus-ptx
	$(Q)$(BUILD)/fuzz/ptx -max_total_time=$(or $(SECONDS),20) -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
	    -artifact_prefix=$(BUILD)/fuzz/ptx- -print_final_stats=1 -dict=tests/fuzz/ptx.dict \
	    $(BUILD)/fuzz/corpus-ptx tests/fuzz/corpus/ptx
