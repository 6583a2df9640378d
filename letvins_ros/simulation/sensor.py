# SPDX-License-Identifier: Apache-2.0
"""From what lies before a camera to the gray values it reports: lens, exposure and noise."""

from dataclasses import dataclass

import cv2
import numpy as np

NOISE_MARGIN = 100  # px


@dataclass(frozen=True)
class Sensor:
    """An image sensor; brightness in gray values of 255."""

    read_noise: float = 1.0  # gray values, deviation in the dark
    shot_noise: float = 0.02  # gray values, variance per gray value
    exposure_s: float = 0.004
    vignetting: float = 0.35  # brightness lost at distance 1 from the axis on the plane at depth 1


def lens_fall_off(rays: np.ndarray, sensor: Sensor) -> np.ndarray:
    """Brightness (H, W) float32 that remains of 1 at rays (2, H, W)."""
    return np.asarray(1 / (1 + sensor.vignetting * (rays**2).sum(axis=0)), np.float32)


def blur_kernel(motion_px: np.ndarray) -> np.ndarray:
    """Lens blur along the motion (2,) of the image during exposure: (h, w) float32, sum 1."""
    half_w, half_h = np.ceil(np.abs(motion_px) / 2).astype(int) + 1
    line = np.linspace(-0.5, 0.5, 9)[:, None] * motion_px
    x, y = np.arange(-half_w, half_w + 1), np.arange(-half_h, half_h + 1)
    spread = np.exp(-((x - line[:, :1]) ** 2) / 0.6)[:, None] * np.exp(-((y - line[:, 1:]) ** 2) / 0.6)[:, :, None]
    total = spread.sum(axis=0)
    return np.asarray(total / total.sum(), np.float32)


def image_motion(gyro_cam: np.ndarray, velocity_cam: np.ndarray, inverse_depth: float, focal_px: float) -> np.ndarray:
    """Velocity (2,) px/s of the image's middle for a camera turning by gyro_cam and moving by velocity_cam (3,)."""
    # The derivative of x/z and y/z of a fixed point on the optical axis.
    x = -gyro_cam[1] - velocity_cam[0] * inverse_depth
    y = gyro_cam[0] - velocity_cam[1] * inverse_depth
    return np.array([x, y]) * focal_px


def noise_bank(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Unit white noise larger than an image, to cut every frame's noise from at a random place."""
    return rng.standard_normal([side + NOISE_MARGIN for side in shape], dtype=np.float32)


def add_noise(
    surface: np.ndarray, gain: np.ndarray, bank: np.ndarray, sensor: Sensor, rng: np.random.Generator
) -> np.ndarray:
    """Gray or RGB image uint8 of a surface (H, W[, 3]) uint8 under a gain (H, W) float32, with the sensor's noise."""
    height, width = surface.shape[:2]
    top, left = rng.integers(0, NOISE_MARGIN, 2)
    noise = bank[top : top + height, left : left + width]
    if surface.ndim == 3:
        gain, noise = cv2.merge([gain] * 3), cv2.merge([noise, noise[::-1], noise[:, ::-1]])
    image = cv2.multiply(surface, gain, dtype=cv2.CV_32F)
    deviation = cv2.sqrt(cv2.addWeighted(image, sensor.shot_noise, image, 0, sensor.read_noise**2))
    return np.asarray(cv2.add(image, cv2.multiply(noise, deviation), dtype=cv2.CV_8U))
