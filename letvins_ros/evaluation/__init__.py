# SPDX-License-Identifier: Apache-2.0
"""Results: metrics, plots and reports."""

import os
from contextlib import suppress
from pathlib import Path

# without this, matplotlib makes a folder for its settings in the home folder, and plots depend on what lies there
with suppress(RuntimeError):  # no home folder
    _cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("MPLCONFIGDIR", str(_cache / "matplotlib"))
