# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag are stereo images, IMU and truth: by known names, else by type where there is no choice."""

from collections.abc import Mapping
from dataclasses import dataclass

from letvins_ros.errors import DataError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
IMU_TYPE = "sensor_msgs/msg/Imu"
TRUTH = ("/ground_truth/pose", "geometry_msgs/msg/PoseStamped")  # T_world_body; what our writer makes
IMU_NAMES = ("/imu0", "/imu", "/imu/data", "/camera/imu", "/camera/camera/imu")
# What stands in a left topic, and in its right one; the first pair of words that fits is taken.
LEFT_RIGHT = (("cam0", "cam1"), ("left", "right"), ("infra1", "infra2"), ("image_0", "image_1"), ("0", "1"), ("1", "2"))


@dataclass(frozen=True)
class Topics:
    """Names of the chosen topics."""

    left: str
    right: str | None = None
    imu: str | None = None
    truth: str | None = None

    @property
    def images(self) -> list[str]:
        """Left, and right where there is one."""
        return [self.left] + ([self.right] if self.right else [])


def choose_topics(types: Mapping[str, str]) -> Topics:
    """Choose from topics and their message types; DataError that lists the topics where the choice is not clear."""
    left, right = _images(types)
    truth = TRUTH[0] if types.get(TRUTH[0]) == TRUTH[1] else None
    return Topics(left, right, _imu(types), truth)


def _images(types: Mapping[str, str]) -> tuple[str, str | None]:
    names = [name for name, kind in types.items() if kind in IMAGE_TYPES]
    names = [name for name in names if name.rpartition("/")[0] not in names]  # /x/compressed is a copy of /x
    for left_word, right_word in LEFT_RIGHT:
        pairs = [(a, b) for a in names if left_word in a and (b := a.replace(left_word, right_word)) in names]
        if len(pairs) == 1:
            return pairs[0]
        if pairs:
            raise DataError(f"several stereo pairs: {', '.join(sum(pairs, ()))}")
    if len(names) != 1:
        raise DataError(f"{len(names)} image topics, none of them a known stereo pair: {_listed(types)}")
    return names[0], None


def _imu(types: Mapping[str, str]) -> str | None:
    names = [name for name, kind in types.items() if kind == IMU_TYPE]
    known = [name for name in IMU_NAMES if name in names]
    if len(names) > 1 and not known:
        raise DataError(f"several IMU topics, none of a known name: {', '.join(names)}")
    return next(iter(known or names), None)


def _listed(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(types.items())) or "the bag has no topics"
