# SPDX-License-Identifier: Apache-2.0
"""The map of a running system; needs no ROS."""

from pathlib import Path

import pytest

from letvins_ros.config import Config, LoopConfig, TrackerConfig
from letvins_ros.errors import DataError
from letvins_ros.inference.places import network_name
from letvins_ros.loop.map_file import MapInfo, load_map, save_map
from letvins_ros.loop.orb import OrbDescriber
from letvins_ros.loop.place_map import PlaceMap
from letvins_ros.ros.live_map import LiveMap
from letvins_ros.simulation.rigs import EUROC_RIG

CAMERA = EUROC_RIG.cameras[0]
ORB, NETWORK = MapInfo.of(CAMERA, True), MapInfo.of(CAMERA, True, describer=network_name())


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Empty maps of both kinds."""
    names = {"orb": str(tmp_path / "orb.map"), "network": str(tmp_path / "network.map")}
    save_map(Path(names["orb"]), PlaceMap(512), ORB)
    save_map(Path(names["network"]), PlaceMap(1536), NETWORK)
    return names


def system(method: str, describer: str) -> LiveMap:
    tracker, loop = TrackerConfig(method=method), LoopConfig(describer=describer)
    return LiveMap(Config(tracker=tracker, loop=loop, rig=EUROC_RIG), "test")


@pytest.mark.parametrize("method", ["lk", "kp2dtiny"])
def test_with_auto_a_system_goes_on_in_maps_of_either_kind(method: str, files: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    live, out = system(method, "auto"), tmp_path / "out.map"
    live.save(str(out))
    assert load_map(out)[1].describer == (network_name() if method == "kp2dtiny" else OrbDescriber.name)
    for name, info in (("orb", ORB), ("network", NETWORK), ("orb", ORB)):
        live.load(files[name], "map")
        live.save(str(out))
        assert load_map(out, info)[1].describer == info.describer


def test_a_describer_that_is_named_refuses_maps_of_the_other(files: dict[str, str], tmp_path: Path) -> None:
    live, out = system("kp2dtiny", "orb"), tmp_path / "out.map"
    with pytest.raises(DataError, match=f"a map of descriptors {network_name()}, {OrbDescriber.name} is wanted"):
        live.load(files["network"], "map")
    live.save(str(out))
    assert load_map(out, ORB)  # as it was
