# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from letvins_ros import networks
from letvins_ros.errors import ConfigError, DataError
from letvins_ros.geometry import exp_so3, transform
from letvins_ros.networks.loftr import LoFTRMatches
from training.data.homographies import transfer, warp
from training.data.pair import Pair
from training.drawing import matches
from training.features import (
    CellNetwork,
    Features,
    HeatNetwork,
    apart,
    distinct_first,
    enlarged,
    maxima,
    open_extractor,
    orb,
    refine,
    sift,
)
from training.metrics import area_under_curve, average_precision, recall_at
from training.tasks.hpatches import hpatches_pairs, parts, upright
from training.tasks.matchers import DetectorFree, open_pair_model
from training.tasks.pairs import Choice, KeypointMatcher, Prediction, lucas_kanade
from training.tasks.protocols import KP2D, SUPERPOINT, corner_error, our_protocol, our_row
from training.tasks.two_view import odometry_summary, pose_summary, two_view_figures

from ..networks.layouts import saved
from ..some import some
from .pictures import MILD, picture


@pytest.fixture(scope="module")
def pair() -> Pair:
    image = picture(5)
    return Pair("one", image, warp(image, MILD, (240, 320)), MILD)


def test_area_under_curve_is_that_of_the_steps() -> None:
    assert area_under_curve(np.zeros(4), [5.0]) == pytest.approx([1.0])
    assert area_under_curve(np.array([np.inf, np.nan, 9.0]), [5.0]) == [0.0]
    # half of the errors at 1: rises to 1/2 at 1, stays: (0.25 + 0.5) / 2
    assert area_under_curve(np.array([1.0, np.inf]), [2.0]) == pytest.approx([(0.25 + 0.5) / 2])


def test_average_precision_by_hand() -> None:
    assert average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([0.9]), np.array([False])) == 0


def test_recall_counts_queries_with_a_positive_among_the_first() -> None:
    ranked = [np.array([3, 1, 2]), np.array([0, 2, 1])]
    assert recall_at(ranked, [np.array([1]), np.array([7])], (1, 2)) == [0.0, 0.5]


@pytest.mark.parametrize("extract", [sift, orb])
def test_a_mild_homography_is_found_by_classical_features(pair: Pair, extract: Callable[[np.ndarray], Any]) -> None:
    figures = our_row(pair, KeypointMatcher(extract)(pair, [Choice(300)])[0])
    assert figures["Rep"] > 0.5
    assert figures["Loc"] < 1.5
    assert figures["corner_error"] < 3
    assert figures["MScore"] > 0.4
    assert figures["mAP"] > 0.8


def test_keypoints_are_thinned_out_from_the_strongest_on(pair: Pair) -> None:
    uv = np.array([[10, 10], [13, 10], [16, 10], [30, 10], [30, 13.9]], np.float32)
    thin = apart(Features(uv, np.arange(5, 0, -1.0), np.zeros((5, 8))), 4)
    assert thin.uv.tolist() == uv[[0, 2, 3]].tolist()
    assert [len(x) for x in apart(Features(*np.zeros((3, 0, 2))), 4)] == [0, 0, 0]
    found = KeypointMatcher(orb)(pair, [Choice(300, 4)])[0]
    assert np.linalg.norm(found.uv_a[:, None] - found.uv_a, axis=2)[~np.eye(len(found.uv_a), dtype=bool)].min() > 4


def test_lucas_kanade_is_a_peer(pair: Pair) -> None:
    figures = our_row(pair, lucas_kanade(pair, [Choice(300)])[0])
    assert figures["corner_error"] < 1
    assert figures["mAP"] > 0.95


PROTOCOLS = pytest.mark.parametrize("protocol", [KP2D, SUPERPOINT, our_protocol()], ids=["KP2D", "SuperPoint", "ours"])


def prediction_of(uv: np.ndarray, there: np.ndarray) -> Prediction:
    """Every keypoint is known to be where it is."""
    both = np.hstack([uv, there]).astype(np.float32)
    sure = np.ones(len(uv))
    return Prediction(uv, there, there, uv, sure, sure, both, sure, both, np.hstack([there, uv]).astype(np.float32))


