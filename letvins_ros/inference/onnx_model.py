# SPDX-License-Identifier: Apache-2.0
"""Networks of torch as ONNX files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from letvins_ros.inference.runtime import BackendError
from letvins_ros.networks.deploy import Deployed
from letvins_ros.networks.deploy_pairs import DeployedPair

_STEP = 32  # dynamic sides are multiples of it, which suits every network


def write_onnx(deployed: Deployed, out: Path, size: tuple[int, int] | None) -> None:
    """Write a network for images of this (height, width), or of any whose sides are multiples of 32; BackendError."""
    side = torch.export.Dim("rows", min=2), torch.export.Dim("columns", min=2)
    shapes = {"image": {2: _STEP * side[0], 3: _STEP * side[1]}} if size is None else None
    height, width = (2 * _STEP, 3 * _STEP) if size is None else size
    _write(deployed, out, {"image": torch.rand(1, deployed.channels, height, width)}, deployed.outputs, shapes)


def write_pair_onnx(deployed: DeployedPair, out: Path, inputs: Mapping[str, Tensor]) -> None:
    """Write a network that matches two images; BackendError."""
    sides = {name: torch.export.Dim(name, min=2) for name in set(deployed.dynamic.values())}
    shapes = {name: {1: sides[deployed.dynamic[name]]} if name in deployed.dynamic else {} for name in inputs}
    _write(deployed, out, inputs, deployed.outputs, shapes)


def _write(
    network: nn.Module,
    out: Path,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    shapes: dict[str, Any] | None,
) -> None:
    program = torch.onnx.export(
        network,
        tuple(inputs.values()),
        dynamo=True,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=shapes,
        verbose=False,
    )
    if program is None:
        raise BackendError(f"{out.name}: torch could not write this network as ONNX")
    program.save(out)
