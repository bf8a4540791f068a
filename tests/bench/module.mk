# SPDX-License-Identifier: MIT
#
# vgpu-bench: the transport's figures beside their floors.  Needs vgpud in the same bin/.

$(eval $(call vgpu_prog,vgpu-bench,$(filter-out tests/bench/bench_ptx.c,$(wildcard tests/bench/bench*.c)),guestsim,-lm -lrt -lpthread,-Itests/lib))
