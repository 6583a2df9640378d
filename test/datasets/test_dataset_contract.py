# SPDX-License-Identifier: Apache-2.0
"""What every Dataset promises, asked of every format."""

import threading
from collections.abc import Generator

import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.calibration import Rig, read_euroc_rig
from letvins_ros.datasets import open_dataset
from letvins_ros.datasets.base import Dataset
from letvins_ros.errors import DataError

from ..some import some
from . import listed_layouts
from . import recording_layouts as layouts

LAYOUTS = layouts.LAYOUTS | listed_layouts.LAYOUTS


@pytest.fixture(scope="module", params=LAYOUTS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> layouts.Written:
    return LAYOUTS[request.param](tmp_path_factory.mktemp("recording"))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return read_euroc_rig(layouts.euroc(tmp_path_factory.mktemp("rig")).path)


@pytest.fixture
def dataset(written: layouts.Written, rig: Rig) -> Dataset:
    return open_dataset(written.path, None if written.own_rig else rig)


def T_world_body(dataset: Dataset, stamps_ns: np.ndarray) -> np.ndarray:
    truth = some(dataset.truth)
    rows = np.searchsorted(truth.stamps_ns, stamps_ns)
    assert (np.abs(truth.stamps_ns[rows] - stamps_ns) < 1000).all()
    return geometry.from_quaternion(truth.positions[rows], truth.quaternions[rows])


def test_frames_come_in_time_order_at_the_stamps_that_were_promised(dataset: Dataset) -> None:
    stamps = [frame.stamp_ns for frame in dataset.frames()]
    assert stamps == dataset.stamps_ns.tolist()
    assert len(dataset) == len(stamps) == layouts.N
    assert np.allclose(np.diff(dataset.stamps_ns), layouts.PERIOD_NS, atol=1000)


def test_images_are_those_that_were_written_left_first(dataset: Dataset, written: layouts.Written) -> None:
    for i, frame in enumerate(dataset.frames()):
        assert len(frame.images) == 2
        for camera, pixels in enumerate(frame.images):
            error = np.abs(some(pixels).astype(int) - layouts.image(camera, i))
            assert error.max() == 0 if written.exact_pixels else error.mean() < 5


def test_every_pass_gives_the_same_frames(dataset: Dataset) -> None:
    for a, b in zip(dataset.frames(), dataset.frames(), strict=True):
        assert a.stamp_ns == b.stamp_ns
        assert all(np.array_equal(some(x), some(y)) for x, y in zip(a.images, b.images, strict=True))


def test_a_span_gives_the_frames_within_it(dataset: Dataset) -> None:
    stamps = [frame.stamp_ns for frame in dataset.frames(start_s=0.25, duration_s=0.3)]
    assert stamps == dataset.stamps_ns[3:6].tolist()


def test_a_span_without_frames_is_an_error_that_tells_the_length(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"lasts 1\.10 s"):
        dataset.frames(start_s=50.0)


def test_the_camera_moves_as_it_did_whatever_the_body_is(dataset: Dataset) -> None:
    T_body_cam = some(dataset.rig).cameras[0].T_body_cam
    T_world_cam = T_world_body(dataset, dataset.stamps_ns) @ T_body_cam
    expected = layouts.T_world_cam(layouts.frame_seconds())
    assert np.allclose(
        geometry.inverse(T_world_cam[0]) @ T_world_cam, geometry.inverse(expected[0]) @ expected, atol=1e-6
    )


def test_the_right_camera_sits_a_baseline_to_the_right_of_the_left_one(dataset: Dataset) -> None:
    left, right = (mounted.T_body_cam for mounted in some(dataset.rig).cameras)
    assert np.allclose(geometry.inverse(left) @ right, layouts.T_CAM_RIGHT, atol=1e-9)


def test_the_imu_reads_what_the_motion_makes_it_read(dataset: Dataset, written: layouts.Written) -> None:
    if not written.has_imu:
        assert dataset.imu is None
        return
    start = T_world_body(dataset, dataset.stamps_ns[:1])[0]  # the world has z up and turns about its origin
    start[:3, 3] += written.origin
    gyro, accel = layouts.imu_readings(start, len(some(dataset.imu)))
    assert np.allclose(some(dataset.imu).gyro, gyro, atol=1e-3)
    assert np.allclose(some(dataset.imu).accel, accel, atol=2e-3)
    assert (np.diff(some(dataset.imu).stamps_ns) > 0).all()
    assert some(dataset.imu).stamps_ns[0] <= dataset.stamps_ns[0]
    assert some(dataset.imu).stamps_ns[-1] > dataset.stamps_ns[-2]


def test_nothing_is_reported_of_a_sound_recording_but_what_was_assumed(dataset: Dataset) -> None:
    list(dataset.frames())
    assert {
        kind for kind in dataset.report.counts if not kind.startswith(("frames without times", "imu: readings made"))
    } == set()


def test_a_rig_of_one_camera_reads_the_left_images_only(written: layouts.Written, rig: Rig) -> None:
    own = some(open_dataset(written.path, None if written.own_rig else rig).rig)
    mono = open_dataset(written.path, Rig(own.cameras[:1], own.imu))
    assert {len(frame.images) for frame in mono.frames()} == {1}


def test_colour_images_are_rgb(written: layouts.Written, rig: Rig) -> None:
    frame = next(open_dataset(written.path, None if written.own_rig else rig, color=True).frames())
    assert some(frame.images[0]).shape == (layouts.HEIGHT, layouts.WIDTH, 3)


def test_a_consumer_who_stops_early_leaves_no_worker_behind(dataset: Dataset) -> None:
    frames = dataset.frames()
    assert isinstance(frames, Generator)
    next(frames)
    frames.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
