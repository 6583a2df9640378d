# SPDX-License-Identifier: Apache-2.0
"""The documents: pages that follow from the code are current, code blocks work, the site builds without a warning."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from letvins_ros.config_io import config_from_flat

from .command import ROOT, environment
from .markdown import code_blocks
from .some import some

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "training/README.md",
    ROOT / "SECURITY.md",
    *(ROOT / "docs").rglob("*.md"),
]
ELSEWHERE = {  # executed by test_extending, or written from the code
    ROOT / "docs/extending.md",
    ROOT / "docs/architecture.md",
    ROOT / "docs/reference/ros.md",
}
OTHERS = (
    "cd",
    "git",
    "source",
    "rosdep",
    "colcon",
    "touch",
    "sudo apt",
    "rosbags-convert",
    "kalibr_",
    "docker",
    "pre-commit install",
    "ray start",
)
ROS2 = ("launch", "service call", "param set", "topic echo", "topic hz", "run", "bag play", "bag record")


def reference() -> ModuleType:
    spec = some(spec_from_file_location("reference", ROOT / ".ci/reference.py"))
    module = module_from_spec(spec)
    some(spec.loader).exec_module(module)
    return module


def blocks(language: str) -> list[Any]:
    """The code blocks of a language, in documents whose blocks nothing else executes."""
    found = []
    for path in DOCUMENTS:
        if path in ELSEWHERE or not path.exists():
            continue
        for i, (given, text) in enumerate(code_blocks(path.read_text())):
            if given == language:
                found.append(pytest.param(text, id=f"{path.relative_to(ROOT)}-{i}"))
    return found


def commands() -> list[Any]:
    return [
        pytest.param(command, id=f"{block.id}: {command[:50]}")
        for block in blocks("")
        for line in block.values[0].replace("\\\n", " ").splitlines()
        for command in (part.partition(" #")[0].strip() for part in line.split("&&"))
        if command
    ]


@pytest.mark.parametrize("page", reference().PAGES)
def test_a_page_written_from_the_code_is_current(page: str) -> None:
    assert (ROOT / page).read_text() == reference().PAGES[page](), "run: python .ci/reference.py"


def test_every_code_block_has_a_language_that_a_test_looks_at() -> None:
    for path in DOCUMENTS:
        if path.exists():
            given = set(re.findall(r"^ *```(\w+)$", path.read_text(), re.M))
            known = {"python", "yaml", "text"} | ({"diff", "mermaid"} if path in ELSEWHERE else set())
            assert given <= known, path


def test_no_code_block_is_written_by_indenting_it() -> None:
    """Such a block would be seen by no test."""
    for path in DOCUMENTS:
        if path.exists():
            outside = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(), flags=re.S | re.M)
            assert not re.search(r"^(?!\s*[-*|]|\s*\d+\.)[^\n]*\n\n {4}\S", outside, re.M), path


@pytest.mark.parametrize("text", blocks("python"))
def test_a_python_block_runs(text: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", text]
    ran = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_yaml_block_holds_keys_that_exist(text: str) -> None:
    given = yaml.safe_load(text)
    if "/**" in given:
        given = given["/**"]["ros__parameters"]
    flat: dict[Any, Any] = {}
    for key, value in given.items():
        flat |= {f"{key}.{leaf}": one for leaf, one in value.items()} if isinstance(value, dict) else {key: value}
    config_from_flat(flat)


@pytest.mark.parametrize("command", commands())
def test_a_command_exists(command: str) -> None:
    """Options of letvins, launch arguments, services and parameters are looked at in test/ros/test_documents.py."""
    first, *others = shlex.split(re.sub(r"[<>]", "", command))
    name = Path(first).name
    if name == "letvins":
        return
    if name == "make":
        targets = some(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M))[1].split()
        assert others[0] in targets
    elif name == "pip":
        assert others[0] == "install"
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        asked = re.findall(r"(?:letvins_ros|\.)\[([\w,]+)\]", command)
        assert {name for names in asked for name in names.split(",")} <= set(extras)
    elif name.startswith("python") and others[:1] == ["-m"]:
        module = find_spec(others[1])
        assert module, others[1]
        if others[1].startswith("training."):
            options = {word.strip("[]-").replace("-", "_") for word in others if word.strip("[").startswith("--")}
            assert all(re.search(rf"\b{option}\b", Path(some(module.origin)).read_text()) for option in options), (
                options
            )
        assert all((ROOT / word).exists() for word in others if word.startswith(("training/", "config/", "test/")))
    elif name.startswith("python"):
        assert (ROOT / others[0]).is_file()
    elif name == "ros2":
        assert " ".join(others).startswith(ROS2)
    else:
        assert command.startswith(OTHERS), f"nothing knows how to check: {command}"


def test_the_readme_has_figures_in_its_results_alone_and_tells_how_they_came_about() -> None:
    """Durations of what `letvins simulate` renders are no measurements."""
    sections = re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.M)
    measured = re.compile(r"(?<![\w.])\d+(\.\d+)?\s?(ms|MB|GB|m|px|Hz|%|°)(?!\w)")
    for section in sections:
        title, _, text = section.partition("\n")
        assert title == "Results" or not measured.search(text), title
        if title == "Results":
            how = text.partition("|")[0]
            assert measured.search(text)
            assert re.search(
                r"\b20\d\d-\d\d-\d\d at commit [0-9a-f]{7}\b.*\(`letvins run SOURCE`\) on 2 cores of an? \w+", how
            )


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    if find_spec("mkdocs") is None or find_spec("mkdocstrings_handlers") is None:
        pytest.skip("mkdocs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / ".ci/mkdocs.yml")]
    env = environment(NO_MKDOCS_2_WARNING="1")
    built = subprocess.run(
        [*command, "-d", str(tmp_path)], check=False, capture_output=True, text=True, env=env, timeout=200
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    pages = {path.name for path in tmp_path.rglob("*.html")}
    assert {"index.html", "estimator.html", "api.html", "training.html", "changelog.html"} <= pages
    assert 'id="letvins_ros.Odometry.process"' in (tmp_path / "reference/api.html").read_text()
