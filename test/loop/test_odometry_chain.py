# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from letvins_ros.loop.motion import exp
from letvins_ros.loop.odometry_chain import OdometryChain
from letvins_ros.types import Keyframe

from ..some import some
from .walk import RING, distances, walk

DISTANCES = distances(0, 12)


def followed(keyframes: Iterable[Keyframe]) -> OdometryChain:
    chain = OdometryChain(True, 1.0)
    for keyframe in keyframes:
        chain.add(keyframe)
    return chain


def test_a_correction_of_the_whole_window_is_no_motion() -> None:
    keyframes = list(walk(RING, DISTANCES, drift=0.0))
    jump = exp(np.r_[0, 0, 0.02, 0.1, 0.0, 0.0])
    jumped = [
        k if i < 20 else replace(k, T_odom_body=jump @ k.T_odom_body, T_odom_before=jump @ k.T_odom_before)
        for i, k in enumerate(keyframes)
    ]
    last = keyframes[-1].index
    there, expected = (followed(each).T_chain(last) for each in (jumped, keyframes))
    np.testing.assert_allclose(some(there)[:3, 3], some(expected)[:3, 3], atol=1e-9)
    assert np.linalg.norm(jumped[-1].T_odom_body[:3, 3] - some(expected)[:3, 3]) > 0.05


def test_a_keyframe_is_corrected_as_long_as_the_window_holds_it() -> None:
    first, second, third = list(walk(RING, DISTANCES[:3], drift=0.0))
    better = second.T_odom_body @ exp(np.r_[0, 0, 0, 0.05, 0, 0])
    chain = followed([first, second])
    chain.add(replace(third, T_odom_before=np.stack([first.T_odom_body, better])))
    np.testing.assert_allclose(some(chain.T_chain(1))[:3, 3], better[:3, 3], atol=1e-12)
    assert chain.T_chain(0) is not None
    chain.add(replace(third, index=3, T_odom_before=third.T_odom_body[None]))
    assert chain.T_chain(0) is None


def test_a_missing_keyframe_gives_a_longer_motion_of_greater_uncertainty() -> None:
    first, second, third = list(walk(RING, DISTANCES[:3]))
    whole = followed([first, second, replace(third, T_odom_before=np.stack([first.T_odom_body, second.T_odom_body]))])
    gappy = OdometryChain(True, 1.0)
    gappy.add(first)
    gappy.mark()
    gappy.add(replace(third, T_odom_before=np.stack([first.T_odom_body, second.T_odom_body])))
    np.testing.assert_allclose(some(gappy.T_chain(2)), some(whole.T_chain(2)), atol=1e-12)
    assert gappy.motion_since_mark.position_std > 0.9 * np.sqrt(2) * np.sqrt(np.trace(third.motion_covariance[:3, :3]))


def test_across_a_reset_odom_continues_with_an_uncertain_motion() -> None:
    keyframes = list(walk(RING, DISTANCES[:10]))
    after = replace(keyframes[9], resets=1, T_odom_before=np.zeros((0, 4, 4)))
    chain = followed(keyframes[:8])
    chain.mark()
    chain.add(keyframes[8])
    chain.add(after)
    moved = after.T_odom_body[:3, 3] - keyframes[7].T_odom_body[:3, 3]
    np.testing.assert_allclose(chain.motion_since_mark.T_a_b[:3, 3], moved, atol=0.02)
    assert chain.motion_since_mark.position_std > 0.5
