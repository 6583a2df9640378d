# SPDX-License-Identifier: Apache-2.0
"""Signs that the estimate has gone wrong, and what to say about weak input."""

import numpy as np

from letvins_ros.estimation.state import State
from letvins_ros.imu import BRIDGED_GAP_S, ImuSteps

MAX_SPEED = 50.0  # m/s
MAX_ACCEL_BIAS = 3.0  # m/s^2
MAX_GYRO_BIAS = 0.6  # rad/s
CONTRADICTED_FRAMES = 10  # in a row, most of whose features fit no common motion


class Health:
    """Watches the states; names the reason for a reset."""

    def __init__(self) -> None:
        self._contradicted = 0

    def fault(self, state: State, errors: np.ndarray, limit_px: float) -> str:
        """Why the estimate must be given up, or nothing; errors (L,) are the landmarks' means, px."""
        parts = (state.R, state.p, state.v, state.accel_bias, state.gyro_bias)
        if not all(np.isfinite(part).all() for part in parts):
            return "the estimate is not finite"
        for what, value, limit, unit in (
            ("speed", state.v, MAX_SPEED, "m/s"),
            ("accelerometer bias", state.accel_bias, MAX_ACCEL_BIAS, "m/s^2"),
            ("gyro bias", state.gyro_bias, MAX_GYRO_BIAS, "rad/s"),
        ):
            if np.linalg.norm(value) > limit:
                return f"{what} of {np.linalg.norm(value):.1f} {unit} is beyond {limit:g}"
        seen = errors[errors > 0]
        bad = len(seen) >= 20 and (seen > limit_px).mean() > 0.7
        self._contradicted = self._contradicted + 1 if bad else 0
        if self._contradicted >= CONTRADICTED_FRAMES:
            return f"features contradicted the motion in {CONTRADICTED_FRAMES} frames"
        return ""


def weakness(steps: ImuSteps | None, tracked: int, needed: int) -> str:
    """What is weak about a frame's input, or nothing."""
    if steps is not None and steps.largest_gap_s > BRIDGED_GAP_S:
        return f"IMU gap of {steps.largest_gap_s:.2f} s bridged"
    if steps is not None and steps.saturated:
        return "IMU saturated"
    return "" if tracked >= needed else f"{tracked} tracks of {needed} needed"
