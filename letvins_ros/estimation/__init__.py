# SPDX-License-Identifier: Apache-2.0
"""Motion from feature tracks and IMU readings."""

from letvins_ros.estimation.estimator import Step, VioEstimator

__all__ = ["Step", "VioEstimator"]
