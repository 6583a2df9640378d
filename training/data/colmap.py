# SPDX-License-Identifier: Apache-2.0
"""COLMAP's files: models as text or binary, and the depth maps of its stereo (colmap.github.io/format.html)."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.geometry import from_quaternion
from letvins_ros.reading import ending

_PINHOLES = {0: "SIMPLE_PINHOLE", 1: "PINHOLE"}  # numbers of models in binary files
_NO_POINT = -1


class DistortedModelError(DataError):
    """A model of photographs that are not undistorted."""


class View(NamedTuple):
    """One undistorted photograph of a reconstruction."""

    name: str  # of the file, relative to the folder of images
    K: np.ndarray  # (3, 3); the first pixel's centre is (0, 0)
    T_cam_world: np.ndarray  # (4, 4)
    point_ids: np.ndarray  # (N,) int64, of the points it sees
    uv: np.ndarray  # (N, 2) px
    depth: np.ndarray  # (N,) along the optical axis, in the reconstruction's unit


class _Image(NamedTuple):
    quaternion: tuple[float, ...]  # w x y z
    translation: tuple[float, ...]
    camera: int
    name: str
    observations: np.ndarray  # (N, 3): x, y, id of the point


def read_model(folder: Path) -> list[View]:
    """Read a model of pinhole cameras, sorted by name; DataError for a distorted one, or none."""
    try:
        if (folder / "cameras.bin").is_file():
            cameras, images, points = _read_binary(folder)
        else:
            cameras, images, points = _read_text(folder)
        return sorted((_view(image, cameras, points) for image in images), key=lambda view: view.name)
    except KeyError as error:
        raise DataError(f"{folder}: no COLMAP model: no camera or point has the number {error}") from error
    except (OSError, ValueError, IndexError, OverflowError, TypeError, struct.error) as error:
        raise DataError(f"{folder}: no COLMAP model ({error})") from error


def largest_model(folder: Path) -> Path:
    """Where a model lies in COLMAP's folder: in sparse/0, sparse/1 .., of which the one with most to read, or above."""
    places = (folder, folder / "sparse", *folder.glob("sparse/[0-9]*"), *folder.glob("[0-9]*"))
    models = [place for place in places if any(place.glob("cameras.*"))]
    return max(models, key=lambda place: sum(file.stat().st_size for file in place.glob("images.*")), default=folder)


def is_distorted(folder: Path) -> bool:
    """Whether the photographs of a model are still to be undistorted."""
    try:
        read_model(folder)
    except DistortedModelError:
        return True
    return False


def overlap(a: View, b: View) -> float:
    """Share of points that both see: of the points of whichever sees more."""
    shared = len(np.intersect1d(a.point_ids, b.point_ids, assume_unique=True))
    return shared / max(len(a.point_ids), len(b.point_ids), 1)


def read_depth_map(path: Path) -> np.ndarray:
    """(H, W) float32 of a .geometric.bin or .photometric.bin of COLMAP's stereo; 0 is unknown."""
    try:
        width, height, channels, body = ending(path).read_bytes().split(b"&", 3)
        values = np.frombuffer(body, "<f4").reshape(int(channels), int(height), int(width))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a depth map of COLMAP ({error})") from error
    return np.maximum(values[0], 0)


_Model = tuple[dict[int, np.ndarray], list[_Image], dict[int, np.ndarray]]


def _read_text(folder: Path) -> _Model:
    cameras = {}
    for number, model, *values in _rows(folder / "cameras.txt"):
        cameras[int(number)] = _K(model, [float(v) for v in values[2:]], folder)
    images, lines = [], iter(_lines(folder / "images.txt"))
    for head in lines:
        if not head.strip():  # blank lines at the end
            continue
        body = next(lines, "")
        _, *pose, camera, name = head.split(maxsplit=9)
        observations = np.array(body.split(), float).reshape(-1, 3)
        numbers = [float(v) for v in pose]
        images.append(_Image(tuple(numbers[:4]), tuple(numbers[4:]), int(camera), name, observations))
    points = {int(row[0]): np.array(row[1:4], float) for row in _rows(folder / "points3D.txt")}
    return cameras, images, points


