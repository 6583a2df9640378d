# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import gtsam
import numpy as np
import pytest

from letvins_ros.calibration import ImuNoise
from letvins_ros.estimation.costs.gtsam_factors import GtsamCost
from letvins_ros.estimation.costs.inertial import imu_factors
from letvins_ros.estimation.costs.linear import LinearCost, Quadratic
from letvins_ros.estimation.frame import Frame
from letvins_ros.estimation.preintegration import preintegrate
from letvins_ros.estimation.state import B, State, V, X
from letvins_ros.estimation.variables import Key, Layout, Values
from letvins_ros.geometry import exp_so3
from letvins_ros.imu import ImuSteps

NOISE = ImuNoise(1.7e-3, 2e-2, 2e-4, 3e-2)
SIZES = [1, 2, 5]
STEP_SCALE = np.repeat([1e-2, 1e-2, 1e-2, 1e-2, 1e-3], 3)


def random_state(rng: np.random.Generator) -> State:
    return State(exp_so3(rng.normal(0, 0.5, 3)), *rng.normal(0, 1, (2, 3)), *rng.normal(0, 0.02, (2, 3)))


def blank(index: int, state: State) -> Frame:
    return Frame(index, index, state, np.zeros(0, int), np.zeros((2, 0, 3)), np.zeros((2, 0, 2, 3)), np.zeros((2, 0)))


def chain(seed: int, count: int) -> list[Frame]:
    """Frames that follow from one another by IMU readings, with indices that have holes."""
    rng = np.random.default_rng(seed)
    frames = [blank(3, random_state(rng))]
    for i in range(1, count):
        before = frames[-1].state
        frame = blank(3 + 2 * i, before)
        frame.steps = ImuSteps(np.full(20, 0.01), rng.normal(0, 0.5, (20, 3)), rng.normal([0, 0, 9.8], 1, (20, 3)))
        frame.pim = preintegrate(frame.steps, NOISE, before.accel_bias, before.gyro_bias)
        frame.state = before.predicted(frame.pim)
        frames.append(frame)
    return frames


def factors_of(frames: list[Frame]) -> list[gtsam.NonlinearFactor]:
    """IMU factors, and one of each other kind that the estimator adds."""
    first, last = frames[0], frames[-1]
    still = gtsam.PriorFactorVector(V(last.index), np.zeros(3), gtsam.noiseModel.Isotropic.Sigma(3, 0.1))
    others: list[gtsam.NonlinearFactor] = [still]
    if len(frames) > 1:
        model = gtsam.noiseModel.Diagonal.Sigmas(np.repeat([0.01, 0.02], 3))
        others.append(gtsam.BetweenFactorPose3(X(first.index), X(last.index), gtsam.Pose3(), model))
    return imu_factors(pairwise(frames)) + others


def gtsam_error(frames: list[Frame], states: list[State], factors: list[gtsam.NonlinearFactor]) -> float:
    values = gtsam.Values()
    for frame, state in zip(frames, states, strict=True):
        values.insert(X(frame.index), gtsam.Pose3(gtsam.Rot3(state.R), state.p))
        values.insert(V(frame.index), state.v)
        values.insert(B(frame.index), gtsam.imuBias.ConstantBias(state.accel_bias, state.gyro_bias))
    return sum(factor.error(values) for factor in factors)


def moved(states: list[State], d: np.ndarray) -> list[State]:
    return [state.stepped(d[15 * i : 15 * i + 15]) for i, state in enumerate(states)]


def off_states(frames: list[Frame], seed: int) -> list[State]:
    rng = np.random.default_rng(seed)
    return [frame.state.stepped(rng.normal(0, STEP_SCALE)) for frame in frames]


def keys_of(frames: list[Frame]) -> list[Key[State]]:
    return [Key(State, frame.index) for frame in frames]


def values_of(frames: list[Frame], states: list[State]) -> Values:
    return Values(dict(zip(keys_of(frames), states, strict=True)))


def linearised(frames: list[Frame], states: list[State], factors: list[gtsam.NonlinearFactor]) -> LinearCost:
    values = values_of(frames, states)
    return GtsamCost(factors, keys_of(frames)).linearised(values, values)


