# SPDX-License-Identifier: Apache-2.0
"""TartanAir V1 and V2, and what `letvins simulate` writes in its layout: pairs of frames with depth and pose."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from letvins_ros.errors import DataError
from letvins_ros.geometry import from_quaternion, inverse
from letvins_ros.image_files import read_image
from letvins_ros.reading import read_array
from training.data.correspondence import View, transfer_by_depth
from training.data.images import read_rgb, resize, to_tensor
from training.data.photometric import Looks, change

# of the second image, as LET-NET2's authors change it
LOOKS = Looks(brightness=0.3, contrast=0.3)
LOOKS_RGB = Looks(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.3)
# camera axes right, down, forward of NED ones forward, right, down
T_CAM_NED = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class _Layout:
    images: str
    depths: str
    poses: str
    image: str  # with the frame's number
    depth: str


_V1 = _Layout("image_left", "depth_left", "pose_left.txt", "{:06d}_left.png", "{:06d}_left_depth.npy")
_V2 = _Layout(
    "image_lcam_front",
    "depth_lcam_front",
    "pose_lcam_front.txt",
    "{:06d}_lcam_front.png",
    "{:06d}_lcam_front_depth.png",
)


class Trajectory:
    """One trajectory folder such as abandonedfactory/Hard/P001."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._layout = _V1 if (folder / _V1.images).is_dir() else _V2
        self.poses = folder / self._layout.poses
        try:
            rows = np.loadtxt(self.poses, ndmin=2)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.poses}: no poses ({error})") from error
        if rows.shape[1] != 7:
            raise DataError(f"{self.poses}: 7 numbers needed in each row, got {rows.shape[1]}")
        try:
            self._T_world_ned = list(from_quaternion(rows[:, :3], rows[:, 3:]))
        except DataError as error:
            raise DataError(f"{self.poses}: {error}") from error

    def __len__(self) -> int:
        return len(self._T_world_ned)

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) RGB uint8."""
        return read_rgb(self._folder / self._layout.images / self._layout.image.format(index))

    def depth(self, index: int) -> np.ndarray:
        """(H, W) float32 m along the optical axis."""
        path = self._folder / self._layout.depths / self._layout.depth.format(index)
        return read_array(path).astype(np.float32) if path.suffix == ".npy" else _read_depth_png(path)

    def motion(self, a: int, b: int) -> np.ndarray:
        """T_b_a (4, 4) between the cameras of two frames, axes right, down, forward."""
        T_b_a_ned = inverse(self._T_world_ned[b]) @ self._T_world_ned[a]
        return np.asarray(T_CAM_NED @ T_b_a_ned @ T_CAM_NED.T)


def find_trajectories(root: Path) -> list[Trajectory]:
    """Every trajectory at or below a folder; DataError says where to get some."""
    folders = sorted({p.parent for layout in (_V1, _V2) for p in root.rglob(layout.poses)})
    if not folders:
        raise DataError(
            f"{root}: no pose_left.txt or pose_lcam_front.txt; unpack image_left, depth_left and poses of TartanAir"
            " (https://theairlab.org/tartanair-dataset) there, or render with letvins_ros.simulation.write_tartanair"
        )
    return [Trajectory(folder) for folder in folders]


class TartanAirPairs(Dataset[dict[str, Tensor]]):
    """Two frames of a trajectory, at most `gap` apart: image_a, image_b, depth_a, depth_b, K_a, K_b, T_b_a."""

    def __init__(self, root: Path, length: int, seed: int, size: tuple[int, int], gap: int = 1) -> None:
        self.trajectories = [t for t in find_trajectories(root) if len(t) > gap]
        if not self.trajectories:
            raise DataError(f"{root}: no trajectory has more than {gap} frames")
        self._length, self._seed, self._size, self._gap = length, seed, size, gap

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.pair(np.random.default_rng([self._seed, index]), 3, Looks())

    def pair(self, rng: np.random.Generator, channels: int, looks: Looks) -> dict[str, Tensor]:
        """Draw one pair; the second image's looks change."""
        trajectory = self.trajectories[rng.integers(len(self.trajectories))]
        a = int(rng.integers(len(trajectory) - self._gap))
        b = a + int(rng.integers(1, self._gap + 1))
        item: dict[str, Tensor] = {"T_b_a": torch.from_numpy(trajectory.motion(a, b)).float()}
        for key, index in (("a", a), ("b", b)):
            image = trajectory.image(index)
            shown = resize(image, self._size)
            item[f"image_{key}"] = to_tensor(change(shown, looks, rng) if key == "b" else shown, channels)
            item[f"depth_{key}"] = torch.from_numpy(resize(trajectory.depth(index), self._size, nearest=True))
            item[f"K_{key}"] = torch.from_numpy(scaled_K(image.shape, self._size)).float()
        return item


class TartanAirFlow(Dataset[dict[str, Tensor]]):
    """Corners and their true flow between frames, occluded ones left out, as training.data.photos gives them."""

    def __init__(self, pairs: TartanAirPairs, seed: int, points: int = 40, channels: int = 1) -> None:
        self._pairs, self._seed, self._points, self._channels = pairs, seed, points, channels

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self._seed, index])
        while True:
            item = self._pairs.pair(rng, self._channels, LOOKS if self._channels == 1 else LOOKS_RGB)
            found = _corners_with_flow(item, self._points, rng)
            if found is not None:
                return {"image_a": item["image_a"], "image_b": item["image_b"], "points": found[0], "flow": found[1]}


def views(item: dict[str, Tensor]) -> tuple[View, View]:
    """Geometry of a batch of pairs."""
    return View(item["depth_a"], item["K_a"]), View(item["depth_b"], item["K_b"])


def scaled_K(shape: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    """K (3, 3) of the 90 degree camera whose (H, W) images are resized to `size`."""
    height, width = shape[:2]
    focal = width / 2
    return np.array(
        [[focal * size[1] / width, 0, size[1] / 2], [0, focal * size[0] / height, size[0] / 2], [0, 0, 1.0]]
    )


def _corners_with_flow(item: dict[str, Tensor], count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor] | None:
    image = (item["image_a"].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    gray = image[..., 0] if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found = cv2.goodFeaturesToTrack(gray, 4 * count, 0.001, 10)
    if found is None:
        return None
    uv = torch.from_numpy(found[:, 0])
    batch = {key: value[None] for key, value in item.items()}
    there, seen = transfer_by_depth(uv[None], *views(batch), batch["T_b_a"])
    rows = seen[0].nonzero()[:, 0]
    if len(rows) < 8:
        return None
    chosen = rows[torch.from_numpy(rng.permutation(len(rows)))[torch.arange(count) % len(rows)]]
    return uv[chosen], (there[0] - uv)[chosen]


def _read_depth_png(path: Path) -> np.ndarray:
    """V2 keeps the four bytes of a float32 as the channels of a PNG."""
    encoded = read_image(path, cv2.IMREAD_UNCHANGED)
    if encoded is None or encoded.ndim != 3 or encoded.shape[2] != 4:
        raise DataError(f"{path}: not a depth map of TartanAir V2")
    return np.ascontiguousarray(encoded).view("<f4")[..., 0]
