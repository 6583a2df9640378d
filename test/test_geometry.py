# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.linalg import expm

from letvins_ros import geometry
from letvins_ros.errors import DataError

SIZES = [1, 2, 50]


def vectors(n: int, size: float = 1.0, seed: int = 0) -> np.ndarray:
    """Random directions (n, 3) of one length."""
    v = np.random.default_rng(seed).normal(size=(n, 3))
    return size * v / np.linalg.norm(v, axis=1, keepdims=True)


def random_transforms(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return geometry.transform(geometry.exp_so3(rng.normal(size=(n, 3))), rng.normal(0, 5, (n, 3)))


@pytest.mark.parametrize("n", SIZES)
def test_skew_times_a_vector_is_the_cross_product(n: int) -> None:
    a, b = vectors(n, 2.0, 1), vectors(n, 3.0, 2)
    np.testing.assert_allclose((geometry.skew(a) @ b[..., None])[..., 0], np.cross(a, b), atol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 1e-300, 1e-12, 1e-8, 1e-4, 0.99 * geometry.SMALL_RAD, 0.5, 3.0])
def test_exp_is_the_matrix_exponential_of_skew(angle: float) -> None:
    for v in vectors(5, angle):
        np.testing.assert_allclose(geometry.exp_so3(v), expm(geometry.skew(v)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-4, 0.5, 3.0, np.pi - 1e-4, np.pi - 1e-7])
@pytest.mark.parametrize("n", SIZES)
def test_log_undoes_exp_from_zero_to_nearly_half_a_turn(n: int, angle: float) -> None:
    v = vectors(n, angle)
    np.testing.assert_allclose(geometry.log_so3(geometry.exp_so3(v)), v, rtol=1e-7, atol=1e-15)


def test_log_is_exact_where_its_series_ends() -> None:
    v = vectors(50, 0.99 * geometry.SMALL_RAD)
    np.testing.assert_allclose(geometry.log_so3(geometry.exp_so3(v)), v, rtol=1e-10, atol=1e-15)


def test_log_of_exactly_half_a_turn_is_one_of_its_two_axes() -> None:
    for axis in np.eye(3):
        v = geometry.log_so3(geometry.exp_so3(np.pi * axis))
        np.testing.assert_allclose(np.abs(v), np.pi * axis, atol=1e-12)


def test_exp_and_log_keep_the_shape_of_a_batch() -> None:
    v = vectors(24).reshape(2, 3, 4, 3)
    R = geometry.exp_so3(v)
    assert R.shape == (2, 3, 4, 3, 3)
    np.testing.assert_allclose(geometry.log_so3(R), v, atol=1e-12)
    np.testing.assert_array_equal(R[1, 2, 3], geometry.exp_so3(v[1, 2, 3]))


@pytest.mark.parametrize("n", SIZES)
def test_a_transform_times_its_inverse_is_the_identity(n: int) -> None:
    T = random_transforms(n)
    eye = np.broadcast_to(np.eye(4), T.shape)
    np.testing.assert_allclose(geometry.inverse(T) @ T, eye, atol=1e-12)
    np.testing.assert_allclose(geometry.inverse(T), np.linalg.inv(T), atol=1e-12)
    np.testing.assert_array_equal(geometry.inverse(T[0]), geometry.inverse(T)[0])


@pytest.mark.parametrize("n", SIZES)
def test_apply_is_the_homogeneous_product_of_each_point(n: int) -> None:
    T, p = random_transforms(n), np.random.default_rng(3).normal(size=(n, 7, 3))
    by_hand = [[(T[i] @ np.append(q, 1.0))[:3] for q in p[i]] for i in range(n)]
    np.testing.assert_allclose(geometry.apply(T, p), by_hand, atol=1e-13)
    np.testing.assert_allclose(geometry.apply(T[0], p[0]), by_hand[0], atol=1e-13)


@pytest.mark.parametrize("n", SIZES)
def test_quaternions_return_the_rotation_with_w_not_negative(n: int) -> None:
    T = random_transforms(n, seed=4)
    q = geometry.quaternion_xyzw(T[:, :3, :3])
    assert (q[:, 3] >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(q, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(geometry.from_quaternion(T[:, :3, 3], q), T, atol=1e-12)
    np.testing.assert_allclose(geometry.from_quaternion(T[:, :3, 3], -3 * q), T, atol=1e-12)


def test_a_quarter_turn_about_z_is_the_quaternion_of_the_textbook() -> None:
    T = geometry.from_quaternion(np.array([1.0, 2.0, 3.0]), np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)]))
    np.testing.assert_allclose(T, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-15)


