# SPDX-License-Identifier: MIT
#
# One non-recursive makefile.  Each folder describes what it builds in a
# `module.mk` fragment with the three macros below; everything generated lands
# under $(BUILD)/$(VARIANT), so several variants live side by side:
#
#   rel    optimised, what is shipped and benchmarked
#   asan   AddressSanitizer + UndefinedBehaviorSanitizer, unit tests
#   tsan   ThreadSanitizer, daemon tests
#
# `make help` lists the targets.

BUILD   ?= build
JOBS    ?= $(shell nproc)
# Of the tests without guests, many wait for a time-out or for each other's end.
TEST_JOBS = $(shell echo $$(($(JOBS) + 1)))
VARIANT ?= rel
ifeq ($(origin CC),default)
CC := gcc
endif
AR      ?= ar
V       ?=

# Objects are kept outside the tree where ccache is installed, so that a fresh
# clone compiles only what changed.  NO_CCACHE=1 does without.
CCACHE := $(if $(NO_CCACHE),,$(shell command -v ccache 2>/dev/null))
export CCACHE_DIR     ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vgpu/ccache
export CCACHE_MAXSIZE ?= 2G
export CCACHE_BASEDIR ?= $(CURDIR)

VERSION := 0.1.0
O       := $(BUILD)/$(VARIANT)
Q       := $(if $(V),,@)
PYTHON  := /usr/bin/python3

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
        -Wpointer-arith -Wundef -Wvla -Wno-unused-parameter -Werror
BASE := -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DVGPU_VERSION='"$(VERSION)"' \
        -Iinclude -Ihost-backend -fno-strict-aliasing -fPIC -g \
        -fdebug-prefix-map=$(CURDIR)=. -MMD -MP
HARDEN := -fstack-protector-strong

OPT_rel  := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
OPT_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# gcc warns of fences under TSan, which it does not model; ours are exercised by stress tests as well
OPT_tsan := -O1 -fsanitize=thread -fno-omit-frame-pointer $(if $(findstring clang,$(CC)),,-Wno-tsan)
LD_rel   := -Wl,-z,relro,-z,now
LD_asan  := -fsanitize=address,undefined
LD_tsan  := -fsanitize=thread
# Of a vgpud that is built with ThreadSanitizer.
TSAN_SOURCES := $(if $(filter tsan,$(VARIANT)),tests/lib/tsan.c)

ALL_CFLAGS  = $(BASE) $(WARN) $(HARDEN) $(OPT_$(VARIANT)) $(CFLAGS)
ALL_LDFLAGS = $(LD_$(VARIANT)) $(LDFLAGS)

# Objects are built anew when the flags may have changed.
FRAGMENTS := $(sort $(wildcard host-backend/*/module.mk host-backend/exec/*/module.mk \
               guest-driver/*/module.mk qemu-device/module.mk tests/*/module.mk))
RECIPES   := Makefile $(FRAGMENTS)

LIBS :=
PROGS :=
TESTS :=

# $(call vgpu_lib,NAME,SOURCES[,EXTRA_CFLAGS])
define vgpu_lib
OBJS_$(1) := $$(patsubst %.c,$$(O)/obj/$(1)/%.o,$(2))
LIBS += $$(O)/lib/lib$(1).a
$$(OBJS_$(1)): $$(O)/obj/$(1)/%.o: %.c $$(RECIPES)
	@mkdir -p $$(@D)
	$$(Q)$$(if $$(V),,echo "  CC   $$<";) $$(CCACHE) $$(CC) $$(ALL_CFLAGS) $(3) -c -o $$@ $$<
$$(O)/lib/lib$(1).a: $$(OBJS_$(1))
	@mkdir -p $$(@D)
	$$(Q)rm -f $$@; $$(AR) rcs $$@ $$^
-include $$(OBJS_$(1):.o=.d)
endef

# $(call vgpu_prog,NAME,SOURCES,LIBNAMES,LDLIBS[,EXTRA_CFLAGS])
define vgpu_prog
PROGS += $$(O)/bin/$(1)
$$(eval $$(call vgpu_link,$(1),bin/$(1),$(2),$(3),$(4),$(5)))
endef

