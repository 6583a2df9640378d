# SPDX-License-Identifier: Apache-2.0
"""Simulations as EuRoC folders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from letvins_ros.calibration import ImuNoise, MountedCamera
from letvins_ros.simulation.files import new_folder, write_png
from letvins_ros.simulation.imu import seconds
from letvins_ros.simulation.parallel import in_order
from letvins_ros.simulation.sequence import FRAME_HZ, Simulation
from letvins_ros.types import ImuSamples

Progress = Callable[[int, int], None]  # done, all

IMU_HEADER = "#timestamp [ns]," + ",".join(
    [f"w_RS_S_{axis} [rad s^-1]" for axis in "xyz"] + [f"a_RS_S_{axis} [m s^-2]" for axis in "xyz"]
)
TRUTH_HEADER = "#timestamp," + ",".join(
    [f"p_RS_R_{axis} [m]" for axis in "xyz"]
    + [f"q_RS_{axis} []" for axis in "wxyz"]
    + [f"v_RS_R_{axis} [m s^-1]" for axis in "xyz"]
    + [f"b_w_RS_S_{axis} [rad s^-1]" for axis in "xyz"]
    + [f"b_a_RS_S_{axis} [m s^-2]" for axis in "xyz"]
)


def simulate(out: Path, scenario: str, duration_s: float | None, seed: int, progress: Progress | None = None) -> None:
    """Write an EuRoC folder with all cameras, IMU and full truth, whole or not at all.

    Raise DataError where the folder holds something already, ConfigError for an unknown scenario.
    """
    with new_folder(out) as folder:
        write_euroc(folder / "mav0", Simulation(scenario, duration_s, seed), progress)


def write_euroc(mav0: Path, simulation: Simulation, progress: Progress | None = None) -> None:
    """Write the sensors' folders into mav0."""
    mav0.mkdir()
    (mav0 / "body.yaml").write_text(f"%YAML:1.0\ncomment: simulated {simulation.name}\n")
    for i, mounted in enumerate(simulation.rig.cameras):
        (mav0 / f"cam{i}" / "data").mkdir(parents=True)
        rows = "".join(f"{stamp},{stamp}.png\n" for stamp in simulation.stamps_ns)
        (mav0 / f"cam{i}" / "data.csv").write_text("#timestamp [ns],filename\n" + rows)
        (mav0 / f"cam{i}" / "sensor.yaml").write_text(_camera_yaml(mounted, i))
    _write_imu(mav0 / "imu0", simulation.imu, simulation.imu_noise)
    _write_truth(mav0 / "state_groundtruth_estimate0", simulation)
    cameras = len(simulation.rig.cameras)
    shots = [(i, camera) for i in range(len(simulation)) for camera in range(cameras)]

    def shoot(shot: tuple[int, int]) -> None:
        path = mav0 / f"cam{shot[1]}" / "data" / f"{simulation.stamps_ns[shot[0]]}.png"
        write_png(path, simulation.image(*shot))

    for done, _ in enumerate(in_order(shoot, shots), 1):
        if progress:
            progress(done // cameras, len(simulation))


def _write_imu(folder: Path, imu: ImuSamples, noise: ImuNoise) -> None:
    _write_table(folder, IMU_HEADER, imu.stamps_ns, np.hstack([imu.gyro, imu.accel]))
    text = (
        f"sensor_type: imu\ncomment: simulated\n\n{_pose_yaml(np.eye(4))}rate_hz: {noise.rate_hz:g}\n\n"
        f"gyroscope_noise_density: {noise.gyro_noise:.6e}\ngyroscope_random_walk: {noise.gyro_walk:.6e}\n"
        f"accelerometer_noise_density: {noise.accel_noise:.6e}\naccelerometer_random_walk: {noise.accel_walk:.6e}\n"
    )
    (folder / "sensor.yaml").write_text(text)


def _write_truth(folder: Path, simulation: Simulation) -> None:
    truth, imu = simulation.truth, simulation.simulated_imu
    columns = [
        truth.positions,
        truth.quaternions[:, [3, 0, 1, 2]],
        simulation.trajectory.velocity(seconds(truth.stamps_ns)),
        imu.gyro_bias,
        imu.accel_bias,
    ]
    _write_table(folder, TRUTH_HEADER, truth.stamps_ns, np.hstack(columns))
    text = f"sensor_type: visual-inertial\ncomment: exact truth of the IMU's frame\n\n{_pose_yaml(np.eye(4))}"
    (folder / "sensor.yaml").write_text(text)


def _write_table(folder: Path, header: str, stamps_ns: np.ndarray, values: np.ndarray) -> None:
    folder.mkdir()
    rows = "\n".join(
        f"{stamp}," + ",".join(f"{value:.9f}" for value in row)
        for stamp, row in zip(stamps_ns.tolist(), values.tolist(), strict=True)
    )
    (folder / "data.csv").write_text(f"{header}\n{rows}\n")


def _camera_yaml(mounted: MountedCamera, index: int) -> str:
    camera = mounted.camera
    return (
        f"sensor_type: camera\ncomment: simulated cam{index}\n\n{_pose_yaml(mounted.T_body_cam)}"
        f"rate_hz: {FRAME_HZ:g}\nresolution: [{camera.width}, {camera.height}]\ncamera_model: pinhole\n"
        f"intrinsics: {list(camera.intrinsics)} #fu, fv, cu, cv\n"
        f"distortion_model: radial-tangential\ndistortion_coefficients: {list(camera.distortion)}\n"
    )


def _pose_yaml(T_body_sensor: np.ndarray) -> str:
    rows = ",\n         ".join(", ".join(repr(value) for value in row) for row in T_body_sensor.tolist())
    return f"T_BS:\n  cols: 4\n  rows: 4\n  data: [{rows}]\n\n"
