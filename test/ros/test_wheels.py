# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from letvins_ros.estimation.costs.body_velocity import BodyVelocity, VelocityReadings
from letvins_ros.geometry import transform
from letvins_ros.ros.wheels import UNKNOWN_STD, Wheels

from ..some import some

MS = 1_000_000


def message(
    ns: int,
    v: tuple[float, float, float] = (1.0, 0.0, 0.0),
    yaw_rate: float = 0.1,
    variances: tuple[float, ...] = (0.0,) * 6,
) -> SimpleNamespace:
    xyz = SimpleNamespace(x=v[0], y=v[1], z=v[2])
    twist = SimpleNamespace(linear=xyz, angular=SimpleNamespace(x=0.0, y=0.0, z=yaw_rate))
    header = SimpleNamespace(stamp=SimpleNamespace(sec=ns // 10**9, nanosec=ns % 10**9), frame_id="base_link")
    return SimpleNamespace(header=header, twist=SimpleNamespace(twist=twist, covariance=np.diag(variances).ravel()))


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[VelocityReadings]:
    """The readings that reach the estimator's sensor."""
    got = []
    monkeypatch.setattr(BodyVelocity, "add", lambda self, readings: got.append(readings))
    return got


def test_speeds_reach_the_estimator_with_their_covariance(added: list[VelocityReadings]) -> None:
    wheels = Wheels(0.05)
    wheels.mount(np.eye(4))
    assert (
        wheels.add([message(10 * MS, variances=(0.04, 0.0, 1e6, 0, 0, 0.01)), message(30 * MS, (2.0, 0.1, 0.0))]) == 0
    )
    (readings,) = added
    assert readings.stamps_ns.tolist() == [10 * MS, 30 * MS]
    np.testing.assert_allclose(readings.linear, [[1.0, 0.0, 0.0], [2.0, 0.1, 0.0]])
    np.testing.assert_allclose(readings.linear_std, [[0.2, 0.05, UNKNOWN_STD], [0.05] * 3])
    np.testing.assert_allclose(some(readings.yaw_rate), 0.1)
    np.testing.assert_allclose(some(readings.yaw_rate_std), [0.1, np.nan])


def test_old_repeated_and_infinite_readings_are_refused(added: list[VelocityReadings]) -> None:
    wheels = Wheels(0.05)
    wheels.mount(np.eye(4))
    wrong = [message(10 * MS), message(10 * MS), message(5 * MS), message(20 * MS, (np.nan, 0, 0)), message(30 * MS)]
    assert wheels.add(wrong) == 3
    assert added[0].stamps_ns.tolist() == [10 * MS, 30 * MS]
    wheels.forget()  # time begins anew
    assert wheels.add([message(5 * MS)]) == 0


def test_before_its_place_is_known_it_measures_nothing(added: list[VelocityReadings]) -> None:
    wheels = Wheels(0.05)
    assert not wheels.mounted
    wheels.add([message(10 * MS)])
    assert not added
    frame: Any = None  # not looked at
    assert wheels.costs(frame, frame) == []
    wheels.mount(transform(np.eye(3), np.ones(3)))
    assert wheels.mounted
    wheels.unmount()
    wheels.add([message(20 * MS)])
    assert (wheels.mounted, added) == (False, [])