def random_cost(rng: np.random.Generator, count: int) -> LinearCost:
    A = rng.normal(size=(15 * count, 15 * count))
    keys = [Key(State, i) for i in range(count)]
    points = Values({key: random_state(rng) for key in keys})
    return LinearCost(keys, points, Quadratic(A @ A.T, rng.normal(size=15 * count), 7.0))


def stepped(cost: LinearCost, d: np.ndarray) -> Values:
    return Layout(cost.keys).stepped(cost.points, d)


@pytest.mark.parametrize("count", SIZES)
def test_linearised_gradient_and_cost_are_those_of_the_graph_error(count: int) -> None:
    frames = chain(count, count)
    factors, states = factors_of(frames), off_states(frames, count)
    got = linearised(frames, states, factors)
    assert got.cost == pytest.approx(gtsam_error(frames, states, factors), rel=1e-9)
    for i, scale in enumerate(np.tile(STEP_SCALE, count) * 1e-4):
        d = np.zeros(15 * count)
        d[i] = scale
        ahead, behind = (gtsam_error(frames, moved(states, s), factors) for s in (d, -d))
        assert got.g[i] * 2 * scale == pytest.approx(ahead - behind, rel=1e-3, abs=1e-5 * got.cost)


@pytest.mark.parametrize("count", SIZES)
def test_linearised_curvature_is_that_of_the_graph_error_where_it_vanishes(count: int) -> None:
    frames = chain(count + 10, count)
    factors, states = factors_of(frames)[: count - 1], [frame.state for frame in frames]  # the IMU alone fits exactly
    if not factors:
        factors, states = factors_of(frames), [State(np.eye(3), np.zeros(3))]
    got = linearised(frames, states, factors)
    assert got.cost < 1e-6
    rng = np.random.default_rng(0)
    for _ in range(5):
        d = rng.normal(0, 1e-2 * np.tile(STEP_SCALE, count))
        mean = sum(gtsam_error(frames, moved(states, s), factors) for s in (d, -d)) / 2
        assert mean == pytest.approx(d @ got.H @ d / 2, rel=1e-3)


def test_no_factors_say_nothing() -> None:
    frames = chain(0, 2)
    got = linearised(frames, [frame.state for frame in frames], [])
    assert (np.abs(got.H).max(), np.abs(got.g).max(), got.cost) == (0, 0, 0)


def test_frames_without_readings_between_them_have_no_factor() -> None:
    frames = chain(0, 4)
    frames[2].pim = None
    assert len(imu_factors(pairwise(frames))) == 2


@pytest.mark.parametrize("count", [0, *SIZES])
def test_gradient_and_cost_after_a_step_are_those_of_the_polynomial(count: int) -> None:
    rng = np.random.default_rng(count)
    one = random_cost(rng, count)
    d = 1e-3 * rng.normal(size=15 * count)
    gradient, cost = one.at(stepped(one, d))
    np.testing.assert_allclose(gradient, one.g + one.H @ d, rtol=1e-9)
    assert cost == pytest.approx(7.0 + one.g @ d + d @ one.H @ d / 2)
    assert one.at(one.points)[0] is one.g


@pytest.mark.parametrize("count", SIZES)
def test_fixed_elsewhere_it_is_the_same_cost_to_first_order(count: int) -> None:
    rng = np.random.default_rng(count)
    one = random_cost(rng, count)
    elsewhere = stepped(one, rng.normal(0, 1e-3, 15 * count))
    other = one.fixed_at(elsewhere)
    np.testing.assert_array_equal(other.H, one.H)
    assert other.at(elsewhere)[1] == pytest.approx(one.at(elsewhere)[1])
    for _ in range(5):
        near = stepped(other, rng.normal(0, 1e-4, 15 * count))
        by_one, by_other = (cost.at(near)[1] for cost in (one, other))
        assert by_other == pytest.approx(by_one, abs=1e-4)
        assert by_other != pytest.approx(7.0, abs=1e-4)


def test_known_away_from_its_points_it_has_its_gradient_there() -> None:
    """Derivatives taken at one place and errors at another: the step counts from where the errors are."""
    rng = np.random.default_rng(0)
    one = random_cost(rng, 2)
    d = 1e-3 * rng.normal(size=30)
    away = stepped(one, d)
    other = LinearCost(one.keys, one.points, Quadratic(one.H, one.g, 7.0), values=away)
    np.testing.assert_array_equal(other.at(away)[0], one.g)
    np.testing.assert_allclose(other.at(one.points)[0], one.g - one.H @ d, rtol=1e-9)


