# SPDX-License-Identifier: MIT
#
# Simulated guests against the real vgpud: one program per subject, built beside
# bin/ so that each finds the daemon of its own variant.  Run by `make check-daemon`.

$(eval $(call vgpu_lib,daemonfix,tests/daemon/fixture.c tests/daemon/account.c tests/daemon/cuda_program.c,-Itests/lib))

# $(call daemon_test,NAME): what the simulated guest leaks is no concern of the daemon's.
define daemon_test
DAEMON_TESTS += $$(O)/daemon-test/$(1)
$$(eval $$(call vgpu_link,daemon-$(1),daemon-test/$(1),tests/daemon/test_$(1).c,daemonfix guestsim daemon,-lcheck -lsubunit -ljson-c -lm -lrt -lpthread,-Itests/lib -DVGPU_UNIT_LEAKS='"0"'))
endef

# vgpud with an executor that does what it likes (rogue/rogue.c).
$(eval $(call vgpu_link,vgpud-rogue,daemon-test/vgpud-rogue,tests/daemon/rogue/rogue.c $(DAEMON_DIR)/vgpud.c $(TSAN_SOURCES),$(DAEMON_LIBNAMES),$(DAEMON_LDLIBS)))
OF_ROGUE := $(addprefix $(O)/daemon-test/,hostile last_write)
$(OF_ROGUE): | $(O)/daemon-test/vgpud-rogue

DAEMON_TESTS :=
$(foreach t,$(patsubst tests/daemon/test_%.c,%,$(sort $(wildcard tests/daemon/test_*.c))),$(eval $(call daemon_test,$(t))))
# Part of check-cuda: it has vgpud load the fake driver.
OF_CUDA      := $(addprefix $(O)/daemon-test/,cuda cuda_calls cuda_quota)
DAEMON_TESTS := $(filter-out $(OF_CUDA),$(DAEMON_TESTS))
TESTS += $(OF_CUDA)
$(OF_CUDA): | $(O)/fakecuda/libcuda.so.1

# Sanitizers need what isolation refuses, and know no process that shares another's memory.
ifneq ($(VARIANT),rel)
DAEMON_TESTS := $(filter-out $(OF_ROGUE),$(DAEMON_TESTS))
endif
