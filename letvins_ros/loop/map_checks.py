# SPDX-License-Identifier: Apache-2.0
"""What must hold of the arrays of a map file; checked once, when it is opened."""

from collections.abc import Iterator, Mapping

import numpy as np

MAX_M = 1e7  # of any coordinate
ROTATION_TOLERANCE = 1e-3  # of R^T R: products of many rotations drift
BORDER_PX = 1.0  # by which a pixel may be outside the image
CHUNK = 1_000_000  # rows that are looked at together

# type and shape; letters: sizes that must agree, N keyframes, K keys, L loops, G datums, X fixes, M places, F features
_SHAPES = {
    "graph.session": ("i", "N"),
    "graph.T_odom": ("f", "N44"),
    "graph.T_chain": ("f", "N44"),
    "graph.gathered_covariance": ("f", "N66"),
    "graph.key": ("i", "K"),
    "graph.T_map_key": ("f", "K44"),
    "graph.loop": ("i", "L3"),
    "graph.T_loop": ("f", "L44"),
    "graph.loop_covariance": ("f", "L66"),
    "graph.datum": ("f", "G3"),
    "graph.fix_node": ("i", "X"),
    "graph.fix_arm": ("f", "X3"),
    "graph.fix_position": ("f", "X3"),
    "graph.fix_std": ("f", "X3"),
    "stamp_ns": ("i", "N"),
    "vertical_std": ("f", "N"),
    "R_level_body": ("f", "N33"),
    "feature.node": ("i", "M"),
    "feature.start": ("i", "S"),
    "feature.place": ("f", "MD"),
    "feature.uv": ("f", "F2"),
    "feature.point_body": ("f", "F3"),
    "feature.descriptor": ("uf", "FB"),
}


def check_arrays(arrays: Mapping[str, np.ndarray], place_size: int, image_size: tuple[int, int]) -> None:
    """Raise ValueError with the name and the row of what is not as a map has it; image_size is (width, height)."""
    sizes = _sizes(arrays)
    if sizes.get("D") != place_size:
        raise ValueError(f"feature.place has {sizes.get('D')} numbers a place, place_size is {place_size}")
    for name in ("graph.T_odom", "graph.T_chain", "graph.T_map_key", "graph.T_loop"):
        T = arrays[name]
        _all(name, "a rigid transform", (T[:, 3] == (0, 0, 0, 1)).all(axis=1) & _is_rotation(T[:, :3, :3]))
        _all(name, f"within {MAX_M:g} m", (np.abs(T[:, :3, 3]) <= MAX_M).all(axis=1))
    _all("R_level_body", "a rotation", _is_rotation(arrays["R_level_body"]))
    _all("vertical_std", "a standard deviation", _is_between(arrays["vertical_std"], 0, np.inf))
    _all("stamp_ns", "a time", arrays["stamp_ns"] >= 0)
    _check_graph(arrays, sizes["N"])
    _check_fixes(arrays)
    _check_features(arrays, sizes["N"], image_size)


