# SPDX-License-Identifier: Apache-2.0
"""A map on disk: one .safetensors file, see docs/maps.md. Nothing in it is executed; descriptors stay on disk."""

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.camera import Camera
from letvins_ros.errors import DataError, LetvinsError
from letvins_ros.loop.features import KeyframeFeatures
from letvins_ros.loop.graph import PoseGraph
from letvins_ros.loop.map_checks import check_arrays
from letvins_ros.loop.orb import OrbDescriber
from letvins_ros.loop.place_map import Node, PlaceMap
from letvins_ros.reading import ending
from letvins_ros.writing import atomic_path, sync

FORMAT, VERSION = "letvins-map", 2
MAX_HEADER = 10_000_000  # bytes
MAX_PLACE_SIZE = 65_536
_KINDS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "U8": np.uint8}
_ADDED = {  # arrays that maps of before GNSS do not have
    "graph.datum": np.zeros((0, 3)), "graph.fix_node": np.zeros(0, np.int64),
    "graph.fix_arm": np.zeros((0, 3)), "graph.fix_position": np.zeros((0, 3)), "graph.fix_std": np.zeros((0, 3)),
}  # fmt: skip
_MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
_NAMES = {np.dtype(kind): name for name, kind in _KINDS.items()}


@dataclass(frozen=True)
class MapInfo:
    """What must be equal for a map to be used, and its provenance."""

    describer: str
    gravity_aligned: bool
    camera: Mapping[str, Any]  # model, intrinsics, distortion, size and mount of the left camera
    config: str = ""  # yaml
    provenance: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(
        camera: MountedCamera,
        gravity_aligned: bool,
        config: str = "",
        describer: str = OrbDescriber.name,
        **provenance: str,
    ) -> "MapInfo":
        """The description of a map made with this camera."""
        model = camera.camera
        facts = {
            "model": model.model,
            "size": [model.width, model.height],
            "intrinsics": list(map(float, model.intrinsics)),
            "distortion": list(map(float, model.distortion)),
            "T_body_cam": camera.T_body_cam.tolist(),
        }
        return MapInfo(describer, gravity_aligned, facts, config, provenance)

    def left_camera(self) -> MountedCamera:
        """The camera that saw the map."""
        facts = self.camera
        width, height = map(int, facts["size"])
        intrinsics, distortion = (tuple(map(float, facts[key])) for key in ("intrinsics", "distortion"))
        return MountedCamera(
            Camera(facts["model"], width, height, intrinsics, distortion), np.array(facts["T_body_cam"], float)
        )


