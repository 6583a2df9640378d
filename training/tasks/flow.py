# SPDX-License-Identifier: Apache-2.0
"""How long Lucas-Kanade keeps corners of a recording when the light is spoilt, on different maps of the images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from letvins_ros.contrast import to_gray
from letvins_ros.datasets import Dataset, open_dataset
from letvins_ros.errors import DataError
from letvins_ros.inference import open_runtime
from letvins_ros.tracking.flow import LearnedMaps, equalised_maps, gray_maps
from letvins_ros.types import ImageFrame
from letvins_ros.writing import atomic_path
from training.data.lighting import sensor_noise, spot_light, to_uint8
from training.drawing import detections
from training.tasks.true_flow import true_positions

FRAMES = 15  # over which corners are followed, from image to image
CORNERS = 150
FORWARD_BACKWARD_PX = 1.0
RIGHT_PX = 2.0  # from the track of plain Lucas-Kanade on the unspoilt gray images
TRUE_PX = 5.0  # from the true position, itself known to 1 to 4 px (poses, depth)

Images = list[np.ndarray]  # (H, W) uint8
MapMaker = Callable[[Images], list[np.ndarray]]  # tracking.flow has some
Light = Callable[[Images, np.random.Generator], Images]


@dataclass(frozen=True, eq=False)
class Clip:
    """Consecutive images, the corners of the first one, and where they are in the last."""

    images: Images
    corners: np.ndarray  # (N, 2) float32
    tracked: np.ndarray  # (N, 2) in the last image, by Lucas-Kanade on the gray images
    true: np.ndarray  # (N, 2) in the last image, by depth and pose; NaN where unknown


@dataclass(frozen=True)
class Shares:
    """Corners alive and right at the end, as a share of all, and of those whose true position is known."""

    tracked: float
    true: float


def flicker(images: Images, rng: np.random.Generator) -> Images:
    """Another gain in every image."""
    return [to_uint8(image * gain) for image, gain in zip(images, rng.uniform(0.4, 1.6, len(images)), strict=True)]


def dark(images: Images, rng: np.random.Generator) -> Images:
    """8 % of the light, with shot noise and read noise."""
    return [to_uint8(sensor_noise(image * np.float32(0.08), rng, 1.0)) for image in images]


def spot(images: Images, rng: np.random.Generator) -> Images:
    """Half the light, and a lamp that wanders fast over the picture."""
    shape = images[0].shape
    phase, centre = rng.uniform(0, 2 * np.pi, 2), np.array(shape[::-1]) / 2
    places = [centre + 0.8 * centre * np.sin(phase + i * np.array([0.9, 0.7])) for i in range(len(images))]
    return [to_uint8(image * spot_light(shape, at, 100, 0.5, 1.5)) for image, at in zip(images, places, strict=True)]


LIGHTS: Mapping[str, Light] = {"plain": lambda images, rng: images, "flicker": flicker, "dark": dark, "spot": spot}


def cut_clips(dataset: Dataset, count: int, duration_s: float) -> list[Clip]:
    """Cut `count` clips, spread over the first `duration_s` of a recording; DataError where it is too short."""
    frames = [frame for frame in dataset.frames(0.0, duration_s) if frame.images[0] is not None]
    if len(frames) <= FRAMES:
        raise DataError(f"{dataset.name}: {len(frames)} images, more than {FRAMES} needed")
    starts = np.linspace(0, len(frames) - FRAMES - 1, count).astype(int)
    return [_clip(dataset, frames[start : start + FRAMES + 1]) for start in starts]


@dataclass(frozen=True)
class FlowTask:
    """`--task flow`; see registry.Task. A model is `lk`, `clahe`, `local`, LET-NET2's weights or `local+` them."""

    source: Path
    count: int = 12
    duration_s: float = 15.0
    backend: str = "auto"
    peers: tuple[str, ...] = ("lk", "clahe", "local")

    def predict(self, model: str, folder: Path) -> Iterator[None]:
        """Write where the corners of each clip end, in each light."""
        make_maps = open_maps(model, self.backend)
        folder.mkdir(parents=True, exist_ok=True)
        for i, clip in enumerate(self._clips()):
            for light in LIGHTS:
                predict_clip(clip, make_maps, LIGHTS[light], i).save(folder / f"{light}_{i}.npz")
                yield

    def figures(self, folder: Path) -> dict[str, dict[str, float]]:
        """Shares alive and right at the end, by light."""
        clips = self._clips()
        shares = {
            light: _mean([shares_of(clip, Ends.load(folder / f"{light}_{i}.npz")) for i, clip in enumerate(clips)])
            for light in LIGHTS
        }
        return {
            "alive and like the gray track": {light: s.tracked for light, s in shares.items()},
            "alive and truly right": {light: s.true for light, s in shares.items()},
        }

    def pictures(self, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
        """The last image of each clip in each light with the corners that are still followed."""
        for i, clip in enumerate(self._clips()):
            for light, change in LIGHTS.items():
                last = change(clip.images, np.random.default_rng(i))[-1]
                ends = Ends.load(folder / f"{light}_{i}.npz")
                yield f"{light}_{i}", detections(cv2.cvtColor(last, cv2.COLOR_GRAY2RGB), ends.uv[ends.alive])

    def _clips(self) -> list[Clip]:
        return cut_clips(open_dataset(self.source), self.count, self.duration_s)


def open_maps(model: str, backend: str) -> MapMaker:
    """Maps on which Lucas-Kanade runs; ConfigError or WeightsError for an unknown model.

    `local+WEIGHTS` is what the tracker does: the network sees the evened-out image.
    """
    peers: dict[str, MapMaker] = {"lk": gray_maps, "clahe": clahe_maps, "local": equalised_maps}
    if model in peers:
        return peers[model]
    runtime = open_runtime("letnet2", Path(model.removeprefix("local+").removeprefix("letnet2=")), backend)
    return LearnedMaps(runtime, model.startswith("local+"))


def clahe_maps(images: Images) -> Images:
    """Contrast-limited adaptive histogram equalisation, the usual remedy against changing light."""
    clahe = cv2.createCLAHE(3.0, (8, 8))
    return [clahe.apply(to_gray(image)) for image in images]


class Ends(NamedTuple):
    """Where corners were last seen."""

    uv: np.ndarray  # (N, 2)
    alive: np.ndarray  # (N,) bool

    def save(self, path: Path) -> None:
        """Write an .npz file."""
        with atomic_path(path) as part:
            np.savez_compressed(part, uv=self.uv, alive=self.alive)

    @classmethod
    def load(cls, path: Path) -> "Ends":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(file["uv"], file["alive"])


def follow(maps: Sequence[np.ndarray], corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Last positions (N, 2) of corners (N, 2) of the first map, and which never failed the check there and back."""
    alive = np.ones(len(corners), bool)
    uv = corners
    for a, b in pairwise(maps):
        uv_b, found = _flow(a, b, uv)
        uv_back, found_back = _flow(b, a, uv_b)
        inside = ((uv_b >= 0) & (uv_b < np.array(a.shape[1::-1]))).all(axis=1)
        alive &= found & found_back & inside & (np.linalg.norm(uv_back - uv, axis=1) <= FORWARD_BACKWARD_PX)
        uv = uv_b
    return uv, alive


def _clip(dataset: Dataset, frames: Sequence[ImageFrame]) -> Clip:
    images = [frame.images[0] for frame in frames if frame.images[0] is not None]
    corners = cv2.goodFeaturesToTrack(images[0], CORNERS, 0.01, 10)[:, 0]
    right = frames[0].images[1] if len(frames[0].images) > 1 else None
    in_right, found = (
        follow([images[0], right], corners) if right is not None else (corners, np.zeros(len(corners), bool))
    )
    in_right[~found] = np.nan
    true = true_positions(dataset, (frames[0].stamp_ns, frames[-1].stamp_ns), corners, in_right)
    return Clip(images, corners, follow(images, corners)[0], true)


def predict_clip(clip: Clip, make_maps: MapMaker, light: Light, seed: int) -> Ends:
    """Follow a clip's corners in a light."""
    return Ends(*follow(make_maps(light(clip.images, np.random.default_rng(seed))), clip.corners))


def shares_of(clip: Clip, ends: Ends) -> Shares:
    """Compare them with the track on the gray images and with the truth."""
    known = np.isfinite(clip.true[:, 0])
    as_tracked = ends.alive & (np.linalg.norm(ends.uv - clip.tracked, axis=1) < RIGHT_PX)
    as_true = ends.alive & (np.linalg.norm(ends.uv - clip.true, axis=1) < TRUE_PX)
    return Shares(float(as_tracked.mean()), float(as_true[known].mean()) if known.any() else float("nan"))


def _mean(shares: Sequence[Shares]) -> Shares:
    return Shares(float(np.mean([s.tracked for s in shares])), float(np.nanmean([s.true for s in shares])))


def _flow(a: np.ndarray, b: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    uv_b, found, _ = cv2.calcOpticalFlowPyrLK(a, b, uv, uv.copy(), winSize=(21, 21), maxLevel=3)
    return uv_b, found[:, 0] == 1
