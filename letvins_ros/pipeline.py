# SPDX-License-Identifier: Apache-2.0
"""Tracker, estimator and results in one process: what `letvins run` does."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from letvins_ros import __version__
from letvins_ros.calibration import Rig
from letvins_ros.config import Config
from letvins_ros.config_io import to_yaml
from letvins_ros.contrast import to_gray
from letvins_ros.datasets import Dataset, open_dataset
from letvins_ros.datasets.stream import BACK, LATE, REPEATED
from letvins_ros.errors import Rejected
from letvins_ros.estimation import APART, Step, VioEstimator, compile_kernels
from letvins_ros.estimation.calibration_variables import Mount, TimeOffset
from letvins_ros.estimation.sensor import Sensor
from letvins_ros.evaluation.record import Estimate, FrameResult, RunRecord
from letvins_ros.evaluation.results import write_results
from letvins_ros.examination import EXPLAINING, Examiner, without_consequences
from letvins_ros.examination.stamps import row_findings
from letvins_ros.loop.describers import decided, describer_name
from letvins_ros.loop.log import LoopResult
from letvins_ros.loop.map_file import MapInfo
from letvins_ros.loop.worker import LoopWorker
from letvins_ros.repairs import EARLY_S, Repairs
from letvins_ros.second_opinion import FirstSeconds, Opinion, second_opinion
from letvins_ros.sensors import fit_to_data
from letvins_ros.tracking import FeatureTracker
from letvins_ros.tracking.follower import Follower
from letvins_ros.tracking.next_place import NextPlace
from letvins_ros.types import FrameTracks, ImageFrame, ImuSamples
from letvins_ros.view import NoView, View, open_view

LATE_S = 0.1  # in real time, a frame that waited longer is dropped


@dataclass(frozen=True)
class RunOptions:
    """What of a recording is run, and how."""

    start_s: float = 0.0
    duration_s: float | None = None
    loop: bool = True
    realtime: bool = False
    view: str = ""  # file in the results' folder to record for rerun, empty for none


class Processed(NamedTuple):
    """The result of one frame."""

    tracks: FrameTracks
    step: Step  # the state, and the keyframe if the frame became one
    tracker_ms: float
    estimator_ms: float  # self-examination included


class Odometry:
    """Tracker, estimator and self-examination joined: frames and IMU readings in, states out."""

    def __init__(
        self,
        config: Config,
        rig: Rig,
        follower: Follower | None = None,
        sensors: Sequence[Sensor] = (),
        describes: bool = False,
    ) -> None:
        """follower: finds features instead of the configured method. sensors: further measurements of the body.

        describes: keyframes for the loop closer, where the tracker's network can (see Config.described).
        Raises CalibrationError where the mode needs an IMU and the rig has no noise for it.
        """
        described = config.described if describes else 0
        self.tracker = FeatureTracker(config.tracker, rig, follower, seed=config.seed, described=described)
        T_body_cam = None if config.mode == "stereo" else rig.cameras[0].T_body_cam
        self._next_place = NextPlace(config.loop, T_body_cam) if described else None
        compile_kernels()
        self.estimator = VioEstimator(config, rig, sensors)
        self.examiner = Examiner(rig)

    def add_imu(self, samples: ImuSamples) -> int:
        """IMU readings up to at least the next frame's time; how many were refused."""
        self.examiner.add_imu(samples)
        return self.estimator.add_imu(samples)

    def process(self, frame: ImageFrame) -> Processed:
        """Track and estimate one frame, once the IMU readings up to its time have been added."""
        start = time.perf_counter()
        turn = self.estimator.rotation_since_last(frame.stamp_ns)
        if self._next_place is not None:
            self.tracker.describing = self._next_place.is_near(frame.stamp_ns)
            self.tracker.turns = self._next_place.turns
        tracks = self.tracker.process(frame, turn, self.estimator.initialised)
        tracked = time.perf_counter()
        step = self.estimator.process(tracks)
        if self._next_place is not None and step.keyframe is not None:
            self._next_place.add(step.keyframe)
        contradicted = step.state.reason == APART
        self.examiner.add_frame(self.tracker.matches, frame.stamp_ns, self.tracker.stuck[0], contradicted)
        return Processed(tracks, step, (tracked - start) * 1e3, (time.perf_counter() - tracked) * 1e3)


