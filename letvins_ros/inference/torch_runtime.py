# SPDX-License-Identifier: Apache-2.0
"""Networks by torch, on the CPU or a CUDA GPU."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from letvins_ros.inference.runtime import Maps, as_map, threads, with_channels
from letvins_ros.networks.deploy import Deployed, DeployedFor


def open_on_cpu(deployed_for: DeployedFor) -> "TorchRuntime":
    """Run on the CPU."""
    torch.set_num_threads(threads())
    return TorchRuntime(deployed_for, torch.device("cpu"))


def open_on_gpu(deployed_for: DeployedFor) -> "TorchRuntime":
    """Run on the first GPU."""
    return TorchRuntime(deployed_for, torch.device("cuda"))


class TorchRuntime:
    """A network by torch, for images of any size; a Runtime."""

    def __init__(self, deployed_for: DeployedFor, device: torch.device) -> None:
        self.name = "torch" if device.type == "cpu" else f"torch-{device.type}"
        self._deployed_for, self._device = deployed_for, device
        self._networks: dict[int, Deployed] = {}  # by channels of the image
        self.outputs = self._network_for(1).outputs

    def __call__(self, images: Sequence[np.ndarray]) -> list[Maps]:
        """See Runtime."""
        return [self._map(image) for image in images]

    @torch.inference_mode()
    def _map(self, image: np.ndarray) -> Maps:
        network = self._network_for(1 if image.ndim == 2 else image.shape[2])
        return finished(network.outputs, network(to_input(image, network.channels, network.white, self._device)))

    def _network_for(self, channels: int) -> Deployed:
        if channels not in self._networks:
            self._networks[channels] = self._deployed_for(channels).to(self._device)
        return self._networks[channels]


def to_input(image: np.ndarray, channels: int, white: float, device: torch.device) -> torch.Tensor:
    """(1, channels, H, W) float32 in 0..white of a uint8 image."""
    pixels = torch.from_numpy(with_channels(image, channels)[None]).to(device)
    return pixels.permute(0, 3, 1, 2).float() / (255 / white)


def finished(names: Iterable[str], batch: Iterable[torch.Tensor]) -> Maps:
    """Maps of what a network says of one image."""
    return {name: as_map(name, _finish(name, map_).cpu().numpy()) for name, map_ in zip(names, batch, strict=True)}


def _finish(name: str, map_: torch.Tensor) -> torch.Tensor:
    if name != "feature":
        return map_
    return map_.mul(255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
