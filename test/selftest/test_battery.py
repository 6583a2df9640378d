# SPDX-License-Identifier: Apache-2.0
"""The battery of disturbances, and that a wrong set-up is named and mended."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from letvins_ros.config import Config
from letvins_ros.config_io import load_config
from letvins_ros.evaluation.record import Estimate, FrameResult, RunRecord
from letvins_ros.evaluation.run_metrics import compare
from letvins_ros.pipeline import Run, RunOptions, run_dataset
from letvins_ros.selftest import DISTURBANCES, run_battery
from letvins_ros.selftest.battery import Outcome, judged
from letvins_ros.selftest.recording import SMALL_RIG, Recording, flight
from letvins_ros.simulation import Equipment, Simulation
from letvins_ros.types import Trajectory, VioStatus

from ..some import some

SHORT = ["images: black 1 s", "calibration: left focal length halved", "gaps: both 3 s", "clocks: frames twice"]
MENDED = {
    "images: exchanged": "cameras_exchanged",
    "clocks: cameras 30 ms late": "time_offset",
    "imu: in g": "accel_in_g",
    "imu: in degrees": "gyro_in_degrees",
    "imu: turned 90 degrees": "imu_axes",
    "imu: no gyro": "gyro_stuck",
    "calibration: left turned 2 degrees": "stereo_mount",
    "calibration: left turned 0.5 degrees": "stereo_mount",  # along the epipolar lines: only the IMU contradicts
    "calibration: baseline 10 % too long": "stereo_mount",
    "imu: accelerometer 5 % too large": "accel_scale",
}


@pytest.fixture(scope="module")
def hall() -> Simulation:
    return flight(8.0, 3)


def run(recording: Recording, *settings: str) -> tuple[RunRecord, Outcome]:
    record = run_dataset(
        recording, load_config(None, settings), RunOptions(loop=False), lambda done, total: None
    ).record
    return record, judged("", record, compare(record, recording.truth), np.inf)


@pytest.fixture(scope="module")
def clean(hall: Simulation) -> Outcome:
    """The outcome of the flight as it is."""
    _, outcome = run(Recording(hall))
    assert outcome.warnings == ()
    return outcome


@pytest.fixture(scope="module")
def clean_stereo(hall: Simulation) -> Outcome:
    """The same of the cameras alone."""
    return run(Recording(hall), "mode=stereo")[1]


@pytest.mark.parametrize("name", MENDED)
def test_a_wrong_set_up_is_named_and_mended(hall: Simulation, clean: Outcome, clean_stereo: Outcome, name: str) -> None:
    recording = Recording(hall)
    DISTURBANCES[name](recording)
    recording.images.append(lambda i, t, images: recording.report.add("seen", "") or images)  # type: ignore[func-returns-value]
    record, outcome = run(recording)
    (told,) = (str(w["message"]) for w in record.warnings if w["code"] == MENDED[name])
    assert told.endswith(("mended in this run", "refined in this run", "the run goes on in mode stereo"))
    if told.endswith("stereo"):
        assert outcome.ate_m == pytest.approx(clean_stereo.ate_m, rel=0.01)
    else:
        assert some(outcome.ate_m) < 3 * some(clean.ate_m)
    assert recording.report.counts["seen"] == len(record.frames) == len(recording)  # the first try counts for nothing


def test_what_is_black_broken_or_doubled_for_a_while_is_survived_or_named() -> None:
    told: list[Outcome] = []
    outcomes = run_battery(SHORT, load_config(), 8.0, 3, told.append)
    assert told == outcomes
    assert [outcome.name for outcome in outcomes] == ["undisturbed", *SHORT]
    assert [outcome.silently_wrong for outcome in outcomes] == [0.0] * 5
    assert outcomes[0].warnings == ()
    assert "stereo_focal" in outcomes[2].warnings
    assert outcomes[3].resets == 1


@pytest.fixture(scope="module")
def at_rest() -> Simulation:
    """Cameras that see no motion at all."""
    simulation = Simulation("static", 12.0, 2, Equipment(SMALL_RIG))
    simulation.image = cache(simulation.image)  # type: ignore[method-assign]
    return simulation


@pytest.mark.parametrize("name", ["platform: a lift", "platform: a train", "platform: a ship"])
def test_a_room_that_moves_is_told_and_what_the_images_see_holds(at_rest: Simulation, name: str) -> None:
    recording = Recording(at_rest)
    DISTURBANCES[name](recording)
    _, outcome = run(recording)
    assert outcome.warnings == ("imu_contradicted",)  # no set-up that would explain it
    assert some(outcome.largest_m) < 0.01
    assert some(outcome.ate_m) < 0.003


@pytest.mark.parametrize("name", [name for name in DISTURBANCES if name.startswith("platform")])
def test_a_flight_in_a_room_that_moves_is_as_exact_as_the_images_alone(
    hall: Simulation, clean_stereo: Outcome, name: str
) -> None:
    recording = Recording(hall)
    DISTURBANCES[name](recording)
    _, outcome = run(recording)
    assert some(outcome.ate_m) < some(clean_stereo.ate_m)


def test_after_an_interruption_nothing_more_is_flown(monkeypatch: pytest.MonkeyPatch) -> None:
    flown = list[Run]()

    def interrupted(
        recording: Recording, config: Config, options: RunOptions, progress: Callable[[int, int], None]
    ) -> Run:
        flown.append(run_dataset(recording, config, options, progress))
        flown[-1].record.interrupted = len(flown) == 2
        return flown[-1]

    monkeypatch.setattr("letvins_ros.selftest.battery.run_dataset", interrupted)
    outcomes = run_battery(SHORT, load_config(), 2.0, 3, lambda outcome: None)
    assert [outcome.name for outcome in outcomes] == ["undisturbed"]
    assert len(flown) == 2


def everything(recording: Recording) -> list[Any]:
    """All that a disturbance can change."""
    frames = list(recording.frames())
    cameras = [(m.T_body_cam, m.camera.intrinsics) for m in recording.rig.cameras]
    return [
        recording.stamps_ns, recording.imu.stamps_ns, recording.imu.gyro, recording.imu.accel,
        *(part for camera in cameras for part in camera),
        [(f.stamp_ns, *(None if image is None else image.tobytes() for image in f.images)) for f in frames],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def gray() -> Simulation:
    """A flight without rendering."""
    simulation = flight(13.0, 1)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (len(simulation), 2, 6, 8), dtype=np.uint8)
    simulation.image = lambda index, camera: pictures[index, camera]  # type: ignore[method-assign]
    return simulation


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbance_changes_its_recording_and_no_other(gray: Simulation, name: str) -> None:
    before, recording = everything(Recording(gray)), Recording(gray)
    DISTURBANCES[name](recording)
    assert any(repr(a) != repr(b) or not np.array_equal(a, b) for a, b in zip(before[:-1], everything(recording)[:-1],
               strict=True)) or before[-1] != everything(recording)[-1]  # fmt: skip
    assert before[-1] == everything(Recording(gray))[-1]
    assert len(recording) == len(recording.taken) > 80
    assert np.isfinite(recording.imu.gyro).all()


def record_of(
    errors_m: np.ndarray, sigma_m: float, warnings: list[dict[str, str | float]]
) -> tuple[RunRecord, Trajectory]:
    """A run along x with such errors (N,), each frame said to be that exact."""
    record = RunRecord(len(errors_m))
    for i, error in enumerate(errors_m.tolist()):
        T, stamp = np.eye(4), i * 100_000_000
        T[:3, 3] = [i * 0.1 + error, np.sin(i / 5), 0]
        state = Estimate(VioStatus.TRACKING, "", T, np.zeros(3), np.tile(sigma_m**2 * np.eye(3), (3, 1, 1)), 0)
        record.add(FrameResult(stamp, state, None, 1.0, 1.0, 0.0, 2.0, 100))
    record.warnings = warnings
    stamps = np.arange(len(errors_m)) * 100_000_000
    positions = np.stack([np.arange(len(stamps)) * 0.1, np.sin(np.arange(len(stamps)) / 5), 0 * stamps], axis=1)
    return record, Trajectory(stamps, positions, np.tile([0.0, 0, 0, 1], (len(stamps), 1)))


@pytest.mark.parametrize(
    ("sigma_m", "limit_m", "since_s", "share"),
    [
        (0.01, 0.1, None, 0.5),
        (1.0, 0.1, None, 0.0),
        (0.01, 2.0, None, 0.0),
        (0.01, 0.1, 6.0, 0.0),
        (0.01, 0.1, 9.0, 0.1),
    ],
    ids=["silent", "said by the covariance", "small", "named in time", "named late"],
)
def test_silently_wrong_is_far_off_by_its_own_covariance_without_a_warning(
    sigma_m: float, limit_m: float, since_s: float | None, share: float
) -> None:
    errors = np.where(np.arange(100) >= 50, 1.0, 0.0)
    warnings: list[dict[str, str | float]] = (
        [] if since_s is None else [{"code": "imu_gap", "message": "", "since_s": since_s, "remedy": ""}]
    )
    record, truth = record_of(errors, sigma_m, warnings)
    outcome = judged("x", record, compare(record, truth), limit_m)
    assert outcome.silently_wrong == pytest.approx(share, abs=0.02)
    degraded = replace(record.frames[60], state=replace(some(record.frames[60].state), status=VioStatus.DEGRADED))
    record.frames[60] = degraded
    assert judged("x", record, compare(record, truth), limit_m).silently_wrong <= outcome.silently_wrong
