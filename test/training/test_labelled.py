# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from letvins_ros.errors import ConfigError, DataError
from training.data.homographies import KP2D
from training.data.label_sets import IGNORED, coco_table
from training.data.labelled import LabelledPairs, open_labelled
from training.data.pairs import PairOptions
from training.losses import dense
from training.tasks.segmentation import confusion, depth_figures, segmentation_figures

from ..some import some
from .pictures import picture

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coco")
    for split in ("train2017", "val2017"):
        (root / split).mkdir()
        (root / "stuffthingmaps" / split).mkdir(parents=True)
        for i in range(2):
            labels = np.full((90, 120), 255, np.uint8)
            labels[:40], labels[40:60, :50] = 156, 2  # sky, a car; the rest unlabelled
            cv2.imwrite(str(root / split / f"{i:012d}.jpg"), picture(i, (90, 120)))
            cv2.imwrite(str(root / "stuffthingmaps" / split / f"{i:012d}.png"), labels)
    return root


def test_cocos_unlabelled_pixels_stay_ignored_and_groups_are_those_of_the_table(coco: Path) -> None:
    sample = open_labelled("coco", coco, "train", 28)[0]
    assert sample.image.shape == (90, 120, 3)
    assert sorted(set(some(sample.labels).ravel())) == [1, 21, 255]
    table = coco_table(28)
    assert [table[i] for i in (0, 8, 24, 160, 182, 255)] == [0, 1, 3, 27, 25, 255]
    assert len(set(table[:183]) - {255}) == 28
    assert sorted(set(some(open_labelled("coco", coco, "val", 183)[1].labels).ravel())) == [2, 156, 255]


def test_cocos_27_and_171_classes_are_those_of_the_literature() -> None:
    """Person, bicycle, car, sky, grass, road, water and door of the 27; 171 leaves out ids of nothing."""
    table = coco_table(27)
    assert [table[i] for i in (0, 1, 2, 156, 123, 148, 177, 111)] == [9, 11, 11, 23, 22, 21, 26, 15]
    assert np.bincount(table[:182], minlength=27).tolist() == [
        6, 6, 10, 10, 8, 8, 8, 10, 6, 1, 10, 8, 2, 6, 4, 11, 4, 11, 7, 2, 6, 11, 9, 2, 6, 5, 5,
    ]  # fmt: skip
    fine = coco_table(171)
    assert [fine[i] for i in (0, 10, 12, 89, 91, 181)] == [0, 10, 11, 79, 80, 170]
    assert (fine[[11, 25, 82, 182, 255]] == IGNORED).all()
    assert sorted(fine[fine != IGNORED]) == list(range(171))
    with pytest.raises(ConfigError, match="27, 28, 171 or 183 classes here, got 30"):
        coco_table(30)


def test_pairs_carry_labels_through_the_homography(coco: Path) -> None:
    item = LabelledPairs(open_labelled("coco", coco, "train", 28), 4, 0, PairOptions((48, 64), 3, KP2D))[1]
    assert item["labels_a"].shape == item["labels_b"].shape == (48, 64)
    assert set(item["labels_b"].unique().tolist()) <= {1, 21, 255}  # type: ignore[no-untyped-call]
    seen = cv2.warpPerspective(
        item["labels_a"].numpy().astype(np.uint8),
        item["H_b_a"].numpy().astype(float),
        (64, 48),
        flags=cv2.INTER_NEAREST,
    )
    assert (seen == item["labels_b"].numpy()).mean() > 0.97


def test_cityscapes_has_its_nineteen_classes(tmp_path: Path) -> None:
    labels, name = np.full((40, 80), 4, np.uint8), "bonn_000000_000019"
    labels[:10], labels[10:20] = 7, 33  # road, bicycle
    for kind, file, content in (
        ("gtFine", f"{name}_gtFine_labelIds.png", labels),
        ("leftImg8bit", f"{name}_leftImg8bit.png", picture(0, (40, 80))),
    ):
        (tmp_path / kind / "val" / "bonn").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / kind / "val" / "bonn" / file), content)
    data = open_labelled("cityscapes", tmp_path, "val", 28)
    assert (len(data), data.classes) == (1, 19)
    assert [int(some(data[0].labels)[row, 0]) for row in (0, 15, 30)] == [0, 18, 255]


