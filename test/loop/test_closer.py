# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.config import LoopConfig
from letvins_ros.errors import ConfigError, DataError, Rejected
from letvins_ros.geometry import exp_so3, inverse, transform
from letvins_ros.loop.closer import Answer, LoopCloser
from letvins_ros.loop.export import export
from letvins_ros.loop.graph import PoseGraph
from letvins_ros.loop.map_file import load_map, save_map
from letvins_ros.loop.merge import merge
from letvins_ros.types import Keyframe, LoopClosure

from ..some import some
from .walk import BLANK, CAMERA, INFO, LAP, RING, SECOND, Ring, closer, distances, follow, walk

Laps = tuple[LoopCloser, list[Keyframe], list[Answer]]


def closures(answers: Sequence[Answer]) -> list[LoopClosure]:
    return [answer.closure for answer in answers if isinstance(answer.closure, LoopClosure)]


def reasons(answers: Sequence[Answer]) -> list[str]:
    return [answer.closure.reason for answer in answers if isinstance(answer.closure, Rejected)]


def errors(it: LoopCloser, T_world: np.ndarray, T_map_body: np.ndarray) -> np.ndarray:
    return np.linalg.norm(T_map_body[:, :3, 3] - T_world[:, :3, 3], axis=1)


@pytest.fixture(scope="module")
def two_laps() -> Laps:
    it, keyframes = closer(), list(walk(RING, distances(0, 2 * LAP)))
    answers = follow(it, keyframes)
    it.optimised_map()
    return it, keyframes, answers


