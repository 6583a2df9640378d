# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from letvins_ros.calibration import MountedCamera
from letvins_ros.camera import Camera
from letvins_ros.errors import Rejected
from letvins_ros.geometry import apply, inverse
from letvins_ros.loop.features import KeyframeFeatures
from letvins_ros.loop.motion import exp, log, mahalanobis
from letvins_ros.loop.verification import Match, Verifier

from ..vectors import unit
from .walk import CAMERA, Ring

FISHEYE = MountedCamera(
    Camera("pinhole-equidistant", 640, 480, (190.0, 190.0, 320.0, 240.0), (0.01, 0.0, 0.0, 0.0)), CAMERA.T_body_cam
)


def view(
    camera: MountedCamera,
    T_world_body: np.ndarray,
    points_world: np.ndarray,
    bits: np.ndarray,
    rng: np.random.Generator,
    noise_px: float = 0.5,
) -> KeyframeFeatures:
    points = apply(inverse(T_world_body), points_world)
    uv, valid = camera.camera.project(apply(inverse(camera.T_body_cam), points))
    rows = np.flatnonzero(valid)
    flips = np.packbits(rng.random((len(rows), 256)) < 0.05, axis=1)
    uv = (uv[rows] + rng.normal(0, noise_px, (len(rows), 2))).astype(np.float32)
    return KeyframeFeatures(uv, bits[rows] ^ flips, points[rows].astype(np.float32), rows, np.ones(4, np.float32) / 2)


def scene(
    camera: MountedCamera, seed: int, count: int = 150
) -> tuple[KeyframeFeatures, KeyframeFeatures, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    ahead = np.c_[rng.uniform(3, 9, count), rng.uniform(-4, 4, count), rng.uniform(-2, 2, count)]
    bits = rng.integers(0, 256, (count, 32)).astype(np.uint8)
    T_a_b = exp(rng.normal(0, [0.03, 0.03, 0.1, 0.3, 0.3, 0.1]))
    return view(camera, np.eye(4), ahead, bits, rng), view(camera, T_a_b, ahead, bits, rng), T_a_b, rng


@pytest.mark.parametrize("camera", [CAMERA, FISHEYE], ids=["pinhole", "fisheye"])
def test_the_pose_is_found_with_every_camera_model(camera: MountedCamera) -> None:
    a, b, T_a_b, _ = scene(camera, 1)
    match = Verifier(camera, 20, 3.0).verify(a, b)
    assert isinstance(match, Match) and match.inliers > 80
    assert np.linalg.norm(log(inverse(T_a_b) @ match.motion.T_a_b)[3:]) < 0.02


def test_landmarks_of_either_keyframe_suffice() -> None:
    a, b, T_a_b, _ = scene(CAMERA, 2)
    blind = KeyframeFeatures(a.uv, a.descriptors, np.full_like(a.points_body, np.nan), a.ids, a.place)
    match = Verifier(CAMERA, 20, 3.0).verify(blind, b)
    assert isinstance(match, Match)
    assert np.linalg.norm(log(inverse(T_a_b) @ match.motion.T_a_b)) < 0.03


def test_half_of_the_matches_wrong_do_not_matter() -> None:
    a, b, T_a_b, rng = scene(CAMERA, 3)
    wrong = rng.permutation(len(b))
    half = np.arange(len(b)) < len(b) // 2
    uv = np.where(half[:, None], b.uv[wrong], b.uv)
    match = Verifier(CAMERA, 20, 3.0).verify(
        a, KeyframeFeatures(uv, b.descriptors, b.points_body * np.nan, b.ids, b.place)
    )
    assert isinstance(match, Match)
    assert np.linalg.norm(log(inverse(T_a_b) @ match.motion.T_a_b)[3:]) < 0.03


def test_another_place_is_refused_with_a_reason() -> None:
    a, b = scene(CAMERA, 4)[0], scene(CAMERA, 5)[1]
    answer = Verifier(CAMERA, 20, 3.0).verify(a, b)
    assert isinstance(answer, Rejected)
    assert "needed" in answer.reason or "fits" in answer.reason


def test_the_covariance_covers_the_error() -> None:
    squares = []
    for seed in range(20):
        a, b, T_a_b, _ = scene(CAMERA, 10 + seed)
        match = Verifier(CAMERA, 20, 3.0).verify(a, b)
        assert not isinstance(match, Rejected)
        error = log(inverse(T_a_b) @ match.motion.T_a_b)
        squares.append(error @ np.linalg.solve(match.motion.covariance, error))
    assert 0.01 < np.mean(squares) < 12


def test_the_covariance_covers_the_error_of_uncertain_depths_seen_from_aside() -> None:
    T_a_b, center, squares = exp(np.r_[0, 0.0, 0.25, 0.2, -1.4, 0]), CAMERA.T_body_cam[:3, 3], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points = np.c_[rng.uniform(3, 9, 150), rng.uniform(-4, 4, 150), rng.uniform(-2, 2, 150)]
        bits = rng.integers(0, 256, (150, 32)).astype(np.uint8)
        seen = []
        for T in (np.eye(4), T_a_b):
            it = view(CAMERA, T, points, bits, rng)
            rays = it.points_body - center
            off = rng.normal(0, 0.01, (len(it), 1)) * np.linalg.norm(rays, axis=1, keepdims=True)
            seen.append(replace(it, points_body=(it.points_body + rays * off).astype(np.float32)))
        match = Verifier(CAMERA, 15, 3.0).verify(*seen)
        if isinstance(match, Match):
            squares.append(mahalanobis(log(inverse(T_a_b) @ match.motion.T_a_b), match.motion.covariance))
    assert len(squares) > 10
    assert 0.1 < np.mean(squares) < 6


def test_a_ring_has_landmarks_on_both_sides() -> None:
    radius = np.linalg.norm(Ring(8.0).landmarks()[:, :2], axis=1)
    assert {6, 10} == set(np.rint(radius).astype(int))


def test_places_are_verified_by_unit_vectors_too() -> None:
    """32 numbers, each off by a tenth of what it is on average."""
    a, b, T_a_b, rng = scene(CAMERA, 8)

    def described(features: KeyframeFeatures, vectors: np.ndarray) -> KeyframeFeatures:
        x = unit(vectors[features.ids] + rng.normal(0, 0.1, (len(features), 32)))
        return replace(features, descriptors=x.astype(np.float16))

    here, elsewhere = rng.normal(size=(2, 150, 32))
    match = Verifier(CAMERA, 20, 3.0).verify(described(a, here), described(b, here))
    assert isinstance(match, Match) and match.inliers > 80
    assert np.linalg.norm(log(inverse(T_a_b) @ match.motion.T_a_b)[3:]) < 0.02
    assert isinstance(Verifier(CAMERA, 20, 3.0).verify(described(a, here), described(b, elsewhere)), Rejected)