# $(call vgpu_test,NAME,SOURCES,LIBNAMES,LDLIBS[,EXTRA_CFLAGS]): a Check program
define vgpu_test
TESTS += $$(O)/test/$(1)
$$(eval $$(call vgpu_link,test-$(1),test/$(1),$(2),$(3),$(4) -lcheck -lsubunit -lm -lrt -lpthread,$(5) -Itests/lib))
endef

# PORTABLE=1 links everything but glibc statically, for a machine that has nothing but that.
STATIC_LDLIBS := -lseccomp -linih -ljson-c -lzstd -llz4
vgpu_ldlibs = $(if $(PORTABLE),$(foreach l,$(1),$(if $(filter $(STATIC_LDLIBS),$(l)),$(l:-l%=-l:lib%.a),$(l))),$(1))

# A program's isolated processes are of another user, whatever the umask is.
define vgpu_link
POBJS_$(1) := $$(patsubst %.c,$$(O)/obj/$(1)/%.o,$(3))
$$(POBJS_$(1)): $$(O)/obj/$(1)/%.o: %.c $$(RECIPES)
	@mkdir -p $$(@D)
	$$(Q)$$(if $$(V),,echo "  CC   $$<";) $$(CCACHE) $$(CC) $$(ALL_CFLAGS) $(6) -c -o $$@ $$<
$$(O)/$(2): $$(POBJS_$(1)) $$(patsubst %,$$(O)/lib/lib%.a,$(4))
	@mkdir -p $$(@D)
	$$(Q)$$(if $$(V),,echo "  LD   $$@";) $$(CC) $$(ALL_LDFLAGS) -o $$@ $$(POBJS_$(1)) $$(patsubst %,$$(O)/lib/lib%.a,$(4)) $$(call vgpu_ldlibs,$(5))
	$$(Q)chmod a+rx $$@
-include $$(POBJS_$(1):.o=.d)
endef

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:

include $(FRAGMENTS)

.PHONY: all tests
all: $(LIBS) $(PROGS)
tests: $(TESTS)

# ---- The commands a person types -------------------------------------------
#
# Each sets itself up (apt included) and can be run alone.  `check` is made of
# groups; every group writes $(BUILD)/results/GROUP.json and ends with a line
# "N passed, N failed[, N skipped]", and `check` ends with their sum.

RUN_TAP := $(PYTHON) tests/lib/run-tap.py --build $(BUILD)
SUM     := $(PYTHON) tests/lib/sum-results.py --build $(BUILD)

.PHONY: help setup-build setup-check setup-vm qemu plugin module initramfs programs demo evidence \
        bench fuzz lint check check-unit check-daemon check-fuzz check-qtest check-vm check-cuda \
        check-xen check-long check-debug-kernel check-faults check-recovery check-matrix \
        check-stock-qemu check-churn check-csmith check-ptx clean \
        run-unit run-daemon run-cuda run-ptx list-tests

