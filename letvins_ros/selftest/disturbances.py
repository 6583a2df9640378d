# SPDX-License-Identifier: Apache-2.0
"""What is done to a recording: each disturbance is one function of it. Here those of clocks, calibration and gaps."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.geometry import exp_so3
from letvins_ros.selftest.image_disturbances import IMAGES
from letvins_ros.selftest.imu_disturbances import IMU
from letvins_ros.selftest.platform_disturbances import PLATFORMS
from letvins_ros.selftest.recording import Disturbance, Recording
from letvins_ros.types import Trajectory


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


_OTHERS: dict[str, Disturbance] = {
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
    "calibration: baseline 3 % too short": partial(_baseline, ratio=0.97),
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
DISTURBANCES = IMAGES | IMU | _OTHERS | PLATFORMS