@PROTOCOLS
def test_perfect_predictions_have_perfect_figures(pair: Pair, protocol: Any) -> None:
    uv = np.random.default_rng(0).uniform([20, 20], [280, 200], (50, 2))
    figures = protocol.summarise({"i_a": protocol.measure(pair, prediction_of(uv, transfer(MILD, uv)))})
    assert all(value == pytest.approx(1) for name, value in figures.items() if name not in ("Loc", "matches", "AUC@1"))
    assert figures["Loc"] == pytest.approx(0, abs=1e-5)


@PROTOCOLS
def test_nothing_found_is_counted_as_failure_and_not_a_crash(pair: Pair, protocol: Any) -> None:
    nothing = prediction_of(np.zeros((0, 2)), np.zeros((0, 2)))
    figures = protocol.summarise({"v_a": protocol.measure(pair, nothing)})
    assert np.isnan(figures["Loc"])
    assert {figures[name] for name in figures if name != "Loc"} == {0}
    assert corner_error(np.zeros((3, 4), np.float32), MILD, (240, 320)) == np.inf


def test_predictions_survive_the_disk(tmp_path: Path, pair: Pair) -> None:
    prediction = KeypointMatcher(orb)(pair, [Choice(50)])[0]
    prediction.save(tmp_path / "x/p.npz")
    assert all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(Prediction.load(tmp_path / "x/p.npz"), prediction, strict=True)
    )
    (tmp_path / "bad.npz").write_bytes(b"no")
    with pytest.raises(DataError, match="not a prediction"):
        Prediction.load(tmp_path / "bad.npz")


def test_hpatches_are_read_and_their_homographies_scaled(tmp_path: Path) -> None:
    image = picture(7, (120, 200))
    for name in ("i_dome", "v_wall"):
        (tmp_path / name).mkdir()
        for i in range(1, 7):
            cv2.imwrite(str(tmp_path / name / f"{i}.ppm"), warp(image, MILD, (120, 200)) if i == 3 else image)
            if i > 1:
                np.savetxt(tmp_path / name / f"H_1_{i}", -MILD if i == 3 else np.eye(3))  # of either sign
    pairs = list(hpatches_pairs(tmp_path, (240, 320)))
    assert [p.name for p in pairs][:2] == ["i_dome_1_2", "i_dome_1_3"]
    assert len(pairs) == 10
    assert all(p.image_a.shape == (240, 320, 3) for p in pairs)
    seen = warp(pairs[1].image_a, some(pairs[1].H_b_a), (240, 320)).astype(float)
    inner = (slice(40, 200), slice(40, 280))
    assert np.abs(seen[inner] - pairs[1].image_b[inner]).mean() < 4
    assert np.isfinite(transfer(some(pairs[1].H_b_a), np.array([[160.0, 120.0]]))).all()
    assert parts([p.name for p in pairs])["light"] == [f"i_dome_1_{i}" for i in range(2, 7)]
    with pytest.raises(DataError, match="hpatches-sequences-release"):
        list(hpatches_pairs(tmp_path / "i_dome", (240, 320)))


@pytest.mark.parametrize(("degrees", "quarters"), [(10, 0), (-40, 0), (80, 1), (-130, 3), (170, 2)])
def test_upright_leaves_no_more_than_half_a_quarter_turn(degrees: float, quarters: int) -> None:
    image = picture(5)
    turn = np.vstack([cv2.getRotationMatrix2D((159.5, 119.5), -degrees, 1), [0, 0, 1]])
    turned = warp(image, turn, (240, 320))
    pair = upright(Pair("one", image, turned, turn))
    assert pair.image_b.shape == ((320, 240, 3) if quarters % 2 else (240, 320, 3))
    assert np.array_equal(pair.image_b, np.rot90(turned, quarters))
    shown = warp(image, some(pair.H_b_a), (pair.image_b.shape[0], pair.image_b.shape[1]))
    assert np.abs(shown.astype(int) - pair.image_b).mean() < 3
    assert abs(np.degrees(np.arctan2(some(pair.H_b_a)[1, 0], some(pair.H_b_a)[0, 0]))) < 45
    for model in ("sift", "gftt-lk"):
        prediction = open_pair_model(model)(pair, [Choice(300)])[0]
        assert (prediction.uv_b <= np.array(pair.image_b.shape[1::-1])).all()
        if model == "sift":
            assert corner_error(prediction.matches, some(pair.H_b_a), pair.image_a.shape) < 2
        assert matches(pair.image_a, pair.image_b, prediction.matches).shape[0] == max(240, pair.image_b.shape[0])


