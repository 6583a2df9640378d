# SPDX-License-Identifier: Apache-2.0
"""Changes of an image's looks, in the amounts that the networks' authors train with."""

from dataclasses import dataclass

import cv2
import numpy as np

from training.data.lighting import motion_blur


@dataclass(frozen=True)
class Looks:
    """Largest changes; 0 switches one off. Gray levels are 0..255."""

    brightness: float = 0.0  # gain 1 +- this
    darkest: float = 1.0  # lowest gain besides that, in one of two images
    contrast: float = 0.0  # about the mean, 1 +- this
    saturation: float = 0.0
    hue: float = 0.0  # turns
    shift: float = 0.0  # gray levels added
    gray: float = 0.0  # probability of losing the colours
    shuffle: float = 0.0  # probability of exchanging the channels
    noise: float = 0.0  # highest standard deviation, gray levels
    noise_share: float = 0.5  # of images with noise
    speckles: float = 0.0  # share of pixels that turn black or white
    shade: float = 0.0  # of some blurred ellipses
    blur: int = 0  # largest kernel, px
    motion: float = 0.0  # longest smear, px


KP2D = Looks(brightness=0.5, contrast=0.5, saturation=0.2, hue=0.05, shuffle=0.5, gray=0.5, noise=13.0, blur=5)
KP2DTINY = Looks(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.03, gray=0.2, blur=3)
SUPERPOINT = Looks(contrast=0.5, shift=50, noise=10.0, speckles=0.0035, shade=0.5, motion=3.0)
MAGICPOINT = Looks(contrast=0.7, shift=75, noise=15.0, speckles=0.0035, shade=0.7, motion=7.0)
JITTER = Looks(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
ANY_LIGHT = Looks(brightness=0.3, darkest=0.15, contrast=0.3, shade=0.4, noise=2.0, blur=3)
LOOKS = {"plain": Looks(), "kp2d": KP2D, "kp2dtiny": KP2DTINY, "superpoint": SUPERPOINT, "any_light": ANY_LIGHT}


def change(image: np.ndarray, looks: Looks, rng: np.random.Generator) -> np.ndarray:
    """Other looks of an RGB image (H, W, 3), float32 0..255."""
    x: np.ndarray = image.astype(np.float32)
    if rng.random() < looks.shuffle:
        x = x[..., rng.permutation(3)]
    x = _colour(x, looks, rng)
    if rng.random() < looks.gray:
        x = np.repeat(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if looks.shade:
        x = x * _shade(x.shape[:2], looks.shade, rng)[..., None]
    x = _defocus(x, looks, rng)
    if looks.noise and rng.random() < looks.noise_share:
        x = x + rng.normal(0, rng.uniform(0, looks.noise), x.shape)
    if looks.speckles:
        hit = rng.random(x.shape[:2]) < rng.uniform(0, looks.speckles)
        x = np.where(hit[..., None], 255.0 * rng.integers(0, 2, (*x.shape[:2], 1)), x)
    return np.clip(x, 0, 255).astype(np.float32)


def _colour(x: np.ndarray, looks: Looks, rng: np.random.Generator) -> np.ndarray:
    x = x * rng.uniform(1 - looks.brightness, 1 + looks.brightness)
    if looks.darkest < 1 and rng.random() < 0.5:
        x = x * looks.darkest ** rng.random()
    x = x + rng.uniform(-looks.shift, looks.shift)
    mean = x.mean()
    x = np.clip(mean + (x - mean) * rng.uniform(1 - looks.contrast, 1 + looks.contrast), 0, 255).astype(np.float32)
    if looks.saturation:
        gray = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]
        x = np.clip(gray + (x - gray) * rng.uniform(1 - looks.saturation, 1 + looks.saturation), 0, 255)
    if looks.hue:
        hsv = cv2.cvtColor(x.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + 360 * rng.uniform(-looks.hue, looks.hue)) % 360
        x = 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.asarray(x, np.float32)


def _defocus(x: np.ndarray, looks: Looks, rng: np.random.Generator) -> np.ndarray:
    if looks.blur:
        kernel = int(rng.choice([0, *range(1, looks.blur + 1, 2)]))
        x = cv2.GaussianBlur(x, (kernel, kernel), 0) if kernel > 1 else x
    if looks.motion:
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0, looks.motion)
        x = motion_blur(x, length * np.array([np.cos(angle), np.sin(angle)]))
    return x


def _shade(size: tuple[int, int], strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gain (H, W) of some dark or bright ellipses with soft borders."""
    height, width = size
    mask = np.zeros(size, np.float32)
    shortest = min(size) / 4
    for _ in range(20):
        axes = rng.uniform(shortest / 5, shortest, 2)
        at = rng.uniform(
            axes.max(), [max(width - axes.max(), axes.max() + 1), max(height - axes.max(), axes.max() + 1)]
        )
        cv2.ellipse(mask, _ints(at), _ints(axes), rng.uniform(0, 90), 0, 360, 1.0, -1)
    kernel = max(3, int(min(size) * rng.uniform(0.2, 0.6))) | 1
    gain: np.ndarray = 1 - rng.uniform(-strength, strength) * cv2.GaussianBlur(mask, (kernel, kernel), 0)
    return gain


def _ints(x: np.ndarray) -> tuple[int, int]:
    return int(x[0]), int(x[1])