@pytest.fixture(scope="module")
def saved(two_laps: Laps, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("map") / "ring.map"
    save_map(path, two_laps[0].places, INFO)
    return path


def test_the_second_lap_corrects_the_map(two_laps: Laps) -> None:
    it, keyframes, answers = two_laps
    T_world = RING.poses(distances(0, 2 * LAP))
    odometry = errors(it, T_world, np.stack([keyframe.T_odom_body for keyframe in keyframes]))
    rows = it.snapshot().stamps_ns // SECOND
    mapped = errors(it, T_world[rows], it.snapshot().T_map_body)
    assert len(closures(answers)) > 10
    assert np.sqrt((mapped**2).mean()) < np.sqrt((odometry**2).mean()) / 3


def test_every_loop_in_use_is_true(two_laps: Laps) -> None:
    snapshot, T_world = two_laps[0].snapshot(), RING.poses(distances(0, 2 * LAP))
    a, b = (snapshot.stamps_ns[snapshot.loops[:, i]] // SECOND for i in range(2))
    for closure in closures(two_laps[2]):
        true = inverse(T_world[closure.stamp_a_ns // SECOND]) @ T_world[closure.stamp_ns // SECOND]
        assert np.linalg.norm((inverse(true) @ closure.T_a_b)[:3, 3]) < 0.5
    assert np.linalg.norm(T_world[a, :3, 3] - T_world[b, :3, 3], axis=1).max() < 6


def test_the_correction_takes_odometry_onto_the_map(two_laps: Laps) -> None:
    _, keyframes, answers = two_laps
    now = some(answers[-1].T_map_odom) @ keyframes[-1].T_odom_body
    assert np.linalg.norm((now - RING.poses(distances(0, 2 * LAP))[-1])[:3, 3]) < 0.15


def test_the_correction_is_yaw_and_position_where_gravity_is_known(two_laps: Laps) -> None:
    np.testing.assert_allclose(some(two_laps[2][-1].T_map_odom)[2, :3], [0, 0, 1], atol=1e-6)


def test_no_loop_is_closed_and_nothing_changed_where_nothing_is_seen_twice() -> None:
    answers = follow(closer(LoopConfig(exclude_recent_s=30)), walk(RING, distances(0, 0.7 * LAP)))
    assert not closures(answers)
    np.testing.assert_array_equal(answers[-1].T_map_odom, np.eye(4))


def test_a_loop_that_knows_no_more_than_odometry_changes_nothing() -> None:
    answers = follow(closer(LoopConfig(odometry_scale=1)), walk(RING, distances(0, 1.6 * LAP), drift=0.1))
    assert "odometry knows this better" in reasons(answers)
    assert not closures(answers)
    np.testing.assert_array_equal(answers[-1].T_map_odom, np.eye(4))


def test_every_rejection_says_why(two_laps: Laps) -> None:
    assert reasons(two_laps[2]) and all(reasons(two_laps[2]))


def test_an_answer_names_the_node_that_the_keyframe_has_become(two_laps: Laps) -> None:
    it, keyframes, answers = two_laps
    both = zip(answers, keyframes, strict=True)
    nodes = {answer.node: keyframe for answer, keyframe in both if answer.node is not None}
    assert sorted(nodes) == list(range(len(it.places)))
    assert all(it.places.nodes[node].stamp_ns == keyframe.stamp_ns for node, keyframe in nodes.items())
    assert all(answer.closure.b == answer.node for answer in answers if isinstance(answer.closure, LoopClosure))


def test_standing_still_adds_nothing(two_laps: Laps) -> None:
    it = closer()
    follow(it, walk(RING, np.full(50, 3.0), drift=0.01))
    assert len(it.places) == 1


def test_further_laps_add_no_places() -> None:
    it, sizes = closer(), []
    keyframes = walk(Ring(4.0), np.arange(0, 16 * 2 * np.pi * 4, 0.55))
    for i, keyframe in enumerate(keyframes):
        it.add(keyframe, BLANK)
        if i % 46 == 45:
            sizes.append((len(it.places.own), len(it.places)))
    features, nodes = zip(*sizes, strict=True)
    assert features[-1] == features[2]
    assert nodes[-1] == nodes[-2] <= 2 * nodes[0]  # each place is tied once


def test_loops_that_the_solver_cannot_use_cost_no_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PoseGraph, "is_settled", False)
    monkeypatch.setattr(PoseGraph, "solve", lambda self: Rejected("the solver failed"))
    it, ring = closer(), Ring(4.0)
    answers = follow(it, walk(ring, np.arange(0, 2 * 2 * np.pi * ring.radius, 0.55)))
    assert "the solver failed" in reasons(answers) and not closures(answers)
    assert not it.places.graph.loops
    assert it.places.findable() == list(range(len(it.places)))


def test_the_same_keyframes_give_the_same_map(two_laps: Laps) -> None:
    again = closer()
    follow(again, two_laps[1])
    again.optimised_map()
    np.testing.assert_array_equal(again.snapshot().T_map_body, two_laps[0].snapshot().T_map_body)


def test_a_saved_map_comes_back(two_laps: Laps, saved: Path) -> None:
    places, info = load_map(saved, INFO)
    np.testing.assert_allclose(places.T_map_body(), two_laps[0].places.T_map_body(), atol=1e-12)
    assert places.findable() == two_laps[0].places.findable() and info == INFO
    for node in places.findable():
        for name in ("uv", "descriptors", "points_body", "place"):
            np.testing.assert_array_equal(
                getattr(places.features(node), name), getattr(two_laps[0].places.features(node), name)
            )


@pytest.mark.parametrize("mode", ["map", "localise"])
def test_a_saved_map_is_found_again_within_two_seconds_and_a_decimetre(saved: Path, mode: str) -> None:
    it = closer(LoopConfig(mode=mode), load_map(saved)[0])
    before, metres = len(it.places), distances(0.3 * LAP, 0.6 * LAP)
    known = []
    for keyframe in walk(RING, metres, seed=7):
        T_map_odom = it.add(keyframe, BLANK).T_map_odom
        known.append(None if T_map_odom is None else T_map_odom @ keyframe.T_odom_body)
    first = next(i for i, T in enumerate(known) if T is not None)
    T_world = RING.poses(metres)
    # the map's own frame is the world's up to what drifted in it
    assert first <= 4
    assert max(np.linalg.norm((known[i] - T_world[i])[:3, 3]) for i in range(first, len(known))) < 0.15
    assert (len(it.places) == before) == (mode == "localise")


def test_localising_needs_a_map() -> None:
    with pytest.raises(ConfigError, match=r"set loop\.load_map"):
        closer(LoopConfig(mode="localise"))


def test_a_map_of_another_place_gives_no_fix(saved: Path) -> None:
    it = closer(places=load_map(saved)[0])
    answers = follow(it, walk(Ring(8.0, seed=1), distances(0, 0.5 * LAP)))
    assert answers[-1].T_map_odom is None
    assert not closures(answers) and all(reasons(answers))


def test_after_a_reset_the_map_pose_is_recovered() -> None:
    it, metres = closer(), distances(0, 2.2 * LAP)
    keyframes = list(walk(RING, metres))
    lost = len(metres) // 2 + 20
    T_odom_new = inverse(np.array(keyframes[lost].T_odom_body))
    for i, keyframe in enumerate(list(keyframes)):
        if i >= lost:  # odom starts anew, a metre and a turn off
            off = np.array([[0, -1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
            T = keyframes[lost - 1].T_odom_body @ off @ T_odom_new
            before = T @ keyframe.T_odom_before[: i - lost]
            keyframes[i] = replace(keyframe, T_odom_body=T @ keyframe.T_odom_body, T_odom_before=before, resets=1)
        answer = it.add(keyframes[i], BLANK)
    assert np.linalg.norm((answer.T_map_odom @ keyframes[-1].T_odom_body - RING.poses(metres)[-1])[:3, 3]) < 0.3


def test_two_maps_of_one_street_become_one(saved: Path) -> None:
    other = closer()
    follow(other, walk(RING, distances(0.5 * LAP, 1.4 * LAP), seed=9))
    places = load_map(saved)[0]
    before = len(places)
    assert merge(places, other.places, CAMERA, True) >= 2
    assert len(places) == before + len(other.places)
    T = places.T_map_body()[before:]
    truth = RING.poses(distances(0.5 * LAP, 1.4 * LAP))[[node.stamp_ns // SECOND for node in other.places.nodes]]
    assert np.linalg.norm(T[:, :3, 3] - truth[:, :3, 3], axis=1).max() < 0.3


def test_maps_without_a_common_place_are_not_joined(saved: Path) -> None:
    other = closer()
    follow(other, walk(Ring(8.0, seed=1), distances(0, 10)))
    with pytest.raises(DataError, match="no place in common"):
        merge(load_map(saved)[0], other.places, CAMERA, True)


def test_exports_hold_every_keyframe_and_landmark(two_laps: Laps) -> None:
    places = two_laps[0].places
    assert len(export(places, ".tum").splitlines()) == len(places)
    g2o = export(places, ".g2o").splitlines()
    assert sum(line.startswith("VERTEX") for line in g2o) == len(places)
    assert sum(line.startswith("EDGE") for line in g2o) == len(places) - 1 + len(two_laps[0].snapshot().loops)
    landmarks = sum(len(places.features(node)) for node in places.findable())
    assert f"element vertex {landmarks}\n" in export(places, ".ply")
    with pytest.raises(DataError, match=r"known: \.tum, \.g2o, \.ply"):
        export(places, ".obj")


CLICK_COVARIANCE = np.diag([0.25, 0.25, 0.25, 0.07, 0.07, 0.07])


@pytest.mark.parametrize("mode", ["map", "localise"])
def test_a_given_pose_is_corrected_by_places_that_are_recognised(saved: Path, mode: str) -> None:
    it, metres = closer(LoopConfig(mode=mode), load_map(saved)[0]), distances(0.3 * LAP, 0.6 * LAP)
    keyframes, T_world = list(walk(RING, metres, seed=7)), RING.poses(metres)
    it.add(keyframes[0], BLANK)
    T_click = T_world[0] @ transform(exp_so3(np.array([0.0, 0.0, 0.2])), np.array([0.5, -0.3, 0.0]))
    T_map_odom = it.place(T_click, keyframes[0].T_odom_body, CLICK_COVARIANCE)
    np.testing.assert_allclose(T_map_odom @ keyframes[0].T_odom_body, T_click, atol=1e-9)
    answers = follow(it, keyframes[1:])
    assert closures(answers)
    known = answers[-1].T_map_odom @ keyframes[-1].T_odom_body
    assert np.linalg.norm((known - T_world[-1])[:3, 3]) < 0.15


def test_a_given_pose_holds_where_nothing_is_recognised(saved: Path) -> None:
    it, keyframes = closer(places=load_map(saved)[0]), list(walk(Ring(8.0, seed=1), distances(0, 0.3 * LAP)))
    it.add(keyframes[0], BLANK)
    T_map_odom = it.place(np.eye(4), keyframes[0].T_odom_body, CLICK_COVARIANCE)
    for answer in follow(it, keyframes[1:]):
        np.testing.assert_allclose(some(answer.T_map_odom), T_map_odom, atol=1e-9)


def test_a_pose_cannot_be_given_before_the_first_keyframe(saved: Path) -> None:
    with pytest.raises(DataError, match="no keyframe yet"):
        closer(places=load_map(saved)[0]).place(np.eye(4), np.eye(4), CLICK_COVARIANCE)


def test_a_given_pose_turns_the_map_about_gravity_alone(saved: Path) -> None:
    it, keyframe = closer(places=load_map(saved)[0]), next(walk(RING, distances(0, 1)))
    tilted = replace(
        keyframe, T_odom_body=keyframe.T_odom_body @ transform(exp_so3(np.array([0.2, 0.1, 0])), np.zeros(3))
    )
    it.add(tilted, BLANK)
    T_click = transform(exp_so3(np.array([0.0, 0.0, 1.0])), np.array([3.0, 2.0, 0.0]))
    T_map_odom = it.place(T_click, tilted.T_odom_body, np.eye(6))
    np.testing.assert_allclose(T_map_odom[2, :3], [0, 0, 1], atol=1e-12)
    found = T_map_odom @ tilted.T_odom_body
    np.testing.assert_allclose(found[:3, 3], T_click[:3, 3], atol=1e-9)
    assert np.arctan2(found[1, 0], found[0, 0]) == pytest.approx(1.0, abs=0.03)


def test_the_mode_can_be_changed(saved: Path) -> None:
    it = closer(places=load_map(saved)[0])
    it.set_mode("localise")
    before = len(it.places)
    follow(it, walk(RING, distances(0.3 * LAP, 0.4 * LAP)))
    assert len(it.places) == before
    with pytest.raises(ConfigError, match="needs a map"):
        closer().set_mode("localise")
