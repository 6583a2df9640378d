# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.config import InputConfig
from letvins_ros.datasets import open_dataset
from letvins_ros.errors import DataError

from ..some import some
from . import recording_layouts as layouts


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    return layouts.kitti(tmp_path).path


def test_the_body_is_the_left_camera_and_forward_is_the_worlds_x(sequence: Path) -> None:
    straight = np.tile(np.eye(4)[:3], (layouts.N, 1, 1))
    straight[:, 2, 3] = np.arange(layouts.N)  # along the camera's z axis
    np.savetxt(sequence.parents[1] / "poses" / "07.txt", straight.reshape(-1, 12))
    dataset = open_dataset(sequence)
    assert np.array_equal(some(dataset.rig).cameras[0].T_body_cam, np.eye(4))
    assert np.allclose(some(dataset.truth).positions, np.outer(np.arange(layouts.N), [1, 0, 0]))


def test_test_sequences_have_no_truth(sequence: Path) -> None:
    (sequence.parents[1] / "poses" / "07.txt").unlink()
    assert open_dataset(sequence).truth is None


def test_times_that_do_not_increase_are_an_error(sequence: Path) -> None:
    (sequence / "times.txt").write_text("0.0\n0.1\n0.1\n0.2\n")
    with pytest.raises(DataError, match="frame 2 has a time not after"):
        open_dataset(sequence)


def test_fewer_times_than_images_drop_the_rest(sequence: Path) -> None:
    (sequence / "times.txt").write_text("0.0\n0.1\n0.2\n")
    dataset = open_dataset(sequence)
    assert len(list(dataset.frames())) == 3
    assert dataset.report.counts["cam0: images beyond the last stamp, dropped"] == layouts.N - 3


@pytest.mark.parametrize(
    ("file", "content"), [("calib.txt", "P0: 1 2 3\n"), ("calib.txt", ""), ("times.txt", "a\nb\n"), ("times.txt", "")]
)
def test_a_file_that_cannot_be_read_is_named(sequence: Path, file: str, content: str) -> None:
    (sequence / file).write_text(content)
    with pytest.raises(DataError, match=file):
        open_dataset(sequence)


def test_colour_cameras_are_read_where_there_is_no_gray_and_when_they_are_chosen(tmp_path: Path) -> None:
    sequence = layouts.kitti(tmp_path).path
    for i in range(2):
        shutil.copytree(sequence / f"image_{i}", sequence / f"image_{i + 2}")
    chosen = some(open_dataset(sequence, inputs=InputConfig(cameras="2,3")).rig)
    assert [mounted.T_body_cam[0, 3] for mounted in chosen.cameras] == [-3.0 / 50, 9.0 / 50]
    assert [mounted.T_body_cam[0, 3] for mounted in some(open_dataset(sequence).rig).cameras] == [0.0, layouts.BASELINE]
    for i in range(2):
        shutil.rmtree(sequence / f"image_{i}")
    assert [mounted.T_body_cam[0, 3] for mounted in some(open_dataset(sequence).rig).cameras] == [-3.0 / 50, 9.0 / 50]


def test_poses_may_lie_beside_the_images_and_have_sixteen_columns(tmp_path: Path) -> None:
    sequence = layouts.kitti(tmp_path).path
    truth = some(open_dataset(sequence).truth)
    rows = np.loadtxt(tmp_path / "poses" / "07.txt")
    (tmp_path / "poses" / "07.txt").unlink()
    np.savetxt(sequence / "poses.txt", np.hstack([rows, np.tile([0, 0, 0, 1], (len(rows), 1))]))
    np.testing.assert_allclose(some(open_dataset(sequence).truth).positions, truth.positions)


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".PNG"])
def test_images_may_have_any_common_suffix(tmp_path: Path, suffix: str) -> None:
    sequence = layouts.kitti(tmp_path).path
    for file in list(sequence.glob("image_*/*.png")):
        file.rename(file.with_suffix(suffix))
    assert len(list(open_dataset(sequence).frames())) == layouts.N


def test_of_a_folder_of_recordings_those_are_named_that_lie_below_it(tmp_path: Path) -> None:
    layouts.kitti(tmp_path / "kitti")
    layouts.euroc(tmp_path / "room" / "b")
    with pytest.raises(DataError, match=r": is a folder of recordings; name one of kitti/sequences/07, room/b$"):
        open_dataset(tmp_path)
    for i in range(14):
        (tmp_path / "many" / f"{i:02d}" / "image_left").mkdir(parents=True)
    with pytest.raises(DataError, match=r"name one of 00, .*, 11, \.\.$"):
        open_dataset(tmp_path / "many")
