# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from letvins_ros.estimation.calibration_variables import TIME_OFFSET, Mount, TimeOffset
from letvins_ros.estimation.costs import vision_kernels
from letvins_ros.estimation.costs.vision import (
    LinearVision,
    RobustPixels,
    Sightings,
    VisionCost,
    body_rates,
    camera_poses,
)
from letvins_ros.estimation.costs.vision_kernels import BEHIND_PX
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.landmarks import CameraMounts, Observations, Poses, sightings, step_landmarks, triangulate
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import AnyKey, Key, Values
from letvins_ros.geometry import exp_so3, transform

from ..some import some
from ..vectors import unit

FOCAL = 400.0
GAUSS = RobustPixels(0.5, 1e9, factor=1e9)  # no error is beyond this scale
SIZES = [(2, 1), (2, 2), (4, 50)]  # frames, landmarks


def random_T_body_cams(rng: np.random.Generator) -> list[np.ndarray]:
    """Two cameras 0.1 to 0.3 m apart, looking roughly along the body's z."""
    return [transform(exp_so3(rng.normal(0, 0.2, 3)), rng.normal(0, 0.15, 3)) for _ in range(2)]


def random_mounts(rng: np.random.Generator) -> CameraMounts:
    return CameraMounts(random_T_body_cams(rng))


def random_poses(rng: np.random.Generator, frames: int) -> Poses:
    return Poses(exp_so3(rng.normal(0, 0.1, (frames, 3))), rng.normal(0, 0.5, (frames, 3)))


