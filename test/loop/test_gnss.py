# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letvins_ros.config import Config, LoopConfig
from letvins_ros.errors import ConfigError
from letvins_ros.geodesy import east_north_up
from letvins_ros.geometry import apply, transform, yaw_rotation
from letvins_ros.loop.closer import LoopCloser
from letvins_ros.loop.features import KeyframeFeatures
from letvins_ros.loop.map_file import MapInfo, load_map, save_map
from letvins_ros.loop.place_map import PlaceMap
from letvins_ros.types import GnssFixes, Keyframe

from ..geodetic import DATUM, geodetic
from .walk import BLANK, CAMERA, SECOND, Ring, walk

ANTENNA = np.array([-0.3, 0.1, 1.2])
CONFIG = LoopConfig(gnss=True, gnss_datum="47.3769 8.5417 408", gnss_antenna="-0.3 0.1 1.2")
T_ENU_WORLD = transform(yaw_rotation(1.1), np.array([40.0, -25.0, 3.0]))
STREET = Ring(200.0)  # 1257 m long: of a kilometre nothing is seen twice
METRES = np.arange(0, 1000.0)  # a keyframe a second
NOISE = 1.5


def fixes_along(noise: float, seed: int = 5, metres: np.ndarray = METRES) -> GnssFixes:
    """A fix a second, not at the keyframes' times."""
    at = metres[:-1] + 0.37
    p = apply(T_ENU_WORLD @ STREET.poses(at), ANTENNA[None])[:, 0]
    p += np.random.default_rng(seed).normal(0, noise, p.shape)
    stamps = ((at - metres[0]) * SECOND).astype(np.int64)
    return GnssFixes(stamps, geodetic(p), np.full(p.shape, noise))


class Blind:
    """Describes nothing, so that only GNSS corrects the map."""

    name = "blind"
    place_size = 8

    def describe(self, image: np.ndarray, keyframe: Keyframe) -> KeyframeFeatures:
        none = np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8), np.zeros((0, 3), np.float32)
        return KeyframeFeatures(*none, np.zeros(0, np.int64), np.ones(8, np.float32) / np.sqrt(8))


INFO = replace(MapInfo.of(CAMERA, True), describer=Blind.name)


def closer(config: LoopConfig = CONFIG, places: PlaceMap | None = None) -> LoopCloser:
    return LoopCloser(config, CAMERA, True, places, Blind())


def drive(it: LoopCloser, keyframes: Sequence[Keyframe], fixes: GnssFixes, late_s: float = 0.0) -> np.ndarray:
    """Positions (N, 3) in the map as known when each keyframe came, NaN before there is one."""
    at, last_ns = np.full((len(keyframes), 3), np.nan), -1
    for i, keyframe in enumerate(keyframes):
        until_ns = keyframe.stamp_ns - round(late_s * SECOND)
        it.add_fixes(fixes.between(last_ns, until_ns))
        last_ns = until_ns
        T_map_odom = it.add(keyframe, BLANK).T_map_odom
        if T_map_odom is not None:
            at[i] = (T_map_odom @ keyframe.T_odom_body)[:3, 3]
    return at


def way(metres: np.ndarray, seed: int = 0) -> list[Keyframe]:
    return list(walk(STREET, metres, seed=seed, visible=1))


def truth(metres: np.ndarray) -> np.ndarray:
    return (T_ENU_WORLD @ STREET.poses(metres))[:, :3, 3]


def errors(p: np.ndarray, metres: np.ndarray) -> np.ndarray:
    return np.linalg.norm(p - truth(metres), axis=1)


