# SPDX-License-Identifier: Apache-2.0
"""Recordings that are written while they are read: what is there is read, and nothing is invented."""

import multiprocessing
import os
import shutil
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.datasets import open_dataset
from letvins_ros.errors import LetvinsError

from ..some import some
from . import bag_making as making
from . import listed_layouts
from . import recording_layouts as layouts

FOLDERS = {
    "euroc": (layouts.euroc, ["mav0/cam0/data.csv", "mav0/cam1/data.csv", "mav0/imu0/data.csv"]),
    "uzh-fpv": (listed_layouts.uzh_fpv, ["left_images.txt", "right_images.txt", "imu.txt", "groundtruth.txt"]),
    "openloris": (listed_layouts.openloris, ["fisheye1.txt", "fisheye2.txt", "t265_gyroscope.txt"]),
    "4seasons": (listed_layouts.four_seasons, ["imu.txt", "GNSSPoses.txt"]),
}


@pytest.mark.parametrize("share", [0.4, 0.61, 0.83])
@pytest.mark.parametrize("name", FOLDERS)
def test_of_a_folder_that_grows_the_whole_rows_and_images_are_read(tmp_path: Path, name: str, share: float) -> None:
    make, tables = FOLDERS[name]
    path = make(tmp_path).path
    whole = {path / table: (path / table).read_bytes() for table in tables}
    images = sorted(path.rglob("*.png"))
    whole |= {file: file.read_bytes() for file in images[len(images) // 2 - 1 : len(images) // 2]}
    for file, data in whole.items():  # the last row, and one image, are written by half
        file.write_bytes(data[: int(len(data) * share)])
    dataset = open_dataset(path)
    expected, frames = dataset.stamps_ns.tolist(), dataset.frames()
    read = [next(frames)]
    for file, data in whole.items():
        file.write_bytes(data)
    read += list(frames)
    assert len(expected) - 1 <= len(read) <= len(expected)
    assert {frame.stamp_ns for frame in read} <= set(expected)
    for frame in read:
        i = (frame.stamp_ns - layouts.START_NS) // layouts.PERIOD_NS
        for camera, image in enumerate(frame.images):
            assert image is None or np.array_equal(image, layouts.image(camera, i))
    assert len(open_dataset(path)) == layouts.N


def test_of_an_mcap_that_grows_what_was_there_is_read(tmp_path: Path) -> None:
    path = making.write(tmp_path / "r", making.stereo_imu(seconds=60.0))
    file = next(one for one in path.iterdir() if one.suffix == ".mcap")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 3])
    dataset = open_dataset(file)
    frames = dataset.frames()
    read = [next(frames)]
    with file.open("r+b") as growing:
        growing.write(data)
    read += list(frames)
    assert [frame.stamp_ns for frame in read] == dataset.stamps_ns.tolist()
    assert 100 < len(read) < 600
    assert len(open_dataset(file)) == 600


def record(source: Path, target: Path, mode: str) -> None:
    """Write the messages of one database into another, some at a time, as a recorder does."""
    rows = sqlite3.connect(source)
    out = sqlite3.connect(target, isolation_level=None)
    out.execute(f"PRAGMA journal_mode={mode}")
    for (made,) in rows.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"):
        out.execute(made)
    for table, order in (("topics", "id"), ("messages", "timestamp")):
        for i, row in enumerate(rows.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall()):
            if i % 20 == 0:
                out.execute("BEGIN")
            out.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
            if i % 20 == 19:
                out.execute("COMMIT")
                time.sleep(0.001)
        if out.in_transaction:
            out.execute("COMMIT")
    out.close()


def written(stamp_ns: int) -> np.ndarray:
    """The left image that `bag_making` writes at this time."""
    return layouts.image(0, (stamp_ns - making.START_NS) // layouts.PERIOD_NS)


@pytest.mark.parametrize("mode", ["MEMORY", "WAL"])  # rosbag2's, by default and where it is to be resilient
def test_a_database_that_grows_is_read_or_told_to_be_written_and_its_recorder_goes_on(
    tmp_path: Path, mode: str
) -> None:
    path = making.write(tmp_path / "r", making.stereo_imu(seconds=20.0), "sqlite3")
    source, target = next(one for one in path.iterdir() if one.suffix == ".db3"), tmp_path / "new" / "x.db3"
    target.parent.mkdir()
    recorder = multiprocessing.get_context("spawn").Process(target=record, args=(source, target, mode))
    recorder.start()
    told = set()
    while recorder.is_alive():
        try:
            if target.exists():
                dataset = open_dataset(target)
                frames = list(dataset.frames())
                # no lock is waited for, so a frame on a page between two states may be missing, but none is wrong
                assert 0 < len(frames) <= len(dataset) <= 200
                assert all(np.array_equal(some(frame.images[0]), written(frame.stamp_ns)) for frame in frames)
        except LetvinsError as error:
            told.add(str(error))
    recorder.join()
    assert recorder.exitcode == 0
    known = ("is being written or cut short", "the file is empty", "0 image topics", "no image in", "is no ROS 2 bag")
    assert all(any(text in message for text in known) for message in told), told
    assert len(open_dataset(target)) == 200


def test_an_old_database_that_is_cut_short_is_not_being_written(tmp_path: Path) -> None:
    path = making.write(tmp_path / "r", making.stereo_imu(seconds=6), "sqlite3")
    file = next(one for one in path.iterdir() if one.suffix == ".db3")
    shutil.copy(file, tmp_path / "a.db3")
    (tmp_path / "a.db3").write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for age_s, message in ((0, "is being written or cut short"), (60, "the bag is damaged or cut short")):
        os.utime(tmp_path / "a.db3", (time.time() - age_s,) * 2)
        with pytest.raises(LetvinsError, match=message):
            list(open_dataset(tmp_path / "a.db3").frames())
