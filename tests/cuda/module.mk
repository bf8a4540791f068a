# SPDX-License-Identifier: MIT
# The fake CUDA driver: a shared library under the real one's name, in a folder of its own so that
# nothing finds it by accident.
FAKECUDA_SRC := $(wildcard tests/lib/fakecuda/*.c)
FAKECUDA_OBJ := $(patsubst %.c,$(O)/obj/fakecuda/%.o,$(FAKECUDA_SRC))
FAKECUDA     := $(O)/fakecuda/libcuda.so.1

$(FAKECUDA_OBJ): $(O)/obj/fakecuda/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  CC   $<";) $(CCACHE) $(CC) $(ALL_CFLAGS) -fvisibility=hidden -c -o $@ $<
$(FAKECUDA): $(FAKECUDA_OBJ) $(O)/lib/libptx.a
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  LD   $@";) $(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,libcuda.so.1 \
	    -Wl,--exclude-libs,ALL -o $@ $^ -lzstd -llz4 -lm -lpthread
-include $(FAKECUDA_OBJ:.o=.d)

# The same before CUDA 12.4.
FAKECUDA_OLD := $(O)/fakecuda-old/libcuda.so.1
$(O)/obj/fakecuda/old_module.o: tests/lib/fakecuda/fake_module.c
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  CC   $< (old)";) $(CCACHE) $(CC) $(ALL_CFLAGS) -fvisibility=hidden -DFAKE_OLD_DRIVER -c -o $@ $<
$(FAKECUDA_OLD): $(filter-out %/fake_module.o,$(FAKECUDA_OBJ)) $(O)/obj/fakecuda/old_module.o $(O)/lib/libptx.a
	@mkdir -p $(@D)
	$(Q)$(if $(V),,echo "  LD   $@";) $(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,libcuda.so.1 \
	    -Wl,--exclude-libs,ALL -o $@ $^ -lzstd -llz4 -lm -lpthread
-include $(O)/obj/fakecuda/old_module.d

PROGS += $(FAKECUDA) $(FAKECUDA_OLD)

# The executor's tests once more, for cuda.  The program names the fake driver itself.
$(eval $(call vgpu_test,exec-cuda,$(wildcard tests/unit/exec/cuda/*.c) $(addprefix tests/unit/exec/, \
  cpu_guest.c fake_vm.c guest.c test_exec_cpu.c test_exec_cpu_async.c test_exec_print.c),exec ptx,-lzstd -llz4, \
  -DCG_EXEC_KIND=VGPU_EXEC_CUDA -DFAKECUDA_PATH='"$(abspath $(O))/fakecuda/libcuda.so.1"' -Itests/unit/exec))
$(O)/test/exec-cuda: $(FAKECUDA)
