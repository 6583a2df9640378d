# SPDX-License-Identifier: Apache-2.0
"""The motion of `recording_layouts` as ETH3D, UZH-FPV, OpenLORIS-Scene, 4Seasons and TartanGround publish theirs."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from letvins_ros import geometry

from .recording_layouts import (
    BASELINE,
    HEIGHT,
    PERIOD_NS,
    START_NS,
    T_CAM_RIGHT,
    T_IMU_CAM,
    WIDTH,
    N,
    T_world_cam,
    Written,
    image,
    imu_readings,
    kalibr_chain,
    put_image,
    tartanair_v2,
)

T_BASE_IMU = geometry.transform(geometry.exp_so3(np.array([1.2, 0.3, -0.5])), np.array([0.4, 0.1, 1.0]))
T_W_GPSW = geometry.transform(geometry.exp_so3(np.array([0.4, -0.2, 1.0])), np.array([3.0, -2.0, 0.5]))
T_S_AS = geometry.transform(geometry.exp_so3(np.array([0.001, -0.01, 0.01])), np.zeros(3))
FRAMES_NS = START_NS + PERIOD_NS * np.arange(N)
IMU_NS = np.arange(START_NS, FRAMES_NS[-1] + 1, 5_000_000)
T_WORLD_IMU = T_world_cam((IMU_NS - START_NS) / 1e9) @ geometry.inverse(T_IMU_CAM)
K = "50.0 50.0 31.5 23.5"
# the RealSense's own calibration: scale, misalignment, and the bias that is subtracted last
GYRO = np.array([[0.996, 0.002, 0.0, 0.003], [0.0, 1.004, -0.001, -0.004], [0.0, 0.003, 0.99, 0.01]])
ACCEL = np.array([[1.02, 0.004, 0.03, -0.03], [0.007, 1.01, 0.01, -0.11], [0.002, -0.01, 1.0, 0.08]])


def seconds(stamp_ns: int) -> str:
    return f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"


def numbers(values: np.ndarray) -> str:
    return " ".join(repr(float(x)) for x in np.ravel(values))


def rows(heading: str, stamps: Iterable[str | int], *columns: np.ndarray) -> str:
    """One row a stamp, which may be a text."""
    texts = [stamp if isinstance(stamp, str) else seconds(int(stamp)) for stamp in stamps]
    values = np.hstack(columns)
    return heading + "".join(f"{text} {numbers(row)}\n" for text, row in zip(texts, values, strict=True))


def poses(T: np.ndarray) -> np.ndarray:
    return np.hstack([T[:, :3, 3], geometry.quaternion_xyzw(T[:, :3, :3])])


def put_list(
    path: Path, name: str, files: list[str], heading: str = "# timestamp filename\n", numbered: bool = False
) -> None:
    lines = [f"{seconds(int(stamp))} {file}\n" for stamp, file in zip(FRAMES_NS, files, strict=True)]
    (path / name).write_text(heading + "".join(f"{i} {line}" if numbered else line for i, line in enumerate(lines)))


def put_images(path: Path, camera: int, names: list[str]) -> None:
    for i, name in enumerate(names):
        put_image(path / name, image(camera, i))


def tum_rgbd(path: Path) -> Written:
    """One colour camera, its depth, an accelerometer, and the camera's poses."""
    names = [f"rgb/{seconds(int(stamp))[:-3]}.png" for stamp in FRAMES_NS]
    put_images(path, 0, names)
    put_list(path, "rgb.txt", names, "# color images\n# file: 'rgbd.bag'\n# timestamp filename\n")
    put_list(path, "depth.txt", [name.replace("rgb", "depth") for name in names])
    truth = rows("# ground truth trajectory\n# timestamp tx ty tz qx qy qz qw\n", IMU_NS, poses(T_world_imu_cam()))
    (path / "groundtruth.txt").write_text(truth)
    (path / "accelerometer.txt").write_text(rows("# timestamp ax ay az\n", IMU_NS, imu()[1]))
    return Written(path, has_imu=False, own_rig=False)


