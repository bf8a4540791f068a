# SPDX-License-Identifier: MIT
#
# The vfio-user server under libFuzzer (clang only).  Included by tests/fuzz/module.mk.
# `make fuzz-vfio_user SECONDS=N` runs it; new inputs go to $(BUILD)/fuzz/corpus-vfio_user, the
# committed corpus is only read.

$(BUILD)/fuzz/vfio_user: tests/fuzz/fuzz_vfio_user.c tests/unit/bus/vu_fixture.c tests/unit/bus/idle_dev.c \
                         $(wildcard host-backend/bus/*.[ch] host-backend/device/*.[ch]) \
                         $(wildcard host-backend/device/*.def include/vgpu/*.h)
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  FUZZ $@";) $(FUZZ_CC) $(FUZZ_FLAGS) -DVUF_STANDALONE -o $@ $(filter %.c,$^) \
	    -ljson-c

.PHONY: fuzz-vfio_user
fuzz-vfio_user: $(BUILD)/fuzz/vfio_user
	@mkdir -p $(BUILD)/fuzz/corpus-vfio_user
	$(Q)$(BUILD)/fuzz/vfio_user -max_total_time=$(or $(SECONDS),20) -max_len=4096 -timeout=10 \
	    -artifact_prefix=$(BUILD)/fuzz/vfio_user- -print_final_stats=1 \
	    $(BUILD)/fuzz/corpus-vfio_user tests/fuzz/corpus/vfio_user
