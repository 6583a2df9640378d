# SPDX-License-Identifier: Apache-2.0
"""Weights of networks as named numpy arrays, read and written without pickle; our own ones lie in this folder."""

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from letvins_ros.errors import LetvinsError
from letvins_ros.writing import write_atomic

LETNET2_GRAY = Path(__file__).parent / "letnet2_gray.safetensors"  # ours, see the card beside it
ORB_VLAD = Path(__file__).parent / "orb_vlad.safetensors"  # ours: words of binary descriptors
_OWN = {"letnet2": "letnet2_gray", "kp2dtiny": "kp2dtiny_n", "superpoint": "superpoint"}  # network -> file
_TORCH = (".pth", ".pt", ".tar", ".ckpt")
_WRAPPED = ("state_dict", "model_state_dict", "model", "net", "network")  # where checkpoints keep the network's tensors
_PREFIXES = ("module.", "_orig_mod.")
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip


class WeightsError(LetvinsError):
    """A weights file that is missing, unreadable or of another network."""


def default_weights(network: str) -> Path:
    """File with our own weights of a network; WeightsError if it comes without."""
    path = LETNET2_GRAY.with_name(f"{_OWN.get(network, network)}.safetensors")
    if not path.is_file():
        raise WeightsError(f"{network} comes without weights; name a file in tracker.weights")
    return path


class Checkpoint(NamedTuple):
    """What a file holds."""

    state: dict[str, np.ndarray]  # weights by name
    config: Mapping[str, Any]  # what else the file says of the network, or nothing


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """Read only the weights; see load_checkpoint."""
    return load_checkpoint(path).state


def load_checkpoint(path: Path) -> Checkpoint:
    """Read .safetensors, or a state dict in .pth, .pt, .tar or .ckpt, bare or in a checkpoint with other things.

    Weights lie at the top or under state_dict, model_state_dict, model, net or network. `module.` (of data-parallel
    training) and `_orig_mod.` (of torch.compile) before their names are taken off, bfloat16 becomes float32.
    Files other than .safetensors need torch; no code in them is run. WeightsError if the file cannot be read.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    if path.suffix in _TORCH:
        return _load_torch(path)
    raise WeightsError(f"{path}: weights end in .safetensors, {', '.join(_TORCH)}")


def save_weights(path: Path, state: Mapping[str, np.ndarray], config: Mapping[str, str] | None = None) -> None:
    """Write a .safetensors file, complete or not at all, with what its shapes do not tell as `config`.

    Raises DataError where it cannot be written.
    """
    arrays = {key: np.asarray(array, order="C") for key, array in state.items()}
    write_atomic(path, save(arrays, dict(config) if config else None))


def _load_safetensors(path: Path) -> Checkpoint:
    try:
        content = path.read_bytes()
        tensors = deserialize(content)  # type: ignore[no-untyped-call]
        length = int.from_bytes(content[:8], "little")
        config = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        return Checkpoint(_plain_names({name: _array(told) for name, told in tensors}), config)
    except (SafetensorError, OSError, KeyError) as error:
        raise WeightsError(f"{path}: not a safetensors file ({error})") from error


def _array(told: Mapping[str, Any]) -> np.ndarray:
    """A tensor's bytes as numbers; bfloat16 is the upper half of float32."""
    kind, data = told["dtype"], told["data"]
    if kind == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(told["shape"])
    return np.frombuffer(data, _DTYPES[kind]).reshape(told["shape"])


def _load_torch(path: Path) -> Checkpoint:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(f"{path}: reading {path.suffix} needs torch; install it or use .safetensors") from error
    try:
        with torch.serialization.safe_globals([(OrderedDict, "yacs.config.CfgNode")]):  # KP2D's configuration
            found = torch.load(path, map_location="cpu", weights_only=True)
        state = _unwrapped(found)
        arrays = {key: (v.float() if v.dtype == torch.bfloat16 else v).numpy() for key, v in state.items()}
        config = found.get("config")
        return Checkpoint(_plain_names(arrays), config if isinstance(config, dict) else {})
    except Exception as error:  # torch raises many kinds for a file that is torn, pickled code, or no state dict
        held = re.search(r"GLOBAL (\S+)", str(error))
        first = (str(error) or type(error).__name__).splitlines()[0]
        reason = f"it holds {held[1]}, code that is not run" if held else first
        raise WeightsError(f"{path}: not a plain state dict of tensors ({reason})") from error


def _unwrapped(found: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = next((found[key] for key in _WRAPPED if isinstance(found.get(key), dict)), None)
    return found if inner is None else _unwrapped(inner)


def _plain_names(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            return _plain_names({name.removeprefix(prefix): array for name, array in state.items()})
    return state
