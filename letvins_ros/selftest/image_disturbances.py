# SPDX-License-Identifier: Apache-2.0
"""What is done to the images of a recording."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from letvins_ros.selftest.recording import Disturbance, Images, Recording


def _while(recording: Recording, from_s: float, for_s: float, change: Callable[[np.ndarray], np.ndarray | None],
           cameras: tuple[int, ...] = (0, 1)) -> None:  # fmt: skip
    """Change the images of some cameras from a time on, for so long."""

    def changed(_: int, t: float, images: Images) -> Images:
        if not from_s <= t < from_s + for_s:
            return images
        return tuple(change(im) if i in cameras and im is not None else im for i, im in enumerate(images))

    recording.images.append(changed)


def _black(recording: Recording, for_s: float, cameras: tuple[int, ...] = (0, 1)) -> None:
    _while(recording, recording.middle_s, for_s, np.zeros_like, cameras)


def _missing(recording: Recording, cameras: tuple[int, ...], for_s: float = np.inf) -> None:
    _while(recording, 0.0 if np.isinf(for_s) else recording.middle_s, for_s, lambda _: None, cameras)


def _pixels(recording: Recording, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> None:
    """Change all images, with dice."""
    rng = np.random.default_rng(0)
    _while(recording, 0.0, np.inf, lambda image: np.clip(change(image.astype(float), rng), 0, 255).astype(np.uint8))


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(image + rng.normal(0, 15, image.shape))


def _flicker(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(image * rng.uniform(0.6, 1.4))


def _blur(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5))


def _dim(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.asarray(np.rint(image * 0.15))


def _bright(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.asarray(image * 2.5)


def _frozen(recording: Recording, for_s: float) -> None:
    """Both cameras repeat one image."""
    from_s = recording.middle_s
    first = int(np.searchsorted(recording.seconds, from_s))

    def repeated(_: int, t: float, images: Images) -> Images:
        if not from_s <= t < from_s + for_s:
            return images
        return tuple(recording.image(first, camera) for camera in range(len(images)))

    recording.images.append(repeated)


def _exchanged(recording: Recording) -> None:
    recording.images.append(lambda _, t, images: images[::-1])


def _right_late(recording: Recording) -> None:
    """The right images are those of the frame before."""
    recording.images.append(lambda i, t, images: (images[0], recording.image(max(i - 1, 0), 1)))


def _fewer(recording: Recording, keep: int) -> None:
    recording.keep_frames(np.arange(len(recording)) % keep == 0)


def _lost(recording: Recording) -> None:
    recording.keep_frames(np.random.default_rng(0).random(len(recording)) < 0.7)


IMAGES: dict[str, Disturbance] = {
    "images: black 1 s": partial(_black, for_s=1.0),
    "images: black 3 s": partial(_black, for_s=3.0),
    "images: left black 3 s": partial(_black, for_s=3.0, cameras=(0,)),
    "images: right black 3 s": partial(_black, for_s=3.0, cameras=(1,)),
    "images: no right camera": partial(_missing, cameras=(1,)),
    "images: left missing 2 s": partial(_missing, cameras=(0,), for_s=2.0),
    "images: noise": partial(_pixels, change=_noise),
    "images: flicker": partial(_pixels, change=_flicker),
    "images: blurred": partial(_pixels, change=_blur),
    "images: dim": partial(_pixels, change=_dim),
    "images: overexposed": partial(_pixels, change=_bright),
    "images: frozen 1 s": partial(_frozen, for_s=1.0),
    "images: exchanged": _exchanged,
    "images: right a frame late": _right_late,
    "images: every third": partial(_fewer, keep=3),
    "images: a third lost": _lost,
}
