# SPDX-License-Identifier: MIT
# The exec process: drain, executors null, cpu and cuda.  Programs link `exec ptx` and PTX_LDLIBS.

EXEC_SOURCES := $(wildcard host-backend/exec/*.c host-backend/exec/null/*.c \
                  host-backend/exec/cpu/exec_cpu*.c host-backend/exec/cuda/*.c)
$(eval $(call vgpu_lib,exec,$(EXEC_SOURCES)))

$(eval $(call vgpu_test,exec,$(wildcard tests/unit/exec/*.c) tests/fuzz/fuzz_queue.c tests/fuzz/replay.c,\
	exec ptx,-lzstd -llz4,-DVGPU_CORPUS_DIR='"$(CURDIR)/tests/fuzz/corpus/queue"'))
