# SPDX-License-Identifier: Apache-2.0
"""Devices that simulations record with. The body has x up, y right, z forward, as EuRoC's."""

import numpy as np

from letvins_ros.calibration import ImuNoise, MountedCamera, Rig
from letvins_ros.camera import Camera

EUROC_IMU = ImuNoise(gyro_noise=1.6968e-4, accel_noise=2e-3, gyro_walk=1.9393e-5, accel_walk=3e-3, rate_hz=200.0)


def _mount(camera: Camera, T_body_cam: list[float]) -> MountedCamera:
    return MountedCamera(camera, np.array([*T_body_cam, 0, 0, 0, 1]).reshape(4, 4))


EUROC_RIG = Rig(  # the calibration of the VI-Sensor, from the data set of Burri 2016
    (
        _mount(
            Camera(
                "pinhole-radtan", 752, 480, (458.654, 457.296, 367.215, 248.375),
                (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05),
            ),
            [0.0148655429818, -0.999880929698, 0.00414029679422, -0.0216401454975,
             0.999557249008, 0.0149672133247, 0.025715529948, -0.064676986768,
             -0.0257744366974, 0.00375618835797, 0.999660727178, 0.00981073058949],
        ),
        _mount(
            Camera(
                "pinhole-radtan", 752, 480, (457.587, 456.134, 379.999, 255.238),
                (-0.28368365, 0.07451284, -0.00010473, -3.55590700e-05),
            ),
            [0.0125552670891, -0.999755099723, 0.0182237714554, -0.0198435579556,
             0.999598781151, 0.0130119051815, 0.0251588363115, 0.0453689425024,
             -0.0253898008918, 0.0179005838253, 0.999517347078, 0.00786212447038],
        ),
    ),
    EUROC_IMU,
)  # fmt: skip

_T_BODY_TURNED = np.diag([1.0, -1.0, -1.0, 1.0])  # half a turn about the vertical
_T_BODY_TURNED[2, 3] = -0.15
FOUR_CAMERA_RIG = Rig(  # the VI-Sensor's pair, and another that looks back from 15 cm behind it
    EUROC_RIG.cameras + tuple(MountedCamera(m.camera, _T_BODY_TURNED @ m.T_body_cam) for m in EUROC_RIG.cameras),
    EUROC_IMU,
)

_TARTANAIR_CAMERA = Camera("pinhole-radtan", 640, 480, (320.0, 320.0, 320.0, 240.0))
TARTANAIR_RIG = Rig(  # V1's stereo pair; the body is the left camera
    tuple(_mount(_TARTANAIR_CAMERA, [0, -1, 0, 0, 1, 0, 0, baseline, 0, 0, 1, 0]) for baseline in (0, 0.25)),
    None,
)
