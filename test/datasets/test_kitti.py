# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import recording_layouts as layouts

from letvins_ros.datasets import open_dataset
from letvins_ros.errors import DataError


@pytest.fixture
def sequence(tmp_path):
    return layouts.kitti(tmp_path).path


def test_the_body_is_the_left_camera_and_forward_is_the_worlds_x(sequence):
    straight = np.tile(np.eye(4)[:3], (layouts.N, 1, 1))
    straight[:, 2, 3] = np.arange(layouts.N)  # along the camera's z axis
    np.savetxt(sequence.parents[1] / "poses" / "07.txt", straight.reshape(-1, 12))
    dataset = open_dataset(sequence)
    assert np.array_equal(dataset.rig.cameras[0].T_body_cam, np.eye(4))
    assert np.allclose(dataset.truth.positions, np.outer(np.arange(layouts.N), [1, 0, 0]))


def test_test_sequences_have_no_truth(sequence):
    (sequence.parents[1] / "poses" / "07.txt").unlink()
    assert open_dataset(sequence).truth is None


def test_times_that_do_not_increase_are_an_error(sequence):
    (sequence / "times.txt").write_text("0.0\n0.1\n0.1\n0.2\n")
    with pytest.raises(DataError, match="frame 2 has a time not after"):
        open_dataset(sequence)


def test_fewer_times_than_images_drop_the_rest(sequence):
    (sequence / "times.txt").write_text("0.0\n0.1\n0.2\n")
    dataset = open_dataset(sequence)
    assert len(list(dataset.frames())) == 3
    assert dataset.report.counts["cam0: images beyond the last stamp, dropped"] == layouts.N - 3


@pytest.mark.parametrize(
    ("file", "content"), [("calib.txt", "P0: 1 2 3\n"), ("calib.txt", ""), ("times.txt", "a\nb\n"), ("times.txt", "")]
)
def test_a_file_that_cannot_be_read_is_named(sequence, file, content):
    (sequence / file).write_text(content)
    with pytest.raises(DataError, match=file):
        open_dataset(sequence)
