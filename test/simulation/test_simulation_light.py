# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros.simulation import light
from letvins_ros.simulation.light import Lighting
from letvins_ros.simulation.world import box, join, room_shell

ROOM = np.array([6.0, 6.0, 3.0])


def test_a_box_throws_a_shadow_on_the_floor() -> None:
    lighting = Lighting(lamps=1)
    empty = light.bake(join(room_shell(ROOM)), ROOM, lighting, np.random.default_rng(2))[0]
    table = box(np.zeros(3), np.array([1.5, 1.5, 1.0]), 0.0)
    shaded = light.bake(join(room_shell(ROOM) + table), ROOM, lighting, np.random.default_rng(2))[0]
    middle = len(empty) // 2
    lamp_light = empty[middle, middle] - lighting.ambient
    assert shaded[middle, middle] - lighting.ambient < 0.4 * lamp_light
    assert (shaded > 0.98 * empty).mean() > 0.4
    assert (shaded >= lighting.ambient).all()


def test_shade_scales_and_clips_gray_and_color() -> None:
    surface = np.full((40, 60), 100, np.uint8)
    brightness = np.full((3, 4), 1.5, np.float32)
    assert (light.shade(surface, brightness) == 150).all()
    color = np.stack([surface, surface * 2, surface], axis=2)
    assert light.shade(color, brightness)[5, 5].tolist() == [150, 255, 150]


def test_the_carried_lamp_lights_what_is_near_and_ahead_of_it() -> None:
    points = np.array([[0.2, 0, 1.0], [0.2, 0, 4.0], [1.2, 0, 1.0]])  # in the camera's axes, the lamp beside it
    rays, inverse_depth = (points[:, :2] / points[:, 2:]).T[:, None], 1 / points[None, :, 2]
    lit = light.headlamp(rays, inverse_depth, np.array([0.2, 0, 0]), np.array([0, 0, 1.0]))
    assert lit.shape == (1, 3)
    near, far, aside = lit[0]
    assert near == pytest.approx(1.1, abs=1e-5)
    assert far == pytest.approx(1.65 / 16.5, abs=1e-5)
    assert near > 4 * aside
