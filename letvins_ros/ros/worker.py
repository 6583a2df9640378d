# SPDX-License-Identifier: Apache-2.0
"""Heavy work beside the executor: a thread, and queues that drop the oldest; needs no ROS."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class DropQueue(Generic[T]):
    """A queue of limited length; a further item pushes out the oldest, which is counted."""

    def __init__(self, depth: int) -> None:
        self._items: deque[T] = deque()
        self.depth = depth  # may be changed
        self._lock = threading.Lock()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Add an item at the end."""
        with self._lock:
            self._items.append(item)
            while len(self._items) > self.depth:
                self._items.popleft()
                self.dropped += 1

    def first(self) -> T | None:
        """Look at the oldest item."""
        with self._lock:
            return self._items[0] if self._items else None

    def pop(self) -> T | None:
        """Take the oldest item."""
        with self._lock:
            return self._items.popleft() if self._items else None

    def clear(self) -> None:
        """Forget all items."""
        with self._lock:
            self._items.clear()


class Worker:
    """A thread that repeats a step until there is nothing to do, each time it is woken."""

    def __init__(
        self,
        step: Callable[[], bool],
        on_crash: Callable[[BaseException], None],
        patience_s: Callable[[], float] = lambda: 0.05,
    ) -> None:
        """step: does one piece of work and says whether it did; on_crash: is given an error that ends the thread.

        patience_s: after so long the step is tried without being woken.
        """
        self._step, self._on_crash, self._patience_s = step, on_crash, patience_s
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def stop(self) -> None:
        """End after the piece of work at hand."""
        self._stopped = True
        self._wake.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        try:
            while not self._stopped:
                self._wake.wait(timeout=self._patience_s())
                self._wake.clear()
                while not self._stopped and self._step():
                    pass
        except BaseException as error:
            self._on_crash(error)
