# SPDX-License-Identifier: Apache-2.0
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letvins_ros import view
from letvins_ros.errors import LetvinsError
from letvins_ros.selftest.recording import SMALL_RIG
from letvins_ros.types import FrameTracks, Keyframe, VioState, VioStatus
from letvins_ros.view import NoView, open_view

rerun = pytest.importorskip("rerun", reason="rerun is not installed: pip install '.[view]'")
START_NS, FRAME_NS, FRAMES = 1_600_000_000_000_000_000, 50_000_000, 6


@pytest.fixture(autouse=True)
def no_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "_viewer_runs", lambda: False)


def tracks(i: int) -> FrameTracks:
    uv = np.full((2, 3, 2), 10.0 + i, np.float32)
    uv[1, 0] = np.nan  # the right camera does not see the first feature
    return FrameTracks(START_NS + i * FRAME_NS, np.arange(3), uv, np.full(3, i, np.int32))


def state(i: int, resets: int = 0) -> VioState:
    T = np.eye(4)
    T[0, 3] = i
    covariance = np.diag(np.repeat([0.01, 0.04, 0.09, 0.16, 0.25], 3))
    status = VioStatus.TRACKING
    return VioState(
        START_NS + i * FRAME_NS, status, "", T, np.ones(3), np.full(3, 0.1), np.full(3, 0.2), covariance, resets
    )


def keyframe(i: int) -> Keyframe:
    T, points = state(i).T_odom_body, np.array([[1.0, 2.0, 3.0], [np.nan] * 3])
    return Keyframe(
        i, START_NS + i * FRAME_NS, T, np.eye(6), np.zeros((0, 4, 4)), np.eye(6), np.arange(2),
        np.zeros((2, 2), np.float32), points,
    )  # fmt: skip


def recorded(path: Path) -> dict[str, Any]:
    """Rows of every entity of a recording, by component."""
    found: dict[Any, Any] = {}
    for chunk in rerun.chunk.RrdReader(str(path)).stream().to_chunks():
        batch = chunk.to_record_batch()
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            found.setdefault(chunk.entity_path, {}).setdefault(name, []).extend(column.to_pylist())
    return found


@pytest.fixture
def recording(tmp_path: Path) -> dict[str, Any]:
    shown = open_view(tmp_path / "a.rrd", SMALL_RIG)
    image = np.zeros((240, 376), np.uint8)
    for i in range(FRAMES):
        shown.frame((image, None if i == 2 else image), tracks(i), state(i, resets=int(i > 4)))
        if i % 2 == 0:
            shown.keyframe(keyframe(i))
        shown.warn(["accel_in_g: they look like g"])
    shown.map(np.array([[0.0, 0, 0], [np.nan] * 3, [2, 0, 0]]), np.array([[[0.0, 0, 0], [2, 0, 0]]]))
    shown.close()
    return recorded(tmp_path / "a.rrd")


def test_cameras_are_recorded_with_their_images_and_tracks(recording: dict[str, Any]) -> None:
    assert len(recording["/odom/body/cam0"]["EncodedImage:blob"]) == FRAMES
    assert len(recording["/odom/body/cam1"]["EncodedImage:blob"]) == FRAMES - 1
    left, right = (recording[f"/odom/body/cam{i}/tracks"]["Points2D:positions"] for i in range(2))
    assert left[0] == [[10.5, 10.5]] * 3
    assert right[0] == [[10.5, 10.5]] * 2
    lens = SMALL_RIG.cameras[0].camera
    assert recording["/odom/body/cam0"]["Pinhole:resolution"] == [[[lens.width, lens.height]]]


def test_the_motion_is_recorded_with_its_covariance_and_biases_over_time(recording: dict[str, Any]) -> None:
    body = recording["/odom/body"]
    assert [T[0][0] for T in body["Transform3D:translation"]] == list(range(FRAMES))
    times = np.array(body["time"], "datetime64[ns]").astype(np.int64)
    assert times.tolist() == [START_NS + i * FRAME_NS for i in range(FRAMES)]
    for name, value in (("position_std_m", 0.1), ("rotation_std_rad", 0.2), ("velocity_std_mps", 0.3),
                        ("gyro_bias_radps", 0.1), ("accel_bias_mps2", 0.2)):  # fmt: skip
        np.testing.assert_allclose(recording[f"/plots/{name}"]["Scalars:scalars"], np.full((FRAMES, 3), value))


def test_trajectory_landmarks_map_and_loops_are_recorded(recording: dict[str, Any]) -> None:
    np.testing.assert_allclose(recording["/odom/trajectory"]["LineStrips3D:strips"][1], [[[0, 0, 0], [2, 0, 0]]])
    assert recording["/odom/landmarks"]["Points3D:positions"][1] == [[3.0, 2.0, 3.0]]
    assert recording["/map/keyframes"]["Points3D:positions"] == [[[0, 0, 0], [2, 0, 0]]]
    assert recording["/map/loops"]["LineStrips3D:strips"] == [[[[0, 0, 0], [2, 0, 0]]]]


def test_each_warning_and_reset_is_recorded_once(recording: dict[str, Any]) -> None:
    texts = [text for (text,) in recording["/warnings"]["TextLog:text"]]
    assert sorted(texts) == ["accel_in_g: they look like g", "reset 1: odom starts anew"]


def test_a_viewer_that_runs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with socket.socket() as viewer:
        viewer.bind(("127.0.0.1", 0))
        monkeypatch.setattr(view, "VIEWER", viewer.getsockname())
        assert not view._viewer_runs()
        viewer.listen()
        assert view._viewer_runs()


def test_without_a_file_nothing_is_shown() -> None:
    assert isinstance(open_view(None, SMALL_RIG), NoView)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(LetvinsError, match=r"none/a\.rrd: cannot be written"):
        open_view(tmp_path / "none" / "a.rrd", SMALL_RIG)