def save_map(path: Path, places: PlaceMap, info: MapInfo) -> None:
    """Write a map; a reader finds the old one or the new one, complete. Raises DataError where it cannot be written."""
    arrays = _arrays(places)
    header: dict[str, Any] = {"__metadata__": _metadata(places, info)}
    offset = 0
    for name, array in arrays.items():
        ends = [offset, offset + array.nbytes]
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": ends}
        offset = ends[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as part:
        with part.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for array in arrays.values():
                file.write(np.ascontiguousarray(array).data)
        sync(part)


def _metadata(places: PlaceMap, info: MapInfo) -> dict[str, str]:
    return {
        "format": FORMAT,
        "version": str(VERSION),
        "describer": info.describer,
        "upright": json.dumps(info.gravity_aligned),
        "camera": json.dumps(dict(info.camera)),
        "config": info.config,
        "provenance": json.dumps(dict(info.provenance)),
        "place_size": str(places.index.size),
    }


def _arrays(places: PlaceMap) -> dict[str, np.ndarray]:
    """Big ones last; features of all nodes one after the other, from row `start[i]` to `start[i + 1]`."""
    with_features = places.findable()
    features = [places.features(node) for node in with_features]
    start = np.cumsum([0, *(len(f) for f in features)])
    graph = {f"graph.{name}": array for name, array in places.graph.state().items()}

    def concatenated(name: str, empty: tuple[int, ...], kind: np.dtype[Any] | type) -> np.ndarray:
        parts = [np.zeros(empty, kind), *(getattr(f, name) for f in features)]
        return np.concatenate(parts).astype(kind, copy=False)

    described = features[0].descriptors if features else np.zeros((0, 0), np.uint8)
    place = np.stack([f.place for f in features]) if features else np.zeros((0, places.index.size), np.float32)
    return graph | {
        "stamp_ns": np.array([node.stamp_ns for node in places.nodes], np.int64),
        "vertical_std": np.array([node.vertical_std for node in places.nodes], float),
        "R_level_body": np.array([node.R_level_body for node in places.nodes], float).reshape(-1, 3, 3),
        "feature.node": np.array(with_features, np.int64),
        "feature.start": start.astype(np.int64),
        "feature.place": place.astype(np.float32, copy=False),
        "feature.uv": concatenated("uv", (0, 2), np.float32),
        "feature.point_body": concatenated("points_body", (0, 3), np.float32),
        "feature.descriptor": concatenated("descriptors", (0, described.shape[1]), described.dtype),
    }


def facts(path: Path, places: PlaceMap, info: MapInfo) -> list[tuple[str, str]]:
    """The rows of `letvins map info`."""
    loops, nodes = places.graph.loops, places.findable()
    size = f"{info.camera['size'][0]} x {info.camera['size'][1]}"
    used = sum(loop.trusted for loop in loops)
    features = sum(len(places.features(node)) for node in nodes)
    return [
        ("Keyframes", f"{len(places)} of {len(set(places.graph.chains.sessions))} sessions"),
        ("Places to recognise", f"{len(nodes)} with {features} features ({info.describer})"),
        ("Loops", f"{used} inliers, {len(loops) - used} outliers"),
        ("Earth", _placed(places.graph.datum)),
        ("Vertical", "known from the IMU" if info.gravity_aligned else "unknown"),
        ("Camera", f"{info.camera['model']} {size}"),
        ("File", f"{path.stat().st_size / 1e6:.1f} MB, version {VERSION}"),
        *((name.replace("_", " ").capitalize(), value) for name, value in info.provenance.items()),
    ]


def _placed(datum: np.ndarray | None) -> str:
    if datum is None:
        return "not aligned by GNSS"
    return f"east, north, up of {datum[0]:.7f} {datum[1]:.7f} {datum[2]:.2f} m"


def load_map(path: Path, wanted: MapInfo | None = None) -> tuple[PlaceMap, MapInfo]:
    """Read a map; its features are read from the file when they are needed.

    Raises DataError that says why where it cannot be used, or not with what is wanted.
    """
    arrays, metadata = _open(path)
    arrays = _ADDED | arrays
    try:
        info, place_size = _info(metadata), int(metadata["place_size"])
        camera = info.left_camera().camera
        if not 0 < place_size <= MAX_PLACE_SIZE:
            raise ValueError(f"place_size is {place_size}")
        check_arrays(arrays, place_size, (camera.width, camera.height))
        places = PlaceMap(place_size)
        graph = {name.removeprefix("graph."): np.array(a) for name, a in arrays.items() if name.startswith("graph.")}
        places.graph = PoseGraph.from_state(graph)
        stamps, stds = arrays["stamp_ns"].tolist(), arrays["vertical_std"].tolist()
        places.nodes = list(map(Node, stamps, np.array(arrays["R_level_body"]), stds))
        places.archive = FileArchive(arrays)
        places.index.add(np.array(arrays["feature.node"]), np.array(arrays["feature.place"]))
    except (*_MALFORMED, LetvinsError) as error:
        raise DataError(f"{path}: a damaged map: {error}") from error
    if wanted is not None:
        _check(path, info, wanted)
    return places, info


def describer_of(path: Path) -> str:
    """The name of the describer that a map was made with; DataError where it cannot be read."""
    return str(_open(path)[1].get("describer"))


def _info(metadata: Mapping[str, str]) -> MapInfo:
    """Raises ValueError, KeyError, TypeError or CalibrationError where it is not as `MapInfo.of` made it."""
    aligned, facts, provenance = (json.loads(metadata[key]) for key in ("upright", "camera", "provenance"))
    texts = [metadata["describer"], metadata["config"], *provenance, *provenance.values()]
    if not isinstance(aligned, bool) or not all(isinstance(text, str) for text in texts):
        raise TypeError("its description has values of other types")
    camera = MapInfo("", aligned, facts).left_camera()
    return MapInfo.of(camera, aligned, metadata["config"], metadata["describer"], **provenance)


def _check(path: Path, info: MapInfo, wanted: MapInfo) -> None:
    if info.describer != wanted.describer:
        raise DataError(f"{path}: a map of descriptors {info.describer}, {wanted.describer} is wanted")
    if info.gravity_aligned != wanted.gravity_aligned:
        raise DataError(f"{path}: a map made {'with' if info.gravity_aligned else 'without'} IMU, this run is not")
    for key, value in wanted.camera.items():
        if not np.array_equal(np.asarray(info.camera.get(key)), np.asarray(value)):
            raise DataError(f"{path}: a map of another camera: {key} is {info.camera.get(key)}, here {value}")


def _open(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays that read from the file, and the metadata."""
    try:
        with ending(path).open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size < MAX_HEADER:
                raise DataError(f"{path}: not a map of letvins")
            header = json.loads(file.read(size))
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[8 + size :]
        metadata = header.pop("__metadata__")
        if metadata["format"] != FORMAT:
            raise DataError(f"{path}: not a map of letvins")
        if metadata["version"] != str(VERSION):
            raise DataError(f"{path}: a map of version {metadata['version']}, this program reads version {VERSION}")
        return {name: _array(data, entry) for name, entry in header.items()}, metadata
    except OSError as error:
        raise DataError(f"{path}: cannot read the map: {error.strerror}") from error
    except _MALFORMED as error:
        raise DataError(f"{path}: not a map of letvins, or an incomplete one ({error})") from error


def _array(data: memoryview, entry: Mapping[str, Any]) -> np.ndarray:
    first, last = entry["data_offsets"]
    if last > len(data):
        raise ValueError(f"{last - len(data)} bytes are missing")
    if not 0 <= first <= last or min(entry["shape"], default=0) < 0:
        raise ValueError(f"an array from {first} to {last} of shape {entry['shape']}")
    return np.frombuffer(data[first:last], _KINDS[entry["dtype"]]).reshape(entry["shape"])


class FileArchive:
    """Features of a map file."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._row = {node: row for row, node in enumerate(arrays["feature.node"].tolist())}
        self._start, self._place = arrays["feature.start"], arrays["feature.place"]
        self._uv, self._points = arrays["feature.uv"], arrays["feature.point_body"]
        self._descriptors = arrays["feature.descriptor"]

    def features(self, node: int) -> KeyframeFeatures:
        """See Archive."""
        row = self._row[node]
        rows = slice(int(self._start[row]), int(self._start[row + 1]))
        nameless = np.full(rows.stop - rows.start, -1)
        return KeyframeFeatures(self._uv[rows], self._descriptors[rows], self._points[rows], nameless, self._place[row])

    def nodes(self) -> list[int]:
        """Those that have features, in order."""
        return list(self._row)
