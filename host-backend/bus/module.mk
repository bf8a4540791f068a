# SPDX-License-Identifier: MIT
# The buses: vfio-user, the DMA table, the interrupt vectors.

BUS_DIR := host-backend/bus

$(eval $(call vgpu_lib,bus,$(addprefix $(BUS_DIR)/,guard.c dma.c irqs.c vfio_user.c \
	vfio_user_cmd.c vfio_user_irq.c xen.c xen_ioreq.c xen_lib.c xen_memory.c xen_state.c)))

$(eval $(call vgpu_test,bus,$(addprefix tests/unit/bus/,main.c vu_fixture.c test_dma.c test_irqs.c \
	test_vfio_user.c test_vfio_user_bad.c test_corpus.c) $(addprefix tests/fuzz/,fuzz_vfio_user.c replay.c),bus device,-ljson-c, \
	-DVGPU_CORPUS_DIR='"$(CURDIR)/tests/fuzz/corpus/vfio_user"'))
