# SPDX-License-Identifier: Apache-2.0
"""Motion from feature tracks and IMU readings."""

from letvins_ros.estimation.costs.vision import compile_kernels
from letvins_ros.estimation.estimator import APART, Step, VioEstimator

__all__ = ["APART", "Step", "VioEstimator", "compile_kernels"]
