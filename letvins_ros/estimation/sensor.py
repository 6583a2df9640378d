# SPDX-License-Identifier: Apache-2.0
"""What a sensor beside cameras and IMU has to give."""

from typing import Protocol

from letvins_ros.estimation.costs.linear import Cost
from letvins_ros.estimation.frame import Frame


class Sensor(Protocol):
    """Something that measures the body; how its readings come in is its own affair."""

    def costs(self, before: Frame, frame: Frame) -> list[Cost]:
        """What it has measured between two frames of the window, or at the later one.

        Asked for each new frame, and again from the same frame before where the new one takes the place of one that
        was no keyframe. A cost of the later frame alone makes it a keyframe, so that such a measurement is asked for
        once.
        """
        ...
