# SPDX-License-Identifier: Apache-2.0
"""One motion of one stereo camera, written in the published layout of each format.

The rig turns about the world's z axis at a constant rate, so that its IMU reads constants known in closed form.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

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


def T_world_cam(seconds):
    turn = geometry.transform(geometry.exp_so3(np.multiply.outer(seconds, RATE)), np.zeros((*np.shape(seconds), 3)))
    return turn @ geometry.transform(R_WORLD_CAM_START, np.array([1.5, 0.4, 0.8]))


def frame_seconds(n=N):
    return np.arange(n) * (PERIOD_NS / 1e9)


def image(camera, i):
    small = np.random.default_rng(100 * camera + i).integers(0, 256, (HEIGHT // 8, WIDTH // 8), dtype=np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def put_image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def put_csv(path, stamps, rows, heading="#timestamp"):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        ",".join([str(s), *(x if isinstance(x, str) else repr(float(x)) for x in row)])
        for s, row in zip(stamps, rows, strict=True)
    ]
    path.write_text("\n".join([heading, *lines]) + "\n")


def imu_readings(T_world_imu_start, n, gravity=9.81):
    """Constant rate and specific force of a body that circles the z axis."""
    R, p = T_world_imu_start[:3, :3], T_world_imu_start[:3, 3]
    force = np.array([-(RATE[2] ** 2) * p[0], -(RATE[2] ** 2) * p[1], gravity])
    return np.tile(R.T @ RATE, (n, 1)), np.tile(R.T @ force, (n, 1))


def sensor_yaml(T_body_cam):
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


def write_asl(mav0, suffix, truth_folder, convert=lambda pixels: pixels):
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


def euroc(path, suffix=".png", flat=False):
    mav0 = path if flat else path / "mav0"
    write_asl(mav0, suffix, "state_groundtruth_estimate0")
    (mav0 / "cam0" / "sensor.yaml").write_text(sensor_yaml(T_IMU_CAM))
    (mav0 / "cam1" / "sensor.yaml").write_text(sensor_yaml(T_IMU_CAM @ T_CAM_RIGHT))
    (mav0 / "imu0" / "sensor.yaml").write_text(IMU_YAML)
    return Written(path, exact_pixels=suffix == ".png")


def euroc_flat_jpg(path):
    return euroc(path, ".jpg", flat=True)


def tum_vi(path):
    write_asl(path / "mav0", ".png", "mocap0", lambda pixels: pixels.astype(np.uint16) * 256 + 77)
    chain = ""
    for i, T_imu_cam in enumerate([T_IMU_CAM, T_IMU_CAM @ T_CAM_RIGHT]):
        rows = "".join(f"  - [{', '.join(repr(float(x)) for x in row)}]\n" for row in geometry.inverse(T_imu_cam))
        chain += (
            f"cam{i}:\n  T_cam_imu:\n{rows}  camera_model: pinhole\n"
            "  distortion_coeffs: [0.003, 0.0007, -0.002, 0.0002]\n  distortion_model: equidistant\n"
            f"  intrinsics: [25.0, 25.0, 31.5, 23.5]\n  resolution: [{WIDTH}, {HEIGHT}]\n"
        )
    (path / "dso").mkdir()
    (path / "dso" / "camchain.yaml").write_text(chain)
    return Written(path)


def write_tartanair(path, cameras, pose_file):
    for camera, name in enumerate(cameras):
        for i in range(N):
            put_image(path / f"image_{name}" / f"{i:06d}_{name}.png", image(camera, i))
    T = T_world_cam(frame_seconds())
    quaternions = geometry.quaternion_xyzw(NED @ T[:, :3, :3] @ R_NEDCAM_CAM.T)
    np.savetxt(path / pose_file, np.hstack([T[:, :3, 3] @ NED, quaternions]))


def tartanair_v1(path):
    write_tartanair(path, ("left", "right"), "pose_left.txt")
    return Written(path)


def tartanair_v2(path):
    write_tartanair(path, ("lcam_front", "rcam_front"), "pose_lcam_front.txt")
    T_world_nedcam = T_world_cam(0.0) @ geometry.transform(R_NEDCAM_CAM.T, np.zeros(3))
    gyro, accel = imu_readings(T_world_nedcam, (N - 1) * 10)
    (path / "imu").mkdir()
    np.save(path / "imu" / "gyro.npy", gyro)
    np.save(path / "imu" / "acc.npy", accel)
    np.save(path / "imu" / "imu_time.npy", np.arange(len(gyro)) / 100)
    np.save(path / "imu" / "cam_time.npy", np.float32(np.arange(N)) / 10)
    return Written(path)


def kitti(path):
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


def bag(path, kind, name):
    source = open_dataset(euroc(path / "euroc").path)
    write_bag(source, path / name, kind)
    return Written(path / name, own_rig=False)


LAYOUTS = {
    "euroc": euroc,
    "euroc without mav0, jpg": euroc_flat_jpg,
    "tum_vi": tum_vi,
    "tartanair v1": tartanair_v1,
    "tartanair v2": tartanair_v2,
    "kitti": kitti,
    "ros1 bag": lambda path: bag(path, "ros1", "r.bag"),
    "ros2 sqlite3 bag": lambda path: bag(path, "sqlite3", "r"),
    "ros2 mcap bag": lambda path: bag(path, "mcap", "r"),
}
