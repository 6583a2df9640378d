# SPDX-License-Identifier: Apache-2.0
"""Keys and values of configuration files: which are allowed, and what an error says of the others."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args, get_origin

from letvins_ros.errors import ConfigError

MAX_SHOWN = 200  # characters
_WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a mapping of keys",
}


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of a kind: a type (an int is also a float), a tuple of types, or a Literal; others fit."""
    if isinstance(kind, tuple):
        return any(fits(value, one) for one in kind)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is Any or not isinstance(kind, type):
        return True
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def kind_text(kind: Any) -> str:
    """A kind in words."""
    if isinstance(kind, tuple):
        return " or ".join(map(kind_text, kind))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def brief(value: object) -> str:
    """A value as an error shows it: its beginning where it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def nearest_first(name: str, known: Collection[str]) -> list[str]:
    """The known names, the most similar to this one first."""
    return sorted(known, key=lambda key: -difflib.SequenceMatcher(None, name, key).ratio())


def check_keys(content: object, where: str, kinds: Mapping[str, Any], required: Collection[str] = ()) -> dict[str, Any]:
    """Return the mapping if its keys are known, their values of these kinds and no required one is missing or empty.

    Raises ConfigError that names the key, preceded by `where`, such as `sources[0].`.
    """
    if not isinstance(content, dict):
        name = where.rstrip(".: ")
        raise ConfigError(f"{name + ' ' if name else ''}must be a mapping of keys, got {brief(content)}")
    for key, value in content.items():
        if key not in kinds:
            raise ConfigError(f"unknown key {where}{key}; known: {', '.join(nearest_first(str(key), kinds))}")
        if not fits(value, kinds[key]):
            raise ConfigError(f"{where}{key} must be {kind_text(kinds[key])}, got {brief(value)}")
    for key in required:
        if content.get(key) in (None, "", [], {}):
            raise ConfigError(f"{where}{key} is missing")
    return content
