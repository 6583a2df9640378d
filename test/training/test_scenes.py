# SPDX-License-Identifier: Apache-2.0
import os
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from letvins_ros.errors import DataError
from letvins_ros.geometry import exp_so3, quaternion_xyzw, transform
from training.data.correspondence import View, transfer_by_depth
from training.data.megadepth import MegaDepthPairs, all_scenes, scene_pairs, split_scenes, usable_pairs, write_depth
from training.data.scene_info import SceneInfo, read_scene_info, write_scene_info
from training.data.tartanair import (
    T_CAM_NED,
    TartanAirFlow,
    TartanAirPairs,
    Trajectory,
    find_trajectories,
    scaled_K,
    views,
)

from ..some import some
from .pictures import picture
from .tiny import write_trajectory

h5py = pytest.importorskip("h5py")
K = torch.tensor([[[40.0, 0, 32], [0, 40, 24], [0, 0, 1]]])


def test_a_step_sideways_moves_points_by_their_disparity() -> None:
    depth = torch.full((1, 48, 64), 4.0)
    T_b_a = torch.eye(4)[None].clone()
    T_b_a[0, 0, 3] = 0.5
    uv = torch.tensor([[[10.0, 20.0], [62.0, 20.0]]])
    there, seen = transfer_by_depth(uv, View(depth, K), View(depth, K), T_b_a)
    assert there[0, 0].tolist() == pytest.approx([15, 20])
    assert seen.tolist() == [[True, False]]  # the second one leaves the image


def test_what_another_surface_hides_or_nobody_measured_is_not_seen() -> None:
    depth_a, depth_b = torch.full((1, 48, 64), 4.0), torch.full((1, 48, 64), 4.0)
    depth_b[:, :, 30:] = 2.0  # something stands before the right half
    depth_a[0, 5, 5] = 0
    uv = torch.tensor([[[10.0, 10.0], [40.0, 10.0], [5.0, 5.0]]])
    _, seen = transfer_by_depth(uv, View(depth_a, K), View(depth_b, K), torch.eye(4)[None])
    assert seen.tolist() == [[True, False, False]]


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_tartanairs_pixels_agree_with_its_depth_and_poses(tmp_path: Path, layout: str) -> None:
    write_trajectory(tmp_path, layout)
    pairs = TartanAirPairs(tmp_path, 4, 0, (240, 320), gap=2)
    item = pairs[1]
    batch = {key: value[None] for key, value in item.items()}
    uv = torch.tensor([[[100.0, 60.0], [200.0, 150.0], [250.0, 100.0]]])
    there, seen = transfer_by_depth(uv, *views(batch), batch["T_b_a"])
    assert seen.all()
    assert (there[0, :, 1] == uv[0, :, 1]).all()
    for (u, v), (u_b, v_b) in zip(uv[0].tolist(), there[0].round().long().tolist(), strict=True):
        assert item["image_a"][:, int(v), int(u)] == pytest.approx(item["image_b"][:, v_b, u_b], abs=0.01)


def test_tartanair_flow_has_the_form_of_the_photographs(tmp_path: Path) -> None:
    write_trajectory(tmp_path, "v1")
    item = TartanAirFlow(TartanAirPairs(tmp_path, 4, 0, (240, 320)), 0, points=30)[0]
    assert item["image_a"].shape == (1, 240, 320)
    assert item["points"].shape == item["flow"].shape == (30, 2)
    assert item["flow"].numpy() == pytest.approx(np.tile([-4.0, 0.0], (30, 1)), abs=0.01)


def test_tartanair_flow_in_colour_is_that_of_the_gray_images(tmp_path: Path) -> None:
    write_trajectory(tmp_path, "v1")
    pairs = TartanAirPairs(tmp_path, 4, 0, (240, 320))
    gray, colour = (TartanAirFlow(pairs, 0, 30, channels)[0] for channels in (1, 3))
    assert colour["image_a"].shape == (3, 240, 320)
    luminance = torch.tensor([0.299, 0.587, 0.114]) @ colour["image_a"].flatten(1)
    assert luminance.numpy() == pytest.approx(gray["image_a"].flatten().numpy(), abs=0.005)
    assert colour["flow"].numpy() == pytest.approx(np.tile([-4.0, 0.0], (30, 1)), abs=0.01)


