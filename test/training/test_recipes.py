# SPDX-License-Identifier: Apache-2.0
"""Every recipe learns a batch by heart, and says how good it is."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from letvins_ros import networks
from letvins_ros.errors import ConfigError, DataError, LetvinsError
from training.adapt import find_points, repeats
from training.adapt import main as adapt
from training.config import TrainConfig, open_recipe, read_config
from training.data.images import to_tensor
from training.recipes.magicpoint import make_superpoint

from ..networks.layouts import saved
from ..some import some
from .pictures import picture
from .tiny import RECIPES, SMALL

pytest.importorskip("h5py")
pytest.importorskip("faiss")
pytest.importorskip("lightning_fabric")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Random weights of a network by name, in a file; batch norms know what features are like."""
    folder = tmp_path_factory.mktemp("weights")

    def make(name: str, channels: int = 3, **options: Any) -> str:
        torch.manual_seed(0)
        network = networks.build(name, **options).train()
        images = torch.stack([to_tensor(picture(i, (48, 64)), channels) for i in range(4)])
        with torch.no_grad():
            for _ in range(10):
                network(images)
        return str(saved(network, folder / f"{name}.safetensors"))

    return make


def learn(name: str, options: dict[str, Any], steps: int, lr: float, batch: int = 2) -> tuple[list[float], Any, Any]:
    """Losses of steps on one batch, and the recipe with its network."""
    torch.manual_seed(0)
    recipe = open_recipe(TrainConfig(name, "", 1, options=options))
    network = recipe.build()
    recipe.prepare(network)
    samples = recipe.samples(batch, 0)
    one = default_collate([samples[i] for i in range(batch)])
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=lr)
    totals = []
    for _ in range(steps):
        torch.manual_seed(1)  # the same random points every time
        losses = recipe.loss(network, one)
        optimizer.zero_grad()
        losses["total"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        totals.append(losses["total"].item())
    return totals, recipe, network


def check(
    name: str, options: dict[str, Any], steps: int = 20, lr: float = 3e-3, share: float = 0.7, batch: int = 2
) -> dict[str, Any]:
    totals, recipe, network = learn(name, options, steps, lr, batch)
    assert totals[-1] < share * totals[0], totals
    kept = recipe.deployed(network)
    figures = recipe.validate(kept)
    assert np.isfinite(figures["score"])
    pictures = recipe.pictures(kept)
    assert all(p.ndim == 3 and p.shape[2] == 3 and p.dtype == np.uint8 for p in pictures.values())
    return figures


def test_kp2d(photo_folder: Path) -> None:
    options = {
        "photos": str(photo_folder / "train"),
        "unseen": str(photo_folder / "val"),
        "validation_pairs": 1,
        "height": 64,
        "width": 96,
        "inliers": 0.0,  # as in V0 to V2: it comes in with the tenth right match and lifts the sum
    }
    check("kp2d", options, steps=20, lr=3e-4, share=0.7)
    recipe = open_recipe(TrainConfig("kp2d", "", 1, options=options))
    pictures = recipe.pictures(recipe.deployed(recipe.build()))
    assert {name: picture.shape for name, picture in pictures.items()} == {
        "p_0": (64, 2 * 96, 3), "p_1": (64, 2 * 96, 3),
        "p_0_points": (64, 3 * 96, 3), "p_1_points": (64, 3 * 96, 3),  # frame, scores, detail
    }  # fmt: skip


@pytest.mark.parametrize("version", ["V0", "V1", "V2", "V3", "V4"])
def test_kp2ds_versions_learn_what_their_authors_had_them_learn(version: str, root: Path, tmp_path: Path) -> None:
    """As the first lines of the configuration say."""
    line = next(
        x for x in (root / "training/configs/kp2d.yaml").read_text().splitlines() if x.startswith("# V0 to V2:")
    )
    first, last = ([word.strip(";.") for word in part.split() if "=" in word] for part in line.split(";"))
    overrides = {"V3": last, "V4": []}.get(version, [word.replace("V0", version) for word in first])
    given = [f"options.{key}={value}" for key, value in RECIPES["kp2d"].make(tmp_path).items()]
    recipe = open_recipe(read_config(root / "training/configs/kp2d.yaml", [*given, *overrides]))
    network: Any = recipe.build()
    assert network.network.file_config["version"] == version
    samples = recipe.samples(2, 0)
    losses = recipe.loss(network, default_collate([samples[i] for i in range(2)]))
    assert ("inliers" in losses) == (version in ("V3", "V4"))
    assert (losses["descriptor"].item() > 0) == (version != "V3")


@pytest.mark.parametrize(
    "options",
    [
        {"version": "V2", "inliers": 0.0},  # whose loss begins anew, and so grows, when four matches are right
        {"version": "V3", "corners": 1.0, "softness": 0.1, "dropout": False},
    ],
)
def test_kp2dtiny_without_labels(photo_folder: Path, options: dict[str, str | float | bool]) -> None:
    given = {
        "data": str(photo_folder / "train"),
        "labels": "none",
        "unseen": str(photo_folder / "val"),
        "validation_pairs": 1,
    }
    check("kp2dtiny", {**given, **options, **SMALL}, steps=15, share=0.9)


@pytest.fixture(scope="module")
def coco(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures with labels: left sky, right water, a stripe unlabelled."""
    root = tmp_path_factory.mktemp("coco")
    for split in ("train", "val"):
        (root / f"{split}2017").mkdir()
        (root / "stuffthingmaps" / f"{split}2017").mkdir(parents=True)
        image = some(cv2.imread(str(photo_folder / split / "1.png")))
        image[:, :160] = image[:, :160] // 3
        labels = np.full(image.shape[:2], 119, np.uint8)
        labels[:, :150], labels[:, 150:170] = 156, 255
        cv2.imwrite(str(root / f"{split}2017" / "000000000001.jpg"), image)
        cv2.imwrite(str(root / "stuffthingmaps" / f"{split}2017" / "000000000001.png"), labels)
    return root


def test_kp2dtiny_multitask_then_segmentation_alone_then_for_microcontrollers(
    coco: Path, weights: Callable[..., str]
) -> None:
    base = {"data": str(coco), "unseen": str(coco / "val2017"), "validation_pairs": 1, **SMALL}
    assert "mIoU" in check("kp2dtiny", {**base, "keypoints": 0.25}, steps=12, share=0.8)
    start = weights("kp2dtiny", config="N")
    alone = {"keypoints": 0.0, "place": 0.0, "freeze_backbone": True, "start": start, "renew": "classes."}
    figures = check("kp2dtiny", {**base, **alone}, steps=12, share=0.6)
    assert figures["score"] == figures["mIoU"]
    check(
        "kp2dtiny", {**base, "mcu": True, "start": start, "renew": "decoder.up,descriptor_head.up"}, steps=10, share=0.9
    )


def test_keypointformer_learns_keypoints_places_and_classes_at_once(coco: Path) -> None:
    options = {"data": str(coco), "unseen": str(coco / "val2017"), "validation_pairs": 1, "network": "keypointformer"}
    figures = check("kp2dtiny", {**options, "config": "tiny", "height": 64, "width": 64}, steps=15, share=0.8)
    assert set(figures) >= {"Rep", "mIoU", "score"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "keypointformer", "depth": 1.0}, "keypointformer has no depth to learn"),
        ({"network": "kp2d"}, "unknown network kp2d; known: kp2dtiny, keypointformer"),
    ],
)
def test_a_network_that_the_recipe_cannot_teach_is_told(
    options: dict[str, str | float] | dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_recipe(TrainConfig("kp2dtiny", "", 1, options=options)).build()


def test_frozen_layers_stay_as_they_are(coco: Path, weights: Callable[..., str]) -> None:
    start = weights("kp2dtiny", config="N")
    given = {"data": str(coco), "start": start, "freeze_backbone": True, "keypoints": 0.0, "place": 0.0, **SMALL}
    _, _, network = learn("kp2dtiny", given, 2, 1e-2)
    before = networks.load("kp2dtiny", start).state_dict()
    after = network.network.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("backbone."))
    assert not torch.equal(before["classes.weight"], after["classes.weight"])


def test_weights_that_are_kept_can_be_a_part_of_the_way_from_the_start(
    photo_folder: Path, weights: Callable[..., str]
) -> None:
    start = weights("kp2dtiny", config="N")
    given = {"data": str(photo_folder / "train"), "labels": "none", "start": start, "way": 0.25, "place": 0.0, **SMALL}
    _, recipe, network = learn("kp2dtiny", given, 2, 1e-2)
    before, now = networks.load("kp2dtiny", start).state_dict(), network.network.state_dict()
    kept = recipe.deployed(network).state_dict()
    name = "score_head.0.0.weight"
    assert not torch.equal(before[name], now[name])
    torch.testing.assert_close(kept[name], 0.75 * before[name] + 0.25 * now[name])


@pytest.mark.parametrize("name", ["kp2dtiny", "superpoint"])
def test_part_of_the_way_needs_a_start(name: str) -> None:
    with pytest.raises(ConfigError, match="way"):
        open_recipe(TrainConfig(name, "", 1, options={"way": 0.5})).build()


def test_magicpoint() -> None:
    check("magicpoint", {"validation_shapes": 9, **SMALL}, lr=1e-2, share=0.7)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_superpoint_begins_with_few_points(batch_norm: bool) -> None:
    torch.manual_seed(0)
    for name in ("magicpoint", "superpoint"):
        network = open_recipe(TrainConfig(name, "", 1, options={"batch_norm": batch_norm})).build().train()
        none = network(torch.rand(2, 1, 48, 64)).logits.softmax(dim=1)[:, -1]
        assert 0.4 < none.median() < 0.9


def test_superpoint_begins_blind_to_brightness() -> None:
    network: Any = make_superpoint(batch_norm=True, descriptors=True)
    first = network.encoder[0][0]
    image = torch.rand(1, 1, 48, 64) / 2
    dark, bright = (first(x)[..., 1:-1, 1:-1] for x in (image, image + 0.5))
    assert torch.allclose(dark, bright, atol=1e-5)


def test_points_of_adaptation_teach_superpoint(photo_folder: Path, tmp_path: Path, weights: Callable[..., str]) -> None:
    """One photograph per worker's turn; what is there already is left alone."""
    magicpoint = weights("superpoint", channels=1, batch_norm=True, descriptors=False)
    adapt(photo_folder / "train", tmp_path, f"superpoint={magicpoint}", 2, 48, 64, 0.0, 50, 1, "cpu")
    files = sorted(tmp_path.rglob("*.npz"))
    assert len(files) == 4
    stamps = [file.stat().st_mtime_ns for file in files]
    adapt(photo_folder / "train", tmp_path, f"superpoint={magicpoint}", 2, 48, 64, 0.0, 50, 1, "cpu")
    assert [file.stat().st_mtime_ns for file in files] == stamps
    with np.load(files[0]) as saved:
        assert saved["size"].tolist() == [48, 64]
        assert saved["pts"].shape[1] == 3
        assert len(saved["pts"]) > 5
    options = {
        "photos": str(photo_folder / "train"),
        "points": str(tmp_path),
        "unseen": str(photo_folder / "val"),
        "start": magicpoint,
        "validation_pairs": 1,
        **SMALL,
    }
    check("superpoint", options, steps=8, lr=1e-3, share=0.8)
    check("superpoint", {**options, "descriptor_loss": "dense"}, steps=8, lr=1e-3, share=0.9)
    kept = {"statistics_pairs": 4, "descriptor_loss": "softmax", "looks": "any_light", "location": 1.0}
    check("superpoint", {**options, **kept}, steps=8, lr=1e-3, share=0.9)


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_of_the_adaptation_that_is_killed_is_told(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.adapt._work", die)
    with pytest.raises(LetvinsError, match="a worker was killed"):
        adapt(photo_folder / "train", tmp_path, "orb", 2, 48, 64, 0.0, 50, 2, "cpu")


def test_adaptation_takes_what_a_list_names_and_draws_it(photo_folder: Path, tmp_path: Path) -> None:
    photos, names = tmp_path / "photos", tmp_path / "list.txt"
    for place in ("a/0.png", "a/b/1.png", "c/2.png", "c/3.png"):
        (photos / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo_folder / "train/1.png", photos / place)
    names.write_text("a\n\nc/3.png\n")
    adapt(photos, tmp_path / "out", "orb", 2, 48, 64, 0.0, 50, 1, "cpu", names, True)
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert made == ["a/0.npz", "a/0.png", "a/b/1.npz", "a/b/1.png", "c/3.npz", "c/3.png"]
    assert some(cv2.imread(str(tmp_path / "out/c/3.png"))).shape == (48, 64, 3)
    names.write_text("a\nd\n")
    with pytest.raises(DataError, match=r"list\.txt: 1 of 2 lines are no photographs of .*photos: d"):
        adapt(photos, tmp_path / "out", "orb", 2, 48, 64, 0.0, 50, 1, "cpu", names)


def test_adaptation_keeps_what_all_views_show() -> None:
    """A detector of bright spots finds the square in nearly all views; what is near the border does not count."""

    def bright(view: np.ndarray) -> np.ndarray:
        y, x = np.nonzero(view[..., 0] > view.max() / 2)
        return np.array([[x.mean(), y.mean()], [2, 2]])

    image = np.zeros((64, 96, 3), np.uint8)
    image[30:33, 50:53] = 255
    points = find_points(repeats(image, bright, 20, np.random.default_rng(0)), 0.2, 10)
    assert len(points) == 1
    assert points[0, :2] == pytest.approx([51, 31], abs=1)
    assert 0.5 < points[0, 2] <= 1.2


def test_letnet(photo_folder: Path) -> None:
    options = {
        "source": "photos",
        "folder": str(photo_folder / "train"),
        "unseen": str(photo_folder / "val"),
        "top_k": 40,
    }
    check("letnet", {**options, "validation_pairs": 2, **SMALL}, share=0.9, batch=1)


def test_letnet2_as_its_authors_train_it(tmp_path: Path) -> None:
    options = {**RECIPES["letnet2_rgb"].make(tmp_path), "points": 40, "height": 192, "width": 256}
    check("letnet2_rgb", options, steps=25, lr=1e-2, share=0.7, batch=1)
    recipe = open_recipe(TrainConfig("letnet2_rgb", "", 1, options=options))
    (shown,) = recipe.pictures(recipe.build()).values()
    assert shown.shape == (2 * 192, 2 * 256, 3)
    assert (shown[:192].std(axis=2) > 0).any()  # colours


@pytest.mark.parametrize("options", [{}, {"matching": "sinkhorn", "dense": True}])
def test_loftr(photo_folder: Path, options: dict[str, Any]) -> None:
    given = {"source": "photos", "folder": str(photo_folder / "train"), "validation_pairs": 1, **SMALL}
    given["unseen"] = str(photo_folder / "val")
    check("loftr", {**given, **options}, steps=6, lr=3e-4, share=0.9, batch=1)


def test_lightglue(photo_folder: Path, weights: Callable[..., str]) -> None:
    options = {
        "folder": str(photo_folder / "train"),
        "unseen": str(photo_folder / "val"),
        "extractor": weights("kp2dtiny", config="S"),
        "points": 40,
        "layers": 2,
        "validation_pairs": 1,
        **SMALL,
    }
    check("lightglue", options, steps=35, lr=1e-2, share=0.75)


def test_places(photo_folder: Path, weights: Callable[..., str]) -> None:
    options = {
        "start": weights("kp2dtiny", config="N"),
        "kind": "photos",
        "folder": str(photo_folder),
        "split": "train",
        "unseen": "val",
        "negatives": 2,
        "cluster_images": 4,
        **SMALL,
    }
    figures = check("places", options, steps=30, lr=3e-6, share=0.7)
    assert figures["queries"] == 2