help:
	@echo "vgpu $(VERSION): a GPU that virtual machines share"
	@echo
	@echo "  make demo          build everything, boot two guests, run kernels in both, print the table"
	@echo "  make check         every test that needs no GPU: lint, then the groups below, then their sum"
	@echo "    check-unit         unit tests under ASan+UBSan; what has threads also under TSan"
	@echo "    check-daemon       simulated guests against the real vgpud, and under both sanitizers"
	@echo "    check-fuzz         each fuzzer for 10 s"
	@echo "    check-cuda         the cuda executor on a fake driver behind the real vgpud; its declarations against cuda.h"
	@echo "    check-qtest        the QEMU device without a guest"
	@echo "    check-vm           real guests in QEMU"
	@echo "    check-xen          guests of a real Xen with its Dom0, under emulation"
	@echo "  make check-ptx     of the unit tests, those of the PTX machine"
	@echo "  make check-faults  of the real guests, those in which something fails"
	@echo "  make check-long    what takes longer: check-recovery (the back end killed 50 times),"
	@echo "                     check-matrix (every kind of guest: processors, DMA, QEMU, memory, kernel),"
	@echo "                     check-churn (the device opened 10,000 times, the driver loaded 100 times),"
	@echo "                     check-stock-qemu (a recent QEMU's own vfio-user client),"
	@echo "                     check-csmith (random C programs as kernels, SEEDS=N of them),"
	@echo "                     check-xen-long (fifty domains of Xen; the stock kernel in two),"
	@echo "                     check-gpu-bundle (gpu-check from its bundle, on no GPU), and"
	@echo "                     check-debug-kernel (a guest kernel with KASAN and lockdep)"
	@echo "  make bench         transport and interpreter figures beside their floors (build/bench.json)"
	@echo "  make evidence      the demo on QEMU and on Xen as a report (build/evidence/report.md, .json)"
	@echo "  make fuzz          run the fuzzers, SECONDS=N each (default 20)"
	@echo "  make gpu-check     on a machine with an NVIDIA GPU: probe, conformance, faults, quota, benchmarks;"
	@echo "                     STAGE=name runs one, DEVICE=uuid names the GPU, HMM=allow accepts HMM,"
	@echo "                     AGAIN=1 repeats what passed"
	@echo "  make gpu-bundle    gpu-check with everything it needs, for a machine that can't build it"
	@echo "  make lint          style, include directions, licences, spec against headers"
	@echo "  make all           host and guest programs only"
	@echo "  make install       the host's programs and manual pages into PREFIX (/usr/local)"
	@echo "  make clean         remove $(BUILD); caches stay in \$${XDG_CACHE_HOME:-~/.cache}/vgpu"
	@echo
	@echo "Variables: BUILD=dir (build), JOBS=N (all cores), VARIANT=rel|asan|tsan, V=1 for full command lines,"
	@echo "           NO_CCACHE=1 to compile everything anew"

setup-build:
	@scripts/setup.sh build
setup-check:
	@scripts/setup.sh check lint guest
setup-vm: setup-build
	@scripts/setup.sh vm

# The external parts: cached by their scripts, keyed by version and contents.
qemu: setup-vm
	@scripts/build-qemu.sh
plugin: setup-vm
	@scripts/build-plugin.sh
module: setup-vm
	@scripts/build-module.sh cloud-amd64
programs: setup-build
	@$(MAKE) -j$(JOBS) --no-print-directory VARIANT=rel all
initramfs: setup-vm module programs
	@BUILD=$(BUILD) scripts/make-initramfs.sh

demo: qemu initramfs
	@$(PYTHON) scripts/demo.py --build $(BUILD)
evidence: qemu initramfs xen-images
	@$(PYTHON) scripts/evidence.py --build $(BUILD)

list-tests:
	@printf '%s\n' $(TESTS) $(DAEMON_TESTS)
# ThreadSanitizer is for what has threads, or talks to another process through shared memory.
TSAN_TESTS := $(addprefix $(O)/test/,libvgpu bus daemon exec exec-cuda ptx-exec)
# The longest first, so that the cores end together.
LONGEST    := %/daemon-test/cuda %/test/exec %/test/ptx-programs
UNIT_TESTS  = $(if $(filter tsan,$(VARIANT)),$(TSAN_TESTS),$(filter $(LONGEST),$(TESTS)) $(filter-out $(LONGEST),$(TESTS)))

run-unit: $(UNIT_TESTS) $(O)/bin/vgpud
	@$(RUN_TAP) --jobs $(TEST_JOBS) unit-$(VARIANT) $(UNIT_TESTS)
run-daemon: $(O)/bin/vgpud $(O)/bin/vgpuctl $(DAEMON_TESTS)
	@$(RUN_TAP) --jobs $(TEST_JOBS) daemon-$(VARIANT) $(DAEMON_TESTS)

check-unit: setup-check
	@rc=0; for v in asan tsan; do \
	    $(MAKE) -j$(JOBS) --no-print-directory VARIANT=$$v run-unit || rc=1; done; \
	 $(SUM) unit-asan unit-tsan || rc=1; exit $$rc
check-daemon: setup-check
	@rc=0; for v in rel asan tsan; do \
	    $(MAKE) -j$(JOBS) --no-print-directory VARIANT=$$v run-daemon || rc=1; done; \
	 $(SUM) daemon-rel daemon-asan daemon-tsan || rc=1; exit $$rc
