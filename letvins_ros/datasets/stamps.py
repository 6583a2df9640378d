# SPDX-License-Identifier: Apache-2.0
"""Times in text files: seconds, milliseconds, microseconds or nanoseconds, told apart by their size."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from letvins_ros.errors import DataError

NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_SINCE_1970 = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"))  # stamps from here on are times of this century
_STEPS_OF_INTEGERS = ((1e6, "ns"), (500, "us"), (1, "ms"))  # of 1 ms or more, 0.5 ms .. 1 s, 1 .. 500 ms
_STEPS_OF_SECONDS = ((1e6, "ns"), (1e4, "us"))  # nobody takes poses hours apart
_LARGEST = Decimal(10) ** 19
_LARGEST_S = 9.2e9


def decimal(text: str) -> Decimal | None:
    """A number that can be a time; None where it is none, not finite or absurd."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < _LARGEST else None


def unit_of(stamps: np.ndarray, integers: bool) -> str:
    """Unit of stamps (N,): by their size, else by the step between them; without either ns for integers, else s.

    integers: the file is one whose integers usually are nanoseconds.
    """
    if not len(stamps):
        return "ns" if integers else "s"
    size = float(np.median(np.abs(stamps)))
    known = [unit for least, unit in _SINCE_1970 if size >= least]
    if known:
        return known[0]
    steps = np.abs(np.diff(stamps.astype(float)))
    step = float(np.median(steps[steps > 0])) if np.count_nonzero(steps) > 1 else 0.0
    rules = _STEPS_OF_INTEGERS if integers else _STEPS_OF_SECONDS
    return next((unit for least, unit in rules if step >= least), "ns" if integers else "s")


def seconds_to_ns(seconds: np.ndarray, path: Path, digits: int = 9) -> np.ndarray:
    """Stamps (N,) int64 ns of float seconds (N,), rounded to so many digits; DataError for times that cannot be."""
    if not (np.abs(seconds) < _LARGEST_S).all():
        raise DataError(
            f"{path}: times must be seconds below {_LARGEST_S:g}, got {seconds[~(np.abs(seconds) < _LARGEST_S)][0]}"
        )
    return np.round(seconds * 10.0**digits).astype(np.int64) * 10 ** (9 - digits)


def to_nanoseconds(numbers: Sequence[Decimal], integers: bool) -> tuple[np.ndarray, str]:
    """Stamps (N,) int64 ns, rounded to the nearest, and the unit that they had; ValueError beyond 64 bits."""
    unit = unit_of(np.array([float(number) for number in numbers]), integers)
    stamps = [int((number * NANOSECONDS[unit]).to_integral_value()) for number in numbers]
    if any(abs(stamp) >= 2**63 for stamp in stamps):
        raise ValueError("a time beyond 64 bits of nanoseconds")
    return np.array(stamps, np.int64), unit
