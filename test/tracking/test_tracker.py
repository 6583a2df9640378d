# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest

from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.camera import Camera
from letvins_ros.config import TrackerConfig
from letvins_ros.geometry import apply, exp_so3, inverse
from letvins_ros.inference import open_runtime
from letvins_ros.inference.runtime import Runtime, threads
from letvins_ros.simulation.sequence import Simulation
from letvins_ros.tracking import FeatureTracker, follower
from letvins_ros.tracking.group import BLIND_FRAMES
from letvins_ros.types import FrameTracks, ImageFrame

from ..some import some
from .patterns import FIRST

PLAIN = TrackerConfig(equalise="none")


def stays(ids_before: np.ndarray, tracks: FrameTracks) -> float:
    """Share of the features before that are still there."""
    return np.isin(ids_before, tracks.ids).mean()


def positions_true_later(hall: Simulation, uv: np.ndarray, earlier: int, later: int, camera: int = 0) -> np.ndarray:
    """Where what is at uv (N, 2) in the left image of one of the frames is in a camera's image of another one."""
    earlier, later = earlier + FIRST, later + FIRST
    left = hall.rig.cameras[0].camera
    maps = uv.astype(np.float32)
    depth = (
        1 / cv2.remap(hall.view(earlier, 0).inverse_depth, maps[:, None, 0], maps[:, None, 1], cv2.INTER_LINEAR)[:, 0]
    )
    rays = left.unproject(uv)
    points = rays / rays[:, 2:] * depth[:, None]
    T_later_earlier = inverse(hall.T_world_cam(later, camera)) @ hall.T_world_cam(earlier, 0)
    return hall.rig.cameras[camera].camera.project(apply(T_later_earlier, points))[0]


def with_images(frame: ImageFrame, change: Callable[[np.ndarray], np.ndarray]) -> ImageFrame:
    return replace(frame, images=tuple(change(some(image)) for image in frame.images))


