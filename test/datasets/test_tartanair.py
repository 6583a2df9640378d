# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.config import InputConfig
from letvins_ros.datasets import open_dataset
from letvins_ros.errors import DataError

from ..some import some
from . import recording_layouts as layouts

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "tartanair_v1_sample" / "P000"


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    return layouts.tartanair_v1(tmp_path / "P001").path


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    return layouts.tartanair_v2(tmp_path / "P001").path


def test_v1_says_that_its_imu_and_times_are_assumed(v1: Path) -> None:
    report = open_dataset(v1).report
    assert report.examples == {
        "frames without times": "taken as 10 Hz",
        "imu: readings made from the true poses, as there are none": "spline, 200 Hz",
    }


def test_the_frame_rate_can_be_given(v1: Path) -> None:
    dataset = open_dataset(v1, frame_rate_hz=20.0)
    assert set(np.diff(dataset.stamps_ns)) == {50_000_000}
    assert np.allclose(np.linalg.norm(some(dataset.imu).gyro, axis=1), 2 * layouts.RATE[2], atol=1e-3)


def test_v2_keeps_its_own_imu(v2: Path) -> None:
    dataset = open_dataset(v2)
    assert dataset.report.counts == {}
    assert set(np.diff(some(dataset.imu).stamps_ns)) == {10_000_000}
    assert some(some(dataset.rig).imu).rate_hz == 100


def test_v2_imu_without_a_finite_row_is_an_error(v2: Path) -> None:
    np.save(v2 / "imu" / "acc.npy", np.full((110, 3), np.nan))
    with pytest.raises(DataError, match="P001: no usable IMU reading"):
        open_dataset(v2)


def test_v2_reads_text_where_there_is_no_binary_file(v2: Path) -> None:
    whole = open_dataset(v2)
    for file in sorted((v2 / "imu").glob("*.npy")):
        np.savetxt(file.with_suffix(".txt"), np.load(file))
        file.unlink()
    assert np.array_equal(some(open_dataset(v2).imu).accel, some(whole.imu).accel)


def test_v2_without_imu_gets_one_from_its_poses(v2: Path) -> None:
    (v2 / "imu" / "acc.npy").unlink()
    assert "imu: readings made from the true poses, as there are none" in open_dataset(v2).report.counts


def test_v2_intrinsics_are_those_of_a_square_90_degree_image(v2: Path) -> None:
    for file in v2.glob("image_*/*.png"):
        cv2.imwrite(str(file), np.zeros((640, 640), np.uint8))
    camera = some(open_dataset(v2).rig).cameras[0].camera
    assert camera.intrinsics == (320, 320, 320, 320)


def back_camera(v2: Path) -> None:
    """A camera that looks back from where the left one is."""
    front = np.loadtxt(v2 / "pose_lcam_front.txt")
    x, y, z, w = front[:, 3:].T
    np.savetxt(v2 / "pose_lcam_back.txt", np.column_stack([front[:, :3], y, -x, w, -z]))  # turned by pi about its own z
    for file in (v2 / "image_lcam_front").iterdir():
        path = v2 / "image_lcam_back" / file.name.replace("front", "back")
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), 255 - some(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)))


def test_v2_has_further_cameras_by_number_placed_by_their_poses(v2: Path) -> None:
    back_camera(v2)
    dataset = open_dataset(v2, inputs=InputConfig(cameras="0,1,6"))
    (front, _, back), frame = some(dataset.rig).cameras, next(iter(dataset.frames()))
    assert np.allclose(back.T_body_cam[:3, :3], np.diag([-1, -1, 1]) @ front.T_body_cam[:3, :3], atol=1e-9)
    assert np.allclose(back.T_body_cam[:3, 3], 0, atol=1e-9)
    assert np.array_equal(some(frame.images[2]), 255 - some(frame.images[0]))


