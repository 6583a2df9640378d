# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from letvins_ros.config import Config
from letvins_ros.config_io import load_config
from letvins_ros.errors import CalibrationError, DataError
from letvins_ros.evaluation.survival import ALIVE
from letvins_ros.show_tracks import ASSUMED, show_tracks
from letvins_ros.simulation import simulate

from .some import some

FILES = {"tracks.mp4", "tracks.png", "survival.png", "tracks.json"}


def ignore(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of a hall, as an EuRoC folder."""
    folder = tmp_path_factory.mktemp("track") / "hall"
    simulate(folder, "hall", 1.0, 1, ignore)
    return folder


@pytest.fixture(scope="module")
def video(recording: Path) -> Path:
    path = recording.parent / "hall.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (752, 480))
    for image in sorted((recording / "mav0/cam0/data").iterdir()):
        writer.write(some(cv2.imread(str(image))))
    writer.release()
    return path


@pytest.mark.parametrize("kind", ["recording", "folder", "video"])
def test_every_kind_of_source_gives_video_pictures_and_figures(
    kind: str, recording: Path, video: Path, tmp_path: Path
) -> None:
    sources = {"recording": recording, "folder": recording / "mav0/cam0/data", "video": video}
    seen = []
    figures = show_tracks(sources[kind], tmp_path, Config(), lambda *counts: seen.append(counts))
    assert {file.name for file in tmp_path.iterdir()} == FILES
    assert json.loads((tmp_path / "tracks.json").read_text()) == figures
    assert figures["frames"] == len(seen) == 21
    assert figures["features_per_frame"] > 80
    assert figures["calibration"] == ("given" if kind == "recording" else ASSUMED)
    assert figures[ALIVE] > 0.5
    assert some(cv2.imread(str(tmp_path / "tracks.png"))).shape == (480, 752, 3)
    assert cv2.imread(str(tmp_path / "survival.png")) is not None
    written = cv2.VideoCapture(str(tmp_path / "tracks.mp4"))
    assert (written.get(cv2.CAP_PROP_FRAME_COUNT), written.get(cv2.CAP_PROP_FPS)) == (21, 20)


def test_images_of_odd_size_are_drawn_too(tmp_path: Path) -> None:
    for i in range(3):
        noise = np.random.default_rng(0).integers(0, 255, (61, 83), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), noise.repeat(3, 0).repeat(3, 1))
    out = tmp_path / "out"
    out.mkdir()
    assert show_tracks(tmp_path, out, Config(), ignore)["frames"] == 3
    assert {file.name for file in out.iterdir()} == FILES


def test_ctrl_c_keeps_what_is_done(recording: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    figures = show_tracks(recording, tmp_path, Config(), interrupt)
    assert (figures["interrupted"], figures["frames"]) == (True, 5)
    assert {file.name for file in tmp_path.iterdir()} == FILES


def test_a_calibration_of_another_size_is_refused(recording: Path, tmp_path: Path) -> None:
    calibration = tmp_path / "rig.yaml"
    calibration.write_text(
        "/**:\n  ros__parameters:\n    camera0:\n      model: pinhole-radtan\n      width: 640\n      height: 480\n"
        "      intrinsics: [400.0, 400.0, 320.0, 240.0]\n      time_offset_s: 0.0\n"
        f"      T_body_cam: {np.eye(4).ravel().tolist()}\n"
    )
    config = load_config(calibration)
    with pytest.raises((DataError, CalibrationError), match="752x480, not 640x480"):
        show_tracks(recording / "mav0/cam0/data", tmp_path, config, ignore)
    assert {file.name for file in tmp_path.iterdir()} == {"rig.yaml"}