def test_networks_give_features_of_the_same_contract() -> None:
    torch.manual_seed(0)
    image = picture(1, (100, 150))  # no multiple of anything
    for extract, size in (
        (CellNetwork(networks.build("kp2dtiny").eval()), 32),
        (HeatNetwork(networks.build("superpoint").eval(), threshold=0.0), 256),
    ):
        found = extract(image)
        assert found.descriptor.shape == (len(found.uv), size)
        assert np.linalg.norm(found.descriptor, axis=1) == pytest.approx(np.ones(len(found.uv)), abs=1e-4)
        assert (np.diff(found.score) <= 0).all()


def test_unknown_models_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown model brisk; known: orb, sift, kp2d=WEIGHTS"):
        open_extractor("brisk")


def test_maxima_are_alone_within_their_radius_and_refined_to_the_centre_of_mass() -> None:
    heat = torch.zeros(30, 40)
    heat[10, 12], heat[10, 14], heat[20, 30], heat[1, 1] = 0.9, 0.8, 0.5, 1.0
    uv, score = maxima(heat, 4, 0.1)
    assert uv.tolist() == [[12, 10], [30, 20]]
    assert score.tolist() == pytest.approx([0.9, 0.5])
    place, mass = refine(heat, uv)
    assert place[0, 0] == pytest.approx((12 * 0.9 + 14 * 0.8) / 1.7)
    assert mass[0] == pytest.approx(1.7)


def test_keypoints_that_look_like_no_other_come_first() -> None:
    uv = np.array([[10, 10], [90, 10], [10, 90], [13, 10], [90, 90]], np.float32)
    x, y, z = np.eye(3, dtype=np.float32)
    features = Features(uv, np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32), np.stack([x, y, y, x, z]))
    found = distinct_first(lambda _: features)(np.zeros((100, 100, 3), np.uint8))
    # the two of x are one place; those of y are two, which may be confused
    assert found.uv.tolist() == uv[[0, 3, 4, 1, 2]].tolist()
    assert found.descriptor.tolist() == [list(d) for d in (x, x, z, y, y)]
    assert found.score == pytest.approx(np.array([0.9, 0.6, 0.5, 0, 0]) * 2**0.25, abs=1e-6)
    two = distinct_first(lambda _: features)(np.zeros((15, 10, 3), np.uint8))
    assert two.uv.tolist() == uv[:2].tolist()  # the strongest, one for every 75 px
    assert not len(distinct_first(lambda _: Features(*(x[:0] for x in features)))(np.zeros((9, 9, 3), np.uint8)).uv)


def test_keypoints_of_an_enlarged_image_lie_where_they_are_in_the_image() -> None:
    image, seen = np.zeros((60, 80, 3), np.uint8), []
    image[20:22, 50:53] = 255

    def centre(image: np.ndarray) -> Features:
        seen.append(image.shape)
        uv = np.array([np.average(axis, weights=image[..., 0]) for axis in np.indices(image.shape[:2])[::-1]])
        return Features(uv[None], np.ones(1), np.ones((1, 1)))

    assert enlarged(centre, 1.25)(image).uv == pytest.approx(np.array([[51, 20.5]]), abs=0.05)
    assert seen == [(75, 100, 3)]