@pytest.mark.parametrize(
    ("cameras", "gone", "message"),
    [
        ("0,7", (), "no folder image_rcam_back; cameras by number: lcam_front, rcam_front, lcam_left"),
        ("0,12", (), "no folder image_camera 12"),
        (
            "0,6",
            ("pose_lcam_back.txt",),
            "pose_lcam_back.txt are needed to place camera lcam_back",
        ),
    ],
)
def test_cameras_that_are_not_there_are_named(v2: Path, cameras: str, gone: tuple[str, ...], message: str) -> None:
    back_camera(v2)
    for name in gone:
        (v2 / name).unlink()
    with pytest.raises(DataError, match=message):
        open_dataset(v2, inputs=InputConfig(cameras=cameras))


def test_without_poses_there_is_neither_truth_nor_imu(v1: Path) -> None:
    (v1 / "pose_left.txt").unlink()
    dataset = open_dataset(v1)
    assert dataset.truth is None
    assert dataset.imu is None
    assert len(list(dataset.frames())) == layouts.N


def test_without_right_images_the_recording_is_mono_but_for_a_stereo_rig(v1: Path, tmp_path: Path) -> None:
    stereo = open_dataset(v1).rig
    (v1 / "image_right").rename(tmp_path / "gone")
    assert len(some(open_dataset(v1).rig).cameras) == 1
    assert {len(frame.images) for frame in open_dataset(v1).frames()} == {1}
    assert {frame.images[1] is None for frame in open_dataset(v1, stereo).frames()} == {True}


def test_missing_images_are_counted_by_camera(v1: Path) -> None:
    (v1 / "image_left" / "000003_left.png").unlink()
    (v1 / "image_right" / "000005_right.png").unlink()
    dataset = open_dataset(v1)
    frames = list(dataset.frames())
    assert [frame.stamp_ns // layouts.PERIOD_NS for frame in frames] == [i for i in range(layouts.N) if i != 3]
    assert [frame.stamp_ns // layouts.PERIOD_NS for frame in frames if frame.images[1] is None] == [5]
    assert dataset.report.examples["cam0: image files missing"] == "number 3"


@pytest.mark.parametrize("content", ["1 2 3\n4 5 6\n", "a b c\n", ""])
def test_a_pose_file_of_another_shape_is_an_error(v1: Path, content: str) -> None:
    (v1 / "pose_left.txt").write_text(content)
    with pytest.raises(DataError, match=r"pose_left\.txt: "):
        open_dataset(v1)


def test_imu_files_that_do_not_match_are_an_error(v2: Path) -> None:
    np.save(v2 / "imu" / "acc.npy", np.zeros((5, 3)))
    with pytest.raises(DataError, match="110 times, \\(110, 3\\) gyro and \\(5, 3\\) acc"):
        open_dataset(v2)


def test_an_empty_image_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "image_left").mkdir()
    with pytest.raises(DataError, match="no image whose name begins with six digits"):
        open_dataset(tmp_path)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the TartanAir sample is not beside this checkout")
def test_depth_and_poses_of_the_real_sample_carry_one_image_onto_another() -> None:
    """The frames are right only if points seen in one image fall on the same brightness in another."""
    dataset = open_dataset(SAMPLE)
    frames = list(dataset.frames())
    camera, T_body_cam = some(dataset.rig).cameras[0].camera, some(dataset.rig).cameras[0].T_body_cam
    assert camera.intrinsics == (320, 320, 320, 240)
    T_world_cam = geometry.from_quaternion(some(dataset.truth).positions, some(dataset.truth).quaternions) @ T_body_cam
    v, u = np.mgrid[:480:8, :640:8].reshape(2, -1)
    depth = np.load(SAMPLE / "depth_left" / "000000_left_depth.npy")[v, u]
    points = np.stack([(u - 320) / 320 * depth, (v - 240) / 320 * depth, depth], axis=1)
    moved = geometry.apply(geometry.inverse(T_world_cam[5]) @ T_world_cam[0], points)
    uv = (moved[:, :2] / moved[:, 2:] * 320 + [320, 240]).astype(np.float32)
    inside = ((uv > 0) & (uv < [639, 479])).all(axis=1)
    there = cv2.remap(some(frames[5].images[0]), uv[:, :1], uv[:, 1:], cv2.INTER_LINEAR).ravel()[inside]
    here, before = (some(frames[i].images[0])[v, u][inside].astype(float) for i in (0, 5))
    assert np.abs(there - here).mean() < 0.3 * np.abs(before - here).mean()