def _read_binary(folder: Path) -> _Model:
    cameras, file = {}, _Bytes(folder / "cameras.bin")
    for _ in range(file.one("<Q")):
        number, model, _, _ = file.many("<iiQQ")
        if model not in _PINHOLES:
            raise _distorted(folder, f"number {model}")
        cameras[number] = _K(_PINHOLES[model], list(file.many("<3d" if model == 0 else "<4d")), folder)
    images, file = [], _Bytes(folder / "images.bin")
    for _ in range(file.one("<Q")):
        _, *pose, camera = file.many("<i7di")
        name, count = file.text(), file.one("<Q")
        raw = np.frombuffer(file.take(24 * count), np.dtype([("uv", "<f8", 2), ("id", "<i8")]))
        observations = np.column_stack([raw["uv"], raw["id"]])
        images.append(_Image(tuple(pose[:4]), tuple(pose[4:]), camera, name, observations))
    points, file = {}, _Bytes(folder / "points3D.bin")
    for _ in range(file.one("<Q")):
        number, *xyz, _, _, _, _, track = file.many("<Q3d3BdQ")
        file.take(8 * track)
        points[number] = np.array(xyz)
    return cameras, images, points


class _Bytes:
    """A file read from its beginning on."""

    def __init__(self, path: Path) -> None:
        self._content, self._at = ending(path).read_bytes(), 0

    def take(self, count: int) -> bytes:
        part = self._content[self._at : self._at + count]
        if len(part) < count:
            raise ValueError("the file ends too early")
        self._at += count
        return part

    def many(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def one(self, layout: str) -> int:
        return int(self.many(layout)[0])

    def text(self) -> str:
        end = self._content.index(b"\0", self._at)
        return self.take(end - self._at + 1)[:-1].decode()


def _lines(path: Path) -> list[str]:
    """Lines that are no comments; an image without observations has an empty one."""
    return [line for line in ending(path).read_text().splitlines() if not line.startswith("#")]


def _rows(path: Path) -> Iterator[list[str]]:
    return (line.split() for line in ending(path).read_text().splitlines() if line.strip() and not line.startswith("#"))


def _K(model: str, values: list[float], folder: Path) -> np.ndarray:
    """COLMAP's first pixel has its centre at (0.5, 0.5), ours at (0, 0)."""
    if model not in _PINHOLES.values():
        raise _distorted(folder, model)
    fx, fy, cx, cy = values if model == "PINHOLE" else (values[0], *values)
    return np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])


def _distorted(folder: Path, model: str) -> DistortedModelError:
    return DistortedModelError(
        f"{folder}: the camera model is {model}, not PINHOLE; prepare_scene --model undistorts it"
    )


def _view(image: _Image, cameras: dict[int, np.ndarray], points: dict[int, np.ndarray]) -> View:
    w, x, y, z = image.quaternion
    try:
        T_cam_world = from_quaternion(np.array(image.translation), np.array([x, y, z, w]))
    except DataError as error:
        raise ValueError(f"image {image.name}: {error}") from error
    seen = {int(point): (u, v) for u, v, point in image.observations if point != _NO_POINT}  # once, if seen twice
    ids = np.array(sorted(seen), np.int64)
    uv = np.array([seen[i] for i in ids], float).reshape(-1, 2) - 0.5
    xyz = np.array([points[i] for i in ids]).reshape(-1, 3)
    depth = xyz @ T_cam_world[2, :3] + T_cam_world[2, 3]
    K = cameras[image.camera]
    if not all(np.isfinite(part).all() for part in (K, uv, depth)):
        raise ValueError(f"image {image.name}: its camera, or what it sees, is not finite")
    return View(image.name, K, T_cam_world, ids, uv, depth)
