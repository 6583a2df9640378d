# SPDX-License-Identifier: Apache-2.0
"""Procedural surfaces: panels of many kinds, none of them merely periodic."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from letvins_ros.errors import DataError
from letvins_ros.image_files import read_image

GRAIN = 1024  # texels, period of the noise
WORDS = ("EXIT", "A7", "42", "DANGER", "HALL", "NORTH", "B12", "LAB", "FLOW", "No 5", "KEEP", "UP", "GATE", "3D", "R&S")


@dataclass(frozen=True, eq=False)
class Kit:
    """What painters need: dice, and noise to cut from."""

    rng: np.random.Generator
    grain: np.ndarray  # (GRAIN, GRAIN) float32, periodic, deviation 1
    roughness: float = 1.0  # of the plaster between the panels
    color: bool = False
    photos: tuple[np.ndarray, ...] = ()  # (H, W[, 3]) uint8, used instead of painted panels where given

    @staticmethod
    def create(rng: np.random.Generator, roughness: float, color: bool, photos: tuple[np.ndarray, ...]) -> "Kit":
        """Noise whose amplitude falls with the frequency's 1.3rd power: rough, yet not sandy."""
        frequency = np.hypot(np.fft.fftfreq(GRAIN)[:, None], np.fft.rfftfreq(GRAIN))
        frequency[0, 0] = np.inf
        spectrum = np.fft.rfft2(rng.standard_normal((GRAIN, GRAIN))) / np.maximum(frequency, 2 / GRAIN) ** 1.3
        grain = np.fft.irfft2(spectrum, (GRAIN, GRAIN))
        return Kit(rng, (grain / grain.std()).astype(np.float32), roughness, color, photos)

    def noise(self, height: int, width: int, stretch: int = 1) -> np.ndarray:
        """Noise (height, width) float32 of a random place, drawn out along the rows by `stretch`."""
        row, column = self.rng.integers(0, GRAIN, 2).tolist()
        wide = self.grain[(row + np.arange(height)) % GRAIN]
        end = column - (-width // stretch)
        cut = np.tile(wide, -(-end // GRAIN))[:, column:end]
        return cut if stretch == 1 else np.repeat(cut, stretch, axis=1)[:, :width]

    def gray(self, low: float = 20, high: float = 235) -> float:
        """A random brightness."""
        return float(self.rng.uniform(low, high))


def load_photos(folder: Path, color: bool, limit: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Up to `limit` random pictures (H, W[, 3]) uint8 RGB of a folder; DataError where there is none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = [paths[i] for i in rng.permutation(len(paths))[:limit]]
    flags = cv2.IMREAD_COLOR_RGB if color else cv2.IMREAD_GRAYSCALE
    photos = tuple(photo for path in chosen if (photo := read_image(path, flags)) is not None)
    if not photos:
        raise DataError(f"{folder}: no readable .jpg or .png among {len(paths)} such files")
    return photos


def plaster(kit: Kit, height: int, width: int) -> np.ndarray:
    """Rough plain surface."""
    return kit.gray(80, 180) + kit.rng.uniform(5, 11) * kit.roughness * kit.noise(height, width)


def bricks(kit: Kit, height: int, width: int) -> np.ndarray:
    """Courses of stones, each of its own brightness and length."""
    image = np.full((height, width), kit.gray(60, 200), np.float32)
    course, joint = int(kit.rng.integers(16, 50)), int(kit.rng.integers(2, 5))
    low, spread = kit.gray(50, 130), kit.gray(20, 90)
    for y in range(0, height, course):
        x = -int(kit.rng.integers(0, 3 * course))
        while x < width:
            length = int(kit.rng.integers(course, 3 * course))
            cv2.rectangle(image, (x, y), (x + length - joint, y + course - joint), low + spread * kit.rng.random(), -1)
            x += length
    return image + 8 * kit.noise(height, width)


def planks(kit: Kit, height: int, width: int) -> np.ndarray:
    """Boards with grain, knots and gaps."""
    image = kit.gray(80, 170) + 16 * kit.noise(height, width, stretch=16)
    board = int(kit.rng.integers(25, 70))
    for y in range(0, height, board):
        image[y : y + board] += kit.rng.normal(0, 15)
        cv2.line(image, (0, y), (width, y), 25.0, 2)
        joint, knot = kit.rng.integers(0, width, 2).tolist()
        cv2.line(image, (joint, y), (joint, y + board), 30.0, 2)
        cv2.ellipse(image, (knot, y + board // 2), (board // 5 + 2, board // 8 + 2), 0, 0, 360, 60.0, -1)
    return image


def plate(kit: Kit, height: int, width: int) -> np.ndarray:
    """Metal with seams, rivets and scratches."""
    image = kit.gray(70, 160) + 6 * kit.noise(height, width)
    cell = int(kit.rng.integers(60, 160))
    for y in range(0, height, cell):
        for x in range(0, width, cell):
            image[y : y + cell, x : x + cell] += kit.rng.normal(0, 14)
            cv2.rectangle(image, (x, y), (x + cell, y + cell), 40.0, 2)
            for dx, dy in ((9, 9), (cell - 9, 9), (9, cell - 9), (cell - 9, cell - 9)):
                cv2.circle(image, (x + dx, y + dy), 3, float(kit.rng.choice([30.0, 220.0])), -1)
    for _ in range(height * width // 10_000):
        start, along = kit.rng.integers(0, (width, height)), kit.rng.integers(-60, 60, 2)
        cv2.line(image, start.tolist(), (start + along).tolist(), kit.gray(), 1)
    return image


def mosaic(kit: Kit, height: int, width: int) -> np.ndarray:
    """Overlapping shapes of many sizes and brightnesses."""
    image = np.full((height, width), kit.gray(60, 190), np.float32)
    for _ in range(10 + height * width // 3000):
        centre, extent = kit.rng.uniform(0, (width, height)), kit.rng.uniform(0.03, 0.25) * min(height, width)
        angles = np.sort(kit.rng.uniform(0, 2 * np.pi, kit.rng.integers(3, 7)))
        points = centre + extent * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(image, [np.rint(points).astype(np.int32)], kit.gray(30, 220))
    return image + 6 * kit.noise(height, width)


def checker(kit: Kit, height: int, width: int) -> np.ndarray:
    """Tiles of two kinds in a random pattern."""
    tile = int(kit.rng.integers(20, 60))
    pattern = (kit.rng.random((height // tile + 1, width // tile + 1)) < kit.rng.uniform(0.3, 0.7)).astype(np.float32)
    whole = cv2.resize(pattern, None, fx=tile, fy=tile, interpolation=cv2.INTER_NEAREST)[:height, :width]
    return np.asarray(kit.gray(30, 90) + kit.gray(50, 130) * whole + 6 * kit.noise(height, width))


def poster(kit: Kit, height: int, width: int) -> np.ndarray:
    """Print with text, frames and signs."""
    image = np.full((height, width), kit.gray(140, 230), np.float32)
    cv2.rectangle(image, (4, 4), (width - 5, height - 5), kit.gray(20, 90), int(kit.rng.integers(2, 7)))
    y = 0
    while y < height:
        scale = kit.rng.uniform(0.7, 3.0)
        y += int(24 * scale)
        text = " ".join(kit.rng.choice(WORDS, 6).tolist())
        place = (int(kit.rng.integers(8, 40)), y)
        cv2.putText(image, text, place, int(kit.rng.integers(0, 5)), scale, kit.gray(10, 90), int(1 + scale * 1.5))
        y += int(kit.rng.integers(6, 60))
    centre = (kit.rng.uniform(0.3, 0.7, 2) * (width, height)).astype(int)
    cv2.circle(image, centre.tolist(), min(height, width) // 5, kit.gray(20, 120), int(kit.rng.choice([-1, 6, 12])))
    return image + 4 * kit.noise(height, width)


PAINTERS: tuple[Callable[[Kit, int, int], np.ndarray], ...] = (
    plaster, bricks, planks, plate, mosaic, checker, poster,
)  # fmt: skip


def paint_surface(kit: Kit, height: int, width: int, cover: float) -> np.ndarray:
    """A surface (height, width[, 3]) uint8: plaster, a share `cover` of it under panels of random kinds, and dirt."""
    surface = _finish(kit, plaster(kit, height, width))
    x = 0
    while x < width:  # columns of panels, each divided anew
        column, y = int(kit.rng.integers(110, 320)), 0
        while y < height:
            row = int(kit.rng.integers(90, 320))
            spot = surface[y : y + row, x : x + column]
            if kit.rng.random() < cover and min(spot.shape[:2]) > 24:
                spot[:] = _panel(kit, *spot.shape[:2])
            y += row
        x += column
    dirt = np.clip(1 + np.float32(0.1 * kit.roughness) * kit.noise(height, width), 0.5, 1.5)
    return np.clip(surface * (dirt[..., None] if kit.color else dirt), 4, 250).astype(np.uint8)


def _panel(kit: Kit, height: int, width: int) -> np.ndarray:
    """One panel (height, width[, 3]) uint8, painted or cut from a photo."""
    if not kit.photos:
        painter = PAINTERS[int(kit.rng.integers(len(PAINTERS)))]
        return _finish(kit, painter(kit, height, width))
    photo = kit.photos[int(kit.rng.integers(len(kit.photos)))]
    fit = max(height / photo.shape[0], width / photo.shape[1])
    scaled = cv2.resize(photo, None, fx=fit, fy=fit, interpolation=cv2.INTER_AREA)
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return scaled[top : top + height, left : left + width]


def _finish(kit: Kit, gray: np.ndarray) -> np.ndarray:
    """Round to uint8; in a coloured world, give dark and bright parts a colour each."""
    image = np.clip(gray, 0, 255).astype(np.uint8)
    if not kit.color:
        return image
    dark, bright = kit.rng.uniform(0, 60, 3), kit.rng.uniform(150, 255, 3)
    ramp = dark + np.linspace(0, 1, 256)[:, None] * (bright - dark)
    return cv2.LUT(cv2.merge([image] * 3), ramp.astype(np.uint8)[:, None])