def test_nyu_is_read_from_its_matlab_file_by_the_standard_split(tmp_path: Path) -> None:
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    images, depths = rng.integers(0, 256, (3, 3, 64, 48), np.uint8), rng.uniform(1, 9, (3, 64, 48)).astype(np.float32)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["depths"] = images, depths
    savemat(tmp_path / "splits.mat", {"trainNdxs": [[3]], "testNdxs": [[1], [2]]})
    train, test = open_labelled("nyu", tmp_path, "train", 0), open_labelled("nyu", tmp_path, "val", 0)
    assert (len(train), len(test)) == (1, 2)
    assert np.array_equal(train[0].image, images[2].transpose(2, 1, 0))
    assert np.array_equal(some(test[1].depth), depths[1].T)
    item = LabelledPairs(train, 1, 0, PairOptions((48, 64)))[0]
    assert item["depth_a"].shape == item["depth_b"].shape == (1, 48, 64)
    assert train[0].labels is None


@pytest.mark.parametrize(("classes", "expected"), [(40, [255, 4, 39, 0]), (13, [255, 0, 6, 11])])
def test_nyu_has_40_or_13_classes_by_its_published_mappings(tmp_path: Path, classes: int, expected: list[int]) -> None:
    from scipy.io import savemat

    labels = np.zeros((2, 64, 48), np.uint16)
    labels[1, :10], labels[1, 10:20], labels[1, 20:30] = 894, 3, 1  # by columns; the rest unlabelled
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["depths"] = np.zeros((2, 3, 64, 48), np.uint8), np.ones((2, 64, 48), np.float32)
        file["labels"] = labels
    savemat(tmp_path / "splits.mat", {"trainNdxs": [[1]], "testNdxs": [[2]]})
    with pytest.raises(DataError, match=r"no .*classMapping40\.mat; download"):
        open_labelled("nyu", tmp_path, "val", classes)
    to_40 = np.full((1, 894), 7.0)
    to_40[0, [893, 2, 0]] = [5, 40, 1]
    to_13 = np.full((1, 40), 9.0)
    to_13[0, [4, 39, 0]] = [1, 7, 12]
    savemat(tmp_path / "classMapping40.mat", {"mapClass": to_40, "className": np.array(["wall"] * 40, object)})
    savemat(tmp_path / "class13Mapping.mat", {"classMapping13": {"labels13": ["bed"] * 13, "to": to_13}})
    data = open_labelled("nyu", tmp_path, "val", classes)
    found = some(data[0].labels)
    assert (data.classes, found.shape) == (classes, (48, 64))
    assert [int(found[0, column]) for column in (40, 5, 15, 25)] == expected


def test_scene_parse_has_150_classes_and_others_that_count_nowhere(tmp_path: Path) -> None:
    for kind, name, content in (
        ("annotations", "ADE_val_00000001.png", np.array([[0, 1, 150]], np.uint8).repeat(6, 0)),
        ("images", "ADE_val_00000001.jpg", picture(0, (6, 3))),
    ):
        (tmp_path / kind / "validation").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / kind / "validation" / name), content)
    data = open_labelled("scene_parse", tmp_path, "val", 150)
    assert some(data[0].labels)[0].tolist() == [255, 0, 149]
    assert data[0].image.shape == (6, 3, 3)


def put_folder(root: Path, split: str, name: str, **maps: np.ndarray) -> None:
    """A photograph and maps of its name."""
    for kind, content in {"images": picture(0, (30, 40)), **maps}.items():
        path = root / kind / split / f"{name}.{'jpg' if kind == 'images' else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), content)


