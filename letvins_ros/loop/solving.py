# SPDX-License-Identifier: Apache-2.0
"""Factors of the pose graph, and its robust solution by GTSAM."""

from dataclasses import dataclass

import gtsam
import numpy as np

from letvins_ros.loop.fixes import Fix
from letvins_ros.loop.motion import Motion

INLIER_CHI2 = 22.5  # 99.9 % of six degrees of freedom


@dataclass(eq=False)
class Loop:
    """A measured motion between two keyframes, independent of odometry."""

    a: int
    b: int
    motion: Motion  # T_a_b
    trusted: bool = True  # inlier of the last solution


def solved(graph: gtsam.NonlinearFactorGraph, undecided: list[Loop], initial: gtsam.Values) -> gtsam.Values:
    """The solution; marks each undecided loop as inlier or outlier. Raises RuntimeError where GTSAM does."""
    known, factors = graph.size(), [motion_factor(loop.a, loop.b, loop.motion) for loop in undecided]
    for factor, loop in zip(factors, undecided, strict=True):
        if loop.trusted:
            graph.add(factor)
    params = gtsam.LevenbergMarquardtParams()
    params.setRelativeErrorTol(1e-4)
    solution = gtsam.LevenbergMarquardtOptimizer(graph, initial, params).optimize()
    agree = [factor.error(solution) * 2 < INLIER_CHI2 for factor in factors]
    if agree == [loop.trusted for loop in undecided]:
        return solution
    return _graduated(graph, known, undecided, initial)


def _graduated(
    graph: gtsam.NonlinearFactorGraph, known: int, undecided: list[Loop], initial: gtsam.Values
) -> gtsam.Values:
    graph.resize(known)
    for loop in undecided:
        graph.add(motion_factor(loop.a, loop.b, loop.motion))
    params = gtsam.GncLMParams(gtsam.LevenbergMarquardtParams())
    params.setKnownInliers(list(range(known)))
    params.setLossType(gtsam.GncLossType.TLS)
    optimizer = gtsam.GncLMOptimizer(graph, initial, params)
    optimizer.setInlierCostThresholds(INLIER_CHI2 / 2)
    solution = optimizer.optimize()
    for loop, weight in zip(undecided, optimizer.getWeights()[known:], strict=True):
        loop.trusted = bool(weight > 0.5)
    return solution


def motion_factor(a: int, b: int, motion: Motion) -> gtsam.NonlinearFactor:
    """A measured motion between two keyframes."""
    noise = gtsam.noiseModel.Gaussian.Covariance(motion.covariance)
    return gtsam.BetweenFactorPose3(a, b, gtsam.Pose3(motion.T_a_b), noise)


def fix_factor(fix: Fix, T_map_level: np.ndarray) -> gtsam.NonlinearFactor:
    """A measured position of the antenna, weighted by how far off the keyframe's present pose (4, 4) is."""
    noise = gtsam.noiseModel.Diagonal.Sigmas(fix.weighted_std(T_map_level))
    return gtsam.GPSFactorArm(fix.node, fix.p_map, fix.arm, noise)
