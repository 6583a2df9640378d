# SPDX-License-Identifier: Apache-2.0
"""Provenance of a result: versions, commit, machine."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import letvins_ros

PACKAGES = ("numpy", "scipy", "opencv-python-headless", "gtsam", "faiss-cpu", "torch", "openvino")


def provenance() -> dict[str, str]:
    """Date, program, machine and libraries, for a reader who wants to repeat a result."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "letvins_ros": letvins_ros.__version__,
        "commit": commit(),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }


def commit() -> str:
    """The commit of the source tree, marked where files were changed since, or that which a wheel was built from.

    "unknown" where neither can be told.
    """
    package = Path(letvins_ros.__file__).parent
    built, git = package / "COMMIT", shutil.which("git")
    if git is None or not (package.parent / ".git").exists():
        return built.read_text().strip() if built.exists() else "unknown"
    commit = _git(git, package.parent, "rev-parse", "--short=12", "HEAD")
    # `describe --dirty` writes the index
    changed = _git(git, package.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if commit and changed else commit or "unknown"


def _git(git: str, root: Path, *arguments: str) -> str:
    command = [git, "--no-optional-locks", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
