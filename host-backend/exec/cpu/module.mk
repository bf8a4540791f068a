# SPDX-License-Identifier: MIT
#
# The PTX machine: libptx.a.  The engine (ops_*.c, sched.c) is compiled twice, for plain x86-64 and for
# AVX2 + FMA; each build is joined into one object so that the archive's members keep distinct names.

PTX_DIR := host-backend/exec/cpu
PTX_ENGINE_SRC := $(addprefix $(PTX_DIR)/,sched.c ops_int.c ops_bits.c ops_cmp.c ops_float.c ops_cvt.c \
                    ops_half.c ops_mem.c ops_row.c ops_atom.c ops_warp.c ops_ctrl.c ops_async.c ops_video.c ops_scalar.c)
PTX_CORE_SRC := $(addprefix $(PTX_DIR)/,arena.c lex.c tables.c parse.c parse_dirs.c parse_var.c parse_body.c parse_inst.c \
                  parse_operand.c parse_call.c check_inst.c video.c video_scalar.c flow.c \
                  fold.c slots.c decode.c decode_operand.c decode_mem.c mem.c fatbin.c link.c module.c machine.c pool.c cta.c launch.c fault.c \
                  print.c)
# Every operation rounds once (no contraction); nothing here looks at floating-point exception flags or errno.
PTX_ENGINE_CFLAGS := $(if $(filter rel,$(VARIANT)),-O3) -ffp-contract=off -fno-math-errno -fno-trapping-math \
                     -Wno-pass-failed
# Kernels may race on their memory as they like: ThreadSanitizer watches the machine, not them.
PTX_ENGINE_CFLAGS += $(if $(filter tsan,$(VARIANT)),-fno-sanitize=thread)

$(eval $(call vgpu_lib,ptx_engine_base,$(PTX_ENGINE_SRC),$(PTX_ENGINE_CFLAGS) -DPTX_ENGINE=base))
$(eval $(call vgpu_lib,ptx_engine_avx2,$(PTX_ENGINE_SRC),$(PTX_ENGINE_CFLAGS) -DPTX_ENGINE=avx2 -mavx2 -mfma))
# Messages are cut at their buffers on purpose.
$(eval $(call vgpu_lib,ptx,$(PTX_CORE_SRC),-Wno-format-truncation $(if $(filter rel,$(VARIANT)),-O3)))

$(O)/obj/ptx/engine_%.o: $(O)/lib/libptx_engine_%.a
	@mkdir -p $(@D)
	$(Q)$(CC) -r -nostdlib -o $@ $(OBJS_ptx_engine_$*)

$(O)/lib/libptx.a: $(O)/obj/ptx/engine_base.o $(O)/obj/ptx/engine_avx2.o

# What a program that uses libptx links with.
PTX_LDLIBS := -lzstd -llz4 -lm -lpthread

$(eval $(call vgpu_prog,vgpu-bench-ptx,tests/bench/bench_ptx.c,ptx,$(PTX_LDLIBS),-O3))

$(eval $(call vgpu_test,ptx-exec,tests/unit/exec/cpu/test_ptx_exec.c tests/lib/ptx_run.c,ptx,$(PTX_LDLIBS)))
$(eval $(call vgpu_test,ptx-rows,tests/unit/exec/cpu/test_ptx_rows.c tests/lib/ptx_run.c,ptx,$(PTX_LDLIBS)))
$(eval $(call vgpu_test,ptx-hostile,tests/unit/exec/cpu/test_ptx_hostile.c tests/lib/big_text.c tests/lib/ptx_run.c,ptx,$(PTX_LDLIBS)))
$(eval $(call vgpu_test,ptx-runaway,tests/unit/exec/cpu/test_ptx_runaway.c tests/lib/big_text.c tests/lib/ptx_run.c,ptx,$(PTX_LDLIBS)))
$(eval $(call vgpu_test,ptx-approx,tests/unit/exec/cpu/test_ptx_approx.c tests/lib/ptx_run.c,ptx,$(PTX_LDLIBS) -lmpfr))
$(eval $(call vgpu_test,ptx-load,tests/unit/exec/cpu/test_ptx_load.c tests/lib/ptx_run.c,ptx,$(PTX_LDLIBS)))
# The references round as the kernels do: no contraction.
$(eval $(call vgpu_test,ptx-kernels,tests/unit/exec/cpu/test_ptx_kernels.c tests/lib/ptx_run.c,ptx,$(PTX_LDLIBS),-ffp-contract=off))
$(eval $(call vgpu_test,ptx-random,tests/unit/exec/cpu/test_ptx_random.c tests/lib/ptx_random.c tests/lib/ptx_run.c,ptx,$(PTX_LDLIBS)))
$(eval $(call vgpu_test,ptx-programs,$(addprefix tests/unit/exec/cpu/,test_ptx_programs.c programs_sorting.c programs_sync.c \
	programs_hashes.c programs_numeric.c programs_warps.c programs_modern.c \
	programs_language.c programs_library.c programs_opencl.c) tests/lib/ptx_run.c,ptx,$(PTX_LDLIBS),-ffp-contract=off))
