# SPDX-License-Identifier: Apache-2.0
"""The tasks of `python -m training.evaluate`: what each predicts and measures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from letvins_ros.errors import DataError
from training.data import homographies
from training.data.labelled import open_labelled
from training.data.megadepth import all_scenes, has_lists, scene_pairs, split_scenes
from training.data.pair import Pair
from training.drawing import matches
from training.tasks.dense import DepthTask, SegmentationTask
from training.tasks.flow import FlowTask
from training.tasks.hpatches import hpatches_pairs, parts, photo_pairs, upright
from training.tasks.matchers import open_pair_model
from training.tasks.pairs import Choice, Prediction
from training.tasks.protocols import KP2D, SUPERPOINT, Row, our_protocol, our_row, our_summary
from training.tasks.retrieval import PlaceTask, dataset_places, revisits
from training.tasks.two_view import (
    odometry_summary,
    pose_summary,
    recording_pairs,
    right_matches,
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
    device: str = "cpu"
    classes: int = 28
    gravity: bool = False
    distinct: bool = False
    enlarge: float = 1.0


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

    def pictures(self, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
        """What lies in the folder as pictures (H, W, 3) RGB uint8, each with a name."""
        ...


@dataclass(frozen=True)
class Measured:
    """A table of figures."""

    pairs: str  # which pairs
    choice: Choice  # of keypoints
    measure: Callable[[Pair, Prediction], Row]  # of a pair
    summarise: Callable[[Mapping[str, Row]], Row]  # of all pairs


@dataclass(frozen=True)
class PairTask:
    """Whatever is measured on matches between two images."""

    options: Options
    pairs: Mapping[str, Callable[[], Iterator[Pair]]]
    tables: Mapping[str, Measured]  # by title
    split: Callable[[Sequence[str]], Mapping[str, Sequence[str]]] = lambda names: {"all": names}
    peers: tuple[str, ...] = ("sift", "orb", "gftt-lk")

    def predict(self, model: str, folder: Path) -> Iterator[None]:
        """See Task."""
        match = open_pair_model(model, self.options.device, self.options.distinct, self.options.enlarge)
        for name, pairs in self.pairs.items():
            choices = list(dict.fromkeys(table.choice for table in self.tables.values() if table.pairs == name))
            for pair in pairs():
                for choice, prediction in zip(choices, match(pair, choices), strict=True):
                    prediction.save(_place(folder, name, choice, pair))
                yield

    def figures(self, folder: Path) -> Figures:
        """See Task."""
        rows: dict[str, dict[str, dict[str, float]]] = {title: {} for title in self.tables}
        for name, pairs in self.pairs.items():
            tables = {title: table for title, table in self.tables.items() if table.pairs == name}
            for pair in pairs():
                for title, table in tables.items():
                    prediction = Prediction.load(_place(folder, name, table.choice, pair))
                    rows[title][pair.name] = table.measure(pair, prediction)
        figures: Figures = {}
        for title, table in self.tables.items():
            if not rows[title]:
                raise DataError(f"no pairs for {title}")
            for group, names in self.split(list(rows[title])).items():
                figures[f"{title}: {group}"] = table.summarise({name: rows[title][name] for name in names})
        return figures

    def pictures(self, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
        """Matches of the first choice of keypoints, right ones green, wrong ones red."""
        for name, pairs in self.pairs.items():
            choice = next(table.choice for table in self.tables.values() if table.pairs == name)
            for pair in pairs():
                found = Prediction.load(_place(folder, name, choice, pair)).matches
                picture = matches(pair.image_a, pair.image_b, found, right_matches(pair, found))
                yield f"{name}/{pair.name}", picture


def open_task(task: TaskName, source: Path, options: Options) -> Task:
    """Open the data of a task; DataError where it is not there."""
    make: dict[TaskName, Callable[[Path, Options], Task]] = {
        TaskName.HPATCHES: _hpatches,
        TaskName.HOMOGRAPHY: _homography,
        TaskName.POSE: _pose,
        TaskName.VO: _odometry,
        TaskName.VPR: _places,
        TaskName.SEGMENTATION: _segmentation,
        TaskName.DEPTH: lambda s, o: DepthTask(s, o.kind, o.count, device=o.device),
        TaskName.FLOW: lambda s, o: FlowTask(s, o.count or 12, o.duration_s, o.backend),
    }
    return make[task](source, options)


def _hpatches(source: Path, options: Options) -> Task:
    """Figures as published first, then ours."""
    tables: dict[str, Measured] = {}
    pairs: dict[str, Callable[[], Iterator[Pair]]] = {}
    protocols = {"KP2D's protocol": KP2D, "SuperPoint's protocol": SUPERPOINT, "ours": our_protocol(options.apart_px)}
    for title, protocol in protocols.items():
        for size, choice in protocol.choices.items():
            name = f"{size[0]}x{size[1]}"
            pairs[name] = _later(_hpatches_pairs, source, size, options.gravity)
            tables[f"{title}, {name}, {choice}"] = Measured(name, choice, protocol.measure, protocol.summarise)
    return PairTask(options, pairs, tables, parts)


def _hpatches_pairs(source: Path, size: tuple[int, int], gravity: bool) -> Iterator[Pair]:
    pairs = hpatches_pairs(source, size)
    return map(upright, pairs) if gravity else pairs


def _homography(source: Path, options: Options) -> Task:
    """On any photographs: views under random homographies, mild and strong."""
    ranges = {"mild": homographies.SUPERPOINT, "strong": homographies.KP2D}
    pairs = {n: _later(photo_pairs, source, (480, 640), options.count or 100, r) for n, r in ranges.items()}
    choice = Choice(1000, options.apart_px)
    tables = {name: Measured(name, choice, our_row, our_summary) for name in pairs}
    return PairTask(options, pairs, tables)


def _pose(source: Path, options: Options) -> Task:
    """TartanAir trajectories ten frames apart, or a MegaDepth-style root: its split, or all where it has no lists."""
    scenes = split_scenes(source, options.split) if has_lists(source) else all_scenes(source)
    if scenes:
        later = _later(scene_pairs, source, scenes, 1200, options.count or 1500)
    else:
        later = _later(tartanair_pairs, source, (480, 640), 10, options.count or 100)
    tables = {"poses": Measured("poses", Choice(2048), two_view_figures, pose_summary)}
    return PairTask(options, {"poses": later}, tables)


def _odometry(source: Path, options: Options) -> Task:
    name = "every 2nd frame"
    pairs = {name: _later(recording_pairs, source, 2, options.duration_s, 640)}
    tables = {name: Measured(name, Choice(1000), two_view_figures, odometry_summary)}
    return PairTask(options, pairs, tables)


def _segmentation(source: Path, options: Options) -> Task:
    data = open_labelled(options.kind, source, options.split, options.classes)
    return SegmentationTask(data, options.count, device=options.device)


def _places(source: Path, options: Options) -> Task:
    structs = [*source.glob("*.mat"), *source.glob("datasets/*.mat")]
    places = _later(dataset_places, source, options.split) if structs else _later(revisits, source)
    return PlaceTask(places, device=options.device)


def _later(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return lambda: function(*args)


def _place(folder: Path, pairs: str, choice: Choice, pair: Pair) -> Path:
    return folder / pairs / str(choice) / f"{pair.name}.npz"
