# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from letvins_ros import geometry
from letvins_ros.calibration import ImuNoise, MountedCamera, Rig, read_calibration
from letvins_ros.calibration_export import calibration_of, export
from letvins_ros.camera import Camera
from letvins_ros.config import Config
from letvins_ros.config_io import to_yaml
from letvins_ros.errors import CalibrationError

LEFT = geometry.transform(geometry.exp_so3(np.array([0.1, -0.2, 1.5])), np.array([-0.02, -0.06, 0.01]))
RIGHT = LEFT @ geometry.transform(geometry.exp_so3(np.array([0.01, -0.02, 0.005])), np.array([0.11, 0.001, -0.002]))
PINHOLE = (458.0, 457.0, 367.0, 248.0)
CAMERAS = {
    "radtan": ("pinhole-radtan", PINHOLE, (-0.28, 0.07, 2e-4, 1e-5)),
    "rational": ("pinhole-radtan", PINHOLE, (0.47, -2.5, 1e-3, -1e-4, 1.4, 0.35, -2.4, 1.4)),
    "ideal": ("pinhole-radtan", PINHOLE, ()),
    "equidistant": ("pinhole-equidistant", PINHOLE, (3e-3, 7e-4, -2e-3, 2e-4)),
    "mei": ("mei-radtan", (0.9, *PINHOLE), (-0.05, 0.01, 5e-4, -3e-4)),
    "double sphere": ("double-sphere", (-0.24, 0.57, *PINHOLE), ()),
    "eucm": ("eucm", (0.63, 1.07, *PINHOLE), ()),
    "fov": ("fov", (0.93, *PINHOLE), ()),
}
HOLDS = {  # style: what it can describe
    "kalibr": set(CAMERAS) - {"rational"},
    "vins": {"radtan", "rational", "ideal", "equidistant", "mei"},
    "basalt": set(CAMERAS) - {"mei"},
    "camera_info": {"radtan", "rational", "ideal", "equidistant"},
}
MAIN = {"kalibr": "camchain-imucam.yaml", "vins": "vins.yaml", "basalt": "calib.json", "camera_info": "cam0.yaml"}


def rig(kind: str) -> Rig:
    model, intrinsics, distortion = CAMERAS[kind]
    camera = Camera(model, 752, 480, intrinsics, distortion)
    cameras = (MountedCamera(camera, LEFT, 0.01), MountedCamera(camera, RIGHT, 0.01))
    return Rig(cameras, ImuNoise(1.7e-4, 2e-3, 1.9e-5, 3e-3))


def written(folder: Path, style: str, kind: str) -> Path:
    for name, text in export(rig(kind), style).items():
        (folder / name).write_text(text)
    return folder / MAIN[style]


@pytest.mark.parametrize(("style", "kind"), [(style, kind) for style in HOLDS for kind in CAMERAS])
def test_what_is_exported_is_read_back_as_it_was_or_refused(tmp_path: Path, style: str, kind: str) -> None:
    if kind not in HOLDS[style]:
        with pytest.raises(CalibrationError, match=r"camera0: (Kalibr|VINS-Fusion|Basalt|camera_info).* (has|have)"):
            export(rig(kind), style)
        return
    path, true = written(tmp_path, style, kind), rig(kind)
    others = [tmp_path / "cam1.yaml"] if style == "camera_info" else []
    read = read_calibration(path, others=others).rig
    T_cam_body = geometry.inverse(LEFT) if style == "camera_info" else np.eye(4)  # its body is the left camera
    grid = np.stack(np.meshgrid(np.linspace(0, 751, 9), np.linspace(0, 479, 7)), -1).reshape(-1, 2)
    for got, want in zip(read.cameras, true.cameras, strict=True):
        np.testing.assert_allclose(got.camera.unproject(grid), want.camera.unproject(grid), atol=1e-12)
        np.testing.assert_allclose(got.T_body_cam, T_cam_body @ want.T_body_cam, atol=1e-9)
        assert got.time_offset_s == (0.0 if style == "camera_info" else pytest.approx(0.01))
    if style != "camera_info":
        np.testing.assert_allclose([*vars(read.imu).values()], [*vars(true.imu).values()], rtol=1e-12)


def test_vins_files_are_such_as_opencv_reads(tmp_path: Path) -> None:
    storage = cv2.FileStorage(str(written(tmp_path, "vins", "radtan")), cv2.FILE_STORAGE_READ)
    np.testing.assert_allclose(storage.getNode("body_T_cam1").mat(), RIGHT, atol=1e-15)
    assert storage.getNode("acc_n").real() == pytest.approx(2e-3 * np.sqrt(200))
    camera = cv2.FileStorage(str(tmp_path / "cam0.yaml"), cv2.FILE_STORAGE_READ)
    assert camera.getNode("projection_parameters").getNode("fx").real() == 458.0
    assert camera.getNode("distortion_parameters").getNode("k2").real() == 0.07


def test_kalibr_and_basalt_have_their_keys(tmp_path: Path) -> None:
    chain = yaml.safe_load(written(tmp_path, "kalibr", "fov").read_text())
    assert chain["cam1"]["distortion_coeffs"] == [0.93] and chain["cam1"]["intrinsics"] == list(PINHOLE)
    np.testing.assert_allclose(
        np.array(chain["cam1"]["T_cn_cnm1"]) @ np.array(chain["cam0"]["T_cam_imu"]),
        chain["cam1"]["T_cam_imu"],
        atol=1e-12,
    )
    inner = json.loads(written(tmp_path, "basalt", "rational").read_text())["value0"]
    assert inner["intrinsics"][0]["camera_type"] == "pinhole-radtan8"
    assert inner["intrinsics"][0]["intrinsics"]["k6"] == 1.4


def test_rectified_images_of_the_exported_pair_have_level_rows(tmp_path: Path) -> None:
    written(tmp_path, "camera_info", "radtan")
    sides = [yaml.safe_load((tmp_path / f"cam{i}.yaml").read_text()) for i in range(2)]
    p_body = (LEFT @ np.array([0.3, -0.2, 2.0, 1.0]))[:3]
    rows = []
    for side, mount in zip(sides, (LEFT, RIGHT), strict=True):
        R, P = (np.array(side[f"{name}_matrix"]["data"]) for name in ("rectification", "projection"))
        p_cam = (geometry.inverse(mount) @ [*p_body, 1.0])[:3]
        _, v, w = P.reshape(3, 4) @ [*(R.reshape(3, 3) @ p_cam), 1.0]
        rows.append(v / w)
    assert rows[0] == pytest.approx(rows[1], abs=1e-6)


def test_a_configuration_of_ours_and_any_other_calibration_can_be_exported(tmp_path: Path) -> None:
    ours = tmp_path / "ours.yaml"
    ours.write_text(to_yaml(Config(rig=rig("radtan"))))
    np.testing.assert_array_equal(calibration_of(ours).cameras[1].T_body_cam, RIGHT)
    (tmp_path / "k").mkdir()
    kalibr = written(tmp_path / "k", "kalibr", "radtan")
    np.testing.assert_allclose(calibration_of(kalibr).cameras[1].T_body_cam, RIGHT, atol=1e-12)
    with pytest.raises(CalibrationError, match="exported as kalibr, camera_info, vins, basalt, not as colmap"):
        export(rig("radtan"), "colmap")
