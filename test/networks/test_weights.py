# SPDX-License-Identifier: Apache-2.0
import os

import numpy as np
import pytest
import torch

from letvins_ros.weights import WeightsError, load_weights, save_weights


def test_weights_survive_the_round_trip(tmp_path):
    state = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7, np.int64)}
    save_weights(tmp_path / "w.safetensors", state)
    loaded = load_weights(tmp_path / "w.safetensors")
    assert loaded.keys() == state.keys()
    assert all(np.array_equal(loaded[key], state[key]) for key in state)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_torch_state_dict_is_read(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    assert np.array_equal(load_weights(tmp_path / "w.pth")["a"], np.ones(2, np.float32))


class Evil:
    def __reduce__(self):
        return (os.system, ("touch pwned",))


def test_pickled_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Evil(), tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth: not a plain state dict"):
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
def test_unusable_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such weights file"):
        load_weights(tmp_path / "none.safetensors")
