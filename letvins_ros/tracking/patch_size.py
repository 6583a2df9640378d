# SPDX-License-Identifier: Apache-2.0
"""How large patches are: apart from the kernels, so that whoever only keeps patches does not load numba."""

HALF = 9  # px: a patch reaches so far from its middle
SIDE = 2 * HALF + 1
