# SPDX-License-Identifier: Apache-2.0
import fcntl
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from letvins_ros import cli
from letvins_ros.simulation import simulate

from .command import ROOT, Letvins

Once = Callable[[str, Callable[[Path], object]], Path]
_HERE = Path(__file__).parent
_TORCH = re.compile(r"^(import|from) (torch|training|letvins_ros\.networks\.(?!folding)\w+)\b", re.MULTILINE)
collect_ignore = []
if find_spec("torch") is None:
    files = [path for path in _HERE.rglob("*.py") if path.parent.name == "training" or _TORCH.search(path.read_text())]
    collect_ignore = [str(path.relative_to(_HERE)) for path in files]

threadpool_limits(1)  # as in a run: on small matrices, threads of BLAS only wait for each other


def pytest_report_header() -> str:
    return f"torch is not installed, left out: {', '.join(collect_ignore)}" if collect_ignore else ""


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data(root: Path) -> Path:
    """Recordings that may not be part of the repository."""
    folder = root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)`: a folder that all workers share, which `make` writes for the first of them that wants it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (shared / name).exists():
                make(shared / name)
        return shared / name

    return folder


@pytest.fixture(scope="session")
def recording(once: Once) -> Path:
    """Two seconds of a simulated flight as an EuRoC folder, to be read only."""
    return once("two_seconds", lambda folder: simulate(folder, "hall", 2.0, 0))


@pytest.fixture
def letvins(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Letvins]:
    """Run the command in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: object) -> tuple[str | int, str, str]:
        monkeypatch.setattr(sys, "argv", ["letvins", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code or 0, *capsys.readouterr()

    yield call
    signal.signal(signal.SIGTERM, before)
