# SPDX-License-Identifier: Apache-2.0
"""Reads, overrides, checks and writes the configuration as a ROS parameter file (`/**: ros__parameters:`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from letvins_ros.calibration import ImuNoise, rig_from_dict, rig_to_dict
from letvins_ros.camera import MAX_CAMERAS
from letvins_ros.config import Config
from letvins_ros.config_params import Parameter, Section, own_parameters, parameters, subsections
from letvins_ros.errors import ConfigError, LetvinsError
from letvins_ros.keys import nearest_first
from letvins_ros.yaml_files import load_yaml, parse_yaml

_CAMERA_KEYS = ("model", "width", "height", "intrinsics", "distortion", "T_body_cam", "time_offset_s", "mask")
_RIG_KEYS = tuple(  # what calibration.rig_from_dict reads
    [f"camera{camera}.{key}" for camera in range(MAX_CAMERAS) for key in _CAMERA_KEYS]
    + [f"imu.{f.name}" for f in fields(ImuNoise)]
)
MAX_PROBLEMS = 20  # that one error names
_HEADER = "/**:\n  ros__parameters:\n"
_S = TypeVar("_S", bound=Section)


def load_config(
    path: Path | None = None, overrides: Sequence[str] = (), values: Mapping[str, object] | None = None
) -> Config:
    """Take the defaults, change them by a file, by texts `dotted.key=value`, then by values of dotted keys.

    Raises ConfigError that holds all problems.
    """
    given = _flatten(_read(path)) if path else {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set wants dotted.key=value, got {text!r}")
        given |= _flatten({key.strip(): parse_yaml(value, f"--set {text}") if value.strip() else ""})
    try:
        return config_from_flat({**given, **(values or {})}, path.parent if path else Path())
    except LetvinsError as error:
        raise ConfigError(f"{path}: {error}" if path else str(error)) from None


def config_from_flat(given: Mapping[str, object], folder: Path = Path()) -> Config:
    """Build the configuration from values by dotted key; a ConfigError lists all problems in one line.

    `tracker: letnet2` is short for `tracker.method: letnet2`; so it is for every section with a method.
    Masks of cameras are found relative to `folder`.
    """
    known = parameters(Config)
    values: dict[str, Any] = {}
    rig: dict[str, Any] = {}  # nested as rig_from_dict reads it
    problems: list[str] = []
    for key, value in given.items():
        if len(problems) == MAX_PROBLEMS:
            raise ConfigError(" | ".join([*problems, "and perhaps more"]))
        name = f"{key}.method" if f"{key}.method" in known else key
        if name in _RIG_KEYS:
            section, _, leaf = name.partition(".")
            rig.setdefault(section, {})[leaf] = value
        elif name not in known:
            problems.append(_unknown(name))
        else:
            try:
                values[name] = known[name].convert(value)
            except ConfigError as error:
                problems.append(str(error))
    if problems:
        raise ConfigError(" | ".join(problems))
    return replace(_build(Config, values), rig=rig_from_dict(rig, folder) if rig else None)


def to_yaml(config: Config) -> str:
    """The configuration as a ROS parameter file, each key followed by its unit, meaning and bounds."""
    lines = [_HEADER, *_section_lines(config, "    ")]
    if config.rig is not None:
        text = yaml.safe_dump(rig_to_dict(config.rig), sort_keys=False, default_flow_style=None, width=120)
        lines += [f"    {line}\n" for line in text.splitlines()]
    return "".join(lines)


def _build(section: type[_S], values: Mapping[str, Any], prefix: str = "") -> _S:
    """Make a section and its subsections from values by dotted name; others keep their defaults."""
    own = {name: values[prefix + name] for name in own_parameters(section) if prefix + name in values}
    inner = {name: _build(kind, values, f"{prefix}{name}.") for name, kind in subsections(section).items()}
    return section(**own, **inner)


def _unknown(name: str) -> str:
    """The error of an unknown key, with the known ones, the most similar first."""
    known = [*parameters(Config), *_RIG_KEYS]
    section, _, leaf = name.rpartition(".")
    inside = [key for key in known if key.startswith(f"{name}.")]
    if inside:
        return f"{name} is a section and takes no value; known: {', '.join(inside)}"
    elsewhere = [key for key in known if key.rpartition(".")[2] == leaf]
    if elsewhere:
        return f"unknown key {name}; known: {', '.join(elsewhere)}"
    prefix = f"{section}." if any(key.startswith(f"{section}.") for key in known) else ""
    here = dict.fromkeys(key.removeprefix(prefix).partition(".")[0] for key in known if key.startswith(prefix))
    wanted = name.removeprefix(prefix).partition(".")[0]
    return f"unknown key {name}; known: {', '.join(nearest_first(wanted, here))}"


def _read(path: Path) -> dict[str, Any]:
    """The tree under `/**: ros__parameters:` of a file, or all of the file without these."""
    tree: Any = load_yaml(path)
    for name in ("/**", "ros__parameters"):
        if isinstance(tree, dict) and name in tree:
            tree = tree[name]
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold keys and values, got {type(tree).__name__}")
    return tree or {}


def _flatten(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key; an empty section has none."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        elif value is not None or f"{prefix}{key}" not in subsections(Config):
            flat[f"{prefix}{key}"] = value
    return flat


def _section_lines(section: Section, indent: str) -> Iterator[str]:
    for name, parameter in own_parameters(type(section)).items():
        yield f"{indent}{name}: {_scalar(getattr(section, name))}  # {_comment(parameter)}\n"
    for name in subsections(type(section)):
        inner = getattr(section, name)
        yield f"{indent}{name}:  # {(type(inner).__doc__ or '').splitlines()[0]}\n"
        yield from _section_lines(inner, indent + "  ")


def _comment(parameter: Parameter) -> str:
    unit = f"[{parameter.unit}] " if parameter.unit else ""
    return f"{unit}{parameter.meaning} ({parameter.rule})"


def _scalar(value: object) -> str:
    text: str = yaml.safe_dump(value, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")
