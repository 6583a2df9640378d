# SPDX-License-Identifier: Apache-2.0
import shutil
import struct
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from letvins_ros.errors import DataError
from letvins_ros.geometry import inverse
from training.data import prepare_scene
from training.data.colmap import largest_model, overlap, read_depth_map, read_model
from training.data.dense_depth import from_monocular, from_points, from_stereo
from training.data.megadepth import read_depth, split_scenes, usable_pairs
from training.data.prepare_scene import prepare
from training.data.reconstruct import Way, reconstruct
from training.data.scene_info import read_scene_info

from ..some import some
from .pictures import picture

pytest.importorskip("h5py")
FOCAL, SIZE = 300.0, (240, 320)
WALLS = ((8.0, -9.0, 9.0), (5.0, -0.3, 9.0), (3.0, -9.0, -0.6))  # depth, and where they begin and end, in m


def camera_at(number: int) -> tuple[float, float]:
    """x and y of the camera in m: it goes right, and up and down."""
    return 0.25 * number, 0.1 * (number % 3)


@cache
def render(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Three walls behind each other, and their depth."""
    image, depth = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.float32)
    x, y = camera_at(number)
    for k, (z, begin, end) in enumerate(WALLS):
        left, right = (np.clip(round(FOCAL * (edge - x) / z + 160), 0, 320) for edge in (begin, end))
        shift = np.array([[1, 0, -FOCAL * x / z - 200], [0, 1, -FOCAL * y / z - 100]])
        wall = cv2.warpAffine(picture(30 + k, (500, 900)), shift, SIZE[::-1], borderMode=cv2.BORDER_REFLECT)
        image[:, left:right], depth[:, left:right] = wall[:, left:right], z
    return image, depth


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COLMAP's undistorted folder with a text model of four of the images, points known exactly."""
    root = tmp_path_factory.mktemp("model")
    (root / "images").mkdir()
    (root / "sparse").mkdir()
    rng, points, tracks = np.random.default_rng(0), list[Any](), [list[Any]() for _ in range(4)]
    for number in range(4):
        image, depth = render(number)
        cv2.imwrite(str(root / "images" / f"{number}.png"), image)
        x, y = camera_at(number)
        for u, v in rng.uniform([2, 2], [317, 237], (150, 2)):
            z = float(depth[round(v), round(u)])
            points.append(((u - 159.5) * z / FOCAL + x, (v - 119.5) * z / FOCAL + y, z))
    for index, point in enumerate(points):
        for number in range(4):
            x, y = camera_at(number)
            u, v = FOCAL * (point[0] - x) / point[2] + 159.5, FOCAL * (point[1] - y) / point[2] + 119.5
            if (
                0 <= u < 319
                and 0 <= v < 239
                and render(number)[1][round(v), round(u)] == point[2]
                and index % 3 != number % 3
            ):
                tracks[number].append((u + 0.5, v + 0.5, index + 1))
    lines = ["# comment"]
    for number, track in enumerate(tracks):
        x, y = camera_at(number)
        lines.append(f"{number + 1} 1 0 0 0 {-x} {-y} 0 1 {number}.png")
        lines.append(" ".join(f"{u} {v} {i}" for u, v, i in [*track, (3.0, 4.0, -1)]))
    (root / "sparse/images.txt").write_text("\n".join(lines) + "\n")
    (root / "sparse/cameras.txt").write_text(f"# comment\n1 PINHOLE 320 240 {FOCAL} {FOCAL} 160 120\n")
    rows = [f"{i + 1} {x} {y} {z} 9 9 9 0.1 1 0" for i, (x, y, z) in enumerate(points)]
    (root / "sparse/points3D.txt").write_text("\n".join(rows) + "\n")
    return root


def test_text_models_have_cameras_points_and_their_depth(model: Path) -> None:
    views = read_model(model / "sparse")
    assert [view.name for view in views] == [f"{i}.png" for i in range(4)]
    assert views[0].K.tolist() == [[FOCAL, 0, 159.5], [0, FOCAL, 119.5], [0, 0, 1]]
    assert inverse(views[2].T_cam_world)[:2, 3] == pytest.approx(camera_at(2))
    assert -1 not in views[0].point_ids
    at = np.rint(views[1].uv).astype(int)
    assert (render(1)[1][at[:, 1], at[:, 0]] == views[1].depth).mean() > 0.97
    assert 0.1 < overlap(views[0], views[1]) < 0.9


def test_binary_models_say_the_same_as_text(model: Path, tmp_path: Path) -> None:
    text = read_model(model / "sparse")
    (tmp_path / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 7, 1, 320, 240, FOCAL, FOCAL, 160, 120))
    images, points = [struct.pack("<Q", 4)], {}
    for view in text:
        images.append(struct.pack("<i7di", 1, 1, 0, 0, 0, *view.T_cam_world[:3, 3], 7) + view.name.encode() + b"\0")
        images.append(struct.pack("<Q", len(view.uv)))
        world = (view.uv - view.K[:2, 2]) / FOCAL * view.depth[:, None] - view.T_cam_world[:2, 3]
        for (u, v), number, xy, z in zip(view.uv, view.point_ids, world, view.depth, strict=True):
            images.append(struct.pack("<ddq", u + 0.5, v + 0.5, number))
            points[number] = (*xy, z)
    (tmp_path / "images.bin").write_bytes(b"".join(images))
    packed = [struct.pack("<Q3d3BdQii", n, *xyz, 1, 2, 3, 0.5, 1, 1, 0) for n, xyz in points.items()]
    (tmp_path / "points3D.bin").write_bytes(struct.pack("<Q", len(points)) + b"".join(packed))
    for a, b in zip(text, read_model(tmp_path), strict=True):
        assert (a.name, a.point_ids.tolist()) == (b.name, b.point_ids.tolist())
        assert a.K == pytest.approx(b.K)
        assert a.depth == pytest.approx(b.depth)
    (tmp_path / "points3D.bin").write_bytes(b"torn")
    with pytest.raises(DataError, match="no COLMAP model"):
        read_model(tmp_path)


