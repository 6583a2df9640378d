# SPDX-License-Identifier: Apache-2.0
"""Work of several threads, handed over in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

WORKERS = 2
AHEAD = 8
T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """Yield function(item) of each item, worked out by threads that keep at most AHEAD results waiting."""
    workers = ThreadPoolExecutor(WORKERS, "simulation")
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(workers.submit(function, item))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        workers.shutdown(cancel_futures=True)
