# SPDX-License-Identifier: Apache-2.0
from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize

from letvins_ros.calibration import MountedCamera
from letvins_ros.camera import Camera
from letvins_ros.geometry import apply, exp_so3, skew, transform
from letvins_ros.tracking.epipolar import (
    StereoGeometry,
    epipolar_error,
    inliers_known_rotation,
    inliers_unknown_rotation,
)

from ..vectors import unit

FOCAL_PX = 450.0
LIMIT = 1.5 / FOCAL_PX  # rad
CAMERAS = {
    "radtan": Camera("pinhole-radtan", 752, 480, (458.0, 457.0, 367.0, 248.0), (-0.28, 0.07, 2e-4, 1.8e-5)),
    "equidistant": Camera("pinhole-equidistant", 640, 480, (300.0, 301.0, 320.0, 240.0), (0.01, -0.02, 0.003, 0.001)),
    "mei": Camera("mei-radtan", 640, 480, (0.9, 560.0, 561.0, 320.0, 240.0), (-0.1, 0.02, 1e-4, 1e-4)),
    "double-sphere": Camera("double-sphere", 640, 480, (-0.2, 0.6, 260.0, 261.0, 320.0, 240.0)),
}


def two_views(
    n: int, seed: int, R_b_a: np.ndarray, t_b_a: np.ndarray, side: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Unit bearings (n, 3) of points before both cameras, in camera a and in camera b."""
    rng = np.random.default_rng(seed)
    points = np.c_[rng.uniform(-side, side, (n, 2)), rng.uniform(2, 8, n)]
    return unit(points), unit(points @ R_b_a.T + t_b_a)


def noise(bearings: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    return unit(bearings + np.random.default_rng(seed).normal(0, sigma, bearings.shape))


R_B_A, T_B_A = exp_so3(np.array([0.05, -0.1, 0.02])), np.array([0.3, -0.05, 0.1])
E = skew(T_B_A / np.linalg.norm(T_B_A)) @ R_B_A


def smallest_correction(a: np.ndarray, b: np.ndarray) -> float:
    """The least angle, both ends together, by which one pair must turn to fulfil the epipolar constraint."""
    basis_a, basis_b = (np.linalg.svd(v[None])[2][1:] for v in (a, b))

    def residual(x: np.ndarray) -> float:
        return unit(b + x[2:] @ basis_b) @ E @ unit(a + x[:2] @ basis_a)

    start = np.full(4, 1e-6)
    found = minimize(
        lambda x: (x**2).sum() * 1e6, start, constraints={"type": "eq", "fun": lambda x: residual(x) * 1e3}
    )
    return float(np.linalg.norm(found.x))


@pytest.mark.parametrize("n", [1, 2, 50])
def test_the_error_is_the_least_turn_that_makes_a_pair_fit(n: int) -> None:
    a, b = two_views(n, 0, R_B_A, T_B_A)
    b = noise(b, 3e-3, 1)
    assert epipolar_error(E, a, b) == pytest.approx([smallest_correction(*p) for p in zip(a, b, strict=True)], rel=0.02)


def test_exact_pairs_have_no_error() -> None:
    assert epipolar_error(E, *two_views(50, 0, R_B_A, T_B_A)).max() < 1e-12


def test_an_offset_across_the_line_is_shared_by_both_images_and_one_along_it_is_none() -> None:
    a, b = np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, 0.0, 1.0]])
    sideways = skew(np.array([1.0, 0.0, 0.0]))
    along, across = (unit(b + axis / FOCAL_PX) for axis in np.eye(3)[:2])
    # one pixel in one image is half a pixel in each, so 1 / sqrt(2) in all
    assert epipolar_error(sideways, a, across) * FOCAL_PX == pytest.approx([1 / np.sqrt(2)], rel=1e-3)
    assert epipolar_error(sideways, a, along).max() < 1e-12


def test_many_matrices_at_once_give_what_each_gives() -> None:
    a, b = two_views(20, 0, R_B_A, T_B_A)
    matrices = np.random.default_rng(0).normal(size=(3, 3, 3))
    together = epipolar_error(matrices, a, b)
    assert together.shape == (3, 20)
    assert together == pytest.approx(np.stack([epipolar_error(m, a, b) for m in matrices]))


def planted(n: int, outliers: int, R_b_a: np.ndarray, t_b_a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs with 0.2 px noise, of which the first `outliers` are 5 to 20 px off across their epipolar lines."""
    a, b = two_views(n, 2, R_b_a, t_b_a)
    b = noise(b, 0.2 / FOCAL_PX, 3)
    rng = np.random.default_rng(4)
    normals = unit(np.cross(t_b_a, a @ R_b_a.T))
    offset = rng.uniform(5, 20, (outliers, 1)) * rng.choice([-1, 1], (outliers, 1)) / FOCAL_PX
    b[:outliers] = unit(b[:outliers] + offset * normals[:outliers])
    return a, b


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_with_the_rotation_known_outliers_go_and_inliers_stay(share: float) -> None:
    outliers = int(150 * share)
    a, b = planted(150, outliers, R_B_A, T_B_A)
    keep = inliers_known_rotation(a, b, R_B_A, LIMIT, 0)
    assert not keep[:outliers].any()
    assert keep[outliers:].mean() > 0.98


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_with_the_rotation_unknown_outliers_go_and_inliers_stay(share: float) -> None:
    outliers = int(150 * share)
    a, b = planted(150, outliers, R_B_A, T_B_A)
    keep = inliers_unknown_rotation(a, b, LIMIT)
    assert keep[:outliers].mean() < 0.05 if outliers else True
    assert keep[outliers:].mean() > 0.95


@pytest.mark.parametrize("known", [True, False])
def test_after_a_pure_rotation_all_stay(known: bool) -> None:
    a, b = two_views(150, 5, R_B_A, np.zeros(3))
    b = noise(b, 0.2 / FOCAL_PX, 6)
    keep = inliers_known_rotation(a, b, R_B_A, LIMIT, 0) if known else inliers_unknown_rotation(a, b, LIMIT)
    assert keep.mean() > 0.98


def test_a_point_that_moves_alone_while_the_camera_turns_is_rejected_in_most_directions() -> None:
    a, b = two_views(150, 5, R_B_A, np.zeros(3))
    b[:20] = unit(b[:20] + np.random.default_rng(7).normal(0, 20 / FOCAL_PX, (20, 3)))
    keep = inliers_known_rotation(a, b, R_B_A, LIMIT, 0)
    assert keep[:20].mean() < 0.5
    assert keep[20:].all()


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 12])
def test_too_few_pairs_or_a_standstill_reject_nothing(n: int) -> None:
    a, _ = two_views(n, 5, R_B_A, T_B_A)
    assert inliers_known_rotation(a, a, np.eye(3), LIMIT, 0).tolist() == [True] * n
    assert inliers_unknown_rotation(a, a, LIMIT).tolist() == [True] * n