def random_landmarks(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.column_stack([rng.uniform(-1.5, 1.5, (n, 2)), rng.uniform(4, 9, n)])


def directions(
    poses: Poses, mounts: CameraMounts, points: np.ndarray, frame: np.ndarray, camera: np.ndarray
) -> np.ndarray:
    """Unit directions (K, 3) of points (K, 3) in the cameras that see them."""
    p_body = (np.swapaxes(poses.R[frame], 1, 2) @ (points - poses.p[frame])[..., None])[..., 0]
    p_cam = (mounts.R_cam_body[camera] @ (p_body - mounts.p_body_cam[camera])[..., None])[..., 0]
    return unit(p_cam)


def resolution(bearing: np.ndarray) -> np.ndarray:
    """M (K, 2, 3): pixels per unit of direction, nothing along the direction itself."""
    across = unit(np.cross(bearing, [0.0, 1.0, 0.0]))
    return FOCAL * np.stack([across, np.cross(bearing, across)], 1)


def observe(
    rng: np.random.Generator, poses: Poses, mounts: CameraMounts, points: np.ndarray, noise_px: float = 0.0
) -> Observations:
    """Every frame sees every landmark with both cameras."""
    every = product(range(len(poses.R)), range(2), range(len(points)))
    frame, camera, landmark = np.array(list(every)).T
    bearing = directions(poses, mounts, points[landmark], frame, camera)
    bearing = unit(bearing + rng.normal(0, noise_px / FOCAL, bearing.shape))
    return Observations(frame, camera, landmark, bearing, resolution(bearing))


def problem(
    seed: int, frames: int, landmarks: int, noise_px: float = 1.0, off: float = 0.01
) -> tuple[Observations, CameraMounts, Poses, np.ndarray]:
    """Sightings of a random scene, and poses and landmarks that are a little off."""
    rng = np.random.default_rng(seed)
    mounts, poses, points = random_mounts(rng), random_poses(rng, frames), random_landmarks(rng, landmarks)
    seen = observe(rng, poses, mounts, points, noise_px)
    moved = stepped(poses, rng.normal(0, off, 6 * frames))
    return seen, mounts, moved, points + rng.normal(0, off, points.shape)


def stepped(poses: Poses, d: np.ndarray) -> Poses:
    d = d.reshape(-1, 6)
    return Poses(poses.R @ exp_so3(d[:, :3]), poses.p + (poses.R @ d[:, 3:, None])[..., 0])


def residuals(seen: Observations, mounts: CameraMounts, poses: Poses, points: np.ndarray) -> np.ndarray:
    """Pixels (K, 2), by the definition."""
    n = directions(poses, mounts, points[seen.landmark], seen.frame, seen.camera)
    return (seen.M @ n[..., None])[..., 0]


def dense_normal_equations(
    seen: Observations, mounts: CameraMounts, poses: Poses, points: np.ndarray, noise: RobustPixels
) -> tuple[np.ndarray, np.ndarray]:
    """J^T W J, J^T W r over all poses and landmarks, by central differences of the residuals."""
    F, L = len(poses.R), len(points)

    def at(d: np.ndarray) -> np.ndarray:
        return residuals(seen, mounts, stepped(poses, d[: 6 * F]), points + d[6 * F :].reshape(-1, 3)).ravel()

    eye = np.eye(6 * F + 3 * L) * 1e-6
    J = np.stack([(at(e) - at(-e)) / 2e-6 for e in eye], 1)
    r = at(np.zeros(6 * F + 3 * L))
    error = np.repeat(np.linalg.norm(r.reshape(-1, 2), axis=1), 2)
    weight = noise.weight / (1 + (error / noise.scale) ** 2)
    return (J * weight[:, None]).T @ J, (J * weight[:, None]).T @ r


class ImageCost:
    """The vision cost of some sightings, asked with plain poses and landmarks."""

    def __init__(
        self, seen: Observations, mounts: CameraMounts, noise: RobustPixels, refined: tuple[AnyKey, ...] = ()
    ) -> None:
        self.seen, self.noise, self.refined = seen, noise, refined
        T_body_cams = transform(np.swapaxes(mounts.R_cam_body, 1, 2), mounts.p_body_cam)
        self.calibration = Values({Key(Mount, i): Mount(T) for i, T in enumerate(T_body_cams)})
        self.calibration |= Values({TIME_OFFSET: TimeOffset(0.0)})

    def at(self, poses: Poses, fixed: Poses, points: np.ndarray, rates: np.ndarray | None = None) -> LinearVision:
        """rates (F, 6): of the frames, rad/s and m/s in the body."""
        rates = np.zeros((len(poses.R), 6)) if rates is None else rates
        frames = [blank_frame(i, rate[:3]) for i, rate in enumerate(rates)]
        cost = VisionCost(Sightings(frames, 2, self.seen, points, points * 0), self.noise, self.refined)
        values, where = (self.states(one, rates) | self.calibration for one in (poses, fixed))
        return cost.linearised(values, where)

    def states(self, poses: Poses, rates: np.ndarray) -> Values:
        every = enumerate(zip(poses.R, poses.p, rates, strict=True))
        return Values({Key(State, i): State(R, p, R @ rate[3:]) for i, (R, p, rate) in every})


def blank_frame(index: int, gyro: np.ndarray) -> Frame:
    none = np.zeros(0, np.int64), np.zeros((2, 0, 3)), np.zeros((2, 0, 2, 3)), np.zeros((2, 0), bool)
    return Frame(index, index, State(np.eye(3), np.zeros(3)), *none, gyro=gyro)


# -- the cost ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "landmarks"), SIZES)
@pytest.mark.parametrize("noise", [GAUSS, RobustPixels(0.7, 1.5)])
def test_normal_equations_are_the_schur_complement_of_the_dense_ones(
    frames: int, landmarks: int, noise: RobustPixels
) -> None:
    seen, mounts, poses, points = problem(frames + landmarks, frames, landmarks)
    got = ImageCost(seen, mounts, noise).at(poses, poses, points)
    H, g = dense_normal_equations(seen, mounts, poses, points, noise)
    P, Q = slice(None, 6 * frames), slice(6 * frames, None)
    pull = H[P, Q] @ np.linalg.inv(H[Q, Q])
    scale = np.abs(H[P, P]).max()
    # not closer: the landmarks have a ridge of 1e-9
    np.testing.assert_allclose(got.H, H[P, P] - pull @ H[Q, P], atol=1e-5 * scale)
    np.testing.assert_allclose(got.g, g[P] - pull @ g[Q], atol=1e-5 * np.abs(g[P]).max())
    d = np.random.default_rng(0).normal(0, 0.01, 6 * frames)
    expected = -np.linalg.solve(H[Q, Q], g[Q] + H[Q, P] @ d).reshape(-1, 3)
    np.testing.assert_allclose(got.landmark_steps(d), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("scale", [1e6, 1.5, 0.2])
def test_cost_is_half_the_sum_of_squares_below_the_scale_and_a_logarithm_beyond(scale: float) -> None:
    seen, mounts, poses, points = problem(3, 3, 10, off=0.002)
    noise = RobustPixels(0.7, scale)
    got = ImageCost(seen, mounts, noise).at(poses, poses, points)
    error = np.linalg.norm(residuals(seen, mounts, poses, points), axis=1)
    np.testing.assert_allclose(got.errors, error, atol=1e-9)
    by_hand = sum(e * e / 2 if scale == 1e6 else scale**2 / 2 * np.log(1 + (e / scale) ** 2) for e in error)
    assert got.cost == pytest.approx(by_hand * noise.weight, rel=1e-6)
    assert 0 < (error > scale).mean() < 1 or scale != 1.5


def test_noise_and_scale_are_those_of_most_errors_and_few_tell_nothing() -> None:
    noise, errors = RobustPixels(0.7, noise_scale=2.0), np.random.default_rng(0).rayleigh(0.2, 1000)
    assert noise.fitted(errors).sigma == pytest.approx(2.0 * 0.2, rel=0.05)
    assert noise.fitted(50 * errors).sigma == noise.fitted(500 * errors).sigma < 1.0  # a contradiction is no noise
    errors[:300] = 50.0
    assert 0.3 < noise.fitted(errors).scale / noise.factor < 0.4
    assert noise.fitted(errors[:10]) == noise
    assert min(noise.fitted(np.zeros(100)).scale, noise.fitted(np.zeros(100)).sigma) > 0


@pytest.mark.parametrize("factor", [0.5, 2.0, 6.0, 1e9])
def test_weights_of_gaussian_errors_add_up_to_what_they_tell(factor: float) -> None:
    errors = np.random.default_rng(0).rayleigh(0.3, 100_000)
    noise = RobustPixels(0.3, factor=factor).fitted(errors)
    assert np.mean(noise.weight / (1 + (errors / noise.scale) ** 2)) == pytest.approx(1 / 0.3**2, rel=0.01)


@pytest.mark.parametrize("noise", [GAUSS, RobustPixels(0.7, 1.5)])
def test_gradient_is_the_slope_of_the_cost_with_the_landmarks_at_their_best(noise: RobustPixels) -> None:
    seen, mounts, poses, points = problem(4, 3, 20, off=0.003)
    cost = ImageCost(seen, mounts, noise)

    def best(d: np.ndarray, points: np.ndarray) -> tuple[LinearVision, np.ndarray]:
        moved = stepped(poses, d)
        for _ in range(30):
            points = points + cost.at(moved, moved, points).landmark_steps(np.zeros(18))
        return cost.at(moved, moved, points), points

    here, settled = best(np.zeros(18), points)
    slopes = [(best(e, settled)[0].cost - best(-e, settled)[0].cost) / 2e-5 for e in np.eye(18) * 1e-5]
    np.testing.assert_allclose(here.g, slopes, atol=1e-4 * np.abs(slopes).max())


def test_curvature_is_that_of_the_cost_where_every_ray_meets() -> None:
    seen, mounts, poses, points = problem(5, 3, 20, noise_px=0.0, off=0.0)
    cost = ImageCost(seen, mounts, GAUSS)
    here = cost.at(poses, poses, points)
    np.testing.assert_allclose(here.g, 0, atol=1e-6 * np.sqrt(np.abs(here.H).max()))

    def bowl(d: np.ndarray) -> float:
        moved, p = stepped(poses, d), points
        for _ in range(5):
            p = p + cost.at(moved, moved, p).landmark_steps(np.zeros(18))
        return cost.at(moved, moved, p).cost

    for d in np.random.default_rng(6).normal(0, 1e-3, (5, 18)):
        assert (bowl(d) + bowl(-d)) / 2 == pytest.approx(d @ here.H @ d / 2, rel=1e-3)


def test_moving_the_whole_scene_costs_nothing() -> None:
    """Cameras alone know neither place nor heading of the whole."""
    seen, mounts, poses, points = problem(7, 4, 30, noise_px=0.0, off=0.0)
    H = ImageCost(seen, mounts, GAUSS).at(poses, poses, points).H
    for axis in np.eye(3):
        shift = np.concatenate([np.r_[0, 0, 0, R.T @ axis] for R in poses.R])
        turn = np.concatenate(
            [np.r_[R.T @ axis, R.T @ np.cross(axis, p)] for R, p in zip(poses.R, poses.p, strict=True)]
        )
        for free in (shift, turn):
            assert free @ H @ free < 1e-6 * np.abs(H).max()
    assert np.linalg.eigvalsh(H)[6] > 1e-6 * np.abs(H).max()  # six directions and no more


def test_derivatives_come_from_the_fixed_poses_and_errors_from_the_present_ones() -> None:
    seen, mounts, poses, points = problem(8, 3, 10)
    other = stepped(poses, np.random.default_rng(9).normal(0, 0.05, 18))
    cost = ImageCost(seen, mounts, GAUSS)
    mixed = cost.at(poses, other, points)
    np.testing.assert_array_equal(mixed.errors, cost.at(poses, poses, points).errors)
    np.testing.assert_allclose(mixed.H, cost.at(other, other, points).H, rtol=1e-12)
    assert np.abs(mixed.g - cost.at(poses, poses, points).g).max() > 0


def test_a_landmark_behind_its_camera_costs_a_constant_and_pulls_at_nothing() -> None:
    seen, mounts, poses, points = problem(10, 2, 1)
    behind = ImageCost(seen, mounts, RobustPixels(1.0, 3.0, factor=1e9)).at(poses, poses, -points)
    assert (behind.errors == BEHIND_PX).all()
    assert behind.cost == pytest.approx(len(behind.errors) * 4.5 * np.log(1 + (BEHIND_PX / 3.0) ** 2))
    assert (behind.H == 0).all()
    assert (behind.g == 0).all()
    assert np.isfinite(behind.landmark_steps(np.ones(12))).all()


def test_behind_is_what_lies_more_than_a_right_angle_from_where_it_was_seen() -> None:
    """Landmarks all around, seen in any direction."""
    rng = np.random.default_rng(18)
    mounts, poses, points = random_mounts(rng), random_poses(rng, 2), rng.normal(0, 5, (50, 3))
    seen = observe(rng, poses, mounts, points)
    towards = unit(rng.normal(0, 1, seen.bearing.shape))
    elsewhere = Observations(seen.frame, seen.camera, seen.landmark, towards, resolution(towards))
    errors = ImageCost(elsewhere, mounts, GAUSS).at(poses, poses, points).errors
    np.testing.assert_array_equal(errors == BEHIND_PX, np.sum(seen.bearing * towards, axis=1) <= 0)


def test_beyond_the_scale_a_sighting_pulls_the_less_the_worse_it_is() -> None:
    seen, mounts, poses, points = problem(11, 2, 1, noise_px=0.0, off=0.0)

    def pull(off: float, scale: float) -> float:
        bearing = seen.bearing.copy()
        bearing[0] = exp_so3(np.array([0, off, 0])) @ bearing[0]
        bad = Observations(seen.frame, seen.camera, seen.landmark, bearing, resolution(bearing))
        got = ImageCost(bad, mounts, RobustPixels(1.0, scale)).at(poses, poses, points)
        assert got.errors[0] == pytest.approx(FOCAL * off, rel=0.1)
        return float(np.linalg.norm(got.g))

    assert pull(0.1, 1.5) == pytest.approx(pull(0.05, 1.5) / 2, rel=0.15)
    assert pull(0.1, 1e6) > 3 * pull(0.1, 1.5)


def test_with_rates_the_equations_tell_of_mounts_and_time_offset_too() -> None:
    frames, landmarks, rng = 3, 20, np.random.default_rng(15)
    T_body_cams = [transform(exp_so3(rng.normal(0, 0.2, 3)), rng.normal(0, 0.15, 3)) for _ in range(2)]
    poses, true = random_poses(rng, frames), random_landmarks(rng, landmarks)
    seen = observe(rng, poses, CameraMounts(T_body_cams), true, 1.0)
    points, rates = true + rng.normal(0, 0.01, true.shape), rng.normal(0, 1, (frames, 6))

    def at(d: np.ndarray) -> np.ndarray:
        """Residuals after a step of poses, each mount in its own frame, the time offset, and the landmarks."""
        pose, mount, late, point = np.split(d, [6 * frames, 6 * frames + 12, 6 * frames + 13])
        moved = stepped(stepped(poses, pose), rates.ravel() * late)
        mounts = CameraMounts(
            [T @ transform(exp_so3(e[:3]), e[3:]) for T, e in zip(T_body_cams, mount.reshape(2, 6), strict=True)]
        )
        return residuals(seen, mounts, moved, points + point.reshape(-1, 3)).ravel()

    size = 6 * frames + 13
    eye = np.eye(size + 3 * landmarks) * 1e-6
    J = np.stack([(at(e) - at(-e)) / 2e-6 for e in eye], 1) / GAUSS.sigma
    H, g = J.T @ J, J.T @ at(0 * eye[0]) / GAUSS.sigma
    cost = ImageCost(seen, CameraMounts(T_body_cams), GAUSS, (Key(Mount, 0), Key(Mount, 1), TIME_OFFSET))
    got = cost.at(poses, poses, points, rates)
    pull = H[:size, size:] @ np.linalg.inv(H[size:, size:])
    assert got.H.shape == (size, size)
    np.testing.assert_allclose(got.H, H[:size, :size] - pull @ H[size:, :size], atol=1e-5 * np.abs(H).max())
    np.testing.assert_allclose(got.g, g[:size] - pull @ g[size:], atol=1e-5 * np.abs(g).max())


@pytest.mark.parametrize("refined", [(TIME_OFFSET,), (Key(Mount, 1),), (Key(Mount, 1), TIME_OFFSET)])
def test_what_is_refined_alone_has_the_equations_that_it_has_beside_the_others(refined: tuple[AnyKey, ...]) -> None:
    seen, mounts, poses, points = problem(16, 3, 20)
    rates = np.random.default_rng(17).normal(0, 1, (3, 6))
    every = (Key(Mount, 0), Key(Mount, 1), TIME_OFFSET)
    whole = ImageCost(seen, mounts, GAUSS, every).at(poses, poses, points, rates)
    some = ImageCost(seen, mounts, GAUSS, refined).at(poses, poses, points, rates)
    columns = {every[0]: range(18, 24), every[1]: range(24, 30), TIME_OFFSET: [30]}
    rows = np.r_[:18, np.concatenate([columns[key] for key in refined])].astype(int)
    np.testing.assert_allclose(some.H, whole.H[np.ix_(rows, rows)], atol=1e-9 * np.abs(whole.H).max())
    np.testing.assert_allclose(some.g, whole.g[rows], atol=1e-9 * np.abs(whole.g).max())


def test_the_rates_of_a_frame_are_its_gyro_less_the_bias_and_its_velocity_in_the_body() -> None:
    frame, bias = blank_frame(3, np.array([0.1, 0.2, 0.3])), np.array([0.01, -0.02, 0.03])
    R, v = exp_so3(np.array([0.3, -0.4, 0.5])), np.array([1.0, 2.0, 3.0])
    values = Values({frame.key: State(R, np.zeros(3), v, gyro_bias=bias)})
    np.testing.assert_allclose(body_rates([frame], values), [np.r_[frame.gyro - bias, R.T @ v]])


def test_a_frame_whose_time_offset_has_changed_is_where_its_rates_have_taken_it() -> None:
    """The pose after 20 ms in 2,000 small steps of its turning and its velocity."""
    frame, bias = blank_frame(3, np.array([0.4, -0.2, 0.3])), np.array([0.01, -0.02, 0.03])
    known = replace(blank_frame(4, np.zeros(3)), offset_s=0.02)
    R, v = exp_so3(np.array([0.3, -0.4, 0.5])), np.array([1.0, 2.0, 3.0])
    states = [State(R, np.array([5.0, 6.0, 7.0]), v, gyro_bias=bias), State(R, np.ones(3), v)]
    values = Values({frame.key: states[0], known.key: states[1], TIME_OFFSET: TimeOffset(0.02)})
    poses = camera_poses([frame, known], values)
    turned = R
    for _ in range(2000):
        turned = turned @ exp_so3((frame.gyro - bias) * 1e-5)
    np.testing.assert_allclose(poses.R, [turned, R], atol=1e-9)
    np.testing.assert_allclose(poses.p, [[5.02, 6.04, 7.06], [1.0, 1.0, 1.0]], atol=1e-12)


# -- landmarks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 50])
def test_small_landmark_steps_are_plain_sums(n: int) -> None:
    rng = np.random.default_rng(n)
    points, origin = random_landmarks(rng, n), rng.normal(0, 0.5, (n, 3))
    steps = rng.normal(0, 1e-4, (n, 3))
    np.testing.assert_allclose(step_landmarks(points, steps, origin), points + steps, atol=1e-7)


def test_a_landmark_never_falls_behind_its_origin_nor_beyond_a_kilometre() -> None:
    origin, point = np.zeros((1, 3)), np.array([[0, 0, 5.0]])
    for along, distance in ((-1e6, 0.1), (1e6, 1000.0), (5.0, 1000.0), (2.5, 10.0), (-5.0, 2.5)):
        moved = step_landmarks(point, np.array([[0, 0, along]]), origin)
        np.testing.assert_allclose(moved, [[0, 0, distance]], rtol=1e-9)


def test_two_gauss_newton_steps_bring_far_landmarks_home() -> None:
    rng = np.random.default_rng(12)
    mounts, poses = random_mounts(rng), random_poses(rng, 3)
    true = random_landmarks(rng, 20) * 8
    seen = observe(rng, poses, mounts, true)
    cost, origin = ImageCost(seen, mounts, GAUSS), np.tile(poses.p[0], (20, 1))
    points = origin + (true - origin) * 0.3
    for _ in range(4):
        points = step_landmarks(points, cost.at(poses, poses, points).landmark_steps(np.zeros(18)), origin)
    np.testing.assert_allclose(points, true, rtol=1e-2)


@pytest.mark.parametrize("n", [1, 2, 50])
def test_exact_rays_meet_in_their_point(n: int) -> None:
    rng = np.random.default_rng(n)
    mounts, poses, points = random_mounts(rng), random_poses(rng, 3), random_landmarks(rng, n)
    found = triangulate(poses, observe(rng, poses, mounts, points), n, mounts)
    np.testing.assert_allclose(found.points, points, atol=1e-7)
    assert found.ahead.all()
    assert found.miss_rad.max() < 1e-7
    assert found.information.min() > 1e-4


def test_the_triangulated_point_is_nearest_to_all_rays() -> None:
    rng = np.random.default_rng(13)
    mounts, poses, points = random_mounts(rng), random_poses(rng, 4), random_landmarks(rng, 1)
    seen = observe(rng, poses, mounts, points, 5.0)
    found = triangulate(poses, seen, 1, mounts)

    def spread(point: np.ndarray) -> float:
        centre = poses.p[seen.frame] + (poses.R[seen.frame] @ mounts.p_body_cam[seen.camera][..., None])[..., 0]
        R = poses.R[seen.frame] @ np.swapaxes(mounts.R_cam_body, 1, 2)[seen.camera]
        ray = (R @ seen.bearing[..., None])[..., 0]
        return np.square(np.cross(point - centre, ray)).sum()

    for d in 1e-3 * np.vstack([np.eye(3), -np.eye(3)]):
        assert spread(found.points[0] + d) > spread(found.points[0])
    assert found.miss_rad[0] > 1e-3


def test_parallel_rays_say_nothing_and_crossing_ones_behind_are_not_ahead() -> None:
    mounts = CameraMounts([np.eye(4), transform(np.eye(3), np.array([0.1, 0, 0]))])
    poses = Poses(np.eye(3)[None], np.zeros((1, 3)))
    pair = np.arange(2)
    for far, information in ((1e5, 1e-11), (10.0, 1e-3)):
        bearing = unit(np.array([[0, 0, far], [-0.1, 0, far]]))
        seen = Observations(0 * pair, pair, 0 * pair, bearing, resolution(bearing))
        assert 0 <= triangulate(poses, seen, 1, mounts).information[0] < information
    apart = np.array([[-0.1, 0, 1.0], [0.1, 0, 1.0]])  # these meet behind the cameras
    seen = Observations(0 * pair, pair, 0 * pair, apart / np.linalg.norm(apart[0]), resolution(apart))
    assert not triangulate(poses, seen, 1, mounts).ahead[0]


# -- sightings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 50])
def test_sightings_are_those_of_a_plain_search(n: int) -> None:
    rng = np.random.default_rng(n)
    frames = []
    for index in range(3):
        ids = np.sort(rng.choice(2 * n, n, replace=False))
        seen = rng.random((2, n)) < 0.7
        arrays = rng.normal(size=(2, n, 3)), rng.normal(size=(2, n, 2, 3))
        frames.append(Frame(index, index, State(np.eye(3), np.zeros(3)), ids, *arrays, seen))
    wanted = np.sort(rng.choice(2 * n, n, replace=False))
    got = sightings(wanted, frames)
    by_hand = [
        (f, c, int(np.flatnonzero(wanted == frame.ids[i])[0]), *frame.bearings[c, i], *frame.M[c, i].ravel())
        for c, (f, frame), i in product(range(2), enumerate(frames), range(n))
        if frame.seen[c, i] and frame.ids[i] in wanted
    ]
    rows = zip(got.frame, got.camera, got.landmark, got.bearing, got.M, strict=True)
    assert [(f, c, k, *b, *m.ravel()) for f, c, k, b, m in rows] == by_hand
    assert got.counts(n).tolist() == [sum(row[2] == k for row in by_hand) for k in range(n)]


def test_the_kernels_need_no_folder_to_keep_what_was_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "__pycache__").touch()  # so that no folder of this name can be made
    copy = shutil.copy(vision_kernels.__file__, tmp_path / "kernels.py")
    spec = some(spec_from_file_location("kernels", copy))
    kernels = module_from_spec(spec)
    some(spec.loader).exec_module(kernels)
    eye, none = np.eye(3), np.zeros(3)
    assert kernels.look(eye, none, np.array([0.0, 3.0, 4.0]), eye, none, np.empty(3), np.empty(3)) == 5.0
    assert not kernels.look.stats.cache_path


LOOK = """
import numpy as np
from letvins_ros.estimation.costs.vision_kernels import look
look(np.eye(3), np.zeros(3), np.ones(3), np.eye(3), np.zeros(3), np.empty(3), np.empty(3))
"""


def test_an_installed_package_keeps_what_was_compiled_elsewhere(root: Path, tmp_path: Path) -> None:
    """What pip did not put there it leaves there: a folder without modules, which hides an editable installation."""
    installed, home = tmp_path / "site-packages", tmp_path / "home"
    shutil.copytree(root / "letvins_ros", installed / "letvins_ros", ignore=shutil.ignore_patterns("__pycache__"))
    others = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    env = {**others, "HOME": str(home), "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", LOOK], env=env, cwd=tmp_path, check=True)
    assert not list(installed.rglob("*.nb?"))
    assert list((home / ".cache/letvins_ros").rglob("*.nbc"))
