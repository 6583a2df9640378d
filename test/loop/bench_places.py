# SPDX-License-Identifier: Apache-2.0
"""The stores of places side by side: `python test/loop/bench_places.py 10000 100000`.

Random unit vectors of 512 numbers, asked with vectors at a cosine of 0.91 from one of them, four answers wanted. Random
vectors are the hardest case for lists, as there is nothing to group by.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from letvins_ros.loop.place_map import PlaceIndex, PlaceStore

SIZE, CHUNK, QUERIES = 512, 10_000, 200


def chunk(i: int) -> np.ndarray:
    v = np.random.default_rng(i).standard_normal((CHUNK, SIZE), np.float32)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def opened(kind: str, folder: Path) -> PlaceStore:
    if kind == "memory":
        return PlaceIndex(SIZE)
    from letvins_ros.loop.lance_store import LanceStore

    return LanceStore.created(folder, np.zeros(0, np.int64), np.zeros((0, SIZE), np.float32))


def measure(kind: str, count: int, folder: Path) -> str:
    chunk(0)
    store, before, began = opened(kind, folder), memory_mb(), time.process_time()
    for i in range(count // CHUNK):
        store.add(np.arange(i * CHUNK, (i + 1) * CHUNK), chunk(i))
    built_s = time.process_time() - began
    rng, times, found = np.random.default_rng(1), [], []
    known = chunk(0)
    for row in rng.integers(0, CHUNK, QUERIES):
        wanted = 0.91 * known[row] + np.sqrt(1 - 0.91**2) * rng.standard_normal(SIZE).astype(np.float32) / SIZE**0.5
        began = time.perf_counter()
        numbers, _ = store.query(wanted.astype(np.float32), 4)
        times.append(time.perf_counter() - began)
        found.append(row in numbers)
    one = []
    for i in range(50):
        began = time.perf_counter()
        store.add(np.array([count + i]), known[i : i + 1])
        one.append(time.perf_counter() - began)
    on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    return (
        f"{count} | {kind} | {memory_mb() - before:.0f} MB | {on_disk:.0f} MB | {built_s:.1f} s | "
        f"{np.median(one) * 1e3:.2f} ms | {np.median(times) * 1e3:.2f} / {np.quantile(times, 0.95) * 1e3:.2f} ms | "
        f"{np.mean(found):.1%}"
    )


def main() -> None:
    if sys.argv[1] in ("memory", "lancedb"):
        print(measure(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])), flush=True)
        return
    print("places | store | memory | disk | building, CPU | adding one | query, median / p95 | found", flush=True)
    for count in sys.argv[1:]:
        for kind in ("memory", "lancedb"):
            with TemporaryDirectory() as folder:
                subprocess.run([sys.executable, __file__, kind, count, folder], check=True)


if __name__ == "__main__":
    main()
