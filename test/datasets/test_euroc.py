# SPDX-License-Identifier: Apache-2.0
"""Each fault of a EuRoC folder is mended or skipped, counted, and named by an example."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.datasets import Dataset, open_dataset
from letvins_ros.errors import DataError
from letvins_ros.types import ImageFrame

from ..some import some
from . import recording_layouts as layouts

N = layouts.N


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return layouts.euroc(tmp_path / "sequence").path


def mav0(folder: Path, *parts: str) -> Path:
    return folder.joinpath("mav0", *parts)


def edit_rows(csv: Path, edit: Callable[[list[str]], list[str]]) -> None:
    heading, *rows = csv.read_text().splitlines()
    csv.write_text("\n".join([heading, *edit(rows)]) + "\n")


def image_file(folder: Path, camera: int, i: int) -> Path:
    return mav0(folder, f"cam{camera}", "data", f"{layouts.START_NS + i * layouts.PERIOD_NS}.png")


def read(folder: Path) -> tuple[Dataset, list[ImageFrame]]:
    dataset = open_dataset(folder)
    return dataset, list(dataset.frames())


def counts(dataset: Dataset, word: str) -> int:
    found = {kind: count for kind, count in dataset.report.counts.items() if word in kind}
    assert len(found) == 1, dataset.report
    return next(iter(found.values()))


def example(dataset: Dataset, word: str) -> str:
    return next(text for kind, text in dataset.report.examples.items() if word in kind)


def test_a_left_image_without_right_comes_alone(folder: Path) -> None:
    edit_rows(mav0(folder, "cam1", "data.csv"), lambda rows: rows[:4] + rows[6:])
    dataset, frames = read(folder)
    assert [frame.images[1] is None for frame in frames] == [i in (4, 5) for i in range(N)]
    assert counts(dataset, "left images without right") == 2
    assert example(dataset, "left images without right") == str(dataset.stamps_ns[4])


def test_a_right_image_without_left_is_dropped(folder: Path) -> None:
    edit_rows(mav0(folder, "cam0", "data.csv"), lambda rows: rows[:4] + rows[6:])
    dataset, frames = read(folder)
    assert len(frames) == N - 2
    assert counts(dataset, "right images without left") == 2


@pytest.mark.parametrize(("shift_ns", "paired"), [(4_900_000, True), (-4_900_000, True), (5_100_000, False)])
def test_images_pair_within_5_ms(folder: Path, shift_ns: int, paired: bool) -> None:
    def shift(rows: list[str]) -> list[str]:
        return [f"{int(stamp) + shift_ns},{name}" for stamp, name in (row.split(",") for row in rows)]

    edit_rows(mav0(folder, "cam1", "data.csv"), shift)
    _, frames = read(folder)
    assert {frame.images[1] is not None for frame in frames} == {paired}


@pytest.fixture
def four(folder: Path) -> Path:
    """The folder with a second pair, cam2 and cam3, that looks the other way."""
    turned = np.diag([1.0, -1.0, -1.0, 1.0])
    for new, old, T in ((2, 0, layouts.T_IMU_CAM), (3, 1, layouts.T_IMU_CAM @ layouts.T_CAM_RIGHT)):
        shutil.copytree(mav0(folder, f"cam{old}"), mav0(folder, f"cam{new}"))
        mav0(folder, f"cam{new}", "sensor.yaml").write_text(layouts.sensor_yaml(turned @ T))
    return folder


def test_four_cameras_are_read_each_with_its_own_image(four: Path) -> None:
    edited = layouts.image(1, 3)
    layouts.put_image(image_file(four, 2, 3), edited)
    dataset, frames = read(four)
    assert some(dataset.rig).groups == ((0, 1), (2, 3))
    assert [len(frame.images) for frame in frames] == [4] * N
    np.testing.assert_array_equal(frames[3].images[2], edited)
    np.testing.assert_array_equal(frames[4].images[3], layouts.image(1, 4))


def test_a_frame_comes_where_any_pair_has_its_lead(four: Path) -> None:
    image_file(four, 0, 2).unlink()
    image_file(four, 2, 4).unlink()
    image_file(four, 3, 5).unlink()
    dataset, frames = read(four)
    missing = [[i for i, frame in enumerate(frames) if frame.images[camera] is None] for camera in range(4)]
    assert (len(frames), missing) == (N, [[2], [2], [4], [4, 5]])
    assert counts(dataset, "frames without an image of cam0") == 1
    assert counts(dataset, "frames without an image of cam2") == 1
    assert counts(dataset, "cam2 images without cam3, used alone") == 1


def test_cameras_beyond_the_calibration_are_named(four: Path) -> None:
    rig = some(open_dataset(four).rig)
    three = open_dataset(four, replace(rig, cameras=rig.cameras[:3]))
    assert [len(frame.images) for frame in three.frames()] == [3] * N
    assert three.report.counts == {"cam3 is not used, as the calibration has 3 cameras": 1}


def test_half_of_the_right_images_deleted_leaves_those_frames_to_the_left_camera(folder: Path) -> None:
    for i in range(0, N, 2):
        image_file(folder, 1, i).unlink()
    dataset, frames = read(folder)
    assert [frame.images[1] is None for frame in frames] == [i % 2 == 0 for i in range(N)]
    assert counts(dataset, "cam1: image files missing") == N // 2


def test_a_deleted_left_image_drops_its_frame(folder: Path) -> None:
    image_file(folder, 0, 3).unlink()
    dataset, frames = read(folder)
    assert len(dataset) == len(frames) == N - 1
    assert example(dataset, "cam0: image files missing") == image_file(folder, 0, 3).name


@pytest.mark.parametrize("content", ["empty", "half", "junk"])
def test_a_corrupt_left_image_drops_its_frame_and_a_corrupt_right_one_only_itself(folder: Path, content: str) -> None:
    for camera, i in ((0, 5), (1, 7)):
        file = image_file(folder, camera, i)
        whole = file.read_bytes()
        file.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "junk": b"junk" * 50}[content])
    dataset, frames = read(folder)
    assert [frame.stamp_ns for frame in frames] == np.delete(dataset.stamps_ns, 5).tolist()
    assert [frame.stamp_ns for frame in frames if frame.images[1] is None] == [dataset.stamps_ns[7]]
    assert counts(dataset, "cam0: images that cannot be decoded") == 1
    assert example(dataset, "cam1: images that cannot be decoded") == image_file(folder, 1, 7).name


def test_one_image_of_another_size_is_skipped(folder: Path) -> None:
    layouts.put_image(image_file(folder, 0, 0), np.zeros((24, 32), np.uint8))
    dataset, frames = read(folder)
    assert len(frames) == N - 1
    assert "32x24, not 64x48" in example(dataset, "another size")


def test_many_images_of_another_size_are_skipped_where_others_fit(folder: Path) -> None:
    for i in range(1, N):
        layouts.put_image(image_file(folder, 1, i), np.zeros((24, 32), np.uint8))
    dataset, frames = read(folder)
    assert [frame.images[1] is None for frame in frames] == [False] + [True] * (N - 1)
    assert counts(dataset, "cam1: images of another size") == N - 1


@pytest.mark.parametrize("camera", [0, 1])
def test_all_images_of_another_size_are_an_error_with_both_sizes(folder: Path, camera: int) -> None:
    for i in range(N):
        layouts.put_image(image_file(folder, camera, i), np.zeros((24, 32), np.uint8))
    with pytest.raises(DataError, match=f"cam{camera}.* 32x24, not 64x48"):
        read(folder)


def test_no_readable_image_is_an_error(folder: Path) -> None:
    for i in range(N):
        image_file(folder, 0, i).write_bytes(b"")
    with pytest.raises(DataError, match=f"none of {N} left images"):
        read(folder)


@pytest.mark.parametrize("sensor", ["cam0", "cam1", "imu0", "state_groundtruth_estimate0"])
def test_shuffled_rows_are_sorted(folder: Path, sensor: str) -> None:
    whole = open_dataset(folder)
    edit_rows(mav0(folder, sensor, "data.csv"), lambda rows: np.random.default_rng(0).permutation(rows).tolist())
    dataset, frames = read(folder)
    assert [frame.stamp_ns for frame in frames] == whole.stamps_ns.tolist()
    assert all(np.array_equal(some(frame.images[1]), layouts.image(1, i)) for i, frame in enumerate(frames))
    assert np.array_equal(some(dataset.imu).gyro, some(whole.imu).gyro)
    assert np.array_equal(some(dataset.truth).positions, some(whole.truth).positions)
    assert counts(dataset, f"{sensor}/data.csv: rows out of time order") > 1


def test_of_rows_with_one_stamp_the_first_stays(folder: Path) -> None:
    edit_rows(
        mav0(folder, "imu0", "data.csv"), lambda rows: [*rows[:10], rows[9].split(",")[0] + ",9,9,9,9,9,9", *rows[10:]]
    )
    edit_rows(mav0(folder, "cam0", "data.csv"), lambda rows: [*rows, rows[3]])
    dataset, frames = read(folder)
    assert len(frames) == N
    assert some(dataset.imu).gyro.max() < 9
    assert counts(dataset, "imu0/data.csv: rows with a stamp seen before") == 1
    assert counts(dataset, "cam0/data.csv: rows with a stamp seen before") == 1


@pytest.mark.parametrize("sensor", ["cam0", "cam1", "imu0", "state_groundtruth_estimate0"])
def test_a_torn_last_line_is_skipped(folder: Path, sensor: str) -> None:
    csv = mav0(folder, sensor, "data.csv")
    text = csv.read_text()
    last = text.rstrip().rpartition("\n")[2]
    csv.write_text(text[: text.rindex(last)] + last[: last.index(",") - 3])
    dataset, _ = read(folder)
    assert counts(dataset, f"{sensor}/data.csv: rows that are torn") == 1


def test_rows_that_are_no_numbers_are_skipped(folder: Path) -> None:
    edit_rows(
        mav0(folder, "imu0", "data.csv"), lambda rows: [*rows[:5], "hello,1,2,3,4,5,6", "12,a,b", "\0\0\0", *rows[5:]]
    )
    dataset = open_dataset(folder)
    assert len(some(dataset.imu)) == len(some(open_dataset(folder).truth))
    assert counts(dataset, "imu0/data.csv: rows that are torn or not numbers") == 3
    assert example(dataset, "not numbers") == "'hello,1,2,3,4,5,6'"


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "NaN"])
def test_imu_rows_that_are_not_finite_are_skipped(folder: Path, bad: str) -> None:
    def spoil(rows: list[str]) -> list[str]:
        return [row if i not in (7, 8) else ",".join([*row.split(",")[:-1], bad]) for i, row in enumerate(rows)]

    edit_rows(mav0(folder, "imu0", "data.csv"), spoil)
    dataset = open_dataset(folder)
    assert np.isfinite(some(dataset.imu).accel).all()
    assert len(some(dataset.imu)) == len(some(dataset.truth)) - 2
    assert counts(dataset, "NaN or inf") == 2
    assert example(dataset, "NaN or inf") == str(some(dataset.truth).stamps_ns[7])


def test_a_gap_in_the_imu_is_reported_with_its_length(folder: Path) -> None:
    edit_rows(mav0(folder, "imu0", "data.csv"), lambda rows: rows[:50] + rows[149:])
    dataset = open_dataset(folder)
    assert counts(dataset, "imu: gaps") == 1
    assert example(dataset, "imu: gaps").startswith("500.0 ms after")


def test_a_gap_in_the_images_is_reported(folder: Path) -> None:
    edit_rows(mav0(folder, "cam0", "data.csv"), lambda rows: rows[:4] + rows[8:])
    assert counts(open_dataset(folder), "frames: gaps") == 1


def test_truth_rows_without_a_unit_quaternion_are_skipped(folder: Path) -> None:
    edit_rows(
        mav0(folder, "state_groundtruth_estimate0", "data.csv"),
        lambda rows: [rows[0].split(",")[0] + ",0" * 16, *rows[1:]],
    )
    dataset = open_dataset(folder)
    assert np.allclose(np.linalg.norm(some(dataset.truth).quaternions, axis=1), 1)
    assert counts(dataset, "unit quaternion") == 1


def test_without_imu_folder_there_is_no_imu(folder: Path) -> None:
    for file in sorted(mav0(folder, "imu0").iterdir()):
        file.unlink()
    mav0(folder, "imu0").rmdir()
    dataset, frames = read(folder)
    assert dataset.imu is None
    assert some(dataset.rig).imu is None
    assert len(frames) == N


def test_without_the_second_camera_the_recording_is_mono(folder: Path) -> None:
    mav0(folder, "cam1").rename(folder / "gone")
    _, frames = read(folder)
    assert {len(frame.images) for frame in frames} == {1}


def test_the_folder_mav0_itself_is_the_same_recording(folder: Path) -> None:
    dataset = open_dataset(mav0(folder))
    assert dataset.name == folder.name
    assert len(list(dataset.frames())) == N


def test_without_sensor_yaml_there_is_no_rig(folder: Path) -> None:
    for sensor in ("cam0", "cam1", "imu0"):
        mav0(folder, sensor, "sensor.yaml").unlink()
    dataset, frames = read(folder)
    assert dataset.rig is None
    assert len(frames[0].images) == 2


def test_windows_line_ends_and_a_heading_without_hash_are_read(folder: Path) -> None:
    for sensor in ("cam0", "imu0"):
        csv = mav0(folder, sensor, "data.csv")
        csv.write_bytes(csv.read_text().lstrip("#").replace("\n", "\r\n").replace(",", ", ").encode())
    dataset, frames = read(folder)
    assert len(frames) == N
    assert dataset.report.counts == {}


@pytest.mark.parametrize(
    "break_it", ["no images", "empty csv", "no csv", "no imu rows", "empty folder", "missing", "a file"]
)
def test_what_cannot_be_used_is_one_line_that_names_the_place(folder: Path, tmp_path: Path, break_it: str) -> None:
    path = folder
    if break_it == "no images":
        for i in range(N):
            image_file(folder, 0, i).unlink()
    elif break_it == "empty csv":
        mav0(folder, "cam0", "data.csv").write_text("#timestamp [ns],filename\n")
    elif break_it == "no csv":
        mav0(folder, "cam0", "data.csv").unlink()
    elif break_it == "no imu rows":
        mav0(folder, "imu0", "data.csv").write_text("# nothing\n")
    elif break_it == "empty folder":
        path = tmp_path / "empty"
        path.mkdir()
    elif break_it == "missing":
        path = tmp_path / "nowhere"
    else:
        path = tmp_path / "file.txt"
        path.write_text("text")
    with pytest.raises(DataError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_imu_rows_in_bursts_are_spread_and_told(folder: Path) -> None:
    def burst(rows: list[str]) -> list[str]:
        cells = [row.split(",") for row in rows]
        last = [cells[min(i // 10 * 10 + 9, len(cells) - 1)][0] for i in range(len(cells))]
        return [
            ",".join([stamp, str(0.001 * i), *row[2:]]) for i, (stamp, row) in enumerate(zip(last, cells, strict=True))
        ]

    sound = some(open_dataset(folder).imu)
    edit_rows(mav0(folder, "imu0", "data.csv"), burst)
    dataset = open_dataset(folder)
    assert len(some(dataset.imu)) == len(sound)
    assert np.abs(some(dataset.imu).stamps_ns - sound.stamps_ns).max() < 5_000_000
    assert "imu0/data.csv: readings come in bursts of 10, spread evenly over the time between" in dataset.report.notes
