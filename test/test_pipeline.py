# SPDX-License-Identifier: Apache-2.0
import csv
import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letvins_ros import pipeline
from letvins_ros.calibration import TYPICAL_IMU, Rig
from letvins_ros.config import Config, EstimatorConfig, LoopConfig, TrackerConfig
from letvins_ros.config_io import load_config
from letvins_ros.datasets import ReadReport
from letvins_ros.errors import CalibrationError, DataError, LetvinsError
from letvins_ros.evaluation.suite import load_suite
from letvins_ros.geodesy import east_north_up
from letvins_ros.geometry import apply, transform, yaw_rotation
from letvins_ros.inference.places import network_name
from letvins_ros.loop.map_file import load_map
from letvins_ros.pipeline import RunOptions, run_dataset, run_offline
from letvins_ros.repairs import Repairs
from letvins_ros.selftest.recording import SMALL_RIG, flight
from letvins_ros.sensors import calibrated_rig, fit_to_data
from letvins_ros.simulation import SCENARIOS
from letvins_ros.simulation.imu import START_NS
from letvins_ros.simulation.rigs import EUROC_RIG, FOUR_CAMERA_RIG
from letvins_ros.simulation.sequence import Simulation
from letvins_ros.types import GnssFixes, ImageFrame, ImuSamples

from .command import RESULTS
from .some import some

SECOND = 1_000_000_000
DEFAULT = Config()
METRICS = {
    "frames", "frames_dropped", "duration_s", "path_length_m", "coverage", "initialised_after_s", "resets", "loops",
    "ate_rmse_m", "ate_map_rmse_m", "rpe_trans_rmse_m", "rpe_rot_rmse_deg", "nees_position_mean", "realtime_factor",
    "tracker_ms", "estimator_ms", "loop_ms", "total_ms", "peak_rss_mb",
}  # fmt: skip


Run = Callable[..., tuple[dict[str, Any], Path]]


@pytest.fixture(scope="module")
def recording() -> Simulation:
    return flight(3.0, 3)


