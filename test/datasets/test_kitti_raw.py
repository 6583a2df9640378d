# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.config import InputConfig
from letvins_ros.datasets import open_dataset
from letvins_ros.errors import CalibrationError, DataError

from ..some import some
from . import recording_layouts as layouts


@pytest.mark.parametrize("rectified", [True, False])
def test_cameras_are_placed_on_the_imu_rectified_and_as_taken(tmp_path: Path, rectified: bool) -> None:
    rig = some(open_dataset(layouts.kitti_raw(tmp_path, rectified).path).rig)
    np.testing.assert_allclose(rig.cameras[0].T_body_cam, layouts.T_IMU_CAM, atol=1e-9)
    np.testing.assert_allclose(rig.cameras[1].T_body_cam, layouts.T_IMU_CAM @ layouts.T_CAM_RIGHT, atol=1e-9)
    assert rig.cameras[0].camera.intrinsics == (50.0, 50.0, 31.5, 23.5)
    assert rig.cameras[0].camera.distortion == (() if rectified else (0.01, 0.0, 0.0, 0.0, 0.0))


@pytest.mark.parametrize(("step", "count"), [(1, 12), (10, 111)])
def test_the_oxts_is_an_imu_of_10_or_100_hz(tmp_path: Path, step: int, count: int) -> None:
    dataset = open_dataset(layouts.kitti_raw(tmp_path, imu_step=step).path)
    assert len(some(dataset.imu)) == len(some(dataset.truth)) == count
    assert some(dataset.imu).stamps_ns[0] == layouts.START_NS
    assert np.linalg.norm(some(dataset.imu).accel, axis=1).mean() == pytest.approx(9.83, abs=0.05)


def test_damaged_files_are_counted_and_one_camera_can_be_chosen(tmp_path: Path) -> None:
    path = layouts.kitti_raw(tmp_path).path
    (path / "oxts" / "data" / "0000000003.txt").write_text("49.0 8.4")
    (path / "image_01" / "data" / "0000000005.png").unlink()
    dataset = open_dataset(path)
    assert len(some(dataset.imu)) == 11
    assert dataset.report.counts["oxts: files missing or damaged"] == 1
    assert [frame.images[1] is None for frame in dataset.frames()].index(True) == 5
    assert {len(f.images) for f in open_dataset(path, inputs=InputConfig(cameras="1")).frames()} == {1}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = layouts.kitti_raw(tmp_path).path
    calibration = path.parent / "calib_imu_to_velo.txt"
    calibration.write_text("T: 1 2 3\n")
    with pytest.raises(CalibrationError, match=r"calib_imu_to_velo\.txt: R must hold 9 numbers"):
        open_dataset(path)
    calibration.unlink()
    with pytest.raises(CalibrationError, match=r"calib_imu_to_velo\.txt: No such file"):
        open_dataset(path)
    for impossible in ("2011-13-45 13:02:25.9", "9011-09-26 13:02:25.9", "0001-01-01 00:00:00.0"):
        (path / "image_00" / "timestamps.txt").write_text(f"{impossible}\n")
        with pytest.raises(DataError, match=r"image_00.timestamps\.txt: no times such as 2011-09-26"):
            open_dataset(path)