def run_offline(
    source: Path, out: Path, config: Config, options: RunOptions, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Run over a recording and write every result into a folder; returns the metrics.

    Where the first seconds show that the set-up is wrong and can be mended, the run begins anew with it mended. Ctrl-C
    ends the run early and keeps what it has. Raises LetvinsError where nothing can be run.
    """
    dataset = open_dataset(source, config.rig, inputs=config.input)
    run = run_dataset(dataset, config, options, progress, out / options.view if options.view else None)
    return write_results(out, run.record, dataset.truth, to_yaml(replace(run.config, rig=run.rig)))


@dataclass(frozen=True, eq=False)
class Run:
    """What a run over a recording gave, and the set-up with which it did."""

    record: RunRecord
    config: Config
    rig: Rig


def run_dataset(
    dataset: Dataset,
    config: Config,
    options: RunOptions,
    progress: Callable[[int, int], None],
    view: Path | None = None,
) -> Run:
    """As `run_offline`, without results in files; view: file for rerun."""
    config, rig = fit_to_data(config, dataset)
    repairs, better = None, Repairs()
    while better != repairs:
        repairs = better
        one_pass = _Pass(dataset, config, rig, options, repairs)
        one_pass.view = open_view(view, one_pass.rig)
        better = one_pass.over_frames(progress)
    return Run(one_pass.end(), one_pass.config, one_pass.rig)


class _Pass:
    """One pass over a recording."""

    def __init__(self, dataset: Dataset, config: Config, rig: Rig, options: RunOptions, repairs: Repairs) -> None:
        self.config, self.rig = repairs.applied(config, rig)
        mapping = decided(self.config) if options.loop else self.config
        self._dataset, self._options, self._repairs = dataset, options, repairs
        self._imu, self._counts = repairs.of_imu(dataset.imu), dict(dataset.report.counts)
        self._odometry = Odometry(mapping, self.rig, describes=options.loop)
        self._loops = _loop_worker(mapping, self.rig, dataset) if options.loop else None
        self._images_for_loops = not mapping.described
        self._record = RunRecord(_frames_expected(dataset, options), dataset.name, dataset.report)
        opinion = self._imu is not None and not (options.realtime or self.config.estimator.estimate_extrinsics)
        self._first = FirstSeconds(opinion)
        self.view: View = NoView()

    def over_frames(self, progress: Callable[[int, int], None]) -> Repairs:
        """All frames are processed, or the first few where repairs are needed before: these, else those in use."""
        record, begun = self._record, None
        gc.freeze()  # else a full collection, once in some hundred frames, looks at all that imports made, for 70 ms
        try:
            with threadpool_limits(1):  # the matrices are small: more threads only wait for each other
                for done, frame in enumerate(self._frames_with_imu(), 1):
                    record.add(self._process(self._repairs.of_frame(frame)))
                    progress(done, record.frames_total)
                    begun = frame.stamp_ns if begun is None else begun
                    now_s = (frame.stamp_ns - begun) * 1e-9
                    if self._options.realtime or now_s >= EARLY_S:
                        continue
                    better = self._repairs.after(self._odometry.examiner.findings(), self.config, self.rig)
                    if better != self._repairs:
                        return self._abandoned(better)
            record.frames_dropped = record.frames_total - len(record.frames)  # the unreadable ones too
        except KeyboardInterrupt:
            record.interrupted = True
        finally:
            gc.unfreeze()
        return self._repairs

    def _look_again(self, first: Sequence[FrameTracks]) -> None:
        """Take a second opinion where IMU and images contradict each other, and nothing found so far explains it."""
        examiner, opinion = self._odometry.examiner, Opinion()
        if self._imu is not None and not any(finding.code in EXPLAINING for finding in examiner.findings()):
            opinion = second_opinion(first, self._imu, self.config, self.rig, self._first.suspected_s)
        self._first.answered(opinion)
        if opinion.finding is not None:
            examiner.add_finding(opinion.finding)

    def _process(self, frame: ImageFrame) -> FrameResult:
        tracks, step, tracker_ms, estimator_ms = self._odometry.process(frame)
        if first := self._first.add(tracks, self._odometry.estimator.contradiction):
            self._look_again(first)
        image = frame.images[0]
        start = time.perf_counter()
        if self._loops is not None and step.keyframe is not None and image is not None:
            self._loops.add(step.keyframe, to_gray(image) if self._images_for_loops else None)
        handed_over_ms = (time.perf_counter() - start) * 1e3
        self.view.frame(frame.images, tracks, step.state)
        if step.keyframe is not None:
            self.view.keyframe(step.keyframe)
            self.view.warn(f"{finding.code}: {finding.message}" for finding in self._odometry.examiner.findings())
        return FrameResult(
            stamp_ns=frame.stamp_ns,
            state=Estimate.of(step.state),
            T_map_odom=None,
            tracker_ms=tracker_ms,
            estimator_ms=estimator_ms,
            loop_ms=0.0,
            total_ms=tracker_ms + estimator_ms + handed_over_ms,
            features=len(tracks),
        )

    def _abandoned(self, better: Repairs) -> Repairs:
        """Leave it to the next pass, which reads the same frames again."""
        if self._loops is not None:
            self._loops.abandon()
        self.view.close()
        self._dataset.report.counts = self._counts
        return better

    def end(self) -> RunRecord:
        """The record, with what the loops, the report and the self-examination say of it."""
        record, report = self._record, self._dataset.report
        if self._loops is not None:
            loops = self._loops.finish()
            _put_into_map(record, loops)
            if not isinstance(loops, Rejected):
                positions = loops.snapshot.T_map_body[:, :3, 3]
                self.view.map(positions, positions[loops.snapshot.loops])
            if self.config.loop.gnss and not isinstance(loops, Rejected):
                report.note(_placed(self._dataset, loops.datum))
        for camera, stuck in self._odometry.tracker.stuck.items():
            if stuck:
                report.add(f"cam{camera}: images as the one before while turning, not used", "", stuck)
        if record.frames and not record.posed():
            last = record.frames[-1].state
            report.add(f"frames without pose: {last.reason if last else ''}", self._dataset.name, len(record.frames))
        record.calibration = self._refined()
        examiner, mended = self._odometry.examiner, self._repairs.mended
        _examine_rows(examiner, self._dataset)
        found = without_consequences([*mended, *examiner.findings()])
        record.warnings = [finding.to_dict() for finding in found]
        self.view.warn(f"{finding.code}: {finding.message}" for finding in found)
        self.view.close()
        return record

    def _refined(self) -> dict[str, Any]:
        """What the estimator has refined of the calibration."""
        estimator = self._odometry.estimator
        cameras, refined = estimator.cameras, dict[str, Any]()
        if any(key.kind is TimeOffset for key in estimator.refines):
            refined["time_offset_s"] = cameras[0].time_offset_s
        if any(key.kind is Mount for key in estimator.refines):
            refined["T_body_cam"] = [camera.T_body_cam.tolist() for camera in cameras]
        return refined

    def _frames_with_imu(self) -> Iterator[ImageFrame]:
        """Frames, each after the IMU readings up to its time; at the sensor's pace if so asked."""
        frames = self._dataset.frames(self._options.start_s, self._options.duration_s)
        gnss, last_ns = self._dataset.gnss if self.config.loop.gnss else None, -1
        fed, began = 0, None
        for frame in frames:
            fed = self._feed(fed, frame.stamp_ns)
            if gnss is not None and self._loops is not None:
                self._loops.add_fixes(gnss.between(last_ns, frame.stamp_ns))
                last_ns = frame.stamp_ns
            if self._options.realtime:
                began = began or (time.perf_counter(), frame.stamp_ns)
                early_s = (frame.stamp_ns - began[1]) * 1e-9 - (time.perf_counter() - began[0])
                if early_s < -LATE_S:
                    self._record.frames_dropped += 1
                    continue
                time.sleep(max(early_s, 0.0))
            yield frame

    def _feed(self, fed: int, stamp_ns: int) -> int:
        """Pass on the readings up to the first one after the frame; how many have been passed on in all."""
        imu = self._imu
        if imu is None:
            return 0
        end = imu.needed_for(self._odometry.estimator.imu_time(stamp_ns))
        if end > fed:
            refused = self._odometry.add_imu(imu[fed:end])
            if refused:
                self._dataset.report.add("imu: readings out of order or absurd, dropped", "", refused)
        return max(end, fed)


def _examine_rows(examiner: Examiner, dataset: Dataset) -> None:
    """Tell of the faults of stamps that were mended while reading."""
    counts = dataset.report.counts
    for what in sorted({kind.rpartition(": ")[0] for kind in counts if kind.endswith((BACK, LATE, REPEATED))}):
        repeated, late, old = (counts.get(f"{what}: {kind}", 0) for kind in (REPEATED, LATE, BACK))
        kept = len(dataset.imu) if "imu" in what and dataset.imu is not None else len(dataset)
        for finding in row_findings(what, kept + repeated + old, repeated, late, old):
            examiner.add_finding(finding)


def _frames_expected(dataset: Dataset, options: RunOptions) -> int:
    since_first = (dataset.stamps_ns - dataset.stamps_ns[0]) * 1e-9
    end = np.inf if options.duration_s is None else options.start_s + options.duration_s
    return int(((since_first >= options.start_s) & (since_first < end)).sum())


def _loop_worker(config: Config, rig: Rig, dataset: Dataset) -> LoopWorker:
    settings = to_yaml(replace(config, rig=rig))
    camera, describer = rig.cameras[0], describer_name(config.loop)
    origin = {"source": dataset.name, "made_by": __version__}
    info = MapInfo.of(camera, config.mode != "stereo", settings, describer, **origin)
    return LoopWorker(config.loop, camera, info, described=bool(config.described))


def _put_into_map(record: RunRecord, loops: LoopResult | Rejected) -> None:
    """Correct every frame by the map as it stands at the end."""
    if isinstance(loops, Rejected):
        record.missing = f"loops and map: loop closure failed: {loops.reason}"
        return
    if loops.unsaved:
        record.missing = f"the map: {loops.unsaved}"
    corrections = loops.T_map_odom_at([frame.stamp_ns for frame in record.frames])
    for i, (frame, T_map_odom) in enumerate(zip(record.frames, corrections, strict=True)):
        cost_ms = loops.costs_ms.get(frame.stamp_ns, 0.0)
        record.frames[i] = replace(frame, T_map_odom=T_map_odom, loop_ms=cost_ms)
    record.loops = len(loops.closures)
    record.loop_stamps_ns = loops.snapshot.stamps_ns[loops.snapshot.loops]
    record.loop_process = loops.cpu_s, loops.peak_rss_mb
    record.end()


def _placed(dataset: Dataset, datum: np.ndarray | None) -> str:
    """Where on earth the map lies, in words."""
    if datum is not None:
        latitude, longitude, height = datum.tolist()
        return f"gnss: the map lies east, north, up of {latitude:.7f} {longitude:.7f} {height:.2f} m"
    if dataset.gnss is None:
        return "gnss: the recording has no fixes (gnss0/data.csv, or a topic of NavSatFix)"
    return f"gnss: {len(dataset.gnss)} fixes do not tell the map's heading: they agree too little, or the path is short"
