# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros.geometry import apply, exp_so3, inverse, transform
from letvins_ros.pose_from_landmarks import MIN_INLIERS, pose_from_landmarks

from .vectors import unit

LIMIT = 0.005


def scene(seed: int, n: int = 60, wrong: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    T_odom_cam = transform(exp_so3(rng.normal(0, 0.3, 3)), rng.normal(0, 3, 3))
    p_cam = np.column_stack([rng.uniform(-3, 3, (n, 2)), rng.uniform(4, 30, n)])
    bearings = unit(p_cam)
    bearings[:wrong] = np.roll(bearings[:wrong], 1, axis=0)
    return apply(T_odom_cam, p_cam), bearings, T_odom_cam


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("wrong", [0, 20])
def test_the_pose_is_found_without_any_idea_of_it_and_among_wrong_matches(seed: int, wrong: int) -> None:
    points, bearings, T_odom_cam = scene(seed, wrong=wrong)
    found = pose_from_landmarks(points, bearings, LIMIT)
    np.testing.assert_allclose(inverse(T_odom_cam) @ found, np.eye(4), atol=0.02)
    np.testing.assert_array_equal(found, pose_from_landmarks(points, bearings, LIMIT))


def test_too_few_points_or_none_that_agree_give_no_pose() -> None:
    points, bearings, _ = scene(5)
    assert pose_from_landmarks(points[: MIN_INLIERS - 1], bearings[: MIN_INLIERS - 1], LIMIT) is None
    shuffled = np.random.default_rng(0).permutation(len(points))
    assert pose_from_landmarks(points[shuffled], bearings, LIMIT) is None
    assert pose_from_landmarks(points, -bearings, LIMIT) is None
