# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.calibration import Rig
from letvins_ros.examination import REMEDIES, Examiner, Finding
from letvins_ros.examination.imu_checks import held, spikes
from letvins_ros.examination.stamps import row_findings
from letvins_ros.examination.stereo import StereoExam
from letvins_ros.geometry import exp_so3, transform
from letvins_ros.types import ImuSamples, Matches

from ..some import some
from .moving_rig import START_NS, Recording, make_rig, record


@pytest.fixture
def recording() -> Recording:
    return record()


def with_imu(recording: Recording, gyro: np.ndarray | None = None, accel: np.ndarray | None = None) -> Recording:
    imu = recording.imu
    spoilt = ImuSamples(imu.stamps_ns, imu.gyro if gyro is None else gyro, imu.accel if accel is None else accel)
    return replace(recording, imu=spoilt)


def finding(recording: Recording, code: str) -> Finding:
    (found,) = recording.examined().findings()
    assert found.code == code
    return found


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("speed", [0.0, 0.3, 1.0, 2.5])
def test_a_clean_recording_has_no_finding(seed: int, speed: float) -> None:
    assert record(seed, speed=speed).codes() == []


def test_an_imu_turned_by_90_degrees_is_named_with_its_axes(recording: Recording) -> None:
    turn = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
    found = finding(with_imu(recording, recording.imu.gyro @ turn.T, recording.imu.accel @ turn.T), "imu_axes")
    assert "y, -x, z" in found.message
    assert found.since_s < 4.5


def test_an_imu_in_ned_axes_is_named(recording: Recording) -> None:
    turn = np.diag([1.0, -1, -1])
    found = finding(with_imu(recording, recording.imu.gyro @ turn, recording.imu.accel @ turn), "imu_axes")
    assert "x, -y, -z" in found.message


def test_an_imu_mounted_3_degrees_off_is_named_with_the_angle(recording: Recording) -> None:
    R = exp_so3(np.radians([0.0, 3.0, 0.0]))
    found = finding(with_imu(recording, recording.imu.gyro @ R, recording.imu.accel @ R), "imu_mount")
    assert found.evidence["angle_deg"] == pytest.approx(3, abs=0.3)


def test_a_gyro_in_degrees_is_named(recording: Recording) -> None:
    found = finding(with_imu(recording, np.degrees(recording.imu.gyro)), "gyro_in_degrees")
    assert "57." in found.message


def test_a_gyro_with_a_wrong_scale_is_named(recording: Recording) -> None:
    found = finding(with_imu(recording, recording.imu.gyro / 1.1), "gyro_scale")
    assert found.evidence["scale"] == pytest.approx(1.1, abs=0.02)


@pytest.mark.parametrize("offset_s", [0.05, -0.02])
def test_a_time_offset_is_named_with_its_value(recording: Recording, offset_s: float) -> None:
    imu = replace(recording.imu, stamps_ns=recording.imu.stamps_ns + round(offset_s * 1e9))
    found = finding(replace(recording, imu=imu), "time_offset")
    assert found.evidence["lag_s"] == pytest.approx(offset_s, abs=0.002)
    assert f"add {offset_s:+.2f}"[:8] in found.message


def test_another_gyro_than_the_cameras_is_named(recording: Recording) -> None:
    shaken = np.random.default_rng(0).normal(0, 1, recording.imu.gyro.shape)
    finding(with_imu(recording, shaken), "gyro_disagrees")


def test_accelerations_in_g_are_named(recording: Recording) -> None:
    assert "1.0" in finding(with_imu(recording, accel=recording.imu.accel / 9.80665), "accel_in_g").message


@pytest.mark.parametrize("begin_s", np.arange(5.0, 6.0, 0.15))
def test_accelerations_that_turn_to_g_on_the_way_are_named_within_three_seconds(
    begin_s: float, recording: Recording
) -> None:
    later = recording.imu.stamps_ns >= START_NS + begin_s * 1e9
    accel = np.where(later[:, None], recording.imu.accel / 9.80665, recording.imu.accel)
    until = int((begin_s + 2.7) * 20)
    spoilt = replace(with_imu(recording, accel=accel), frames_ns=recording.frames_ns[:until])
    examiner = replace(spoilt, matches=recording.matches[:until]).examined()
    assert "accel_in_g" in [finding.code for finding in examiner.present()]


def test_accelerations_without_gravity_are_named(recording: Recording) -> None:
    low = recording.imu.accel - recording.imu.accel.mean(0)
    finding(with_imu(recording, accel=low), "accel_without_gravity")


def test_a_dead_gyro_is_named(recording: Recording) -> None:
    finding(with_imu(recording, recording.imu.gyro * 0), "gyro_stuck")


def test_one_stuck_axis_is_named(recording: Recording) -> None:
    gyro = recording.imu.gyro * [1, 1, 0] + [0, 0, 0.25]
    assert "z 0.25" in finding(with_imu(recording, gyro), "gyro_stuck").message


def test_exact_readings_of_a_robot_that_rests_are_not_stuck() -> None:
    still = record(speed=0.0)
    exact = with_imu(still, still.imu.gyro * 0, still.imu.accel * 0 + [0, 0, 9.81])
    assert exact.codes() == []


