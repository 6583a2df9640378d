# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.simulation import sensor
from letvins_ros.simulation.rigs import EUROC_RIG
from letvins_ros.simulation.sensor import Sensor


def test_noise_has_the_deviation_of_its_brightness() -> None:
    settings = Sensor(read_noise=2.0, shot_noise=0.1)
    bank = sensor.noise_bank((300, 400), np.random.default_rng(0))
    for gray in (60, 160):
        surface, gain = np.full((300, 400), gray, np.uint8), np.ones((300, 400), np.float32)
        image = sensor.add_noise(surface, gain, bank, settings, np.random.default_rng(1))
        assert image.mean() == pytest.approx(gray, abs=0.05)
        assert image.std() == pytest.approx(np.sqrt(4 + 0.1 * gray), rel=0.03)


def test_every_dice_cuts_other_noise() -> None:
    bank = sensor.noise_bank((100, 100), np.random.default_rng(0))
    surface, gain = np.full((100, 100, 3), 100, np.uint8), np.ones((100, 100), np.float32)
    images = [sensor.add_noise(surface, gain, bank, Sensor(), np.random.default_rng(i)) for i in (1, 1, 2)]
    assert (images[0] == images[1]).all()
    assert (images[0] != images[2]).any()


@pytest.mark.parametrize("motion", [(0.0, 0.0), (6.0, -3.0), (0.2, 9.0)])
def test_blur_keeps_brightness_and_place_and_spreads_along_the_motion(motion: tuple[float, float]) -> None:
    kernel = sensor.blur_kernel(np.array(motion))
    height, width = kernel.shape
    y, x = np.mgrid[:height, :width] - np.array([height // 2, width // 2])[:, None, None]
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert (kernel * x).sum() == pytest.approx(0, abs=1e-5)
    assert (kernel * y).sum() == pytest.approx(0, abs=1e-5)
    still = sensor.blur_kernel(np.zeros(2))
    middle = np.mgrid[:3, :3][1] - 1
    lens = (still * middle**2).sum()
    assert (kernel * x**2).sum() - lens == pytest.approx(motion[0] ** 2 / 12, rel=0.4, abs=0.15)


def test_image_motion_is_that_of_a_projected_point() -> None:
    camera, h = EUROC_RIG.cameras[0].camera, 1e-5
    gyro, velocity = np.array([0.3, -0.5, 0.2]), np.array([0.4, 0.1, -0.6])
    point = np.array([[0.0, 0.0, 2.5]])
    T_before_after = geometry.transform(geometry.exp_so3(gyro * h), velocity * h)
    moved = geometry.apply(geometry.inverse(T_before_after), point)
    flow = (camera.project(moved)[0] - camera.project(point)[0])[0] / h
    np.testing.assert_allclose(sensor.image_motion(gyro, velocity, 1 / 2.5, 458.0), flow, rtol=0.01, atol=1)


def test_the_border_gets_less_light_than_the_middle() -> None:
    rays = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-0.5, 0.0, 0.5])).astype(np.float32)
    fall_off = sensor.lens_fall_off(rays, Sensor(vignetting=0.4))
    assert fall_off[1, 1] == 1
    assert fall_off[0, 0] == pytest.approx(1 / 1.5)
