# SPDX-License-Identifier: Apache-2.0
"""Every recipe with the smallest data and options that it learns from: training's in train/, validation's in val/."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from letvins_ros.geometry import transform
from training.data.images import list_images
from training.data.megadepth import write_depth
from training.data.scene_info import SceneInfo, write_scene_info

from .pictures import picture

SMALL = {"height": 48, "width": 64}


@dataclass(frozen=True)
class Tiny:
    """A recipe with one kind of data."""

    recipe: str
    options: Mapping[str, Any]  # {root} stands for the folder of the data
    write: Callable[[Path], None]

    def make(self, root: Path) -> dict[str, Any]:
        """Write the data and give the options."""
        self.write(root)
        return {k: v.format(root=root) if isinstance(v, str) else v for k, v in self.options.items()}


def write_photos(root: Path) -> None:
    """Two pictures for training, two for validation."""
    for split, first in (("train", 40), ("val", 20)):
        (root / split).mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(root / split / f"{i}.png"), picture(first + i, (96, 128)))


def write_points(root: Path) -> None:
    """The same, with points that another detector found."""
    write_photos(root)
    for photo in list_images(root / "train"):
        place = root / "train_points" / photo.with_suffix(".npz").name
        place.parent.mkdir(exist_ok=True)
        xy = np.random.default_rng(0).uniform([4, 4], [124, 92], (60, 2))
        np.savez(place, pts=np.column_stack([xy, np.ones(60)]).astype(np.float32), size=(96, 128))


def write_coco(root: Path) -> None:
    """COCO-Stuff's layout: left sky, right water, a stripe unlabelled."""
    (root / "stuffthingmaps").mkdir(parents=True)
    for split, seed in (("train", 40), ("val", 20)):
        for name in ("images", "maps"):
            (root / split / name).mkdir(parents=True)
        image = picture(seed, (96, 128))
        image[:, :64] //= 3
        labels = np.full(image.shape[:2], 119, np.uint8)
        labels[:, :60], labels[:, 60:68] = 156, 255
        cv2.imwrite(str(root / split / "images/1.jpg"), image)
        cv2.imwrite(str(root / split / "maps/1.png"), labels)
        (root / f"{split}2017").symlink_to(root / split / "images")
        (root / "stuffthingmaps" / f"{split}2017").symlink_to(root / split / "maps")


def write_scenes(root: Path) -> None:
    """MegaDepth's layout: a wall 4 m ahead, the camera stepping right; a scene of two images in each split."""
    K = np.array([[64.0, 0, 64], [0, 64, 48], [0, 0, 1]])
    for split, seed in (("train", 40), ("val", 20)):
        (root / split).mkdir(parents=True)
        wall = picture(seed, (96, 200))
        for i in range(2):
            cv2.imwrite(str(root / split / f"{i}.png"), wall[:, 20 + 8 * i : 148 + 8 * i])
            write_depth(root / split / f"{i}.h5", np.full((96, 128), 4.0, np.float32))
        photos, depths = ([f"{split}/{i}.{ending}" for i in range(2)] for ending in ("png", "h5"))
        T_cam_world = np.stack([transform(np.eye(3), np.array([-0.5 * i, 0, 0])) for i in range(2)])
        info = SceneInfo([*photos], [*depths], np.stack([K, K]), T_cam_world, np.array([[0, 1]]), np.array([0.5]))
        write_scene_info(root / split / f"{split}.npz", info)
        (root / "scene_info").mkdir(exist_ok=True)
        (root / f"scene_info/{split}.npz").symlink_to(root / split / f"{split}.npz")
        (root / "trainvaltest_list").mkdir(exist_ok=True)
        (root / f"trainvaltest_list/{split}_list.txt").write_text(f"{split}\n")


def write_trajectory(root: Path, layout: str, frames: int = 3) -> Path:
    """A wall 4 m ahead, the camera stepping right by 0.1 m: v1 or v2 of TartanAir; the trajectory's folder."""
    names = {
        "v1": ("image_left", "depth_left", "pose_left.txt", "{:06d}_left.png", "{:06d}_left_depth.npy"),
        "v2": (
            "image_lcam_front",
            "depth_lcam_front",
            "pose_lcam_front.txt",
            "{:06d}_lcam_front.png",
            "{:06d}_lcam_front_depth.png",
        ),
    }[layout]
    folder = root / "house" / ("Hard" if layout == "v1" else "Data_hard") / "P001"
    for name in names[:2]:
        (folder / name).mkdir(parents=True)
    wall = picture(3, (240, 480))
    for i in range(frames):
        shift = round(0.1 * i * 160 / 4)
        cv2.imwrite(str(folder / names[0] / names[3].format(i)), wall[:, 60 + shift : 380 + shift])
        depth = np.full((240, 320), 4.0, np.float32)
        path = folder / names[1] / names[4].format(i)
        if path.suffix == ".npy":
            np.save(path, depth)
        else:
            cv2.imwrite(str(path), depth[..., None].view(np.uint8))
    # NED: right is +y
    np.savetxt(folder / names[2], [[0, 0.1 * i, 0, 0, 0, 0, 1] for i in range(frames)])
    return folder