def test_the_real_sample_moves_as_lucas_kanade_sees_strong_corners(shared_data: Path) -> None:
    trajectory = find_trajectories(shared_data / "tartanair_v1_sample")[0]
    for i in (0, 3, 10):
        images = [trajectory.image(j) for j in (i, i + 1)]
        a, b = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images)
        points = cv2.goodFeaturesToTrack(a, 200, 0.01, 10)[:, 0]
        K_real = torch.from_numpy(scaled_K(a.shape, a.shape)).float()[None]
        here, next_one = (View(torch.from_numpy(trajectory.depth(j))[None], K_real) for j in (i, i + 1))
        motion = torch.from_numpy(trajectory.motion(i, i + 1)).float()[None]
        there, seen = transfer_by_depth(torch.from_numpy(points)[None], here, next_one, motion)
        found, status, _ = cv2.calcOpticalFlowPyrLK(a, b, points, points.copy(), winSize=(21, 21), maxLevel=4)
        error = np.linalg.norm(found - there[0].numpy(), axis=1)[seen[0].numpy() & (status[:, 0] == 1)]
        assert seen.float().mean() > 0.8
        assert np.median(np.linalg.norm(found - points, axis=1)) > 4  # they do move
        assert np.median(error) < 0.7


def test_motion_is_in_the_cameras_axes(tmp_path: Path) -> None:
    T_world_ned = transform(exp_so3(np.array([0.1, 0.2, 0.3])), np.array([1.0, 2.0, 3.0]))
    folder = write_trajectory(tmp_path, "v1")
    rows = [[*T[:3, 3], *quaternion_xyzw(T[:3, :3])] for T in (np.eye(4), T_world_ned)]
    np.savetxt(folder / "pose_left.txt", rows)
    expected = T_CAM_NED @ np.linalg.inv(T_world_ned) @ T_CAM_NED.T
    assert Trajectory(folder).motion(0, 1) == pytest.approx(expected, abs=1e-9)


def test_missing_trajectories_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpack image_left, depth_left and poses of TartanAir"):
        find_trajectories(tmp_path)


@pytest.fixture
def megadepth(tmp_path: Path) -> Path:
    """Three images of a wall as LoFTR's indices have them: pickled lists, None where an image is missing."""
    (tmp_path / "Undistorted_SfM/0001/images").mkdir(parents=True)
    wall, K_wall = picture(4, (240, 480)), np.array([[160.0, 0, 160], [0, 160, 120], [0, 0, 1]])
    paths, depths, poses = [], [], []
    for i in range(3):
        image, depth = (
            f"Undistorted_SfM/0001/images/{i}.jpg",
            f"phoenix/S6/zl548/MegaDepth_v1/0001/dense0/depths/{i}.h5",
        )
        cv2.imwrite(str(tmp_path / image), wall[:, 60 + 20 * i : 380 + 20 * i], [cv2.IMWRITE_JPEG_QUALITY, 98])
        write_depth(tmp_path / depth, np.full((240, 320), 4.0))
        paths.append(image)
        depths.append(depth)
        poses.append(transform(np.eye(3), np.array([-0.5 * i, 0, 0])))
    lists = [np.empty(4, object) for _ in range(4)]
    for array, values in zip(lists, (paths, depths, [K_wall] * 3, poses), strict=True):
        array[:3] = values
    infos = np.empty(3, object)
    infos[:] = [((0, 1), 0.6, np.zeros((0, 4))), ((1, 2), 0.05, np.zeros((0, 4))), ((0, 3), 0.5, np.zeros((0, 4)))]
    (tmp_path / "scene_info").mkdir()
    names = ("image_paths", "depth_paths", "intrinsics", "poses")
    arrays: dict[str, Any] = dict(zip(names, lists, strict=True))
    np.savez(tmp_path / "scene_info/0001_0.1_0.7.npz", pair_infos=infos, **arrays)
    return tmp_path


