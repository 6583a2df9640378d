# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest

from letvins_ros.errors import ConfigError
from letvins_ros.evaluation.suite import Configuration, Source, Suite, Tolerance, load_suite

FULL = """
sources:
  - {name: clip, path: data/clip}
  - {name: hall, simulate: {scenario: hall, duration_s: 20, seed: [0, 1, 2]}}
configurations:
  - {name: default}
  - {name: lk, set: {tracker: lk, estimator.window: 8}, config: lk.yaml}
repeats: 2
baseline: base/line.json
tolerance:
  ate_rmse_m: {relative: 0.1}
  total_ms.median: {absolute: 5}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Suite]:
    (tmp_path / "data" / "clip").mkdir(parents=True)
    (tmp_path / "lk.yaml").touch()

    def load(text: str) -> Suite:
        (tmp_path / "suite.yaml").write_text(text)
        return load_suite(tmp_path / "suite.yaml")

    return load


def test_every_key_of_a_suite_is_read(load: Callable[[str], Suite], tmp_path: Path) -> None:
    suite = load(FULL)
    assert suite.sources == (
        Source("clip", tmp_path / "data" / "clip"),
        Source("hall", None, "hall", 20, (0, 1, 2)),
    )
    lk = Configuration("lk", tmp_path / "lk.yaml", {"tracker": "lk", "estimator.window": 8})
    assert suite.configurations == (Configuration("default"), lk)
    assert (suite.repeats, suite.baseline) == (2, tmp_path / "base" / "line.json")
    assert suite.tolerance["ate_rmse_m"] == Tolerance(0.1, 0.0)
    assert suite.tolerance["total_ms.median"] == Tolerance(0.0, 5)
    assert suite.tolerance["coverage"] == Tolerance()


def test_a_suite_of_sources_alone_runs_the_defaults_three_times(load: Callable[[str], Suite]) -> None:
    suite = load("sources: [{name: clip, path: data/clip}]")
    assert suite.configurations == (Configuration("default"),)
    assert (suite.repeats, suite.baseline) == (3, None)
    assert suite.tolerance["ate_rmse_m"] == Tolerance(0.05, 0.005)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sources is missing"),
        ("- 1", "must hold keys and values, got list"),
        ("sources: [", "line 1: not valid YAML"),
        ("repeats: 1", "sources is missing"),
        ("sources: []", "sources is missing"),
        ("sources: clip", "sources must be a list, got 'clip'"),
        ("sources: [clip]", "sources[0] must be a mapping of keys, got 'clip'"),
        ("sources: [{name: a, path: data/clip}]\nrepeat: 1", "unknown key repeat; known: repeats, "),
        ("sources: [{name: a, pth: b}]", "unknown key sources[0].pth; known: path, "),
        ("sources: [{name: a}]", "sources[0].path or sources[0].simulate must be given, and only one"),
        ("sources: [{name: a, path: none}]", "sources[0].path: there is no /"),
        ("sources: [{name: a/b, path: data/clip}]", "sources name 'a/b' must be made of letters"),
        ("sources: [{name: a, path: data}, {name: a, path: data}]", "sources name 'a' is given 2 times"),
        ("sources: [{name: a, simulate: {scenario: hall}}]", "sources[0].simulate.duration_s is missing"),
        (
            "sources: [{name: a, simulate: {scenario: hall, duration_s: 1, seed: x}}]",
            "seed must be an integer or a list",
        ),
        (
            "sources: [{name: a, simulate: {scenario: hall, duration_s: 1, seed: [x]}}]",
            "seed must be an integer or a li",
        ),
        ("sources: [{name: a, path: data}]\nrepeats: 0", "repeats must be from 1 to 10000, got 0"),
        ("sources: [{name: a, path: data}]\nrepeats: 1000000000", "repeats must be from 1 to 10000, got 1000000000"),
        ("sources: [{name: a, path: data}]\nrepeats: 9\nconfigurations: [" + 2000 * "{name: b}, " + "]", "is given"),
        ("sources: [{name: a, path: data}]\ntimeout_s: .nan", "timeout_s must be from 0.01 to 1e+07, got nan"),
        ('sources: [{name: a, path: "a\\0b"}]', "embedded null"),
        ("sources: [{name: a, path: ~nobody-of-this-name/b}]", "sources[0].path"),
        (
            "sources: [{name: a, simulate: {scenario: hall, duration_s: 1, seed: ["
            + ",".join(map(str, range(5000)))
            + "]}}]",
            "15000 runs, a suite may have 10000",
        ),
        ("sources: [{name: a, path: data}]\nrepeats: yes", "repeats must be an integer, got True"),
        ("sources: [{name: a, path: data}]\ntolerance: {ate: {relative: 1}}", "unknown key tolerance.ate; known: "),
        ("sources: [{name: a, path: data}]\ntolerance: {coverage: {rel: 1}}", "unknown key tolerance.coverage.rel"),
        (
            "sources: [{name: a, path: data}]\nconfigurations: [{name: b, set: 3}]",
            "configurations[0].set must be a map",
        ),
    ],
)
def test_a_mistake_is_named_by_its_key_in_one_line(load: Callable[[str], Suite], text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert message in str(caught.value)
    assert "suite.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
