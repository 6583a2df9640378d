# SPDX-License-Identifier: Apache-2.0
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_TORCH = re.compile(r"^(import|from) (torch|training|letvins_ros\.networks\.(?!folding)\w+)\b", re.MULTILINE)
collect_ignore = []
if find_spec("torch") is None:
    collect_ignore = [str(path.relative_to(_HERE)) for path in _HERE.rglob("*.py") if _TORCH.search(path.read_text())]


def pytest_report_header() -> str:
    return f"torch is not installed, left out: {', '.join(collect_ignore)}" if collect_ignore else ""


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the repository."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data(root: Path) -> Path:
    """Recordings that may not be part of the repository."""
    folder = root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} does not exist")
    return folder
