# SPDX-License-Identifier: Apache-2.0
"""What TUM RGB-D, ETH3D, UZH-FPV and OpenLORIS folders may have, and lack; the rest is in the contract."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.calibration import read_rig
from letvins_ros.config import Config, InputConfig
from letvins_ros.datasets import open_dataset
from letvins_ros.errors import DataError, LetvinsError
from letvins_ros.evaluation.trajectory import read_reference
from letvins_ros.sensors import fit_to_data

from ..some import some
from . import listed_layouts as layouts
from . import recording_layouts


def move(path: Path, name: str, to: str) -> None:
    (path / name).rename(path / to)


def test_a_tum_rgbd_sequence_has_images_and_truth_but_nothing_to_run_on(tmp_path: Path) -> None:
    path = layouts.tum_rgbd(tmp_path).path
    dataset = open_dataset(path)
    frames = list(dataset.frames())
    assert [frame.stamp_ns for frame in frames] == layouts.FRAMES_NS.tolist()
    assert np.array_equal(some(frames[3].images[0]), recording_layouts.image(0, 3))
    assert (dataset.imu, dataset.report.counts) == (None, {})
    np.testing.assert_allclose(some(dataset.truth).positions, layouts.T_world_imu_cam()[:, :3, 3], atol=1e-9)
    assert len(read_reference(path)[0]) == len(layouts.IMU_NS)
    with pytest.raises(LetvinsError, match=r"no calibration\.txt; one camera without IMU can be tracked, not run"):
        fit_to_data(Config(), dataset)


def test_a_given_calibration_places_truth_and_imu_on_its_body(tmp_path: Path) -> None:
    path = layouts.eth3d(tmp_path).path
    assert open_dataset(path).imu is None
    note = "calibration: imu not used: no file tells where it is mounted"
    assert note in open_dataset(path).report.notes
    rig = read_rig(recording_layouts.euroc(tmp_path / "euroc").path)
    dataset = open_dataset(path, rig)
    assert len(some(dataset.imu)) == len(layouts.IMU_NS)
    np.testing.assert_allclose(some(dataset.truth).positions, layouts.T_WORLD_IMU[:, :3, 3], atol=1e-9)


@pytest.mark.parametrize(
    ("make", "numbers"), [(layouts.uzh_fpv, "1"), (layouts.openloris, "1,0"), (layouts.eth3d, "1")]
)
def test_cameras_can_be_chosen(tmp_path: Path, make: Callable[[Path], recording_layouts.Written], numbers: str) -> None:
    path = make(tmp_path).path
    dataset = open_dataset(path, inputs=InputConfig(cameras=numbers))
    frame = next(dataset.frames())
    chosen = [int(number) for number in numbers.split(",")]
    assert all(
        np.array_equal(some(a), recording_layouts.image(i, 0)) for a, i in zip(frame.images, chosen, strict=True)
    )
    whole = some(open_dataset(path).rig)
    for camera, i in zip(some(dataset.rig).cameras, chosen, strict=True):
        assert np.array_equal(camera.T_body_cam, whole.cameras[i].T_body_cam)
    with pytest.raises(DataError, match=r"has no camera 2; its lists of images are \w+.txt, \w+.txt"):
        open_dataset(path, inputs=InputConfig(cameras="2"))


def test_of_a_uzh_fpv_sequence_rows_may_be_numbered_and_one_camera_is_enough(tmp_path: Path) -> None:
    path = layouts.uzh_fpv(tmp_path).path
    heading, *lines = (path / "groundtruth.txt").read_text().splitlines()
    expected = some(open_dataset(path).truth)
    (path / "groundtruth.txt").write_text("\n".join([heading, *(f"{i} {line}" for i, line in enumerate(lines))]))
    assert np.array_equal(some(open_dataset(path).truth).positions, expected.positions)
    move(path, "left_images.txt", "images.txt")  # as of the DAVIS
    (path / "right_images.txt").unlink()
    dataset = open_dataset(path)
    assert {len(frame.images) for frame in dataset.frames()} == {1}
    assert len(some(dataset.imu)) == len(layouts.IMU_NS)


def test_the_colour_camera_of_openloris_has_its_own_imu(tmp_path: Path) -> None:
    path = layouts.openloris(tmp_path).path
    move(path, "fisheye1.txt", "color.txt")
    (path / "fisheye2.txt").unlink()
    for kind in ("gyroscope", "accelerometer"):
        move(path, f"t265_{kind}.txt", f"d400_{kind}.txt")
    for name in ("sensors.yaml", "trans_matrix.yaml"):
        text = (path / name).read_text().replace("t265_fisheye1", "d400_color").replace("t265_g", "d400_g")
        text = text.replace("t265_a", "d400_a").replace("Kannala-Brandt", "radial-tangential")
        (path / name).write_text(text)
    dataset = open_dataset(path)
    (camera,) = some(dataset.rig).cameras
    assert camera.camera.distortion == (0.003, 0.0007, -0.002, 0.0002, 0.0)
    np.testing.assert_allclose(camera.T_body_cam, recording_layouts.T_IMU_CAM, atol=1e-9)
    assert some(some(dataset.rig).imu).gyro_noise == pytest.approx(5e-6**0.5)
    assert some(some(dataset.rig).imu).accel_walk == pytest.approx(5e-7**0.5)
    assert len(some(dataset.imu)) == len(layouts.IMU_NS)


def test_the_factory_calibration_of_openloris_imus_is_applied(tmp_path: Path) -> None:
    path = layouts.openloris(tmp_path).path
    gyro, accel = layouts.imu()
    imu = some(open_dataset(path).imu)
    np.testing.assert_allclose(imu.gyro, gyro, atol=1e-12)
    np.testing.assert_allclose(imu.accel[::4], accel[::4], atol=1e-12)
    sensors = path / "sensors.yaml"
    sensors.write_text(sensors.read_text().replace("imu_intrinsic", "another"))
    raw = some(open_dataset(path).imu)
    np.testing.assert_allclose(raw.gyro @ layouts.GYRO[:, :3].T - layouts.GYRO[:, 3], gyro, atol=1e-12)


def test_zero_noise_of_openloris_is_no_noise_and_an_imu_without_place_is_not_used(tmp_path: Path) -> None:
    path = layouts.openloris(tmp_path).path
    sensors, frames = path / "sensors.yaml", path / "trans_matrix.yaml"
    sensors.write_text(re.sub(r"5\.0*4?e-06", "0.", sensors.read_text()))
    assert some(open_dataset(path).rig).imu is None
    frames.write_text(frames.read_text().replace("t265_gyroscope", "another"))
    dataset = open_dataset(path)
    assert dataset.imu is None
    assert any("imu not used: trans_matrix.yaml does not join" in note for note in dataset.report.notes)
    np.testing.assert_array_equal(some(dataset.rig).cameras[0].T_body_cam, np.eye(4))
    np.testing.assert_allclose(some(dataset.truth).positions, layouts.T_world_imu_cam()[:, :3, 3], atol=1e-9)


def test_files_that_are_missing_or_torn_are_counted(tmp_path: Path) -> None:
    path = layouts.uzh_fpv(tmp_path).path
    (path / "img" / "image_0_3.png").unlink()
    (path / "img" / "image_1_5.png").write_bytes(b"torn")
    with (path / "imu.txt").open("a") as file:
        file.write("300 16000")
    dataset = open_dataset(path)
    assert len(list(dataset.frames())) == recording_layouts.N - 1
    assert dataset.report.counts["left_images.txt: image files missing"] == 1
    assert dataset.report.counts["cam1: images that cannot be decoded, skipped"] == 1
    shutil.rmtree(path / "img")
    with pytest.raises(DataError, match="none of 0 left images can be decoded"):
        open_dataset(path)


def replace(name: str, before: str, after: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_text((path / name).read_text().replace(before, after))


@pytest.mark.parametrize(
    ("make", "damage", "message"),
    [
        (layouts.uzh_fpv, replace("left_images.txt", "16", "x"), r"none of 0 left images"),
        (layouts.uzh_fpv, replace("imu.txt", "16", "x"), r"imu\.txt: no usable row in 221: a stamp and then 6 numbers"),
        (layouts.uzh_fpv, replace("groundtruth.txt", " 0.", " 7."), r"groundtruth\.txt: no row has a unit quaternion"),
        (layouts.uzh_fpv, lambda path: (path / "camchain.yaml").touch(), "has several camera chains: camchain.yaml, "),
        (layouts.eth3d, lambda path: (path / "calibration2.txt").unlink(), r"calibration2\.txt: No such file"),
        (layouts.eth3d, replace("calibration.txt", "23.5", ""), r"calibration\.txt: 4 finite numbers needed, got 3"),
        (layouts.eth3d, replace("extrinsics_1_2.txt", "1.0", "3.0"), r"extrinsics_1_2\.txt is no rigid transform"),
        (layouts.openloris, lambda path: (path / "trans_matrix.yaml").unlink(), r"trans_matrix\.yaml: No such file"),
        (layouts.openloris, replace("trans_matrix.yaml", "fisheye2", "x"), "no transform joins t265_fisheye2_optical"),
        (layouts.openloris, replace("trans_matrix.yaml", "base_link", "x"), "no transform joins base_link and t265_g"),
        (layouts.openloris, replace("sensors.yaml", "Kannala", "x"), "distortion_model x-Brandt is not known; known"),
        (layouts.openloris, replace("sensors.yaml", "fisheye2", "x"), "t265_fisheye2_optical_frame is missing"),
        (layouts.openloris, replace("sensors.yaml", "0.996,", "x,"), "t265_gyroscope: imu_intrinsic must hold numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(
    tmp_path: Path, make: Callable[[Path], recording_layouts.Written], damage: Callable[[Path], object], message: str
) -> None:
    path = make(tmp_path).path
    damage(path)
    with pytest.raises(LetvinsError, match=message) as caught:
        list(open_dataset(path).frames())
    assert "\n" not in str(caught.value)


def test_truth_is_moved_to_the_body() -> None:
    from letvins_ros.datasets.placed import move_truth
    from letvins_ros.types import Trajectory

    T = layouts.T_WORLD_IMU[:5]
    truth = Trajectory(layouts.IMU_NS[:5], T[:, :3, 3], geometry.quaternion_xyzw(T[:, :3, :3]))
    moved = move_truth(truth, layouts.T_BASE_IMU)
    back = move_truth(moved, geometry.inverse(layouts.T_BASE_IMU))
    np.testing.assert_allclose(moved.positions, (T @ layouts.T_BASE_IMU)[:, :3, 3])
    np.testing.assert_allclose(back.positions, truth.positions, atol=1e-12)