def test_distorted_models_are_refused(model: Path, tmp_path: Path) -> None:
    for file in (model / "sparse").iterdir():
        (tmp_path / file.name).write_text(
            file.read_text().replace(f"PINHOLE 320 240 {FOCAL} {FOCAL}", f"OPENCV 320 240 {FOCAL} {FOCAL}")
        )
    with pytest.raises(DataError, match="the camera model is OPENCV, not PINHOLE; prepare_scene --model undistorts it"):
        read_model(tmp_path)


def test_blank_lines_at_the_end_of_a_text_model_are_nothing(model: Path, tmp_path: Path) -> None:
    for file in (model / "sparse").iterdir():
        (tmp_path / file.name).write_text(file.read_text() + "\n\n\n")
    names = [view.name for view in read_model(tmp_path)]
    assert names == [view.name for view in read_model(model / "sparse")]


def test_of_several_models_the_largest_is_taken(model: Path, tmp_path: Path) -> None:
    for number in range(3):
        shutil.copytree(model / "sparse", tmp_path / "sparse" / str(number))
    assert largest_model(model) == model / "sparse"
    lines = (model / "sparse/images.txt").read_text().splitlines()
    for number in (0, 2):
        (tmp_path / f"sparse/{number}/images.txt").write_text("\n".join(lines[:5]) + "\n")
    assert largest_model(tmp_path) == tmp_path / "sparse/1"


def test_depth_between_points_is_that_of_the_walls(model: Path) -> None:
    view = read_model(model / "sparse")[1]
    depth = some(from_points(view, SIZE))
    known = depth > 0
    assert known.mean() > 0.6
    assert np.mean(np.abs(depth - render(1)[1])[known] < 0.05 * render(1)[1][known]) > 0.75


def test_monocular_depth_takes_the_points_scale(model: Path, tmp_path: Path) -> None:
    view = read_model(model / "sparse")[1]
    relative = 20000 / render(1)[1] + 3000
    cv2.imwrite(str(tmp_path / "1.png"), relative.astype(np.uint16))
    assert from_monocular(tmp_path, view, SIZE) == pytest.approx(render(1)[1], rel=0.01)
    assert from_monocular(tmp_path / "nowhere", view, SIZE) is None


def test_stereo_is_read_column_by_column_and_loses_its_outliers(model: Path, tmp_path: Path) -> None:
    view = read_model(model / "sparse")[1]
    (tmp_path / "stereo/depth_maps").mkdir(parents=True)
    depth = render(1)[1].copy()
    depth[0, :3], depth[5, 7] = 900, -1
    path = tmp_path / "stereo/depth_maps/1.png.geometric.bin"
    path.write_bytes(b"320&240&1&" + depth.astype("<f4").tobytes())
    assert read_depth_map(path)[5, 7] == 0
    cleaned = some(from_stereo(tmp_path, view))
    assert (cleaned[0, :3] == 0).all()
    assert (cleaned[100] == depth[100]).all()
    path.write_bytes(b"320&240&1&abc")
    with pytest.raises(DataError, match="not a depth map of COLMAP"):
        read_depth_map(path)


