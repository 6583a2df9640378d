# SPDX-License-Identifier: Apache-2.0
"""KeypointNet (Tang et al. 2020, "Neural Outlier Rejection for Self-Supervised Keypoint Learning", KP2D)."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from letvins_ros.errors import ConfigError
from letvins_ros.networks.cells import CellPoints, check_size, conv_block, to_pixels, without_border
from letvins_ros.networks.deploy import ImageNetwork

CELL = 8
VERSIONS = {  # keypoints may cross the border of their cell, descriptors at 1/4; V3 and V4 differ in their training
    "V0": (False, False),
    "V1": (True, False),
    "V2": (True, True),
    "V3": (True, True),
    "V4": (True, True),
}


def normalise(image: Tensor) -> Tensor:
    """What KP2D's networks see of an image in 0..1."""
    return (image - 0.5) * 0.225


class KeypointNet(ImageNetwork):
    """(B, 3, H, W) RGB image in 0..1, sides multiples of 8 -> CellPoints with cells of 8 px; 5,312,227 parameters.

    Descriptors have 256 channels, at 1/8 in V0 and V1 and at 1/4 in the others. All versions have the same tensors.
    """

    outputs = ("score", "coord", "descriptor")
    precision = "bf16"  # which moves keypoints by hundredths of a pixel, and is three times as fast
    cell = CELL

    def __init__(self, version: str = "V4", dropout: bool = True) -> None:
        super().__init__()
        if version not in VERSIONS:
            raise ConfigError(f"unknown version {version} of kp2d; known: {', '.join(VERSIONS)}")
        self.version = version
        self.cross, self.upsample = VERSIONS[version]
        self.drop = nn.Dropout2d(0.2) if dropout else nn.Identity()
        self.conv1a, self.conv1b = conv_block(3, 32), conv_block(32, 32)
        self.conv2a, self.conv2b = conv_block(32, 64), conv_block(64, 64)
        self.conv3a, self.conv3b = conv_block(64, 128), conv_block(128, 128)
        self.conv4a, self.conv4b = conv_block(128, 256), conv_block(256, 256)
        self.convDa, self.convDb = conv_block(256, 256), nn.Conv2d(256, 1, 3, padding=1)
        self.convPa, self.convPb = conv_block(256, 256), nn.Conv2d(256, 2, 3, padding=1)
        self.convFa = conv_block(256, 256)
        self.convFb = conv_block(256, 512)[:2]  # no activation
        self.convFaa, self.convFbb = conv_block(256, 256), nn.Conv2d(256, 256, 3, padding=1)

    def forward(self, image: Tensor) -> CellPoints:
        """Map (B, 3, H, W) in 0..1; ConfigError for other channels or sizes."""
        check_size(image, 3, CELL)
        x, skip = self._encode(normalise(image))
        score = torch.sigmoid(self.convDb(self.drop(self.convDa(x))))
        offset = torch.tanh(self.convPb(self.drop(self.convPa(x))))
        return CellPoints(
            without_border(score), to_pixels(offset, CELL, 2.0 if self.cross else 1.0), self._describe(x, skip)
        )

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 256, H/8, W/8) and (B, 128, H/4, W/4)."""
        x = functional.max_pool2d(self.drop(self.conv1b(self.conv1a(x))), 2)
        x = functional.max_pool2d(self.drop(self.conv2b(self.conv2a(x))), 2)
        skip = self.drop(self.conv3b(self.conv3a(x)))
        return self.drop(self.conv4b(self.conv4a(functional.max_pool2d(skip, 2)))), skip

    def _describe(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.drop(self.convFa(x))
        if self.upsample:
            x = torch.cat([functional.pixel_shuffle(self.convFb(x), 2), skip], dim=1)
        return self.convFbb(self.convFaa(x))

    @property
    def file_config(self) -> dict[str, str]:
        """What the tensors do not tell, to be kept beside them."""
        return {"version": self.version}

    @staticmethod
    def told_by(config: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Version by a checkpoint's configuration (ours or the authors'), or by V0 .. V4 in the file's name.

        Raises ConfigError where neither tells it: with another version keypoints are off by half a cell's side.
        """
        if "version" in config:
            return {"version": config["version"]}
        params = config.get("model", {}).get("params", {})
        if "do_cross" in params and "do_upsample" in params:
            key = bool(params["do_cross"]), bool(params["do_upsample"])
            return {"version": next((v for v in reversed(VERSIONS) if VERSIONS[v] == key), "of no known kind")}
        named = re.search(r"(?<![A-Za-z])[vV][0-4](?!\d)", name)
        if named is None:
            raise ConfigError(f"the version is not told; name the file like kp2d_v4.ckpt ({', '.join(VERSIONS)})")
        return {"version": named[0].upper()}
