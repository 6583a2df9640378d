# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros.estimation.frame import frame_of
from letvins_ros.estimation.state import State
from letvins_ros.simulation.rigs import EUROC_RIG
from letvins_ros.types import FrameTracks

from .synthetic import record

SIZES = [1, 2, 50]
RIG = (EUROC_RIG.cameras, State(np.eye(3), np.zeros(3)))


@pytest.mark.parametrize("n", SIZES)
def test_a_frame_holds_the_directions_and_resolutions_of_its_tracks_sorted_by_id(n: int) -> None:
    tracks = record("hall", 0.2, 0).tracks[1]
    some = np.random.default_rng(n).permutation(len(tracks))[:n]
    pixels = tracks.uv[:, some]
    pixels[1, 0] = np.nan
    frame = frame_of(7, FrameTracks(5, tracks.ids[some], pixels, tracks.ages[some]), *RIG)
    assert (frame.index, frame.stamp_ns) == (7, 5)
    order = np.argsort(tracks.ids[some])
    np.testing.assert_array_equal(frame.ids, tracks.ids[some][order])
    for c, uv in enumerate(pixels[:, order]):
        np.testing.assert_array_equal(frame.seen[c], np.isfinite(uv).all(1))
        for i in np.flatnonzero(frame.seen[c]):
            direction, camera = frame.bearings[c, i], EUROC_RIG.cameras[c].camera
            np.testing.assert_allclose(camera.project(direction[None])[0][0], uv[i], atol=1e-4)
            np.testing.assert_allclose(frame.M[c, i] @ direction, 0, atol=1e-6)
            nudge = 1e-6 * np.linalg.svd(direction[None])[2][1]
            moved = camera.project((direction + nudge)[None])[0] - camera.project(direction[None])[0]
            np.testing.assert_allclose(moved[0], frame.M[c, i] @ nudge, rtol=1e-3, atol=1e-7)
    assert not frame.seen[1, np.flatnonzero(order == 0)[0]]
    assert np.isfinite(frame.bearings).all()
    assert np.isfinite(frame.M).all()


def test_a_frame_without_tracks_is_empty_and_one_camera_has_one_row() -> None:
    none = FrameTracks(0, np.zeros(0, np.int64), np.zeros((2, 0, 2), np.float32), np.zeros(0, np.int32))
    empty = frame_of(0, none, *RIG)
    assert (len(empty.ids), empty.bearings.shape, empty.M.shape) == (0, (2, 0, 3), (2, 0, 2, 3))
    mono = frame_of(0, record("hall", 0.1, 0).tracks[0], EUROC_RIG.cameras[:1], RIG[1])
    assert mono.bearings.shape[0] == 1


def test_a_forgotten_feature_is_gone_from_every_array_and_the_others_stay() -> None:
    frame = frame_of(0, record("hall", 0.1, 0).tracks[0], *RIG)
    ids, bearings, kept = frame.ids.copy(), frame.bearings.copy(), np.arange(len(frame.ids)) % 3 > 0
    frame.forget(np.concatenate([ids[~kept], [10**9]]))
    np.testing.assert_array_equal(frame.ids, ids[kept])
    np.testing.assert_array_equal(frame.bearings, bearings[:, kept])
    assert frame.M.shape[1] == frame.seen.shape[1] == kept.sum()


def test_the_synthetic_tracks_see_the_world_where_the_truth_says() -> None:
    """The helper itself: points triangulated from true poses are seen again where they must be."""
    recording = record("hall", 1.0, 3)
    T = recording.trajectory.T_world_body(np.arange(11) / 10)
    ids = np.intersect1d(recording.tracks[0].ids, recording.tracks[10].ids)
    assert len(ids) > 10
    a, b = (frame_of(0, recording.tracks[i], *RIG) for i in (0, 10))
    R, p = zip(*((x[:3, :3], x[:3, 3]) for x in (T[i] @ EUROC_RIG.cameras[0].T_body_cam for i in (0, 10))), strict=True)
    rays = [r @ f.bearings[0][np.isin(f.ids, ids)].T for r, f in ((R[0], a), (R[1], b))]
    volume = np.cross(rays[0].T, rays[1].T) @ (p[1] - p[0])  # the epipolar constraint
    assert np.abs(volume).max() < 0.02 * np.linalg.norm(p[1] - p[0])
