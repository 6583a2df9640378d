# SPDX-License-Identifier: Apache-2.0
import re
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from letvins_ros.calibration import ImuNoise, MountedCamera, Rig, rig_to_dict
from letvins_ros.camera import Camera
from letvins_ros.config import Config, EstimatorConfig, TrackerConfig
from letvins_ros.config_io import load_config, to_yaml
from letvins_ros.config_params import Parameter, Section, parameters
from letvins_ros.errors import ConfigError

from .some import some

KNOWN = parameters(Config)


def written(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text)
    return path


def another_value(parameter: Parameter) -> Any:
    """A value that is allowed but not the default."""
    if parameter.kind is bool:
        return not parameter.default
    if parameter.choices:
        return parameter.choices[-1] if parameter.choices[-1] != parameter.default else parameter.choices[0]
    if parameter.name == "ros.T_base_imu":
        return "1, 2, 3, 0, 0, 0, 1"
    if parameter.name in ("loop.gnss_datum", "loop.gnss_antenna"):
        return "47.5, 8.5, 400"
    if parameter.kind is str:
        return "some: text # with 'signs'"
    value: Any = parameter.default * 2 or 1
    return parameter.low if parameter.high is not None and value > parameter.high else value


def rig() -> Rig:
    camera = Camera("pinhole-radtan", 640, 480, (400.0, 401.0, 320.5, 240.25), (0.1, -1e-5, 0.0, 2e-7))
    T_right = np.eye(4)
    T_right[0, 3] = 0.1
    return Rig(
        (MountedCamera(camera, np.eye(4)), MountedCamera(camera, T_right, 0.002)), ImuNoise(1e-4, 2e-3, 2e-5, 3e-3)
    )


def test_default_yaml_is_what_the_tree_says(root: Path) -> None:
    assert (root / "config" / "default.yaml").read_text() == to_yaml(Config()), (
        "letvins config show > config/default.yaml"
    )


@pytest.mark.parametrize("name", KNOWN)
def test_a_default_keeps_its_own_rule_and_has_a_meaning(name: str) -> None:
    parameter = KNOWN[name]
    assert parameter.convert(parameter.default) == parameter.default
    assert type(parameter.default) is parameter.kind
    assert parameter.meaning


def test_every_field_is_a_parameter_a_section_or_the_rig() -> None:
    def unknown(section: Any, prefix: str = "") -> list[str]:
        found = []
        for f in fields(section):
            name = prefix + f.name
            if isinstance(f.type, type) and issubclass(f.type, Section):
                found += unknown(f.type, f"{name}.")
            elif name not in KNOWN and name != "rig":
                found.append(name)
        return found

    assert unknown(Config) == []


@pytest.mark.parametrize("name", KNOWN)
def test_a_changed_value_survives_writing_and_reading(name: str, tmp_path: Path) -> None:
    value = another_value(KNOWN[name])
    path = written(tmp_path, yaml.safe_dump({"/**": {"ros__parameters": {name: value}}}))
    config = load_config(path)
    assert config != Config()
    assert load_config(written(tmp_path, to_yaml(config))) == config


def test_a_shipped_configuration_loads_and_holds_only_what_ros_accepts(root: Path) -> None:
    def check(value: object) -> None:
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            for v in value.values():
                check(v)
        elif isinstance(value, list):  # ROS wants lists that are flat, not empty and of one type
            assert len({type(v) for v in value}) == 1
            assert isinstance(value[0], bool | int | float | str)
        else:
            assert isinstance(value, bool | int | float | str)

    paths = sorted(
        p for p in (root / "config").rglob("*.yaml") if p.parent.name not in ("benchmark", "nav2", "robot_localization")
    )
    assert len(paths) >= 4
    for path in paths:
        load_config(path)
        tree = yaml.safe_load(path.read_text())
        assert list(tree) == ["/**"]
        assert list(tree["/**"]) == ["ros__parameters"]
        check(tree["/**"]["ros__parameters"])


def test_the_euroc_calibration_is_that_of_the_recordings(root: Path, shared_data: Path) -> None:
    from letvins_ros.calibration import read_euroc_rig

    shipped = some(load_config(root / "config" / "euroc" / "stereo_imu.yaml").rig)
    assert rig_to_dict(shipped) == rig_to_dict(read_euroc_rig(shared_data / "euroc_mh01_clip"))


def test_a_rig_survives_writing_and_reading(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, to_yaml(replace(Config(), rig=rig()))))
    assert rig_to_dict(some(config.rig)) == rig_to_dict(rig())


def test_the_rig_comes_from_the_data_unless_the_file_holds_one() -> None:
    assert load_config().rig is None


def test_what_is_set_beats_the_file_and_the_file_beats_the_default(tmp_path: Path) -> None:
    path = written(tmp_path, "/**:\n  ros__parameters:\n    seed: 3\n    tracker: {max_features: 50, quality: 0.5}\n")
    config = load_config(path, ["tracker.quality=1e-3"])
    assert (config.seed, config.tracker.max_features, config.tracker.quality) == (3, 50, 0.001)
    assert config.estimator == EstimatorConfig()


