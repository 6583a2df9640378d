# SPDX-License-Identifier: Apache-2.0
from typing import Any

import gtsam
import numpy as np
import pytest

from letvins_ros.estimation.calibration_variables import TIME_OFFSET, Mount, TimeOffset
from letvins_ros.estimation.state import State
from letvins_ros.estimation.variables import AnyKey, Key, Layout, Values, Variable
from letvins_ros.geometry import exp_so3, transform


def random_state(rng: np.random.Generator) -> State:
    return State(exp_so3(rng.normal(size=3)), *rng.normal(size=(4, 3)))


def random_variable(kind: type[Variable], rng: np.random.Generator) -> Any:
    if kind is State:
        return random_state(rng)
    return (
        Mount(transform(exp_so3(rng.normal(size=3)), rng.normal(size=3))) if kind is Mount else TimeOffset(rng.normal())
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", [State, Mount, TimeOffset])
def test_a_step_to_another_variable_leads_there_and_a_step_is_the_way_it_leads(kind: type[Variable], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_variable(kind, rng), random_variable(kind, rng)
    np.testing.assert_allclose(a.stepped(a.step_to(b)).step_to(b), np.zeros(kind.size), atol=1e-9)
    d = rng.normal(0, 0.5, kind.size)
    np.testing.assert_allclose(a.step_to(a.stepped(d)), d, atol=1e-9)


@pytest.mark.parametrize("kind", [State, Mount, TimeOffset])
def test_a_variable_has_the_same_steps_as_its_gtsam_parts(kind: type[Variable]) -> None:
    """A prior of GTSAM on each part has the gradient that our step has."""
    rng = np.random.default_rng(0)
    a, d = random_variable(kind, rng), rng.normal(0, 1e-6, kind.size)
    key = Key(kind, 3)
    before, after = gtsam.Values(), gtsam.Values()
    a.insert(before, 3)
    a.stepped(d).insert(after, 3)
    local = before.localCoordinates(after)
    np.testing.assert_allclose(np.concatenate([local.at(k) for k, _ in key.gtsam_keys()]), d, atol=1e-10)
    assert [local.at(k).size for k, _ in key.gtsam_keys()] == [size for _, size in key.gtsam_keys()]
    assert kind.settled.shape == kind.nonlinear.shape == (kind.size,)


def test_a_layout_gives_each_variable_its_rows_in_order_and_steps_no_other() -> None:
    rng = np.random.default_rng(1)
    keys: list[AnyKey] = [Key(State, 4), Key(Mount, 1), TIME_OFFSET]
    layout, values = Layout(keys), Values({key: random_variable(key.kind, rng) for key in [*keys, Key(Mount, 0)]})
    assert layout.size == 22
    assert layout.rows([TIME_OFFSET, Key(Mount, 1)]).tolist() == [21, *range(15, 21)]
    d = rng.normal(0, 0.1, 22)
    moved = layout.stepped(values, d)
    np.testing.assert_allclose(values.steps_to(moved, keys), d, atol=1e-12)
    assert moved[Key(Mount, 0)] is values[Key(Mount, 0)]
    assert not values.steps_to(values, keys).any()


def test_pose_steps_are_in_body_axes_and_the_others_in_odom() -> None:
    state = State(exp_so3(np.array([0, 0, np.pi / 2])), np.array([1.0, 2.0, 3.0]))
    after = state.stepped(np.r_[0.1, 0, 0, 1, 0, 0, 1, 0, 0, np.zeros(6)])
    np.testing.assert_allclose(after.p, [1, 3, 3], atol=1e-12)
    np.testing.assert_allclose(after.v, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(after.R, state.R @ exp_so3(np.array([0.1, 0, 0])), atol=1e-12)


def test_ten_thousand_steps_leave_a_rotation_a_rotation() -> None:
    state = State(np.eye(3), np.zeros(3))
    for d in np.random.default_rng(0).normal(0, 0.1, (10_000, 15)):
        state = state.stepped(d)
    np.testing.assert_allclose(state.R @ state.R.T, np.eye(3), atol=1e-14)
