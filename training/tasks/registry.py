# SPDX-License-Identifier: Apache-2.0
"""The tasks of `python -m training.evaluate`: what each predicts and measures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from letvins_ros.errors import DataError
from training.data import homographies
from training.data.labelled import open_labelled
from training.data.megadepth import all_scenes, has_lists, scene_pairs, split_scenes
from training.data.pair import Pair
from training.tasks.dense import DepthTask, SegmentationTask
from training.tasks.flow import FlowTask
from training.tasks.hpatches import PROTOCOLS, hpatches_pairs, pair_figures, parts, photo_pairs, summary
from training.tasks.pairs import Prediction, open_pair_model
from training.tasks.retrieval import PlaceTask, dataset_places, revisits
from training.tasks.two_view import (
    odometry_summary,
    pose_summary,
    recording_pairs,
    tartanair_pairs,
    two_view_figures,
)

Figures = dict[str, dict[str, float]]  # by part of the data, then by name


class TaskName(Enum):
    """What can be measured."""

    HPATCHES = "hpatches"
    HOMOGRAPHY = "homography"
    VPR = "vpr"
    SEGMENTATION = "segmentation"
    DEPTH = "depth"
    VO = "vo"
    FLOW = "flow"
    POSE = "pose"


@dataclass(frozen=True)
class Options:
    """See `python -m training.evaluate --help`."""

    count: int = 0
    duration_s: float = 15.0
    split: str = "val"
    kind: str = "coco"
    backend: str = "auto"
    apart_px: float = 0.0


class Task(Protocol):
    """One of them."""

    @property
    def peers(self) -> tuple[str, ...]:
        """Classical models."""
        ...

    def predict(self, model: str, folder: Path) -> Iterator[None]:
        """Write a model's predictions, yielding after each; ConfigError for an unknown model."""
        ...

    def figures(self, folder: Path) -> Figures:
        """Figures of what lies in the folder."""
        ...


Measure = Callable[[Pair, Prediction], dict[str, float]]
Summarise = Callable[[Mapping[str, Mapping[str, float]]], dict[str, float]]


@dataclass(frozen=True)
class PairTask:
    """Whatever is measured on matches between two images."""

    pairs: Mapping[str, Callable[[], Iterator[Pair]]]  # by part
    top_k: Mapping[str, int]
    measure: Measure
    summarise: Summarise
    split: Callable[[Sequence[str]], Mapping[str, Sequence[str]]] = lambda names: {"all": names}
    peers: tuple[str, ...] = ("sift", "orb", "gftt-lk")
    apart_px: float = 0.0

    def predict(self, model: str, folder: Path) -> Iterator[None]:
        """See Task."""
        match = open_pair_model(model, self.apart_px)
        for part, pairs in self.pairs.items():
            for pair in pairs():
                match(pair, self.top_k[part]).save(folder / part / f"{pair.name}.npz")
                yield

    def figures(self, folder: Path) -> Figures:
        """See Task."""
        table: Figures = {}
        for part, pairs in self.pairs.items():
            rows = {p.name: self.measure(p, Prediction.load(folder / part / f"{p.name}.npz")) for p in pairs()}
            if not rows:
                raise DataError(f"no pairs for {part}")
            for group, names in self.split(list(rows)).items():
                table[f"{part}: {group}"] = self.summarise({name: rows[name] for name in names})
        return table


def open_task(task: TaskName, source: Path, options: Options) -> Task:
    """Open the data of a task; DataError where it is not there."""
    make: dict[TaskName, Callable[[Path, Options], Task]] = {
        TaskName.HPATCHES: _hpatches,
        TaskName.HOMOGRAPHY: _homography,
        TaskName.POSE: _pose,
        TaskName.VO: _odometry,
        TaskName.VPR: _places,
        TaskName.SEGMENTATION: lambda s, o: SegmentationTask(open_labelled(o.kind, s, o.split, 28), o.count),
        TaskName.DEPTH: lambda s, o: DepthTask(s, o.kind, o.count),
        TaskName.FLOW: lambda s, o: FlowTask(s, o.count or 12, o.duration_s, o.backend),
    }
    return make[task](source, options)


def _hpatches(source: Path, options: Options) -> Task:
    pairs = {name: _later(hpatches_pairs, source, size) for name, (size, _) in PROTOCOLS.items()}
    top_k = {name: k for name, (_, k) in PROTOCOLS.items()}
    return PairTask(pairs, top_k, pair_figures, summary, parts, apart_px=options.apart_px)


def _homography(source: Path, options: Options) -> Task:
    """On any photographs: views under random homographies, mild and strong."""
    ranges = {"mild": homographies.SUPERPOINT, "strong": homographies.KP2D}
    pairs = {n: _later(photo_pairs, source, (480, 640), options.count or 100, r) for n, r in ranges.items()}
    return PairTask(pairs, dict.fromkeys(pairs, 1000), pair_figures, summary, apart_px=options.apart_px)


def _pose(source: Path, options: Options) -> Task:
    """TartanAir trajectories ten frames apart, or a MegaDepth-style root: its split, or all where it has no lists."""
    scenes = split_scenes(source, options.split) if has_lists(source) else all_scenes(source)
    if scenes:
        later = _later(scene_pairs, source, scenes, 1200, options.count or 1500)
    else:
        later = _later(tartanair_pairs, source, (480, 640), 10, options.count or 100)
    return PairTask({"poses": later}, {"poses": 2048}, two_view_figures, pose_summary)


def _odometry(source: Path, options: Options) -> Task:
    pairs = {"every 2nd frame": _later(recording_pairs, source, 2, options.duration_s, 640)}
    return PairTask(pairs, dict.fromkeys(pairs, 1000), two_view_figures, odometry_summary)


def _places(source: Path, options: Options) -> Task:
    structs = [*source.glob("*.mat"), *source.glob("datasets/*.mat")]
    return PlaceTask(_later(dataset_places, source, options.split) if structs else _later(revisits, source))


def _later(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return lambda: function(*args)