def test_a_folder_of_ones_own_has_labels_and_depth_where_maps_of_a_photographs_name_are(tmp_path: Path) -> None:
    labels, depth = np.full((30, 40), 3, np.uint8), np.full((30, 40), 32500, np.uint16)
    labels[:5] = 255
    put_folder(tmp_path, "train", "a/1", labels=labels, depth=depth)
    put_folder(tmp_path, "train", "a/2", labels=labels)
    put_folder(tmp_path, "train", "a/3")
    data = open_labelled("folder", tmp_path, "train", 4)
    assert [path.stem for path in data.items] == ["1", "2"]
    assert np.array_equal(some(data[0].labels), labels)
    assert np.allclose(some(data[0].depth), 0.5)
    assert data[1].depth is None
    item = LabelledPairs(data, 1, 0, PairOptions((48, 64), 3, KP2D))[0]
    assert set(item["labels_a"].unique().tolist()) <= {3, 255}  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({}, r"no photographs with maps of their name .* `python -m training\.data\.pseudo_labels` makes such maps"),
        ({"labels": np.full((30, 40), 4, np.uint8)}, "has label 4, of 4 classes the last is 3"),
        ({"labels": np.zeros((20, 40), np.uint8)}, r"\(40, 20\) px, its photograph has \(40, 30\)"),
        ({"depth": np.zeros((30, 40), np.uint8)}, "not a 16-bit map of depth"),
    ],
)
def test_maps_that_do_not_belong_to_a_photograph_are_refused(
    tmp_path: Path, maps: dict[str, np.ndarray], message: str
) -> None:
    put_folder(tmp_path, "val", "1", **maps)
    with pytest.raises(DataError, match=message):
        open_labelled("folder", tmp_path, "val", 4)[0]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("coco", r"stuffthingmaps/train2017/\*\.png; download stuffthingmaps_trainval2017\.zip"),
        ("cityscapes", "download gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip"),
        ("nyu", "download nyu_depth_v2_labeled.mat"),
        ("scene_parse", r"download ADEChallengeData2016\.zip"),
    ],
)
def test_missing_data_say_what_to_download(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_labelled(kind, tmp_path, "train", 28)


def test_unknown_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown labels ade; known: coco, cityscapes, nyu, scene_parse, folder"):
        open_labelled("ade", tmp_path, "train", 28)


def test_segmentation_figures_by_hand() -> None:
    labels, predicted = np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 0]])
    figures = segmentation_figures(confusion(predicted, labels, 3))
    assert figures["mIoU"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["F1"] == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_depth_figures_by_hand() -> None:
    true = np.array([1.0, 2.0, 4.0])
    figures = depth_figures([(true * 1.5, true)])
    assert (figures["a1"], figures["a2"]) == (0, 1)
    assert figures["abs_rel"] == pytest.approx(0.5)
    assert figures["silog"] == pytest.approx(0, abs=1e-4)  # a common factor is not its business
    assert figures["rmse_log"] == pytest.approx(np.log(1.5))


def test_segmentation_loss_ignores_255_and_falls_with_the_right_answer() -> None:
    labels = torch.tensor([[[0, 255], [1, 1]]])
    right = torch.tensor([[[[9.0, 0], [-9, -9]], [[-9, 0], [9, 9]]]])
    assert dense.segmentation(right, labels) < 0.2
    assert dense.segmentation(-right, labels) > 5
    changed = right.clone()
    changed[..., 0, 1] = torch.tensor([-7.0, 7.0])
    assert dense.segmentation(changed, labels) == pytest.approx(dense.segmentation(right, labels).item())
    assert dense.segmentation(right, torch.full_like(labels, 255)) == 0


def test_depth_loss_is_small_for_the_truth_and_ignores_unknown() -> None:
    true = torch.rand(1, 1, 8, 8) + 0.5
    true[..., :4] = 0
    assert dense.depth(true.clamp(min=0.1), true) < 0.01
    assert dense.depth(true.flip(-2).clamp(min=0.1), true) > 0.1
    assert dense.depth(true, torch.zeros_like(true)) == 0


def test_a_label_beyond_the_classes_is_named(coco: Path, tmp_path: Path) -> None:
    shutil.copytree(coco, tmp_path / "coco")
    path = tmp_path / "coco/stuffthingmaps/train2017/000000000000.png"
    cv2.imwrite(str(path), np.full((90, 120), 183, np.uint8))
    with pytest.raises(DataError, match=r"000000000000\.png: has label 183, of 183 classes the last is 182"):
        open_labelled("coco", tmp_path / "coco", "train", 183)[0]


@pytest.mark.parametrize(("predicted", "labels"), [(3, 0), (0, 3)])
def test_unlike_numbers_of_classes_are_refused(predicted: int, labels: int) -> None:
    with pytest.raises(DataError, match=r"class 3 of data with 3 classes: these do not belong together"):
        confusion(np.full((2, 2), predicted), np.full((2, 2), labels), 3)
    assert confusion(np.full((2, 2), 3), np.full((2, 2), IGNORED), 3).sum() == 0


def test_a_network_of_fewer_classes_than_the_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gtFine/val/city").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "gtFine/val/city/a_gtFine_labelIds.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(ConfigError, match="classes: cityscapes has 19, the network is to tell 10 apart"):
        open_labelled("cityscapes", tmp_path, "val", 10)
