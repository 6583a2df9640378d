# SPDX-License-Identifier: Apache-2.0
"""Pittsburgh and Tokyo 24/7: photographs of places with their positions, in the structs of NetVLAD."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from letvins_ros.errors import DataError

_DEFAULTS = {"posDistThr": 25.0, "nonTrivPosDistSqThr": 100.0}


class Places(NamedTuple):
    """Images of a database and of queries, with positions in m."""

    database: list[Path]
    database_xy: np.ndarray  # (N, 2)
    queries: list[Path]
    queries_xy: np.ndarray  # (M, 2)
    positive_m: float  # up to which an image shows the place of the query, in evaluation
    trivial_m: float  # up to which one is a positive in training

    def positives(self, radius_m: float) -> list[np.ndarray]:
        """Database images within a radius of each query."""
        return [np.flatnonzero(((self.database_xy - xy) ** 2).sum(axis=1) <= radius_m**2) for xy in self.queries_xy]


def read_places(folder: Path, split: str) -> Places:
    """Read a split such as pitts30k_train, pitts30k_val, pitts250k_test or tokyo247.

    folder has datasets/SPLIT.mat, the images of the database (000 .. 010 for Pittsburgh, in images/ or at the top) and
    queries_real/ for Pittsburgh or 247query_subset_v2/ for Tokyo. DataError says where to get them.
    """
    path = next((p for p in (folder / "datasets" / f"{split}.mat", folder / f"{split}.mat") if p.is_file()), None)
    if path is None:
        raise DataError(
            f"{folder}: no datasets/{split}.mat; get the structs from https://www.di.ens.fr/willow/research/netvlad and"
            " the images from http://www.ok.ctrl.titech.ac.jp/~torii/project/repttile (Pittsburgh) or .../247 (Tokyo)"
        )
    fields = _struct(path)
    try:
        names = [[str(name) for name in fields[key].ravel()] for key in ("dbImage", "qImage")]
        positions = [np.asarray(fields[key], float) for key in ("utmDb", "utmQ")]
    except KeyError as error:
        raise DataError(f"{path}: no {error} in dbStruct") from error
    positions = [p.T if p.shape[0] == 2 and p.shape[1] != 2 else p for p in positions]
    radius = float(np.ravel(fields.get("posDistThr", _DEFAULTS["posDistThr"]))[0])
    trivial = float(np.sqrt(np.ravel(fields.get("nonTrivPosDistSqThr", _DEFAULTS["nonTrivPosDistSqThr"]))[0]))
    tops = (
        _folders(folder, ("", "images", "tokyo247")),
        _folders(folder, ("queries_real", "247query_subset_v2", "", "query")),
    )
    database, queries = ([_find(top, name) for name in group] for top, group in zip(tops, names, strict=True))
    return Places(database, positions[0], queries, positions[1], radius, trivial)


def _struct(path: Path) -> dict[str, Any]:
    """Fields of dbStruct, cells of strings as arrays of strings."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        struct = loadmat(path, squeeze_me=False, chars_as_strings=True)["dbStruct"][0, 0]
    except (OSError, KeyError, ValueError, NotImplementedError, MatReadError) as error:  # scipy's for MATLAB 7.3 files
        raise DataError(f"{path}: no dbStruct ({error})") from error
    fields = {}
    for name in struct.dtype.names:
        value = struct[name]
        cell = value.dtype == object
        fields[name] = np.array([np.ravel(item)[0] for item in value.ravel()]) if cell else value
    return fields


def _folders(folder: Path, names: tuple[str, ...]) -> list[Path]:
    return [folder / name for name in names if (folder / name).is_dir()]


def _find(tops: list[Path], name: str) -> Path:
    """Database of Tokyo is given as .jpg and published as .png."""
    tries = [top / name for top in tops] + [(top / name).with_suffix(".png") for top in tops]
    return next((path for path in tries if path.is_file()), tries[0])
