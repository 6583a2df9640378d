# SPDX-License-Identifier: Apache-2.0
"""IMU readings between two times as one measurement (Forster 2017), through GTSAM."""

from collections.abc import Iterable
from functools import lru_cache

import gtsam
import numpy as np

from letvins_ros.calibration import ImuNoise
from letvins_ros.imu import BRIDGED_GAP_S, GRAVITY, ImuSteps

Reading = tuple[np.ndarray, np.ndarray, float]  # m/s^2, rad/s, s

BRIDGE_INFLATION = 200.0  # of the noise where readings are missing or saturated


def preintegrate(
    steps: ImuSteps, noise: ImuNoise, accel_bias: np.ndarray, gyro_bias: np.ndarray
) -> gtsam.PreintegratedCombinedMeasurements:
    """GTSAM's pre-integrated measurement of the steps, linearised at these biases."""
    rough = steps.largest_gap_s > BRIDGED_GAP_S or steps.saturated
    bias = gtsam.imuBias.ConstantBias(accel_bias, gyro_bias)
    pim = gtsam.PreintegratedCombinedMeasurements(_gtsam_params(noise, BRIDGE_INFLATION if rough else 1.0), bias)
    integrate(pim, readings(steps, gyro_bias))
    return pim


def readings(steps: ImuSteps, gyro_bias: np.ndarray) -> list[Reading]:
    """What GTSAM is to integrate.

    GTSAM turns each step's force by the attitude at the step's start, so the force of its middle is first turned back
    by half the step; else turning at 1 rad/s reads as 0.025 m/s^2 at 200 Hz.
    """
    half_turn = (steps.gyro - gyro_bias) * (steps.dt_s / 2)[:, None]
    accel = steps.accel + np.cross(half_turn, steps.accel)
    return [one for one in zip(accel, steps.gyro, steps.dt_s.tolist(), strict=True) if one[2] > 0]


def integrate(pim: gtsam.PreintegratedCombinedMeasurements, given: Iterable[Reading]) -> None:
    """Add readings to a measurement."""
    for force, rate, dt in given:
        pim.integrateMeasurement(force, rate, dt)


@lru_cache(maxsize=8)
def _gtsam_params(noise: ImuNoise, inflation: float) -> gtsam.PreintegrationCombinedParams:
    params = gtsam.PreintegrationCombinedParams.MakeSharedU(GRAVITY)
    eye = np.eye(3)
    params.setGyroscopeCovariance(eye * (noise.gyro_noise * inflation) ** 2)
    params.setAccelerometerCovariance(eye * (noise.accel_noise * inflation) ** 2)
    params.setBiasOmegaCovariance(eye * noise.gyro_walk**2)
    params.setBiasAccCovariance(eye * noise.accel_walk**2)
    params.setIntegrationCovariance(eye * 1e-8)
    return params
