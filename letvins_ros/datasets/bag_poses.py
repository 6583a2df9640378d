# SPDX-License-Identifier: Apache-2.0
"""The poses that a bag holds as odometry, such as `ros2 bag record` keeps of the nodes' topics."""

from pathlib import Path

import numpy as np

from letvins_ros.datasets.bags.decode import decode
from letvins_ros.datasets.bags.storage import Storage, header_stamp_ns
from letvins_ros.errors import DataError

OURS = "letvins/odometry"
_TYPES = ("nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseWithCovarianceStamped", "geometry_msgs/msg/PoseStamped")


def read_poses(path: Path, topic: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Stamps (N,), rows x y z qx qy qz qw (N, 7) and name of a topic, by default the nodes' odometry, or the only one.

    Raises DataError that lists the topics where that leaves several, or none.
    """
    with Storage(path).open() as bag:
        types = {name: stored.type for name, stored in bag.topics.items() if stored.type in _TYPES}
        name = _chosen(path, types, topic)
        read = [(header_stamp_ns(raw, bag.ros1), decode(raw, types[name], bag.ros1)) for raw in bag.messages({name})]
    whole = [(stamp_ns, message.pose) for stamp_ns, message in read if stamp_ns is not None and message is not None]
    found = [(stamp_ns, getattr(pose, "pose", pose)) for stamp_ns, pose in whole]  # with a covariance beside it
    rows = [[p.x, p.y, p.z, q.x, q.y, q.z, q.w] for p, q in ((pose.position, pose.orientation) for _, pose in found)]
    return np.array([stamp_ns for stamp_ns, _ in found], np.int64), np.array(rows).reshape(-1, 7), name


def _chosen(path: Path, types: dict[str, str], topic: str | None) -> str:
    if topic in types:
        return topic
    ours = [name for name in types if name.endswith(f"/{OURS}")]
    if topic is None and 1 in (len(ours), len(types)):
        return ours[0] if len(ours) == 1 else next(iter(types))
    listed = ", ".join(f"{name} ({kind})" for name, kind in sorted(types.items()))
    wanted = f"no poses in {topic}" if topic else f"no topic {OURS}, or several"
    raise DataError(f"{path}: {wanted}; choose with --topic from {listed or 'no topics with poses at all'}")
