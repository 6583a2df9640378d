# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import pytest

from ..command import environment
from .tiny import RECIPES

pytest.importorskip("h5py")
pytest.importorskip("faiss")
pytest.importorskip("lightning_fabric")
FEW = ("kp2dtiny_photos", "kp2dtiny_segmentation", "magicpoint")  # whole runs; the first two leave parameters unused


def test_every_recipe_learns_in_two_processes(tmp_path: Path, root: Path) -> None:
    """By gloo, as `torchrun --nproc-per-node 2`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run(
        [*command, "test.training.two_processes", str(tmp_path), *FEW],
        check=False, capture_output=True, text=True, cwd=root, timeout=280,
        env=environment(OMP_NUM_THREADS="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count(f"{len(RECIPES)} recipes") == 2
