# SPDX-License-Identifier: Apache-2.0
"""What every network says for fixed weights and inputs, as it was stored: stored_outputs.json.

The authors' own code was asked (KP2D 77633af, Nano-VS-SLAM 2d57e9d, pytorch-superpoint 5eb75d7, LoFTR df7ca80,
LightGlue 1fd587b, LET-NET-Train 72fd010, LET-NET2 4713802): it loads these weights and in float32 says the same as ours
to some 1e-6 of the largest number, LoFTR's confidences to 3e-5. What ours say in float64 is stored, as it does not
depend on the processor. LET-NET2's own score is ten times ours. KP2D's ResNet is trained with maps whose corners lie on
the image's, and evaluated by its authors half a pixel off; ours reads them as they are trained. What writes the file
anew is `python -m test.networks.test_stored_outputs`, after which the authors' code is to be asked again.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from letvins_ros.networks import from_state
from letvins_ros.networks.lightglue import Keypoints

from . import test_keypointformer, test_kp2d, test_kp2dtiny, test_letnet, test_lightglue, test_loftr, test_superpoint

STORED = Path(__file__).with_name("stored_outputs.json")
SIZE = (64, 96)
SAMPLES = 24  # of an output, spread over it

State = Mapping[str, np.ndarray]


def uniform(name: str, *shape: int) -> np.ndarray:
    """Numbers -1..1 that only the name tells, by a generator that numpy has promised not to change."""
    return np.random.RandomState(zlib.crc32(name.encode())).uniform(-1, 1, shape)


def fixed(state: State) -> dict[str, np.ndarray]:
    """Weights of the same names and shapes with which signals keep their size from layer to layer."""
    return {name: _fixed(name, array).astype(array.dtype) for name, array in state.items()}


def _fixed(name: str, array: np.ndarray) -> np.ndarray:
    values = uniform(name, *array.shape)
    if array.dtype.kind == "i":
        return array
    if array.ndim > 1:
        return values * np.sqrt(6 / np.prod(array.shape[1:]))
    if name.endswith("running_var"):
        return 1 + values / 2
    return 1 + values / 5 if name.endswith("weight") else values / 10


def image(channels: int, name: str = "image") -> torch.Tensor:
    """(1, channels, H, W) in 0..1."""
    return torch.from_numpy((uniform(name, 1, channels, *SIZE) + 1) / 2)


def maps(network: Any) -> dict[str, torch.Tensor]:
    """Maps of one image."""
    output = network(image(next(network.parameters()).shape[1]))
    return {name: value for name, value in output._asdict().items() if value is not None}


def inliers(network: Any) -> dict[str, torch.Tensor]:
    """Of 20 matches."""
    return {"logit": network(torch.from_numpy(uniform("matches", 1, 5, 20, 1)))}


def keypoints(name: str, count: int, channels: int) -> Keypoints:
    """With descriptors of unit length, in an image of SIZE."""
    uv = (uniform(f"{name} uv", 1, count, 2) + 1) / 2 * [SIZE[1], SIZE[0]]
    descriptors = torch.from_numpy(uniform(f"{name} descriptors", 1, count, channels))
    return Keypoints(torch.from_numpy(uv), torch.nn.functional.normalize(descriptors, dim=2), SIZE[::-1])


def assignment(network: Any) -> dict[str, torch.Tensor]:
    """Of the last layer."""
    output = network(keypoints("a", 30, network.input_size), keypoints("b", 20, network.input_size))
    return {"log_assignment": output.log_assignment[-1]}


def matches(network: Any) -> dict[str, torch.Tensor]:
    """Cells, and some of them refined."""
    coarse = network.coarse(image(1, "a"), image(1, "b"))
    cells = torch.arange(0, 96, 7)
    fine = network.fine(coarse, torch.zeros_like(cells), cells, cells.flip(0))
    return {
        "surest": coarse.confidence.amax(dim=2),
        "feature_a": coarse.feature_a,
        "feature_b": coarse.feature_b,
        **fine._asdict(),
    }


def rgb_letnet2() -> State:
    """As the authors' file has it."""
    return {
        key: a for key, a in test_letnet.published(3).items() if key.startswith(("block1.", "conv1.", "conv_head."))
    }


TINY = [  # version, size, with depth, for microcontrollers
    ("V2", "N", False, False),
    ("V2", "S_A", True, False),
    ("V2", "S", True, True),
    ("V2", "GEM_N", False, False),
    ("V2", "F", False, False),
    ("V3", "N_A", False, False),
    ("V3", "N", True, True),
    ("V3", "CONVAP_S_A", True, False),
]
CASES: dict[str, tuple[str, Callable[[], State], dict[str, Any], Callable[[Any], dict[str, torch.Tensor]]]] = {
    **{f"kp2d {v}": ("kp2d", test_kp2d.keypoint_net, {"version": v}, maps) for v in ("V0", "V1", "V4")},
    "kp2d_resnet": ("kp2d_resnet", test_kp2d.keypoint_resnet, {}, maps),
    "inlier_net": ("inlier_net", test_kp2d.inlier_net, {}, inliers),
    **{f"kp2dtiny {' '.join(map(str, v))}": ("kp2dtiny", partial(test_kp2dtiny.published, *v), {}, maps) for v in TINY},
    "keypointformer": ("keypointformer", partial(test_keypointformer.published, "tiny"), {}, maps),
    "superpoint": ("superpoint", test_superpoint.classic, {}, maps),
    "superpoint with batch norm": ("superpoint", test_superpoint.gauss2, {}, maps),
    "letnet": ("letnet", partial(test_letnet.published, 1), {}, maps),
    "letnet2": ("letnet2", rgb_letnet2, {}, maps),
    "loftr": ("loftr", test_loftr.published, {}, matches),
    "lightglue": ("lightglue", partial(test_lightglue.published, 32, 4), {}, assignment),
    "lightglue of other descriptors": (
        "lightglue",
        partial(test_lightglue.published, 64, 2, input_size=128),
        {},
        assignment,
    ),
}


def run(case: str) -> dict[str, np.ndarray]:
    """Outputs by name."""
    name, published, options, ask = CASES[case]
    with torch.no_grad():
        return {
            key: value.numpy() for key, value in ask(from_state(name, fixed(published()), **options).double()).items()
        }


def sampled(output: np.ndarray) -> list[float]:
    """Some numbers, spread over an output."""
    flat = output.ravel()
    return [float(x) for x in flat[np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).astype(int)]]


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_that_were_stored(case: str) -> None:
    stored = json.loads(STORED.read_text())[case]
    found = run(case)
    assert {key: list(output.shape) for key, output in found.items()} == {k: s["shape"] for k, s in stored.items()}
    for key, output in found.items():
        expected = np.array(stored[key]["samples"])
        assert np.ptp(expected) > 1e-3, f"{key} says nothing"
        np.testing.assert_allclose(sampled(output), expected, rtol=0, atol=1e-6 * stored[key]["largest"], err_msg=key)


def main() -> None:
    """Store what the networks say now."""
    stored = {
        case: {
            key: {
                "shape": output.shape,
                "largest": round(float(np.abs(output).max()), 6),
                "samples": [float(f"{x:.7g}") for x in sampled(output)],
            }
            for key, output in run(case).items()
        }
        for case in CASES
    }
    text = ",\n".join(
        f'"{case}": {{\n' + ",\n".join(f' "{k}": {json.dumps(v)}' for k, v in outputs.items()) + "\n}"
        for case, outputs in stored.items()
    )
    STORED.write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
