# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from letvins_ros.weights import WeightsError, load_checkpoint, load_weights, save_weights


def test_weights_survive_the_round_trip(tmp_path: Path) -> None:
    state: dict[str, np.ndarray] = {
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "n": np.array(7, np.int64),
    }
    save_weights(tmp_path / "w.safetensors", state)
    loaded = load_weights(tmp_path / "w.safetensors")
    assert loaded.keys() == state.keys()
    assert all(np.array_equal(loaded[key], state[key]) for key in state)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_torch_state_dict_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    assert np.array_equal(load_weights(tmp_path / "w.pth")["a"], np.ones(2, np.float32))


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch pwned",))


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Evil(), tmp_path / "evil.pth")
    with pytest.raises(
        WeightsError,
        match=r"evil\.pth: .* \(it holds posix\.system, code that is not run\)",
    ):
        load_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"torn", "not a safetensors file"),
        ("a.pth", b"torn", "not a plain state dict"),
        ("a.onnx", b"", "weights end in"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such weights file"):
        load_weights(tmp_path / "none.safetensors")


@pytest.mark.parametrize("wrap", ["state_dict", "model_state_dict", "model", "net", "network"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path, wrap: str, prefix: str) -> None:
    state = {f"{prefix}a.weight": torch.arange(3.0), f"{prefix}b.module.bias": torch.ones(1)}
    torch.save({"epoch": 3, wrap: state}, tmp_path / "w.pth")
    found = load_weights(tmp_path / "w.pth")
    assert {key: value.tolist() for key, value in found.items()} == {"a.weight": [0, 1, 2], "b.module.bias": [1]}


def test_a_wrapper_may_lie_in_another(tmp_path: Path) -> None:
    torch.save({"model": {"state_dict": {"a": torch.ones(1)}, "epoch": 1}}, tmp_path / "w.ckpt")
    assert list(load_weights(tmp_path / "w.ckpt")) == ["a"]


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    values = torch.tensor([[1.5, -2.25], [1e-20, 3e30]]).bfloat16()
    torch.save({"a": values}, tmp_path / "w.pth")
    save_file({"a": values, "b": torch.ones(2, dtype=torch.float16)}, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        read = load_weights(tmp_path / name)["a"]
        assert read.dtype == np.float32
        assert np.array_equal(read, values.float().numpy())


def test_a_configuration_is_kept_beside_the_weights(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", {"a": np.ones(2)}, {"version": "V1"})
    assert load_checkpoint(tmp_path / "w.safetensors").config == {"version": "V1"}
