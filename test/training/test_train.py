# SPDX-License-Identifier: Apache-2.0
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from letvins_ros.errors import ConfigError, DataError
from letvins_ros.networks import load
from letvins_ros.networks.letnet2 import LetNet2
from letvins_ros.weights import WeightsError, load_weights
from training.config import TrainConfig, open_recipe, read_config
from training.data.photos import LIGHTS
from training.recipes.base import Batch
from training.recipes.letnet2 import Letnet2Recipe

from ..networks.layouts import saved
from ..some import some

pytest.importorskip("lightning_fabric")
from training.schedules import share
from training.train import _Run, train
from training.weights import load_into


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for split in ("train", "val"):
        (folder / split).mkdir()
        noise = np.random.default_rng(len(split)).normal(128, 400, (336, 448))
        image = 128 + 3 * (cv2.GaussianBlur(noise, (0, 0), 2.5) - 128)
        cv2.imwrite(str(folder / split / "a.png"), np.clip(image, 0, 255).astype(np.uint8))
    return folder


@pytest.fixture
def config(photos: Path, tmp_path: Path) -> TrainConfig:
    options: dict[str, Any] = {
        "photos": str(photos),
        "statistics_pairs": 2,
        "validation_pairs": 2,
        "height": 96,
        "width": 128,
    }
    settings: dict[str, Any] = {
        "batch": 1,
        "validate_every": 2,
        "accelerator": "cpu",
        "log_every": 1,
        "progress": False,
    }
    return TrainConfig("letnet2", str(tmp_path), 4, options=options, **settings)


@pytest.mark.parametrize("stop_after", [2, 3])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    config: TrainConfig, tmp_path: Path, stop_after: int
) -> None:
    config = dataclasses.replace(config, accumulate=2, tensorboard=False)
    train(config)
    whole = torch.load(tmp_path / "last.ckpt", weights_only=True)
    stopped = dataclasses.replace(config, out=str(tmp_path / "stopped"), stop_after=stop_after)
    train(stopped)
    resumed = dataclasses.replace(stopped, stop_after=0, resume=str(tmp_path / "stopped/last.ckpt"))
    train(resumed)
    again = torch.load(tmp_path / "stopped/last.ckpt", weights_only=True)
    assert whole["network"].keys() == again["network"].keys()
    assert all(torch.equal(whole["network"][key], again["network"][key]) for key in whole["network"])
    assert torch.equal(whole["random"]["cpu"], again["random"]["cpu"])