run-ptx: $(filter $(O)/test/ptx-%,$(TESTS))
	@$(RUN_TAP) ptx $^
check-ptx: setup-check
	@$(MAKE) -j$(JOBS) --no-print-directory VARIANT=asan run-ptx
check-cuda: setup-check qemu initramfs
	@rc=0; $(MAKE) -j$(JOBS) --no-print-directory run-cuda || rc=1; \
	 $(RUN_TAP) --jobs $(JOBS) cuda $(sort $(wildcard tests/cuda/test_*.py)) || rc=1; \
	 $(SUM) cuda-daemon cuda || rc=1; exit $$rc
# The daemon's tests once more, with the cuda executor on the fake driver, and those of its own.
CUDA_DAEMON_TESTS := $(addprefix $(O)/daemon-test/,compute cuda cuda_calls cuda_quota faults kernel load refusals)
run-cuda: $(O)/bin/vgpud $(O)/bin/vgpuctl $(FAKECUDA) $(CUDA_DAEMON_TESTS)
	@VGPU_TEST_EXECUTOR=cuda $(RUN_TAP) --jobs $(TEST_JOBS) cuda-daemon $(CUDA_DAEMON_TESTS)

# For a machine with an NVIDIA driver, which may have no package registry: sets nothing up.
.PHONY: gpu-programs gpu-check
gpu-programs: $(addprefix $(O)/bin/,vgpud vgpuctl vgpu-gpu-check)
gpu-check:
	@$(PYTHON) scripts/gpu-check.py --build $(BUILD) $(if $(STAGE),--stage $(STAGE)) $(if $(VM),--vm) \
	    $(if $(DEVICE),--device $(DEVICE)) $(if $(HMM),--hmm $(HMM)) $(if $(AGAIN),--again) \
	    $(if $(QUICK),--quick)
# The same for a machine that can't build: one archive, BUILD/gpu-bundle.tar.gz.
.PHONY: gpu-bundle check-gpu-bundle
gpu-bundle: qemu initramfs
	@$(MAKE) -j$(JOBS) --no-print-directory BUILD=$(BUILD)/portable VARIANT=rel PORTABLE=1 gpu-programs
	@BUILD=$(BUILD) scripts/make-gpu-bundle.sh
check-gpu-bundle: gpu-bundle programs
	@$(RUN_TAP) --timeout 1200 gpu-bundle tests/cuda/long/test_gpu_bundle.py
# vgpud with an executor that does what it likes.
.PHONY: rogue
rogue: setup-build
	@$(MAKE) -j$(JOBS) --no-print-directory VARIANT=rel $(BUILD)/rel/daemon-test/vgpud-rogue
check-qtest: qemu plugin programs
	@$(RUN_TAP) --jobs $(TEST_JOBS) qtest $(sort $(wildcard tests/qtest/test_*.py))
check-vm: qemu plugin initramfs rogue
	@$(RUN_TAP) --jobs $(JOBS) vm $(sort $(wildcard tests/vm/test_*.py))

# The kernel and the Dom0 come before the tests, whose time limit is not for building.
.PHONY: xen-images check-xen-long
xen-images: programs
	@scripts/setup.sh xen
	@scripts/build-kernel.sh xen >/dev/null
	@scripts/build-xen-dom0.sh >/dev/null
	@$(MAKE) --no-print-directory $(XEN_TINY)
check-xen-long: xen-images
	@$(RUN_TAP) --timeout 7200 xen-long $(sort $(wildcard tests/xen/long/test_*.py))
check-xen: xen-images
	@$(RUN_TAP) xen $(sort $(wildcard tests/xen/test_*.py))

# Of check-vm, the tests that make something fail.
FAULT_TESTS := $(addprefix tests/vm/test_,faults.py recovery.py lifecycle.py viommu.py driver.py boot.py linger.py liar.py)
check-faults: qemu plugin initramfs rogue
	@$(RUN_TAP) faults $(FAULT_TESTS)
