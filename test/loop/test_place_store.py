# SPDX-License-Identifier: Apache-2.0
"""Both stores of places; that of LanceDB where it is installed: `pip install -e '.[store]'`."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.config import LoopConfig
from letvins_ros.errors import ConfigError, DataError
from letvins_ros.loop.closer import Answer, LoopCloser
from letvins_ros.loop.lance_store import LanceStore
from letvins_ros.loop.map_file import load_map, save_map
from letvins_ros.loop.place_map import PlaceIndex, PlaceMap, PlaceStore

from ..some import some
from ..vectors import unit
from .walk import INFO, LAP, RING, closer, distances, follow, walk

SIZE = 32
COMPARED = re.compile(r"index_comparisons=([\d.]+)( K)?")
needs_lance = pytest.mark.skipif(find_spec("lancedb") is None, reason="LanceDB is not installed")


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, SIZE)).astype(np.float32))


def lance(folder: Path) -> LanceStore:
    return LanceStore.created(folder, np.zeros(0, np.int64), np.zeros((0, SIZE), np.float32))


@pytest.fixture(params=["memory", pytest.param("disk", marks=needs_lance)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PlaceStore:
    return PlaceIndex(SIZE) if request.param == "memory" else lance(tmp_path / "db")


@pytest.mark.parametrize("n", [1, 2, 50])
def test_a_store_answers_as_a_plain_search_does(store: PlaceStore, n: int) -> None:
    places, numbers = vectors(n), 3 * np.arange(n) + 7
    for part in np.array_split(np.arange(n), 3):
        store.add(numbers[part], places[part])
    assert (len(store), store.size) == (n, SIZE)
    for wanted in vectors(5, 1):
        got, similarity = store.query(wanted, 4)
        best = np.argsort(-places @ wanted)[:4]
        np.testing.assert_array_equal(got, numbers[best])
        np.testing.assert_allclose(similarity, (places @ wanted)[best], atol=1e-6)


def test_an_empty_store_finds_nothing(store: PlaceStore) -> None:
    assert len(store) == 0
    assert [part.size for part in store.query(vectors(1)[0], 4)] == [0, 0]


def test_removed_places_are_found_no_more(store: PlaceStore) -> None:
    places = vectors(20)
    store.add(np.arange(20), places)
    store.remove(np.array([3, 5, 99]))
    store.remove(np.zeros(0, np.int64))
    assert len(store) == 18
    assert store.query(places[4], 1)[0].tolist() == [4]
    assert 3 not in store.query(places[3], 20)[0]


@needs_lance
def test_a_reader_sees_what_a_writer_adds_and_a_new_map_clears_the_old_one(tmp_path: Path) -> None:
    writer, places = lance(tmp_path / "db"), vectors(3)
    reader = LanceStore.opened(tmp_path / "db", SIZE)
    for i in range(3):
        writer.add(np.array([i]), places[i : i + 1])
        assert reader.query(places[i], 1)[0].tolist() == [i]
    lance(tmp_path / "db")
    assert len(LanceStore.opened(tmp_path / "db", SIZE)) == 0


@pytest.fixture
def grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[LanceStore, np.ndarray]]:
    """A store of 2,000 places in lists, half of which came after these had been made, and the places."""
    from letvins_ros.loop import lance_store

    def of(**limits: int) -> tuple[LanceStore, np.ndarray]:
        for name, value in {"EXACT_UP_TO": 1000, "LIST_SIZE": 250, **limits}.items():
            monkeypatch.setattr(lance_store, name, value)
        store, places = lance(tmp_path / "db"), vectors(2000)
        for part in np.array_split(np.arange(2000), 4):
            store.add(part, places[part])
        return store, places

    return of


@needs_lance
def test_many_places_are_grouped_and_still_found(grouped: Callable[..., tuple[LanceStore, np.ndarray]]) -> None:
    store, places = grouped(MERGE_AFTER=2)
    found = [store.query(places[i], 1)[0].tolist() == [i] for i in range(0, 2000, 20)]
    assert np.mean(found) > 0.95


@needs_lance
def test_places_that_come_after_the_lists_join_them_however_few_additions_bring_them(
    grouped: Callable[..., tuple[LanceStore, np.ndarray]],
) -> None:
    store, _ = grouped(UNLISTED=600)
    (index,) = store._table.list_indices()
    assert store._table.index_stats(index.name).num_unindexed_rows == 0


@needs_lance
def test_lists_stay_short_when_places_join_them(grouped: Callable[..., tuple[LanceStore, np.ndarray]]) -> None:
    """By what LanceDB says of a query that looks at one list: how many places it was compared with."""
    store, places = grouped(LIST_SIZE=100, PROBES=1, UNLISTED=400)
    plans = [store._search(places[i], 1).analyze_plan() for i in range(0, 2000, 100)]
    compared = [float(number) * (1000 if kilo else 1) for plan in plans for number, kilo in COMPARED.findall(plan)]
    assert 50 < sum(compared) / len(plans) < 300


@needs_lance
def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no places in it"):
        LanceStore.opened(tmp_path / "new", SIZE)
    lance(tmp_path / "db")
    with pytest.raises(DataError, match="places of 32 numbers, descriptors of 512 are wanted"):
        LanceStore.opened(tmp_path / "db", 512)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"loop\.store: cannot use"):
        lance(tmp_path / "file")


def test_without_lancedb_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(ConfigError, match=r"pip install 'letvins_ros\[store\]'"):
        closer(LoopConfig(store=str(tmp_path)))


WRITER = """
import sys
from pathlib import Path
import numpy as np
from letvins_ros.loop.lance_store import LanceStore
folder, size = Path(sys.argv[1]), int(sys.argv[2])
store = LanceStore.created(folder, np.zeros(0, np.int64), np.zeros((0, size), np.float32))
i = 0
while True:
    store.add(np.array([i]), np.eye(size, dtype=np.float32)[[i % size]])
    print(i, flush=True)
    i += 1
