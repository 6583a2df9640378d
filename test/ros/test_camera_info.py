# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from letvins_ros.camera import Camera
from letvins_ros.config_io import load_config
from letvins_ros.errors import CalibrationError
from letvins_ros.geometry import exp_so3, inverse, transform
from letvins_ros.ros.camera_info import T_left_right, camera_of, difference

from ..some import some


def info(camera: Camera, **changes: Any) -> SimpleNamespace:
    fx, fy, cx, cy = camera.intrinsics
    model = {"pinhole-radtan": "plumb_bob", "pinhole-equidistant": "equidistant"}[camera.model]
    message = {
        "width": camera.width, "height": camera.height, "distortion_model": model, "d": list(camera.distortion),
        "k": np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1]), "r": np.eye(3).ravel(), "p": np.zeros(12),
    }  # fmt: skip
    return SimpleNamespace(**message | changes)


@pytest.fixture
def camera(root: Path) -> Camera:
    return some(load_config(root / "config" / "euroc" / "stereo_imu.yaml").rig).cameras[0].camera


@pytest.mark.parametrize("distortion", [(), (0.1, 0.2, 0.3, 0.4), (0.1,) * 5, (0.1,) * 8])
def test_a_model_without_a_name_is_the_one_that_has_so_many_coefficients(
    camera: Camera, distortion: tuple[float, ...]
) -> None:
    made = camera_of(info(replace(camera, distortion=distortion), distortion_model="", d=[*distortion, 0.0, 0.0]))
    assert (made.model, made.distortion) == ("pinhole-radtan", distortion)


def test_a_camera_is_what_its_camera_info_says(camera: Camera) -> None:
    for one in (camera, replace(camera, model="pinhole-equidistant"), replace(camera, distortion=())):
        made = camera_of(info(one))
        assert (made.model, made.intrinsics, made.distortion) == (one.model, one.intrinsics, one.distortion)
        assert difference(one, info(one)) == ""


def test_a_rational_polynomial_without_its_own_terms_is_a_plumb_bob(camera: Camera) -> None:
    message = info(camera, distortion_model="rational_polynomial", d=[*camera.distortion, 0.01, 0.0, 0.0, 0.0])
    assert camera_of(message).distortion == (*camera.distortion, 0.01)
    message.d[6] = 0.1
    assert camera_of(message).distortion == (*camera.distortion, 0.01, 0.0, 0.1, 0.0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"distortion_model": "cubic"}, "distortion model cubic is not known; known: plumb_bob"),
        ({"d": [0.1] * 8}, "plumb_bob takes 4 or 5 coefficients, got 8"),
        ({"k": np.zeros(9)}, "camera_info holds no calibration: its matrix K is empty"),
        ({"width": 640}, "it is for 640x480, the calibration for 752x480"),
    ],
)
def test_a_camera_info_that_cannot_be_right_is_named(camera: Camera, changes: dict[str, Any], text: str) -> None:
    assert text in difference(camera, info(camera, **changes))


def test_a_halved_focal_length_is_named(camera: Camera) -> None:
    fx, fy, cx, cy = camera.intrinsics
    half = info(replace(camera, intrinsics=(fx / 2, fy / 2, cx, cy)))
    text = difference(camera, half)
    assert text.startswith("its focal length is 229.0 px, the calibration's 458.0 px; the same point is ")
    median = float(text.split("the same point is ")[1].split(" px")[0])
    assert 50 < median < 200


def test_a_calibration_of_another_day_is_no_difference(camera: Camera) -> None:
    fx, fy, cx, cy = camera.intrinsics
    assert difference(camera, info(replace(camera, intrinsics=(fx * 1.005, fy * 1.005, cx + 2, cy - 2)))) == ""


def test_the_baseline_of_a_rectified_pair_comes_from_its_projection(camera: Camera) -> None:
    left, right = (info(camera, p=np.array([400.0, 0, 370, x, 0, 400, 240, 0, 0, 0, 1, 0])) for x in (0.0, -44.0))
    np.testing.assert_allclose(T_left_right(left, right), transform(np.eye(3), np.array([0.11, 0, 0])))
    with pytest.raises(CalibrationError, match="no baseline"):
        T_left_right(left, info(camera))


def test_an_unrectified_pair_is_turned_by_its_rectification(camera: Camera) -> None:
    T = transform(exp_so3(np.array([0.01, -0.03, 0.02])), np.array([0.11, 0.002, -0.003]))  # cam0 from cam1
    along = T[:3, 3] / np.linalg.norm(T[:3, 3])
    y = np.cross([0, 0, 1.0], along)
    y /= np.linalg.norm(y)
    R_left = np.stack([along, y, np.cross(along, y)])  # of a pair rectified along its baseline
    p = np.array([400.0, 0, 370, -400 * np.linalg.norm(T[:3, 3]), 0, 400, 240, 0, 0, 0, 1, 0])
    left = np.array([400.0, 0, 370, 0, 0, 400, 240, 0, 0, 0, 1, 0])
    pair = info(camera, r=R_left.ravel(), p=left), info(camera, r=(R_left @ T[:3, :3]).ravel(), p=p)
    np.testing.assert_allclose(T_left_right(*pair), T, atol=1e-12)
    np.testing.assert_allclose(inverse(T_left_right(*pair)) @ T, np.eye(4), atol=1e-12)