def test_megadepths_pairs_agree_with_their_depth(megadepth: Path) -> None:
    scene = read_scene_info(all_scenes(megadepth)[0])
    assert usable_pairs(scene).tolist() == [0]  # one overlaps too little, one has no image
    item = MegaDepthPairs(megadepth, all_scenes(megadepth), 2, 0, side=160)[1]
    assert item["image_a"].shape == (1, 160, 160)
    batch = {key: value[None] for key, value in item.items()}
    uv = torch.tensor([[[100.0, 40.0], [60.0, 70.0], [100.0, 140.0]]])
    there, seen = transfer_by_depth(uv, *views(batch), batch["T_b_a"])
    assert seen.tolist() == [[True, True, False]]  # the last one is in the black part below
    for (u, v), (u_b, v_b) in zip(uv[0, :2].tolist(), there[0, :2].round().long().tolist(), strict=True):
        assert item["image_a"][0, int(v), int(u)] == pytest.approx(item["image_b"][0, v_b, u_b].item(), abs=0.05)
    pair = next(scene_pairs(megadepth, all_scenes(megadepth), 160, 5))
    assert some(pair.T_b_a)[0, 3] == pytest.approx(-0.5)


def test_scene_info_comes_back_and_holds_nothing_pickled(tmp_path: Path) -> None:
    Ks, poses = np.eye(3)[None].repeat(2, 0), np.eye(4)[None].repeat(2, 0)
    scene = SceneInfo(["a.jpg", None], ["a.h5", None], Ks, poses, np.array([[0, 1]]), np.array([0.25]))
    write_scene_info(tmp_path / "s.npz", scene)
    again = read_scene_info(tmp_path / "s.npz")
    assert again.image_paths == scene.image_paths
    assert again.pairs.tolist() == [[0, 1]]
    with np.load(tmp_path / "s.npz", allow_pickle=False) as file:
        (i, j), overlap, central = file["pair_infos"][0]  # as LoFTR's loader takes it apart
    assert (i, j, overlap, len(central)) == (0, 1, 0.25, 0)


@pytest.mark.parametrize("raw", [False, True])
def test_code_in_a_scene_info_is_not_run(tmp_path: Path, raw: bool) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    evil = np.empty(1, object)
    evil[0] = Evil()
    if raw:
        (tmp_path / "evil.npz").write_bytes(pickle.dumps({"pair_infos": evil}))
    else:
        np.savez(tmp_path / "evil.npz", pair_infos=evil)
    with pytest.raises(DataError, match="not a scene_info file"):
        read_scene_info(tmp_path / "evil.npz")
    assert not (tmp_path / "owned").exists()


def test_a_scene_info_that_is_one_pickle_is_read(megadepth: Path) -> None:
    """As the files of MegaDepth-1500 are: a dictionary whose pairs are a list."""
    path = all_scenes(megadepth)[0]
    with np.load(path, allow_pickle=True) as file:
        values = {name: file[name] for name in file.files}
    raw = path.with_name("raw.npz")
    for protocol in (3, 4, 5):
        raw.write_bytes(pickle.dumps({**values, "pair_infos": list(values["pair_infos"])}, protocol=protocol))
        scene, again = read_scene_info(path), read_scene_info(raw)
        assert again.image_paths == scene.image_paths
        assert again.pairs.tolist() == scene.pairs.tolist()
        assert np.array_equal(again.poses, scene.poses)


@pytest.mark.parametrize("content", [b"", b"torn", b"\x80\x04K\x01."])
def test_what_is_no_scene_info_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"s\.npz: not a scene_info file"):
        read_scene_info(tmp_path / "s.npz")


def test_missing_scenes_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"make your own scenes with `python -m training\.data\.prepare_scene`"):
        split_scenes(tmp_path, "train")
