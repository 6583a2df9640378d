# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

from letvins_ros.loop.orb import Vlad
from training.vocabulary import AXES, WORDS, main


def test_a_vocabulary_learned_from_photos_is_one_that_loads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        picture = np.kron(rng.integers(0, 256, (42, 56)), np.ones((8, 8))).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), cv2.GaussianBlur(picture, (3, 3), 0))
    main(tmp_path, tmp_path / "words.safetensors")
    vlad = Vlad.load(tmp_path / "words.safetensors")
    assert vlad.size == AXES * WORDS and vlad.axes.shape == (256, AXES)
    place = vlad.aggregate(rng.integers(0, 256, (50, 32)).astype(np.uint8))
    assert np.linalg.norm(place) == pytest.approx(1, abs=1e-5)
