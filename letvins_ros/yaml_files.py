# SPDX-License-Identifier: Apache-2.0
"""Reading YAML safely: nothing is constructed but plain values."""

import re
from pathlib import Path
from typing import Any

import yaml

from letvins_ros.errors import ConfigError
from letvins_ros.reading import ending

MAX_CHARACTERS = 500_000  # takes seconds
MAX_VALUES = 100_000
_BAD_VALUES = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)  # such as of !!int x


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 as ROS does, as a number, and OpenCV's matrices as the mappings they are; refuses repeated keys."""

    allows_repeated_keys = False


class _LenientLoader(_Loader):
    """Of a repeated key the last one counts."""

    allows_repeated_keys = True


def load_yaml(path: Path, lenient: bool = False) -> dict[Any, Any]:
    """The mapping that a file holds, empty for an empty file; ConfigError with file and line where there is none.

    lenient: accept what other programs write: a `%YAML:1.0` line, tabs, repeated keys and bytes that are not UTF-8.
    """
    try:
        text = ending(path).read_text(encoding="utf-8-sig", errors="replace" if lenient else "strict")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file") from None
    content = parse_yaml(re.sub(r"(?m)^%YAML.*$", "", text).replace("\t", " ") if lenient else text, str(path), lenient)
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold keys and values, got {type(content).__name__}")
    return content or {}


def parse_yaml(text: str, where: str, lenient: bool = False) -> Any:
    """The value that a text holds; ConfigError with `where` and the line where it is not valid."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{where}: {len(text)} characters, at most {MAX_CHARACTERS} are read")
    try:
        return _construct(text, _LenientLoader if lenient else _Loader)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{where}{line}: not valid YAML: {error.problem}") from None
    except RecursionError:
        raise ConfigError(f"{where}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, *_BAD_VALUES) as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


def _construct(text: str, kind: type[_Loader]) -> Any:
    """The value of a text; raises what PyYAML does."""
    loader = kind(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {MAX_VALUES} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node has, those of an alias each time; `known` holds those of nodes that were counted.

    Raises ConstructorError for an alias within what it stands for.
    """
    if id(node) not in known:
        known[id(node)] = 0
        inner = [one for pair in node.value for one in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_values(one, known) for one in inner if isinstance(one, yaml.Node))
    elif known[id(node)] == 0:
        raise yaml.constructor.ConstructorError(None, None, "an alias within what it stands for", node.start_mark)
    return known[id(node)]


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[object, object]:
    found: dict[object, object] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float) or (key in found and not loader.allows_repeated_keys):
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} given twice or no text", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


for _tag in ("map", "opencv-matrix"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
