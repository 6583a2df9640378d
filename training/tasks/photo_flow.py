# SPDX-License-Identifier: Apache-2.0
"""How often OpenCV's Lucas-Kanade finds the true flow between two views of a photograph, on a network's maps."""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from training.data.photos import LIGHTS
from training.parallel import spread

RIGHT_PX = 1.0


def share_followed(network: nn.Module, pairs: Any) -> dict[str, float]:
    """Share of corners followed to within RIGHT_PX of the truth, by the light of the pair.

    pairs is a data set as training.data.photos has it; the light is plain where it says none.
    """
    right: dict[str, list[float]] = {light: [] for light in LIGHTS}

    def row(i: int) -> tuple[str, float]:
        pair = pairs[i]
        map_a, map_b = (_map(network, pair[key]) for key in ("image_a", "image_b"))
        points = pair["points"].numpy()
        found, status, _ = cv2.calcOpticalFlowPyrLK(map_a, map_b, points, points.copy(), winSize=(21, 21), maxLevel=3)
        error = np.linalg.norm(found - points - pair["flow"].numpy(), axis=1)
        return LIGHTS[int(pair.get("light", 0))], float(np.mean((error < RIGHT_PX) & (status[:, 0] == 1)))

    for light, share in spread(len(pairs), row):
        right[light].append(share)
    return {light: float(np.mean(shares)) for light, shares in right.items() if shares}


def _map(network: nn.Module, image: Tensor) -> np.ndarray:
    with torch.inference_mode():
        feature = network(image[None].to(next(network.parameters()).device)).feature[0].cpu()
    feature_map: np.ndarray = (255 * feature).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return feature_map
