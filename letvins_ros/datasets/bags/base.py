# SPDX-License-Identifier: Apache-2.0
"""What every kind of bag file offers."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Stored:
    """A topic as a bag file holds it."""

    name: str
    type: str  # such as sensor_msgs/msg/Imu, for ROS 1 too
    count: int  # messages


@dataclass(frozen=True)
class Raw:
    """A message that is not decoded yet."""

    topic: str
    recorded_ns: int  # when the recorder got it
    data: bytes  # ROS 1 or CDR serialisation


class BagFile(Protocol):
    """One open file of a bag."""

    ros1: bool  # how messages are serialised
    topics: list[Stored]  # those whose messages are in ROS serialisation, with one message or more
    start_ns: int  # when the first and the last message were recorded
    end_ns: int
    problems: list[str]  # what was lost, in words

    def messages(self, names: Collection[str]) -> Iterator[Raw]:
        """Messages of these topics in the order in which they were recorded."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...
