# SPDX-License-Identifier: Apache-2.0
"""Calibrations of every style."""

import tempfile
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from letvins_ros.calibration import read_calibration

from .. import test_calibration_styles as styles
from . import mutations
from .survival_check import survives

JSON = (*mutations.TEXT, mutations.renumber, mutations.nest)


@cache
def good(style: str) -> tuple[dict[str, bytes], Path]:
    """Files by name, and which is the one to read."""
    writer, coefficients, cameras, *_ = styles.STYLES[style]
    with tempfile.TemporaryDirectory() as folder:
        path = writer(Path(folder), styles.truth(1, coefficients, cameras))
        found = [file for file in Path(folder).rglob("*") if file.is_file()]
        return {str(file.relative_to(folder)): file.read_bytes() for file in found}, path.relative_to(folder)


def damage_calibration(folder: Path, rng: Random) -> Path:
    files, name = good(rng.choice(list(styles.STYLES)))
    damaged = rng.choice(sorted(files))
    for file, data in files.items():
        ways = JSON if file.endswith(".json") else mutations.YAML
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(mutations.mutate(data, rng, ways) if file == damaged else data)
    return folder / name


def use_calibration(path: Path) -> None:
    """Read, and used at a point and a pixel."""
    for mounted in read_calibration(path).rig.cameras:
        camera = mounted.camera
        camera.project(camera.unproject(np.array([[0.0, 0.0], [camera.width - 1.0, camera.height - 1.0]])))
        assert camera.focal_px > 0


def test_damaged_calibrations_are_read_or_refused(tmp_path: Path) -> None:
    counts = survives(damage_calibration, use_calibration, tmp_path)
    assert counts["read"] and counts["refused"]
