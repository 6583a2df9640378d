# SPDX-License-Identifier: Apache-2.0
"""What a network is when it runs in the odometry or is exported: one image in, named maps out."""

from typing import Any

from torch import Tensor, nn

from letvins_ros.errors import ConfigError
from letvins_ros.networks.superpoint import SuperPoint, heat_map

KEYPOINT_NETWORKS = ("kp2dtiny", "kp2d", "superpoint")


class Deployed(nn.Module):
    """(1, C, H, W) image in 0..1 -> the maps of `outputs`, as a tuple.

    Keypoint networks give score (1, 1, h, w), coord (1, 2, h, w) px where the network has one (else h, w are the
    image's and every pixel has a score) and descriptor (1, D, h', w'). LET-NET2 gives feature and score.
    Where the place is wanted too, it is a further map (1, G), of unit length; only KP2Dtiny has one.
    """

    def __init__(self, network: nn.Module, with_place: bool = False) -> None:
        super().__init__()
        self.network = network
        first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        self.channels = first.in_channels
        if isinstance(network, SuperPoint):
            self.outputs: tuple[str, ...] = ("score", "descriptor")
        else:
            self.outputs = ("feature", "score") if _is_letnet(network) else ("score", "coord", "descriptor")
        if with_place:
            self.outputs = (*self.outputs, "place")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map one image."""
        if isinstance(self.network, SuperPoint):
            out = self.network(image)
            return heat_map(out.logits)[:, None], out.descriptor
        wanted = "keypoints_and_place" if "place" in self.outputs else "keypoints"
        run: Any = getattr(self.network, wanted, self.network)  # what only other tasks need is left out
        out = run(image)
        return tuple(getattr(out, name) for name in self.outputs)


def deploy(network: nn.Module, with_place: bool = False) -> Deployed:
    """Prepare a network for one image at a time; ConfigError if it is no such network."""
    name = type(network).__name__
    if name in ("LoFTR", "LightGlue", "InlierNet") or (isinstance(network, SuperPoint) and network.descriptor is None):
        raise ConfigError(f"{name} does not describe the keypoints of one image")
    if with_place and not hasattr(network, "keypoints_and_place"):
        raise ConfigError(f"{name} has no descriptor of places")
    return Deployed(network, with_place).eval()


def _is_letnet(network: nn.Module) -> bool:
    return type(network).__name__ in ("LetNet", "LetNet2")
