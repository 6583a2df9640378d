# SPDX-License-Identifier: Apache-2.0
"""Errors a user can fix are LetvinsErrors; an ordinary failure is a Rejected value; a bug crashes."""

from dataclasses import dataclass


class LetvinsError(Exception):
    """One line for the user: names the file, row, key or topic, and the numbers."""


class ConfigError(LetvinsError):
    """A configuration key, type, value or file that cannot be used."""


class CalibrationError(LetvinsError):
    """A calibration that is missing, malformed or physically impossible."""


class DataError(LetvinsError):
    """Sensor data or a trajectory file that cannot be read or used."""


@dataclass(frozen=True)
class Rejected:
    """An ordinary failure, such as `Rejected("7 inliers of 30 needed")`."""

    reason: str

    def __bool__(self) -> bool:
        return False