check-recovery: qemu plugin initramfs
	@$(RUN_TAP) --timeout 7200 recovery tests/vm/long/test_recovery.py
check-matrix: qemu plugin initramfs
	@$(RUN_TAP) --timeout 7200 matrix tests/vm/long/test_matrix.py
check-churn: qemu initramfs
	@$(RUN_TAP) --timeout 3600 churn tests/vm/long/test_churn.py
check-csmith: programs
	@scripts/setup.sh csmith
	@BUILD=$(abspath $(BUILD)) $(if $(SEEDS),VGPU_CSMITH_SEEDS=$(SEEDS)) $(RUN_TAP) --timeout 36000 csmith \
	    tests/csmith/test_csmith.py
check-stock-qemu: setup-vm initramfs
	@scripts/build-newer-qemu.sh >/dev/null
	@$(RUN_TAP) --timeout 3600 stock-qemu tests/vm/long/test_newer_qemu.py

check-debug-kernel: qemu initramfs rogue
	@scripts/setup.sh guest-kernel
	@scripts/build-kernel.sh debug
	@$(RUN_TAP) --timeout 14400 debug-kernel $(addprefix tests/vm/long/test_,debug_kernel.py debug_faults.py fuzz.py)
check-long:
	@rc=0; for g in check-recovery check-matrix check-stock-qemu check-churn check-csmith check-gpu-bundle check-xen-long check-debug-kernel; do \
	    echo "=== $$g"; $(MAKE) --no-print-directory $$g || rc=1; done; exit $$rc

# Xen's Dom0 has one processor, so its tests go beside those of QEMU's guests.
CHECK_GROUPS := lint unit-asan unit-tsan daemon-rel daemon-asan daemon-tsan fuzz cuda-daemon cuda qtest vm xen
check:
	@rm -rf $(BUILD)/results
	@rc=0; for g in lint check-unit check-daemon check-fuzz check-cuda check-qtest; do \
	    echo "=== $$g"; $(MAKE) --no-print-directory $$g || rc=1; done; \
	 echo "=== check-vm, check-xen"; $(MAKE) --no-print-directory -k -j2 check-vm check-xen || rc=1; \
	 echo "=== total"; $(SUM) $(CHECK_GROUPS) || rc=1; exit $$rc

lint: setup-check
	@BUILD=$(BUILD) scripts/lint.sh

bench: programs
	@$(PYTHON) scripts/bench-report.py --build $(BUILD)

fuzz: setup-check
	@+$(MAKE) --no-print-directory -j$(JOBS) $(FUZZ_PROGS)
	@+$(MAKE) --no-print-directory $(addprefix fuzz-,$(FUZZERS)) fuzz-ioctl
# The driver's system calls, by random programs in a guest whose kernel checks itself.
.PHONY: fuzz-ioctl
fuzz-ioctl: qemu initramfs
	@scripts/setup.sh debug-kernel
	@scripts/build-kernel.sh debug
	@VGPU_FUZZ_SECONDS=$(or $(SECONDS),20) $(RUN_TAP) --timeout 36000 fuzz-ioctl tests/vm/long/test_fuzz.py
check-fuzz: setup-check
	@$(MAKE) --no-print-directory -j$(JOBS) $(FUZZ_PROGS)
	@$(RUN_TAP) fuzz tests/fuzz/test_fuzzers.py

# What a host needs, in its places; DESTDIR for packages.
PREFIX ?= /usr/local
MAN1 := vgpuctl vgpu-ptx
MAN8 := vgpud vgpu-dm
.PHONY: install
install: $(addprefix $(O)/bin/,vgpud vgpuctl vgpu-dm vgpu-ptx)
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,sbin bin share/man/man1 share/man/man5 share/man/man8)
	install -m 755 $(addprefix $(O)/bin/,vgpud vgpuctl vgpu-dm) $(DESTDIR)$(PREFIX)/sbin
	install -m 755 $(O)/bin/vgpu-ptx $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(MAN1:%=docs/man/%.1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 docs/man/vgpud.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 $(MAN8:%=docs/man/%.8) $(DESTDIR)$(PREFIX)/share/man/man8

clean:
	rm -rf $(BUILD)
