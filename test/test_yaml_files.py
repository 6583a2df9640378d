# SPDX-License-Identifier: Apache-2.0
import time
from pathlib import Path

import pytest

from letvins_ros.errors import ConfigError
from letvins_ros.yaml_files import load_yaml, parse_yaml

FOREIGN = b"""%YAML:1.0
a: 1e-3  # \xe9, as an old editor writes it
a: 2
M: !!opencv-matrix
\trows: 1
\tdata: [ 1., 2. ]
"""


def test_what_other_programs_write_is_read_leniently(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(FOREIGN)
    assert load_yaml(tmp_path / "a.yaml", lenient=True) == {"a": 2, "M": {"rows": 1, "data": [1.0, 2.0]}}
    with pytest.raises(ConfigError, match=r"a\.yaml: not a text file"):
        load_yaml(tmp_path / "a.yaml")


def test_an_error_names_the_line_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("%YAML:1.0\na: 1\nb: [\n")
    with pytest.raises(ConfigError, match=r"a\.yaml line 4: not valid YAML"):
        load_yaml(tmp_path / "a.yaml", lenient=True)


def test_numbers_are_read_as_ros_does() -> None:
    assert parse_yaml("[1e-3, 1E5, 1.5e3, 1, on]", "here") == [0.001, 1e5, 1500.0, 1, True]


@pytest.mark.parametrize("text", ["!!python/object/apply:os.getcwd []", "!!python/name:os.system"])
def test_nothing_but_plain_values_is_constructed(text: str) -> None:
    with pytest.raises(ConfigError, match="here line 1: not valid YAML: could not determine a constructor"):
        parse_yaml(text, "here")
    with pytest.raises(ConfigError, match="here line 1: not valid YAML: could not determine a constructor"):
        parse_yaml(text, "here", lenient=True)


def _bomb(levels: int, width: int = 10, kind: str = "list") -> str:
    """Aliases of aliases: few bytes that stand for width ** levels values."""
    lines = ["a0: &a0 [1, 2]" if kind == "list" else "a0: &a0 {k: 1}"]
    for i in range(1, levels):
        inner = (f"*a{i - 1}" if kind == "list" else f"k{j}: *a{i - 1}" for j in range(width))
        lines.append(f"a{i}: &a{i} " + ("[%s]" if kind == "list" else "{%s}") % ", ".join(inner))
    return "\n".join(lines)


@pytest.mark.parametrize("kind", ["list", "mapping"])
def test_aliases_that_stand_for_very_many_values_are_refused_at_once(kind: str) -> None:
    before = time.process_time()
    with pytest.raises(ConfigError, match="its aliases stand for more than 100000 values"):
        parse_yaml(_bomb(9, kind=kind), "x.yaml")
    assert time.process_time() - before < 2
    assert len(parse_yaml(_bomb(4, kind=kind), "x.yaml")["a3"]) == 10


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: &a [*a]", "line 1: not valid YAML: an alias within what it stands for"),
        ("a: " + "[" * 5000, "not valid YAML: nested too deeply"),
        ("a: " + "1" * 500_000, "500003 characters, at most 500000 are read"),
        ("a: !!timestamp x", "not valid YAML"),
        ("a: !!bool x", "not valid YAML"),
        ("a: !!int ''", "not valid YAML"),
        ("a: " + "1" * 10_000, "not valid YAML"),
        ("a: \0", "not valid YAML: unacceptable character"),
    ],
)
def test_yaml_that_no_configuration_holds_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"x\\.yaml.*{complaint}") as caught:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(caught.value)
