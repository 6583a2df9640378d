# SPDX-License-Identifier: Apache-2.0
"""Pairs of views of a photograph with exact flow: random homographies, then light and sensor changed in each view."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.data.images import list_images, read_gray
from training.data.lighting import motion_blur, sensor_noise, spot_light, to_uint8

LIGHTS = ("plain", "flicker", "dark", "spot")
MOTION_PX = 48  # largest shift between the views


class PhotoPairs(Dataset[dict[str, Tensor]]):
    """Item i of a seed is always the same pair.

    image_a, image_b (1, H, W) 0..1; points, flow (P, 2) px, from a to b;
    light, an index of LIGHTS.
    """

    def __init__(
        self, folder: Path, length: int, seed: int, size: tuple[int, int] = (240, 320), points: int = 40
    ) -> None:
        self._photos = list_images(folder)
        self._length, self._seed, self._size, self._points = length, seed, size, points

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self._seed, index])
        path = self._photos[rng.integers(len(self._photos))]
        photo = read_gray(path)
        H_a_photo = _view(rng, photo.shape, self._size)
        H_b_a = _motion(rng, self._size)
        view_a, view_b = (_warp(photo, H, self._size) for H in (H_a_photo, H_b_a @ H_a_photo))
        points = _corners(view_a, self._points, rng)
        flow = cv2.perspectiveTransform(points[:, None], H_b_a)[:, 0] - points
        light = int(rng.integers(len(LIGHTS)))
        image_a, image_b = _spoil((view_a, view_b), LIGHTS[light], flow.mean(axis=0), rng)
        return {
            "image_a": torch.from_numpy(image_a)[None].float() / 255,
            "image_b": torch.from_numpy(image_b)[None].float() / 255,
            "points": torch.from_numpy(points),
            "flow": torch.from_numpy(flow),
            "light": torch.tensor(light),
        }


def _view(rng: np.random.Generator, photo: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Homography from the photo to a view of it: turned, mirrored, scaled, shifted."""
    angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(np.log(0.6), np.log(3.5)))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn[:, 0] *= rng.choice([-1, 1])
    at = np.array([photo[1], photo[0]]) * rng.uniform(0.3, 0.7, 2)
    H = np.eye(3)
    H[:2, :2] = turn
    H[:2, 2] = np.array([size[1], size[0]]) / 2 - turn @ at
    return H


def _motion(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Homography from view a to view b: what a camera sees of a plane one frame later."""
    centre = np.array([[1, 0, size[1] / 2], [0, 1, size[0] / 2], [0, 0, 1]])
    H = np.eye(3)
    H[:2, :2] += rng.normal(0, 0.02, (2, 2))
    turn = rng.normal(0, 0.03)
    H[:2, :2] = H[:2, :2] @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    H[2, :2] = rng.normal(0, 1e-4, 2)
    way = rng.uniform(0, 2 * np.pi)
    H[:2, 2] = rng.uniform(0, MOTION_PX) * np.array([np.cos(way), np.sin(way)])
    return centre @ H @ np.linalg.inv(centre)


def _warp(photo: np.ndarray, H: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """View of the photo, which repeats mirrored beyond its border, so that flow is exact there too."""
    flags = cv2.INTER_LINEAR
    return cv2.warpPerspective(photo, H, size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)


def _corners(view: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Take (count, 2) float32 corners, filled up with random points where the view has too few."""
    found = cv2.goodFeaturesToTrack(to_uint8(view), count, 0.005, 8)
    corners = np.empty((0, 2), np.float32) if found is None else found[:, 0]
    height, width = view.shape
    extra = rng.uniform([8, 8], [width - 8, height - 8], (count - len(corners), 2)).astype(np.float32)
    return np.concatenate([corners, extra])


def _spoil(
    views: tuple[np.ndarray, np.ndarray], light: str, motion_px: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Expose each (H, W) view in its own share of the light, and return both as uint8."""
    read_noise, shutter, defocus = rng.uniform(0, 3), rng.uniform(-0.2, 0.25), rng.uniform(-0.5, 1)
    gamma = np.exp(rng.normal(0, 0.3))
    gains = _gains(light, views[0].shape, rng)
    images = []
    for view, gain in zip(views, gains, strict=True):
        image = motion_blur(view, max(shutter, 0) * motion_px)
        if defocus > 0:
            image = cv2.GaussianBlur(image, (0, 0), 0.3 + defocus)
        image = 255 * (np.maximum(image, 0) / 255) ** np.float32(gamma)  # the blurs leave a trace below 0
        images.append(to_uint8(sensor_noise(image * gain, rng, read_noise)))
    return images[0], images[1]


def _gains(light: str, shape: tuple[int, int], rng: np.random.Generator) -> list[np.ndarray]:
    """Gain of each view, (H, W) or scalar: as plain, flickering, dark or under a moving lamp."""
    low, high = (0.05, 0.2) if light == "dark" else (0.4, 1.2)
    level = np.exp(rng.uniform(np.log(low), np.log(high)))
    if light == "spot":
        lamp = rng.uniform(40, 120), level, level * rng.uniform(0.5, 4)  # radius, ambient, peak
        centre = rng.uniform([0, 0], shape[::-1])
        return [spot_light(shape, at, *lamp) for at in (centre, centre + rng.normal(0, 120, 2))]
    spread = np.log(2.2) if light == "flicker" else 0.03
    return [np.array(level * np.exp(rng.uniform(-spread, spread)), np.float32) for _ in range(2)]