@pytest.mark.parametrize("n", [3, 4, 50])
def test_alignment_recovers_a_planted_transform(n: int) -> None:
    T, p_b = random_transforms(1)[0], np.random.default_rng(5).normal(0, 10, (n, 3))
    np.testing.assert_allclose(geometry.align_se3(geometry.apply(T, p_b), p_b), T, atol=1e-12)


def test_alignment_of_a_plane_of_points_is_a_rotation_and_no_mirror_image() -> None:
    T, p_b = random_transforms(1, seed=6)[0], np.random.default_rng(6).normal(size=(20, 3)) * [5, 5, 0]
    found = geometry.align_se3(geometry.apply(T, p_b), p_b)
    np.testing.assert_allclose(found, T, atol=1e-12)
    mirrored = geometry.align_se3(p_b + np.random.default_rng(7).normal(size=p_b.shape), p_b)
    assert np.linalg.det(mirrored[:3, :3]) == pytest.approx(1)


def test_no_small_move_of_the_alignment_of_noisy_points_is_better() -> None:
    rng = np.random.default_rng(8)
    p_b = rng.normal(0, 2, (30, 3))
    p_a = geometry.apply(random_transforms(1)[0], p_b) + rng.normal(0, 0.3, (30, 3))
    best = geometry.align_se3(p_a, p_b)

    def cost(T: np.ndarray) -> float:
        return np.square(p_a - geometry.apply(T, p_b)).sum()

    for d in 1e-3 * np.vstack([np.eye(6), -np.eye(6)]):
        assert cost(geometry.transform(geometry.exp_so3(d[:3]), d[3:]) @ best) > cost(best)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-6, 1.0, 3.0, np.pi - 1e-3])
def test_the_smallest_rotation_between_directions_turns_by_their_angle(angle: float) -> None:
    for a, axis in zip(vectors(10, 2.0, 9), vectors(10, 1.0, 10), strict=True):
        across = np.cross(a, axis) / np.linalg.norm(np.cross(a, axis))
        b = 5 * geometry.exp_so3(angle * across) @ a
        R = geometry.rotation_between(a, b)
        np.testing.assert_allclose(R @ a, b / 5, atol=1e-9)
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(geometry.log_so3(R), angle * across, atol=1e-7)


@pytest.mark.parametrize("a", [*np.eye(3), *-np.eye(3), *vectors(5, 1.0, 11)])
@pytest.mark.parametrize("off", [0.0, 1e-9, 1e-6, 2e-5, 5e-5, 1e-4])
def test_nearly_opposite_directions_are_half_a_turn_apart(a: np.ndarray, off: float) -> None:
    b = -a + off * np.roll(a, 1)
    R = geometry.rotation_between(a, b)
    np.testing.assert_allclose(R @ a, b / np.linalg.norm(b), atol=1e-4)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(R) == pytest.approx(1, abs=1e-6)


def test_orthonormal_leaves_rotations_and_squares_the_error_of_the_others() -> None:
    R = geometry.exp_so3(vectors(20))
    for i, one in enumerate(R):
        np.testing.assert_allclose(geometry.orthonormal(one), one, atol=1e-15)
        off = one + 1e-5 * np.random.default_rng(i).normal(size=(3, 3))
        mended = geometry.orthonormal(off)
        assert np.abs(mended @ mended.T - np.eye(3)).max() < 1e-8
        u, _, vt = np.linalg.svd(off)
        np.testing.assert_allclose(mended, u @ vt, atol=1e-8)  # the nearest rotation


@pytest.mark.parametrize(
    ("quaternion", "problem"),
    [
        ((0, 0, 0, 0), "^a quaternion has the length zero$"),
        ((0, 0, 0, np.nan), "^a pose is not finite$"),
        ((1e-9, 0, 0, 0), "length zero"),
    ],
)
def test_a_quaternion_that_is_no_rotation_is_refused(quaternion: tuple[float, ...], problem: str) -> None:
    many = np.array([(0, 0, 0, 1), quaternion], float)
    with pytest.raises(DataError, match=problem):
        geometry.from_quaternion(np.zeros((2, 3)), many)
    assert geometry.from_quaternion(np.zeros((0, 3)), np.zeros((0, 4))).shape == (0, 4, 4)


