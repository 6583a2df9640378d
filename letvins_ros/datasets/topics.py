# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag are images, IMU, GNSS and truth: as the user says, else the best guess, else an error."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from letvins_ros.errors import DataError

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
IMU_TYPE = "sensor_msgs/msg/Imu"
GNSS_TYPE = "sensor_msgs/msg/NavSatFix"
POSE_TYPE = "geometry_msgs/msg/PoseStamped"
TRUTH = ("/ground_truth/pose", POSE_TYPE)  # T_world_body; what our writer makes
TRUTHS = (TRUTH[0], "/groundtruth/pose")  # ours, UZH-FPV's
IMU_NAMES = ("/imu0", "/imu", "/imu/data", "/camera/imu", "/camera/camera/imu")
# What stands in the topics of the cameras of one rig, left first; the first row that fits is taken.
FAMILIES = (
    ("cam0", "cam1", "cam2", "cam3"), ("left", "right"), ("infra1", "infra2"), ("fisheye1", "fisheye2"),
    ("image_0", "image_1", "image_2", "image_3"), ("_l", "_r"), ("0", "1", "2", "3"), ("1", "2", "3", "4"),
)  # fmt: skip
_NOT_FOR_TRACKING = re.compile(
    r"depth|dispar|confidence|mask|semantic|segment|label|theora|stereo(_raw)?/image_r(ect|aw)"
)
RECTIFIED = re.compile(r"rect(?!_raw)")  # RealSense's image_rect_raw is what its infrared cameras give
_SIMILAR_RATE = 0.8  # of the fastest: as fast


@dataclass(frozen=True)
class Candidate:
    """A topic to choose from, with what its first messages tell."""

    type: str
    rate_hz: float = 0.0
    clock_s: float = 0.0  # median of stamp minus time of recording
    has_gyro: bool = True
    has_accel: bool = True


@dataclass(frozen=True)
class Topics:
    """Names of the chosen topics."""

    cameras: tuple[str, ...]  # left first
    imu: str | None = None
    accel: str | None = None  # where imu has only the gyro
    truth: str | None = None
    gnss: str | None = None

    def command(self) -> str:
        """The options that choose these."""
        roles = {f"cam{i}": name for i, name in enumerate(self.cameras)}
        if self.imu:
            roles |= {"gyro": self.imu, "accel": self.accel} if self.accel else {"imu": self.imu}
        if self.gnss:
            roles["gnss"] = self.gnss
        return " ".join(f"--topic {role}={name}" for role, name in roles.items())


def choose_topics(
    candidates: Mapping[str, Candidate], given: Mapping[str, str] | None = None, numbers: Sequence[int] = (0, 1)
) -> Topics:
    """Choose from the topics of a bag; DataError that lists the candidates where the choice is not clear.

    given: topics by role that the user named: cam0 .. cam3, imu, or gyro and accel, gnss. numbers: cameras wanted of a
    rig that has several.
    """
    given = given or {}
    for role, name in given.items():
        _check_given(candidates, role, name)
    imu, accel = _imu(candidates, given)
    cameras = sorted(role for role in given if role.startswith("cam"))
    if cameras != [f"cam{i}" for i in range(len(cameras))]:
        raise DataError(f"cameras are named from cam0 on without a gap, got {', '.join(cameras)}")
    named = tuple(given[role] for role in cameras)
    truth = next((name for name in TRUTHS if name in candidates and candidates[name].type == POSE_TYPE), None)
    fixes = [name for name, topic in candidates.items() if topic.type == GNSS_TYPE]
    gnss = given.get("gnss") or (_fastest(candidates, fixes) if fixes else None)
    return Topics(named or _cameras(candidates, imu, numbers), imu, accel, truth, gnss)


def unclear(candidates: Mapping[str, Candidate]) -> set[str]:
    """Topics between which only their messages decide."""
    images = {name for family in _families(candidates).values() for name in family}
    imus = {name for name, topic in candidates.items() if topic.type == IMU_TYPE}
    return (imus | images if len(_families(candidates)) > 1 else imus) if imus else set()


def _check_given(candidates: Mapping[str, Candidate], role: str, name: str) -> None:
    types = IMAGE_TYPES if role.startswith("cam") else (GNSS_TYPE if role == "gnss" else IMU_TYPE,)
    if name not in candidates:
        raise DataError(f"no topic {name} for {role}; {_listed(candidates, types)}")
    if candidates[name].type not in types:
        raise DataError(f"topic {name} for {role} holds {candidates[name].type}; {_listed(candidates, types)}")


def _images(candidates: Mapping[str, Candidate]) -> list[str]:
    names = [name for name, topic in candidates.items() if topic.type in IMAGE_TYPES]
    names = [name for name in names if name.rpartition("/")[0] not in names]  # /x/compressed is a copy of /x
    return [name for name in names if not _NOT_FOR_TRACKING.search(name)] if len(names) > 1 else names


