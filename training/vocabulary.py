# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of places from photos: `python -m training.vocabulary PHOTOS_FOLDER OUT.safetensors`."""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.camera import Camera
from letvins_ros.errors import DataError
from letvins_ros.image_files import read_image
from letvins_ros.loop.orb import OrbDescriber, Vlad
from letvins_ros.types import Keyframe
from letvins_ros.weights import save_weights

AXES, WORDS, PER_PHOTO = 32, 16, 200


def learn(descriptors: np.ndarray, axes: int = AXES, words: int = WORDS) -> Vlad:
    """PCA of bits (N, 32) uint8, whitened half way, and k-means words; the same input gives the same words."""
    bits = np.unpackbits(descriptors, axis=1).astype(np.float32)
    mean = bits.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((bits - mean).T))
    largest = np.argsort(-values)[:axes]
    directions = (vectors[:, largest] * values[largest] ** -0.25).astype(np.float32)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-4)
    kmeans: Any = cv2.kmeans  # its stubs do not know that labels may be left out
    _, _, centres = kmeans((bits - mean) @ directions, words, None, stop, 3, cv2.KMEANS_PP_CENTERS)
    return Vlad(mean, directions, centres)


def describe_photo(path: Path, describer: OrbDescriber) -> np.ndarray:
    """Descriptors (N, 32) of its corners."""
    image = read_image(path)
    if image is None:
        raise DataError(f"{path}: not a readable photograph")
    none, before, unknown = np.zeros((0, 2), np.float32), np.zeros((0, 4, 4)), np.eye(6)
    empty = Keyframe(0, 0, np.eye(4), unknown, before, unknown, np.zeros(0, np.int64), none, np.zeros((0, 3)))
    return describer.describe(image, empty).descriptors


def main(photos: Path, out: Path) -> None:
    """Learn from every picture of the folder."""
    camera = MountedCamera(Camera("pinhole-radtan", 448, 336, (300.0, 300.0, 224.0, 168.0)), np.eye(4))
    zero = Vlad(np.zeros(256, np.float32), np.zeros((256, 1), np.float32), np.zeros((1, 1), np.float32))
    describer = OrbDescriber(camera, PER_PHOTO, gravity_aligned=False, vlad=zero)
    files = sorted(path for path in photos.iterdir() if path.suffix in (".jpg", ".png"))
    vlad = learn(np.concatenate([describe_photo(path, describer) for path in files]))
    save_weights(out, {"mean": vlad.mean, "axes": vlad.axes, "words": vlad.words})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
