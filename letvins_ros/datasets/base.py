# SPDX-License-Identifier: Apache-2.0
"""What every source of recorded data offers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.types import GnssFixes, ImageFrame, ImuSamples, Trajectory


@dataclass
class ReadReport:
    """What was skipped or mended while reading, by kind: how often, and the first example."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # choices that were made for the user, in words

    def note(self, text: str) -> None:
        """Tell a choice that was made for the user."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count `count` more of a kind; the first example of each kind is kept."""
        self.counts[kind] = self.counts.get(kind, 0) + count
        self.examples.setdefault(kind, example)


class Dataset(Protocol):
    """A recorded sequence, lazily read."""

    name: str
    stamps_ns: np.ndarray  # (N,) int64, increasing: when the frames were taken; some may prove unreadable
    report: ReadReport  # grows while frames are read

    @property
    def rig(self) -> Rig | None:
        """None where the format carries no calibration (a configuration must give it)."""
        ...

    @property
    def imu(self) -> ImuSamples | None:
        """The whole sequence, sorted and finite."""
        ...

    @property
    def gnss(self) -> GnssFixes | None:
        """Of the whole sequence, sorted and finite."""
        ...

    @property
    def truth(self) -> Trajectory | None:
        """T_world_body."""
        ...

    def __len__(self) -> int: ...

    def frames(self, start_s: float = 0.0, duration_s: float | None = None) -> Iterator[ImageFrame]:
        """Frames in time order, decoded ahead of time by a worker; the times count from the first frame.

        Raises DataError where no frame lies in that span, or none of them can be read.
        """
        ...
