# SPDX-License-Identifier: MIT
# The buses: vfio-user, the DMA table, the interrupt vectors.

BUS_DIR := host-backend/bus

$(eval $(call vgpu_lib,bus,$(addprefix $(BUS_DIR)/,guard.c dma.c irqs.c vfio_user.c \
	vfio_user_cmd.c vfio_user_irq.c xen.c xen_attach.c xen_ioreq.c xen_lib.c \
	xen_memory.c xen_state.c)))

# The fake of Xen's libraries: one shared object under the names of all of them, in a folder of
# its own, where nothing finds it by accident.
FAKEXEN_DIR := $(abspath $(O))/fakexen
FAKEXEN     := $(O)/fakexen/libfakexen.so $(patsubst %,$(O)/fakexen/libxen%.so.1,devicemodel foreignmemory evtchn toolcore)
FAKEXEN_LDLIBS := -Wl,--wrap=open64 -Wl,--wrap=ioctl -Wl,--wrap=pwrite64 -Wl,--wrap=dlopen -L$(FAKEXEN_DIR) -Wl,-rpath,$(FAKEXEN_DIR) -lfakexen
$(eval $(call vgpu_link,fakexen,fakexen/libfakexen.so,$(wildcard tests/lib/fakexen/*.c),,-shared))
$(filter %.so.1,$(FAKEXEN)): $(O)/fakexen/libfakexen.so
	@ln -sf $(<F) $@

$(eval $(call vgpu_test,bus,$(addprefix tests/unit/bus/,main.c idle_dev.c vu_fixture.c xen_fixture.c \
	test_dma.c test_irqs.c test_vfio_user.c test_vfio_user_bad.c test_corpus.c test_xen.c test_xen_access.c test_xen_life.c) \
	$(addprefix tests/fuzz/,fuzz_vfio_user.c replay.c),bus device, \
	$$$$(FAKEXEN_LDLIBS) -ljson-c, \
	-DVGPU_CORPUS_DIR='"$(CURDIR)/tests/fuzz/corpus/vfio_user"' -Itests/lib/fakexen \
	-DFAKEXEN_DIR='"$(FAKEXEN_DIR)"'))
$(O)/test/bus: $(FAKEXEN)
