# SPDX-License-Identifier: Apache-2.0
"""scene_info files of MegaDepth and ScanNet as LoFTR reads them: images, depths, cameras and pairs of a scene."""

import io
import pickle
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.reading import ending
from letvins_ros.writing import atomic_path

_HARMLESS = {"_reconstruct", "_frombuffer", "ndarray", "dtype", "scalar"}  # of numpy; enough for arrays of any kind
_PAIR = np.dtype([("pair", np.int64, 2), ("overlap", np.float32), ("central_matches", np.float32, (0,))])
_MALFORMED = (
    *(AttributeError, EOFError, IndexError, KeyError, MemoryError, NotImplementedError, OSError, OverflowError),
    *(RuntimeError, SyntaxError, TypeError, ValueError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError),
    *(struct.error, tokenize.TokenError),
)
_MAX_BYTES = 1 << 30  # of an archive's arrays


class SceneInfo(NamedTuple):
    """One scene."""

    image_paths: list[str | None]  # relative to the root
    depth_paths: list[str | None]
    intrinsics: np.ndarray  # (N, 3, 3)
    poses: np.ndarray  # (N, 4, 4) T_cam_world
    pairs: np.ndarray  # (M, 2) int
    overlaps: np.ndarray  # (M,)


def read_scene_info(path: Path) -> SceneInfo:
    """Read one .npz, or a pickled dictionary under that name as MegaDepth-1500's are; no code hidden in it is run."""
    try:
        values = _arrays(ending(path))
        infos = values["pair_infos"]
        pairs = np.array([tuple(info[0]) for info in infos], np.int64).reshape(-1, 2)
        overlaps = np.array([info[1] for info in infos], np.float32)
        paths, depths = ([_path(p) for p in values[key]] for key in ("image_paths", "depth_paths"))
        K, T = (_stacked(values[key], shape) for key, shape in (("intrinsics", (3, 3)), ("poses", (4, 4))))
        scene = SceneInfo(paths, depths, K, T, pairs, overlaps)
        _check(scene)
    except _MALFORMED as error:
        raise DataError(f"{path}: not a scene_info file ({error})") from error
    return scene


def _check(scene: SceneInfo) -> None:
    """Raise ValueError where the parts do not fit each other, or a camera is not finite."""
    count = len(scene.image_paths)
    sizes = {len(part) for part in (scene.depth_paths, scene.intrinsics, scene.poses)}
    if sizes != {count}:
        raise ValueError(f"{count} images, but {sizes} depths and cameras")
    if not (np.isfinite(scene.intrinsics).all() and np.isfinite(scene.poses).all()):
        raise ValueError("a camera is not finite")
    if len(scene.pairs) and not 0 <= scene.pairs.min() <= scene.pairs.max() < count:
        raise ValueError(f"pairs of images from {scene.pairs.min()} to {scene.pairs.max()}, there are {count}")


def write_scene_info(path: Path, scene: SceneInfo) -> None:
    """Write one that LoFTR's loader reads too; in it is nothing pickled."""
    infos = np.zeros(len(scene.pairs), _PAIR)
    infos["pair"], infos["overlap"] = scene.pairs, scene.overlaps
    with atomic_path(path) as part:
        np.savez_compressed(
            part,
            image_paths=np.array([p or "" for p in scene.image_paths]),
            depth_paths=np.array([p or "" for p in scene.depth_paths]),
            intrinsics=scene.intrinsics.astype(np.float32),
            poses=scene.poses.astype(np.float32),
            pair_infos=infos,
        )


class _NumpyOnly(pickle.Unpickler):
    """Makes numpy arrays and plain values, and refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] != "numpy" or name not in _HARMLESS:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of such a file")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _arrays(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return dict(_load(file))
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_BYTES:
            raise ValueError(f"{size / 1e6:.0f} MB when unpacked, at most {_MAX_BYTES / 1e6:.0f} are read")
        values = {Path(name).stem: _array(archive.read(name)) for name in archive.namelist()}
    if set(values) == {"arr_0"}:  # a dictionary saved as one object
        inner: dict[str, Any] = values["arr_0"].item()
        return inner
    return values


def _array(content: bytes) -> Any:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, dtype = read(stream)
    if dtype.hasobject:
        return _load(stream)
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _load(stream: BinaryIO) -> Any:
    try:
        return _NumpyOnly(stream).load()
    except Exception as error:  # bytes that are no pickle raise nearly anything
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from error


def _path(value: Any) -> str | None:
    return str(value) if value is not None and str(value) else None


def _stacked(values: Any, shape: tuple[int, int]) -> np.ndarray:
    """Arrays of this shape; images without a camera (None) get zeros."""
    return np.stack([np.zeros(shape) if v is None else np.asarray(v, float).reshape(shape) for v in values])
