# SPDX-License-Identifier: Apache-2.0
"""What a run does, for rerun (https://rerun.io): cameras with tracks, trajectory, map, covariance, biases, warnings."""

import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.errors import LetvinsError
from letvins_ros.geometry import apply
from letvins_ros.types import FrameTracks, Keyframe, VioState, VioStatus

VIEWER = ("127.0.0.1", 9876)  # where rerun's viewer listens
WAIT_S = 0.2
TIMELINE = "time"
JPEG_QUALITY = 75
RED, YELLOW, GREEN, BLUE = (230, 60, 60), (240, 200, 40), (60, 190, 90), (60, 130, 240)
PLOTTED = ("position_std_m", "gyro_bias_radps", "accel_bias_mps2")
OLD = 20  # frames; the age at which a track is green


class View(Protocol):
    """What can be shown of a run."""

    def frame(self, images: Sequence[np.ndarray | None], tracks: FrameTracks, state: VioState | None) -> None:
        """Images (H, W) or (H, W, 3) of each camera, what was followed in them, and where that leads."""
        ...

    def keyframe(self, keyframe: Keyframe) -> None:
        """A keyframe with its landmarks."""
        ...

    def warn(self, texts: Iterable[str]) -> None:
        """What is wrong with the input; each is shown once."""
        ...

    def map(self, positions: np.ndarray, loops: np.ndarray) -> None:
        """Positions (N, 3) of the map's keyframes, NaN where unknown, and both ends (L, 2, 3) of its loops."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class NoView:
    """Shows nothing."""

    def frame(self, images: Sequence[np.ndarray | None], tracks: FrameTracks, state: VioState | None) -> None:
        """See View."""

    def keyframe(self, keyframe: Keyframe) -> None:
        """See View."""

    def warn(self, texts: Iterable[str]) -> None:
        """See View."""

    def map(self, positions: np.ndarray, loops: np.ndarray) -> None:
        """See View."""

    def close(self) -> None:
        """See View."""


def open_view(file: Path | None, rig: Rig) -> View:
    """A view that records into the file (.rrd), and into rerun's viewer where one runs here; none without a file.

    Raises LetvinsError where rerun is not installed or the file cannot be written.
    """
    return NoView() if file is None else RerunView(file, rig)


class RerunView:
    """Logs to rerun. Entities: `odom/...` in the odometry frame, `map/...` in the map, `plots/...`, `warnings`."""

    def __init__(self, file: Path, rig: Rig) -> None:
        try:
            import rerun
        except ImportError:
            raise LetvinsError("rerun is not installed: pip install 'letvins_ros[view]'") from None
        self._rr: Any = rerun
        self._log = rerun.RecordingStream("letvins")
        sinks = [rerun.FileSink(str(file))]
        if _viewer_runs():
            sinks.append(rerun.GrpcSink())
        try:
            self._log.set_sinks(*sinks, default_blueprint=_layout(len(rig.cameras)))
        except (OSError, RuntimeError) as error:
            raise LetvinsError(f"{file}: cannot be written: {error}") from None
        self._positions: list[list[float]] = []  # of the keyframes since odom began
        self._resets = 0
        self._warned: set[str] = set()
        for name in ("odom", "map"):
            self._log.log(name, rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for i, mounted in enumerate(rig.cameras):
            camera, T = mounted.camera, mounted.T_body_cam
            self._log.log(f"odom/body/cam{i}", self._pose(T), static=True)
            lens = rerun.Pinhole(
                focal_length=camera.focal_px, width=camera.width, height=camera.height, image_plane_distance=0.3
            )
            self._log.log(f"odom/body/cam{i}", lens, static=True)

    def _pose(self, T: np.ndarray) -> Any:
        return self._rr.Transform3D(translation=T[:3, 3], mat3x3=T[:3, :3])

    def _at(self, stamp_ns: int) -> None:
        self._log.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, "ns"))

    def frame(self, images: Sequence[np.ndarray | None], tracks: FrameTracks, state: VioState | None) -> None:
        """See View."""
        self._at(tracks.stamp_ns)
        rr, share = self._rr, np.clip(tracks.ages[:, None] / OLD, 0, 1)
        colours = (np.array(RED) * (1 - share) + np.array(GREEN) * share).astype(np.uint8)
        for i, image in enumerate(images[: tracks.cameras]):
            if image is None:
                continue
            seen = np.isfinite(tracks.uv[i, :, 0])
            large = rr.Radius.ui_points(2.0)  # on the screen, however small the picture
            points = rr.Points2D(tracks.uv[i, seen] + 0.5, colors=colours[seen], radii=large)  # its pixels begin at 0
            self._log.log(f"odom/body/cam{i}", rr.Image(image).compress(jpeg_quality=JPEG_QUALITY))
            self._log.log(f"odom/body/cam{i}/tracks", points)
        self._log.log("plots/features", rr.Scalars(len(tracks)))
        if state is not None and state.status is not VioStatus.INITIALISING:
            self._state(state)

    def _state(self, state: VioState) -> None:
        rr = self._rr
        if state.resets != self._resets:
            self._positions, self._resets = [], state.resets
            self._log.log("warnings", rr.TextLog(f"reset {state.resets}: odom starts anew", level="WARN"))
        self._log.log("odom/body", self._pose(state.T_odom_body))
        std = np.sqrt(state.covariance.diagonal())
        rows = {"position_std_m": std[:3], "rotation_std_rad": std[3:6], "velocity_std_mps": std[6:9],
                "gyro_bias_radps": state.gyro_bias, "accel_bias_mps2": state.accel_bias,
                "velocity_mps": state.velocity_odom}  # fmt: skip
        for name, values in rows.items():
            self._log.log(f"plots/{name}", rr.Scalars(values))
        if state.status is VioStatus.DEGRADED:
            self._log.log("warnings", rr.TextLog(f"degraded: {state.reason}", level="INFO"))

    def keyframe(self, keyframe: Keyframe) -> None:
        """See View."""
        self._at(keyframe.stamp_ns)
        self._positions.append(keyframe.T_odom_body[:3, 3].tolist())
        self._log.log("odom/trajectory", self._rr.LineStrips3D([self._positions], colors=[YELLOW]))
        known = keyframe.points_body[np.isfinite(keyframe.points_body[:, 0])]
        points = apply(keyframe.T_odom_body, known).astype(np.float32)
        self._log.log("odom/landmarks", self._rr.Points3D(points, radii=0.01, colors=[(150, 150, 150)]))

    def warn(self, texts: Iterable[str]) -> None:
        """See View."""
        for text in texts:
            if text not in self._warned:
                self._warned.add(text)
                self._log.log("warnings", self._rr.TextLog(text, level="WARN"))

    def map(self, positions: np.ndarray, loops: np.ndarray) -> None:
        """See View."""
        known = positions[np.isfinite(positions[:, 0])]
        self._log.log("map/keyframes", self._rr.Points3D(known, radii=0.02, colors=[BLUE]))
        self._log.log("map/trajectory", self._rr.LineStrips3D([known], colors=[BLUE]))
        self._log.log("map/loops", self._rr.LineStrips3D(loops, colors=[RED]))

    def close(self) -> None:
        """See View."""
        self._log.flush()
        self._log.disconnect()


def _viewer_runs() -> bool:
    with socket.socket() as probe:
        probe.settimeout(WAIT_S)
        return probe.connect_ex(VIEWER) == 0


def _layout(cameras: int) -> Any:
    """How the viewer arranges it at first."""
    import rerun.blueprint as rrb

    until_now = {"start": rrb.TimeRangeBoundary.infinite(), "end": rrb.TimeRangeBoundary.cursor_relative()}
    always = rrb.VisibleTimeRanges([rrb.VisibleTimeRange(TIMELINE, **until_now)])
    images = [rrb.Spatial2DView(origin=f"odom/body/cam{i}", name=f"cam{i}") for i in range(cameras)]
    scene = rrb.Spatial3DView(origin="odom", name="odom", overrides={"odom/landmarks": always})
    plots = [rrb.TimeSeriesView(origin=f"plots/{name}", name=name) for name in PLOTTED]
    texts = rrb.TextLogView(origin="warnings", name="warnings")
    spaces = rrb.Vertical(scene, rrb.Spatial3DView(origin="map", name="map"), row_shares=[3, 1])
    side = rrb.Vertical(rrb.Horizontal(*images), *plots, texts, row_shares=[2, *[1] * len(plots), 1])
    newest = rrb.TimePanel(state="collapsed", timeline=TIMELINE, play_state="following")
    return rrb.Blueprint(rrb.Horizontal(spaces, side), newest, collapse_panels=True)
