# SPDX-License-Identifier: Apache-2.0
"""Messages of the few types that are read here, decoded by their standard definitions, whatever the bag says."""

from functools import cache
from typing import TYPE_CHECKING, Any

from letvins_ros.datasets.bags.base import Raw

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TRANSFORMS = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")


@cache
def _store(ros1: bool) -> "Typestore":
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    if TRANSFORMS[0] not in store.types:
        store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms\n", TRANSFORMS[0]))
    return store


def decode(raw: Raw, kind: str, ros1: bool) -> Any | None:
    """The message as an object with the fields of its type; None where it is damaged."""
    kind = TRANSFORMS[0] if kind in TRANSFORMS else kind
    store = _store(ros1)
    try:
        return store.deserialize_ros1(raw.data, kind) if ros1 else store.deserialize_cdr(raw.data, kind)
    except Exception:  # a damaged message raises errors of many kinds
        return None