def T_world_imu_cam() -> np.ndarray:
    return T_WORLD_IMU @ T_IMU_CAM


def imu() -> tuple[np.ndarray, np.ndarray]:
    return imu_readings(T_WORLD_IMU[0], len(IMU_NS))


def eth3d(path: Path) -> Written:
    tum_rgbd(path)
    put_images(path, 1, [f"rgb2/{i}.png" for i in range(N)])
    put_list(path, "rgb2.txt", [f"rgb2/{i}.png" for i in range(N)])
    for name in ("calibration.txt", "calibration2.txt"):
        (path / name).write_text(K + "\n")
    (path / "extrinsics_1_2.txt").write_text("".join(f"{numbers(row)}\n" for row in T_CAM_RIGHT[:3]))
    (path / "imu.txt").write_text(rows("# timestamp wx wy wz ax ay az\n", IMU_NS, *imu()))
    return Written(path, has_imu=False)


def uzh_fpv(path: Path) -> Written:
    for camera, side in enumerate(("left", "right")):
        names = [f"img/image_{camera}_{i}.png" for i in range(N)]
        put_images(path, camera, names)
        put_list(path, f"{side}_images.txt", names, "# id timestamp image_name\n", numbered=True)
    stamps = [f"{i} {seconds(int(stamp))}" for i, stamp in enumerate(IMU_NS)]
    (path / "imu.txt").write_text(rows("# id timestamp ang_vel_x y z lin_acc_x y z\n", stamps, *imu()))
    (path / "groundtruth.txt").write_text(rows("# timestamp tx ty tz qx qy qz qw\n", IMU_NS, poses(T_WORLD_IMU)))
    (path / "indoor_forward_calib_snapdragon").mkdir()
    chain = path / "indoor_forward_calib_snapdragon" / "camchain-imucam-..indoor_forward_calib_snapdragon_imu.yaml"
    chain.write_text(kalibr_chain())
    return Written(path)


def opencv_yaml(path: Path, content: dict[str, Any]) -> None:
    """What OpenCV writes: mappings, lists of mappings, matrices, numbers and texts."""
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)

    def put(name: str, value: Any) -> None:
        if isinstance(value, dict | list):
            storage.startWriteStruct(name, cv2.FileNode_MAP if isinstance(value, dict) else cv2.FileNode_SEQ)
            for key, item in value.items() if isinstance(value, dict) else (("", item) for item in value):
                put(key, item)
            storage.endWriteStruct()
        else:
            storage.write(name, value)

    for name, value in content.items():
        put(name, value)
    storage.release()


def openloris(path: Path) -> Written:
    cameras, transforms = {}, []
    for i in range(2):
        name = f"fisheye{i + 1}"
        names = [f"{name}/{seconds(int(stamp))[:-3]}.png" for stamp in FRAMES_NS]
        put_images(path, i, names)
        put_list(path, f"{name}.txt", names, "#Time Filename\n")
        cameras[f"t265_{name}_optical_frame"] = {
            "fps": 30.0, "width": WIDTH, "height": HEIGHT, "model": "pinhole",
            "intrinsics": np.array([[25.0, 31.5, 25.0, 23.5]]), "distortion_model": "Kannala-Brandt",
            "distortion_coefficients": np.array([[0.003, 0.0007, -0.002, 0.0002, 0.0]]),
        }  # fmt: skip
    for kind, noise, intrinsic in (("gyroscope", 5e-6, GYRO), ("accelerometer", 6.7e-5, ACCEL)):
        cameras[f"t265_{kind}"] = {
            "fps": 200.0, "imu_intrinsic": intrinsic.reshape(1, 12),
            "noise_variances": np.full((1, 3), noise), "bias_variances": np.full((1, 3), 5e-7),
        }  # fmt: skip
    opencv_yaml(path / "sensors.yaml", cameras)
    left, right = (f"t265_fisheye{i}_optical_frame" for i in (1, 2))
    for parent, child, T in (
        ("base_link", left, T_BASE_IMU @ T_IMU_CAM),
        (left, right, T_CAM_RIGHT),
        (left, "t265_gyroscope", geometry.inverse(T_IMU_CAM)),
    ):
        transforms.append({"parent_frame": parent, "child_frame": child, "matrix": T})
    opencv_yaml(path / "trans_matrix.yaml", {"trans_matrix": transforms})
    raw = [np.linalg.solve(M[:, :3], (x + M[:, 3]).T).T for x, M in zip(imu(), (GYRO, ACCEL), strict=True)]
    (path / "t265_gyroscope.txt").write_text(rows("#Time vx vy vz\n", IMU_NS, raw[0]))
    (path / "t265_accelerometer.txt").write_text(rows("#Time ax ay az\n", IMU_NS[::4], raw[1][::4]))
    base = poses(T_WORLD_IMU @ geometry.inverse(T_BASE_IMU))
    (path / "groundtruth.txt").write_text(rows("#Time px py pz qx qy qz qw\n", IMU_NS, base))
    return Written(path)


