# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
import time
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from letvins_ros.errors import DataError
from letvins_ros.loop.map_file import MapInfo, load_map, save_map
from letvins_ros.loop.place_map import PlaceMap
from letvins_ros.writing import _remove_abandoned

from ..command import Letvins
from ..some import some
from .walk import CAMERA, RING, closer, distances, follow, walk

INFO = MapInfo.of(CAMERA, True, "mode: stereo_imu", source="ring")


def followed(metres: float) -> PlaceMap:
    it = closer()
    follow(it, walk(RING, distances(0, metres)))
    return it.places


@pytest.fixture(scope="module")
def places() -> PlaceMap:
    return followed(12)


@pytest.fixture
def file(places: PlaceMap, tmp_path: Path) -> Path:
    save_map(tmp_path / "a.map", places, INFO)
    return tmp_path / "a.map"


def test_the_file_is_a_plain_safetensors_file(file: Path, places: PlaceMap) -> None:
    arrays = load_file(file)
    np.testing.assert_array_equal(arrays["stamp_ns"], [node.stamp_ns for node in places.nodes])


def test_descriptors_stay_on_disk(file: Path) -> None:
    features = load_map(file)[0].features(0)
    assert not features.descriptors.flags.owndata and not features.descriptors.flags.writeable


def test_equal_maps_give_equal_bytes(places: PlaceMap, tmp_path: Path) -> None:
    for name in "ab":
        save_map(tmp_path / name, places, INFO)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_loaded_map_can_be_saved_again(file: Path, tmp_path: Path) -> None:
    save_map(tmp_path / "again", *load_map(file))
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (replace(INFO, describer="other"), "descriptors"),
        (replace(INFO, gravity_aligned=False), "IMU"),
        (replace(INFO, camera={**INFO.camera, "size": [640, 480]}), "another camera: size"),
    ],
)
def test_a_map_of_other_making_is_refused(file: Path, wanted: MapInfo, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load_map(file, wanted)


def test_a_map_of_another_version_is_refused(file: Path) -> None:
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["version"] = "1"
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    with pytest.raises(DataError, match="version 1, this program reads version 2"):
        load_map(file)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_torn_map_is_refused(file: Path, share: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"a\.map: "):
        load_map(file)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PK\x03\x04" * 100)
    with pytest.raises(DataError, match="not a map"):
        load_map(tmp_path / "x")
    with pytest.raises(DataError, match="cannot read"):
        load_map(tmp_path / "missing")


SAVER = """
from pathlib import Path
import sys
from letvins_ros.loop.map_file import load_map, save_map
loaded = load_map(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    save_map(Path(sys.argv[2]), *loaded)
"""


def saver(source: Path, path: Path) -> subprocess.Popen[bytes]:
    """A process that saves a map over and over."""
    child = subprocess.Popen([sys.executable, "-c", SAVER, str(source), str(path)], stdout=subprocess.PIPE)
    some(child.stdout).readline()
    return child


KILLED_AT_EVERY_LINE = """
import itertools, os, signal, sys
from pathlib import Path
from letvins_ros.loop.map_file import load_map, save_map
WRITING = ("save_map", "atomic_path", "part_folder", "sync")
old, new, target = map(Path, sys.argv[1:])
names = {old.read_bytes(): "old", new.read_bytes(): "new"}
new = load_map(new)

def killed_at(line):
    target.write_bytes(old.read_bytes())
    child = os.fork()
    if not child:
        lines = itertools.count()
        def trace(frame, event, argument):
            if event == "line" and next(lines) == line:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace if frame.f_code.co_name in WRITING else None
        sys.settrace(trace)
        save_map(target, *new)
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL

for line in itertools.count():
    killed = killed_at(line)
    print(names.get(target.read_bytes(), "torn"))
    if not killed:
        break
"""


def test_killing_a_save_loses_nothing(file: Path, places: PlaceMap, tmp_path: Path) -> None:
    """`kill -9` before each line that is executed while a map replaces another: temporary files, writes, the rename."""
    new, target = tmp_path / "new" / "b.map", tmp_path / "maps" / "a.map"
    save_map(new, places, replace(INFO, provenance={"source": "another"}))
    target.parent.mkdir()
    command = [sys.executable, "-c", KILLED_AT_EVERY_LINE, str(file), str(new), str(target)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert set(said) == {"old", "new"} and said == sorted(said, reverse=True)  # first all the old ones
    assert said.count("old") > 50 and said.count("new") > 2
    for part in target.parent.glob(".*.part"):
        os.utime(part, (0, 0))
    _remove_abandoned.cache_clear()  # as a new process
    save_map(target, *load_map(target))
    assert list(target.parent.iterdir()) == [target]


def test_processes_that_save_into_one_file_never_tear_it(file: Path, tmp_path: Path) -> None:
    """Two of them save different maps while this one loads."""
    save_map(tmp_path / "small.map", followed(2), INFO)
    both = {path: path.read_bytes() for path in (file, tmp_path / "small.map")}
    shared = tmp_path / "shared.map"
    savers = [saver(path, shared) for path in both]
    seen, until = list[int](), time.monotonic() + 1.5
    while time.monotonic() < until or len(set(seen)) < 2:
        assert time.monotonic() < until + 20
        seen.append(len(load_map(shared)[0]))
        assert shared.read_bytes() in both.values()
    for child in savers:
        child.kill()
        child.wait()
    assert set(seen) == {len(load_map(path)[0]) for path in both}
    assert shared.read_bytes() in both.values()


def test_the_command_shows_a_map(file: Path, letvins: Letvins) -> None:
    code, shown, _ = letvins("map", "info", file)
    assert not code and "ring" in shown and "752 x 480" in shown


def test_the_command_exports_a_map(file: Path, places: PlaceMap, tmp_path: Path, letvins: Letvins) -> None:
    code, _, _ = letvins("map", "export", file, tmp_path / "poses.tum")
    assert not code and len((tmp_path / "poses.tum").read_text().splitlines()) == len(places)
    code, _, told = letvins("map", "export", file, tmp_path / "x.obj")
    assert code == 1 and "known: .tum" in told


def test_the_command_refuses_what_is_no_map(tmp_path: Path, letvins: Letvins) -> None:
    (tmp_path / "x").write_text("no map")
    code, _, told = letvins("map", "info", tmp_path / "x")
    assert code == 1 and "not a map" in told and "Traceback" not in told


def test_descriptors_of_unit_vectors_come_back_as_they_were(places: PlaceMap, tmp_path: Path) -> None:
    places = copy(places)
    vectors = np.random.default_rng(0).normal(size=(500, 32)).astype(np.float16)
    places.own = {node: replace(f, descriptors=vectors[: len(f)] + node) for node, f in places.own.items()}
    save_map(tmp_path / "f.map", places, replace(INFO, describer="vectors"))
    loaded, info = load_map(tmp_path / "f.map")
    assert info.describer == "vectors" and loaded.findable() == places.findable()
    for node in places.findable():
        descriptors = loaded.features(node).descriptors
        assert descriptors.dtype == np.float16
        np.testing.assert_array_equal(descriptors, places.own[node].descriptors)
    with pytest.raises(DataError, match=f"a map of descriptors vectors, {INFO.describer} is wanted"):
        load_map(tmp_path / "f.map", INFO)


def with_value(file: Path, name: str, row: int | tuple[int, ...], value: float) -> None:
    """Write a value over a number of an array, or over all numbers of a row."""
    data = bytearray(file.read_bytes())
    size = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + size])[name]
    kind = {"F64": np.float64, "F32": np.float32, "I64": np.int64}[entry["dtype"]]
    array = np.frombuffer(data, kind, int(np.prod(entry["shape"])), 8 + size + entry["data_offsets"][0])
    array.reshape(entry["shape"])[row] = value
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "row", "value", "complaint"),
    [
        ("graph.T_odom", (3, 0, 3), np.nan, r"graph.T_odom\[3\] is not within 1e\+07 m"),
        ("graph.T_odom", (3, 0, 0), np.nan, r"graph.T_odom\[3\] is not a rigid transform"),
        ("graph.T_chain", (2, 0, 0), 1.5, r"graph.T_chain\[2\] is not a rigid transform"),
        ("graph.T_chain", (2, 3, 0), 1e-9, r"graph.T_chain\[2\] is not a rigid transform"),
        ("graph.T_map_key", (0, 1, 3), np.inf, r"graph.T_map_key\[0\] is not within"),
        (
            "graph.gathered_covariance",
            (4, 1, 1),
            np.nan,
            r"graph.gathered_covariance\[4\] is not that before and",
        ),
        ("graph.gathered_covariance", (4, 1, 1), -1.0, r"graph.gathered_covariance\[4\] is not that before and"),
        ("graph.gathered_covariance", (4, 1, 2), 1.0, r"graph.gathered_covariance\[4\] is not that before and"),
        ("graph.session", 5, -1, r"graph.session\[5\] is not at least"),
        ("graph.session", 5, 1, r"graph.session\[6\] is not at least"),
        ("graph.key", 0, 10**6, r"graph.key\[0\] is not a keyframe"),
        ("R_level_body", (1, 2), 0.0, r"R_level_body\[1\] is not a rotation"),
        ("vertical_std", 7, np.nan, r"vertical_std\[7\] is not a standard deviation"),
        ("stamp_ns", 7, -1, r"stamp_ns\[7\] is not a time"),
        ("feature.node", 1, 10**9, r"feature.node\[1\] is not a keyframe"),
        ("feature.node", 1, 0, "feature.node names a keyframe twice"),
        ("feature.start", 1, -1, "feature.start does not share out"),
        ("feature.uv", (5, 0), np.nan, r"feature.uv\[5\] is not a pixel"),
        ("feature.uv", (5, 1), 481, r"feature.uv\[5\] is not a pixel"),
        ("feature.point_body", (5, 1), np.nan, r"feature.point_body\[5\] is not a point, or unknown"),
        ("feature.point_body", (5, 1), np.inf, r"feature.point_body\[5\] is not a point, or unknown"),
        ("feature.place", (2, 3), np.nan, r"feature.place\[2\] is not finite"),
    ],
)
def test_a_map_with_an_impossible_number_is_refused_when_it_is_opened(
    file: Path, name: str, row: int | tuple[int, ...], value: float, complaint: str
) -> None:
    load_map(file)
    with_value(file, name, row, value)
    with pytest.raises(DataError, match=r"a\.map: a damaged map: " + complaint):
        load_map(file)


def test_a_point_of_unknown_depth_is_no_damage(file: Path) -> None:
    with_value(file, "feature.point_body", 5, np.nan)
    assert np.isnan(load_map(file)[0].features(0).points_body[5]).all()


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("place_size", "255", "feature.place has 256 numbers a place, place_size is 255"),
        ("place_size", "9" * 20, "place_size is 9"),
        ("upright", "3", "values of other types"),
        ("provenance", '{"source": 3}', "values of other types"),
        ("camera", json.dumps({**INFO.camera, "intrinsics": [460, 460, float("nan"), 240]}), "not finite"),
        ("camera", json.dumps({**INFO.camera, "T_body_cam": [[1, 2], [3]]}), "damaged map"),
        ("camera", "[" * 100_000, "damaged map"),
    ],
)
def test_a_map_with_an_impossible_description_is_refused(file: Path, key: str, value: str, complaint: str) -> None:
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"][key] = value
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    with pytest.raises(DataError, match=complaint):
        load_map(file)
