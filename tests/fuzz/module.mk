# SPDX-License-Identifier: MIT
#
# A fuzzer NAME is a fragment NAME.mk with a target fuzz-NAME; `make fuzz` runs them all.
FUZZERS := $(filter-out module,$(patsubst tests/fuzz/%.mk,%,$(sort $(wildcard tests/fuzz/*.mk))))
include $(addprefix tests/fuzz/,$(addsuffix .mk,$(FUZZERS)))

# Built beforehand, all at once, so that the time of a run is spent on fuzzing.
FUZZ_PROGS := $(addprefix $(BUILD)/fuzz/,$(FUZZERS))
