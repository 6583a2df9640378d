# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from letvins_ros import networks
from letvins_ros.inference import BackendError, open_runtime
from letvins_ros.inference.runtime import Runtime
from letvins_ros.networks.letnet2 import LetNet2, image_to_tensor
from letvins_ros.weights import WeightsError, save_weights

from ..networks.layouts import saved


@pytest.fixture(scope="module")
def network() -> LetNet2:
    torch.manual_seed(0)
    network = LetNet2(1)
    for _ in range(3):
        network(torch.rand(2, 1, 32, 32))
    torch.nn.init.normal_(network.conv_head.weight, std=8.0)  # maps that use the whole range
    return network.eval()


@pytest.fixture(scope="module")
def weights(network: LetNet2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(network, tmp_path_factory.mktemp("weights") / "letnet2.safetensors")


def features(runtime: Runtime, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [maps["feature"] for maps in runtime(images)]


def images(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


@pytest.mark.parametrize("shape", [(40, 56), (40, 56, 3), (37, 51), (37, 54)])
@pytest.mark.parametrize(("kind", "mean_error", "max_error"), [("openvino", 1.5, 25), ("torch", 0.26, 0.51)])
def test_backend_agrees_with_the_network(
    kind: str,
    mean_error: float,
    max_error: float,
    shape: tuple[int, int] | tuple[int, int, int],
    network: LetNet2,
    weights: Path,
) -> None:
    image = images(shape)[0]
    feature_map = features(open_runtime("letnet2", weights, kind), [image])[0]
    with torch.no_grad():
        expected = network(image_to_tensor(image, 1)).feature[0].permute(1, 2, 0).numpy() * 255
    assert feature_map.shape == (*shape[:2], 3)
    assert feature_map.dtype == np.uint8
    assert feature_map.flags.c_contiguous
    error = np.abs(feature_map - expected)  # in gray levels: OpenVINO computes in 8 bits
    assert error.mean() < mean_error
    assert error.max() < max_error
    assert expected.std() > 10 * mean_error


def test_bfloat16_is_used_only_where_the_processor_has_it(tmp_path: Path) -> None:
    import openvino as ov

    torch.manual_seed(0)
    weights, image = saved(networks.build("kp2dtiny"), tmp_path / "kp2dtiny.safetensors"), images((64, 96, 3))[0]
    (found,), (exact,) = (open_runtime("kp2dtiny", weights, kind)([image]) for kind in ("openvino", "torch"))
    same = np.allclose(found["descriptor"], exact["descriptor"], atol=1e-4)
    assert same == ("BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@pytest.mark.parametrize("kind", ["openvino", "torch"])
def test_maps_are_the_same_bytes_every_time_and_stay_the_callers(kind: str, weights: Path) -> None:
    left, right = images((64, 80), (64, 80))
    net = open_runtime("letnet2", weights, kind)
    first, second = features(net, [left, right])
    kept = first.copy()
    again = features(open_runtime("letnet2", weights, kind), [right, left])
    assert np.array_equal(first, kept)
    assert np.array_equal(again[1], first)
    assert np.array_equal(again[0], second)


@pytest.mark.parametrize("shape", [(64, 80), (65, 80), (5, 16), (3, 9)])
def test_an_image_alone_has_the_bytes_that_it_has_beside_another(shape: tuple[int, int], weights: Path) -> None:
    left, right = images(shape, shape)
    net = open_runtime("letnet2", weights, "openvino")
    assert np.array_equal(features(net, [left])[0], features(net, [left, right])[0])


@pytest.mark.parametrize("kind", ["openvino", "torch"])
def test_one_feature_is_a_map_of_two_dimensions(kind: str, tmp_path: Path) -> None:
    network = LetNet2(1, head_channels=2).eval()
    image = images((40, 56))[0]
    runtime = open_runtime("letnet2", saved(network, tmp_path / "w.safetensors"), kind)
    feature_map = features(runtime, [image])[0]
    with torch.no_grad():
        expected = network(image_to_tensor(image, 1)).feature[0, 0].numpy() * 255
    assert feature_map.shape == (40, 56)
    assert feature_map.flags.c_contiguous
    assert np.abs(feature_map - expected).max() < 3


@pytest.mark.parametrize("kind", ["openvino", "torch"])
def test_images_of_different_shapes_keep_their_order(kind: str, weights: Path) -> None:
    net = open_runtime("letnet2", weights, kind)
    assert [m.shape for m in features(net, images((20, 30), (40, 24), (20, 30, 3)))] == [
        (20, 30, 3),
        (40, 24, 3),
        (20, 30, 3),
    ]
    assert net([]) == []


def test_images_that_are_not_contiguous_are_read_right(weights: Path) -> None:
    image = images((40, 120))[0]
    for kind in ("openvino", "torch"):
        net = open_runtime("letnet2", weights, kind)
        of_view, of_copy = (features(net, [one])[0] for one in (image[:, ::2], image[:, ::2].copy()))
        assert np.array_equal(of_view, of_copy)


def test_auto_says_which_backend_it_took(weights: Path) -> None:
    assert open_runtime("letnet2", weights, "auto").name in ("tensorrt", "torch-cuda", "openvino")


def test_unknown_backend_names_the_known(weights: Path) -> None:
    with pytest.raises(BackendError, match="unknown backend onnx; known: auto, tensorrt, openvino, torch"):
        open_runtime("letnet2", weights, "onnx")


def test_tensorrt_without_tensorrt_says_what_is_missing(weights: Path) -> None:
    if "tensorrt" in sys.modules:
        pytest.skip("TensorRT is installed here")
    with pytest.raises(BackendError, match="backend tensorrt needs the Python package tensorrt"):
        open_runtime("letnet2", weights, "tensorrt")


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    save_weights(tmp_path / "other.safetensors", {"conv.weight": np.zeros((3, 3), np.float32)})
    with pytest.raises(WeightsError, match=r"other\.safetensors: not the weights of a LET-NET2: 15 keys"):
        open_runtime("letnet2", tmp_path / "other.safetensors", "auto")


def test_our_own_weights_open_by_default() -> None:
    assert features(open_runtime("letnet2"), images((32, 40)))[0].std() > 10


def test_openvino_backend_runs_without_torch(weights: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None
import numpy as np
from pathlib import Path
from letvins_ros.inference import open_runtime
net = open_runtime("letnet2", Path({str(weights)!r}))
assert net.name == "openvino" and net([np.zeros((20, 30), np.uint8)])[0]["feature"].shape == (20, 30, 3)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
