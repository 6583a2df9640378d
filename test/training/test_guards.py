# SPDX-License-Identifier: Apache-2.0
"""A run says what went wrong and keeps what it has."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from letvins_ros.errors import ConfigError, DataError
from letvins_ros.weights import load_weights
from training.config import TrainConfig, open_recipe, read_config
from training.data.images import list_images, read_rgb
from training.data.inputs import MOST, Inputs, Skipping, check_inputs
from training.guards import InterruptedRunError, NotFiniteError, finite_layers
from training.recipes.letnet2 import Letnet2Recipe

from ..command import no_file_above
from ..some import some
from .tiny import RECIPES, write_photos

pytest.importorskip("h5py")
pytest.importorskip("faiss")
pytest.importorskip("lightning_fabric")
from lightning_fabric import Fabric

from training.checkpoints import save_last
from training.train import train


def make_config(tmp_path: Path, name: str = "letnet2", **settings: Any) -> TrainConfig:
    options = RECIPES[name].make(tmp_path / "data")
    fixed = {"steps": 4, "batch": 1, "validate_every": 2, "accelerator": "cpu", "progress": False, "tensorboard": False}
    return TrainConfig(RECIPES[name].recipe, str(tmp_path / "out"), options=options, **{**fixed, **settings})


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return make_config(tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_its_batch(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = Letnet2Recipe.loss, count(1)

    def loss(self: Letnet2Recipe, network: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        losses = plain(self, network, batch)
        return {**losses, "total": losses["total"] * (torch.nan if next(calls) == 4 else 1)}

    monkeypatch.setattr(Letnet2Recipe, "loss", loss)
    with pytest.raises(NotFiniteError, match=r"step 4: loss or gradient is not finite \(total nan, level_0"):
        train(config)
    batch = torch.load(tmp_path / "out/not_finite_0.pt", weights_only=True)
    assert batch["image_a"].shape == (1, 1, 96, 128)
    assert torch.load(tmp_path / "out/last.ckpt", weights_only=True)["step"] == 2


def test_a_gradient_that_is_not_finite_is_not_stepped(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss(self: Letnet2Recipe, network: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weight = next(network.parameters())
        return {"total": (weight - weight.detach()).abs().sqrt().sum()}  # 0, with an infinite slope

    monkeypatch.setattr(Letnet2Recipe, "loss", loss)
    with pytest.raises(NotFiniteError, match="step 1"):
        train(config)
    assert not (tmp_path / "out/best.safetensors").exists()


def test_a_score_that_is_not_finite_is_never_the_best(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Letnet2Recipe, "validate", lambda self, network: {"score": float("nan")})
    with pytest.raises(NotFiniteError, match="validation after step 2: the score is not finite"):
        train(config)
    assert not (tmp_path / "out/best.safetensors").exists()


@pytest.mark.parametrize("lr", [1e8, 1e18])
@pytest.mark.parametrize("name", ["letnet2", "superpoint", "magicpoint"])
def test_a_rate_that_is_far_too_high_ends_in_a_sentence_or_in_numbers(name: str, lr: float, tmp_path: Path) -> None:
    """Batch norms may hold the outputs though the weights are huge."""
    config = make_config(tmp_path, name, lr=lr, schedule="constant", clip_norm=0.0, steps=2, validate_every=1)
    try:
        assert np.isfinite(train(config)["score"])
    except NotFiniteError as error:
        assert "lower lr" in str(error)
    for path in (tmp_path / "out").glob("*.safetensors"):
        assert all(np.isfinite(array).all() for array in load_weights(path).values())


def test_weights_that_are_no_numbers_are_not_written(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(self: Letnet2Recipe, network: Any) -> dict[str, float]:
        torch.nn.init.constant_(network.conv_head.weight, torch.nan)
        return {"score": 1.0}

    monkeypatch.setattr(Letnet2Recipe, "validate", spoil)
    monkeypatch.setattr(Letnet2Recipe, "pictures", lambda self, network: {})
    with pytest.raises(NotFiniteError, match=r"validation after step 2: weight conv_head\.weight is not finite"):
        train(config)
    assert not (tmp_path / "out/last.safetensors").exists()


def test_a_layer_that_gives_no_numbers_is_named() -> None:
    second = torch.nn.Linear(2, 2)
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), second)
    torch.nn.init.constant_(second.weight, torch.inf)
    with pytest.raises(NotFiniteError, match="layer 1 gives"), finite_layers(network):
        network(torch.ones(1, 2))
    network(torch.ones(1, 2))  # nobody looks any more


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run_which_goes_on_as_if_nothing_had_been(
    config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    number: signal.Signals,
) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # a worker's tests are not in its main thread, which alone gets signals
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", request.node.nodeid]
        ran = subprocess.run(
            command, check=False, env=alone, cwd=request.config.rootpath, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout
        return
    config, before = dataclasses.replace(config, validate_every=4), signal.getsignal(signal.SIGINT)
    train(dataclasses.replace(config, out=str(tmp_path / "whole")))
    plain, calls = Letnet2Recipe.loss, count(1)

    def loss(self: Letnet2Recipe, network: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if next(calls) == 3:
            os.kill(os.getpid(), number)
        return plain(self, network, batch)

    monkeypatch.setattr(Letnet2Recipe, "loss", loss)
    with pytest.raises(InterruptedRunError, match=f"{number.name}: stopped after step 3; go on with resume=") as caught:
        train(config)
    assert caught.value.exit_code == 128 + number
    train(dataclasses.replace(config, resume=str(tmp_path / "out/last.ckpt")))
    whole, again = (torch.load(tmp_path / f"{name}/last.ckpt", weights_only=True) for name in ("whole", "out"))
    assert all(torch.equal(whole["network"][key], again["network"][key]) for key in whole["network"])
    assert signal.getsignal(signal.SIGINT) is before


def test_the_command_stops_with_the_signals_code_and_one_line(tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches the workers too."""
    options = make_config(tmp_path).options
    (tmp_path / "c.yaml").write_text(
        f"recipe: letnet2\nout: {tmp_path}/out\nsteps: 100000\nbatch: 1\nworkers: 1\nlog_every: 1\n"
        f"tensorboard: false\naccelerator: cpu\ncheckpoint_minutes: 0\noptions: {options}\n"
    )
    command = [sys.executable, "-m", "training.train", str(tmp_path / "c.yaml"), "progress=false"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while process.poll() is None and not (tmp_path / "out/last.ckpt").exists():
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith("SIGINT: stopped after step ")
    assert len(said.splitlines()) == 1


def test_a_run_is_saved_when_the_time_has_come(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Letnet2Recipe.loss

    def loss(self: Letnet2Recipe, network: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if (tmp_path / "out/last.ckpt").exists():
            raise RuntimeError("as if the power went")
        return plain(self, network, batch)

    monkeypatch.setattr(Letnet2Recipe, "loss", loss)
    with pytest.raises(RuntimeError, match="as if"):
        train(dataclasses.replace(config, checkpoint_minutes=0.0, validate_every=4))
    assert torch.load(tmp_path / "out/last.ckpt", weights_only=True)["step"] == 1


def test_a_run_of_a_steady_rate_goes_on_with_more_steps(config: TrainConfig, tmp_path: Path) -> None:
    short = dataclasses.replace(config, schedule="constant", steps=2)
    train(dataclasses.replace(short, steps=4, out=str(tmp_path / "whole")))
    train(short)
    train(dataclasses.replace(short, steps=4, resume=str(tmp_path / "out/last.ckpt")))
    whole, again = (torch.load(tmp_path / f"{name}/last.ckpt", weights_only=True) for name in ("whole", "out"))
    assert again["step"] == 4
    assert all(torch.equal(whole["network"][key], again["network"][key]) for key in whole["network"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 6}, r"began with steps 4, not 6 \(one_cycle ends with a rate of 0\)"),
        ({"schedule": "constant"}, "began with schedule one_cycle, not constant"),
        ({"lr": 0.5}, r"began with lr 0\.001, not 0\.5"),
        ({"optimizer": "adamw"}, "began with optimizer adam, not adamw"),
        ({}, "all 4 steps are done; give more steps"),
    ],
)
def test_a_run_that_cannot_go_on_as_told_says_so(
    config: TrainConfig, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    train(config)
    with pytest.raises((ConfigError, DataError), match=message):
        train(dataclasses.replace(config, resume=str(tmp_path / "out/last.ckpt"), **change))


def test_weights_are_no_run(config: TrainConfig, tmp_path: Path) -> None:
    train(config)
    with pytest.raises(ConfigError, match=r"last\.safetensors is no last\.ckpt; weights alone are begun with by"):
        train(dataclasses.replace(config, resume=str(tmp_path / "out/last.safetensors")))


@pytest.fixture
def full_disk() -> Iterator[None]:
    with no_file_above(4000):
        yield


def test_a_full_disk_ends_a_run_in_a_sentence(config: TrainConfig, full_disk: None) -> None:
    with pytest.raises(DataError, match="cannot write"):
        train(dataclasses.replace(config, validate_every=1))


def test_a_state_that_cannot_be_written_is_named(tmp_path: Path, full_disk: None) -> None:
    with pytest.raises(DataError, match=r"cannot write .*last\.ckpt"):
        save_last(Fabric(accelerator="cpu"), tmp_path, {"x": torch.zeros(5000)})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def yaml(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text("recipe: kp2d\nout: o\nsteps: 5\nlr: 1e-4\noptions: {inliers: 1e-2}\n")
    return tmp_path / "c.yaml"


def test_a_power_of_ten_is_a_number(yaml: Path) -> None:
    config = read_config(yaml, ["weight_decay=2e-3"])
    recipe: Any = open_recipe(config)
    assert (config.lr, config.weight_decay, recipe.inliers) == (1e-4, 2e-3, 0.01)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps=0", "steps must be at least 1, got 0"),
        ("batch=-1", "batch must be at least 1, got -1"),
        ("lr=0", "lr must be above 0"),
        ("lr=.inf", "lr must be at least 0, got inf"),
        ("lr=fast", "lr must be a number, got 'fast'"),
        ("steps=true", "steps must be an integer, got True"),
        ("validate_every=0", "validate_every must be at least 1"),
        ("workers=-1", "workers must be at least 0"),
        ("options.height=0", r"options\.height must be at least 1"),
        ("options.validation_pairs=0", r"options\.validation_pairs must be at least 1"),
        ("options.descriptor=.nan", r"options\.descriptor must be at least 0, got nan"),
    ],
)
def test_numbers_out_of_bounds_are_named(yaml: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_recipe(read_config(yaml, [override]))


@pytest.mark.parametrize(
    "change", [{"accelerator": "gpu"}, {"accelerator": "abacus"}, {"accelerator": "gpu", "devices": 9}]
)
def test_devices_that_are_not_there_are_named(
    config: TrainConfig, change: dict[str, str] | dict[str, str | int]
) -> None:
    if change["accelerator"] == "gpu" and torch.cuda.is_available():
        pytest.skip("has a GPU")
    with pytest.raises(ConfigError, match=f"accelerator {change['accelerator']}, devices"):
        train(dataclasses.replace(config, **change))


def cut(path: Path) -> None:
    """As a copy that was stopped, or a card that was pulled out."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_photograph_that_is_cut_off_is_found_before_the_first_step(tmp_path: Path, ending: str) -> None:
    import cv2

    write_photos(tmp_path)
    path = tmp_path / f"train/more.{ending}"
    cv2.imwrite(str(path), some(cv2.imread(str(tmp_path / "train/0.png"))))
    check_inputs(Inputs(list_images(tmp_path / "train"), []))
    cut(path)
    with pytest.raises(DataError, match=rf"more\.{ending}: is cut off; 1 of 3 photographs are like this"):
        check_inputs(Inputs(list_images(tmp_path / "train"), []))
    with pytest.raises(DataError, match=rf"more\.{ending}: is cut off"):
        read_rgb(path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_what_is_no_photograph_is_found_before_the_first_step(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg: is not a photograph"):
        check_inputs(Inputs([tmp_path / "a.jpg"], []))


class Torn(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Some of its samples cannot be read."""

    def __init__(self, length: int, bad: set[int]) -> None:
        self._length, self._bad = length, bad

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index in self._bad:
            raise DataError(f"{index}.jpg: broken inside")
        return {"x": torch.tensor(index)}


def test_a_sample_that_cannot_be_read_is_passed_over_and_counted() -> None:
    samples = Skipping(Torn(5, {1, 2, 4}))
    with pytest.warns(UserWarning, match=r"skipped: 1\.jpg: broken inside"):
        items = [samples[i] for i in range(5)]
    assert [int(item["x"]) for item in items] == [0, 3, 3, 3, 0]
    assert [int(item["skipped"]) for item in items] == [0, 2, 1, 0, 1]


@pytest.mark.filterwarnings("ignore:skipped")
def test_many_samples_that_cannot_be_read_are_not_passed_over() -> None:
    with pytest.raises(DataError, match=r"3\.jpg"):
        Skipping(Torn(50, set(range(3, 3 + MOST))))[3]


@pytest.mark.filterwarnings("ignore:skipped")
def test_skipped_samples_are_in_the_log(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Letnet2Recipe.samples

    class One(Torn):
        def __init__(self, samples: Any) -> None:
            super().__init__(len(samples), {1})
            self._samples = samples

        def __getitem__(self, index: int) -> Any:
            super().__getitem__(index)
            return self._samples[index]

    monkeypatch.setattr(Letnet2Recipe, "samples", lambda self, length, seed: One(plain(self, length, seed)))
    train(config)
    header, *rows = (tmp_path / "out/log.csv").read_text().splitlines()
    column = header.split(",").index("skipped")
    assert [row.split(",")[column] for row in rows] == ["1.0", "1.0"]
    assert np.isfinite(float(rows[0].split(",")[1]))