def write_trajectories(root: Path) -> None:
    """One trajectory for training, one for validation, and photographs to validate on."""
    write_trajectory(root / "train", "v1", 7)
    write_trajectory(root / "val", "v1", 7)
    (root / "val/photos/val").mkdir(parents=True)
    (root / "val/photos/train").mkdir(parents=True)
    for split in ("train", "val"):
        cv2.imwrite(str(root / f"val/photos/{split}/0.png"), picture(20 + len(split), (96, 128)))


_PHOTOS = {"photos": "{root}/train", "unseen": "{root}/val", "validation_pairs": 1, **SMALL}
_TINY = {"data": "{root}/train", "labels": "none", "unseen": "{root}/val", "validation_pairs": 1, **SMALL}
_COCO = {"data": "{root}", "unseen": "{root}/val/images", "validation_pairs": 1, **SMALL}
_LIGHTGLUE = {"points": 40, "layers": 2, "validation_pairs": 1, **SMALL}
_LETNET2 = {"statistics_pairs": 2, "validation_pairs": 2, "height": 96, "width": 128}
_SUPERPOINT = {**_PHOTOS, "points": "{root}/train_points"}
_PLACES = {"kind": "photos", "folder": "{root}", "split": "train", "unseen": "val", "negatives": 1, **SMALL}

RECIPES = {
    "kp2d": Tiny("kp2d", {**_PHOTOS, "height": 64, "width": 96}, write_photos),
    "kp2d_resnet": Tiny("kp2d", {**_PHOTOS, "network": "kp2d_resnet", "height": 64, "width": 96}, write_photos),
    "kp2dtiny": Tiny("kp2dtiny", _COCO, write_coco),
    "keypointformer": Tiny(
        "kp2dtiny", {**_COCO, "network": "keypointformer", "config": "tiny", "height": 64}, write_coco
    ),
    "kp2dtiny_segmentation": Tiny(
        "kp2dtiny", {**_COCO, "freeze_backbone": True, "keypoints": 0.0, "place": 0.0}, write_coco
    ),
    "kp2dtiny_photos": Tiny(
        "kp2dtiny",
        {**_TINY, "segmentation": 0.0, "place": 0.0, "corners": 3.0, "softness": 0.1, "anchors": 40, "inliers": 0.0}
        | {"scales": 2},
        write_photos,
    ),
    "letnet": Tiny(
        "letnet",
        {"source": "scenes", "folder": "{root}", "unseen": "{root}/val", "top_k": 40, "validation_pairs": 2}
        | {"height": 64, "width": 64},
        write_scenes,
    ),
    "letnet2": Tiny("letnet2", {**_LETNET2, "photos": "{root}"}, write_photos),
    "letnet2_tartanair": Tiny(
        "letnet2", {**_LETNET2, "photos": "{root}/val/photos", "tartanair": "{root}/train"}, write_trajectories
    ),
    "letnet2_rgb": Tiny(
        "letnet2_rgb",
        {"tartanair": "{root}/train", "unseen": "{root}/val", "points": 20, "validation_pairs": 2}
        | {"height": 96, "width": 128},
        write_trajectories,
    ),
    "lightglue": Tiny("lightglue", {**_LIGHTGLUE, "folder": "{root}/train", "unseen": "{root}/val"}, write_photos),
    "lightglue_scenes": Tiny(
        "lightglue", {**_LIGHTGLUE, "source": "scenes", "folder": "{root}", "height": 64, "width": 64}, write_scenes
    ),
    "loftr": Tiny(
        "loftr",
        {"source": "scenes", "folder": "{root}", "validation_pairs": 1, "height": 64, "width": 64},
        write_scenes,
    ),
    "loftr_photos": Tiny(
        "loftr",
        {"source": "photos", "folder": "{root}/train", "unseen": "{root}/val", "validation_pairs": 1, **SMALL},
        write_photos,
    ),
    "loftr_tartanair": Tiny(
        "loftr",
        {"source": "tartanair", "folder": "{root}/train", "unseen": "{root}/val", "validation_pairs": 1} | SMALL,
        write_trajectories,
    ),
    "magicpoint": Tiny("magicpoint", {"validation_shapes": 9, **SMALL}, lambda root: None),
    "places": Tiny("places", {**_PLACES, "cluster_images": 2}, write_photos),
    "superpoint": Tiny("superpoint", _SUPERPOINT, write_points),
    "superpoint_photos": Tiny(
        "superpoint",
        {**_SUPERPOINT, "descriptor_loss": "softmax", "location": 1.0, "statistics_pairs": 2, "looks": "any_light"},
        write_points,
    ),
}