@pytest.mark.parametrize("option", [{"enlarge": 1.5}, {"distinct": True}])
def test_networks_see_enlarged_images_and_rank_keypoints_and_classical_features_do_not(
    tmp_path: Path, pair: Pair, option: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    for model, changed in ((f"superpoint={weights(tmp_path, 'superpoint')}", True), ("orb", False)):
        plain, other = (open_pair_model(model, **given)(pair, [Choice(300)])[0] for given in ({}, option))
        assert np.array_equal(plain.uv_a, other.uv_a) != changed


def test_motion_comes_back_from_exact_matches() -> None:
    rng, K = np.random.default_rng(0), np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
    T_b_a = transform(exp_so3(np.array([0.02, -0.1, 0.03])), np.array([0.5, 0.1, 0.2]))
    points = rng.uniform([-2, -1.5, 3], [2, 1.5, 9], (200, 3))
    uv = [(p @ K.T)[:, :2] / p[:, 2:] for p in (points, points @ T_b_a[:3, :3].T + T_b_a[:3, 3])]
    blank = np.zeros((240, 320, 3), np.uint8)
    pair = Pair("p", blank, blank, None, K, K, T_b_a)
    good = two_view_figures(pair, prediction_of(*uv))
    assert good["error_deg"] < 0.05
    assert good["translation_m"] < 0.002
    assert good["precision"] == 1
    bad = two_view_figures(pair, prediction_of(*(x[:3] for x in uv)))
    assert bad["error_deg"] == np.inf
    assert bad["translation_m"] == pytest.approx(np.linalg.norm(T_b_a[:3, 3]))
    assert pose_summary({"a": good, "b": bad})["AUC@5"] == pytest.approx(0.5, abs=0.01)
    assert odometry_summary({"a": good, "b": bad})["failed"] == 0.5


def weights(folder: Path, name: str, **options: Any) -> Path:
    """A file of random weights."""
    return saved(networks.build(name, **options), folder / f"{name}.safetensors")


@pytest.mark.parametrize("name", ["keypointformer", "kp2d_resnet"])
def test_networks_that_need_other_sizes_see_the_image_alone(tmp_path: Path, pair: Pair, name: str) -> None:
    found = open_extractor(f"{name}={weights(tmp_path, name)}")(pair.image_a)
    assert len(found.uv) > 100
    assert (found.uv < [320, 240]).all()  # 240 is padded to 256


def test_lightglue_pairs_the_keypoints_of_another_network(tmp_path: Path, pair: Pair) -> None:
    torch.manual_seed(0)
    points, matcher = weights(tmp_path, "superpoint"), weights(tmp_path, "lightglue", layers=2)
    model: Any = open_pair_model(f"superpoint={points}+lightglue={matcher}")
    same = Pair("same", pair.image_a, pair.image_a)
    model.pairing.network.match = partial(model.pairing.network.match, least=0.0)  # unsure, as it is untrained
    (found,) = model(same, [Choice(60)])
    assert len(found.matches) > 0
    assert (found.confidence > 0).all()
    a = model.extract(pair.image_a)
    keypoints = model.pairing._keypoints(Features(*(x[:60] for x in a)), (240, 320))
    to_b = model.pairing.network.match(keypoints, keypoints).indices.numpy()
    expected = np.where((to_b >= 0)[:, None], a.uv[to_b], np.nan)
    assert np.array_equal(found.forward, expected, equal_nan=True)


def test_loftr_gives_its_surest_matches_as_keypoints(pair: Pair) -> None:
    """A stand-in that says what LoFTR would."""

    class Said(torch.nn.Linear):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> LoFTRMatches:  # type: ignore[override]
            self.shapes = a.shape, b.shape
            uv = torch.tensor([[8.0, 16.0], [80.0, 64.0], [8.0, 241.0]])
            return LoFTRMatches(torch.zeros(3), uv, uv + 1, torch.tensor([0.3, 0.9, 0.95]))

    network = Said(1, 1)
    odd = Pair("odd", pair.image_a[:237], pair.image_b[:237])
    both, one = DetectorFree(network)(odd, [Choice(10), Choice(1)])
    assert network.shapes == ((1, 1, 240, 320),) * 2
    assert both.matches.tolist() == [[80, 64, 81, 65], [8, 16, 9, 17]]  # the surest first, and none of the border
    assert one.matches.tolist() == both.matches[:1].tolist()
    assert both.best_b.tolist() == both.matches[:, [2, 3, 0, 1]].tolist()


def test_loftr_is_measured_like_any_other(tmp_path: Path, pair: Pair) -> None:
    model = open_pair_model(f"loftr={weights(tmp_path, 'loftr')}")
    small = Pair("small", pair.image_a[:64, :96].copy(), pair.image_a[:64, :96].copy(), np.eye(3))
    (found,) = model(small, [Choice(300)])
    assert found.matches.shape[1] == 4
    assert set(our_row(small, found)) == {"Rep", "Loc", "corner_error", "MScore", "mAP", "matches"}


@pytest.mark.parametrize(
    ("model", "message"),
    [("sift+nearest=1", "unknown matcher nearest=1 of sift; known: lightglue=WEIGHTS"), ("sof", "unknown model sof")],
)
def test_an_unknown_matcher_is_told(model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_pair_model(model)
