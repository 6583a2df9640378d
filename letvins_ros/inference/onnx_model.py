# SPDX-License-Identifier: Apache-2.0
"""Networks of torch as ONNX files."""

from pathlib import Path

import torch

from letvins_ros.inference.runtime import BackendError
from letvins_ros.networks.deploy import Deployed

_STEP = 32  # dynamic sides are multiples of it, which suits every network


def write_onnx(deployed: Deployed, out: Path, size: tuple[int, int] | None) -> None:
    """Write a network for images of this (height, width), or of any whose sides are multiples of 32; BackendError."""
    side = torch.export.Dim("rows", min=2), torch.export.Dim("columns", min=2)
    shapes = {"image": {2: _STEP * side[0], 3: _STEP * side[1]}} if size is None else None
    height, width = (2 * _STEP, 3 * _STEP) if size is None else size
    program = torch.onnx.export(
        deployed,
        (torch.rand(1, deployed.channels, height, width),),
        dynamo=True,
        input_names=["image"],
        output_names=list(deployed.outputs),
        dynamic_shapes=shapes,
        verbose=False,
    )
    if program is None:
        raise BackendError(f"{out.name}: torch could not write this network as ONNX")
    program.save(out)
