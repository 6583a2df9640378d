# SPDX-License-Identifier: Apache-2.0
"""Rooms that move, so that the IMU feels what images do not see; and things that pass, which only images see."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from letvins_ros.evaluation.trajectory import at_times, poses
from letvins_ros.geometry import exp_so3, inverse
from letvins_ros.selftest.imu_disturbances import GRAVITY
from letvins_ros.selftest.recording import Disturbance, Images, Recording
from letvins_ros.types import ImuSamples

OfTime = Callable[[np.ndarray], np.ndarray]  # of seconds (N,) since the middle of the recording
PUSH, YAW_RATE = 1.0, 0.2  # m/s^2, as lifts and trains start; rad/s, a bus that turns off
ROLL_RAD, ROLL_S = 0.05, 6.0  # amplitude and period of a ship
PASSER_M, TEXEL_M = 3.0, 0.02  # distance and roughness of what passes


def _felt(recording: Recording, rate: OfTime, force: OfTime) -> None:
    """Add angular rates (N, 3) rad/s and specific forces (N, 3) m/s^2, both along the room's axes."""
    imu, t = recording.imu, recording.imu_seconds() - recording.middle_s
    R_body_room = inverse(poses(at_times(recording.truth, imu.stamps_ns)[0]))[:, :3, :3]

    def in_body(values: np.ndarray) -> np.ndarray:
        return np.asarray((R_body_room @ values[..., None])[..., 0])

    recording.imu = ImuSamples(imu.stamps_ns, imu.gyro + in_body(rate(t)), imu.accel + in_body(force(t)))


def _still(t: np.ndarray) -> np.ndarray:
    return np.zeros((len(t), 3))


def _along(axis: int, size: OfTime, t: np.ndarray) -> np.ndarray:
    return np.asarray(size(t)[:, None] * np.eye(3)[axis])


def _lift(recording: Recording) -> None:
    """It starts to rise, and stops again."""
    going = partial(_along, 2, lambda t: PUSH * ((t > 0) & (t < 2)) - PUSH * ((t > 3) & (t < 5)))
    _felt(recording, _still, going)


def _train(recording: Recording) -> None:
    _felt(recording, _still, partial(_along, 0, lambda t: PUSH * ((t > 0) & (t < 5))))


def _turning(recording: Recording) -> None:
    _felt(recording, partial(_along, 2, lambda t: YAW_RATE * ((t > 0) & (t < 5))), _still)


def _ship(recording: Recording) -> None:
    """It rolls all the time, about the room's x axis."""
    turns = 2 * np.pi / ROLL_S

    def gravity(t: np.ndarray) -> np.ndarray:
        R_room_level = exp_so3(-_along(0, lambda t: ROLL_RAD * np.sin(turns * t), t))
        return np.asarray(GRAVITY * (R_room_level[:, :, 2] - np.eye(3)[2]))

    _felt(recording, partial(_along, 0, lambda t: ROLL_RAD * turns * np.cos(turns * t)), gravity)


def _passing(recording: Recording, share: float, speed: float) -> None:
    """A wall passes close by in the middle, for four seconds, over so much of the images; speed in m/s."""
    noise = np.random.default_rng(0).uniform(0, 255, (1024, 1024)).astype(np.float32)
    wall = np.clip((cv2.GaussianBlur(noise, (0, 0), 1.5) - 127) * 4 + 127, 0, 255).astype(np.uint8)
    lead, from_s = recording.rig.cameras[0].T_body_cam, recording.middle_s

    def painted(image: np.ndarray, number: int, t: float) -> np.ndarray:
        v, u = np.indices(image.shape)
        mounted = recording.rig.cameras[number]
        T_lead_cam = inverse(lead) @ mounted.T_body_cam
        ray = mounted.camera.unproject(np.stack([u.ravel(), v.ravel()], 1)) @ T_lead_cam[:3, :3].T
        hit = T_lead_cam[:3, 3] + ray * ((PASSER_M - T_lead_cam[2, 3]) / ray[:, 2])[:, None]
        texel = (hit[:, :2] + [speed * t, 0]) / TEXEL_M
        x, y = (texel.T.reshape(2, *image.shape) % 1023).astype(np.float32)
        shown = cv2.remap(wall, x, y, cv2.INTER_LINEAR)
        return np.where(u < share * image.shape[1], shown, image)

    def changed(_: int, t: float, images: Images) -> Images:
        if not from_s <= t < from_s + 4:
            return images
        return tuple(None if im is None else painted(im, i, t - from_s) for i, im in enumerate(images))

    recording.images.append(changed)


PLATFORMS: dict[str, Disturbance] = {
    "platform: a lift": _lift,
    "platform: a train": _train,
    "platform: a bus that turns": _turning,
    "platform: a ship": _ship,
    "passing: over half of the image": partial(_passing, share=0.5, speed=1.0),
    "passing: over 85 % of the image": partial(_passing, share=0.85, speed=1.0),
}