@pytest.mark.parametrize("angle", [0.0, 0.3, -2.0])
def test_a_turn_about_z_is_the_exponential_of_that_vector(angle: float) -> None:
    np.testing.assert_allclose(geometry.yaw_rotation(angle), geometry.exp_so3(np.array([0, 0, angle])), atol=1e-15)


def rigid_exp(twist: np.ndarray) -> np.ndarray:
    """The transform of a twist (rotation, position)."""
    return expm(np.block([[geometry.skew(twist[:3]), twist[3:, None]], [np.zeros((1, 4))]]))


@pytest.mark.parametrize("n", SIZES)
def test_the_adjoint_takes_twists_through_a_transform(n: int) -> None:
    T_a_b, twists = random_transforms(n), np.random.default_rng(12).normal(0, 0.5, (n, 6))
    A = geometry.adjoint(T_a_b)
    for i in range(n):
        by_hand = T_a_b[i] @ rigid_exp(twists[i]) @ np.linalg.inv(T_a_b[i])
        np.testing.assert_allclose(rigid_exp(A[i] @ twists[i]), by_hand, atol=1e-9)
        np.testing.assert_array_equal(geometry.adjoint(T_a_b[i]), A[i])


@pytest.mark.parametrize("n", [3, 50])
@pytest.mark.parametrize("scale", [0.1, 1.0, 7.0])
def test_alignment_with_scale_recovers_both(n: int, scale: float) -> None:
    T, p_b = random_transforms(1)[0], np.random.default_rng(5).normal(3, 10, (n, 3))
    found, T_found = geometry.align_sim3(geometry.apply(T, scale * p_b), p_b)
    assert found == pytest.approx(scale)
    np.testing.assert_allclose(T_found, T, atol=1e-9)


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_no_other_scale_fits_noisy_points_better(mirror: float) -> None:
    """A mirror image makes the last singular value count against the scale."""
    rng = np.random.default_rng(8)
    p_b = rng.normal(1, 2, (30, 3)) * [1, 2, 3]
    p_a = 2 * geometry.apply(random_transforms(1)[0], p_b * [mirror, 1, 1]) + rng.normal(0, 0.3, (30, 3))
    best, T = geometry.align_sim3(p_a, p_b)

    def cost(scale: float, T_a_b: np.ndarray) -> float:
        return np.square(p_a - geometry.apply(T_a_b, scale * p_b)).sum()

    for factor in (0.999, 1.001):
        assert cost(best * factor, geometry.align_se3(p_a, best * factor * p_b)) > cost(best, T)


def test_three_numbers_are_read_with_spaces_or_commas() -> None:
    np.testing.assert_array_equal(geometry.vector_from_text("1, -2.5,3e1"), [1, -2.5, 30])
    np.testing.assert_array_equal(geometry.vector_from_text("  1 2\t3 "), [1, 2, 3])


@pytest.mark.parametrize("text", ["1 2", "1 2 3 4", "1 2 nan", "1 inf 3"])
def test_what_is_not_three_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text!r} is not three numbers$"):
        geometry.vector_from_text(text)


def test_seven_numbers_are_a_position_and_a_quaternion_of_any_length() -> None:
    T = geometry.pose_from_text("1,2,3, 0 0 3 3")
    np.testing.assert_allclose(T, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-15)
    half_a_turn_about_x = geometry.pose_from_text("0 0 0 1 0 0 0")[:3, :3]
    np.testing.assert_allclose(half_a_turn_about_x, np.diag([1, -1, -1]), atol=1e-15)


@pytest.mark.parametrize("text", ["1 2 3", "1 2 3 0 0 0 1 0", "1 2 3 0 0 0 0", "1 2 3 0 0 0 nan", "inf 2 3 0 0 0 1"])
def test_what_is_not_a_pose_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text!r} is not seven numbers: x y z, then a quaternion x y z w$"):
        geometry.pose_from_text(text)


def test_the_distance_and_angle_of_a_motion_are_those_it_is_made_of() -> None:
    T = geometry.transform(geometry.exp_so3(np.array([0.0, 0.6, -0.8]) * 0.3), np.array([3.0, 4.0, 12.0]))
    np.testing.assert_allclose(geometry.distance_and_angle(T), (13.0, 0.3), rtol=1e-12)
