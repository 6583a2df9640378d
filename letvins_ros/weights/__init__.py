# SPDX-License-Identifier: Apache-2.0
"""Weights of networks as named numpy arrays, read and written without pickle; our own ones lie in this folder."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from letvins_ros.errors import LetvinsError
from letvins_ros.writing import write_atomic

LETNET2_GRAY = Path(__file__).parent / "letnet2_gray.safetensors"  # ours, see the card beside it
ORB_VLAD = Path(__file__).parent / "orb_vlad.safetensors"  # ours: words of binary descriptors
_OWN = {"letnet2": "letnet2_gray", "kp2dtiny": "kp2dtiny_n", "superpoint": "superpoint"}  # network -> file
_TORCH = (".pth", ".pt", ".tar", ".ckpt")
_WRAPPED = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the network's tensors


class WeightsError(LetvinsError):
    """A weights file that is missing, unreadable or of another network."""


def default_weights(network: str) -> Path:
    """File with our own weights of a network; WeightsError if it comes without."""
    path = LETNET2_GRAY.with_name(f"{_OWN.get(network, network)}.safetensors")
    if not path.is_file():
        raise WeightsError(f"{network} comes without weights; name a file in tracker.weights")
    return path


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """Read .safetensors, or a state dict in .pth, .pt, .tar or .ckpt, bare or in a checkpoint with other things.

    The latter need torch; no code in them is run. WeightsError if the file cannot be read.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    if path.suffix in _TORCH:
        return _load_torch(path)
    raise WeightsError(f"{path}: weights end in .safetensors, {', '.join(_TORCH)}")


def save_weights(path: Path, state: dict[str, np.ndarray]) -> None:
    """Write a .safetensors file, complete or not at all. Raises DataError where it cannot be written."""
    write_atomic(path, save({key: np.asarray(array, order="C") for key, array in state.items()}))


def _load_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return load(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a safetensors file ({error})") from error


def _load_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(f"{path}: reading {path.suffix} needs torch; install it or use .safetensors") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = next((state[key] for key in _WRAPPED if isinstance(state.get(key), dict)), state)
        return {key: value.numpy() for key, value in state.items()}
    except Exception as error:  # torch raises many kinds for a file that is torn, pickled code, or no state dict
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not a plain state dict of tensors ({reason})") from error