"""


@needs_lance
@pytest.mark.parametrize("seed", range(3))
def test_what_a_killed_writer_had_added_is_there_and_no_half_of_another(tmp_path: Path, root: Path, seed: int) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "db"), str(SIZE)]
    writer = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert some(writer.stdout).readline() == "0\n"
    time.sleep(np.random.default_rng(seed).uniform(0, 0.5))
    writer.kill()
    told = [0, *map(int, some(writer.stdout).read().split())]
    writer.wait()
    store = LanceStore.opened(tmp_path / "db", SIZE)
    assert len(store) in (len(told), len(told) + 1)  # the last one may have been added, but not told
    store.add(np.array([10_000]), np.full((1, SIZE), 1.0))
    numbers, _ = store.query(np.ones(SIZE, np.float32), 10_000)
    assert sorted(numbers) == [*range(len(store) - 1), 10_000]


MAPPER = """
import sys
from pathlib import Path
from test.loop.test_place_store import closer_of, lap, save
it = closer_of(sys.argv[1])
lap(it, 0, 1)
save(it, Path(sys.argv[2]))
print("saved", flush=True)
lap(it, 1, 1.2)
sys.stdin.readline()
lap(it, 1.2, 2)
print("done", flush=True)
"""


def closer_of(store: str, mode: str = "map", places: PlaceMap | None = None) -> LoopCloser:
    return closer(LoopConfig(mode=mode, store=store), places)


def lap(it: LoopCloser, first: float, last: float) -> list[Answer]:
    """Walk from one lap to another; the answers."""
    return follow(it, walk(RING, distances(first * LAP, last * LAP)))


def save(it: LoopCloser, path: Path) -> None:
    save_map(path, it.optimised_map(), INFO)


@needs_lance
def test_one_process_maps_while_another_localises_in_the_same_store(tmp_path: Path, root: Path) -> None:
    db, file = str(tmp_path / "db"), tmp_path / "ring.map"
    command = [sys.executable, "-c", MAPPER, db, str(file)]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as mapper:
        assert some(mapper.stdout).readline() == "saved\n"
        it = closer_of(db, "localise", load_map(file, INFO)[0])
        some(mapper.stdin).write("go on\n")
        some(mapper.stdin).flush()
        answers = lap(it, 0.3, 0.9)  # while the other one maps
        assert some(mapper.stdout).readline() == "done\n"
    assert answers[-1].T_map_odom is not None
    assert sum(answer.T_map_odom is not None for answer in answers) > len(answers) / 2
    assert all(answer.node is None for answer in answers)
