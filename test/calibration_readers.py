# SPDX-License-Identifier: Apache-2.0
"""Calibrations read a second time, by regular expressions: nothing here comes from the package or from a yaml parser.

Each reader gives cameras as (size, fx fy cx cy, distortion, T_body_cam, offset in s) and the IMU's noise densities
(gyro, accelerometer, gyro walk, accelerometer walk) or None.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
Mounted = tuple[list[float], list[float], list[float], np.ndarray, float]
Reading = tuple[list[Mounted], list[float] | None]
SAMPLES_HZ = 200.0  # of an IMU whose noise a file gives for one sample


class Text:
    """A file without byte-order mark, carriage returns and comments."""

    def __init__(self, path: Path) -> None:
        text = path.read_bytes().decode("utf-8-sig").replace("\r", "")
        self._text = re.sub(r"(^|\s)#.*", r"\1", text)

    def all(self, key: str, count: int, nth: int = 0) -> list[float]:
        """The numbers after the nth time that a key stands there; of a matrix those of its data."""
        ends = [found.end() for found in re.finditer(rf'(?<![\w.]){re.escape(key)}"?\s*:', self._text)]
        rest = self._text[ends[nth] :]
        if count > 1 and re.match(r"[^\[]*\bdata\s*:", rest):
            rest = rest[rest.index("data") :]
        return [float(text) for text in re.findall(rf"(?<![\w.]){NUMBER}(?![\w.])", rest)[:count]]

    def one(self, key: str, nth: int = 0) -> float:
        return self.all(key, 1, nth)[0]

    def named(self, keys: Iterable[str], nth: int = 0) -> list[float]:
        return [self.one(key, nth) for key in keys]

    def count(self, key: str) -> int:
        return len(re.findall(rf'(?<![\w.]){re.escape(key)}"?\s*:', self._text))

    def pose(self, key: str, nth: int = 0) -> np.ndarray:
        return np.array(self.all(key, 16, nth)).reshape(4, 4)

    def matrix(self, key: str, rows: int, columns: int) -> np.ndarray:
        return np.array(self.all(key, rows * columns)).reshape(rows, columns)


def pose(quaternion: list[float], position: list[float]) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_quat(quaternion).as_matrix(), position
    return T


def vins_lens(text: Text) -> tuple[list[float], list[float]]:
    if text.count("mu"):
        return text.named(("mu", "mv", "u0", "v0")), text.named(("k2", "k3", "k4", "k5"))
    return text.named(("fx", "fy", "cx", "cy")), text.named(("k1", "k2", "p1", "p2"))


def vins_noise(text: Text) -> list[float]:
    return [x / SAMPLES_HZ**0.5 for x in text.named(("gyr_n", "acc_n", "gyr_w", "acc_w"))]


def vins_mono(path: Path, coefficients: int) -> Reading:
    text, T = Text(path), np.eye(4)
    T[:3, :3] = text.matrix("extrinsicRotation", 3, 3)
    T[:3, 3] = text.all("extrinsicTranslation", 3)
    size = text.named(("image_width", "image_height"))
    return [(size, *vins_lens(text), T, text.one("td"))], vins_noise(text)


def vins_fusion(path: Path, coefficients: int) -> Reading:
    text, cameras = Text(path), []
    for i in range(int(text.one("num_of_cam"))):
        file = Text(path.parent / f"cam{i}_pinhole.yaml")
        size = file.named(("image_width", "image_height"))
        cameras.append((size, *vins_lens(file), text.pose(f"body_T_cam{i}"), text.one("td")))
    return cameras, vins_noise(text)


def xrslam(path: Path, coefficients: int) -> Reading:
    text = Text(path)
    T = np.linalg.inv(pose(text.all("q_bi", 4), text.all("p_bi", 3))) @ pose(text.all("q_bc", 4), text.all("p_bc", 3))
    noise = [text.one(key) ** 0.5 for key in ("cov_g", "cov_a", "cov_bg", "cov_ba")]
    lens = text.all("intrinsics", 4), text.all("distortion", 4)
    return [(text.all("resolution", 2), *lens, T, text.one("time_offset"))], noise


def orbslam3(path: Path, coefficients: int) -> Reading:
    text = Text(path)
    bent = ("k1", "k2", "k3", "k4") if text.count("Camera1.k3") else ("k1", "k2", "p1", "p2")
    size = text.named(("Camera.width", "Camera.height"))
    left = text.pose("IMU.T_b_c1")
    cameras = []
    for i, T in ((1, left), (2, left @ text.pose("Stereo.T_c1_c2"))):
        lens, distortion = (
            text.named([f"Camera{i}.{key}" for key in keys]) for keys in (("fx", "fy", "cx", "cy"), bent)
        )
        cameras.append((size, lens, distortion, T, 0.0))
    return cameras, text.named([f"IMU.{key}" for key in ("NoiseGyro", "NoiseAcc", "GyroWalk", "AccWalk")])


def okvis(path: Path, coefficients: int) -> Reading:
    text = Text(path)
    cameras = [
        (text.all("image_dimension", 2, i), text.all("focal_length", 2, i) + text.all("principal_point", 2, i),
         text.all("distortion_coefficients", coefficients, i), text.pose("T_SC", i), -text.one("image_delay"))
        for i in range(text.count("T_SC"))
    ]  # fmt: skip
    return cameras, text.named(("sigma_g_c", "sigma_a_c", "sigma_gw_c", "sigma_aw_c"))


def basalt(path: Path, coefficients: int) -> Reading:
    text, cameras = Text(path), []
    bent = ("k1", "k2", "k3", "k4") if coefficients == 4 else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    for i in range(text.count("camera_type")):
        T = pose(text.named(("qx", "qy", "qz", "qw"), i), text.named(("px", "py", "pz"), i))
        size = text.all("resolution", 2 * i + 2)[2 * i :]
        lens = text.named(("fx", "fy", "cx", "cy"), i), text.named(bent, i)
        cameras.append((size, *lens, T, text.one("cam_time_offset_ns") / 1e9))
    return cameras, text.named(("gyro_noise_std", "accel_noise_std", "gyro_bias_std", "accel_bias_std"))


NOISE = (
    *("gyroscope_noise_density", "accelerometer_noise_density"),
    *("gyroscope_random_walk", "accelerometer_random_walk"),
)


def chain(chain_path: Path, imu_path: Path) -> Reading:
    text, cameras = Text(chain_path), []
    for i in range(text.count("distortion_coeffs")):
        T = text.pose("T_imu_cam", i) if text.count("T_imu_cam") else np.linalg.inv(text.pose("T_cam_imu", i))
        lens = text.all("intrinsics", 4, i), text.all("distortion_coeffs", 4, i)
        cameras.append((text.all("resolution", 2, i), *lens, T, text.one("timeshift_cam_imu", i)))
    return cameras, Text(imu_path).named(NOISE)


def kalibr(path: Path, coefficients: int) -> Reading:
    return chain(path, path.parent / "rig-imu.yaml")


def openvins(path: Path, coefficients: int) -> Reading:
    return chain(path.parent / "kalibr_imucam_chain.yaml", path.parent / "kalibr_imu_chain.yaml")


def euroc(path: Path, coefficients: int) -> Reading:
    T_base_imu, cameras = Text(path / "imu0" / "sensor.yaml").pose("T_BS"), []
    for i in range(2):
        text = Text(path / f"cam{i}" / "sensor.yaml")
        lens = text.all("intrinsics", 4), text.all("distortion_coefficients", 4)
        cameras.append((text.all("resolution", 2), *lens, np.linalg.inv(T_base_imu) @ text.pose("T_BS"), 0.0))
    return cameras, Text(path / "imu0" / "sensor.yaml").named(NOISE)


def camera_info(path: Path, coefficients: int) -> Reading:
    """One camera, which says nothing of its mount."""
    text = Text(path)
    K = text.matrix("camera_matrix", 3, 3)
    size = text.named(("image_width", "image_height"))
    bent = text.all("distortion_coefficients", coefficients)
    return [(size, [K[0, 0], K[1, 1], K[0, 2], K[1, 2]], bent, np.eye(4), 0.0)], None