def test_a_stuck_accelerometer_is_named(recording: Recording) -> None:
    finding(with_imu(recording, accel=recording.imu.accel * 0 + [0, 0, 9.81]), "accel_stuck")


@pytest.mark.parametrize("sensor", ["gyro", "accel"])
def test_readings_that_a_sensor_repeats_for_a_while_are_named(recording: Recording, sensor: str) -> None:
    values = getattr(recording.imu, sensor).copy()
    values[800:1000] = values[800]
    found = finding(with_imu(recording, **{sensor: values}), "imu_held")
    assert found.since_s < 6.5
    mask = held(with_imu(recording, **{sensor: values}).imu)
    assert np.flatnonzero(mask).tolist() == list(range(801, 1000))
    assert not held(recording.imu).any()


def test_single_readings_that_are_far_off_are_named(recording: Recording) -> None:
    accel, hits = recording.imu.accel.copy(), [900, 950, 1000, 1100]
    accel[hits, 1] += [40, -35, 60, 30]
    spoilt = with_imu(recording, accel=accel)
    finding(spoilt, "imu_spikes")
    assert np.flatnonzero(spikes(spoilt.imu)).tolist() == hits
    assert not spikes(recording.imu).any()


def test_readings_that_are_cut_off_are_named() -> None:
    fast = record(speed=2.5)
    codes = with_imu(fast, fast.imu.gyro.clip(-0.7, 0.7)).codes()
    assert codes == ["imu_saturated"]


def test_half_the_readings_are_a_wrong_rate(recording: Recording) -> None:
    imu = recording.imu
    imu = ImuSamples(imu.stamps_ns[::2], imu.gyro[::2], imu.accel[::2])
    assert "100 Hz" in finding(replace(recording, imu=imu), "imu_rate").message


def test_a_gap_in_the_readings_is_named_with_its_time(recording: Recording) -> None:
    t = np.arange(len(recording.imu)) / 200
    kept = (t < 4) | (t > 5)
    imu = ImuSamples(recording.imu.stamps_ns[kept], recording.imu.gyro[kept], recording.imu.accel[kept])
    found = finding(replace(recording, imu=imu), "imu_gap")
    assert found.since_s == pytest.approx(4, abs=0.02)
    assert type(found.to_dict()["since_s"]) is float  # numpy's own would be shown as np.float64(4.0)


def test_exchanged_cameras_are_named(recording: Recording) -> None:
    swapped: list[Matches | None] = [replace(m, stereo_uv=m.stereo_uv[::-1]) for m in map(some, recording.matches)]
    finding(replace(recording, matches=swapped), "cameras_exchanged")


@pytest.mark.parametrize("begin", range(100, 120, 3))
def test_cameras_that_are_exchanged_on_the_way_are_named_within_three_seconds(begin: int, recording: Recording) -> None:
    """However long before the next examination."""
    end = begin + 56
    exchanged = [replace(m, stereo_uv=m.stereo_uv[::-1]) for m in map(some, recording.matches[begin:end])]
    matches, frames_ns = recording.matches[:begin] + exchanged, recording.frames_ns[:end]
    examiner = replace(recording, matches=matches, frames_ns=frames_ns).examined()
    assert [finding.code for finding in examiner.present()] == ["cameras_exchanged"]


def test_right_images_of_another_time_are_named(recording: Recording) -> None:
    rng = np.random.default_rng(0)  # the camera has turned a little this way or that between left and right
    turned = [np.array([[[0.0, 0.0]], [rng.uniform(-6, 6, 2)]]) for _ in recording.matches]
    pairs: list[Matches | None] = [
        replace(m, stereo_uv=m.stereo_uv + off) for m, off in zip(map(some, recording.matches), turned, strict=True)
    ]
    finding(replace(recording, matches=pairs), "stereo_disagrees")


def test_a_scene_that_changes_at_once_is_named_and_a_dark_one_is_not(recording: Recording) -> None:
    frame = 60
    cut = replace(some(recording.matches[frame]), **{
        name: getattr(recording.matches[frame], name)[:8] for name in ("before", "now", "inverse_distance")
    })  # fmt: skip
    matches = [*recording.matches[:frame], cut, *recording.matches[frame + 1 :]]
    assert finding(replace(recording, matches=matches), "scene_changed").since_s == pytest.approx(frame / 20, abs=0.01)
    later = np.where(np.arange(len(recording.frames_ns)) < frame, 0, 10**9)
    assert replace(recording, matches=matches, frames_ns=recording.frames_ns + later).codes()[0] == "frame_gap"
    assert "scene_changed" not in replace(recording, matches=matches, frames_ns=recording.frames_ns + later).codes()
    matches[frame] = replace(cut, features=20)
    assert "scene_changed" not in replace(recording, matches=matches).codes()


def turned_rig(degrees: float) -> Rig:
    left, right = make_rig().cameras
    R = exp_so3(np.radians([0.0, degrees, 0.0]))
    return Rig((left, replace(right, T_body_cam=right.T_body_cam @ transform(R, np.zeros(3)))), make_rig().imu)


