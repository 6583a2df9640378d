# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros.evaluation.draw_tracks import TrackDrawer
from letvins_ros.evaluation.survival import AFTER, ALIVE, CELLS, Survival
from letvins_ros.types import FrameTracks


def tracks(ids: list[int], uv: list[list[float]], ages: list[int] | None = None) -> FrameTracks:
    left = np.array(uv, np.float32).reshape(1, -1, 2)
    return FrameTracks(0, np.array(ids, np.int64), left, np.array(ages or [0] * len(ids), np.int32))


def test_each_cell_tells_the_share_of_its_features_alive_some_frames_later() -> None:
    survival = Survival(160, 100)
    frames = 2 * AFTER
    for i in range(frames):  # one stays in the first cell, another is replaced in every frame in the last
        survival.add(tracks([0, i + 1], [[0, 0], [159.4, 99.4]]))
    counted = frames - AFTER
    assert survival.seen.shape == CELLS[::-1]
    assert (survival.seen[0, 0], survival.alive[0, 0]) == (counted, counted)
    assert (survival.seen[-1, -1], survival.alive[-1, -1]) == (counted, 0)
    assert survival.seen.sum() == 2 * counted
    figures = survival.figures()
    assert figures[ALIVE] == 0.5
    assert (figures["frames"], figures["tracks"], figures["features_per_frame"]) == (frames, frames + 1, 2.0)
    assert figures["track_length_mean_frames"] == pytest.approx(2 * frames / (frames + 1))
    assert figures["track_length_median_frames"] == 1


@pytest.mark.parametrize("count", [0, 1, AFTER])
def test_a_sequence_too_short_has_no_share_but_a_figure(count: int) -> None:
    survival = Survival(160, 100)
    for _ in range(count):
        survival.add(tracks([], []))
    assert np.isnan(survival.figures()[ALIVE])
    assert survival.figure("short").axes[0].get_title() == "short"


def test_drawing_marks_the_feature_and_its_tail_and_leaves_the_image() -> None:
    drawer, image = TrackDrawer(), np.full((100, 200), 90, np.uint8)
    for i in range(5):
        drawn = drawer.draw(image, tracks([7], [[50 + 10 * i, 40]], [i]))
    changed = (drawn != 90).any(axis=2)
    assert changed[40, 50:90].all()
    assert not changed[:, 96:].any()
    assert not changed[50:].any()
    assert (image == 90).all()
    gone = drawer.draw(image, tracks([8], [[20, 20]]))
    assert not (gone != 90).any(axis=2)[30:].any()


def test_drawing_outlines_what_a_first_patch_has_become() -> None:
    image, outline = np.full((100, 200), 90, np.uint8), np.array([[[118, 41], [118, 59], [82, 59], [82, 41]]])
    drawn = TrackDrawer().draw(image, tracks([7], [[100, 50]]), outline)
    rows, columns = np.nonzero((drawn != 90).any(axis=2))
    assert (rows.min(), rows.max()) == pytest.approx((41, 59), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((82, 118), abs=1)


def test_old_and_new_features_differ_in_colour() -> None:
    image = np.zeros((100, 200), np.uint8)
    new, old = (TrackDrawer().draw(image, tracks([1], [[50, 50]], [age]))[50, 50].tolist() for age in (0, 1000))
    assert new != old
