# SPDX-License-Identifier: Apache-2.0
from typing import Any, Literal

import pytest

from letvins_ros.errors import ConfigError
from letvins_ros.keys import check_keys, fits, kind_text


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, int, True), (1, float, True), (1.0, int, False), (True, int, False), (True, float, False),
        (True, bool, True), (1, bool, False), ("a", str, True), (None, str, False), ([1], (int, list), True),
        ("a", (int, list), False), ("a", Literal["a", "b"], True), ("c", Literal["a", "b"], False), ({}, Any, True),
    ],
)  # fmt: skip
def test_a_value_fits_its_kind(value: object, kind: Any, expected: bool) -> None:
    assert fits(value, kind) is expected


def test_kinds_are_told_in_words() -> None:
    assert kind_text((int, list)) == "an integer or a list"
    assert kind_text(Literal["a", "b"]) == "one of a, b"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"^parts\[0\] must be a mapping of keys, got \[\]$"),
        ({"nmae": "a"}, r"^unknown key parts\[0\]\.nmae; known: name, size$"),
        ({"name": 3}, r"^parts\[0\]\.name must be a string, got 3$"),
        ({"size": 1.5}, r"^parts\[0\]\.name is missing$"),
        ({"name": ""}, r"^parts\[0\]\.name is missing$"),
    ],
)
def test_a_wrong_mapping_is_named_by_its_key(content: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_keys(content, "parts[0].", {"name": str, "size": float}, ["name"])
