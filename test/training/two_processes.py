# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun: one step and a validation of each recipe; both processes compare their weights and figures."""

import hashlib
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from training.config import TrainConfig, open_recipe
from training.parallel import average_gradients, open_fabric, share_state, spread
from training.train import train

from .tiny import RECIPES


def everybodys(value: Any) -> list[Any]:
    """The value of each process."""
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def check_step(name: str, root: Path) -> None:
    """One step of a recipe in both processes: the same weights at the end, the same figures."""
    tiny = RECIPES[name]
    options = tiny.make(root / "data") if distributed.get_rank() == 0 else None
    options = next(value for value in everybodys(options) if value)
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 2,
        "progress": False,
        "tensorboard": False,
        "threads": 1,
    }
    best = train(TrainConfig(tiny.recipe, str(root / "out"), 1, options=options, batch=1, **settings))
    assert len({str(figures) for figures in everybodys(best)}) == 1, everybodys(best)
    assert best["step"] == 1


def check_weights(name: str, root: Path) -> None:
    """Gradients of different samples become one mean; unused parameters stay without a gradient."""
    torch.manual_seed(distributed.get_rank())
    options = RECIPES[name].make(root / str(distributed.get_rank()))
    recipe = open_recipe(TrainConfig(RECIPES[name].recipe, "", 1, options=options))
    network = recipe.build()
    share_state(network)
    recipe.prepare(network)
    trained = [p for p in network.parameters() if p.requires_grad]
    sample = recipe.samples(2, 0)[distributed.get_rank()]
    recipe.loss(network, {key: value[None] for key, value in sample.items()})["total"].backward()  # type: ignore[no-untyped-call]
    own = [None if p.grad is None else p.grad.clone() for p in trained]
    average_gradients(trained)
    for parameter, grads in zip(trained, zip(*everybodys(own), strict=True), strict=True):
        told = [grad for grad in grads if grad is not None]
        if not told:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, sum(told) / 2)
    torch.optim.SGD(trained, lr=0.1).step()
    digests = everybodys(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in trained)).hexdigest())
    assert len(set(digests)) == 1, name


def main() -> None:
    """Check all recipes in a folder."""
    warnings.simplefilter("ignore")
    root = Path(sys.argv[1])
    open_fabric("cpu", 2, 1, "32-true").launch()
    torch.set_num_threads(1)
    assert spread(5, lambda i: (i, distributed.get_rank())) == [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0)]
    for name in RECIPES:
        check_weights(name, root / "weights" / name)
    for name in sys.argv[2:]:
        check_step(name, root / "step" / name)
    sys.stdout.write(f"rank {distributed.get_rank()}: {len(RECIPES)} recipes\n")


if __name__ == "__main__":
    main()
