# SPDX-License-Identifier: Apache-2.0
"""What is estimated: variables with a tangent space, the keys that name them, and the rows that they have."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import gtsam
import numpy as np


class Variable(ABC):
    """An immutable value that is estimated; `d` is a step in its tangent space, of the class's size."""

    size: ClassVar[int]
    settled: ClassVar[np.ndarray]  # (size,) a step below which the next one would not matter
    nonlinear: ClassVar[np.ndarray]  # (size,) a move beyond which a cost is linearised anew
    gtsam_parts: ClassVar[tuple[tuple[str, int], ...]]  # letter of each GTSAM key and its size, in the order of `d`

    @abstractmethod
    def stepped(self, d: np.ndarray) -> Self:
        """The variable moved by a step (size,)."""

    @abstractmethod
    def step_to(self, other: Self) -> np.ndarray:
        """The step (size,) that leads to another one."""

    @abstractmethod
    def insert(self, values: gtsam.Values, index: int) -> None:
        """Put it into GTSAM's values, under the keys of its parts."""


V = TypeVar("V", bound=Variable)


@lru_cache(maxsize=1024)
def gtsam_key(letter: str, number: int) -> int:
    """GTSAM's key of a part of a variable."""
    return int(gtsam.symbol(letter, number))


class Key(NamedTuple, Generic[V]):
    """Names a variable: its kind and its number, such as `Key(State, 12)`."""

    kind: type[V]
    number: int

    def gtsam_keys(self) -> list[tuple[int, int]]:
        """GTSAM's key and size of each part."""
        return [(gtsam_key(letter, self.number), size) for letter, size in self.kind.gtsam_parts]


AnyKey = Key[Any]


class Values:
    """Variables by key; never changes."""

    def __init__(self, entries: Mapping[AnyKey, Any]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, key: Key[V]) -> V:
        return self._entries[key]

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[AnyKey]:
        return iter(self._entries)

    def __or__(self, other: "Values") -> "Values":
        """All of these, with the others in place of or beside them."""
        return Values(self._entries | other._entries)

    def only(self, keys: Iterable[AnyKey]) -> "Values":
        """Those of these keys."""
        return Values({key: self._entries[key] for key in keys})

    def steps_to(self, other: "Values", keys: Sequence[AnyKey]) -> np.ndarray:
        """The stacked step of these keys from here to the other values; nothing where both hold the same object."""
        out, end = np.zeros(sum(key.kind.size for key in keys)), 0
        for key in keys:
            start, end = end, end + key.kind.size
            here, there = self._entries[key], other._entries[key]
            if here is not there:
                out[start:end] = here.step_to(there)
        return out


class Layout:
    """Which rows of a linear system belong to which variable."""

    def __init__(self, keys: Iterable[AnyKey]) -> None:
        self.keys = tuple(keys)
        ends = np.cumsum([key.kind.size for key in self.keys], dtype=int).tolist()
        self.size = ends[-1] if ends else 0
        self._rows = {key: np.arange(end - key.kind.size, end) for key, end in zip(self.keys, ends, strict=True)}

    def rows(self, keys: Iterable[AnyKey]) -> np.ndarray:
        """Rows of these variables, one after the other."""
        rows = [self._rows[key] for key in keys]
        return np.concatenate(rows) if rows else np.zeros(0, int)

    def stepped(self, values: Values, d: np.ndarray) -> Values:
        """Values with every variable of the layout moved by its rows of a step."""
        return values | Values({key: values[key].stepped(d[rows]) for key, rows in self._rows.items()})

    def settled(self) -> np.ndarray:
        """The step (size,) below which the next one would not matter."""
        return np.concatenate([key.kind.settled for key in self.keys])
