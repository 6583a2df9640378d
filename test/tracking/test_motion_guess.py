# SPDX-License-Identifier: Apache-2.0
import numpy as np

from letvins_ros.camera import Camera
from letvins_ros.geometry import apply, exp_so3, inverse
from letvins_ros.tracking.group import Features
from letvins_ros.tracking.motion_guess import LEAST_DISPARITY_PX, MotionGuess

CAMERA = Camera("pinhole-radtan", 1200, 400, (700.0, 700.0, 600.0, 200.0))
CAPTURE_PX = 30.0  # what flow finds
LIMIT_PX = 1.5


def street(count: int, nearest_m: float) -> tuple[Features, np.ndarray]:
    """Features of a street ahead that are still seen two metres on, and their points (N, 3) in the camera."""
    rng = np.random.default_rng(3)
    points = CAMERA.unproject(rng.uniform([50, 50], [1150, 350], (4 * count, 2)))
    points *= rng.uniform(nearest_m, 60.0, (len(points), 1))
    points = points[CAMERA.project(points - [0.0, 0.0, 2.5])[1]][:count]
    distance = np.linalg.norm(points, axis=1)
    features = Features(
        ids=np.arange(count),
        uv=CAMERA.project(points)[0].astype(np.float32),
        bearings=points / distance[:, None],
        inverse_distance=1 / distance,
        ages=np.zeros(count, np.int32),
        flow=np.zeros((count, 2), np.float32),
    )
    return features, points


class Flow:
    """Finds what lies within reach of its guess, and something else, a little further, otherwise."""

    def __init__(self, there: np.ndarray, uv: np.ndarray) -> None:
        self.there, self.uv, self.asked = there, uv, 0

    def __call__(self, uv: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.asked += len(uv)
        rows = [int(np.linalg.norm(self.uv - one, axis=1).argmin()) for one in uv]
        near = np.linalg.norm(self.there[rows] - guess, axis=1) < CAPTURE_PX
        return np.where(near[:, None], self.there[rows], guess + 5.0), np.ones(len(uv), bool)


def moved(points: np.ndarray, metres: float) -> np.ndarray:
    """Where points are seen after the camera has moved ahead and turned a little."""
    T_last_now = np.eye(4)
    T_last_now[:3, :3], T_last_now[:3, 3] = exp_so3(np.array([[0.0, 0.01, 0.0]]))[0], [0.05, 0.0, metres]
    return CAMERA.project(apply(inverse(T_last_now), points))[0]


def test_near_features_are_found_where_the_motion_of_the_far_ones_leads() -> None:
    features, points = street(150, 5.0)
    there = moved(points, 2.0)
    flow = Flow(there, features.uv)
    alone = np.linalg.norm(flow(features.uv, features.uv)[0] - there, axis=1) < 1
    assert 0.4 < alone.mean() < 0.9  # else the test would show nothing
    uv, found = MotionGuess(CAMERA, 1 / (700 * 0.5)).follow(features, flow, LIMIT_PX)
    right = np.linalg.norm(uv - there, axis=1) < 1
    assert found.all()
    assert right.mean() > 0.98


def test_the_next_step_is_expected_to_be_like_the_last_one() -> None:
    guess, flows = MotionGuess(CAMERA, 1 / (700 * 0.5)), []
    for _ in range(2):
        features, points = street(150, 5.0)
        flows.append(Flow(moved(points, 2.0), features.uv))
        guess.follow(features, flows[-1], LIMIT_PX)
    assert flows[0].asked > 170
    assert flows[1].asked == 150  # nothing is looked for twice
    guess.forget()
    flows[0].asked = 0
    guess.follow(features, flows[0], LIMIT_PX)
    assert flows[0].asked > 170


def test_without_distances_flow_is_what_there_is() -> None:
    features, points = street(60, 5.0)
    features.inverse_distance[:] = np.nan
    there = moved(points, 2.0)
    flow = Flow(there, features.uv)
    uv, _ = MotionGuess(CAMERA, 0.0).follow(features, flow, LIMIT_PX)
    np.testing.assert_array_equal(uv, Flow(there, features.uv)(features.uv, features.uv)[0])
    assert flow.asked == 60


def test_far_features_are_no_landmarks_of_the_motion() -> None:
    features, points = street(60, 20.0)
    flow = Flow(moved(points, 2.0), features.uv)
    of_a_pixel = 1 / (10.0 * LEAST_DISPARITY_PX)  # what is nearer than 10 m has enough disparity
    MotionGuess(CAMERA, of_a_pixel).follow(features, flow, LIMIT_PX)
    assert flow.asked == 60