def _sizes(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The size that each letter stands for."""
    sizes: dict[str, int] = {}
    for name, (kinds, shape) in _SHAPES.items():
        array = arrays[name]
        wanted = tuple(int(c) if c.isdecimal() else sizes.get(c) for c in shape)
        if array.dtype.kind not in kinds or len(array.shape) != len(shape):
            raise ValueError(f"{name} is {array.dtype} {array.shape}")
        for letter, size, agreed in zip(shape, array.shape, wanted, strict=True):
            if agreed is not None and size != agreed:
                raise ValueError(f"{name} has the shape {array.shape}, where {letter} is {agreed}")
            sizes[letter] = size
    return sizes


def _check_graph(arrays: Mapping[str, np.ndarray], count: int) -> None:
    sessions, keys, loops = arrays["graph.session"], arrays["graph.key"], arrays["graph.loop"]
    _all("graph.session", "at least that of the keyframe before", np.diff(sessions, prepend=0) >= 0)
    _all("graph.key", "a keyframe after the one before", (np.diff(keys, prepend=-1) > 0) & (keys < count))
    _all("graph.loop", "between two keys", np.isin(loops[:, :2], keys).all(axis=1) & (loops[:, 0] != loops[:, 1]))
    _all("graph.loop", "an inlier or an outlier", np.isin(loops[:, 2], (0, 1)))
    _all("graph.loop_covariance", "positive definite", 0 < _least_eigenvalue(arrays["graph.loop_covariance"]))
    covariance = arrays["graph.gathered_covariance"]
    steps = np.diff(covariance, axis=0, prepend=np.zeros((1, 6, 6)))
    rounding = 1e-9 * np.abs(covariance).max(axis=(1, 2), initial=0)
    growth = _least_eigenvalue(steps) + rounding
    _all("graph.gathered_covariance", "that before and a covariance", growth >= 0)


def _check_fixes(arrays: Mapping[str, np.ndarray]) -> None:
    datum, nodes = arrays["graph.datum"], arrays["graph.fix_node"]
    if len(datum) > 1 or (len(nodes) and not len(datum)):
        raise ValueError(f"graph.datum has {len(datum)} rows for {len(nodes)} fixes")
    _all("graph.datum", "a place on earth", (np.abs(datum) <= (90, 360, MAX_M)).all(axis=1))
    _all(
        "graph.fix_node",
        "a key after the one before",
        (np.diff(nodes, prepend=-1) > 0) & np.isin(nodes, arrays["graph.key"]),
    )
    for name in ("graph.fix_arm", "graph.fix_position"):
        _all(name, f"within {MAX_M:g} m", (np.abs(arrays[name]) <= MAX_M).all(axis=1))
    _all("graph.fix_std", "a standard deviation", np.all(_is_between(arrays["graph.fix_std"], 1e-6, MAX_M), axis=1))


def _check_features(arrays: Mapping[str, np.ndarray], count: int, image_size: tuple[int, int]) -> None:
    nodes, start, features = arrays["feature.node"], arrays["feature.start"], len(arrays["feature.uv"])
    _all("feature.node", "a keyframe", _is_between(nodes, 0, count - 1))
    if len(np.unique(nodes)) != len(nodes):
        raise ValueError("feature.node names a keyframe twice")
    if len(start) != len(nodes) + 1 or start[0] != 0 or start[-1] != features or (np.diff(start) < 0).any():
        raise ValueError(f"feature.start does not share out {features} features to {len(nodes)} keyframes")
    edge = np.array(image_size) - 1 + BORDER_PX
    for rows in _chunks(features):
        uv, points, descriptors = (arrays[f"feature.{name}"][rows] for name in ("uv", "point_body", "descriptor"))
        inside = np.all((uv >= -BORDER_PX) & (uv <= edge), axis=1)
        known = np.all(np.abs(points) <= MAX_M, axis=1)
        _all("feature.uv", "a pixel", inside, rows.start)
        _all("feature.point_body", "a point, or unknown", known | np.isnan(points).all(axis=1), rows.start)
        if descriptors.dtype.kind == "f":
            _all("feature.descriptor", "finite", np.all(np.isfinite(descriptors), axis=1), rows.start)
    for rows in _chunks(len(nodes)):
        _all("feature.place", "finite", (np.abs(arrays["feature.place"][rows]) <= 1e3).all(axis=1), rows.start)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK))


def _all(name: str, what: str, holds: np.ndarray, first: int = 0) -> None:
    """Raise ValueError that names the first row (from `first`) of which it does not hold; NaN holds of nothing."""
    if not holds.all():
        raise ValueError(f"{name}[{first + int(np.argmin(holds))}] is not {what}")


def _is_between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values >= low) & (values <= high)


def _is_rotation(R: np.ndarray) -> np.ndarray:
    """Which of R (N, 3, 3) are rotations."""
    finite = np.isfinite(R).all(axis=(1, 2))
    R = np.where(finite[:, None, None], R, 0).clip(-2, 2)
    error = np.abs(np.swapaxes(R, 1, 2) @ R - np.eye(3)).max(axis=(1, 2), initial=0)
    return finite & (error < ROTATION_TOLERANCE) & (np.linalg.det(R) > 0)


def _least_eigenvalue(matrices: np.ndarray) -> np.ndarray:
    """Of symmetric (N, 6, 6); NaN where one is not symmetric or not finite."""
    scale = np.abs(matrices).max(axis=(1, 2), initial=0)
    with np.errstate(invalid="ignore"):
        skew = np.abs(matrices - np.swapaxes(matrices, 1, 2)).max(axis=(1, 2), initial=0)
    good = np.isfinite(scale) & (scale < 1e30) & (skew <= 1e-6 * scale + 1e-12)
    least = np.linalg.eigvalsh(np.where(good[:, None, None], matrices, 0))[:, 0] if len(matrices) else np.zeros(0)
    return np.where(good, least, np.nan)
