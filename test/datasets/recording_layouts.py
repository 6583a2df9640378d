# SPDX-License-Identifier: Apache-2.0
"""One motion of one stereo camera, written in the published layout of each format.

The rig turns about the world's z axis at a constant rate, so that its IMU reads constants known in closed form.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from letvins_ros import geometry
from letvins_ros.datasets import open_dataset
from letvins_ros.datasets.rosbag_writer import write_bag

N, WIDTH, HEIGHT, BASELINE = 12, 64, 48, 0.25
RATE = np.array([0.0, 0.0, 0.6])  # rad/s
START_NS = 1_600_000_000_000_000_000
PERIOD_NS = 100_000_000
R_WORLD_CAM_START = geometry.exp_so3(np.array([0.2, -0.1, 0.3])) @ np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
T_IMU_CAM = geometry.transform(geometry.exp_so3(np.array([0.1, 1.2, -0.4])), np.array([0.05, -0.1, 0.02]))
T_CAM_RIGHT = geometry.transform(np.eye(3), np.array([BASELINE, 0.0, 0.0]))
NED = np.diag([1.0, -1.0, -1.0])  # world z up to north-east-down
R_NEDCAM_CAM = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # TartanAir's camera: forward right down


@dataclass(frozen=True)
class Written:
    """A recording on disk and what must be read from it."""

    path: Path
    exact_pixels: bool = True
    has_imu: bool = True
    own_rig: bool = True
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of the truth's world, from the axis that the rig turns about


def T_world_cam(seconds: np.ndarray | float) -> np.ndarray:
    turn = geometry.transform(geometry.exp_so3(np.multiply.outer(seconds, RATE)), np.zeros((*np.shape(seconds), 3)))
    return turn @ geometry.transform(R_WORLD_CAM_START, np.array([1.5, 0.4, 0.8]))


def frame_seconds(n: int = N) -> np.ndarray:
    return np.arange(n) * (PERIOD_NS / 1e9)


def image(camera: int, i: int) -> np.ndarray:
    small = np.random.default_rng(100 * camera + i).integers(0, 256, (HEIGHT // 8, WIDTH // 8), dtype=np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def put_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def put_csv(path: Path, stamps: Iterable[object], rows: Iterable[Iterable[Any]], heading: str = "#timestamp") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        ",".join([str(s), *(x if isinstance(x, str) else repr(float(x)) for x in row)])
        for s, row in zip(stamps, rows, strict=True)
    ]
    path.write_text("\n".join([heading, *lines]) + "\n")


def imu_readings(T_world_imu_start: np.ndarray, n: int, gravity: float = 9.81) -> tuple[np.ndarray, np.ndarray]:
    """Constant rate and specific force of a body that circles the z axis."""
    R, p = T_world_imu_start[:3, :3], T_world_imu_start[:3, 3]
    force = np.array([-(RATE[2] ** 2) * p[0], -(RATE[2] ** 2) * p[1], gravity])
    return np.tile(R.T @ RATE, (n, 1)), np.tile(R.T @ force, (n, 1))


def sensor_yaml(T_body_cam: np.ndarray) -> str:
    data = ", ".join(repr(float(x)) for x in T_body_cam.ravel())
    return (
        f"sensor_type: camera\nT_BS:\n  cols: 4\n  rows: 4\n  data: [{data}]\nrate_hz: 10\n"
        f"resolution: [{WIDTH}, {HEIGHT}]\n"
        "camera_model: pinhole\nintrinsics: [50.0, 50.0, 31.5, 23.5]\n"
        "distortion_model: radial-tangential\ndistortion_coefficients: [0.01, 0.0, 0.0, 0.0]\n"
    )


IMU_YAML = (
    "sensor_type: imu\nT_BS:\n  cols: 4\n  rows: 4\n  data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]\n"
    "rate_hz: 200\n"
    "gyroscope_noise_density: 1.7e-4\ngyroscope_random_walk: 2.0e-5\n"
    "accelerometer_noise_density: 2.0e-3\naccelerometer_random_walk: 3.0e-3\n"
)


def write_asl(
    mav0: Path, suffix: str, truth_folder: str, convert: Callable[[np.ndarray], np.ndarray] = lambda pixels: pixels
) -> None:
    stamps = START_NS + PERIOD_NS * np.arange(N)
    for camera in range(2):
        names = [f"{stamp}{suffix}" for stamp in stamps]
        put_csv(mav0 / f"cam{camera}" / "data.csv", stamps, [[name] for name in names], "#timestamp [ns],filename")
        for i, name in enumerate(names):
            put_image(mav0 / f"cam{camera}" / "data" / name, convert(image(camera, i)))
    imu_stamps = np.arange(START_NS, stamps[-1] + 1, 5_000_000)
    T_world_imu = T_world_cam((imu_stamps - START_NS) / 1e9) @ geometry.inverse(T_IMU_CAM)
    put_csv(mav0 / "imu0" / "data.csv", imu_stamps, np.hstack(imu_readings(T_world_imu[0], len(imu_stamps))))
    quaternions = geometry.quaternion_xyzw(T_world_imu[:, :3, :3])[:, [3, 0, 1, 2]]
    more = np.zeros((len(imu_stamps), 9 if truth_folder.startswith("state") else 0))
    put_csv(mav0 / truth_folder / "data.csv", imu_stamps, np.hstack([T_world_imu[:, :3, 3], quaternions, more]))


def euroc(path: Path, suffix: str = ".png", flat: bool = False) -> Written:
    mav0 = path if flat else path / "mav0"
    write_asl(mav0, suffix, "state_groundtruth_estimate0")
    (mav0 / "cam0" / "sensor.yaml").write_text(sensor_yaml(T_IMU_CAM))
    (mav0 / "cam1" / "sensor.yaml").write_text(sensor_yaml(T_IMU_CAM @ T_CAM_RIGHT))
    (mav0 / "imu0" / "sensor.yaml").write_text(IMU_YAML)
    return Written(path, exact_pixels=suffix == ".png")


def euroc_flat_jpg(path: Path) -> Written:
    return euroc(path, ".jpg", flat=True)


def kalibr_chain() -> str:
    chain = ""
    for i, T_imu_cam in enumerate([T_IMU_CAM, T_IMU_CAM @ T_CAM_RIGHT]):
        rows = "".join(f"  - [{', '.join(repr(float(x)) for x in row)}]\n" for row in geometry.inverse(T_imu_cam))
        chain += (
            f"cam{i}:\n  T_cam_imu:\n{rows}  camera_model: pinhole\n"
            "  distortion_coeffs: [0.003, 0.0007, -0.002, 0.0002]\n  distortion_model: equidistant\n"
            f"  intrinsics: [25.0, 25.0, 31.5, 23.5]\n  resolution: [{WIDTH}, {HEIGHT}]\n"
        )
    return chain


def tum_vi(path: Path) -> Written:
    write_asl(path / "mav0", ".png", "mocap0", lambda pixels: pixels.astype(np.uint16) * 256 + 77)
    (path / "dso").mkdir()
    (path / "dso" / "camchain.yaml").write_text(kalibr_chain())
    return Written(path)


def write_tartanair(path: Path, cameras: tuple[str, str], pose_file: str) -> None:
    for camera, name in enumerate(cameras):
        for i in range(N):
            put_image(path / f"image_{name}" / f"{i:06d}_{name}.png", image(camera, i))
    T = T_world_cam(frame_seconds())
    quaternions = geometry.quaternion_xyzw(NED @ T[:, :3, :3] @ R_NEDCAM_CAM.T)
    np.savetxt(path / pose_file, np.hstack([T[:, :3, 3] @ NED, quaternions]))


def tartanair_v1(path: Path) -> Written:
    write_tartanair(path, ("left", "right"), "pose_left.txt")
    return Written(path)


def tartanair_v2(path: Path) -> Written:
    write_tartanair(path, ("lcam_front", "rcam_front"), "pose_lcam_front.txt")
    T_world_nedcam = T_world_cam(0.0) @ geometry.transform(R_NEDCAM_CAM.T, np.zeros(3))
    gyro, accel = imu_readings(T_world_nedcam, (N - 1) * 10)
    (path / "imu").mkdir()
    np.save(path / "imu" / "gyro.npy", gyro)
    np.save(path / "imu" / "acc.npy", accel)
    np.save(path / "imu" / "imu_time.npy", np.arange(len(gyro)) / 100)
    np.save(path / "imu" / "cam_time.npy", np.float32(np.arange(N)) / 10)
    return Written(path)


def kitti(path: Path) -> Written:
    sequence = path / "sequences" / "07"
    for camera in range(2):
        for i in range(N):
            put_image(sequence / f"image_{camera}" / f"{i:06d}.png", image(camera, i))
    (sequence / "times.txt").write_text("".join(f"{t:e}\n" for t in frame_seconds()))
    P = [f"P{i}: 50 0 31.5 {x} 0 50 23.5 0 0 0 1 0\n" for i, x in enumerate((0.0, -50 * BASELINE, 3.0, -9.0))]
    (sequence / "calib.txt").write_text("".join(P))
    T = T_world_cam(frame_seconds())
    (path / "poses").mkdir()
    np.savetxt(path / "poses" / "07.txt", (geometry.inverse(T[0]) @ T)[:, :3].reshape(-1, 12))
    return Written(sequence, has_imu=False)


T_VELO_IMU = geometry.transform(geometry.exp_so3(np.array([0.01, -0.02, 0.03])), np.array([-0.81, 0.32, -0.8]))
R_RECT = geometry.exp_so3(np.array([0.01, -0.015, 0.005]))


def calibration_line(key: str, numbers: Sequence[float] | np.ndarray) -> str:
    return f"{key}: {' '.join(f'{x:.15e}' for x in np.ravel(numbers))}\n"


def kitti_raw(path: Path, rectified: bool = True, imu_step: int = 1) -> Written:
    """A drive of a day; the OXTS's axes are those of the IMU, which circles the z axis of a world east-north-up."""
    day, drive = (
        path / "2011_09_26",
        path / "2011_09_26" / f"2011_09_26_drive_0005_{'sync' if rectified else 'extract'}",
    )
    stamps = START_NS + PERIOD_NS * np.arange(N)

    def text(stamp: int) -> str:
        return f"{datetime.fromtimestamp(stamp // 10**9, UTC):%Y-%m-%d %H:%M:%S}.{stamp % 10**9:09d}\n"

    for camera in range(2):
        for i in range(N):
            put_image(drive / f"image_0{camera}" / "data" / f"{i:010d}.png", image(camera, i))
        (drive / f"image_0{camera}" / "timestamps.txt").write_text("".join(map(text, stamps.tolist())))
    size = [WIDTH, HEIGHT] if rectified else [60, 40]
    cam = calibration_line("S_rect_00", size) + calibration_line("S_rect_01", size)
    T_rect_right = T_CAM_RIGHT if rectified else geometry.transform(np.eye(3), np.array([BASELINE, 0, 0]))
    for i, x in enumerate((0.0, -50 * BASELINE)):
        cam += calibration_line(f"P_rect_0{i}", [50, 0, 31.5, x, 0, 50, 23.5, 0, 0, 0, 1, 0])
        cam += calibration_line(f"K_0{i}", [50, 0, 31.5, 0, 50, 23.5, 0, 0, 1])
        cam += calibration_line(f"D_0{i}", [0.01, 0, 0, 0, 0])
        T_cam_cam0 = geometry.inverse(T_rect_right) if i else np.eye(4)
        cam += calibration_line(f"R_0{i}", T_cam_cam0[:3, :3]) + calibration_line(f"T_0{i}", T_cam_cam0[:3, 3])
    cam += calibration_line("R_rect_00", R_RECT)
    (day / "calib_cam_to_cam.txt").write_text("calib_time: 09-Jan-2012 13:57:47\n" + cam)
    T_cam0_rect = geometry.transform(R_RECT.T if rectified else np.eye(3), np.zeros(3))
    T_cam0_velo = T_cam0_rect @ geometry.inverse(T_IMU_CAM) @ geometry.inverse(T_VELO_IMU)
    for name, T in (("velo_to_cam", T_cam0_velo), ("imu_to_velo", T_VELO_IMU)):
        lines = calibration_line("R", T[:3, :3]) + calibration_line("T", T[:3, 3])
        (day / f"calib_{name}.txt").write_text("calib_time: 25-May-2012 16:47:16\n" + lines)
    write_oxts(drive / "oxts", np.arange(START_NS, stamps[-1] + 1, PERIOD_NS // imu_step), text)
    return Written(drive, origin=tuple((T_world_cam(0.0) @ geometry.inverse(T_IMU_CAM))[:3, 3].tolist()))


def write_oxts(folder: Path, stamps: np.ndarray, text: Callable[[int], str]) -> None:
    T = T_world_cam((stamps - START_NS) / 1e9) @ geometry.inverse(T_IMU_CAM)
    gyro, accel = imu_readings(T[0], len(stamps))
    earth, latitude0, longitude0 = 6378137.0, np.radians(49.0), np.radians(8.4)
    scale = earth * np.cos(latitude0)
    longitude = longitude0 + T[:, 0, 3] / scale
    north = np.log(np.tan(np.pi / 4 + latitude0 / 2)) + T[:, 1, 3] / scale
    latitude = 2 * np.arctan(np.exp(north)) - np.pi / 2
    yaw_pitch_roll = Rotation.from_matrix(T[:, :3, :3]).as_euler("ZYX")
    (folder / "data").mkdir(parents=True)
    (folder / "timestamps.txt").write_text("".join(map(text, stamps.tolist())))
    for i in range(len(stamps)):
        place = [np.degrees(latitude[i]), np.degrees(longitude[i]), T[i, 2, 3], *yaw_pitch_roll[i, ::-1]]
        row = [*place, *np.zeros(5), *accel[i], *np.zeros(3), *gyro[i], *np.zeros(10)]
        (folder / "data" / f"{i:010d}.txt").write_text(" ".join(f"{x:.15g}" for x in row) + "\n")


def bag(path: Path, kind: Literal["ros1", "sqlite3", "mcap"], name: str) -> Written:
    source = open_dataset(euroc(path / "euroc").path)
    write_bag(source, path / name, kind)
    return Written(path / name, own_rig=False)


LAYOUTS: dict[str, Callable[[Path], Written]] = {
    "euroc": euroc,
    "euroc without mav0, jpg": euroc_flat_jpg,
    "tum_vi": tum_vi,
    "tartanair v1": tartanair_v1,
    "tartanair v2": tartanair_v2,
    "kitti": kitti,
    "kitti raw": lambda path: kitti_raw(path, imu_step=10),
    "ros1 bag": lambda path: bag(path, "ros1", "r.bag"),
    "ros2 sqlite3 bag": lambda path: bag(path, "sqlite3", "r"),
    "ros2 mcap bag": lambda path: bag(path, "mcap", "r"),
}
