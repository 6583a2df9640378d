# SPDX-License-Identifier: Apache-2.0
"""COLMAP's models, scene_info files and .npy arrays."""

import io
import struct
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from letvins_ros.reading import read_array
from training.data.colmap import overlap, read_depth_map, read_model
from training.data.megadepth import usable_pairs
from training.data.scene_info import SceneInfo, read_scene_info, write_scene_info

from . import mutations
from .survival_check import Damage, Reader, survives


@cache
def text_model() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    images = [
        f"{i} 0.99 0.01 0.02 0.03 0.5 -0.2 1.5 1 photo_{i}.jpg\n"
        + " ".join(f"{u:.2f} {v:.2f} {k}" for k, (u, v) in enumerate(rng.uniform(0, 400, (8, 2)))) + "\n"
        for i in range(1, 4)
    ]  # fmt: skip
    points = "".join(f"{k} {k * 0.1:.2f} 0.3 4.5 10 20 30 0.5 1 {k} 2 {k}\n" for k in range(8))
    return {
        "cameras.txt": b"# cameras\n1 PINHOLE 640 480 500.0 500.0 320.0 240.0\n",
        "images.txt": "".join(["# images\n", *images]).encode(),
        "points3D.txt": points.encode(),
    }


@cache
def binary_model() -> dict[str, bytes]:
    cameras = struct.pack("<QiiQQ4d", 1, 1, 1, 640, 480, 500, 500, 320, 240)
    images = struct.pack("<Q", 3)
    for i in range(3):
        seen = b"".join(struct.pack("<ddq", 10.0 * k, 20.0 * k, k if k else -1) for k in range(8))
        images += struct.pack("<i7di", i, 1, 0, 0, 0.1, 0.5, 0, 1, 1) + b"photo.jpg\0" + struct.pack("<Q", 8) + seen
    points = struct.pack("<Q", 8)
    for k in range(8):
        points += struct.pack("<Q3d3BdQ", k, 0.1 * k, 0.3, 4.5, 1, 2, 3, 0.5, 2) + struct.pack("<4i", 1, k, 2, k)
    return {"cameras.bin": cameras, "images.bin": images, "points3D.bin": points}


def damage_model(folder: Path, rng: Random) -> Path:
    """One file of a model, as text or binary."""
    files = dict(rng.choice((text_model, binary_model))())
    name = rng.choice(list(files))
    ways = mutations.BINARY if name.endswith("bin") else mutations.TEXT
    files[name] = mutations.mutate(files[name], rng, ways)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def use_model(folder: Path) -> None:
    views = read_model(folder)
    for view in views[:5]:
        assert np.isfinite(view.K).all() and np.isfinite(view.T_cam_world).all() and np.isfinite(view.depth).all()
        overlap(views[0], view)


def damage_depth_map(folder: Path, rng: Random) -> Path:
    content = b"4&3&1&" + np.ones(12, "<f4").tobytes()
    (folder / "depth.bin").write_bytes(mutations.mutate(content, rng, (*mutations.BINARY, mutations.renumber)))
    return folder / "depth.bin"


def damage_scene(folder: Path, rng: Random) -> Path:
    """An archive of plain arrays, or one with pickled ones as LoFTR's are."""
    paths = ["a.jpg", "b.jpg", None]
    pairs = np.array([[0, 1], [1, 0]])
    scene = SceneInfo(paths, paths, np.stack([np.eye(3)] * 3), np.stack([np.eye(4)] * 3), pairs, np.array([0.3, 0.5]))
    if rng.random() < 0.5:
        write_scene_info(folder / "scene.npz", scene)
    else:
        infos = np.array([[np.array([0, 1]), 0.3, np.zeros((2, 2))], [np.array([1, 0]), 0.5, np.ones((2, 2))]], object)
        boxed: dict[str, Any] = {
            "image_paths": np.array(paths, object),
            "depth_paths": np.array(paths, object),
            "pair_infos": infos,
        }
        np.savez(folder / "scene.npz", intrinsics=scene.intrinsics, poses=scene.poses, **boxed)
    content = (folder / "scene.npz").read_bytes()
    (folder / "scene.npz").write_bytes(mutations.mutate(content, rng, mutations.BINARY))
    return folder / "scene.npz"


def use_scene(path: Path) -> None:
    usable_pairs(read_scene_info(path))


def damage_array(folder: Path, rng: Random) -> Path:
    stream = io.BytesIO()
    np.save(stream, np.arange(24, dtype=np.float32).reshape(4, 6))
    content = mutations.mutate(stream.getvalue(), rng, (*mutations.BINARY, mutations.renumber, mutations.retext))
    (folder / "a.npy").write_bytes(content)
    return folder / "a.npy"


@pytest.mark.parametrize(
    ("damage", "use"),
    [
        (damage_model, use_model),
        (damage_depth_map, read_depth_map),
        (damage_scene, use_scene),
        (damage_array, read_array),
    ],
)
def test_damaged_training_files_are_refused_or_can_be_used(damage: Damage, use: Reader, tmp_path: Path) -> None:
    counts = survives(damage, use, tmp_path)
    assert counts["read"] and counts["refused"]
