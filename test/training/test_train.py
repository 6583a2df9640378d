# SPDX-License-Identifier: Apache-2.0
import dataclasses

import cv2
import numpy as np
import pytest
import torch

from letvins_ros.errors import ConfigError
from letvins_ros.networks import load
from training.config import TrainConfig, open_recipe, read_config
from training.data.photos import LIGHTS
from training.recipes.letnet2 import Letnet2Recipe

pytest.importorskip("lightning_fabric")
from training.train import train


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for split in ("train", "val"):
        (folder / split).mkdir()
        noise = np.random.default_rng(len(split)).normal(128, 400, (336, 448))
        image = 128 + 3 * (cv2.GaussianBlur(noise, (0, 0), 2.5) - 128)
        cv2.imwrite(str(folder / split / "a.png"), np.clip(image, 0, 255).astype(np.uint8))
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine make these small networks many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config(photos, tmp_path) -> TrainConfig:
    options = {"photos": str(photos), "statistics_pairs": 2, "validation_pairs": 2, "height": 96, "width": 128}
    return TrainConfig("letnet2", str(tmp_path), 4, batch=1, validate_every=2, accelerator="cpu", options=options)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(config, tmp_path):
    train(config)
    whole = torch.load(tmp_path / "last.ckpt")["network"]
    stopped = dataclasses.replace(config, out=str(tmp_path / "stopped"), stop_after=2)
    train(stopped)
    resumed = dataclasses.replace(stopped, stop_after=0, resume=str(tmp_path / "stopped/last.ckpt"))
    train(resumed)
    again = torch.load(tmp_path / "stopped/last.ckpt")["network"]
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_best_weights_are_loadable_and_every_validation_is_logged(config, tmp_path):
    best = train(config)
    load("letnet2", tmp_path / "best.safetensors")
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4"]
    assert best["step"] in (2, 4)


def test_letnet2_overfits_a_tiny_batch(config):
    torch.manual_seed(0)
    recipe = open_recipe(config)
    network = recipe.build()
    pairs = recipe.samples(20, 0)
    spoilt = next(pair for pair in (pairs[i] for i in range(20)) if LIGHTS[int(pair["light"])] == "spot")
    batch = {key: value[None] for key, value in spoilt.items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    totals = []
    for _ in range(30):
        torch.manual_seed(1)  # the same starting errors every time
        loss = recipe.loss(network, batch)["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < 0.7 * totals[0]


def test_overrides_win_and_reach_the_recipes_options(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("recipe: letnet2\nout: o\nsteps: 5\noptions: {levels: 3}\n")
    config = read_config(path, ["steps=7", "lr=1", "options.levels=2"])
    assert (config.steps, config.lr) == (7, 1)
    assert open_recipe(config) == Letnet2Recipe(levels=2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", "unknown key stepz; known: recipe, out, steps"),
        ("steps=many", "steps must be int, got 'many'"),
        ("steps", "give overrides as key=value"),
    ],
)
def test_wrong_overrides_are_named(tmp_path, override, message):
    path = tmp_path / "c.yaml"
    path.write_text("recipe: letnet2\nout: o\nsteps: 5\n")
    with pytest.raises(ConfigError, match=message):
        read_config(path, [override])


def test_a_missing_key_and_a_wrong_option_are_named(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("recipe: letnet2\nout: o\n")
    with pytest.raises(ConfigError, match="steps"):
        read_config(path, [])
    with pytest.raises(ConfigError, match="options of letnet2: unknown key foo"):
        open_recipe(read_config(path, ["steps=1", "options.foo=1"]))
    with pytest.raises(ConfigError, match="unknown recipe letnet9"):
        open_recipe(read_config(path, ["steps=1", "recipe=letnet9"]))


def test_shipped_configurations_are_valid(root):
    for path in sorted((root / "training/configs").glob("*.yaml")):
        open_recipe(read_config(path, []))
