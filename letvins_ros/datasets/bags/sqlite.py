# SPDX-License-Identifier: Apache-2.0
"""ROS 2 bags in SQLite (.db3)."""

import sqlite3
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import quote

from letvins_ros.datasets.bags.base import Raw, Stored
from letvins_ros.errors import DataError

_FRESH_S = 5.0  # so lately changed, a file may be between two states, as no lock is taken: its recorder would fail


class SqliteFile:
    """See BagFile."""

    ros1 = False

    def __init__(self, path: Path) -> None:
        """Raise DataError where the file cannot be read."""
        self._path, self.problems = path, list[str]()
        if not path.stat().st_size:
            raise DataError(f"{path}: the file is empty")
        # what an interrupted recorder has left in the write-ahead log counts, if the folder lets sqlite read it
        logged = path.with_name(f"{path.name}-wal").is_file()
        self._database = self._open("mode=ro" if logged else "immutable=1")
        try:
            self._read_topics()
        except BaseException:
            self._database.close()
            raise

    def _open(self, how: str) -> sqlite3.Connection:
        database = sqlite3.connect(f"file:{quote(str(self._path.resolve()))}?{how}", uri=True)
        database.text_factory = lambda text: text.decode(errors="replace")
        return database

    def _read_topics(self) -> None:
        described = self._rows("SELECT id, name, type FROM topics WHERE serialization_format = 'cdr'")
        rows = [
            (topic, name, kind) for topic, name, kind in described if isinstance(name, str) and isinstance(kind, str)
        ]
        seen = {
            topic: (count, first, last)
            for topic, count, first, last in self._rows(
                "SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages"
                " WHERE typeof(timestamp) = 'integer' AND typeof(data) = 'blob' GROUP BY topic_id"
            )
        }
        self._names = {topic: name for topic, name, _ in rows}
        self.topics = [Stored(name, kind, seen[topic][0]) for topic, name, kind in rows if topic in seen]
        self.start_ns = min((first for _, first, _ in seen.values()), default=0)
        self.end_ns = max((last for _, _, last in seen.values()), default=0)

    def messages(self, names: Collection[str]) -> Iterator[Raw]:
        """See BagFile."""
        chosen = [topic for topic, name in self._names.items() if name in names]
        marks = ",".join("?" * len(chosen))
        query = (
            f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks})"  # noqa: S608  (marks only)
            " AND typeof(timestamp) = 'integer' AND typeof(data) = 'blob' ORDER BY timestamp"
        )
        for topic, recorded_ns, data in self._rows(query, chosen):
            yield Raw(self._names[topic], recorded_ns, data)

    def close(self) -> None:
        """See BagFile."""
        self._database.close()

    def _rows(self, query: str, values: Collection[int] = ()) -> Iterator[tuple]:  # type: ignore[type-arg]
        try:
            for row in self._database.execute(query, tuple(values)):  # noqa: UP028  (`yield from` closes after the file)
                yield row
        except (sqlite3.Error, UnicodeDecodeError) as error:  # sqlite quotes damaged text in its errors
            raise DataError(self._sentence(str(error))) from error

    def _sentence(self, error: str) -> str:
        if "not a database" in error or "no such table" in error or "no such column" in error:
            return f"{self._path}: is no ROS 2 bag"
        if time.time() - self._path.stat().st_mtime < _FRESH_S:
            return f"{self._path}: is being written or cut short: read it when its recorder has ended"
        return f"{self._path}: the bag is damaged or cut short (sqlite: {error})"
