# SPDX-License-Identifier: Apache-2.0
import threading

import cv2
import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.errors import ConfigError, DataError
from letvins_ros.simulation import SCENARIOS, Simulation
from letvins_ros.simulation.parallel import in_order

from ..some import some


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(corridor: Simulation) -> None:
    again, other = Simulation("corridor", 0.5, 7), Simulation("corridor", 0.5, 8)
    for a, b in zip(corridor.frames(0.2, 0.15), again.frames(0.2), strict=False):
        assert a.stamp_ns == b.stamp_ns
        assert all((some(x) == y).all() for x, y in zip(a.images, b.images, strict=True))
    np.testing.assert_array_equal(corridor.imu.accel, again.imu.accel)
    assert (corridor.image(3, 0) != other.image(3, 0)).mean() > 0.5
    assert (corridor.imu.gyro != other.imu.gyro).all()


def test_frames_are_the_images_in_time_order_within_the_span(corridor: Simulation) -> None:
    frames = list(corridor.frames(0.1, 0.3))
    assert [frame.stamp_ns for frame in frames] == corridor.stamps_ns[2:8].tolist()
    assert some(frames[0].images[0]).shape == (480, 752)
    np.testing.assert_array_equal(frames[1].images[1], corridor.image(3, 1))
    assert len(corridor) == 11
    with pytest.raises(DataError, match="corridor_7"):
        next(corridor.frames(3.0))


def test_truth_is_the_pose_of_the_imu_whose_readings_are_given(corridor: Simulation) -> None:
    assert corridor.truth.stamps_ns.tolist() == corridor.imu.stamps_ns.tolist()
    T_world_body = geometry.from_quaternion(corridor.truth.positions, corridor.truth.quaternions)
    T_cam_left = T_world_body[::10] @ corridor.rig.cameras[0].T_body_cam
    np.testing.assert_allclose(T_cam_left[4], corridor.T_world_cam(4, 0), atol=1e-9)


def test_a_hall_offers_corners_in_daylight_and_a_corridor_few(hall: Simulation, corridor: Simulation) -> None:
    for simulation, least, most in ((hall, 120, 500), (corridor, 15, 200)):
        image = simulation.image(8, 0)
        assert 50 < image.mean() < 160
        assert least < len(cv2.goodFeaturesToTrack(image, 1000, 0.01, 20)) < most


def test_a_dark_hall_is_dark_noisy_and_flickers() -> None:
    dark = Simulation("dark", 0.3, 2)
    images = np.stack([dark.image(i, 0) for i in range(5)]).astype(float)
    assert images.mean() < 80
    assert np.median(images) < 60
    means = images.mean(axis=(1, 2))
    assert np.abs(np.diff(means) / means[1:]).max() > 0.03
    assert np.std(images[0] - cv2.medianBlur(images[0].astype(np.uint8), 3)) > 1.5


def test_unknown_scenarios_and_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"beach; known: hall, hall4, corridor"):
        Simulation("beach", 1.0, 0)
    with pytest.raises(ConfigError, match="-1 s"):
        Simulation("hall", -1.0, 0)
    assert set(SCENARIOS) == {"hall", "hall4", "corridor", "relit", "aggressive", "dark", "static"}


def test_parallel_work_keeps_its_order_and_its_errors() -> None:
    assert list(in_order(lambda i: i * i, range(50))) == [i * i for i in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda i: 1 // (5 - i), range(50)))


def test_parallel_work_stops_with_its_consumer() -> None:
    done, lock = [], threading.Lock()

    def work(i: int) -> int:
        with lock:
            done.append(i)
        return i

    results = in_order(work, range(1000))
    assert next(results) == 0
    results.close()
    assert len(done) < 20


@pytest.mark.parametrize(("scenario", "laps"), [("corridor", 2), ("relit", 2), ("static", 0)])
def test_by_default_a_scenario_lasts_as_long_as_it_needs(scenario: str, laps: int) -> None:
    simulation = Simulation(scenario, None, 3)
    path = simulation.truth.positions[::20, :2]
    angle = np.unwrap(np.arctan2(*(path - path.mean(axis=0)).T))
    turns = abs(angle[-1] - angle[0]) / (2 * np.pi) if laps else 0
    assert turns == pytest.approx(laps, abs=0.35)
    assert len(simulation) == (1801 if laps else 401)
