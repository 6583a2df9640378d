# SPDX-License-Identifier: Apache-2.0
"""How the learning rate goes."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from training.config import TrainConfig


def make_schedule(optimizer: Optimizer, config: TrainConfig) -> LRScheduler:
    """Make one that is stepped after every optimiser step.

    `one_cycle`: up in the first tenth of the steps, then down to 0 along a cosine (Smith & Topin 2019). Others begin
    with a linear warm-up and are then `constant`, `decay` by a factor now and then, or follow cosines with `restarts`.
    """
    if config.schedule == "one_cycle":
        return OneCycleLR(optimizer, config.lr, config.steps, pct_start=0.1)
    return LambdaLR(optimizer, lambda step: share(step, config))


def share(step: int, config: TrainConfig) -> float:
    """Share of the highest learning rate in a step counted from 0."""
    if step < config.warmup:
        return 0.1 + 0.9 * step / config.warmup
    if config.schedule == "decay":
        periods = max(0, step - config.decay_from) / config.decay_every
        return float(config.decay_factor ** (periods if config.decay_smooth else int(periods)))
    if config.schedule == "restarts":
        return 0.5 + 0.5 * math.cos(math.pi * (step % config.decay_every) / config.decay_every)
    return 1.0