@pytest.mark.parametrize("text", ["", "/**:\n", "/**:\n  ros__parameters:\n", "tracker:\n", "# nothing\n"])
def test_an_empty_file_means_the_defaults(text: str, tmp_path: Path) -> None:
    assert load_config(written(tmp_path, text)) == Config()


@pytest.mark.parametrize("text", ["tracker: letnet2", "tracker: {method: letnet2}", "tracker.method: letnet2"])
def test_a_method_can_be_given_for_its_section(text: str, tmp_path: Path) -> None:
    assert load_config(written(tmp_path, text)).tracker.method == "letnet2"
    assert load_config(None, ["tracker=letnet2"]).tracker.method == "letnet2"


def test_an_integer_stands_for_a_number_but_not_the_reverse() -> None:
    quality = load_config(None, ["tracker.quality=1"]).tracker.quality
    assert quality == 1.0
    assert type(quality) is float
    with pytest.raises(ConfigError, match=r"^tracker.max_features must be an integer from 10 to 2000, got 50.5$"):
        load_config(None, ["tracker.max_features=50.5"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("tracker.max_feature=50", "unknown key tracker.max_feature; known: max_features, "),
        ("max_features=50", "unknown key max_features; known: tracker.max_features"),
        ("trakcer.quality=0.1", "unknown key trakcer.quality; known: tracker.quality"),
        ("mod=stereo", "unknown key mod; known: mode, "),
        ("camera0.modle=a", "unknown key camera0.modle; known: model, "),
        ("tracker.max_features={a: 1}", "unknown key tracker.max_features.a; known: "),
        ("estimator=3", "estimator is a section and takes no value; known: estimator.window_keyframes, "),
        ("mode=mono", "mode must be one of stereo_imu, mono_imu, stereo, got 'mono'"),
        ("tracker.max_features=9", "tracker.max_features must be an integer from 10 to 2000, got 9"),
        ("tracker.max_features=true", "tracker.max_features must be an integer from 10 to 2000, got True"),
        ("tracker.max_features=", "tracker.max_features must be an integer from 10 to 2000, got ''"),
        ("tracker.max_features=~", "tracker.max_features must be an integer from 10 to 2000, got nothing"),
        ("tracker.max_features=[50]", "tracker.max_features must be an integer from 10 to 2000, got [50]"),
        ("tracker.quality=.nan", "tracker.quality must be a number from 1e-06 to 1, got nan"),
        ("estimator.robust_factor=.inf", "estimator.robust_factor must be a number from 0.5 to 100, got inf"),
        ("tracker.gyro_prediction=1", "tracker.gyro_prediction must be true or false, got 1"),
        ("tracker.weights=3", "tracker.weights must be a string, got 3"),
        ("tracker", "--set wants dotted.key=value, got 'tracker'"),
        ("tracker=[", "--set tracker=[ line 1: not valid YAML: "),
        ("camera0.width=640", "camera0: "),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_name_and_rule(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(message)) as caught:
        load_config(None, [setting])
    assert "\n" not in str(caught.value)


def test_all_problems_are_told_at_once_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "sed: 1\ntracker: {quality: 2, max_features: x}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["mode=mono"])
    assert str(caught.value).startswith(f"{path}: unknown key sed")
    assert [part.split()[0] for part in str(caught.value).split(" | ")][1:] == [
        "tracker.quality",
        "tracker.max_features",
        "mode",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: [1\n", "c.yaml line 3: not valid YAML"),
        (b"a: 1\n\tb: 1\n", "c.yaml line 2: not valid YAML"),
        (b"seed: 1\ntracker:\n  quality: 0.1\nseed: 2\n", "c.yaml line 4: not valid YAML: key 'seed' given twice"),
        (b"seed: !!python/object:os.system {}\n", "c.yaml line 1: not valid YAML"),
        (b"- 1\n", "c.yaml: must hold keys and values, got list"),
        (b"just text\n", "c.yaml: must hold keys and values, got str"),
        (b"\x89PNG\xff", "c.yaml: not a text file"),
        (b"seed: \x01\n", "c.yaml: not valid YAML"),
        (b"seed: 2026-13-45\n", "c.yaml: not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_config(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: No such file or directory"):
        load_config(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match=": Is a directory"):
        load_config(tmp_path)


def test_a_section_with_a_value_out_of_bounds_cannot_be_made() -> None:
    with pytest.raises(ConfigError, match="max_features must be an integer from 10 to 2000, got 1"):
        TrackerConfig(max_features=1)
    with pytest.raises(ConfigError, match="mode must be one of"):
        replace(Config(), mode="mono")


@pytest.mark.parametrize("value", ["1" * 400, "-9223372036854775809", "1e400", ".nan"])
def test_a_number_that_no_parameter_can_hold_is_refused(value: str) -> None:
    for key in ("seed", "tracker.max_features"):
        with pytest.raises(ConfigError, match=key):
            load_config(None, [f"{key}={value}"])


def test_of_very_many_problems_the_first_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("".join(f"unknown_{i}: 1\n" for i in range(5000)))
    before = time.process_time()
    with pytest.raises(ConfigError, match=r"unknown_19.*and perhaps more"):
        load_config(tmp_path / "a.yaml")
    assert time.process_time() - before < 5
