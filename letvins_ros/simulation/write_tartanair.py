# SPDX-License-Identifier: Apache-2.0
"""Simulations in the layout of TartanAir V1, for training."""

from pathlib import Path

import numpy as np

from letvins_ros import geometry
from letvins_ros.simulation.files import new_folder, write_png
from letvins_ros.simulation.parallel import in_order
from letvins_ros.simulation.rigs import TARTANAIR_RIG
from letvins_ros.simulation.sensor import Sensor
from letvins_ros.simulation.sequence import Equipment, Simulation

STEP = 2  # every second frame: 10 Hz
PERFECT = Sensor(read_noise=0, shot_noise=0, exposure_s=0, vignetting=0)  # TartanAir's images are clean
NED = np.diag([1.0, -1.0, -1.0])  # of a z-up world: north, east, down
R_CAM_FORWARD = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])  # axes forward, right, down


def write_tartanair(out: Path, scenario: str, duration_s: float, seed: int, textures: Path | None = None) -> None:
    """Write stereo RGB images, left depth and poses, whole or not at all; walls carry the pictures of `textures`.

    Poses are T_ned_camera with camera axes forward, right, down; depth (480, 640) float32 is in m along the optical
    axis. Raise DataError where the folder holds something already, ConfigError for an unknown scenario.
    """
    equipment = Equipment(TARTANAIR_RIG, PERFECT, color=True, photos=textures)
    with new_folder(out) as folder:
        simulation = Simulation(scenario, duration_s, seed, equipment)
        for name in ("image_left", "image_right", "depth_left"):
            (folder / name).mkdir()
        shots = range(0, len(simulation), STEP)
        for _ in in_order(lambda i: _write_frame(folder, simulation, i), shots):
            pass
        np.savetxt(folder / "pose_left.txt", [_pose(simulation, i) for i in shots])


def _write_frame(folder: Path, simulation: Simulation, index: int) -> None:
    number = f"{index // STEP:06d}"
    left = simulation.view(index, 0)
    write_png(folder / "image_left" / f"{number}_left.png", simulation.expose(left, index, 0))
    write_png(folder / "image_right" / f"{number}_right.png", simulation.image(index, 1))
    np.save(folder / "depth_left" / f"{number}_left_depth.npy", 1 / left.inverse_depth)


def _pose(simulation: Simulation, index: int) -> np.ndarray:
    """Position x y z and quaternion x y z w of the left camera."""
    T_world_cam = simulation.T_world_cam(index, 0)
    R_ned_forward = NED @ T_world_cam[:3, :3] @ R_CAM_FORWARD
    return np.concatenate([NED @ T_world_cam[:3, 3], geometry.quaternion_xyzw(R_ned_forward)])