def test_cameras_turned_against_each_other_are_named_with_the_angle() -> None:
    found = finding(record(true_rig=turned_rig(2.0)), "stereo_mount")
    assert found.evidence["angle_deg"] == pytest.approx(2, abs=0.3)


def test_another_focal_length_than_calibrated_is_named() -> None:
    left, right = make_rig().cameras
    longer = replace(right.camera, intrinsics=(300.0, 300.0, 183.0, 124.0))
    found = finding(record(true_rig=Rig((left, replace(right, camera=longer)), make_rig().imu)), "stereo_focal")
    assert found.evidence["ratio"] == pytest.approx(229 / 300, abs=0.03)


def test_right_images_in_which_nothing_is_found_are_named(recording: Recording) -> None:
    none: list[Matches | None] = [replace(m, stereo_uv=m.stereo_uv[:, :0]) for m in map(some, recording.matches)]
    finding(replace(recording, matches=none), "stereo_missing")


def test_a_stereo_rig_without_imu_is_examined(recording: Recording) -> None:
    nothing = ImuSamples(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3)))
    assert replace(recording, imu=nothing, rig=Rig(recording.rig.cameras, None)).codes() == []


def test_a_finding_is_told_once_with_the_time_of_its_first_sign() -> None:
    found = finding(with_imu(record(seconds=15.0), accel=record(seconds=15.0).imu.accel / 9.8), "accel_in_g")
    assert 0.5 < found.since_s < 2.5
    assert found.to_dict().keys() == {"code", "message", "since_s", "remedy"}
    assert found.remedy == REMEDIES["accel_in_g"]


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        Finding("nonsense", "", 0.0)


def test_the_page_of_warnings_explains_each_code_with_its_remedy() -> None:
    page = (Path(__file__).parents[2] / "docs" / "warnings.md").read_text()
    meanings, remedies = page.split("## What to do")
    rows = [line.split(" | ") for line in meanings.splitlines() if line.startswith("| `")]
    assert {row[0].strip("| `") for row in rows} == REMEDIES.keys()
    told = dict(line.strip("| ").split(" | ") for line in remedies.splitlines() if line.startswith("| `"))
    assert {code.strip("`"): remedy for code, remedy in told.items()} == REMEDIES


def test_stamps_in_microseconds_are_named(recording: Recording) -> None:
    frames = START_NS // 1000 + (recording.frames_ns - START_NS) // 1000
    imu = replace(recording.imu, stamps_ns=START_NS // 1000 + (recording.imu.stamps_ns - START_NS) // 1000)
    assert replace(recording, frames_ns=frames, imu=imu).codes() == ["stamp_units"]


def test_missing_images_are_named_with_their_time(recording: Recording) -> None:
    kept = [i for i in range(len(recording.matches)) if not 80 < i < 110]
    few = replace(recording, frames_ns=recording.frames_ns[kept], matches=[recording.matches[i] for i in kept])
    assert finding(few, "frame_gap").since_s == pytest.approx(4, abs=0.06)


def test_the_longest_gap_is_told_whenever_one_asks(recording: Recording) -> None:
    examiner = Examiner(recording.rig)
    for i in range(200):
        examiner.add_frame(None, START_NS + round((i / 20 + 1.0 * (i > 50) + 3.0 * (i > 100)) * 1e9))
        told = [finding.message for finding in examiner.findings()]
    assert told == ["no images for 3.05 s"]


def test_what_was_true_for_a_moment_is_present_for_a_while_only(recording: Recording) -> None:
    examiner = Examiner(recording.rig)
    examiner.add_finding(Finding("scene_changed", "x", 1.0), 1.0)
    assert [finding.code for finding in examiner.present()] == ["scene_changed"]
    for i in range(200):
        examiner.add_frame(None, START_NS + i * 50_000_000)
    assert examiner.present() == []
    assert [finding.code for finding in examiner.findings()] == ["scene_changed"]


def test_matches_beyond_the_lens_are_not_of_another_time() -> None:
    left, right = make_rig().cameras
    exam = StereoExam(left, right)
    for _ in range(50):
        nowhere = np.full((2, 8, 2), np.nan)
        exam.add(Matches(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), nowhere, 8, 8))
    assert exam.findings(1.0) == []


def test_rows_in_bursts_and_a_clock_set_back_are_named() -> None:
    assert [f.code for f in row_findings("imu", 2000, repeated=1500, late=0)] == ["stamps_repeated"]
    assert [f.code for f in row_findings("imu", 2000, repeated=0, late=800)] == ["stamps_back"]
    assert [f.code for f in row_findings("gnss", 50, repeated=0, late=0, old=6)] == ["stamps_back"]
    assert row_findings("imu", 2000, repeated=3, late=3) == []


def test_a_frozen_camera_is_named(recording: Recording) -> None:
    frozen = [None if 60 <= i < 80 else m for i, m in enumerate(recording.matches)]
    examiner = replace(recording, matches=frozen).examined()
    assert [f.code for f in examiner.findings()] == ["images_frozen"]
