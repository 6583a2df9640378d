# SPDX-License-Identifier: Apache-2.0
"""Nothing leaves the machine, and nothing is written but results and caches."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from .command import ROOT
from .needs import needs_torch

WITNESS = """
import os, sys

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def _note(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        if not isinstance(args[-1], (str, bytes)) or event != "socket.connect":  # a path: a socket of this machine
            return _tell(event, args[-1] if event in ("socket.connect", "socket.sendto") else args[0])
    if event == "open" and isinstance(args[0], (str, bytes)) and args[2] & _WRITES:
        _tell("write", os.path.abspath(os.fsdecode(args[0])))
    if event == "os.mkdir":
        _tell("write", os.path.abspath(os.fsdecode(args[0])))

def _tell(*what):
    os.write(_log, (" ".join(map(str, what)) + "\\n").encode())

_log = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
sys.addaudithook(_note)
"""


Watched = Callable[..., tuple[list[str], list[Path]]]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """Run a Python module with a new home; gives what it and its children wrote, or whom they called."""
    (tmp_path / "witness").mkdir()
    (tmp_path / "witness" / "sitecustomize.py").write_text(WITNESS)
    for name in ("home", "temporary", "out"):
        (tmp_path / name).mkdir()
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "MPL", "CI", "TORCHINDUCTOR_"))
    }
    env |= {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "WITNESS": str(tmp_path / "witness.log"),
        "PYTHONPATH": f"{tmp_path / 'witness'}:{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(*command: object) -> tuple[list[str], list[Path]]:
        done = subprocess.run(
            [sys.executable, *map(str, command)], env=env, cwd=tmp_path, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told = (tmp_path / "witness.log").read_text().splitlines()
        assert told, "the witness saw nothing"
        allowed = [f"write {tmp_path / name}" for name in ("out", "temporary", "home/.cache")] + ["write /dev/"]
        strange = [line for line in told if not line.startswith(tuple(allowed)) and "/__pycache__" not in line]
        left = [path for path in (tmp_path / "home").iterdir() if path.name != ".cache"]
        return strange, left

    return run


def letvins(*arguments: object) -> tuple[object, ...]:
    return "-m", "letvins_ros.cli", *arguments


def test_the_witness_sees_what_it_should(watched: Watched) -> None:
    code = """
import pathlib, socket, urllib.request
(pathlib.Path.home() / "identity").write_text("x")
try:
    urllib.request.urlopen("http://analytics.invalid", timeout=5)
except OSError:
    pass
"""
    strange, left = watched("-c", code)
    assert [line for line in strange if line.startswith("socket.getaddrinfo analytics.invalid")]
    assert [path.name for path in left] == ["identity"]


@pytest.mark.parametrize("method", ["lk", "letnet2"])
def test_a_run_opens_no_connection_and_writes_only_results(
    watched: Watched, recording: Path, method: str, tmp_path: Path
) -> None:
    arguments = letvins("run", recording, "-o", tmp_path / "out" / "run", "--set", f"tracker.method={method}")
    assert watched(*arguments) == ([], [])


@needs_torch
def test_a_run_that_converts_a_network_is_as_quiet(watched: Watched, recording: Path, tmp_path: Path) -> None:
    arguments = letvins("run", recording, "-o", tmp_path / "out" / "run", "--duration", "1", "--no-loop")
    assert watched(*arguments, "--set", "tracker.method=kp2dtiny", "--set", "loop.describer=kp2dtiny") == ([], [])


@needs_torch
@pytest.mark.parametrize("suffix", [".xml", ".onnx", ".param"])
def test_an_export_is_as_quiet(watched: Watched, suffix: str, tmp_path: Path) -> None:
    needed = {".onnx": "onnxscript", ".param": "pnnx"}.get(suffix, "openvino")
    if find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    out = tmp_path / "out" / f"network{suffix}"
    assert watched(*letvins("export", "letnet2", out, "--size", "96x64")) == ([], [])


def test_every_file_that_imports_openvino_silences_it_first(root: Path) -> None:
    for path in [*(root / "letvins_ros").rglob("*.py"), *(root / "training").rglob("*.py")]:
        text = path.read_text()
        if "import openvino" in text or "from openvino" in text:
            assert path.parent.name == "inference" or "import letvins_ros.inference" in text, path
