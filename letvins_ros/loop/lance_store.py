# SPDX-License-Identifier: Apache-2.0
"""Places in a LanceDB table on disk: one process writes it, any number read it meanwhile.

A write is a new version of the table, complete or not there; what a killed writer has left is not seen.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from letvins_ros.errors import ConfigError, DataError

TABLE = "places"
EXACT_UP_TO = 50_000  # places; above, lists of 8-bit vectors
# Places: LanceDB splits and joins lists to stay near it; of a fixed number of lists it makes a few large ones.
LIST_SIZE = 256
PROBES = 32  # lists that a query looks at
DISTANCE = "cosine"  # of unit vectors, 1 - their product; "dot" puts most places into a few lists
REFINED = 10  # times the answers wanted, compared again in 32 bits
MERGE_AFTER = 256  # additions: each is a file of its own
UNLISTED = 50_000  # places that are compared one by one beside the lists, at most
KEEP = timedelta(minutes=10)  # versions that a reader may still be at


class LanceStore:
    """A PlaceStore on disk."""

    def __init__(self, table: Any) -> None:
        self._table, self._has_lists = table, bool(table.list_indices())
        self._additions = self._places = 0  # that have not been merged
        self.size = int(table.schema.field("place").type.list_size)

    @classmethod
    def created(cls, folder: Path, numbers: np.ndarray, places: np.ndarray) -> "LanceStore":
        """A new table of these places (N, D), in place of one that is there."""
        store = cls(_database(folder).create_table(TABLE, _rows(numbers, places), mode="overwrite"))
        store._list(len(numbers))
        return store

    @classmethod
    def opened(cls, folder: Path, size: int) -> "LanceStore":
        """The table that another process writes; DataError where there is none, or one of other descriptors."""
        database = _database(folder)
        if TABLE not in database.list_tables().tables:
            raise DataError(f"{folder}: no places in it: loop.store is to be written by a process with loop.mode map")
        store = cls(database.open_table(TABLE))
        if store.size != size:
            raise DataError(f"{folder}: places of {store.size} numbers, descriptors of {size} are wanted")
        return store

    def __len__(self) -> int:
        return int(self._table.count_rows())

    def add(self, numbers: np.ndarray, places: np.ndarray) -> None:
        if len(numbers) == 0:
            return
        self._table.add(_rows(numbers, places))
        self._additions, self._places = self._additions + 1, self._places + len(numbers)
        if self._additions == MERGE_AFTER or self._places > UNLISTED:
            self._table.optimize(cleanup_older_than=KEEP)
            self._additions = self._places = 0
        self._list(len(numbers))

    def query(self, place: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        found = self._search(place, count).to_arrow()
        return found["number"].to_numpy(), 1 - found["_distance"].to_numpy()

    def remove(self, numbers: np.ndarray) -> None:
        if len(numbers):
            self._table.delete(f"number IN ({', '.join(map(str, numbers.tolist()))})")

    def _search(self, place: np.ndarray, count: int) -> Any:
        search = self._table.search(np.asarray(place, np.float32)).distance_type(DISTANCE).limit(count)
        return search.nprobes(PROBES).refine_factor(REFINED).select(["number", "_distance"])

    def _list(self, added: int) -> None:
        """Group the places once there are many; those that come later are grouped when files are merged."""
        if not self._has_lists and added and len(self) > EXACT_UP_TO:
            from lancedb.index import IvfSq

            self._table.create_index("place", config=IvfSq(distance_type=DISTANCE, target_partition_size=LIST_SIZE))
            self._has_lists = True


def _database(folder: Path) -> Any:
    os.environ.setdefault("LANCEDB_LOG", "error")  # it tells on stderr of every table that is new
    try:
        import lancedb
    except ImportError as error:
        raise ConfigError("loop.store needs LanceDB: pip install 'letvins_ros[store]'") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return lancedb.connect(folder, read_consistency_interval=timedelta(0))  # a reader sees every write
    except OSError as error:
        raise DataError(f"loop.store: cannot use {folder}: {error.strerror}") from error


def _rows(numbers: np.ndarray, places: np.ndarray) -> Any:
    import pyarrow

    flat = pyarrow.array(np.ascontiguousarray(places, np.float32).ravel())
    vectors = pyarrow.FixedSizeListArray.from_arrays(flat, places.shape[1])
    return pyarrow.table({"number": pyarrow.array(np.asarray(numbers, np.int64)), "place": vectors})
