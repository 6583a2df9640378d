# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

from letvins_ros.datasets import Dataset, images
from letvins_ros.errors import DataError

from ..some import some


def gray(level: int) -> np.ndarray:
    return np.full((48, 64), level, np.uint8)


def levels(recording: Dataset) -> list[int]:
    return [round(float(some(frame.images[0]).mean())) for frame in recording.frames()]


def test_images_of_a_folder_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 100, 1):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), gray(number))
    (tmp_path / "notes.txt").write_text("no image")
    assert images.recognises(tmp_path)
    recording = images.open_images(tmp_path)
    assert levels(recording) == [1, 9, 10, 100]
    assert np.diff(recording.stamps_ns).tolist() == [50_000_000] * 3
    assert (recording.rig, recording.imu, recording.truth) == (None, None, None)


def test_a_damaged_image_is_left_out_and_counted(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), gray(number))
    (tmp_path / "1.png").write_bytes(b"torn")
    recording = images.open_images(tmp_path)
    assert levels(recording) == [0, 2]
    assert recording.report.counts == {"cam0: images that cannot be decoded, skipped": 1}


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_images_of_16_bits_keep_the_upper_eight_of_those_that_the_camera_uses(
    tmp_path: Path, bits: int, suffix: str
) -> None:
    shades = np.tile(np.arange(64, dtype=np.uint16), (48, 1))
    for number in range(20):  # the first ones are darker than the others
        pixels = shades * (1 if number < 3 else 4) << (bits - 8)
        cv2.imwrite(str(tmp_path / f"{number}{suffix}"), pixels)
    recording = images.open_images(tmp_path)
    for _ in range(2):
        frames = list(recording.frames())
        assert np.array_equal(some(frames[0].images[0]), shades)
        assert np.array_equal(some(frames[19].images[0]), shades * 4)
    assert recording.report.notes == [f"cam0: images of 16 bits use {bits}, the upper 8 of these are taken"]


def test_a_video_has_the_times_of_its_frame_rate(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for level in (20, 60, 100, 140):
        video.write(cv2.cvtColor(gray(level), cv2.COLOR_GRAY2BGR))
    video.release()
    assert images.recognises(path)
    recording = images.open_images(path)
    assert levels(recording) == pytest.approx([20, 60, 100, 140], abs=3)
    assert np.diff(recording.stamps_ns).tolist() == [40_000_000] * 3
    later = [frame.stamp_ns for frame in recording.frames(start_s=0.08)]
    assert later == [80_000_000, 120_000_000]


def test_other_things_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.bag").write_text("")
    assert not images.recognises(tmp_path)
    assert not images.recognises(tmp_path / "a.bag")
    assert not images.recognises(tmp_path / "nowhere.mp4")
    (tmp_path / "b.mp4").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"b\.mp4: no video that can be decoded"):
        images.open_images(tmp_path / "b.mp4")
