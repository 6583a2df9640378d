# SPDX-License-Identifier: Apache-2.0
"""Result files appear whole or not at all."""

import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from letvins_ros.errors import DataError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write beside the file, then rename over it. Raises DataError where the folder cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise DataError(f"cannot write {path}: {error.strerror}") from error


def to_json(value: Any) -> str:
    """Indented JSON; what is not a finite number becomes null, as JSON has no NaN."""
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
