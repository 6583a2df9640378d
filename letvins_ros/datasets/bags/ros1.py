# SPDX-License-Identifier: Apache-2.0
"""ROS 1 bags (.bag), with chunks as they are, in bz2 or in lz4, through the rosbags library."""

from collections.abc import Collection, Iterator
from pathlib import Path

from letvins_ros.datasets.bags.base import Raw, Stored
from letvins_ros.errors import DataError

_MENDED = "; `rosbag reindex` mends such a bag"
_SENTENCES = {  # part of the library's words: ours
    "seems to be empty": "the file is empty",
    "magic is invalid": "is no ROS 1 bag",
    "is not supported": "is of a kind that is not supported (encrypted, or not of version 2.0)",
    "is not indexed": f"was not closed by its recorder and has no index{_MENDED}",
}


class Ros1File:
    """See BagFile."""

    ros1 = True

    def __init__(self, path: Path) -> None:
        """Raise DataError where the file cannot be read."""
        from rosbags.rosbag1 import Reader

        self.problems: list[str] = []
        self._path, self._reader = path, Reader(path)
        try:
            self._reader.open()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # a damaged file raises errors of many kinds
            raise DataError(self._sentence(error)) from error
        counts: dict[str, Stored] = {}
        for used in self._reader.connections:
            before = counts[used.topic].count if used.topic in counts else 0
            counts[used.topic] = Stored(used.topic, used.msgtype, before + used.msgcount)
        self.topics = [topic for topic in counts.values() if topic.count]
        self.start_ns, self.end_ns = self._reader.start_time, self._reader.end_time

    def messages(self, names: Collection[str]) -> Iterator[Raw]:
        """See BagFile."""
        chosen = [used for used in self._reader.connections if used.topic in names]
        try:
            for used, recorded_ns, data in self._reader.messages(chosen) if chosen else ():
                yield Raw(used.topic, recorded_ns, data)
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:
            raise DataError(self._sentence(error)) from error

    def close(self) -> None:
        """See BagFile."""
        self._reader.close()

    def _sentence(self, error: Exception) -> str:
        told = next((ours for part, ours in _SENTENCES.items() if part in str(error)), None)
        return f"{self._path}: {told or f'the bag is damaged or cut short{_MENDED}'}"
