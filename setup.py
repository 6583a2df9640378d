# SPDX-License-Identifier: Apache-2.0
"""All about the package is in pyproject.toml; this adds the commit that a wheel or an archive is built from."""

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent


def write_commit(package: Path) -> None:
    """Write letvins_ros/COMMIT, where this is a git checkout; an archive has it already."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        command = [git, "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603
        if found and package.is_dir():
            (package / "COMMIT").write_text(found)


class BuildPy(build_py):
    """Build the package with its commit."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            write_commit(Path(self.build_lib) / "letvins_ros")


class Sdist(sdist):
    """Make an archive with its commit."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        write_commit(Path(base_dir) / "letvins_ros")


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
