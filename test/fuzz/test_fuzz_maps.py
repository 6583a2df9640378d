# SPDX-License-Identifier: Apache-2.0
import tempfile
from functools import cache
from pathlib import Path
from random import Random

from letvins_ros.config import LoopConfig
from letvins_ros.loop.export import FORMATS, export
from letvins_ros.loop.map_file import MapInfo, facts, load_map, save_map
from letvins_ros.loop.recognition import Recogniser

from ..loop.walk import CAMERA, Ring, closer, distances, follow, walk
from . import mutations
from .survival_check import survives


@cache
def good_map() -> bytes:
    """A ring, walked round one and a half times, so that it holds loops."""
    it = closer()
    follow(it, walk(Ring(4.0), distances(0, 38)))
    places = it.optimised_map()
    assert places.graph.loops
    with tempfile.TemporaryDirectory() as folder:
        save_map(Path(folder, "a.map"), places, MapInfo.of(CAMERA, True, "mode: stereo_imu", source="ring"))
        return Path(folder, "a.map").read_bytes()


def damage_map(folder: Path, rng: Random) -> Path:
    """The header as a text, the numbers, or the file as bytes."""
    data = good_map()
    size = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + size], data[8 + size :]
    way = rng.randrange(3)
    if way == 0:
        header = mutations.mutate(header, rng, (*mutations.TEXT, mutations.nest))
    if way == 1:
        at = rng.randrange(len(body) // 8) * 8
        body = body[:at] + rng.choice(mutations.DOUBLES) + body[at + 8 :]
    file = len(header).to_bytes(8, "little") + header + body
    (folder / "a.map").write_bytes(mutations.mutate(file, rng, mutations.BINARY) if way == 2 else file)
    return folder / "a.map"


def use_map(path: Path) -> None:
    """All that is done with a map: shown, exported, saved, solved, and places found in it."""
    places, info = load_map(path)
    facts(path, places, info)
    for suffix in FORMATS:
        export(places, suffix)
    save_map(path.with_name("b.map"), places, info)
    recogniser = Recogniser(places, info.left_camera(), LoopConfig(), info.gravity_aligned)
    for node in places.findable()[::10]:
        recogniser.recognise(places.features(node), places.nodes[node])
    places.graph.solve()


def test_a_damaged_map_is_refused_or_can_be_used(tmp_path: Path) -> None:
    counts = survives(damage_map, use_map, tmp_path)
    assert counts["read"] and counts["refused"]
