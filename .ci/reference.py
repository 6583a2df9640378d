# SPDX-License-Identifier: Apache-2.0
"""Writes the pages of docs/ that follow from the code: `python .ci/reference.py`. A test compares them with it."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import typer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from letvins_ros import cli  # noqa: E402
from letvins_ros.config import Config  # noqa: E402
from letvins_ros.config_params import Parameter, own_parameters, subsections  # noqa: E402

ROS = ROOT / "letvins_ros" / "ros"
NODES = {  # and the files that make their topics
    "feature_tracker": ("feature_tracker.py", "camera_input.py"),
    "vio": ("vio.py", "vio_output.py", "robot.py"),
    "loop_closure": ("loop_closure.py",),
    "dataset_player": ("dataset_player.py",),
    "autopilot": ("autopilot.py",),
}
MADE = {"advertise": "publishes", "subscribe": "subscribes", "poll": "subscribes", "serve": "serves"}
QUALITIES = {
    "OUTPUT": "reliable, keep last 10",
    "LATCHED": "reliable, latched",
    "STATIC": "reliable, latched",
    "TF": "best effort, keep last 200",
    "": "",
}
DIAGRAM = re.compile(r"(<!-- diagram of imports -->\n).*?(<!-- end -->\n)", re.DOTALL)
ROOMS = {  # of the diagram, and the parts in each
    "Commands and nodes": ("cli", "ros"),
    "Whole runs": ("pipeline", "second_opinion", "selftest", "show_tracks"),
    "Algorithms": ("tracking", "estimation", "loop", "examination"),
    "Data and results": ("datasets", "sensors", "repairs", "simulation", "evaluation"),
    "Learned parts": ("inference", "networks", "weights"),
}
ROS_INTRODUCTION = (
    "Written from the code by `.ci/reference.py`. `cam{i}` is `cam0` to `cam3`, as many as the rig has. Sensor data are"
    " best effort unless `ros.reliable_input` is set. Names are relative to the node's namespace, unless they begin"
    " with `/`, and can be remapped. Every node is a lifecycle node with the [parameters of the"
    " configuration](configuration.md) and `autostart`; until it is active it publishes only `/diagnostics`."
)
KEYS_INTRODUCTION = (
    "Written from the code by `.ci/reference.py`. A key is changed by `--set KEY=VALUE`, in a [configuration"
    " file](../configuration.md), or as a parameter of the nodes; those marked * also while the nodes run."
)


class Topic(NamedTuple):
    """A topic or service of a node, as the code makes it."""

    does: str  # publishes, subscribes or serves
    name: str
    kind: str  # package/Type
    quality: str


def topics(node: str) -> list[Topic]:
    """What a node publishes, subscribes to and serves, read from its source."""
    found = {topic for file in NODES[node] for topic in _topics_of(ROS / file)}
    found.add(Topic("publishes", "/diagnostics", "diagnostic_msgs/DiagnosticArray", QUALITIES["OUTPUT"]))
    return sorted(found, key=lambda topic: (list(MADE.values()).index(topic.does), topic.name, topic.kind))


def _topics_of(path: Path) -> Iterator[Topic]:
    tree = ast.parse(path.read_text())
    packages = {
        alias.name: (node.module or "").removesuffix(".msg").removesuffix(".srv")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith((".msg", ".srv"))
        for alias in node.names
    }
    assigned = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr == "hear_images":
            yield Topic("subscribes", "cam{i}/image_raw", "sensor_msgs/Image", "sensor data, keep last 5")
            yield Topic(
                "subscribes", "cam{i}/image_raw/compressed", "sensor_msgs/CompressedImage", "sensor data, keep last 5"
            )
        elif node.func.attr == "broadcaster":
            yield Topic("publishes", "/tf", "tf2_msgs/TFMessage", "reliable, keep last 100")
        elif node.func.attr in MADE and len(node.args) > 1:
            for kind in _kinds(node.args[0], assigned, packages):
                yield Topic(MADE[node.func.attr], _name(node.args[1]), kind, _quality(node))


def _kinds(node: ast.expr, assigned: dict[str, ast.expr], packages: dict[str, str]) -> list[str]:
    """Message types of the first argument, which may be a variable that holds one of two."""
    if isinstance(node, ast.IfExp):
        return _kinds(node.body, assigned, packages) + _kinds(node.orelse, assigned, packages)
    if isinstance(node, ast.Name) and node.id in assigned:
        return _kinds(assigned[node.id], assigned, packages)
    if isinstance(node, ast.Name):
        return [f"{packages[node.id]}/{node.id}"]
    text = ast.unparse(node)
    return ["px4_msgs/VehicleOdometry"] if text == "self._kind" else [f"tf2_msgs/{text.rpartition('.')[2]}"]


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return _constants()[node.id]
    if isinstance(node, ast.Call):
        return "cam{i}/camera_info"
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)[2:-1]


@cache
def _constants() -> dict[str, str]:
    """Texts that the modules of the nodes name."""
    found = {}
    for path in ROS.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.Tuple):
                names, values = node.targets[0], ast.literal_eval(node.value) if _is_plain(node.value) else None
                many = isinstance(names, ast.Tuple) and isinstance(values, tuple)
                found |= dict(zip([ast.unparse(n) for n in names.elts], values, strict=True)) if many else {}
                found |= {ast.unparse(names): values} if isinstance(values, str) else {}
    return found


def _is_plain(node: ast.expr) -> bool:
    return all(isinstance(part, ast.Constant | ast.Tuple | ast.Load) for part in ast.walk(node))


def _quality(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute) and node.func.attr == "serve":
        return ""
    if len(node.args) < 3 or not isinstance(node.args[-1], ast.Name | ast.Call):
        return QUALITIES["OUTPUT"]
    text = ast.unparse(node.args[-1])
    depth = {"IMU_DEPTH": "1000", "WHEEL_DEPTH": "200"}
    if found := re.search(r"sensor_qos\((\w+)", text):
        return f"sensor data, keep last {depth.get(found[1], found[1])}"
    if found := re.search(r"QoSProfile\(depth=(\w+)", text):
        return f"reliable, keep last {depth.get(found[1], found[1])}"
    return QUALITIES.get(text, QUALITIES["OUTPUT"])


def ros_page() -> str:
    """The interface of the nodes: topics, services, messages."""
    lines = ["# ROS interface", "", ROS_INTRODUCTION, ""]
    for node in NODES:
        lines += [f"## {node}", "", "| | name | type | quality of service |", "|---|---|---|---|"]
        lines += [f"| {t.does} | `{t.name}` | {t.kind} | {t.quality} |" for t in topics(node)]
        lines.append("")
    for folder in ("msg", "srv"):
        for path in sorted((ROOT / folder).glob(f"*.{folder}")):
            lines += [f"## letvins_ros/{folder}/{path.stem}", "", "```text", path.read_text().strip(), "```", ""]
    return "\n".join(lines)


def configuration_page() -> str:
    """Every key of the configuration."""
    tree = ast.parse((ROS / "params.py").read_text())
    dynamic = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DYNAMIC"
    )
    lines = ["# Configuration keys", "", KEYS_INTRODUCTION, ""]
    lines += ["## General", "", *_table(own_parameters(Config), dynamic), ""]
    for name, section in subsections(Config).items():
        lines += [f"## {name}", "", (section.__doc__ or "").strip(), ""]
        lines += [*_table(own_parameters(section, f"{name}."), dynamic), ""]
    return "\n".join(lines)


def _table(parameters: dict[str, Parameter], dynamic: tuple[str, ...]) -> list[str]:
    rows = ["| key | default | unit | allowed | meaning |", "|---|---|---|---|---|"]
    for name, p in parameters.items():
        default = f"`{str(p.default).lower() if p.kind is bool else p.default}`" if p.default != "" else "empty"
        mark = " *" if name in dynamic else ""
        rows.append(f"| `{name}`{mark} | {default} | {p.unit} | {p.rule} | {p.meaning} |")
    return rows


def command_page() -> str:
    """Every command with its options."""
    lines = [
        "# Commands",
        "",
        "Written from the code by `.ci/reference.py`; `letvins COMMAND --help` says the same.",
        "",
    ]
    for path, command in _commands(typer.main.get_command(cli.app), "letvins"):
        words = [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]
        lines += [f"## {' '.join([path, *words])}", "", command.help or "", ""]
        rows = [(_option(p), (getattr(p, "help", "") or "").replace("|", "\\|")) for p in command.params]
        rows = [(name, meaning) for name, meaning in rows if meaning]
        lines += ["| | |", "|---|---|", *(f"| `{name}` | {meaning} |" for name, meaning in rows), ""] if rows else []
    return "\n".join(lines)


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _option(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper()
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return ", ".join([*reversed(parameter.opts), *parameter.secondary_opts]) + value


def architecture_page() -> str:
    """The page as it is, with the diagram drawn anew."""
    text = (ROOT / "docs/architecture.md").read_text()
    return DIAGRAM.sub(lambda match: match[1] + imports_diagram() + match[2], text)


def imports_diagram() -> str:
    """Which part imports which, for mermaid; an arrow that others imply is left out."""
    graph = part_imports()
    lines = ["```mermaid", "flowchart TD"]
    for i, (name, parts) in enumerate(ROOMS.items()):
        lines += [f'  subgraph room{i}["{name}"]', *(f"    {part}" for part in parts), "  end"]
    for part in (part for parts in ROOMS.values() for part in parts):
        further = {far for near in graph[part] for far in _reached(near, graph)}
        lines += [f"  {part} --> {near}" for near in sorted(graph[part] - further)]
    return "\n".join([*lines, "```", ""])


def part_imports() -> dict[str, set[str]]:
    """The parts of the diagram that each part imports."""
    parts = [part for parts in ROOMS.values() for part in parts]
    graph: dict[str, set[str]] = {part: set() for part in parts}
    for part in parts:
        folder = ROOT / "letvins_ros" / part
        for path in [*folder.rglob("*.py"), *([folder.with_suffix(".py")] if not folder.is_dir() else [])]:
            names = re.findall(r"^\s*(?:from|import) letvins_ros\.(\w+)", path.read_text(), re.MULTILINE)
            graph[part] |= {name for name in names if name in graph and name != part}
    return graph


def _reached(part: str, graph: dict[str, set[str]]) -> set[str]:
    return graph[part] | {far for near in graph[part] for far in _reached(near, graph)}


PAGES = {
    "docs/architecture.md": architecture_page,
    "docs/reference/commands.md": command_page,
    "docs/reference/configuration.md": configuration_page,
    "docs/reference/ros.md": ros_page,
}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (ROOT / page).parent.mkdir(exist_ok=True)
        (ROOT / page).write_text(text())