def map_errors(it: LoopCloser, metres: np.ndarray) -> np.ndarray:
    """Of all keyframes of the map, solved."""
    it.optimised_map()
    return errors(it.snapshot().T_map_body[:, :3, 3], metres[it.snapshot().stamps_ns // SECOND])


SHORT = METRES[:150]


@pytest.mark.parametrize("seed", range(2))
def test_the_map_of_a_kilometre_stays_within_a_metre_while_odometry_drifts(seed: int) -> None:
    keyframes, it = way(METRES, seed), closer()
    live = errors(drive(it, keyframes, fixes_along(NOISE, seed)), METRES)
    odometry = errors(np.stack([(T_ENU_WORLD @ keyframe.T_odom_body)[:3, 3] for keyframe in keyframes]), METRES)
    assert odometry.max() > 4
    assert map_errors(it, METRES).max() < 1.0
    assert np.quantile(live[50:], 0.95) < 1.0 and np.sqrt((live[50:] ** 2).mean()) < 0.5  # as known at the time


def test_nothing_is_corrected_before_the_heading_is_known() -> None:
    it, few = closer(), METRES[:10]
    keyframes = way(few)
    at = drive(it, keyframes, fixes_along(NOISE, metres=few))
    np.testing.assert_array_equal(at, [keyframe.T_odom_body[:3, 3] for keyframe in keyframes])
    assert it.places.graph.datum is None


def test_one_fix_in_twenty_far_off_does_not_bend_the_map() -> None:
    it, fixes = closer(), fixes_along(0.5, metres=SHORT)
    wrong = np.arange(7, len(fixes), 20)
    fixes.geodetic[wrong] += np.array([4e-4, -3e-4, 60.0])  # some 70 m
    drive(it, way(SHORT), fixes)
    assert map_errors(it, SHORT).max() < 1.0


def test_fixes_that_come_late_count_for_their_time() -> None:
    it = closer()
    drive(it, way(SHORT), fixes_along(0.05, metres=SHORT), late_s=3.0)
    assert map_errors(it, SHORT)[:-5].max() < 0.15


def test_after_a_hundred_metres_without_fixes_the_map_is_right_again() -> None:
    metres = METRES[:300]
    it, fixes = closer(), fixes_along(0.1, metres=metres)
    live = drive(it, way(metres), GnssFixes(*(np.delete(a, slice(80, 180), 0) for a in vars(fixes).values())))
    assert errors(live, metres)[-80:].max() < 0.5


def test_without_a_datum_the_first_fix_is_the_origin() -> None:
    it, fixes = closer(replace(CONFIG, gnss_datum="")), fixes_along(0.05, metres=SHORT)
    at = drive(it, way(SHORT), fixes)
    np.testing.assert_array_equal(it.places.graph.datum, fixes.geodetic[0])
    expected = truth(SHORT) - east_north_up(fixes.geodetic[0], DATUM)
    assert np.linalg.norm(at - expected, axis=1)[-50:].max() < 0.3


def test_a_lever_arm_that_is_left_out_is_missing_from_the_map() -> None:
    it = closer(replace(CONFIG, gnss_antenna=""))
    drive(it, way(SHORT), fixes_along(0.05, metres=SHORT))
    assert 1.1 < map_errors(it, SHORT).mean() < 1.4  # its length is 1.24 m


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    it, file = closer(), tmp_path_factory.mktemp("map") / "street.map"
    drive(it, way(SHORT), fixes_along(0.1, metres=SHORT))
    save_map(file, it.optimised_map(), INFO)
    return file


def test_a_second_session_is_placed_in_a_saved_map_by_fixes_alone(saved: Path) -> None:
    metres = METRES[60:120]
    it = closer(places=load_map(saved, INFO)[0])
    at = drive(it, way(metres, seed=9), fixes_along(0.1, metres=metres))
    assert np.isnan(at[0]).all()
    assert errors(at, metres)[-20:].max() < 0.5


def test_a_map_saved_and_loaded_again_has_the_same_fixes(saved: Path, tmp_path: Path) -> None:
    save_map(tmp_path / "again", *load_map(saved))
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()
    graph = load_map(saved)[0].graph
    np.testing.assert_array_equal(graph.datum, DATUM)
    before = graph.poses()
    graph.solve()
    np.testing.assert_allclose(graph.poses(), before, atol=0.02)


def test_more_fixes_than_the_solver_takes_are_joined_and_still_hold_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letvins_ros.loop.graph.MAX_FIXES", 20)
    it = closer()
    drive(it, way(SHORT), fixes_along(0.3, metres=SHORT))
    assert len(it.places.graph.state()["fix_node"]) == 20
    assert map_errors(it, SHORT).max() < 0.5


def test_localising_leaves_the_map_alone(saved: Path) -> None:
    it = closer(replace(CONFIG, mode="localise"), load_map(saved, INFO)[0])
    before = it.snapshot().T_map_body
    drive(it, way(SHORT, seed=3), fixes_along(0.1, metres=SHORT))
    np.testing.assert_array_equal(it.snapshot().T_map_body, before)


def test_another_datum_than_the_maps_is_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"loop.gnss_datum is 47 8 400, the loaded map has 47.3769 8.5417 408.0"):
        closer(replace(CONFIG, gnss_datum="47 8 400"), load_map(saved, INFO)[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gnss_datum": "47 8"}, "loop.gnss_datum: '47 8' is not three numbers: latitude, longitude and height"),
        ({"gnss_datum": "97 8 0"}, "loop.gnss_datum: no place on earth: 97 8 0"),
        ({"gnss_antenna": "0 0 nan"}, "loop.gnss_antenna: '0 0 nan' is not three numbers: x y z"),
    ],
)
def test_a_datum_or_an_antenna_that_is_none_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoopConfig(**wrong)


def test_without_an_imu_there_is_no_gnss() -> None:
    with pytest.raises(ConfigError, match=r"loop\.gnss needs the vertical"):
        Config(mode="stereo", loop=CONFIG)
