# SPDX-License-Identifier: Apache-2.0
"""What is done to a recording: each disturbance is one function of it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.geometry import exp_so3
from letvins_ros.selftest.recording import Images, Recording
from letvins_ros.types import ImuSamples, Trajectory

Disturbance = Callable[[Recording], None]
GRAVITY = 9.80665

# -- images -----------------------------------------------------------------------------------------------------------


def _while(recording: Recording, from_s: float, for_s: float, change: Callable[[np.ndarray], np.ndarray | None],
           cameras: tuple[int, ...] = (0, 1)) -> None:  # fmt: skip
    """Change the images of some cameras from a time on, for so long."""

    def changed(_: int, t: float, images: Images) -> Images:
        if not from_s <= t < from_s + for_s:
            return images
        return tuple(change(im) if i in cameras and im is not None else im for i, im in enumerate(images))

    recording.images.append(changed)


def _black(recording: Recording, for_s: float, cameras: tuple[int, ...] = (0, 1)) -> None:
    _while(recording, recording.middle_s, for_s, np.zeros_like, cameras)


def _missing(recording: Recording, cameras: tuple[int, ...], for_s: float = np.inf) -> None:
    _while(recording, 0.0 if np.isinf(for_s) else recording.middle_s, for_s, lambda _: None, cameras)


def _pixels(recording: Recording, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> None:
    """Change all images, with dice."""
    rng = np.random.default_rng(0)
    _while(recording, 0.0, np.inf, lambda image: np.clip(change(image.astype(float), rng), 0, 255).astype(np.uint8))


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(image + rng.normal(0, 15, image.shape))


def _flicker(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(image * rng.uniform(0.6, 1.4))


def _blur(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5))


def _dim(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.asarray(np.rint(image * 0.15))


def _bright(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.asarray(image * 2.5)


def _frozen(recording: Recording, for_s: float) -> None:
    """Both cameras repeat one image."""
    from_s = recording.middle_s
    first = int(np.searchsorted(recording.seconds, from_s))

    def repeated(_: int, t: float, images: Images) -> Images:
        if not from_s <= t < from_s + for_s:
            return images
        return tuple(recording.image(first, camera) for camera in range(len(images)))

    recording.images.append(repeated)


def _exchanged(recording: Recording) -> None:
    recording.images.append(lambda _, t, images: images[::-1])


def _right_late(recording: Recording) -> None:
    """The right images are those of the frame before."""
    recording.images.append(lambda i, t, images: (images[0], recording.image(max(i - 1, 0), 1)))


def _fewer(recording: Recording, keep: int) -> None:
    recording.keep_frames(np.arange(len(recording)) % keep == 0)


def _lost(recording: Recording) -> None:
    recording.keep_frames(np.random.default_rng(0).random(len(recording)) < 0.7)


# -- IMU --------------------------------------------------------------------------------------------------------------


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


# -- clocks -----------------------------------------------------------------------------------------------------------


def _late_cameras(recording: Recording, seconds: float, from_s: float = 0.0) -> None:
    recording.stamps_ns = recording.stamps_ns + np.where(recording.seconds >= from_s, round(seconds * 1e9), 0)


def _drifting_cameras(recording: Recording, share: float) -> None:
    recording.stamps_ns = recording.stamps_ns + (recording.seconds * share * 1e9).astype(np.int64)


def _jitter(recording: Recording, seconds: float) -> None:
    rng = np.random.default_rng(0)
    recording.stamps_ns = recording.stamps_ns + (rng.normal(0, seconds, len(recording)) * 1e9).astype(np.int64)


def _swapped_frames(recording: Recording) -> None:
    """Every tenth pair of neighbours comes in the wrong order."""
    order = np.arange(len(recording))
    for i in range(10, len(order) - 1, 10):
        order[[i, i + 1]] = order[[i + 1, i]]
    recording.taken, recording.stamps_ns = recording.taken[order], recording.stamps_ns[order]


def _repeated_frames(recording: Recording) -> None:
    """Every frame of one second comes twice."""
    middle = recording.middle_s
    times = 1 + ((recording.seconds > middle) & (recording.seconds < middle + 1))
    recording.taken, recording.stamps_ns = np.repeat(recording.taken, times), np.repeat(recording.stamps_ns, times)


# -- calibration ------------------------------------------------------------------------------------------------------


def _camera(recording: Recording, number: int, change: Callable[[MountedCamera], MountedCamera]) -> None:
    cameras = list(recording.rig.cameras)
    cameras[number] = change(cameras[number])
    recording.rig = replace(recording.rig, cameras=tuple(cameras))


def _mount(recording: Recording, degrees: float, cameras: tuple[int, ...] = (0,)) -> None:
    """Cameras are calibrated as turned about their y axis."""

    def turn(mounted: MountedCamera) -> MountedCamera:
        T = mounted.T_body_cam.copy()
        T[:3, :3] = T[:3, :3] @ exp_so3(np.radians([0.0, degrees, 0.0]))
        return replace(mounted, T_body_cam=T)

    for number in cameras:
        _camera(recording, number, turn)


def _baseline(recording: Recording, ratio: float) -> None:
    left, right = (mounted.T_body_cam[:3, 3] for mounted in recording.rig.cameras)

    def move(mounted: MountedCamera) -> MountedCamera:
        T = mounted.T_body_cam.copy()
        T[:3, 3] = left + ratio * (right - left)
        return replace(mounted, T_body_cam=T)

    _camera(recording, 1, move)


def _lens(recording: Recording, ratio: float = 1.0, centre_px: float = 0.0, cameras: tuple[int, ...] = (0,)) -> None:
    """Focal lengths or principal points are calibrated otherwise."""

    def change(mounted: MountedCamera) -> MountedCamera:
        fx, fy, cx, cy = mounted.camera.intrinsics
        intrinsics = (fx * ratio, fy * ratio, cx + centre_px, cy + centre_px)
        return replace(mounted, camera=replace(mounted.camera, intrinsics=intrinsics))

    for number in cameras:
        _camera(recording, number, change)


# -- gaps, and a body that is carried ---------------------------------------------------------------------------------


def _gap(recording: Recording, for_s: float, images: bool, imu: bool) -> None:
    begin, end = recording.middle_s, recording.middle_s + for_s
    if images:
        recording.keep_frames((recording.seconds < begin) | (recording.seconds >= end))
    if imu:
        t = recording.imu_seconds()
        recording.keep_readings((t < begin) | (t >= end))


def _carried(recording: Recording, metres: float) -> None:
    """The time in which the body goes so far is cut out of everything: it is there at once."""
    t, truth = recording.imu_seconds(), recording.truth
    way = np.linalg.norm(truth.positions - truth.positions[np.searchsorted(truth.stamps_ns, _stamp(recording))], axis=1)
    after = truth.stamps_ns > _stamp(recording)
    end_ns = int(truth.stamps_ns[np.flatnonzero(after & (way > metres))[0]])
    for_ns = end_ns - _stamp(recording)
    recording.keep_readings((t < recording.middle_s) | (recording.imu.stamps_ns >= end_ns))
    frames = (recording.stamps_ns < _stamp(recording)) | (recording.stamps_ns >= end_ns)
    outside = (truth.stamps_ns < end_ns - for_ns) | (truth.stamps_ns >= end_ns)
    recording.keep_frames(frames)

    def closed(stamps_ns: np.ndarray) -> np.ndarray:
        return np.where(stamps_ns >= end_ns, stamps_ns - for_ns, stamps_ns)

    recording.stamps_ns = closed(recording.stamps_ns)
    recording.imu = replace(recording.imu, stamps_ns=closed(recording.imu.stamps_ns))
    recording.truth = Trajectory(closed(truth.stamps_ns[outside]), truth.positions[outside], truth.quaternions[outside])


def _stamp(recording: Recording) -> int:
    """That of the frame in the middle."""
    return int(recording.stamps_ns[np.searchsorted(recording.seconds, recording.middle_s)])


_QUARTER, _NED = exp_so3(np.array([0.0, 0.0, np.pi / 2])), np.diag([1.0, -1.0, -1.0])

DISTURBANCES: dict[str, Disturbance] = {
    "images: black 1 s": partial(_black, for_s=1.0),
    "images: black 3 s": partial(_black, for_s=3.0),
    "images: left black 3 s": partial(_black, for_s=3.0, cameras=(0,)),
    "images: right black 3 s": partial(_black, for_s=3.0, cameras=(1,)),
    "images: no right camera": partial(_missing, cameras=(1,)),
    "images: left missing 2 s": partial(_missing, cameras=(0,), for_s=2.0),
    "images: noise": partial(_pixels, change=_noise),
    "images: flicker": partial(_pixels, change=_flicker),
    "images: blurred": partial(_pixels, change=_blur),
    "images: dim": partial(_pixels, change=_dim),
    "images: overexposed": partial(_pixels, change=_bright),
    "images: frozen 1 s": partial(_frozen, for_s=1.0),
    "images: exchanged": _exchanged,
    "images: right a frame late": _right_late,
    "images: every third": partial(_fewer, keep=3),
    "images: a third lost": _lost,
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
    "clocks: cameras 10 ms late": partial(_late_cameras, seconds=0.01),
    "clocks: cameras 30 ms late": partial(_late_cameras, seconds=0.03),
    "clocks: cameras 30 ms early": partial(_late_cameras, seconds=-0.03),
    "clocks: cameras 100 ms late": partial(_late_cameras, seconds=0.1),
    "clocks: cameras 50 ms late from 6 s on": partial(_late_cameras, seconds=0.05, from_s=6.0),
    "clocks: cameras 1 % fast": partial(_drifting_cameras, share=0.01),
    "clocks: jitter of 5 ms": partial(_jitter, seconds=0.005),
    "clocks: frames in wrong order": _swapped_frames,
    "clocks: frames twice": _repeated_frames,
    "calibration: left turned 0.5 degrees": partial(_mount, degrees=0.5),
    "calibration: left turned 2 degrees": partial(_mount, degrees=2.0),
    "calibration: both turned 2 degrees": partial(_mount, degrees=2.0, cameras=(0, 1)),
    "calibration: baseline 10 % too long": partial(_baseline, ratio=1.1),
    "calibration: left focal length 3 % off": partial(_lens, ratio=1.03),
    "calibration: left focal length halved": partial(_lens, ratio=0.5),
    "calibration: both focal lengths 10 % off": partial(_lens, ratio=1.1, cameras=(0, 1)),
    "calibration: left centre 5 px off": partial(_lens, centre_px=5.0),
    "gaps: both 0.3 s": partial(_gap, for_s=0.3, images=True, imu=True),
    "gaps: both 3 s": partial(_gap, for_s=3.0, images=True, imu=True),
    "gaps: imu 0.3 s": partial(_gap, for_s=0.3, images=False, imu=True),
    "gaps: imu 2 s": partial(_gap, for_s=2.0, images=False, imu=True),
    "gaps: images 2 s": partial(_gap, for_s=2.0, images=True, imu=False),
    "carried: 0.3 m": partial(_carried, metres=0.3),
    "carried: 1.5 m": partial(_carried, metres=1.5),
}
