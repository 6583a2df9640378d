# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.simulation.atlas import pack
from letvins_ros.simulation.render import MAX_DEPTH, Renderer, View
from letvins_ros.simulation.rigs import EUROC_RIG
from letvins_ros.simulation.sequence import Simulation
from letvins_ros.simulation.world import Quads, join, quad

CAMERA = EUROC_RIG.cameras[0].camera
LOOK_AHEAD = geometry.transform(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
DENSITY = 100.0


def wall(distance: float, half_width: float, half_height: float) -> Quads:
    """A wall that faces a camera at the origin which looks along x."""
    corner = np.array([distance, -half_width, -half_height])
    return quad(corner, np.array([0, 0, 2 * half_height]), np.array([0, 2 * half_width, 0]))


def render(walls: list[Quads], surfaces: list[np.ndarray], T_world_cam: np.ndarray = LOOK_AHEAD) -> View:
    return Renderer(CAMERA, join(walls), pack(surfaces), DENSITY).render(T_world_cam)


def nearest_depth(quads: Quads, T_world_cam: np.ndarray, bearings: np.ndarray) -> np.ndarray:
    """Depth along the optical axis of the first rectangle that each bearing meets, one at a time."""
    depths = []
    for bearing in bearings:
        ray, best = T_world_cam[:3, :3] @ bearing, np.inf
        for origin, u, v, size, normal in zip(quads.origin, quads.u, quads.v, quads.size, quads.normal, strict=True):
            if normal @ ray < 0:
                t = normal @ (origin - T_world_cam[:3, 3]) / (normal @ ray)
                p = T_world_cam[:3, 3] + t * ray - origin
                if t > 0 and 0 <= p @ u <= size[0] and 0 <= p @ v <= size[1]:
                    best = min(best, t * bearing[2])
        depths.append(best)
    return np.array(depths)


@pytest.mark.parametrize("index", [0, 30, 60])
def test_depth_is_that_of_the_nearest_rectangle_for_any_pixel(hall: Simulation, index: int) -> None:
    rng = np.random.default_rng(index)
    uv = np.stack([rng.integers(0, 752, 300), rng.integers(0, 480, 300)], axis=1)
    T_world_cam = hall.T_world_cam(index, 1)
    expected = nearest_depth(hall.quads, T_world_cam, hall.rig.cameras[1].camera.unproject(uv.astype(float)))
    depth = 1 / hall.view(index, 1).inverse_depth[uv[:, 1], uv[:, 0]]
    close = np.abs(depth / expected - 1) < 1e-3
    assert close.mean() > 0.99  # a ray that grazes an edge may fall on either side
    np.testing.assert_allclose(depth[close], expected[close], rtol=2e-5)


def test_a_dot_on_a_wall_is_drawn_where_the_camera_model_projects_it() -> None:
    surface = np.full((600, 900), 40, np.uint8)  # rows along world y, columns along world z
    dots = np.array([[290, 90], [450, 300], [600, 420], [300, 540], [520, 60], [380, 200]])  # column, row
    for column, row in dots.tolist():
        cv2.circle(surface, (column, row), 5, 255, -1)
    low = wall(4.0, 3.0, 4.5)
    image = render([low], [surface]).surface.astype(float) - 40
    texel = (dots + 0.5) / DENSITY
    points = np.array([4.0, -3.0, -4.5]) + texel[:, 1:] * [0, 1, 0] + texel[:, :1] * [0, 0, 1]
    expected, valid = CAMERA.project(geometry.apply(geometry.inverse(LOOK_AHEAD), points))
    assert valid.sum() >= 5
    for u, v in expected[valid]:
        spot = np.s_[round(v) - 9 : round(v) + 10, round(u) - 9 : round(u) + 10]
        weights = np.clip(image[spot], 0, None)
        rows, columns = np.mgrid[spot]
        centroid = np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()
        np.testing.assert_allclose(centroid, [u, v], atol=0.04)


def test_what_is_in_front_hides_what_is_behind_whatever_their_order() -> None:
    near, far = np.full((100, 100), 200, np.uint8), np.full((1000, 1000), 50, np.uint8)
    walls = [wall(2.0, 0.5, 0.5), wall(6.0, 5.0, 5.0)]
    first, second = render(walls, [near, far]), render(walls[::-1], [far, near])
    np.testing.assert_array_equal(first.surface, second.surface)
    assert first.surface[248, 367] == 200
    assert first.surface[248, 120] == 50
    assert 1 / first.inverse_depth[248, 367] == pytest.approx(2.0)
    assert 1 / first.inverse_depth[248, 120] == pytest.approx(6.0, rel=1e-5)


def test_edges_are_smooth() -> None:
    near, far = np.full((100, 100), 200, np.uint8), np.full((1000, 1000), 50, np.uint8)
    tilted = LOOK_AHEAD @ geometry.transform(geometry.exp_so3(np.array([0, 0, 0.1])), np.zeros(3))
    image = render([wall(2.0, 0.5, 0.5), wall(6.0, 5.0, 5.0)], [near, far], tilted).surface
    between = (image > 60) & (image < 190)
    assert 150 < between.sum() < 1500
    assert len(np.unique(image[between])) >= 3


def test_walls_seen_from_behind_or_nowhere_leave_nothing() -> None:
    surface = np.full((200, 200), 200, np.uint8)
    behind = LOOK_AHEAD @ geometry.transform(geometry.exp_so3(np.array([0, np.pi, 0])), np.zeros(3))
    assert (render([wall(2.0, 1.0, 1.0)], [surface], behind).inverse_depth == np.float32(1 / MAX_DEPTH)).all()


def test_a_wall_that_passes_the_camera_is_seen_up_to_the_image_border() -> None:
    floor = quad(np.array([-5.0, -5.0, -1.0]), np.array([10.0, 0, 0]), np.array([0, 10.0, 0]))
    view = render([floor], [np.full((1000, 1000), 90, np.uint8)])
    assert (view.surface[400:] == 90).all()
    below = np.linspace(345, 479, 10).astype(int)
    y = CAMERA.unproject(np.stack([np.full(10, 367.0), below], axis=1))
    np.testing.assert_allclose(view.inverse_depth[below, 367], y[:, 1] / y[:, 2], rtol=1e-4)


def test_far_fine_patterns_fade_to_their_mean() -> None:
    surface = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (4000, 4000))
    image = render([wall(40.0, 20.0, 20.0)], [surface]).surface[200:300, 300:440]
    assert image.mean() == pytest.approx(127.5, abs=6)
    assert image.std() < 45  # the pattern's own is 127