def test_data_is_read_by_the_same_processes_to_the_end(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the weights are those without such processes."""
    config, starts = dataclasses.replace(config, tensorboard=False), list[_Run]()
    load = _Run._load

    def counted(run: _Run) -> Iterator[Batch]:
        starts.append(run)
        return load(run)

    monkeypatch.setattr(_Run, "_load", counted)
    train(config)
    alone = load_weights(tmp_path / "last.safetensors")
    train(dataclasses.replace(config, workers=1))
    helped = load_weights(tmp_path / "last.safetensors")
    assert len(starts) == 2  # one of each run, which validates twice
    assert all(np.array_equal(alone[key], helped[key]) for key in alone)


def test_accumulated_passes_give_the_step_of_one_large_batch(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Letnet2Recipe, "loss", lambda self, network, batch: {"total": network(batch["image_a"])[0].mean()}
    )
    together = dataclasses.replace(config, batch=2, steps=1, tensorboard=False)
    train(together)
    one = load_weights(tmp_path / "best.safetensors")
    train(dataclasses.replace(together, batch=1, accumulate=2))
    two = load_weights(tmp_path / "best.safetensors")
    assert all(np.allclose(one[key], two[key], atol=1e-6) for key in one)


def test_the_log_has_losses_figures_and_pictures(config: TrainConfig, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(config)
    log = events.EventAccumulator(str(tmp_path / "tensorboard"))
    log.Reload()
    assert [event.step for event in log.Scalars("train/total")] == [1, 2, 3, 4]
    assert [event.step for event in log.Scalars("validation/score")] == [2, 4]
    assert [event.step for event in log.Images("pair_0")] == [2, 4]
    assert some(cv2.imread(str(tmp_path / "pictures/pair_0.png"))).shape == (192, 256, 3)


def test_a_checkpoint_of_another_network_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    torch.save({"network": {}}, tmp_path / "other.ckpt")
    with pytest.raises(DataError, match=r"other\.ckpt: not a checkpoint of this recipe"):
        train(dataclasses.replace(config, resume=str(tmp_path / "other.ckpt")))


def test_weights_are_loaded_strictly_but_for_named_ones(tmp_path: Path) -> None:
    given, network = LetNet2(1, 2), LetNet2(1, 4)
    saved(given, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"conv_head\.weight is \(2, 16, 1, 1\), the network's is \(4, 16, 1, 1\)"):
        load_into(network, tmp_path / "w.safetensors")
    load_into(network, tmp_path / "w.safetensors", except_for=["conv_head."])
    assert torch.equal(network.conv1.weight, given.conv1.weight)


def test_schedules_warm_up_then_decay_or_restart(config: TrainConfig) -> None:
    warm = dataclasses.replace(config, schedule="decay", warmup=10, decay_from=10, decay_every=5)
    assert [round(share(step, warm), 2) for step in (0, 5, 10, 14, 15, 20)] == [0.1, 0.55, 1, 1, 0.5, 0.25]
    smooth = dataclasses.replace(warm, decay_smooth=True, decay_factor=0.25)
    assert share(20, smooth) == pytest.approx(1 / 16)
    assert share(12, smooth) == pytest.approx(0.25 ** (2 / 5))
    restarts = dataclasses.replace(config, schedule="restarts", decay_every=4)
    assert [round(share(step, restarts), 3) for step in (0, 2, 4, 6)] == [1, 0.5, 1, 0.5]
    assert share(99, dataclasses.replace(config, schedule="constant")) == 1


def test_a_missing_logger_is_named(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="wandb: flight needs `pip install wandb`"):
        train(dataclasses.replace(config, wandb="flight"))


def test_best_weights_are_loadable_and_every_validation_is_logged(config: TrainConfig, tmp_path: Path) -> None:
    best = train(config)
    load("letnet2", tmp_path / "best.safetensors")
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4"]
    assert best["step"] in (2, 4)


def test_letnet2_overfits_a_tiny_batch(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.recipes.letnet2.pass_through", lambda network: None)  # too good to learn much
    torch.manual_seed(0)
    options = {**config.options, "height": 192, "width": 256, "precision_px": 0.1, "capture_px": 0.5}
    recipe = open_recipe(dataclasses.replace(config, options=options))
    network = recipe.build()
    pairs = recipe.samples(20, 0)
    spoilt = next(pair for pair in (pairs[i] for i in range(20)) if LIGHTS[int(pair["light"])] == "dark")
    batch = {key: value[None] for key, value in spoilt.items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    totals = []
    for _ in range(30):
        torch.manual_seed(1)  # the same starting errors every time
        loss = recipe.loss(network, batch)["total"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < 0.7 * totals[0]


def test_letnet2_starts_as_the_image_it_sees(config: TrainConfig) -> None:
    torch.manual_seed(0)
    network = open_recipe(config).build()
    image = torch.rand(1, 1, 48, 64)
    with torch.no_grad():
        feature = network(image).feature
    assert torch.corrcoef(torch.stack([image.flatten(), feature.flatten()]))[0, 1] > 0.98


def test_letnet2_keeps_a_quarter_of_the_way_from_the_start(config: TrainConfig) -> None:
    recipe = open_recipe(config)
    network: Any = recipe.build()
    start = network.conv_head.weight.detach().clone()
    torch.nn.init.constant_(network.conv_head.weight, 3.0)
    kept: Any = recipe.deployed(network)
    assert torch.allclose(kept.conv_head.weight, (3 * start + 3) / 4)
    assert (network.conv_head.weight == 3).all()


def test_overrides_win_and_reach_the_recipes_options(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("recipe: letnet2\nout: o\nsteps: 5\noptions: {levels: 3}\n")
    config = read_config(path, ["steps=7", "lr=1", "options.levels=2"])
    assert (config.steps, config.lr) == (7, 1)
    assert open_recipe(config) == Letnet2Recipe(levels=2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", "unknown key stepz; known: steps, "),
        ("steps=many", "steps must be an integer, got 'many'"),
        ("steps=true", "steps must be an integer, got True"),
        ("steps=[", r"steps=\[ line 1: not valid YAML"),
        ("lr=1e-3x", "lr must be a number, got '1e-3x'"),
        ("steps", "give overrides as key=value"),
        ("schedule=soon", "schedule must be one of one_cycle, constant, decay, restarts, got 'soon'"),
    ],
)
def test_wrong_overrides_are_named(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("recipe: letnet2\nout: o\nsteps: 5\n")
    with pytest.raises(ConfigError, match=message):
        read_config(path, [override])


def test_a_missing_key_and_a_wrong_option_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("recipe: letnet2\nout: o\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: steps is missing"):
        read_config(path, [])
    with pytest.raises(ConfigError, match="options of letnet2: unknown key foo"):
        open_recipe(read_config(path, ["steps=1", "options.foo=1"]))
    with pytest.raises(ConfigError, match="unknown recipe letnet9"):
        open_recipe(read_config(path, ["steps=1", "recipe=letnet9"]))


def test_shipped_configurations_are_valid(root: Path) -> None:
    for path in sorted((root / "training/configs").glob("*.yaml")):
        open_recipe(read_config(path, []))
