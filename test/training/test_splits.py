# SPDX-License-Identifier: Apache-2.0
"""What is trained on and what is validated on have nothing in common."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from letvins_ros.errors import DataError, LetvinsError
from training.config import TrainConfig, open_recipe
from training.data.inputs import Inputs, check_inputs
from training.data.megadepth import all_scenes, listed_scenes, scene_pairs, split_scenes
from training.data.scene_info import read_scene_info, write_scene_info

from .tiny import RECIPES, write_photos, write_scenes

pytest.importorskip("h5py")
pytest.importorskip("faiss")
pytest.importorskip("lightning_fabric")
from training.train import train

DRAWN = {"magicpoint"}  # has no files


def test_no_recipe_is_left_out(root: Path) -> None:
    modules = {path.stem for path in (root / "training/recipes").glob("*.py")} - {"__init__", "base"}
    assert {tiny.recipe for tiny in RECIPES.values()} == modules


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_training_and_validation_read_nothing_in_common(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny = RECIPES[name]
    recipe = open_recipe(TrainConfig(tiny.recipe, "", 1, options=tiny.make(tmp_path)))
    check_inputs(recipe.inputs())
    network = recipe.build()
    if name not in DRAWN:
        assert recipe.inputs().train
        assert recipe.inputs().unseen
        (tmp_path / "val").rename(tmp_path / "away")
    recipe.prepare(network)
    samples = recipe.samples(4, 0)
    assert all(torch.isfinite(value).all() for value in samples[3].values())
    kept = recipe.deployed(network)
    if name not in DRAWN:
        (tmp_path / "train").rename(tmp_path / "train_away")
        (tmp_path / "away").rename(tmp_path / "val")
    assert np.isfinite(recipe.validate(kept)["score"])


@pytest.mark.parametrize("name", sorted(set(RECIPES) - DRAWN))
def test_validation_never_falls_back_to_what_is_trained_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With data for training alone, the options for validation left at their defaults."""
    (tmp_path / "elsewhere/nowhere").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere/nowhere")
    tiny = RECIPES[name]
    options = {key: value for key, value in tiny.make(tmp_path / "data").items() if key != "unseen"}
    for path in (tmp_path / "data/val", tmp_path / "data/trainvaltest_list/val_list.txt"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    recipe = open_recipe(TrainConfig(tiny.recipe, "", 1, options=options))
    with pytest.raises(LetvinsError):
        recipe.inputs()
    with pytest.raises(LetvinsError):
        recipe.validate(torch.nn.Linear(1, 1))


def test_a_run_that_would_validate_on_its_training_data_does_not_begin(tmp_path: Path) -> None:
    write_photos(tmp_path)
    options = {"photos": str(tmp_path), "unseen": str(tmp_path / "val")}
    config = TrainConfig("kp2d", str(tmp_path / "out"), 1, options=options, accelerator="cpu", progress=False)
    with pytest.raises(DataError, match=r"val/0\.png: 2 of 2 files of the validation are trained on"):
        train(config)


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(DataError, match="trained on"):
        check_inputs(Inputs([tmp_path / "a.png"], [tmp_path / "b.png"]))


def test_the_lists_say_which_scenes_are_of_a_split(tmp_path: Path) -> None:
    write_scenes(tmp_path)
    assert [path.stem for path in split_scenes(tmp_path, "train")] == ["train"]
    assert [path.stem for path in split_scenes(tmp_path, "val")] == ["val"]
    assert [path.stem for path in split_scenes(tmp_path, "test")] == ["val"]  # as MegaDepth's list is for both
    (tmp_path / "trainvaltest_list/test_list.txt").write_text("train.npz\n")
    assert [path.stem for path in split_scenes(tmp_path, "test")] == ["train"]
    assert len(all_scenes(tmp_path)) == 2
    (tmp_path / "trainvaltest_list/test_list.txt").write_text("0015_0.1_0.3\n")
    with pytest.raises(DataError, match=r"names 0015_0\.1_0\.3, but there is no 0015_0\.1_0\.3\.npz in"):
        split_scenes(tmp_path, "test")


@pytest.mark.parametrize("folder", ["scene_info_0.1_0.7", "scene_info_val_1500"])
def test_megadepths_own_folders_are_found(tmp_path: Path, folder: str) -> None:
    """index/ has the lists, and a folder of scenes for each."""
    write_scenes(tmp_path)
    (tmp_path / "index").mkdir()
    (tmp_path / "trainvaltest_list").rename(tmp_path / "index/trainvaltest_list")
    (tmp_path / "scene_info").rename(tmp_path / "index" / folder)
    assert split_scenes(tmp_path, "val") == [tmp_path / "index" / folder / "val.npz"]
    assert len(list(scene_pairs(tmp_path, split_scenes(tmp_path, "val"), 64, 10))) == 1


def test_a_list_may_lie_among_its_scenes(tmp_path: Path) -> None:
    write_scenes(tmp_path)
    path = tmp_path / "scene_info/megadepth_test_1500.txt"
    path.write_text("val\ntrain\n")
    assert [file.stem for file in listed_scenes(path)] == ["val", "train"]


def test_pairs_of_several_scenes_have_names_of_their_own(tmp_path: Path) -> None:
    write_scenes(tmp_path)
    names = [pair.name for pair in scene_pairs(tmp_path, all_scenes(tmp_path), 64, 10)]
    assert names == ["train_0_1_0", "val_0_1_0"]


def test_depth_is_needed_to_learn_but_not_to_measure(tmp_path: Path) -> None:
    write_scenes(tmp_path)
    scene = read_scene_info(tmp_path / "scene_info/val.npz")
    write_scene_info(tmp_path / "val/val.npz", scene._replace(depth_paths=[None] * len(scene.depth_paths)))
    assert len(list(scene_pairs(tmp_path, [tmp_path / "val/val.npz"], 64, 10))) == 1
