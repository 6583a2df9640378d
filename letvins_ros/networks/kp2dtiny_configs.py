# SPDX-License-Identifier: Apache-2.0
"""Sizes of the KP2Dtiny family, and the names that published checkpoints give their tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from letvins_ros.errors import ConfigError
from letvins_ros.networks.efficient_attention import ATTENTION_RENAMES


@dataclass(frozen=True)
class TinyConfig:
    """Size of one KP2Dtiny."""

    widths: tuple[int, int, int, int, int, int]  # channels: four of the encoder, two of the decoder
    features: int  # channels of a local descriptor
    place_width: int  # channels that the global descriptor is made of
    poolings: int = 2  # a cell is 2**poolings px
    attention: bool = False
    aggregator: str = "netvlad"
    clusters: int = 64


_S = TinyConfig((16, 32, 32, 64, 64, 128), 32, 64)
_N = TinyConfig((16, 24, 24, 48, 48, 96), 32, 48)
_F = TinyConfig((16, 32, 64, 128, 128, 256), 64, 128, poolings=3)
_D = TinyConfig((64, 128, 128, 256, 256, 512), 128, 128, aggregator="convap")


def _with_attention(config: TinyConfig) -> TinyConfig:
    return replace(config, attention=True)


CONFIGS = {
    "V2": {
        "S": _S,
        "S_A": _with_attention(_S),
        "N": replace(_N, clusters=32),
        "N_A": replace(_with_attention(_N), clusters=32),
        "F": _F,
        "D": _with_attention(_D),
        "GEM_N": replace(_N, aggregator="gem"),
        "GEM_S_A": replace(_with_attention(_S), aggregator="gem"),
        "CONVAP_S_A": replace(_with_attention(_S), aggregator="convap"),
    },
    "V3": {
        "S": _S,
        "S_A": _with_attention(_S),
        "N": _N,
        "N_A": _with_attention(_N),
        "D": _D,
        "D_A": _with_attention(_D),
        "CONVAP_S_A": replace(_with_attention(_S), aggregator="convap"),
    },
}

_BLOCKS = [f"conv{i}{j}" for i in (1, 2, 3, 4) for j in "ab"]
PUBLISHED = (
    (r"vlad_head\.netvlad\.conv\.", "place.aggregator.assign."),
    (r"vlad_head\.netvlad\.channel_pool\.", "place.aggregator.pool."),
    (r"vlad_head\.netvlad\.", "place.aggregator."),
    *((rf"vlad_head\.convlad{i + 1}\.", f"place.blocks.{i}.") for i in range(3)),
    *((rf"backbone\.{name}\.", f"backbone.blocks.{i}.") for i, name in enumerate(_BLOCKS)),
    (r"score_loc_head\.", "point_head."),
    (r"loc_head\.", "location_head."),
    (r"(score_head|location_head|point_head)\.convDa\.", r"\1.0."),
    (r"(score_head|location_head|point_head)\.convDb\.", r"\1.2."),
    (r"desc_head\.convA\.", "descriptor_head.reduce."),
    (r"desc_head\.convB\.", "descriptor_head.grow."),
    (r"desc_head\.upsample\.", "descriptor_head.up."),
    (r"desc_head\.confAa\.", "descriptor_head.merge."),
    (r"desc_head\.confBb\.", "descriptor_head.out."),
    (r"seg_head\.featB\.", "descriptor_out."),
    (r"seg_head\.featD\.", "depth_out."),
    (r"seg_head\.convs\.\d\.(weight|bias)$", r"classes.\1"),
    (r"depth_head\.convs\.\d\.(weight|bias)$", r"depth_out.\1"),
    (r"seg_head\.", "decoder."),
    (r"depth_head\.", "depth_decoder."),
    (r"(decoder|depth_decoder)\.convs\.", r"\1.blocks."),
    (r"(decoder|depth_decoder)\.upsample\.", r"\1.up1."),
    (r"(decoder|depth_decoder)\.upsample2\.", r"\1.up2."),
    *ATTENTION_RENAMES,
    (r"(.*)\.(conv|transposed_conv)\.(weight|bias)$", r"\1.0.\3"),
    (r"(.*)\.bn\.", r"\1.1."),
)


def config_of(config: str, version: str) -> TinyConfig:
    """Size of a variant; ConfigError names the known ones."""
    if version not in CONFIGS:
        raise ConfigError(f"unknown version {version} of kp2dtiny; known: {', '.join(CONFIGS)}")
    if config not in CONFIGS[version]:
        known = ", ".join(CONFIGS[version])
        raise ConfigError(f"unknown config {config} of kp2dtiny {version}; known: {known}")
    return CONFIGS[version][config]


def options_of(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Constructor options that shapes and names of these (renamed) tensors tell; ConfigError if no variant fits."""
    version = "V3" if "point_head.2.weight" in state else "V2"
    width, first = state["backbone.blocks.7.0.weight"].shape[0], state["backbone.blocks.0.0.weight"].shape[0]
    attention = "decoder.blocks.1.norm1.weight" in state
    aggregator = next((kind for kind, key in _AGGREGATORS.items() if f"place.aggregator.{key}" in state), "none")
    for name, config in CONFIGS[version].items():
        same_size = (config.widths[3], config.widths[0]) == (width, first)
        if same_size and (config.attention, config.aggregator) == (attention, aggregator):
            return {
                "config": name,
                "version": version,
                "classes": state["classes.weight"].shape[0],
                "depth": "depth_out.weight" in state,
                "mcu": "decoder.up1.0.weight" in state,
                "scales": len(state["scale_weights"]) if "scale_weights" in state else 1,
            }
    raise ConfigError(f"no {version} has {first} to {width} channels, aggregator {aggregator}, attention {attention}")


_AGGREGATORS = {"netvlad": "centroids", "gem": "p", "convap": "pool.weight"}
