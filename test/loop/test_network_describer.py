# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.config import Config, LoopConfig, TrackerConfig
from letvins_ros.errors import LetvinsError, Rejected
from letvins_ros.geometry import exp_so3, transform
from letvins_ros.inference import Runtime, opening
from letvins_ros.inference.keypoints import choose
from letvins_ros.inference.places import described, network_name, turned
from letvins_ros.loop.closer import LoopCloser
from letvins_ros.loop.describers import NetworkDescriber, decided, describer_name, open_describer
from letvins_ros.loop.features import Describer
from letvins_ros.loop.map_file import MapInfo, save_map
from letvins_ros.loop.motion import exp
from letvins_ros.loop.orb import OrbDescriber
from letvins_ros.loop.place_map import PlaceMap
from letvins_ros.loop.worker import LoopWorker
from letvins_ros.matching import descriptor_distances
from letvins_ros.types import PlaceDescription

from ..stand_in_runtime import StandInRuntime
from .test_loop_features import keyframe, picture
from .walk import CAMERA

KP2DTINY = LoopConfig(describer="kp2dtiny")


def column_runtime(images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Keypoints at every eighth pixel, the better the farther right; a descriptor tells its column of the map."""
    (image,) = images
    height, width = image.shape[0] // 8, image.shape[1] // 8
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = np.mgrid[: 2 * height, : 2 * width][1] / (2 * width)
    maps = {
        "score": x / width,
        "coord": np.stack([8 * x, 8 * y]),
        "descriptor": np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32) * 7,
        "place": np.array([0.6, 0.8], np.float32),
    }
    return [maps]


@pytest.fixture(scope="module")
def columns() -> NetworkDescriber:
    return NetworkDescriber(50, None, lambda: StandInRuntime(column_runtime))


@pytest.fixture(scope="module")
def shipped() -> Describer:
    pytest.importorskip("torch")
    return open_describer(KP2DTINY, CAMERA, True)


def test_landmarks_come_first_and_the_best_keypoints_after_them(columns: NetworkDescriber) -> None:
    uv = np.array([[100.5, 100.0], [700.0, 200.0]], np.float32)
    features = columns.describe(np.zeros((480, 752), np.uint8), keyframe(uv))
    assert len(features) == 50 and features.ids.tolist() == [0, 1] + [-1] * 48
    np.testing.assert_array_equal(features.uv[:2], uv)
    assert np.isfinite(features.points_body[:2]).all() and np.isnan(features.points_body[2:]).all()
    assert (features.uv[2:, 0] >= 736).all()  # the last two columns have the best 120


def test_no_keypoint_lies_at_a_landmark(columns: NetworkDescriber) -> None:
    taken = np.stack(np.meshgrid([736, 744], np.arange(0, 480, 8)), axis=-1).reshape(-1, 2)[:40].astype(np.float32)
    features = columns.describe(np.zeros((480, 752), np.uint8), keyframe(taken))
    apart = np.linalg.norm(features.uv[40:, None] - taken[None], axis=2)
    assert len(features) == 50 and apart.min() > 8


def test_descriptors_are_read_at_their_pixels_with_unit_length(columns: NetworkDescriber) -> None:
    uv = np.array([[0.0, 50.0], [751.0, 300.0]], np.float32)
    features = columns.describe(np.zeros((480, 752), np.uint8), keyframe(uv))
    last = 187 / 188  # the angle of the last column, at the last pixel
    assert features.descriptors.dtype == np.float16
    np.testing.assert_allclose(features.descriptors[:2], [[1, 0], [np.cos(last), np.sin(last)]], atol=2e-3)
    np.testing.assert_array_equal(features.place, np.array([0.6, 0.8], np.float32))


def test_images_of_any_size_are_described(columns: NetworkDescriber) -> None:
    features = columns.describe(np.zeros((475, 747), np.uint8), keyframe())
    assert len(features) == 50 and (features.uv <= [746, 474]).all()


def test_the_shipped_network_knows_places_in_other_light(shipped: Describer) -> None:
    uv = np.array([[x, y] for x in (150, 300, 450, 600) for y in (120, 240, 360)], np.float32)
    lamp = np.linspace(1.0, 0.4, 752)
    before = [shipped.describe(picture(seed), keyframe(uv)) for seed in (1, 2, 3)]
    after = [shipped.describe(np.rint(picture(seed) * lamp).astype(np.uint8), keyframe(uv)) for seed in (1, 2, 3)]
    places, relit = (np.stack([features.place for features in some]) for some in (before, after))
    assert places.shape == (3, shipped.place_size)
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1, atol=1e-3)
    assert (relit @ places.T).argmax(axis=1).tolist() == [0, 1, 2]
    distance = descriptor_distances(after[0].descriptors, before[0].descriptors)[:12, :12]
    assert np.mean(distance.argmin(axis=1) == np.arange(12)) > 0.7


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_an_image_is_described_as_gravity_sets_it_upright(shipped: Describer, turns: int) -> None:
    """The camera is rolled to the left, so that what it sees turns to the right."""
    uv = np.array([[x, y] for x in (150, 300, 450, 600) for y in (120, 240, 360)], np.float32)
    R_body_cam, roll = CAMERA.T_body_cam[:3, :3], turns * np.pi / 2
    T_odom_body = transform(R_body_cam @ exp_so3(np.array([0, 0, -roll])) @ R_body_cam.T, np.zeros(3))
    rolled, moved = np.rot90(picture(3), -turns), turned(uv, (480, 752), -turns)
    np.testing.assert_allclose(turned(moved, (rolled.shape[0], rolled.shape[1]), turns), uv)
    before, after = (shipped.describe(picture(3), keyframe(p)) for p in (uv, uv + 1))
    found = shipped.describe(rolled, keyframe(moved.astype(np.float32), T_odom_body))
    lying = shipped.describe(rolled, keyframe(moved.astype(np.float32)))
    assert found.place @ before.place > 0.999 > lying.place @ before.place
    alike = [np.sum(x.descriptors[:12] * before.descriptors[:12].astype(float), axis=1).min() for x in (found, after)]
    assert alike[0] > max(0.998, alike[1])
    assert (found.uv < rolled.shape[::-1]).all() and len(found) == 300


def described_by_columns(name: str, uv: np.ndarray) -> PlaceDescription:
    (maps,) = column_runtime([np.zeros((480, 752), np.uint8)])
    own, _ = choose(maps, (480, 752), 200)
    return replace(described(maps, (480, 752), uv, own, 50), describer=name)


UV = np.array([[100.5, 100.0], [700.0, 200.0]], np.float32)
ALONG = [replace(keyframe(UV, exp(np.r_[0, 0, 0, i, 0, 0])), index=i, stamp_ns=i) for i in range(3)]  # 1 m apart


@pytest.mark.parametrize("other", ["", "kp2dtiny-00000000"])
def test_a_keyframe_that_the_tracker_described_needs_neither_network_nor_image(other: str) -> None:
    """The network is opened for the first one that it did not, or by other weights."""
    opened = []

    def open_network() -> Runtime:
        opened.append(StandInRuntime(column_runtime))
        return opened[-1]

    describer = NetworkDescriber(50, None, open_network)
    closer = LoopCloser(KP2DTINY, CAMERA, True, PlaceMap(2), describer)
    given = replace(ALONG[0], description=described_by_columns(describer.name, UV))
    assert closer.add(given, None).node == 0
    assert not opened
    for one in ALONG[1:]:
        described_otherwise = replace(one, description=described_by_columns(other, UV) if other else None)
        assert closer.add(described_otherwise, np.zeros((480, 752), np.uint8)).node == one.index
        assert len(opened) == 1
    by_tracker, by_network = (closer.places.features(node) for node in (0, 1))
    for field in ("uv", "descriptors", "points_body", "ids", "place"):
        np.testing.assert_array_equal(getattr(by_tracker, field), getattr(by_network, field))
        assert getattr(by_tracker, field).dtype == getattr(by_network, field).dtype


def test_a_keyframe_without_image_or_description_goes_into_the_odometry_chain_alone() -> None:
    closer = LoopCloser(LoopConfig(), CAMERA, True)
    by_network = replace(ALONG[1], description=described_by_columns(network_name(), UV))
    answers = [closer.add(ALONG[0], picture(0)), closer.add(by_network, None), closer.add(ALONG[2], picture(1))]
    assert [answer.node for answer in answers] == [0, None, 1]
    assert answers[1].closure == Rejected("no image")
    assert closer.snapshot().T_map_body[1, 0, 3] == pytest.approx(2.0)


KIND = {"orb": OrbDescriber.name, "kp2dtiny": network_name()}


@pytest.mark.parametrize(
    ("tracker", "describer", "loaded", "expected"),
    [
        (TrackerConfig(), "auto", "", "orb"),
        (TrackerConfig(method="superpoint"), "auto", "", "orb"),
        (TrackerConfig(method="kp2dtiny"), "auto", "", "kp2dtiny"),
        (TrackerConfig(method="kp2dtiny", weights="own.safetensors"), "auto", "", "orb"),
        (TrackerConfig(method="kp2dtiny"), "orb", "", "orb"),
        (TrackerConfig(), "kp2dtiny", "", "kp2dtiny"),
        (TrackerConfig(), "auto", "kp2dtiny", "kp2dtiny"),
        (TrackerConfig(method="kp2dtiny"), "auto", "orb", "orb"),
        (TrackerConfig(method="kp2dtiny"), "kp2dtiny", "orb", "kp2dtiny"),  # which is then refused
    ],
)
def test_auto_is_what_the_loaded_map_has_else_what_the_tracker_runs(
    tracker: TrackerConfig, describer: str, loaded: str, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "some.map"
    if loaded:
        save_map(file, PlaceMap(2), MapInfo.of(CAMERA, True, describer=KIND[loaded]))
    config = Config(tracker=tracker, loop=LoopConfig(describer=describer, load_map=str(file) if loaded else ""))
    assert decided(config) == replace(config, loop=replace(config.loop, describer=expected))
    assert describer_name(decided(config).loop) == KIND[expected]


@pytest.mark.parametrize(
    ("tracker", "describer", "expected"),
    [
        (TrackerConfig(method="kp2dtiny"), "auto", 200),
        (TrackerConfig(method="kp2dtiny"), "kp2dtiny", 200),
        (TrackerConfig(method="kp2dtiny"), "orb", 0),
        (TrackerConfig(method="kp2dtiny", weights="own.safetensors"), "kp2dtiny", 0),
        (TrackerConfig(method="superpoint"), "kp2dtiny", 0),
        (TrackerConfig(), "auto", 0),
    ],
)
def test_the_tracker_describes_what_its_network_can_and_the_loop_closer_wants(
    tracker: TrackerConfig, describer: str, expected: int
) -> None:
    assert Config(tracker=tracker, loop=LoopConfig(describer=describer, max_features=200)).described == expected


def test_each_describer_names_its_maps() -> None:
    assert describer_name(LoopConfig()) == OrbDescriber.name
    assert describer_name(KP2DTINY).startswith("kp2dtiny-")


def test_the_name_changes_with_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = describer_name(KP2DTINY)
    (tmp_path / "other").write_bytes(b"other weights")
    monkeypatch.setattr("letvins_ros.inference.places.default_weights", lambda network: tmp_path / "other")
    assert describer_name(KP2DTINY) != before


def test_without_torch_the_network_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    with pytest.raises(LetvinsError, match=r"running kp2dtiny needs torch$"):
        open_describer(KP2DTINY, CAMERA, True)


def test_a_network_that_cannot_run_stops_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not only the end, when all keyframes have been waited for."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")  # of the worker's process
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LetvinsError, match="running kp2dtiny needs torch"):
        LoopWorker(KP2DTINY, CAMERA, MapInfo.of(CAMERA, True))


def test_recognising_by_orb_loads_no_network() -> None:
    code = """
import sys
from letvins_ros.config import LoopConfig
from letvins_ros.loop.closer import LoopCloser
from letvins_ros.simulation.rigs import EUROC_RIG
LoopCloser(LoopConfig(), EUROC_RIG.cameras[0], True)
print([name for name in ("torch", "openvino") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout == "[]\n"
