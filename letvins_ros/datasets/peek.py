# SPDX-License-Identifier: Apache-2.0
"""What the topics of a bag look like, from their first messages."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np

from letvins_ros.datasets.bags.base import Raw
from letvins_ros.datasets.bags.decode import decode
from letvins_ros.datasets.bags.storage import Bag, header_stamp_ns
from letvins_ros.datasets.topics import IMU_TYPE, Candidate, unclear

_MESSAGES = 20  # that are looked at, of each topic


def candidates(bag: Bag) -> dict[str, Candidate]:
    """All topics with type and rate; those to choose from also with their clock and what an IMU measures."""
    seconds = max(bag.duration_s, 1e-9)
    found = {name: Candidate(topic.type, topic.count / seconds) for name, topic in bag.topics.items()}
    first = _first_messages(bag, unclear(found))
    for name, messages in first.items():
        late = [(stamp - raw.recorded_ns) / 1e9 for raw in messages if (stamp := header_stamp_ns(raw, bag.ros1))]
        found[name] = replace(found[name], clock_s=float(np.median(late)) if late else 0.0)
    measured = {name: _measured(messages, bag.ros1) for name, messages in first.items() if found[name].type == IMU_TYPE}
    apart = not all(accel for _, _, accel in measured.values())
    for name, (gyro, turns, accel) in measured.items():
        found[name] = replace(found[name], has_gyro=gyro and (turns or not apart), has_accel=accel)
    return found


def imu_row(message: Any) -> list[float]:
    """Angular velocity in rad/s and linear acceleration in m/s^2."""
    rate, force = message.angular_velocity, message.linear_acceleration
    return [rate.x, rate.y, rate.z, force.x, force.y, force.z]


def _first_messages(bag: Bag, names: set[str]) -> dict[str, list[Raw]]:
    wanted = {name: min(_MESSAGES, bag.topics[name].count) for name in names}
    found: dict[str, list[Raw]] = defaultdict(list)
    for raw in bag.messages(names) if names else ():
        if len(found[raw.topic]) < _MESSAGES:
            found[raw.topic].append(raw)
        if all(len(found[name]) >= count for name, count in wanted.items()):
            break
    return dict(found)


def _measured(messages: list[Raw], ros1: bool) -> tuple[bool, bool, bool]:
    """Whether an IMU topic says that it has a gyro, whether that reads anything but zero, and whether it has a force.

    A covariance of -1 says that there is none. A still, noise-free gyro reads zero, so that zeros speak against a gyro
    only where gyro and accelerometer have topics of their own; an accelerometer feels gravity.
    """
    decoded = [message for raw in messages if (message := decode(raw, IMU_TYPE, ros1)) is not None]
    if not decoded:
        return True, True, True
    rows = np.array([imu_row(message) for message in decoded])
    accel = decoded[0].linear_acceleration_covariance[0] != -1 and bool(rows[:, 3:].any())
    return decoded[0].angular_velocity_covariance[0] != -1, bool(rows[:, :3].any()), accel
