# SPDX-License-Identifier: Apache-2.0
"""No recipe mixes tensors of the network's device with the CPU's."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from training.config import TrainConfig, open_recipe

from .elsewhere import DEVICE, Elsewhere, Refusing, move
from .tiny import RECIPES

pytest.importorskip("h5py")
pytest.importorskip("faiss")


def test_mixing_is_refused_and_factories_obey() -> None:
    with Refusing():  # type: ignore[no-untyped-call]
        there = Elsewhere(torch.ones(3))
        assert isinstance(there + 1, Elsewhere)
        assert isinstance(torch.arange(3, device=there.device) * there, Elsewhere)
        doubled: torch.Tensor = there * 2
        assert not isinstance(doubled.cpu(), Elsewhere)
        with pytest.raises(RuntimeError, match="on meta and on the CPU"):
            there + torch.ones(3)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_learns_and_validates_on_another_device(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny = RECIPES[name]
    recipe = open_recipe(TrainConfig(tiny.recipe, "", 1, options=tiny.make(tmp_path)))
    network = recipe.build()
    recipe.prepare(network)
    samples = pickle.loads(pickle.dumps(recipe.samples(2, 0)))  # as processes that read data get them
    batch = default_collate([samples[i] for i in range(2)])
    with Refusing():  # type: ignore[no-untyped-call]
        move(network)
        losses = recipe.loss(network, {key: Elsewhere(value) for key, value in batch.items()})
        assert losses["total"].device == DEVICE
        losses["total"].backward()  # type: ignore[no-untyped-call]
        assert np.isfinite(recipe.validate(recipe.deployed(network))["score"])
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    assert grads
    assert all(isinstance(grad, Elsewhere) for grad in grads)
