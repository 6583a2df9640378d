# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.config import InputConfig
from letvins_ros.datasets import open_dataset
from letvins_ros.errors import LetvinsError

from ..some import some
from . import listed_layouts as layouts
from . import recording_layouts
from .test_listed import replace


def test_poses_have_a_scale_each_and_a_world_with_z_up(tmp_path: Path) -> None:
    truth = some(open_dataset(layouts.four_seasons(tmp_path).path).truth)
    expected = recording_layouts.T_world_cam(recording_layouts.frame_seconds()) @ geometry.inverse(
        recording_layouts.T_IMU_CAM
    )
    np.testing.assert_allclose(truth.positions, expected[:, :3, 3], atol=1e-9)
    assert truth.stamps_ns.tolist() == layouts.FRAMES_NS.tolist()


def test_images_as_taken_are_preferred_where_their_calibration_is_there(tmp_path: Path) -> None:
    path = layouts.four_seasons(tmp_path).path
    for camera in range(2):
        names = [f"distorted_images/cam{camera}/{stamp}.png" for stamp in layouts.FRAMES_NS]
        layouts.put_images(path, 5 + camera, names)
    rig = some(open_dataset(path).rig)
    assert rig.cameras[0].camera.distortion == ()
    assert np.array_equal(some(next(open_dataset(path).frames()).images[0]), recording_layouts.image(0, 0))
    (path.parent / "calibration" / "camchain.yaml").write_text(recording_layouts.kalibr_chain())
    assert some(open_dataset(path).rig).cameras[0].camera.model == "pinhole-equidistant"
    assert np.array_equal(some(next(open_dataset(path).frames()).images[0]), recording_layouts.image(5, 0))
    assert np.array_equal(some(next(open_dataset(path, rig).frames()).images[1]), recording_layouts.image(1, 0))


def test_one_camera_can_be_chosen_and_the_calibration_given(tmp_path: Path) -> None:
    path = layouts.four_seasons(tmp_path).path
    right = open_dataset(path, inputs=InputConfig(cameras="1"))
    assert np.array_equal(some(next(right.frames()).images[0]), recording_layouts.image(1, 0))
    rig = open_dataset(path).rig
    (path.parent / "calibration").rename(tmp_path / "elsewhere")
    assert open_dataset(path).rig is None
    assert open_dataset(path).report.notes == ["calibration: no folder calibration beside the recording"]
    assert open_dataset(path, rig).rig is rig


def missing(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).unlink()


def empty(path: Path) -> None:
    for file in (path / "undistorted_images" / "cam0").iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing("Transformations.txt"), r"Transformations\.txt: No such file"),
        (replace("Transformations.txt", "TS_cam_imu", "T"), r"Transformations\.txt: TS_cam_imu missing"),
        (replace("Transformations.txt", ",", ";"), r"transform_S_AS must be followed by 7 numbers"),
        (replace("imu.txt", " ", " x"), r"imu\.txt: no usable row"),
        (replace("GNSSPoses.txt", ",", ",x"), r"GNSSPoses\.txt: no usable row"),
        (missing("../calibration/undistorted_calib_1.txt"), r"undistorted_calib_1\.txt: No such file"),
        (replace("../calibration/undistorted_calib_0.txt", "Pinhole", "x y"), "must begin with Pinhole fx fy cx cy"),
        (replace("../calibration/undistorted_calib_stereo.txt", "1.0", "2.0"), "is no rigid transform"),
        (missing("../calibration/undistorted_calib_stereo.txt"), r"undistorted_calib_stereo\.txt: No such file"),
        (empty, "no image named by its time in ns in cam0"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    path = layouts.four_seasons(tmp_path).path
    damage(path)
    with pytest.raises(LetvinsError, match=message) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)
