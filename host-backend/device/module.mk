# SPDX-License-Identifier: MIT
# The device core, and its unit tests.

$(eval $(call vgpu_lib,device,$(addprefix host-backend/device/, \
        core.c regs.c queue.c admin.c sg.c ctx.c config.c msix.c)))

$(eval $(call vgpu_test,device, \
        $(addprefix tests/unit/device/, main.c fake_host.c test_regs.c test_lifecycle.c \
        test_queue.c test_admin.c test_ctx.c test_config.c test_msix.c test_stress.c test_trace.c) \
        tests/fuzz/fuzz_device.c tests/fuzz/replay.c,device,, \
        -DVGPU_CORPUS_DIR='"$(CURDIR)/tests/fuzz/corpus/device"' \
        -DVGPU_SPEC='"$(CURDIR)/docs/spec/vgpu-abi.md"'))