def brighter(gain: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: np.clip(gain * image.astype(float), 0, 255).astype(np.uint8)


def run(tracker: FeatureTracker, frames: Sequence[ImageFrame]) -> list[FrameTracks]:
    return [tracker.process(frame) for frame in frames]


@pytest.fixture
def tracker(hall: Simulation) -> FeatureTracker:
    return FeatureTracker(TrackerConfig(), hall.rig)


@pytest.mark.parametrize(
    "config", [PLAIN, TrackerConfig(), TrackerConfig(method="letnet2")], ids=lambda c: c.method + c.equalise
)
def test_tracks_and_stereo_matches_are_where_the_world_is(
    hall: Simulation, frames: list[ImageFrame], config: TrackerConfig
) -> None:
    tracks = run(FeatureTracker(config, hall.rig), frames[:6])
    first, last = tracks[4], tracks[5]
    _, then, now = np.intersect1d(first.ids, last.ids, return_indices=True)
    assert len(first) > 120
    assert len(now) > 0.8 * len(first)
    error = np.linalg.norm(last.uv[0, now] - positions_true_later(hall, first.uv[0, then], 4, 5), axis=1)
    assert np.median(error) < 0.3
    assert np.mean(error < 2) > 0.85
    for i in (2, 5):
        matched = np.isfinite(tracks[i].uv[1]).all(1)
        assert matched.mean() > 0.6
        right = positions_true_later(hall, tracks[i].uv[0, matched], i, i, camera=1)
        error = np.linalg.norm(tracks[i].uv[1, matched] - right, axis=1)
        assert np.median(error) < 0.3
        assert np.mean(error < 2) > 0.9


def test_what_is_far_behind_near_things_is_matched_too(pattern: Callable[..., np.ndarray]) -> None:
    """Most features have come near step by step; then the partner sees again what is far, a hundred pixels off."""
    focal, baseline, size = 400.0, 0.11, {"height": 240, "width": 480}
    camera = Camera("pinhole-radtan", 480, 240, (focal, focal, 240.0, 120.0))
    away = np.eye(4)
    away[0, 3] = baseline
    tracker = FeatureTracker(PLAIN, Rig((MountedCamera(camera, np.eye(4)), MountedCamera(camera, away)), None))
    left = pattern(**size)

    def seen_at(inverse_distance: float) -> np.ndarray:
        return pattern(lambda uv: uv + np.array([focal * baseline * inverse_distance, 0]), **size)

    far = seen_at(0.1)
    for w in (0.5, 1.0, 1.7, 2.4):
        right = seen_at(w)
        right[:120] = 0 if w < 2.4 else far[:120]
        tracks = tracker.process(ImageFrame(round(w * 1e9), (left, right)))
    upper = (tracks.uv[0, :, 1] < 100) & (tracks.uv[0, :, 0] > 30)
    matched = np.isfinite(tracks.uv[1]).all(1)
    assert upper.sum() > 20
    assert matched[upper].mean() > 0.9
    moved = tracks.uv[0, upper & matched, 0] - tracks.uv[1, upper & matched, 0]
    assert np.median(moved) == pytest.approx(focal * baseline * 0.1, abs=0.2)


def test_ages_count_frames_and_new_ids_are_the_highest(frames: list[ImageFrame], tracker: FeatureTracker) -> None:
    before = tracker.process(frames[0])
    assert before.ids.tolist() == list(range(len(before)))
    assert not before.ages.any()
    for frame in frames[1:8]:
        tracks = tracker.process(frame)
        kept = np.isin(tracks.ids, before.ids)
        assert (tracks.ids[~kept] > before.ids.max()).all()
        assert not tracks.ages[~kept].any()
        _, now, then = np.intersect1d(tracks.ids, before.ids, return_indices=True)
        assert (tracks.ages[now] == before.ages[then] + 1).all()
        assert len(np.unique(tracks.ids)) == len(tracks) <= 200
        assert tracks.stamp_ns == frame.stamp_ns
        assert tracks.uv.dtype == np.float32
        before = tracks


def test_black_frames_end_all_tracks_and_new_ones_follow(frames: list[ImageFrame], tracker: FeatureTracker) -> None:
    seen = max(tracks.ids.max() for tracks in run(tracker, frames[:2]))
    black = run(tracker, [with_images(frame, np.zeros_like) for frame in frames[2:5]])
    assert [len(tracks) for tracks in black] == [0, 0, 0]
    after = run(tracker, frames[5:9])
    assert after[0].ids.min() > seen
    assert stays(after[0].ids, after[1]) > 0.8
    assert len(after[3]) > 120


@pytest.mark.parametrize(("method", "gain"), [("letnet2", 0.4), ("letnet2", 2.0), ("lk", 0.4), ("lk", 1.4)])
def test_half_the_tracks_survive_a_sudden_change_of_exposure(
    hall: Simulation, frames: list[ImageFrame], method: str, gain: float
) -> None:
    tracker = FeatureTracker(TrackerConfig(method=method), hall.rig)
    before = run(tracker, frames[:4])[-1]
    after = tracker.process(with_images(frames[4], brighter(gain)))
    assert stays(before.ids, after) > 0.5


def test_half_the_tracks_survive_a_blurred_frame_and_are_where_they_should_be(
    hall: Simulation, frames: list[ImageFrame], tracker: FeatureTracker
) -> None:
    before = run(tracker, frames[:4])[-1]
    blurred = tracker.process(with_images(frames[4], lambda image: cv2.blur(image, (9, 1))))
    assert stays(before.ids, blurred) > 0.5
    _, then, now = np.intersect1d(before.ids, blurred.ids, return_indices=True)
    true = positions_true_later(hall, before.uv[0, then], 3, 4)
    assert np.median(np.linalg.norm(blurred.uv[0, now] - true, axis=1)) < 0.8


def test_without_right_image_the_left_tracks_go_on(frames: list[ImageFrame], tracker: FeatureTracker) -> None:
    before = run(tracker, frames[:2])[-1]
    alone = tracker.process(replace(frames[2], images=(frames[2].images[0], None)))
    assert np.isnan(alone.uv[1]).all()
    assert stays(before.ids, alone) > 0.8
    assert np.isfinite(tracker.process(frames[3]).uv[1]).mean() > 0.6


def test_without_left_image_there_are_no_tracks_and_the_features_wait_for_the_next(
    frames: list[ImageFrame], tracker: FeatureTracker
) -> None:
    before = run(tracker, frames[:2])[-1]
    nothing = tracker.process(ImageFrame(frames[2].stamp_ns, (None, frames[2].images[1])))
    assert (nothing.stamp_ns, len(nothing), nothing.uv.shape) == (frames[2].stamp_ns, 0, (2, 0, 2))
    assert stays(before.ids, tracker.process(frames[3])) > 0.8


def of_group(tracks: FrameTracks, lead: int) -> np.ndarray:
    """Rows of the features of the group with this lead."""
    return np.isfinite(tracks.uv[lead]).all(1)


@pytest.mark.parametrize("method", ["lk", "letnet2", "kp2dtiny"])
def test_each_pair_of_four_cameras_tracks_as_it_would_alone(
    hall4: Simulation, frames4: list[ImageFrame], method: str
) -> None:
    if method == "kp2dtiny":
        pytest.importorskip("torch")
    config = TrackerConfig(method=method)
    tracker = FeatureTracker(config, hall4.rig)
    alone = [FeatureTracker(config, replace(hall4.rig, cameras=hall4.rig.cameras[i : i + 2])) for i in (0, 2)]
    for frame in frames4[:4]:
        tracks = tracker.process(frame)
        front, back = (alone[i].process(replace(frame, images=frame.images[2 * i : 2 * i + 2])) for i in (0, 1))
        assert len(np.unique(tracks.ids)) == len(tracks) == len(front) + len(back)
        assert (tracks.cameras, front.cameras) == (4, 2)
        for group, pair in ((of_group(tracks, 0), front), (of_group(tracks, 2), back)):
            cameras = [0, 1] if pair is front else [2, 3]
            np.testing.assert_array_equal(tracks.uv[cameras][:, group], pair.uv)
            assert np.isnan(np.delete(tracks.uv, cameras, axis=0)[:, group]).all()
    assert min(np.isfinite(tracks.uv[camera]).all(1).sum() for camera in (1, 3)) > 60


def test_cameras_without_partner_are_followed_alone(hall4: Simulation, frames4: list[ImageFrame]) -> None:
    tracker = FeatureTracker(TrackerConfig(), replace(hall4.rig, cameras=hall4.rig.cameras[:3]))
    for frame in frames4[:3]:
        tracks = tracker.process(replace(frame, images=frame.images[:3]))
    seen = np.isfinite(tracks.uv).all(2)
    assert not (seen[0] & seen[2]).any()
    assert seen.sum(1).min() > 60
    assert (tracks.ages[seen[2]] > 0).mean() > 0.7


@pytest.mark.parametrize("lost", [0, 2])
def test_a_pair_without_images_waits_while_the_other_goes_on(
    hall4: Simulation, frames4: list[ImageFrame], lost: int
) -> None:
    tracker = FeatureTracker(TrackerConfig(), hall4.rig)
    before = run(tracker, frames4[:3])[-1]
    there = [None if i in (lost, lost + 1) else image for i, image in enumerate(frames4[3].images)]
    without = tracker.process(replace(frames4[3], images=tuple(there)))
    assert not np.isfinite(without.uv[[lost, lost + 1]]).any()
    assert stays(before.ids[of_group(before, 2 - lost)], without) > 0.8
    after = tracker.process(frames4[4])
    assert stays(before.ids[of_group(before, lost)], after) > 0.7
    assert len(np.unique(after.ids)) == len(after)


def test_a_dark_pair_loses_its_features_and_the_other_goes_on(hall4: Simulation, frames4: list[ImageFrame]) -> None:
    tracker = FeatureTracker(TrackerConfig(), hall4.rig)
    before = run(tracker, frames4[:3])[-1]
    dark = [np.zeros_like(image) if i < 2 else image for i, image in enumerate(frames4[3].images)]
    tracks = tracker.process(replace(frames4[3], images=tuple(dark)))
    assert not np.isfinite(tracks.uv[:2]).any()
    assert stays(before.ids[of_group(before, 2)], tracks) > 0.8


def test_one_camera_tracks_as_the_left_of_two_does(
    hall: Simulation, frames: list[ImageFrame], tracker: FeatureTracker
) -> None:
    mono = FeatureTracker(TrackerConfig(), replace(hall.rig, cameras=hall.rig.cameras[:1]))
    for frame in frames[:4]:  # with a known rotation; without one, distances tell more
        alone, pair = mono.process(frame, np.eye(3)), tracker.process(frame, np.eye(3))
        assert (alone.cameras, pair.cameras) == (1, 2)
        assert (alone.ids.tolist(), alone.uv.tolist()) == (pair.ids.tolist(), pair.uv[:1].tolist())


def test_the_size_of_the_image_may_change(frames: list[ImageFrame], tracker: FeatureTracker) -> None:
    seen = tracker.process(frames[0]).ids.max()
    smaller = tracker.process(with_images(frames[1], lambda image: image[:400].copy()))
    assert smaller.ids.min() > seen


def test_the_rotation_starts_the_search_at_the_right_place(pattern: Callable[..., np.ndarray]) -> None:
    camera = Camera("pinhole-radtan", 640, 480, (400.0, 400.0, 319.5, 239.5))
    T_body_cam = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    R_last_now = exp_so3(np.array([0.0, -0.1, 0.25]))  # about 100 px
    R_cam = T_body_cam[:3, :3].T @ R_last_now @ T_body_cam[:3, :3]

    def turned(uv: np.ndarray, R: np.ndarray) -> np.ndarray:  # of something far away
        return camera.project(camera.unproject(uv.reshape(-1, 2)) @ R)[0].reshape(uv.shape)

    size = {"height": 480, "width": 640}
    images = pattern(**size), pattern(lambda uv: np.nan_to_num(turned(uv, R_cam.T)), **size)
    frames = [ImageFrame(i, (image,)) for i, image in enumerate(images)]

    def found(*hint: Any) -> int:
        tracker = FeatureTracker(PLAIN, Rig((MountedCamera(camera, T_body_cam),), None))
        before, after = tracker.process(frames[0]), tracker.process(frames[1], *hint)
        _, then, now = np.intersect1d(before.ids, after.ids, return_indices=True)
        return (np.linalg.norm(after.uv[0, now] - turned(before.uv[0, then], R_cam), axis=1) < 1).sum()

    assert min(found(R_last_now), found(R_last_now, True)) > 4 * max(found(), found(R_last_now.T))
    assert found(R_last_now) > 20


def test_the_search_follows_a_motion_that_grows_beyond_its_reach(pattern: Callable[..., np.ndarray]) -> None:
    camera = Camera("pinhole-radtan", 640, 480, (300.0, 300.0, 320.0, 240.0))
    tracker = FeatureTracker(TrackerConfig(), Rig((MountedCamera(camera, np.eye(4)),), None))
    moved = np.cumsum([0.0, 0.0, 20.0, 40.0, 60.0, 80.0])
    tracks = [
        tracker.process(ImageFrame(i, (pattern(lambda p, x=x: p - [x, 0], width=640, height=480),)))
        for i, x in enumerate(moved)
    ]
    for (before, now), shift in zip(pairwise(tracks), np.diff(moved), strict=True):
        inside = before.uv[0, :, 0] + shift < 600
        assert stays(before.ids[inside], now) > 0.9


def test_a_trusted_rotation_rejects_what_moves_alone(hall: Simulation, frames: list[ImageFrame]) -> None:
    pasted = np.random.default_rng(0).integers(0, 255, (30, 40), dtype=np.uint8).repeat(5, 0).repeat(5, 1)

    def with_patch(frame: ImageFrame, shift: int) -> ImageFrame:
        image = some(frame.images[0]).copy()
        image[150 + shift : 300 + shift, 300:500] = pasted
        return replace(frame, images=(image, None))

    frames = [with_patch(frames[i], 4 * i) for i in range(4)]
    R_world_body = [rotation(hall, i) for i in range(4)]
    tracker = FeatureTracker(PLAIN, hall.rig)
    for i, frame in enumerate(frames):
        tracks = tracker.process(frame, R_world_body[i - 1].T @ R_world_body[i] if i else None, True)
    old = tracks.ages == 3
    on_patch = ((tracks.uv[0] > [315, 180]) & (tracks.uv[0] < [485, 290])).all(1)
    assert old.sum() > 60
    assert not (old & on_patch).any()


def rotation(hall: Simulation, i: int) -> np.ndarray:
    return hall.T_world_cam(FIRST + i, 0)[:3, :3] @ hall.rig.cameras[0].T_body_cam[:3, :3].T


def test_features_are_replaced_at_their_greatest_age(hall: Simulation, frames: list[ImageFrame]) -> None:
    tracks = run(FeatureTracker(TrackerConfig(max_age_frames=3), hall.rig), frames[:8])
    assert [t.ages.max() for t in tracks[:4]] == [0, 1, 2, 3]
    assert max(t.ages.max() for t in tracks) == 3


def test_no_track_enters_the_mask(hall: Simulation, frames: list[ImageFrame]) -> None:
    mask = np.full((480, 752), 255, np.uint8)
    mask[:, 300:450] = 0
    left, right = hall.rig.cameras
    rig = replace(hall.rig, cameras=(replace(left, mask=mask), right))
    for tracks in run(FeatureTracker(TrackerConfig(), rig), frames[:6]):
        column, row = np.rint(tracks.uv[0, tracks.ages > 0]).astype(int).T
        assert mask[row, column].all()
    assert len(column) > 100


def test_after_a_reset_the_ids_go_on(frames: list[ImageFrame], tracker: FeatureTracker) -> None:
    seen = tracker.process(frames[0]).ids.max()
    tracker.reset()
    after = tracker.process(frames[1])
    assert after.ids.min() > seen
    assert not after.ages.any()


def test_the_same_frames_give_the_same_bytes(hall: Simulation, frames: list[ImageFrame]) -> None:
    def digest() -> bytes:
        tracks = run(FeatureTracker(TrackerConfig(), hall.rig), frames[:5])
        return b"".join(a.tobytes() for t in tracks for a in (t.ids, t.uv, t.ages))

    assert digest() == digest()


class DotMatcher:
    """Dots on black, each with a gray value of its own by which it is known again."""

    def prepare(self, images: Sequence[np.ndarray]) -> list[dict[int, tuple[int, int]]]:
        return [{int(image[v, u]): (u, v) for v, u in np.argwhere(image)} for image in images]

    def appearance(self, view: dict[int, tuple[int, int]]) -> None:
        return None  # dots are where they are

    def detect(
        self, view: dict[int, tuple[int, int]], present_uv: np.ndarray, mask: np.ndarray | None, most: int
    ) -> np.ndarray:
        present = set(map(tuple, present_uv.tolist()))
        return np.array([uv for uv in view.values() if uv not in present], np.float32).reshape(-1, 2)

    def follow(
        self, a: dict[int, tuple[int, int]], b: dict[int, tuple[int, int]], uv_a: np.ndarray, guess_b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        names = {uv: name for name, uv in a.items()}
        found_uv = [b.get(names[tuple(uv)], (np.nan, np.nan)) for uv in uv_a.tolist()]
        uv_b = np.array(found_uv, np.float32).reshape(-1, 2)
        return uv_b, np.isfinite(uv_b[:, 0])


@pytest.mark.parametrize("method", ["lk", "letnet2"])
def test_one_thread_gives_the_same_bytes_as_two(hall: Simulation, frames: list[ImageFrame], method: str) -> None:
    tracked = []
    for count in (1, 2):
        tracker = FeatureTracker(TrackerConfig(method=method, threads=count), hall.rig)
        assert (cv2.getNumThreads(), threads()) == (count, count)
        tracked.append([tracker.process(frame).uv.tobytes() for frame in frames[:4]])
    assert tracked[0] == tracked[1]


def test_a_keypoint_matcher_can_take_the_place_of_optical_flow() -> None:
    camera = Camera("pinhole-radtan", 320, 240, (200.0, 200.0, 160.0, 120.0))
    T_body_right = np.eye(4)
    T_body_right[0, 3] = 0.1
    rig = Rig((MountedCamera(camera, np.eye(4)), MountedCamera(camera, T_body_right)), None)
    rng = np.random.default_rng(0)
    dots = {int(name): uv for name, uv in zip(range(1, 41), rng.integers(60, 180, (40, 2)), strict=True)}

    def image(shift: tuple[int, int], names: Iterable[int]) -> np.ndarray:
        out = np.zeros((240, 320), np.uint8)
        for name in names:
            u, v = dots[name] + shift
            out[v, u] = name
        return out

    tracker = FeatureTracker(TrackerConfig(), rig, DotMatcher())
    first = tracker.process(ImageFrame(0, (image((0, 0), range(1, 31)), image((-10, 0), range(1, 31)))))
    second = tracker.process(ImageFrame(1, (image((50, 20), range(6, 41)), None)))
    shared = np.intersect1d(first.ids, second.ids)
    assert (len(first), len(second), len(shared)) == (30, 35, 25)
    assert (first.uv[1] == first.uv[0] - [10, 0]).all()
    assert (second.uv[0, np.isin(second.ids, shared)] == first.uv[0, np.isin(first.ids, shared)] + [50, 20]).all()


def test_a_stuck_camera_gives_no_tracks_while_the_body_turns_and_its_features_wait(
    hall: Simulation, frames: list[ImageFrame]
) -> None:
    turn = [hall.rig.cameras[0].T_body_cam[:3, :3] @ hall.T_world_cam(FIRST + i, 0)[:3, :3].T for i in range(6)]
    tracker, usual = FeatureTracker(PLAIN, hall.rig), FeatureTracker(PLAIN, hall.rig)
    for one in (tracker, usual):
        before = [one.process(frame) for frame in frames[:3]][-1]
    little, far = turn[2] @ turn[3].T, exp_so3(np.array([0, 0.02, 0])) @ turn[2] @ turn[3].T
    stuck = replace(frames[2], stamp_ns=frames[3].stamp_ns)
    nothing = tracker.process(stuck, far, trusted=True)
    assert (len(nothing), tracker.stuck) == (0, {0: 1})
    after = tracker.process(frames[3], far.T @ little, trusted=True)
    assert stays(before.ids, after) == stays(before.ids, usual.process(frames[3], little, trusted=True)) > 0.8
    still = tracker.process(replace(frames[3], stamp_ns=frames[4].stamp_ns), np.eye(3), trusted=True)
    assert stays(after.ids, still) > 0.9  # at rest a picture may repeat itself
    assert tracker.stuck == {0: 1}


@pytest.mark.parametrize("method", ["lk", "letnet2"])
def test_other_thresholds_act_at_once_and_reopen_nothing(
    hall: Simulation, frames: list[ImageFrame], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def counted(*asked: Any) -> Runtime:
        opened.append(asked)
        return open_runtime(*asked)

    monkeypatch.setattr(follower, "open_runtime", counted)
    config = TrackerConfig(method=method, max_features=100)
    tracker = FeatureTracker(config, hall.rig)
    before, maps = tracker.process(frames[0]), vars(tracker.follower)["maps"]
    tracker.configure(replace(config, max_features=20))
    tracker.reset()
    after = tracker.process(frames[1])
    assert len(after) == 20 < len(before)
    assert vars(tracker.follower)["maps"] is maps
    assert len(opened) == (method == "letnet2")


def test_a_follower_that_was_given_stays(hall: Simulation) -> None:
    given = DotMatcher()
    tracker = FeatureTracker(TrackerConfig(), hall.rig, given)
    tracker.configure(TrackerConfig(max_features=20))
    assert tracker.follower is given


def test_a_pair_has_the_features_of_one_that_sees_nothing_until_it_sees_again(
    hall4: Simulation, frames4: list[ImageFrame]
) -> None:
    config = TrackerConfig(max_features=60, min_distance_px=10)
    tracker, dark = FeatureTracker(config, hall4.rig), np.zeros_like(frames4[0].images[0])

    def numbers(frame: ImageFrame) -> tuple[int, int]:
        tracks = tracker.process(frame)
        return of_group(tracks, 0).sum(), of_group(tracks, 2).sum()

    assert max(numbers(frames4[0])) <= 60
    black = [replace(frame, images=(dark, dark, *frame.images[2:])) for frame in frames4[1:]]
    assert [numbers(frame)[1] > 60 for frame in black[: BLIND_FRAMES + 1]] == [False] * BLIND_FRAMES + [True]
    front, back = numbers(frames4[6])
    assert 30 < front <= 60 < back
