# SPDX-License-Identifier: Apache-2.0
"""Changes of light and of the sensor, on gray images as float32 0..255; `to_uint8` ends the chain."""

import cv2
import numpy as np

FULL_WELL = 4000  # electrons at gray level 255; the shot noise of a small machine-vision pixel


def spot_light(shape: tuple[int, int], centre: np.ndarray, radius_px: float, ambient: float, peak: float) -> np.ndarray:
    """Gain (H, W) of a round lamp over ambient light, as a torch on a drone casts."""
    height, width = shape
    x = np.exp(-((np.arange(width, dtype=np.float32) - centre[0]) ** 2) / (2 * radius_px**2))
    y = np.exp(-((np.arange(height, dtype=np.float32) - centre[1]) ** 2) / (2 * radius_px**2))
    lamp: np.ndarray = np.outer(y, x) * np.float32(peak)
    lamp += np.float32(ambient)
    return lamp


def sensor_noise(image: np.ndarray, rng: np.random.Generator, read_noise: float) -> np.ndarray:
    """Add shot noise (Gaussian with the Poisson's variance) and read noise, a standard deviation in gray levels."""
    variance = np.maximum(image, 0) * np.float32(255 / FULL_WELL) + np.float32(read_noise**2)
    noise: np.ndarray = np.sqrt(variance) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(image + noise)


def relight(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Less light, a lamp somewhere, and noise."""
    height, width = image.shape[:2]
    lamp = spot_light((height, width), rng.uniform([0, 0], [width, height]), width / 5, rng.uniform(0.2, 0.5), 0.8)
    return to_uint8(sensor_noise(image.astype(np.float32) * lamp[..., None], rng, 1.5))


def motion_blur(image: np.ndarray, motion_px: np.ndarray) -> np.ndarray:
    """Smear along a straight motion (x, y) during the exposure."""
    length = int(np.ceil(np.abs(motion_px).max()))
    if length < 1:
        return image
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    for part in np.linspace(-0.5, 0.5, 4 * length + 1):
        x, y = np.rint(length + part * motion_px).astype(int)
        kernel[y, x] += 1
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Round and saturate, as a camera does."""
    rounded: np.ndarray = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return rounded
