# SPDX-License-Identifier: Apache-2.0
"""Figures on points of fixed numbers, as the authors' own functions or loops written for that give them.

KP2D: compute_repeatability, compute_homography and compute_matching_score of github.com/TRI-ML/KP2D; SuperPoint:
compute_repeatability and compute_homography of github.com/rpautrat/SuperPoint, run on the same points.
"""

from typing import Any

import numpy as np
import pytest

from training.data.homographies import transfer
from training.data.pair import Pair
from training.features import Features, apart
from training.tasks.pairs import Choice, KeypointMatcher
from training.tasks.protocols import KP2D, SUPERPOINT, our_protocol

from ..vectors import unit

H = np.array([[1.3, 0.2, -50.0], [-0.15, 1.2, 10.0], [5e-4, -3e-4, 1.0]])
BLANK = np.zeros((240, 320, 3), np.uint8)
PAIR = Pair("one", BLANK, BLANK + 1, H)
TOP_K = 60


def points(seed: int, whole: bool = False) -> list[Any]:
    """Features of both views: of 150 points most come again, a few px off; descriptors alike by and large."""
    rng = np.random.default_rng(seed)
    uv_a = rng.uniform([0, 0], [320, 240], (150, 2))
    uv_b = transfer(H, uv_a) + rng.normal(0, 1.5, (150, 2))
    inside = ((uv_b >= 0) & (uv_b < [320, 240])).all(axis=1)
    lost = rng.uniform([0, 0], [320, 240], (150, 2))
    uv_b = np.where((inside & (rng.random(150) < 0.8))[:, None], uv_b, lost)
    of_a = rng.normal(0, 1, (150, 8))
    of_b = of_a + rng.normal(0, 0.5, (150, 8))
    both = [unit(x) for x in (of_a, of_b)]
    scores = rng.permutation(150) / 150 + 0.01, rng.permutation(150) / 150 + 0.01
    found = []
    for uv, score, described in zip((uv_a, uv_b), scores, both, strict=True):
        placed = np.floor(uv) if whole else uv
        order = np.argsort(-score)
        found.append(Features(*(x[order].astype(np.float32) for x in (placed, score, described))))
    return found


def measure(protocol: Any, features: list[Any], choice: Choice) -> dict[str, Any]:
    """Figures of one pair whose features are given."""
    match = KeypointMatcher(lambda image: features[int(image[0, 0, 0])])
    row = protocol.measure(PAIR, match(PAIR, [choice])[0])
    return protocol.summarise({"v_a": row})


@pytest.mark.parametrize(
    ("seed", "rep", "loc", "corners", "score"),
    [
        (0, 0.3416666666666667, 1.4602399966745143, (0, 1, 1), 0.275),
        (1, 0.25, 1.5204872683294568, (0, 1, 1), 0.22790697674418606),
        (2, 0.38333333333333336, 1.7469762671548867, (0, 0, 0), 0.3384615384615385),
    ],
)
def test_kp2d_figures_are_those_of_its_authors_code(
    seed: int, rep: float, loc: float, corners: tuple[int, int, int], score: float
) -> None:
    figures = measure(KP2D, points(seed), Choice(TOP_K))
    assert list(figures) == ["Rep", "Loc", "C1", "C3", "C5", "MScore"]
    assert (figures["Rep"], figures["MScore"]) == pytest.approx((rep, score))
    assert figures["Loc"] == pytest.approx(loc, rel=1e-6)
    assert tuple(figures[f"C{px}"] for px in (1, 3, 5)) == corners


@pytest.mark.parametrize(
    ("seed", "rep", "loc", "corners", "score", "precision"),
    [  # Rep and C* by the authors' code, the rest by loops after the paper's appendix
        (0, 0.35, 1.5828624614359126, (0, 1, 1), 0.3333333333333333, 0.7961959134919663),
        (1, 0.25, 1.4911950507074145, (0, 1, 1), 0.24166666666666667, 0.6380388526817099),
        (2, 0.36666666666666664, 1.8276178458581382, (0, 0, 0), 0.3416666666666667, 0.6613764235900343),
    ],
)
def test_superpoints_figures_are_those_of_its_authors(
    seed: int, rep: float, loc: float, corners: tuple[int, int, int], score: float, precision: float
) -> None:
    figures = measure(SUPERPOINT, points(seed, whole=True), Choice(TOP_K))
    assert list(figures) == ["Rep", "Loc", "C1", "C3", "C5", "NN mAP", "MScore"]
    assert (figures["Rep"], figures["MScore"]) == pytest.approx((rep, score))
    assert (figures["Loc"], figures["NN mAP"]) == pytest.approx((loc, precision), rel=1e-6)
    assert tuple(figures[f"C{px}"] for px in (1, 3, 5)) == corners


@pytest.mark.parametrize(
    ("seed", "rep", "loc", "score", "precision", "matches"),
    [
        (0, 0.3416666666666667, 1.3633608478311354, 0.31666666666666665, 0.7180675715994275, 38),
        (1, 0.25, 1.403927011459852, 0.24166666666666667, 0.6500862865082236, 34),
        (2, 0.39166666666666666, 1.6230876637919647, 0.3416666666666667, 0.6928201941584774, 38),
    ],
)
def test_our_figures_are_those_of_plain_loops(
    seed: int, rep: float, loc: float, score: float, precision: float, matches: int
) -> None:
    figures = measure(our_protocol(), points(seed), Choice(TOP_K))
    assert (figures["Rep"], figures["MScore"], figures["matches"]) == pytest.approx((rep, score, matches))
    assert (figures["Loc"], figures["mAP"]) == pytest.approx((loc, precision), rel=1e-6)


def test_the_protocols_take_keypoints_as_published() -> None:
    assert KP2D.choices == our_protocol().choices == {(240, 320): Choice(300), (480, 640): Choice(1000)}
    assert SUPERPOINT.choices == {(240, 320): Choice(300, 4, True), (480, 640): Choice(1000, 8, True)}
    assert our_protocol(4).choices[480, 640] == Choice(1000, 4)


def test_superpoints_suppression_is_by_squares() -> None:
    uv = np.array([[10, 10], [13, 13], [14.5, 10], [30, 30]], np.float32)
    features = Features(uv, np.arange(4, 0, -1.0), np.zeros((4, 8)))
    assert apart(features, 4, square=True).uv.tolist() == uv[[0, 2, 3]].tolist()
    assert apart(features, 4).uv.tolist() == uv[[0, 1, 3]].tolist()


def test_means_leave_out_pairs_without_a_figure() -> None:
    rows = {"a": {"Loc": 1.0, "corner_error": 2.0}, "b": {"Loc": np.nan, "corner_error": np.inf}}
    assert KP2D.summarise(rows) == {"Loc": 1, "C1": 0, "C3": 0.5, "C5": 0.5}
