# SPDX-License-Identifier: Apache-2.0
"""An IMU whose gyro and accelerometer have topics of their own."""

import numpy as np

from letvins_ros.datasets.base import ReadReport
from letvins_ros.types import ImuSamples

_LONGEST_GAP = 3.5  # periods of the accelerometer over which its readings are interpolated


def join_imu(gyro: ImuSamples, accel_ns: np.ndarray, accel_rows: np.ndarray, report: ReadReport) -> ImuSamples:
    """Readings at the gyro's times, the force interpolated between the accelerometer's.

    accel_ns (M,) int64 ns, increasing; accel_rows (M, 6), the last three m/s^2. Gyro readings before the first force,
    after the last one and in gaps of the accelerometer are dropped and counted.
    """
    at, accel = gyro.stamps_ns, accel_rows[:, 3:]
    after = np.searchsorted(accel_ns, at).clip(1, max(len(accel_ns) - 1, 1))
    covered = (at >= accel_ns[0]) & (at <= accel_ns[-1])
    if len(accel_ns) > 1:
        steps = np.diff(accel_ns)
        covered &= (steps[after - 1] <= _LONGEST_GAP * np.median(steps)) | np.isin(at, accel_ns)
    if not covered.all():
        lost = int((~covered).sum())
        report.add("imu: gyro readings without force around them, dropped", str(at[~covered][0]), lost)
    since = accel_ns[0]
    forces = [np.interp((at - since).astype(float), (accel_ns - since).astype(float), accel[:, i]) for i in range(3)]
    return ImuSamples(at[covered], gyro.gyro[covered], np.stack(forces, axis=1)[covered])
