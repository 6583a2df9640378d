# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from letvins_ros.config import TrackerConfig
from letvins_ros.inference import BackendError, open_runtime
from letvins_ros.inference.keypoints import Keypoints, choose, extract, sample
from letvins_ros.inference.measures import share_matched
from letvins_ros.inference.openvino_runtime import OpenVinoRuntime, convert
from letvins_ros.inference.places import described, turned
from letvins_ros.networks import build, load
from letvins_ros.networks.cells import describe
from letvins_ros.networks.deploy import deploy
from letvins_ros.simulation.sequence import Simulation
from letvins_ros.tracking import FeatureTracker
from letvins_ros.tracking.follower import make_follower, open_follower
from letvins_ros.tracking.keypoints import KeypointFollower, mutual_nearest
from letvins_ros.types import ImageFrame
from letvins_ros.weights import WeightsError, default_weights

from ..networks.layouts import saved
from ..some import some
from ..vectors import unit

NETWORKS = {"kp2dtiny": {"config": "N"}, "kp2d": {}, "superpoint": {}}


def seeded(name: str, **options: Any) -> nn.Module:
    """An untrained network whose features do not fade: random, but told apart."""
    torch.manual_seed(0)
    network = build(name, **options)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with weights of seeded networks, by name."""
    folder = tmp_path_factory.mktemp("weights")
    for name, options in NETWORKS.items():
        told = {"version": "V4"} if name == "kp2d" else None
        saved(seeded(name, **options), folder / f"{name}.safetensors", told)
    saved(build("lightglue", size=32, layers=2), folder / "lightglue.safetensors")
    return folder


def noise(height: int = 160, width: int = 224) -> np.ndarray:
    """Blobs of 8 px and finer grain."""
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 160, (height // 8, width // 8)), np.ones((8, 8)))
    return (coarse + rng.integers(0, 96, (height, width))).astype(np.uint8)


def config(name: str, weights: Path, **options: Any) -> TrackerConfig:
    options = {"backend": "torch", "min_distance_px": 8, **options}  # OpenVINO takes seconds to open a network
    return TrackerConfig(method=name, weights=str(weights / f"{name}.safetensors"), **options)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shift", [(0, 0), (16, 8)])  # whole cells, so that the network sees the same
def test_features_are_found_where_the_image_has_moved(name: str, shift: tuple[int, int], weights: Path) -> None:
    follower = make_follower(config(name, weights, refine=False))
    image = noise()
    a, b = follower.prepare([image, np.roll(image, shift[::-1], axis=(0, 1))])
    uv = follower.detect(a, np.zeros((0, 2), np.float32), None, 150)
    assert len(uv) > 40
    moved, found = follower.follow(a, b, uv, uv)
    inside = ((uv > 48) & (uv < np.array([224, 160]) - 64)).all(1)  # what the network sees has no edge in it
    assert found[inside].mean() > 0.9
    error = np.linalg.norm(moved - uv - shift, axis=1)[found & inside]
    assert np.mean(error < 0.1) > 0.95


def test_refined_features_lie_within_a_tenth_of_a_pixel(weights: Path, pattern: Callable[..., np.ndarray]) -> None:
    options = {"equalise": "none", "search_px": 30.0}
    rough, fine = (make_follower(config("kp2dtiny", weights, refine=refine, **options)) for refine in (False, True))
    images = [pattern(), pattern(lambda uv: uv - [16.4, 8.3])]
    errors = {}
    for name, follower in (("rough", rough), ("fine", fine)):
        a, b = follower.prepare(images)
        uv = follower.detect(a, np.zeros((0, 2), np.float32), None, 150)
        moved, found = follower.follow(a, b, uv, uv)
        errors[name] = np.linalg.norm(moved - uv - [16.4, 8.3], axis=1)[found]
    assert len(errors["fine"]) > 10
    assert np.median(errors["fine"]) < 0.1
    assert np.median(errors["fine"]) < np.median(errors["rough"]) / 3


@pytest.mark.parametrize("name", NETWORKS)
def test_new_features_keep_their_distance_and_the_mask(name: str, weights: Path) -> None:
    follower = make_follower(config(name, weights, max_features=60))
    view = follower.prepare([noise()])[0]
    mask = np.full((160, 224), 255, np.uint8)
    mask[:, :80] = 0
    present = np.array([[150.0, 80.0]], np.float32)
    uv = follower.detect(view, present, mask, 150)
    assert len(uv) > 10
    together = np.concatenate([present, uv])
    distance = np.linalg.norm(together[:, None] - together, axis=2) + 1e3 * np.eye(len(together))
    assert distance.min() > 6  # on the half-size image that the detector marks
    assert uv[:, 0].min() > 78
    assert not len(follower.detect(view, np.repeat(present, 60, 0), mask, 60))  # enough


@pytest.mark.parametrize("name", ["kp2dtiny", "superpoint"])
def test_openvino_and_torch_find_the_same_keypoints(name: str, weights: Path) -> None:
    path = weights / f"{name}.safetensors"
    deployed = deploy(load(name, path))
    exact = OpenVinoRuntime(deployed.outputs, deployed.channels, lambda size: convert(deployed, size))
    a, b = (extract(runtime, noise(), 200) for runtime in (exact, open_runtime(name, path, "torch")))
    distance = np.linalg.norm(a.uv[:, None] - b.uv, axis=2)
    assert (distance.min(axis=1) < 0.01).mean() > 0.97
    near = distance.argmin(axis=1)[distance.min(axis=1) < 0.01]
    likeness = (a.descriptors[distance.min(axis=1) < 0.01] * b.descriptors[near]).sum(1)
    assert likeness.min() > 0.999


def test_sixteen_bits_find_as_many_matches() -> None:
    images = [cv2.GaussianBlur(noise(240, 320), (0, 0), sigma) for sigma in (1, 2, 3)]
    deployed = deploy(load("kp2dtiny", default_weights("kp2dtiny")))
    exact = OpenVinoRuntime(deployed.outputs, deployed.channels, lambda size: convert(deployed, size))
    share = share_matched(open_runtime("kp2dtiny", backend="openvino"), images)
    assert share == pytest.approx(share_matched(exact, images), abs=0.02)
    assert share > 0.2


def test_gray_and_colour_images_serve_every_network(weights: Path) -> None:
    gray = noise(64, 96)
    for name in ("kp2dtiny", "superpoint"):
        runtime = open_runtime(name, weights / f"{name}.safetensors", "torch")
        from_gray, from_colour = (extract(runtime, image, 50) for image in (gray, np.dstack([gray] * 3)))
        assert np.allclose(from_gray.uv, from_colour.uv, atol=1e-3)


@pytest.mark.parametrize("name", ["kp2dtiny", "superpoint"])
def test_images_of_any_size_are_taken(name: str, weights: Path) -> None:
    runtime = open_runtime(name, weights / f"{name}.safetensors", "torch")
    image = noise(96, 128)[:75, :101]
    keypoints = extract(runtime, image, 500)
    assert len(keypoints.uv) > 20
    assert (keypoints.uv <= [100, 74]).all()
    padded = extract(runtime, np.pad(image, ((0, 5), (0, 11)), mode="edge"), 10000)
    distance = np.linalg.norm(keypoints.uv[:, None] - padded.uv, axis=2)
    assert np.median(distance.min(axis=1)) < 1e-3


def test_of_a_heat_map_those_come_first_about_which_there_is_most() -> None:
    """An unsure pixel has a lower peak, but may well be the surer point."""
    heat = np.zeros((64, 64), np.float32)
    heat[20, 20], heat[40, 40], heat[40, 41], heat[50, 20] = 0.5, 0.4, 0.3, 0.01
    uv, scores = choose({"score": heat}, (64, 64), 10)
    assert uv.tolist() == [[40, 40], [20, 20]]
    assert scores.tolist() == pytest.approx([0.7, 0.5])


def test_of_close_keypoints_the_best_is_kept() -> None:
    coord = np.array([[[10.2, 14.1, 30.0], [30.0, 50.0, -0.4]], [[10.0, 12.9, 20.0], [24.9, 20.0, 40.0]]], np.float32)
    score = np.array([[0.5, 0.9, 0.3], [0.2, 0.0, 0.7]], np.float32)  # 0 has none
    uv, scores = choose({"coord": coord, "score": score}, (64, 64), 10)
    assert uv[0].tolist() == coord[:, 0, 1].tolist()
    assert scores.tolist() == pytest.approx([0.9, 0.7, 0.3, 0.2])  # 0.5 is within 4 px of 0.9, 0.2 not of 0.3
    assert len(choose({"coord": coord, "score": score}, (64, 64), 2)[0]) == 2
    assert choose({"coord": coord, "score": 0 * score}, (64, 64), 2)[0].shape == (0, 2)


def test_lightglue_answers_for_the_features(weights: Path) -> None:
    follower: Any = make_follower(
        config("kp2dtiny", weights, matching="lightglue", matcher_weights=str(weights / "lightglue.safetensors"))
    )
    a = follower.prepare([noise(64, 96)])[0]
    uv = follower.detect(a, np.zeros((0, 2), np.float32), None, 150)
    calls = []

    def matcher(first: Keypoints, second: Keypoints, size: tuple[int, int]) -> np.ndarray:
        calls.append(size)
        return np.where(np.arange(len(first.uv)) % 2, np.arange(len(first.uv)), -1)

    other = KeypointFollower(follower.runtime, follower.detector, 60.0, 1000, matcher)
    moved, found = other.follow(a, a, uv, uv)
    index = [int(np.flatnonzero((a.keypoints.uv == p).all(1))[0]) for p in uv]
    assert found.tolist() == [bool(i % 2) for i in index]
    assert np.array_equal(moved[found], uv[found])
    assert calls == [(64, 96)]
    indices = follower.matcher(a.keypoints, a.keypoints, a.shape)
    assert indices.shape == (len(a.keypoints.uv),)


def test_other_thresholds_keep_network_and_matcher(weights: Path) -> None:
    asked = config("kp2dtiny", weights, matching="lightglue", matcher_weights=str(weights / "lightglue.safetensors"))
    make = open_follower(asked)
    first: Any = make(asked)
    second: Any = make(replace(asked, min_distance_px=9.0, forward_backward_px=0.1))
    assert second.runtime is first.runtime
    assert second.matcher is first.matcher
    assert (second.detector.min_distance_px, second.refiner.back_px) == (9, 0.1)


def test_the_tracker_runs_on_a_simulated_world(hall: Simulation, frames: list[ImageFrame], weights: Path) -> None:
    tracker = FeatureTracker(config("kp2dtiny", weights, backend="openvino"), hall.rig)
    tracks = [tracker.process(frame) for frame in frames[:2]]
    assert all(len(t) > 50 for t in tracks)
    assert np.isin(tracks[1].ids, tracks[0].ids).any()


def test_the_tracker_describes_the_left_image_as_the_loop_closer_does(
    hall: Simulation, frames: list[ImageFrame]
) -> None:
    frame, plain = frames[0], TrackerConfig(method="kp2dtiny", backend="torch")
    tracks = FeatureTracker(plain, hall.rig, described=300).process(frame)
    found, image = some(tracks.description), some(frame.images[0])
    uv = tracks.uv[0, tracks.by_left]
    (maps,) = open_runtime("kp2dtiny", backend="torch", with_place=True)([image])
    expected = described(maps, (480, 752), uv, choose(maps, (480, 752), 1200)[0], 300)
    assert len(uv) > 50 and len(found.descriptors) == 300
    for field in ("describer", "more_uv", "descriptors", "place"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    assert FeatureTracker(plain, hall.rig).process(frame).description is None


@pytest.mark.parametrize("turns", [1, 2])
def test_the_tracker_describes_the_left_image_upright(hall: Simulation, frames: list[ImageFrame], turns: int) -> None:
    frame, plain = frames[0], TrackerConfig(method="kp2dtiny", backend="torch")
    tracker = FeatureTracker(plain, hall.rig, described=300)
    tracker.turns = turns
    tracks = tracker.process(frame)
    found, image = some(tracks.description), some(frame.images[0])
    (maps,) = open_runtime("kp2dtiny", backend="torch", with_place=True)([np.rot90(image, turns)])
    own = np.concatenate([tracks.uv[0, tracks.by_left], found.more_uv])
    size = (480, 752) if turns == 2 else (752, 480)
    np.testing.assert_array_equal(found.descriptors, sample(maps, turned(own, (480, 752), turns), size).astype("f2"))
    np.testing.assert_array_equal(found.place, maps["place"])
    plainly = FeatureTracker(plain, hall.rig, described=300).process(frame)
    np.testing.assert_array_equal(plainly.uv, tracks.uv)  # what is followed stays as it is


def test_it_describes_only_while_that_is_wanted(hall: Simulation, frames: list[ImageFrame]) -> None:
    tracker = FeatureTracker(TrackerConfig(method="kp2dtiny", backend="torch"), hall.rig, described=300)
    tracker.describing = False
    assert tracker.process(frames[0]).description is None
    tracker.describing = True
    assert tracker.process(frames[1]).description is not None


def test_what_the_left_camera_does_not_show_is_not_described(hall: Simulation, frames: list[ImageFrame]) -> None:
    tracker = FeatureTracker(TrackerConfig(method="kp2dtiny", backend="torch"), hall.rig, described=300)
    assert tracker.process(frames[0]).description is not None
    assert tracker.process(replace(frames[1], images=(None, frames[1].images[1]))).description is None
    assert FeatureTracker(TrackerConfig(), hall.rig, described=300).process(frames[0]).description is None


def test_descriptors_are_read_between_pixels_with_the_corners_aligned() -> None:
    ramp = np.stack(np.meshgrid(np.arange(5.0), np.arange(3.0))).astype(np.float32) + 1
    found = sample({"descriptor": ramp}, np.array([[0.0, 0.0], [9.0, 4.0], [4.5, 1.0]]), (5, 10))
    expected = np.array([[1, 1], [5, 3], [3, 1.5]])
    assert found == pytest.approx(unit(expected), abs=1e-6)


def test_descriptors_of_smaller_images_are_read_as_the_network_enlarges_them() -> None:
    torch.manual_seed(0)
    network: Any = build("kp2dtiny", scales=3).eval()
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 12), (112, 176), mode="bicubic").clamp(0, 1)
    deployed = deploy(network)
    with torch.no_grad():
        maps = dict(zip(deployed.outputs, (x[0].numpy() for x in deployed(image)), strict=True))
        points = network.keypoints(image)
        wanted = describe(points.descriptor, points.coord, (112, 176))[0].flatten(1).T.numpy()
    assert [maps[name].shape for name in deployed.outputs[2:]] == [(32, 56, 88), (32, 28, 44), (32, 14, 22)]
    uv = points.coord[0].flatten(1).T.numpy()
    found = sample(maps, np.concatenate([uv, [[0.0, 0.0], [175.0, 111.0]]]), (112, 176))
    np.testing.assert_allclose(found[:-2], wanted, atol=1e-5)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_matches_are_mutual_and_near() -> None:
    uv = np.array([[10.0, 10], [30, 10], [90, 10]], np.float32)
    descriptors = np.eye(3, dtype=np.float32)
    a = Keypoints(uv, np.ones(3), descriptors)
    index, still = np.arange(3), np.zeros((3, 2))
    assert mutual_nearest(a, a, index, still, 20).tolist() == [0, 1, 2]
    swapped = Keypoints(uv, np.ones(3), descriptors[[1, 0, 2]])
    assert mutual_nearest(a, swapped, index, still, 50).tolist() == [1, 0, 2]
    far = Keypoints(uv + np.array([40, 0]), np.ones(3), descriptors)
    assert mutual_nearest(a, far, index, still, 15).tolist() == [-1, -1, -1]
    assert mutual_nearest(a, far, index, still + np.array([40, 0]), 15).tolist() == [0, 1, 2]
    two_alike = Keypoints(uv, np.ones(3), descriptors[[0, 0, 2]])
    assert mutual_nearest(two_alike, a, index, still, 50).tolist() == [0, -1, 2]


@pytest.mark.parametrize("name", ["kp2dtiny", "superpoint"])
def test_our_own_weights_find_what_has_moved_in_another_light(pattern: Callable[..., np.ndarray], name: str) -> None:
    follower = make_follower(TrackerConfig(method=name, backend="torch", refine=False))
    shift = np.array([16, 8])
    a, b = follower.prepare([pattern(), (0.5 * pattern(lambda uv: uv - shift)).astype(np.uint8)])
    uv = follower.detect(a, np.zeros((0, 2), np.float32), None, 150)
    moved, found = follower.follow(a, b, uv, uv)
    assert found.mean() > 0.6
    assert np.mean(np.linalg.norm(moved - uv - shift, axis=1)[found] < 2) > 0.9


def test_unusable_networks_say_what_to_do(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"kp2d comes without weights; name a file in tracker\.weights"):
        make_follower(TrackerConfig(method="kp2d"))
    with pytest.raises(WeightsError, match=r"superpoint\.safetensors: not the weights of kp2dtiny"):
        open_runtime("kp2dtiny", weights / "superpoint.safetensors")
    with pytest.raises(BackendError, match=r"backend tensorrt needs (the Python package tensorrt|an NVIDIA GPU)"):
        open_runtime("kp2dtiny", weights / "kp2dtiny.safetensors", "tensorrt")
    with pytest.raises(WeightsError, match="no such exported network"):
        open_runtime("kp2dtiny", tmp_path / "none.xml")
    with pytest.raises(BackendError, match="runs with openvino, not with torch"):
        open_runtime("kp2dtiny", tmp_path / "none.xml", "torch")
    with pytest.raises(WeightsError, match=r"needs tracker\.matcher_weights"):
        make_follower(config("kp2dtiny", weights, matching="lightglue"))