def test_pairs_far_to_the_side_pass_where_the_plane_ends() -> None:
    a, b = planted(150, 0, R_B_A, T_B_A)
    a[:10, 2], b[:10, 2] = -np.abs(a[:10, 2]), -np.abs(b[:10, 2])
    assert inliers_unknown_rotation(a, b, LIMIT)[:10].all()


def test_the_same_pairs_give_the_same_answer() -> None:
    a, b = planted(150, 60, R_B_A, T_B_A)
    for judge in (
        partial(inliers_known_rotation, a, b, R_B_A, LIMIT, 9),
        partial(inliers_unknown_rotation, a, b, LIMIT),
    ):
        assert (judge() == judge()).all()


@pytest.fixture(params=CAMERAS)
def stereo(request: pytest.FixtureRequest) -> StereoGeometry:
    camera = CAMERAS[request.param]
    T_body_right = transform(exp_so3(np.array([0.01, -0.02, 0.005])), np.array([0.11, 0.002, -0.001]))
    return StereoGeometry(MountedCamera(camera, np.eye(4)), MountedCamera(camera, T_body_right))


@pytest.fixture
def points() -> np.ndarray:
    """(200, 3) m in the left camera."""
    rng = np.random.default_rng(0)
    return np.c_[rng.uniform(-0.3, 0.3, (200, 2)), np.ones(200)] * rng.uniform(0.5, 40, (200, 1))


def test_the_guess_is_the_projection_and_its_bearing_gives_the_distance_back(
    stereo: StereoGeometry, points: np.ndarray
) -> None:
    bearings, inverse_distance = unit(points), 1 / np.linalg.norm(points, axis=1)
    uv = stereo.guess_right(bearings, inverse_distance)
    seen = np.isfinite(uv).all(1)
    assert seen.mean() > 0.9
    true_uv, _ = stereo.right.project(apply(stereo.T_right_left, points))
    assert uv[seen] == pytest.approx(true_uv[seen], abs=1e-6)
    right = stereo.right.unproject(uv[seen])
    assert stereo.inverse_distance(bearings[seen], right) == pytest.approx(inverse_distance[seen], abs=1e-6)
    assert stereo.agree(bearings[seen], right, 0.1)[0].all()


def test_infinity_is_guessed_and_what_is_outside_the_right_image_is_not(stereo: StereoGeometry) -> None:
    forward = np.array([[0.0, 0.0, 1.0]])
    R_right_left = stereo.T_right_left[:3, :3]
    assert stereo.guess_right(forward, np.zeros(1)) == pytest.approx(stereo.right.project(forward @ R_right_left.T)[0])
    assert np.isnan(stereo.guess_right(forward, np.full(1, 1e3))).all()  # 1 mm before the left camera
    assert stereo.inverse_distance(forward, forward @ R_right_left.T) == pytest.approx([0.0], abs=1e-9)


def test_stereo_pairs_off_their_line_too_near_or_diverging_are_refused(stereo: StereoGeometry) -> None:
    points = np.array([[0.2, 0.1, 3.0], [0.02, 0.01, 0.06]])
    left, right = unit(points), unit(apply(stereo.T_right_left, points))
    assert stereo.agree(left, right, 1.0)[0].tolist() == [True, False]  # the second is 64 mm away
    baseline, turned = stereo.T_right_left[:3, 3], left @ stereo.T_right_left[:3, :3].T
    off = unit(right + 3 / stereo.focal_px * unit(np.cross(baseline, turned)))
    assert stereo.agree(left, off, 1.0)[0].tolist() == [False, False]
    diverging = unit(turned - 5 / stereo.focal_px * unit(baseline))
    assert not stereo.agree(left, diverging, 1.0)[0].any()


def test_a_point_at_infinity_is_accepted_with_a_pixel_of_noise(stereo: StereoGeometry) -> None:
    left = unit(np.array([[0.1, 0.05, 1.0]]))
    right = unit(left @ stereo.T_right_left[:3, :3].T - 0.9 / stereo.focal_px * unit(stereo.T_right_left[:3, 3]))
    assert stereo.inverse_distance(left, right) < 0
    assert stereo.agree(left, right, 1.5)[0].all()
