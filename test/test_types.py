# SPDX-License-Identifier: Apache-2.0
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from letvins_ros.types import (
    FrameTracks,
    ImageFrame,
    ImuSamples,
    Keyframe,
    LoopClosure,
    PlaceDescription,
    Trajectory,
    VioState,
    VioStatus,
)

N = 4
DESCRIPTION = PlaceDescription("network", np.zeros((2, 2)), np.zeros((N + 2, 32)), np.zeros(8))
PLAIN: dict[type, dict[str, Any]] = {
    FrameTracks: {
        "stamp_ns": 1,
        "ids": np.arange(N),
        "uv": np.zeros((3, N, 2)),
        "ages": np.zeros(N, int),
        "description": DESCRIPTION,
    },
    PlaceDescription: {
        "describer": "network",
        "more_uv": np.zeros((2, 2)),
        "descriptors": np.zeros((N + 2, 32)),
        "place": np.zeros(8),
    },
    ImuSamples: {"stamps_ns": np.arange(N), "gyro": np.zeros((N, 3)), "accel": np.zeros((N, 3))},
    Trajectory: {"stamps_ns": np.arange(N), "positions": np.zeros((N, 3)), "quaternions": np.zeros((N, 4))},
    Keyframe: {
        "index": 0,
        "stamp_ns": 1,
        "T_odom_body": np.eye(4),
        "covariance": np.eye(6),
        "T_odom_before": np.zeros((2, 4, 4)),
        "motion_covariance": np.eye(6),
        "ids": np.arange(N),
        "uv": np.zeros((N, 2)),
        "points_body": np.zeros((N, 3)),
        "description": DESCRIPTION,
    },
    LoopClosure: {
        "stamp_ns": 2,
        "stamp_a_ns": 1,
        "a": 0,
        "b": None,
        "T_a_b": np.eye(4),
        "covariance": np.eye(6),
        "inliers": 30,
        "relocalised": False,
    },
    VioState: {
        "stamp_ns": 1,
        "status": VioStatus.TRACKING,
        "reason": "",
        "T_odom_body": np.eye(4),
        "velocity_odom": np.zeros(3),
        "gyro_bias": np.zeros(3),
        "accel_bias": np.zeros(3),
        "covariance": np.eye(15),
    },
}
MISFITS = [
    (FrameTracks, "ids", np.zeros((N, 1)), "(N), got (4, 1)"),
    (FrameTracks, "uv", np.zeros((N, 2)), "(N, 4, 2), got (4, 2)"),
    (FrameTracks, "uv", np.zeros((2, N - 1, 2)), "(N, 4, 2), got (2, 3, 2)"),
    (FrameTracks, "ages", np.zeros(N + 1), "(4), got (5,)"),
    (PlaceDescription, "more_uv", np.zeros(2), "(N, 2), got (2,)"),
    (PlaceDescription, "descriptors", np.zeros(32), "(N, N), got (32,)"),
    (PlaceDescription, "place", np.zeros((1, 8)), "(N), got (1, 8)"),
    (ImuSamples, "gyro", np.zeros((N, 2)), "(4, 3), got (4, 2)"),
    (ImuSamples, "accel", np.zeros(N), "(4, 3), got (4,)"),
    (Trajectory, "positions", np.zeros((N + 1, 3)), "(4, 3), got (5, 3)"),
    (Trajectory, "quaternions", np.zeros((N, 3)), "(4, 4), got (4, 3)"),
    (Keyframe, "covariance", np.eye(15), "(6, 6), got (15, 15)"),
    (Keyframe, "T_odom_before", np.eye(4), "(N, 4, 4), got (4, 4)"),
    (Keyframe, "motion_covariance", np.eye(7), "(6, 6), got (7, 7)"),
    (Keyframe, "points_body", np.zeros((N, 2)), "(4, 3), got (4, 2)"),
    (LoopClosure, "T_a_b", np.eye(3), "(4, 4), got (3, 3)"),
    (VioState, "T_odom_body", np.eye(3), "(4, 4), got (3, 3)"),
    (VioState, "velocity_odom", np.zeros((3, 1)), "(3), got (3, 1)"),
    (VioState, "covariance", np.eye(9), "(15, 15), got (9, 9)"),
]


@pytest.mark.parametrize("kind", PLAIN)
def test_what_fits_together_is_taken_as_it_is(kind: type) -> None:
    for name, value in vars(made := kind(**PLAIN[kind])).items():
        assert value is PLAIN[kind].get(name, value)
    assert getattr(made, "__len__", lambda: N)() == N


@pytest.mark.parametrize(("kind", "name", "value", "message"), MISFITS)
def test_an_array_of_another_shape_is_refused_with_its_name_and_both_shapes(
    kind: type, name: str, value: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{name} must be {message}")):
        kind(**{**PLAIN[kind], name: value})


def test_images_are_gray_or_colour_bytes_or_missing() -> None:
    ImageFrame(1, (np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.uint8), None))
    with pytest.raises(ValueError, match=r"images\[1\] must be uint8 .*, got float32 \(4, 6\)"):
        ImageFrame(1, (None, np.zeros((4, 6), np.float32)))
    with pytest.raises(ValueError, match=r"images\[0\] must be uint8 .*, got uint8 \(4,\)"):
        ImageFrame(1, (np.zeros(4, np.uint8),))


def test_nothing_that_flows_can_be_changed_on_the_way() -> None:
    tracks = FrameTracks(**PLAIN[FrameTracks])
    with pytest.raises(AttributeError):
        tracks.stamp_ns = 2  # type: ignore[misc]


@pytest.mark.parametrize("kind", [FrameTracks, Keyframe])
def test_a_description_has_a_descriptor_for_every_feature_of_the_left_camera(kind: type) -> None:
    one_less = replace(DESCRIPTION, descriptors=np.zeros((N + 1, 32)))
    with pytest.raises(ValueError, match=re.escape("descriptors must be (6, N), got (5, 32)")):
        kind(**{**PLAIN[kind], "description": one_less})


def test_features_that_only_other_cameras_see_are_not_described() -> None:
    uv = np.zeros((2, N, 2))
    uv[0, 1] = np.nan
    described = replace(DESCRIPTION, descriptors=np.zeros((N + 1, 32)))
    assert FrameTracks(1, np.arange(N), uv, np.zeros(N, int), described).by_left.tolist() == [True, False, True, True]