def test_some_components_have_only_their_rows_and_steps() -> None:
    rng = np.random.default_rng(1)
    A, picked = rng.normal(size=(6, 6)), np.r_[:3, 15:18]
    keys = [Key(State, 0), Key(State, 1)]
    points = Values({key: random_state(rng) for key in keys})
    cost = LinearCost(keys, points, Quadratic(A @ A.T, rng.normal(size=6)), components=picked)
    rows = cost.rows(Layout([keys[1], keys[0]]))
    assert isinstance(rows, np.ndarray)
    assert rows.tolist() == [15, 16, 17, 0, 1, 2]
    d = 1e-3 * rng.normal(size=30)
    np.testing.assert_allclose(cost.at(stepped(cost, d))[0], cost.g + cost.H @ d[picked], rtol=1e-9)


def test_beside_another_cost_neither_changes() -> None:
    rng = np.random.default_rng(2)
    one, other = random_cost(rng, 1), random_cost(rng, 2)
    other = LinearCost(
        [Key(State, 5), Key(State, 6)],
        Values({Key(State, 5): other.points[Key(State, 0)], Key(State, 6): other.points[Key(State, 1)]}),
        Quadratic(other.H, other.g, 2.0),
    )
    both = one.beside(other)
    d = 1e-3 * rng.normal(size=45)
    values = stepped(both, d)
    np.testing.assert_allclose(both.at(values)[0], np.r_[one.at(values)[0], other.at(values)[0]])
    assert both.at(values)[1] == pytest.approx(one.at(values)[1] + other.at(values)[1])


@pytest.fixture
def linearisations(monkeypatch: pytest.MonkeyPatch) -> list[Values]:
    """Values at which the factors were linearised, one entry for each time."""
    calls, at = [], GtsamCost._at

    def counted(self: GtsamCost, where: Values) -> LinearCost:
        calls.append(where)
        return at(self, where)

    monkeypatch.setattr(GtsamCost, "_at", counted)
    return calls


def nudged(states: list[State], which: int, part: int, size: float) -> list[State]:
    d = np.zeros(15)
    d[3 * part] = size
    return [state.stepped(d) if i == which else state for i, state in enumerate(states)]


@pytest.mark.parametrize("part", range(5))
def test_factors_are_linearised_anew_only_after_a_far_move(part: int, linearisations: list[Values]) -> None:
    frames = chain(1, 3)
    cost, states = GtsamCost(factors_of(frames), keys_of(frames)), off_states(frames, 1)

    def at(states: list[State]) -> tuple[np.ndarray, np.ndarray, float]:
        values = values_of(frames, states)
        linear = cost.linearised(values, values)
        return (linear.H, *linear.at(values))

    first = at(states)
    near, far = (nudged(states, 1, part, k * State.nonlinear[3 * part]) for k in (0.99, 1.02))
    H, g, value = at(near)
    assert len(linearisations) == 1
    d = np.concatenate([a.step_to(b) for a, b in zip(states, near, strict=True)])
    np.testing.assert_array_equal(H, first[0])
    np.testing.assert_allclose(g, first[1] + first[0] @ d)
    assert value == pytest.approx(first[2] + first[1] @ d + d @ first[0] @ d / 2)
    assert at(far)[2] == pytest.approx(gtsam_error(frames, far, factors_of(frames)), rel=1e-9)
    assert len(linearisations) == 2


def test_variables_of_the_prior_stay_linearised_where_it_is(linearisations: list[Values]) -> None:
    frames = chain(2, 3)
    states, held = off_states(frames, 2), values_of(frames[:1], [frames[0].state])
    cost, first = GtsamCost(factors_of(frames), keys_of(frames)), keys_of(frames)[0]

    def at(states: list[State]) -> None:
        values = values_of(frames, states)
        cost.linearised(values, values | held)

    at(states)
    at(nudged(states, 0, 0, 1.0))
    assert len(linearisations) == 1
    assert linearisations[0][first] is held[first]
    at(nudged(states, 2, 0, 1.0))
    assert len(linearisations) == 2
    assert linearisations[1][first] is held[first]