def test_left_and_right_show_the_same_surface_points(hall: Simulation) -> None:
    checked, difference = 0, []
    for index in (0, 40):
        left, right = hall.view(index, 0), hall.view(index, 1)
        v, u = np.mgrid[20:460:7, 20:730:7].reshape(2, -1)
        bearings = hall.rig.cameras[0].camera.unproject(np.stack([u, v], axis=1).astype(float))
        points_left = bearings / bearings[:, 2:] / left.inverse_depth[v, u][:, None]
        T_right_left = geometry.inverse(hall.T_world_cam(index, 1)) @ hall.T_world_cam(index, 0)
        points_right = geometry.apply(T_right_left, points_left)
        uv, valid = hall.rig.cameras[1].camera.project(points_right)
        uv = np.nan_to_num(uv).astype(np.float32)
        depth = cv2.remap(1 / right.inverse_depth, uv[:, :1], uv[:, 1:], cv2.INTER_LINEAR)[:, 0]
        color = cv2.remap(right.surface, uv[:, :1], uv[:, 1:], cv2.INTER_LINEAR)[:, 0]
        shown = valid & (np.abs(depth / points_right[:, 2] - 1) < 0.01)  # hidden from the right one otherwise
        assert shown.sum() > 0.6 * valid.sum()
        difference += np.abs(color[shown].astype(float) - left.surface[v, u][shown]).tolist()
        checked += shown.sum()
    assert checked > 5000
    assert np.median(difference) < 2.5
    assert np.mean(difference) < 5
