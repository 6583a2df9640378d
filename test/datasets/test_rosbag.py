# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from letvins_ros.datasets import open_dataset
from letvins_ros.datasets.base import Dataset
from letvins_ros.datasets.rosbag_writer import Kind, write_bag
from letvins_ros.errors import DataError
from letvins_ros.types import GnssFixes, ImageFrame

from ..some import some
from . import bag_making as making
from . import recording_layouts as layouts

STORE = get_typestore(Stores.ROS2_HUMBLE)
TIME, HEADER, COMPRESSED = (
    STORE.types[name]
    for name in ("builtin_interfaces/msg/Time", "std_msgs/msg/Header", "sensor_msgs/msg/CompressedImage")
)
NAMES = [f"/cam{i}/image_raw/compressed" for i in range(2)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(layouts.euroc(tmp_path_factory.mktemp("euroc")).path)


def write_compressed(path: Path, records: Sequence[tuple[int, int, int, np.ndarray | None]]) -> Path:
    """records: record time in ns, camera, header stamp in ns, png pixels."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topics = [writer.add_connection(name, COMPRESSED.__msgtype__, typestore=STORE) for name in NAMES]
        for at_ns, camera, stamp_ns, pixels in records:
            data = cv2.imencode(".png", pixels)[1].ravel() if pixels is not None else np.zeros(3, np.uint8)
            made = COMPRESSED(HEADER(TIME(*divmod(stamp_ns, 10**9)), ""), "png", data)
            writer.write(topics[camera], at_ns, STORE.serialize_cdr(made, COMPRESSED.__msgtype__))
    return path


def test_header_stamps_count_and_late_or_shuffled_records_are_paired(tmp_path: Path) -> None:
    stamps = layouts.START_NS + layouts.PERIOD_NS * np.arange(layouts.N)
    records = [(int(s) + i * 7, c, int(s), layouts.image(c, i)) for c in range(2) for i, s in enumerate(stamps)]
    order = np.random.default_rng(0).permutation(len(records))
    shuffled = [(1000 + k, *records[i][1:]) for k, i in enumerate(order)]
    dataset = open_dataset(write_compressed(tmp_path / "bag", shuffled))
    frames = list(dataset.frames())
    assert [frame.stamp_ns for frame in frames] == stamps.tolist()
    for i, frame in enumerate(frames):
        assert all(np.array_equal(some(frame.images[c]), layouts.image(c, i)) for c in range(2))


def test_lost_images_leave_the_left_one_alone_or_are_dropped(tmp_path: Path) -> None:
    stamps = layouts.START_NS + layouts.PERIOD_NS * np.arange(6)
    lost = {(1, 2), (0, 4)}
    records = [
        (int(s), c, int(s), layouts.image(c, i)) for i, s in enumerate(stamps) for c in range(2) if (c, i) not in lost
    ]
    dataset = open_dataset(write_compressed(tmp_path / "bag", records))
    frames = list(dataset.frames())
    assert [frame.stamp_ns for frame in frames] == stamps[[0, 1, 2, 3, 5]].tolist()
    assert [frame.images[1] is None for frame in frames] == [False, False, True, False, False]
    assert dataset.report.counts == {
        "left images without right, used alone": 1,
        "right images without left, dropped": 1,
    }


def test_images_that_cannot_be_decoded_are_skipped_and_counted(tmp_path: Path) -> None:
    records = [(s, c, s * 10**8, None if s == 2 else layouts.image(c, s)) for s in range(5) for c in range(2)]
    dataset = open_dataset(write_compressed(tmp_path / "bag", records))
    assert [frame.stamp_ns for frame in dataset.frames()] == [0, 10**8, 3 * 10**8, 4 * 10**8]
    assert dataset.report.examples["cam0: images that cannot be decoded, skipped"] == f"{NAMES[0]} 200000000"


@pytest.mark.parametrize("kind", ["sqlite3", "mcap"])
def test_a_storage_file_is_read_alone_and_in_a_folder_without_metadata(
    tmp_path: Path, source: Dataset, kind: Kind
) -> None:
    write_bag(source, tmp_path / "bag", kind)
    (storage,) = [file for file in (tmp_path / "bag").iterdir() if file.suffix in (".db3", ".mcap")]
    assert len(list(open_dataset(storage).frames())) == layouts.N
    (tmp_path / "bag" / "metadata.yaml").unlink()
    assert len(list(open_dataset(tmp_path / "bag").frames())) == layouts.N


def test_a_mono_recording_stays_mono_but_for_a_stereo_rig(tmp_path: Path, source: Dataset) -> None:
    path = layouts.tartanair_v1(tmp_path / "P000").path
    (path / "image_right").rename(tmp_path / "gone")
    write_bag(open_dataset(path), tmp_path / "mono.bag", "ros1")
    assert {len(frame.images) for frame in open_dataset(tmp_path / "mono.bag").frames()} == {1}
    frames = open_dataset(tmp_path / "mono.bag", source.rig).frames()
    assert {(len(frame.images), frame.images[1] is None) for frame in frames} == {(2, True)}


def test_numbers_survive_the_bag_unchanged(tmp_path: Path, source: Dataset) -> None:
    write_bag(source, tmp_path / "r.bag", "ros1")
    read = open_dataset(tmp_path / "r.bag")
    assert np.array_equal(some(read.imu).stamps_ns, some(source.imu).stamps_ns)
    assert np.array_equal(some(read.imu).accel, some(source.imu).accel)
    assert np.array_equal(some(read.truth).quaternions, some(source.truth).quaternions)


def test_colours_survive_the_bag_unchanged(tmp_path: Path) -> None:
    path = layouts.euroc(tmp_path / "euroc").path
    pixels = np.random.default_rng(0).integers(0, 256, (layouts.HEIGHT, layouts.WIDTH, 3), dtype=np.uint8)
    for file in path.glob("mav0/cam*/data/*.png"):
        cv2.imwrite(str(file), pixels[..., ::-1])
    write_bag(open_dataset(path, color=True), tmp_path / "r.bag", "ros1")
    for frame in open_dataset(tmp_path / "r.bag", color=True).frames():
        assert all(np.array_equal(some(image), pixels) for image in frame.images)


def test_a_bag_is_not_overwritten_and_an_unfinished_one_not_left(tmp_path: Path, source: Dataset) -> None:
    (tmp_path / "there.bag").write_bytes(b"")
    with pytest.raises(DataError, match="exists already"):
        write_bag(source, tmp_path / "there.bag", "ros1")

    class Broken(Any):
        imu, gnss, truth = source.imu, source.gnss, source.truth

        def frames(self) -> Iterator[ImageFrame]:
            yield next(source.frames())
            raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        write_bag(Broken(), tmp_path / "new", "mcap")
    assert [file.name for file in tmp_path.iterdir()] == ["there.bag"]


@pytest.mark.parametrize("kind", ["ros1", "sqlite3", "mcap"])
def test_a_damaged_bag_is_one_line_that_names_it(tmp_path: Path, source: Dataset, kind: Kind) -> None:
    path = making.target(tmp_path, kind)
    write_bag(source, path, kind)
    storage = making.storage_of(path)
    storage.write_bytes(storage.read_bytes()[: storage.stat().st_size // 2])
    with pytest.raises(DataError, match="r") as error:
        list(open_dataset(path).frames())
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_topics_that_leave_no_choice_are_an_error_that_names_the_bag(tmp_path: Path) -> None:
    path = write_compressed(tmp_path / "bag", [(0, 1, 0, layouts.image(1, 0))])
    assert len(list(open_dataset(path).frames())) == 1  # one image topic, whatever its name
    with Writer(tmp_path / "none", version=8, storage_plugin=StoragePlugin.MCAP):
        pass
    with pytest.raises(DataError, match="none: "):
        open_dataset(tmp_path / "none")


@pytest.mark.parametrize("name", ["a.bag", "a.db3", "a.mcap"])
def test_an_empty_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=name):
        open_dataset(tmp_path / name)


@pytest.mark.parametrize("kind", ["ros1", "mcap"])
def test_fixes_of_a_bag_are_read_with_what_is_known_of_them(
    source: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    stamps, places = (
        source.stamps_ns[[1, 3, 4]],
        np.array([[47.0, 8.0, 400.0], [47.1, 8.1, 401.0], [-33.0, 151.0, 5.0]]),
    )
    std = np.array([[1.0, 2.0, 3.0], [np.nan] * 3, [0.01, 0.01, 0.02]])
    monkeypatch.setattr(source, "gnss", GnssFixes(stamps, places, std))
    path = tmp_path / "fixes.bag"
    write_bag(source, path, kind)
    read = open_dataset(path)
    np.testing.assert_array_equal(some(read.gnss).stamps_ns, stamps)
    np.testing.assert_array_equal(some(read.gnss).geodetic, places)
    np.testing.assert_allclose(some(read.gnss).std, std)
    assert "--topic gnss=/gnss" in read.report.notes[0]
