# SPDX-License-Identifier: Apache-2.0
"""LET-NET2 rewritten for 8-bit vector units: activations scaled to 0..1, several pixels side by side as channels.

With 3 to 16 channels a CPU's vectors stay half empty. Taking `step` neighbouring pixels of a row as channels fills
them: a 3x3 convolution becomes one of stride `step` with that many times the output channels; a 1x1 convolution
becomes block diagonal. The result is the same.
"""

import numpy as np

from letvins_ros.networks.folding import Conv


def scale_activations(layers: list[Conv]) -> list[Conv]:
    """Scale the layers so that every hidden channel peaks near 1, by what a synthetic picture makes of them.

    ReLU lets a positive factor through, so what is divided out of one layer goes into the next.
    """
    channels = layers[0].weight.shape[1]
    x = _test_picture(channels)
    gain = np.ones(channels, np.float32)
    scaled = []
    for layer in layers[:-1]:
        x = np.maximum(_convolve(x, layer), 0)
        peak = np.maximum(x.max(axis=(1, 2)), 1e-3)
        scaled.append(Conv(layer.weight * gain[:, None, None] / peak[:, None, None, None], layer.bias / peak))
        gain = peak
    return [*scaled, Conv(layers[-1].weight * gain[:, None, None], layers[-1].bias)]


def strided(layer: Conv, step: int) -> Conv:
    """Make the layer compute `step` neighbouring pixels at once, at stride `step`: (step * O, I, k, k + step - 1)."""
    out, into, size, _ = layer.weight.shape
    weight = np.zeros((step, out, into, size, size + step - 1), np.float32)
    for pixel in range(step):
        weight[pixel, ..., pixel : pixel + size] = layer.weight
    return Conv(weight.reshape(step * out, into, size, -1), np.tile(layer.bias, step))


def side_by_side(layer: Conv, step: int) -> Conv:
    """Make a 1x1 layer work on `step` pixels whose channels follow each other: (step * O, step * I, 1, 1)."""
    weight = np.kron(np.eye(step, dtype=np.float32), layer.weight[:, :, 0, 0])
    return Conv(weight[:, :, None, None], np.tile(layer.bias, step))


def _test_picture(channels: int) -> np.ndarray:
    """Overlapping rectangles, (channels, 128, 128) float32 0..255: edges as hard as any in a photo."""
    rng = np.random.default_rng(0)
    picture = np.zeros((128, 128), np.float32)
    for corner, size, gray in zip(
        rng.integers(-16, 128, (600, 2)), rng.integers(1, 32, (600, 2)), rng.uniform(0, 255, 600), strict=True
    ):
        (y0, x0), (y1, x1) = np.maximum(corner, 0), np.maximum(corner + size, 0)
        picture[y0:y1, x0:x1] = np.rint(gray)
    return np.broadcast_to(picture, (channels, 128, 128))


def _convolve(x: np.ndarray, layer: Conv) -> np.ndarray:
    """(I, H, W) -> (O, H, W)."""
    pad, size = layer.padding, layer.weight.shape[2]
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    result: np.ndarray = np.einsum("ihwkl,oikl->ohw", windows, layer.weight, optimize=True)
    result += layer.bias[:, None, None]
    return result