def comma_pose(T: np.ndarray) -> str:
    return ",".join(repr(float(x)) for x in poses(T[None])[0])


def four_seasons(path: Path, kind: str = "undistorted_images") -> Written:
    recording, calibration = path / "recording_2020-03-24_17-36-22", path / "calibration"
    for camera in range(2):
        put_images(recording / kind / f"cam{camera}", camera, [f"{stamp}.png" for stamp in FRAMES_NS])
    calibration.mkdir()
    if kind == "distorted_images":
        (calibration / "camchain.yaml").write_text(kalibr_chain())
    for i in range(2):
        (calibration / f"undistorted_calib_{i}.txt").write_text(f"Pinhole {K} 0\n{WIDTH} {HEIGHT}\ncrop\n64 48\n")
    stereo = np.eye(4)
    stereo[0, 3] = -BASELINE
    np.savetxt(calibration / "undistorted_calib_stereo.txt", stereo)
    times = "".join(f"{stamp} {seconds(int(stamp) + 37_000_000)} 1.5\n" for stamp in FRAMES_NS)
    (recording / "times.txt").write_text(times)
    (recording / "imu.txt").write_text(rows("", map(str, IMU_NS), *imu()))
    named = {"transform_S_AS": T_S_AS, "TS_cam_imu": geometry.inverse(T_IMU_CAM), "transform_w_gpsw": T_W_GPSW}
    texts = [f"# {name}: translation vector, rotation quaternion\n{comma_pose(T)}\n" for name, T in named.items()]
    (recording / "Transformations.txt").write_text("\n".join([*texts, "# GNSS scale\n0.97\n"]))
    lines = ["# frame_id, translation (x,y,z), rotation quaternion (x,y,z,w), scale, fusion quality, v3\n"]
    T_slam_cam = geometry.inverse(T_S_AS) @ T_W_GPSW @ T_world_cam((FRAMES_NS - START_NS) / 1e9)
    for i, (stamp, T) in enumerate(zip(FRAMES_NS, T_slam_cam, strict=True)):
        scale = 0.9 + 0.01 * i
        T[:3, 3] /= scale
        lines.append(f"{stamp},{comma_pose(T)},{scale!r},1,0\n")
    (recording / "GNSSPoses.txt").write_text("".join(lines))
    return Written(recording)


def tartanground(path: Path) -> Written:
    trajectory = path / "Hospital" / "Data_omni" / "P0000"
    trajectory.mkdir(parents=True)
    (trajectory / "P0000_metadata.json").write_text('{"robot_height": 0.6}')
    for other in ("lcam_left", "lcam_back", "rcam_top"):
        put_images(trajectory / f"image_{other}", 2, [f"{i:06d}_{other}.png" for i in range(N)])
    return tartanair_v2(trajectory)


LAYOUTS: dict[str, Callable[[Path], Written]] = {
    "eth3d": eth3d,
    "uzh-fpv": uzh_fpv,
    "openloris": openloris,
    "4seasons": four_seasons,
    "4seasons as taken": lambda path: four_seasons(path, "distorted_images"),
    "tartanground": tartanground,
}
