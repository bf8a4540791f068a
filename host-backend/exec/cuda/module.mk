# SPDX-License-Identifier: MIT
$(eval $(call vgpu_lib,cuda,$(wildcard host-backend/exec/cuda/*.c)))
