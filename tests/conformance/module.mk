# SPDX-License-Identifier: MIT
#
# Conformance of the PTX executor.  `make conformance-vectors` writes the committed vectors anew.

$(eval $(call vgpu_test,ptx-conformance,tests/conformance/conformance.c tests/lib/ptx_run.c tests/lib/vectors.c,ptx,-lzstd -llz4))
$(eval $(call vgpu_test,ptx-coverage,tests/conformance/coverage.c tests/lib/ptx_run.c tests/lib/vectors.c,ptx,-lzstd -llz4))

.PHONY: conformance-vectors
conformance-vectors:
	$(PYTHON) tests/conformance/gen-vectors.py