@pytest.fixture
def run(recording: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run over the simulation as if it came from a folder; metrics and the folder of the results."""
    recording.report = ReadReport()
    monkeypatch.setattr(pipeline, "open_dataset", lambda source, rig, inputs: recording)

    def run(
        options: RunOptions,
        name: str = "out",
        progress: Callable[[int, int], None] = lambda done, total: None,
        config: Config = DEFAULT,
    ) -> tuple[dict[str, Any], Path]:
        (tmp_path / name).mkdir()
        return run_offline(tmp_path / "hall", tmp_path / name, config, options, progress), tmp_path / name

    return run


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of a short run's time."""
    monkeypatch.setattr("letvins_ros.evaluation.run_page.run_page", lambda *_: None)
    monkeypatch.setattr("letvins_ros.evaluation.report.write_report", lambda *_: None)


def test_a_run_writes_every_file_and_every_figure(run: Run, recording: Simulation) -> None:
    said = []
    metrics, out = run(RunOptions(), progress=lambda *state: said.append(state))
    assert {path.name for path in out.iterdir()} == RESULTS
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert metrics.keys() >= METRICS
    assert {key for key in METRICS if metrics[key] is None} == set()  # the simulation has truth
    assert said == [(i, 61) for i in range(1, 62)]
    assert (metrics["frames"], metrics["frames_dropped"], metrics["coverage"], metrics["resets"]) == (61, 0, 1.0, 0)
    assert metrics["duration_s"] == pytest.approx(3.0)
    assert metrics["initialised_after_s"] < 1.5
    assert metrics["warnings"] == []
    assert metrics["ate_rmse_m"] < 0.05
    assert abs(metrics["time_offset_s"]) < 0.002 and "T_body_cam" not in metrics  # what is refined by default
    rows = np.loadtxt(out / "trajectory.tum")
    assert rows.shape == (61 - round(metrics["initialised_after_s"] * 20), 8)
    assert rows[-1, 0] == pytest.approx(recording.stamps_ns[-1] / SECOND)
    assert (out / "trajectory_map.tum").read_bytes() == (out / "trajectory.tum").read_bytes()  # no loop, no correction
    with (out / "timing.csv").open() as lines:
        timing = list(csv.DictReader(lines))
    assert [int(row["stamp_ns"]) for row in timing] == recording.stamps_ns.tolist()
    assert all(float(row["total_ms"]) > 0 for row in timing)
    assert "<html" in (out / "report.html").read_text()


@pytest.mark.usefixtures("no_figures")
def test_the_configuration_that_is_written_is_the_one_that_ran(run: Run) -> None:
    _, out = run(RunOptions(duration_s=0.2))
    again = load_config(out / "config.yaml")
    assert replace(again, rig=None) == Config()
    assert some(again.rig).imu == SMALL_RIG.imu
    for used, given in zip(some(again.rig).cameras, SMALL_RIG.cameras, strict=True):
        assert used.camera.intrinsics == pytest.approx(given.camera.intrinsics)
        np.testing.assert_allclose(used.T_body_cam, given.T_body_cam)


@pytest.mark.usefixtures("no_figures")
def test_two_runs_of_one_input_write_the_same_bytes(run: Run) -> None:
    (first, one), (second, two) = (run(RunOptions(duration_s=1.2), name) for name in ("one", "two"))
    for name in ("trajectory.tum", "trajectory_map.tum", "config.yaml"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert (one / "trajectory.tum").stat().st_size > 500
    assert first["ate_rmse_m"] == second["ate_rmse_m"]


@pytest.mark.usefixtures("no_figures")
def test_gnss_lays_the_map_east_north_up_of_its_datum(
    recording: Simulation, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    T_enu_world, rows = transform(yaw_rotation(-0.7), np.array([20.0, 10.0, 1.0])), np.arange(0, 600, 30)
    p_enu = apply(T_enu_world, recording.truth.positions[rows])
    datum, step = np.array([47.0, 8.0, 400.0]), np.array([1e-5, 1e-5, 1.0])
    metres = np.stack([east_north_up(datum + step * e, datum) / step[i] for i, e in enumerate(np.eye(3))], 1)
    places = datum + np.linalg.solve(metres, p_enu.T).T  # exact to a tenth of a millimetre so near
    fixes = GnssFixes(recording.truth.stamps_ns[rows], places, np.full((len(rows), 3), 0.01))
    monkeypatch.setattr(recording, "gnss", fixes)
    loop = LoopConfig(gnss=True, gnss_datum="47 8 400", keyframe_distance_m=0.02)
    often = EstimatorConfig(keyframe_parallax_px=1.0)  # else fixes lie between keyframes of a flight so short
    metrics, out = run(RunOptions(), config=Config(loop=loop, estimator=often))
    assert "gnss: the map lies east, north, up of 47.0000000 8.0000000 400.00 m" in metrics["notes"]
    mapped = np.loadtxt(out / "trajectory_map.tum")
    stamps = np.round(mapped[:, 0] * 1e9)
    true = np.stack([np.interp(stamps, recording.truth.stamps_ns, column) for column in recording.truth.positions.T], 1)
    assert np.linalg.norm(mapped[:, 1:4] - apply(T_enu_world, true), axis=1).max() < 0.03


@pytest.mark.usefixtures("no_figures")
def test_a_recording_without_gnss_says_that_the_map_was_not_aligned(run: Run) -> None:
    metrics, _ = run(RunOptions(duration_s=0.5), config=Config(loop=LoopConfig(gnss=True)))
    assert any(note.startswith("gnss: the recording has no fixes") for note in metrics["notes"])


@pytest.mark.usefixtures("no_figures")
def test_a_span_of_the_recording_is_run_alone(run: Run) -> None:
    metrics, out = run(RunOptions(start_s=1.0, duration_s=0.6))
    assert metrics["frames"] == metrics["frames_total"] == 12
    stamps = np.loadtxt(out / "trajectory.tum")[:, 0]
    assert START_NS / SECOND + 1.0 <= stamps[0]
    assert stamps[-1] == pytest.approx(START_NS / SECOND + 1.55)


def test_an_interrupt_keeps_what_is_done(run: Run) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    metrics, out = run(RunOptions(), progress=interrupt)
    assert metrics["interrupted"]
    assert metrics["frames"] == 12
    assert {path.name for path in out.iterdir()} == RESULTS


def test_what_imports_made_is_out_of_the_garbage_collectors_way_while_frames_are_processed(run: Run) -> None:
    frozen = []
    run(RunOptions(duration_s=0.3), progress=lambda done, total: frozen.append(gc.get_freeze_count()))
    assert min(frozen) > 100_000
    assert gc.get_freeze_count() == 0


def test_each_frame_comes_after_the_readings_up_to_its_time(
    recording: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Estimator:
        stamps: tuple[int, ...] = ()
        estimator = property(lambda self: self)  # odometry and estimator in one

        def imu_time(self, stamp_ns: int) -> int:
            return stamp_ns + 7_000_000

        def add_imu(self, samples: ImuSamples) -> int:
            self.stamps = (*self.stamps, *samples.stamps_ns.tolist())
            return 0

    one_pass = pipeline._Pass(recording, load_config(), recording.rig, RunOptions(loop=False), Repairs())
    estimator, fed = Estimator(), 0
    monkeypatch.setattr(one_pass, "_odometry", estimator)
    for stamp_ns in recording.stamps_ns[:10].tolist():
        fed = one_pass._feed(fed, stamp_ns)
        assert len(estimator.stamps) == fed
        assert estimator.stamps[-1] >= stamp_ns + 7_000_000  # the state at the frame needs no guess
        assert estimator.stamps[-2] < stamp_ns + 7_000_000  # and nothing comes before its time
    assert estimator.stamps == tuple(recording.imu.stamps_ns[:fed].tolist())


# -- fitting the configuration to the recording -----------------------------------------------------------------------


class Recording:
    """A recording by its sensors alone."""

    name, gnss, truth = "walk", None, None

    def __init__(self, rig: Rig | None = EUROC_RIG, imu: bool = True) -> None:
        self.rig, self.report, self.stamps_ns = rig, ReadReport(), np.arange(20) * SECOND // 20
        stamps = np.arange(200) * SECOND // 200
        self.imu = ImuSamples(stamps, np.zeros((200, 3)), np.zeros((200, 3))) if imu else None

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def frames(self, start_s: float = 0.0, duration_s: float | None = None) -> Iterator[ImageFrame]:
        yield from ()


ONE_CAMERA = replace(EUROC_RIG, cameras=EUROC_RIG.cameras[:1])
NO_NOISE = replace(EUROC_RIG, imu=None)
THREE_CAMERAS = replace(
    EUROC_RIG,
    cameras=(*EUROC_RIG.cameras, replace(EUROC_RIG.cameras[0], T_body_cam=np.eye(4) + np.eye(4, k=3))),
)
FRONT_AND_BACK = replace(FOUR_CAMERA_RIG, cameras=FOUR_CAMERA_RIG.cameras[::2])


@pytest.mark.parametrize(
    ("recording", "asked", "mode", "cameras", "notes"),
    [
        (Recording(), "stereo_imu", "stereo_imu", 2, []),
        (Recording(), "mono_imu", "mono_imu", 1, []),
        (Recording(), "stereo", "stereo", 2, []),
        (Recording(THREE_CAMERAS), "stereo_imu", "stereo_imu", 3, []),
        (Recording(THREE_CAMERAS), "mono_imu", "mono_imu", 1, []),
        (Recording(THREE_CAMERAS, imu=False), "stereo", "stereo", 3, []),
        (Recording(FRONT_AND_BACK), "stereo_imu", "stereo_imu", 2, []),
        (Recording(imu=False), "stereo_imu", "stereo", 2, ["imu: none in the recording, mode stereo used"]),
        (Recording(imu=False), "mono_imu", "stereo", 2, ["imu: none in the recording, mode stereo used"]),
        (Recording(imu=False), "stereo", "stereo", 2, []),
        (Recording(ONE_CAMERA), "stereo_imu", "mono_imu", 1, ["cam1: none in the recording, mode mono_imu used"]),
        (Recording(ONE_CAMERA), "stereo", "mono_imu", 1, ["cam1: none in the recording, mode mono_imu used"]),
        (Recording(ONE_CAMERA), "mono_imu", "mono_imu", 1, []),
        (Recording(NO_NOISE), "stereo_imu", "stereo_imu", 2, ["imu: no noise in the calibration, typical values used"]),
        (Recording(NO_NOISE), "stereo", "stereo", 2, []),
    ],
)
def test_the_mode_falls_back_to_the_sensors_there_are_and_says_so(
    recording: Recording, asked: str, mode: str, cameras: int, notes: list[str]
) -> None:
    recording.report = ReadReport()
    config, rig = fit_to_data(Config(mode=asked), recording)
    assert (config.mode, len(rig.cameras), list(recording.report.counts)) == (mode, cameras, notes)
    if mode != "stereo":
        assert rig.imu == (some(recording.rig).imu or TYPICAL_IMU)


def test_stereo_needs_two_cameras_that_overlap() -> None:
    with pytest.raises(CalibrationError, match=r"mode stereo needs two cameras with 50% .* have over 0%"):
        fit_to_data(Config(mode="stereo"), Recording(FRONT_AND_BACK))
    with pytest.raises(CalibrationError, match="mode stereo needs 2 cameras, the calibration has one"):
        calibrated_rig(Config(mode="stereo", rig=ONE_CAMERA))
    assert calibrated_rig(Config(rig=FOUR_CAMERA_RIG)).groups == ((0, 1), (2, 3))


def test_an_imu_of_another_time_is_none() -> None:
    recording = Recording()
    recording.stamps_ns = recording.stamps_ns + 3600 * SECOND
    assert fit_to_data(Config(), recording)[0].mode == "stereo"
    assert list(recording.report.counts) == ["imu: no reading while the frames were taken, mode stereo used"]


def test_the_calibration_of_the_configuration_goes_before_that_of_the_recording() -> None:
    config = Config(rig=SMALL_RIG)
    assert fit_to_data(config, Recording())[1].cameras == SMALL_RIG.cameras
    assert fit_to_data(config, Recording(rig=None))[1].cameras == SMALL_RIG.cameras


@pytest.mark.parametrize("mode", ["stereo_imu", "mono_imu", "stereo"])
def test_one_camera_and_no_imu_are_too_little(mode: str) -> None:
    with pytest.raises(DataError, match=r"walk: .*two cameras, or one and an IMU, are needed"):
        fit_to_data(Config(mode=mode), Recording(ONE_CAMERA, imu=False))


def test_without_any_calibration_the_remedy_is_named() -> None:
    with pytest.raises(CalibrationError, match="walk: the recording has no calibration; name a file that has with -c"):
        fit_to_data(Config(), Recording(rig=None))


def test_every_suite_that_comes_along_can_be_loaded(root: Path) -> None:
    suites = sorted((root / "config" / "benchmark").glob("*.yaml"))
    assert suites
    for path in suites:
        suite = load_suite(path)
        assert {source.scenario for source in suite.sources} - {""} <= SCENARIOS.keys()
        for configuration in suite.configurations:
            assert configuration.config is None or load_config(configuration.config)


NO_NETWORK = """
import os, sys
def end_at_network(event, args):
    if event == "import" and args[0] in ("torch", "openvino"):
        os._exit(9)
sys.addaudithook(end_at_network)
"""


def test_a_network_that_tracks_describes_the_map_so_that_the_loop_closer_loads_none(
    recording: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")

    def missing(name: str, describer: str) -> str:
        recording.report = ReadReport()
        loop = LoopConfig(describer=describer, keyframe_distance_m=0.05, save_map=str(tmp_path / name))
        config = Config(tracker=TrackerConfig(method="kp2dtiny"), loop=loop)
        return run_dataset(recording, config, RunOptions(), lambda done, total: None).record.missing

    with monkeypatch.context() as by_loop_closer:
        by_loop_closer.setattr(Config, "described", 0)
        assert not missing("loop_closer", "kp2dtiny")
        (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)  # of the loop closer's process
        by_loop_closer.syspath_prepend(tmp_path)
        with pytest.raises(LetvinsError, match="exit code 9"):
            missing("fails", "kp2dtiny")
    monkeypatch.syspath_prepend(tmp_path)
    assert not missing("tracker", "auto")
    (found, info), (expected, expected_info) = (load_map(tmp_path / name) for name in ("tracker", "loop_closer"))
    assert info.describer == expected_info.describer == network_name()
    assert found.findable() == expected.findable() and len(found) > 5
    np.testing.assert_array_equal(found.T_map_body(), expected.T_map_body())
    for node in found.findable():
        one, other = found.features(node), expected.features(node)
        np.testing.assert_array_equal(one.uv, other.uv)
        np.testing.assert_array_equal(one.points_body, other.points_body)
        np.testing.assert_array_equal(one.descriptors, other.descriptors)
        np.testing.assert_array_equal(one.place, other.place)