def _families(candidates: Mapping[str, Candidate]) -> dict[str, tuple[str, ...]]:
    """Topics of the cameras of each rig, by that of its left camera; all by the first row of names that fits."""
    names = _images(candidates)
    for words in FAMILIES:
        found = {name: _rig_of(name, words, names) for name in names if _replace(name, words[0], words[1]) != name}
        found = {left: rig for left, rig in found.items() if len(rig) > 1}
        if found:
            return found
    return {}


def _rig_of(left: str, words: Sequence[str], names: Collection[str]) -> tuple[str, ...]:
    rig = [left]
    for word in words[1:]:
        if (name := _replace(left, words[0], word)) not in names:
            break
        rig.append(name)
    return tuple(rig)


def _replace(name: str, word: str, by: str) -> str:
    return re.sub(rf"{word}\b", by, name) if word.startswith("_") else name.replace(word, by)


def _cameras(candidates: Mapping[str, Candidate], imu: str | None, numbers: Sequence[int]) -> tuple[str, ...]:
    rigs = _families(candidates)
    if rigs:
        left = _best(candidates, list(rigs), imu)
        if left is None:
            raise DataError(f"several stereo pairs; {_listed(candidates, IMAGE_TYPES)}")
        rig = rigs[left]
        chosen = [number for number in numbers if number < len(rig)]
        if not chosen or (tuple(numbers) != (0, 1) and len(chosen) < len(numbers)):
            raise DataError(f"cameras {', '.join(map(str, numbers))} wanted of {', '.join(rig)}")
        return tuple(rig[number] for number in chosen)
    names = _images(candidates)
    alone = _best(candidates, names, imu) if names else None
    if alone is None:
        raise DataError(
            f"{len(names)} image topics, none of them a known stereo pair; {_listed(candidates, IMAGE_TYPES)}"
        )
    return (alone,)


def _best(candidates: Mapping[str, Candidate], names: list[str], imu: str | None) -> str | None:
    """The only one, or the one that is raw, has the IMU's clock and lies beside it; None where that leaves several."""
    rules: list[Callable[[str], bool]] = [lambda name: not RECTIFIED.search(name)]
    if imu is not None:
        clock = candidates[imu].clock_s
        rules += [lambda name: abs(candidates[name].clock_s - clock) < 1.0, lambda name: _beside(name, imu)]
    rules += [lambda name: "raw" in name.rpartition("/")[2], lambda name: "mono" in name.rpartition("/")[2]]
    for rule in rules:
        names = [name for name in names if rule(name)] or names
    return names[0] if len(names) == 1 else None


def _beside(name: str, imu: str) -> bool:
    return name.split("/")[1] == imu.split("/")[1]


def _imu(candidates: Mapping[str, Candidate], given: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Topic of the IMU, or those of its gyro and its accelerometer."""
    if "imu" in given:
        return given["imu"], None
    if "gyro" in given or "accel" in given:
        if not {"gyro", "accel"} <= set(given):
            raise DataError("topics of gyro and accel belong together: name both")
        return given["gyro"], given["accel"]
    all_of_them = {name: topic for name, topic in candidates.items() if topic.type == IMU_TYPE}
    whole = [name for name, topic in all_of_them.items() if topic.has_gyro and topic.has_accel]
    if whole:
        known = [name for name in IMU_NAMES if name in whole]
        return known[0] if known else _fastest(candidates, whole), None
    gyros = [name for name, topic in all_of_them.items() if topic.has_gyro]
    accels = [name for name, topic in all_of_them.items() if topic.has_accel]
    if gyros and accels:
        return _of_one_device(candidates, gyros, accels)
    return None, None


def _of_one_device(candidates: Mapping[str, Candidate], gyros: list[str], accels: list[str]) -> tuple[str, str]:
    """The fastest gyro and accelerometer of the device that has the cameras, where several devices have both."""

    def device(name: str) -> str:
        return "/".join(name.split("/")[:-2])

    gyros = [name for name in gyros if device(name) in set(map(device, accels))] or gyros
    lefts = list(_families(candidates)) or _images(candidates)
    gyros = [name for name in gyros if any(_beside(left, name) for left in lefts)] or gyros
    gyro = _fastest(candidates, gyros)
    return gyro, _fastest(candidates, [name for name in accels if device(name) == device(gyro)] or accels)


def _fastest(candidates: Mapping[str, Candidate], names: Sequence[str]) -> str:
    """The fastest; of those about as fast the one whose readings are raw, else the first by name."""
    enough = _SIMILAR_RATE * max(candidates[name].rate_hz for name in names)
    fast = sorted(name for name in names if candidates[name].rate_hz >= enough)
    return next((name for name in fast if "raw" in name.rpartition("/")[2]), fast[0])


def _listed(candidates: Mapping[str, Candidate], types: Sequence[str]) -> str:
    listed = [
        f"{name} ({topic.type}, {topic.rate_hz:.4g} Hz)"
        for name, topic in sorted(candidates.items())
        if topic.type in types
    ]
    if not listed:
        return f"none of type {' or '.join(types)} among {', '.join(sorted(candidates)) or 'no topics at all'}"
    return f"choose with --topic ROLE=NAME from {', '.join(listed)}"
