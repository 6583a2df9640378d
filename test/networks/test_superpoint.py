# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from letvins_ros.errors import ConfigError
from letvins_ros.networks import build, from_state, load
from letvins_ros.networks.superpoint import heat_map
from letvins_ros.weights import WeightsError

from .layouts import Layout, landed

STAGES = (64, 64, 128, 128)


def classic() -> dict[str, np.ndarray]:
    layout, into = Layout(), 1
    for i, out in enumerate(STAGES, 1):
        layout.conv(f"conv{i}a", out, into, 3)
        layout.conv(f"conv{i}b", out, out, 3)
        into = out
    for letter, out in (("P", 65), ("D", 256)):
        layout.conv(f"conv{letter}a", 256, 128, 3)
        layout.conv(f"conv{letter}b", out, 256, 1)
    return layout.state


def gauss2() -> dict[str, np.ndarray]:
    layout, into = Layout(), 1
    for i, out in enumerate(STAGES):
        name = "inc.conv.conv" if i == 0 else f"down{i}.mpconv.1.conv"
        for place, channels in ((0, into), (3, out)):
            layout.conv(f"{name}.{place}", out, channels, 3)
            layout.norm(f"{name}.{place + 1}", out)
        into = out
    for letter, out in (("P", 65), ("D", 256)):
        for part, channels, source, size in (("a", 256, 128, 3), ("b", out, 256, 1)):
            layout.conv(f"conv{letter}{part}", channels, source, size)
            layout.norm(f"bn{letter}{part}", channels)
    return layout.state


@pytest.mark.parametrize(("batch_norm", "count"), [(False, 1_300_865), (True, 1_304_067)])
def test_both_forms_have_the_published_parameter_count(batch_norm: bool, count: int) -> None:
    network = build("superpoint", batch_norm=batch_norm)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("batch_norm", [False, True])
def test_outputs_have_the_published_shapes(batch_norm: bool) -> None:
    network = build("superpoint", batch_norm=batch_norm).eval()
    with torch.no_grad():
        out = network(torch.rand(2, 1, 120, 160))
    assert out.logits.shape == (2, 65, 15, 20)
    assert out.descriptor.shape == (2, 256, 15, 20)
    assert torch.allclose(out.descriptor.norm(dim=1), torch.ones(2, 15, 20), atol=1e-5)


def test_magicpoint_is_the_detector_alone() -> None:
    network = build("superpoint", descriptors=False)
    assert sum(p.numel() for p in network.parameters()) == 1_300_865 - 295_168 - 65_792
    assert network(torch.rand(1, 1, 16, 24)).descriptor is None


@pytest.mark.parametrize(("published", "tensors"), [(classic, 24), (gauss2, 84)])
def test_published_checkpoints_load_strictly(published: Callable[[], dict[str, np.ndarray]], tensors: int) -> None:
    state = published()
    assert len(state) == tensors
    assert landed(from_state("superpoint", state), state)


def test_a_checkpoint_wrapped_with_its_optimizer_is_read_without_unpickling_code(tmp_path: Path) -> None:
    state = {key: torch.from_numpy(array) for key, array in gauss2().items()}
    path = tmp_path / "superPointNet_170000_checkpoint.pth"
    torch.save({"n_iter": 170000, "model_state_dict": state, "optimizer_state_dict": {"state": {}}, "loss": 1.0}, path)
    network: Any = load("superpoint", path)
    assert torch.equal(network.detector[0].weight, state["convPa.weight"])
    assert torch.equal(network.encoder[2][4].running_var, state["down2.mpconv.1.conv.4.running_var"])


@pytest.mark.parametrize("change", ["missing", "unknown", "misshapen"])
def test_a_checkpoint_that_does_not_fit_names_the_tensor(change: str) -> None:
    state = classic()
    if change == "missing":
        del state["convDb.bias"]
    elif change == "unknown":
        state["extra"] = state["convDb.bias"]
    else:
        state["convPb.bias"] = state["convPb.bias"][:64]
    message = {
        "missing": r"1 keys missing or unknown, first descriptor\.3\.bias \(missing\)",
        "unknown": r"first extra \(unknown\)",
        "misshapen": r"detector\.3\.bias must be \(65,\), got \(64,\)",
    }[change]
    with pytest.raises(WeightsError, match=message):
        from_state("superpoint", state)


def test_a_heat_map_puts_each_of_the_64_channels_at_its_pixel() -> None:
    logits = torch.zeros(1, 65, 2, 3)
    logits[0, 8 * 5 + 2, 1, 2] = 20.0  # row 5, column 2 of the cell in row 1, column 2
    probability = heat_map(logits)
    assert probability.shape == (1, 16, 24)
    assert divmod(int(probability.argmax()), 24) == (8 + 5, 16 + 2)
    assert probability[0, 0, 0] == pytest.approx(1 / 65)


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 1, 20, 16)])
def test_wrong_images_are_refused(shape: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        build("superpoint")(torch.zeros(shape))
