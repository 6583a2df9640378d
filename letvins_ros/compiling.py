# SPDX-License-Identifier: Apache-2.0
"""Loops over numbers, compiled by numba."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit

# pip would leave what was compiled beside installed modules, and Python take that folder for the package
_INSTALLED = Path(__file__).parents[1].name in ("site-packages", "dist-packages")


def compiled(function: Callable[..., Any]) -> Any:
    """The function compiled when it is first called, and kept on disk where there is a folder to write to."""
    config: Any = numba.config
    given = config.CACHE_DIR
    try:
        if _INSTALLED and not given:
            config.CACHE_DIR = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "letvins_ros")
        return njit(cache=True)(function)
    except RuntimeError:  # no such folder can be written, or there is no home
        return njit(function)
    finally:
        config.CACHE_DIR = given
