# SPDX-License-Identifier: Apache-2.0
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


def test_what_other_programs_write_is_read_leniently(tmp_path):
    (tmp_path / "a.yaml").write_bytes(FOREIGN)
    assert load_yaml(tmp_path / "a.yaml", lenient=True) == {"a": 2, "M": {"rows": 1, "data": [1.0, 2.0]}}
    with pytest.raises(ConfigError, match=r"a\.yaml: not a text file"):
        load_yaml(tmp_path / "a.yaml")


def test_an_error_names_the_line_of_the_file(tmp_path):
    (tmp_path / "a.yaml").write_text("%YAML:1.0\na: 1\nb: [\n")
    with pytest.raises(ConfigError, match=r"a\.yaml line 4: not valid YAML"):
        load_yaml(tmp_path / "a.yaml", lenient=True)


def test_numbers_are_read_as_ros_does():
    assert parse_yaml("[1e-3, 1E5, 1.5e3, 1, on]", "here") == [0.001, 1e5, 1500.0, 1, True]


@pytest.mark.parametrize("text", ["!!python/object/apply:os.getcwd []", "!!python/name:os.system"])
def test_nothing_but_plain_values_is_constructed(text):
    with pytest.raises(ConfigError, match="here line 1: not valid YAML: could not determine a constructor"):
        parse_yaml(text, "here")
    with pytest.raises(ConfigError, match="here line 1: not valid YAML: could not determine a constructor"):
        parse_yaml(text, "here", lenient=True)