def test_a_model_becomes_a_scene_of_usable_pairs(model: Path, tmp_path: Path) -> None:
    counts = prepare(model, tmp_path, "walls")
    views = read_model(model / "sparse")
    within = [0.1 <= overlap(a, b) <= 0.7 for a, b in combinations(views, 2)]
    assert 3 <= sum(within) == sum(counts.values())
    assert (tmp_path / "trainvaltest_list/train_list.txt").read_text() == "walls_train\n"
    scene = read_scene_info(split_scenes(tmp_path, "train")[0])
    assert len(usable_pairs(scene)) == counts["train"] == round(0.8 * sum(within))
    assert some(cv2.imread(str(tmp_path / some(scene.image_paths[0])))).shape == (*SIZE, 3)
    assert read_depth(tmp_path / some(scene.depth_paths[0])).shape == SIZE
    prepare(model, tmp_path, "walls")
    assert (tmp_path / "trainvaltest_list/train_list.txt").read_text() == "walls_train\n"


def test_photographs_are_reconstructed_to_scale(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    (tmp_path / "photos").mkdir()
    for number in range(5):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), render(number)[0])
    views = read_model(reconstruct(tmp_path / "photos", tmp_path / "work", Way()) / "sparse")
    assert len(views) == 5
    for view in views:
        columns, rows = np.clip(np.rint(view.uv).astype(int).T, 0, [[319], [239]])
        ratio = view.depth / render(int(view.name[0]))[1][rows, columns]
        assert np.mean(np.abs(ratio / np.median(ratio) - 1) < 0.05) > 0.8


def distorted(image: np.ndarray, k1: float) -> np.ndarray:
    """As a lens of OPENCV's model would show it."""
    K = np.array([[FOCAL, 0, 159.5], [0, FOCAL, 119.5], [0, 0, 1]])
    pixels = np.mgrid[: SIZE[0], : SIZE[1]][::-1].reshape(2, -1).T.astype(np.float32)
    uv = cv2.undistortPoints(pixels[:, None], K, np.array([k1, 0, 0, 0.0]), P=K).reshape(*SIZE, 2)
    return cv2.remap(image, uv[..., 0], uv[..., 1], cv2.INTER_LINEAR)


def with_tracks(folder: Path) -> None:
    """Let each point name the images that see it, without which COLMAP reads no model."""
    tracks: dict[Any, Any] = {}
    for image, body in enumerate((folder / "images.txt").read_text().splitlines()[2::2], start=1):
        for at, point in enumerate(body.split()[2::3]):
            tracks.setdefault(point, []).append(f"{image} {at}")
    rows = [row.split()[:8] for row in (folder / "points3D.txt").read_text().splitlines()]
    text = "".join(" ".join([*row, *tracks[row[0]]]) + "\n" for row in rows if row[0] in tracks)
    (folder / "points3D.txt").write_text(text)


def test_a_distorted_model_of_ones_own_is_undistorted_and_made_smaller(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    (tmp_path / "photos").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"photos/{number}.png"), distorted(render(number)[0], 0.2))
    shutil.copytree(model / "sparse", tmp_path / "model/sparse/1")
    with_tracks(tmp_path / "model/sparse/1")
    (tmp_path / "model/sparse/1/cameras.txt").write_text(f"1 OPENCV 320 240 {FOCAL} {FOCAL} 160 120 0.2 0 0 0\n")
    prepare_scene.main(tmp_path / "photos", tmp_path / "out", "walls", tmp_path / "model", 160, None)
    scene = read_scene_info(split_scenes(tmp_path / "out", "train")[0])
    image = some(cv2.imread(str(tmp_path / "out" / some(scene.image_paths[1]))))
    assert max(image.shape) == 160
    K = scene.intrinsics[1]
    x, y = np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0]))
    uv = np.stack([(x - K[0, 2]) / K[0, 0] * FOCAL + 159.5, (y - K[1, 2]) / K[1, 1] * FOCAL + 119.5], -1)
    maps = uv.astype(np.float32)
    there = cv2.remap(cv2.GaussianBlur(render(1)[0], (0, 0), 1), maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(there[inner].astype(float) - image[inner]).mean() < 6


def test_photographs_of_two_sizes_are_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycolmap")
    (tmp_path / "photos").mkdir()
    for number in range(6):
        image = render(number)[0]
        shown = image if number % 2 else cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), shown)
    cv2.imwrite(str(tmp_path / "photos/alone.png"), picture(99, (200, 200)))
    prepare_scene.main(tmp_path / "photos", tmp_path / "out", "walls", None, 0, None)
    assert "6 of 7 photographs could be joined" in capsys.readouterr().out


def test_photographs_of_nothing_cannot_be_joined(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((64, 64), 100, np.uint8))
    with pytest.raises(DataError, match="the photographs cannot be joined"):
        reconstruct(tmp_path, tmp_path / "work", Way())
