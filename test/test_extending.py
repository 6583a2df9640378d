# SPDX-License-Identifier: Apache-2.0
"""Every section of docs/extending.md, executed in a copy of the source."""

import os
import re
import shutil
import subprocess
import sys
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

import pytest

from .command import ROOT
from .markdown import code_blocks

COPIED = ("letvins_ros", "training", "config")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "docs/extending.md").read_text(), re.M | re.S))


class Block(NamedTuple):
    language: str
    text: str

    @property
    def file(self) -> str:
        """What it writes or changes; empty for a script."""
        mark, _, name = self.text.partition("\n")[0].partition(" ")
        return name if mark in ("#", "---") and name.endswith((".py", ".yaml")) else ""


def blocks(section: str) -> list[Block]:
    return list(starmap(Block, code_blocks(section)))


def change(path: Path, diff: str) -> None:
    """Replace lines as a diff says, which has no line numbers: its context must be in the file, once."""
    lines = diff.splitlines()[1:]
    before, after = (
        "".join(f"{line[1:]}\n" for line in lines if line[:1] in kept) for kept in ((" ", "-"), (" ", "+"))
    )
    text = path.read_text()
    assert text.count(before) == 1, f"{path}: these lines are there {text.count(before)} times:\n{before}"
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_does_what_it_says(name: str, tmp_path: Path) -> None:
    if "torch" in SECTIONS[name]:
        pytest.importorskip("torch")
    for folder in COPIED:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    scripts = []
    for block in blocks(SECTIONS[name]):
        path = tmp_path / block.file
        if block.language == "diff":
            change(path, block.text)
        elif block.file:
            assert not path.exists(), path
            path.write_text(block.text.partition("\n")[2])
        elif block.language == "python":
            scripts.append(block.text)
    assert scripts
    for script in scripts:
        command, env = [sys.executable, "-c", script], {**os.environ, "PYTHONPATH": str(tmp_path)}
        ran = subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
        assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_counts_its_files(name: str) -> None:
    told = re.search(r"\*\*(\d+) files?\*\*", SECTIONS[name])
    assert told, f"{name} does not say how many files it touches"
    assert int(told[1]) == len({block.file for block in blocks(SECTIONS[name])} - {""})


@pytest.mark.parametrize("name", SECTIONS)
def test_new_files_are_written_as_the_package_is(name: str, tmp_path: Path) -> None:
    for block in blocks(SECTIONS[name]):
        if block.language == "python":
            path = tmp_path / (block.file or "script.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text.partition("\n")[2] if block.file else block.text)
    if shutil.which("ruff") is None and not Path(sys.executable).with_name("ruff").exists():
        pytest.skip("ruff is not installed")
    own = "lint.isort.known-first-party = ['letvins_ros']"  # the copy holds only the new files
    rules = ["--config", str(ROOT / "pyproject.toml"), "--config", own, "--ignore", "S101,INP001"]  # scripts may assert
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *rules, str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
