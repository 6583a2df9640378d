# SPDX-License-Identifier: Apache-2.0
"""Named pipes in place of files: whoever opens one waits for a writer that never comes."""

import os
import re
from functools import partial
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from letvins_ros.reading import read_array
from training.data.colmap import read_depth_map

from ..command import Letvins
from . import mutations
from . import test_fuzz_calibrations as calibrations
from . import test_fuzz_images as images
from . import test_fuzz_maps as maps
from . import test_fuzz_recordings as recordings
from . import test_fuzz_settings as settings
from . import test_fuzz_training_files as training_files
from . import test_fuzz_weights as weights
from .survival_check import FILES, Damage, survives

READERS = {
    "folders": (recordings.damage_folder, recordings.read_recording),
    "bags": (recordings.damage_bag, recordings.read_recording),
    "trajectories": (recordings.damage_trajectory, recordings.compare_trajectory),
    "images": (images.damage_image, images.read_recording),
    "videos": (images.damage_video, images.read_recording),
    "calibrations": (calibrations.damage_calibration, calibrations.use_calibration),
    "configurations": (settings.damage_configuration, settings.use_configuration),
    "suites": (settings.damage_suite, settings.use_suite),
    "baselines": (settings.damage_baseline, settings.use_baseline),
    "maps": (maps.damage_map, maps.use_map),
    "weights": (weights.damage_weights, weights.use_weights),
    "models": (training_files.damage_model, training_files.use_model),
    "depth maps": (training_files.damage_depth_map, read_depth_map),
    "scenes": (training_files.damage_scene, training_files.use_scene),
    "arrays": (training_files.damage_array, read_array),
}


def put_pipe(damage: Damage, folder: Path, rng: Random) -> Path:
    """One of the files that would be damaged otherwise."""
    with patch.object(mutations, "mutate", lambda data, rng, ways: data):
        path = damage(folder, rng)
    chosen = rng.choice(sorted(file for file in folder.rglob("*") if file.is_file()))
    chosen.unlink()
    os.mkfifo(chosen)
    return path


@pytest.mark.parametrize("name", READERS)
def test_a_named_pipe_is_refused_or_left_out_and_not_waited_for(name: str, tmp_path: Path) -> None:
    damage, read = READERS[name]
    files = FILES // 2 if name in ("folders", "calibrations", "models") else 3  # those have several
    survives(partial(put_pipe, damage), read, tmp_path, files=files, limit_s=2.0)


def test_the_kind_of_file_is_told_in_one_line(tmp_path: Path, letvins: Letvins) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    code, _, told = letvins("config", "check", tmp_path / "a.yaml")
    assert code == 1
    assert re.fullmatch(r"error: .*/a.yaml: is a named pipe, not a file\n", told)
