# SPDX-License-Identifier: Apache-2.0
"""What is done to the readings of the IMU."""

from collections.abc import Callable
from functools import partial

import numpy as np

from letvins_ros.geometry import exp_so3
from letvins_ros.selftest.recording import Disturbance, Recording
from letvins_ros.types import ImuSamples

GRAVITY = 9.80665
_QUARTER, _NED = exp_so3(np.array([0.0, 0.0, np.pi / 2])), np.diag([1.0, -1.0, -1.0])


def _readings(recording: Recording, change: Callable[[np.ndarray, ImuSamples], tuple[np.ndarray, np.ndarray]]) -> None:
    """Change angular rates and accelerations, given the readings' times."""
    gyro, accel = change(recording.imu_seconds(), recording.imu)
    recording.imu = ImuSamples(recording.imu.stamps_ns, gyro, accel)


def _scaled(recording: Recording, gyro: float = 1.0, accel: float = 1.0) -> None:
    _readings(recording, lambda t, imu: (imu.gyro * gyro, imu.accel * accel))


def _turned(recording: Recording, R: np.ndarray) -> None:
    _readings(recording, lambda t, imu: (imu.gyro @ R.T, imu.accel @ R.T))


def _clipped(recording: Recording, gyro: float = np.inf, accel: float = np.inf) -> None:
    _readings(recording, lambda t, imu: (np.clip(imu.gyro, -gyro, gyro), np.clip(imu.accel, -accel, accel)))


def _biased(recording: Recording, gyro: float = 0.0, accel: float = 0.0) -> None:
    """A bias that jumps in the middle."""

    def jump(t: np.ndarray, imu: ImuSamples) -> tuple[np.ndarray, np.ndarray]:
        later = (t > recording.middle_s)[:, None]
        return imu.gyro + gyro * later, imu.accel + accel * later

    _readings(recording, jump)


def _noisy(recording: Recording, times: float) -> None:
    """More white noise than calibrated, so many times."""
    rng, noise = np.random.default_rng(0), recording.noise
    root = np.sqrt(noise.rate_hz) * times

    def add(t: np.ndarray, imu: ImuSamples) -> tuple[np.ndarray, np.ndarray]:
        shape = imu.gyro.shape
        return imu.gyro + rng.normal(0, noise.gyro_noise * root, shape), imu.accel + rng.normal(
            0, noise.accel_noise * root, shape
        )

    _readings(recording, add)


def _spikes(recording: Recording) -> None:
    """One reading in fifty is far off."""

    def hit(t: np.ndarray, imu: ImuSamples) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        hits = (rng.random(len(t)) < 0.02)[:, None]
        return imu.gyro + hits * rng.normal(0, 5, imu.gyro.shape), imu.accel + hits * rng.normal(0, 30, imu.accel.shape)

    _readings(recording, hit)


def _held(recording: Recording, for_s: float, to_zero: bool = False) -> None:
    """The readings stay at one value, or at zero, in the middle."""

    def hold(t: np.ndarray, imu: ImuSamples) -> tuple[np.ndarray, np.ndarray]:
        stuck = ((t > recording.middle_s) & (t < recording.middle_s + for_s))[:, None]
        at = int(np.searchsorted(t, recording.middle_s))
        accel = np.zeros(3) if to_zero else imu.accel[at]
        return (imu.gyro if to_zero else np.where(stuck, imu.gyro[at], imu.gyro)), np.where(stuck, accel, imu.accel)

    _readings(recording, hold)


def _stuck_axis(recording: Recording) -> None:
    _readings(recording, lambda t, imu: (imu.gyro * np.array([1.0, 1.0, 0.0]), imu.accel))


def _coarse(recording: Recording) -> None:
    """Readings in steps of 0.02 rad/s and 0.1 m/s^2."""
    _readings(recording, lambda t, imu: (np.rint(imu.gyro / 0.02) * 0.02, np.rint(imu.accel / 0.1) * 0.1))


def _slow_imu(recording: Recording, keep: int) -> None:
    recording.keep_readings(np.arange(len(recording.imu)) % keep == 0)


IMU: dict[str, Disturbance] = {
    "imu: spikes": _spikes,
    "imu: gyro clipped": partial(_clipped, gyro=0.3),
    "imu: accelerometer clipped": partial(_clipped, accel=9.9),
    "imu: gyro bias jumps": partial(_biased, gyro=0.03),
    "imu: accelerometer bias jumps": partial(_biased, accel=0.5),
    "imu: gyro 5 % too large": partial(_scaled, gyro=1.05),
    "imu: gyro 10 % too small": partial(_scaled, gyro=0.9),
    "imu: accelerometer 5 % too large": partial(_scaled, accel=1.05),
    "imu: in g": partial(_scaled, accel=1 / GRAVITY),
    "imu: in degrees": partial(_scaled, gyro=180 / np.pi),
    "imu: no gyro": partial(_scaled, gyro=0.0),
    "imu: gyro z stuck": _stuck_axis,
    "imu: stuck 1 s": partial(_held, for_s=1.0),
    "imu: no acceleration 1 s": partial(_held, for_s=1.0, to_zero=True),
    "imu: turned 90 degrees": partial(_turned, R=_QUARTER),
    "imu: NED axes": partial(_turned, R=_NED),
    "imu: turned 5 degrees": partial(_turned, R=exp_so3(np.radians([0.0, 5.0, 0.0]))),
    "imu: ten times the noise": partial(_noisy, times=10.0),
    "imu: coarse steps": _coarse,
    "imu: every fourth": partial(_slow_imu, keep=4),
}
