# SPDX-License-Identifier: Apache-2.0
"""Imports are inside, as this is read where torch is not installed too."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine make these small networks many times slower."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and val/ with four and two pictures, one of them in a folder below."""
    import cv2

    from .pictures import picture

    root = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            path = root / split / ("more" if i == 0 else "") / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture(i + 10 * count))
    return root
