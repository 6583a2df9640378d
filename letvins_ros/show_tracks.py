# SPDX-License-Identifier: Apache-2.0
"""`letvins track`: feature tracks of a recording, a folder of images or a video, drawn and evaluated."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.camera import Camera
from letvins_ros.config import Config
from letvins_ros.datasets import Dataset, images, open_dataset
from letvins_ros.errors import DataError
from letvins_ros.evaluation.draw_tracks import TrackDrawer
from letvins_ros.evaluation.survival import ALIVE, Survival
from letvins_ros.image_files import opencv_name
from letvins_ros.tracking import FeatureTracker
from letvins_ros.types import ImageFrame
from letvins_ros.writing import atomic_path, to_json, write_atomic

ASSUMED = "none: a pinhole with the image's width as focal length was assumed"


def show_tracks(source: Path, out: Path, config: Config, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Follow features through the left images; writes tracks.mp4, tracks.png, survival.png and tracks.json.

    Ctrl-C ends it early and keeps the results. Returns what is in tracks.json. Raises LetvinsError where there is no
    image to track in.
    """
    if images.recognises(source):
        dataset: Dataset = images.open_images(source, config.rig)
    else:
        dataset = open_dataset(source, config.rig, inputs=config.input)
    frames = (frame for frame in dataset.frames() if frame.images[0] is not None)
    first = next(frames, None)
    if first is None:
        raise DataError(f"{source}: no image of the first camera")
    height, width = _left(first).shape[:2]
    rig = dataset.rig
    tracker = FeatureTracker(
        config.tracker, replace(rig, cameras=rig.cameras[:1]) if rig else _assumed_rig(width, height)
    )
    drawer, survival, picture, interrupted = TrackDrawer(), Survival(width, height), None, False
    with _video(out / "tracks.mp4", dataset, (width, height)) as video:
        try:
            for i, frame in enumerate(chain([first], frames)):
                tracks = tracker.process(frame)
                survival.add(tracks)
                drawn = drawer.draw(_left(frame), tracks, tracker.outlines)
                video.write(drawn)
                picture = drawn if i <= len(dataset) // 2 else picture
                progress(i + 1, len(dataset))
        except KeyboardInterrupt:
            interrupted = True
    figures = {
        **survival.figures(),
        "calibration": "given" if rig else ASSUMED,
        "skipped": dict(dataset.report.counts),
        "notes": dataset.report.notes,
        "interrupted": interrupted,
    }
    _write(out, picture, survival, figures)
    return figures


def _write(out: Path, picture: np.ndarray | None, survival: Survival, figures: dict[str, Any]) -> None:
    if picture is not None:
        write_atomic(out / "tracks.png", cv2.imencode(".png", picture)[1].tobytes())
    share = figures[ALIVE]
    plot = io.BytesIO()
    survival.figure(f"{share:.0%} of all features" if np.isfinite(share) else "too few frames").savefig(plot)
    write_atomic(out / "survival.png", plot.getvalue())
    write_atomic(out / "tracks.json", to_json(figures))


def _left(frame: ImageFrame) -> np.ndarray:
    if frame.images[0] is None:
        raise ValueError(f"the left image of frame {frame.stamp_ns} is missing")
    return frame.images[0]


def _assumed_rig(width: int, height: int) -> Rig:
    intrinsics = (float(width), float(width), (width - 1) / 2, (height - 1) / 2)
    return Rig((MountedCamera(Camera("pinhole-radtan", width, height, intrinsics), np.eye(4)),), None)


@contextmanager
def _video(path: Path, dataset: Dataset, size: tuple[int, int]) -> Iterator[cv2.VideoWriter]:
    """A writer of a video, which appears when it is complete. Raises DataError where it cannot be written."""
    period_ns = float(np.median(np.diff(dataset.stamps_ns))) if len(dataset) > 1 else 1e9
    with atomic_path(path) as part, opencv_name(part) as name:
        video = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"mp4v"), min(max(1e9 / period_ns, 1.0), 120.0), size)
        try:
            if not video.isOpened():
                raise DataError(f"{path}: cannot write a video of {size[0]}x{size[1]} pixels")
            yield video
        finally:
            video.release()
        if not cv2.VideoCapture(name).isOpened():  # the writer tells of no error
            raise DataError(f"cannot write {path}: the video is incomplete; is the disk full?")
