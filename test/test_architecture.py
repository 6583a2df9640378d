# SPDX-License-Identifier: Apache-2.0
import ast
import shutil
import subprocess
import sys
from collections.abc import Iterable
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

from .command import ROOT
from .some import some

PACKAGE = ROOT / "letvins_ros"
BASE = {
    "__init__", "calibration", "calibration_export", "calibration_files", "camera", "compiling",
    "config", "config_io", "config_params", "contrast", "distortion", "errors", "geodesy", "geometry", "image_files",
    "helper_process", "imu", "keys", "lenses", "matching", "pose_from_landmarks", "processes", "reading", "types",
    "writing", "yaml_files",
}  # fmt: skip
ALLOWED = {  # what each part may import besides itself and the base
    "weights": set(),
    "networks": {"weights"},
    "inference": {"networks", "weights"},
    "tracking": {"inference", "networks"},
    "estimation": set(),
    "examination": set(),
    "loop": {"inference", "networks", "weights"},
    "datasets": set(),
    "sensors": {"datasets"},
    "repairs": {"examination"},
    "second_opinion": {"estimation", "examination", "repairs"},
    "simulation": {"datasets"},
    "evaluation": {"datasets"},
    "pipeline": {
        "datasets",
        "estimation",
        "evaluation",
        "examination",
        "inference",
        "loop",
        "repairs",
        "second_opinion",
        "sensors",
        "tracking",
        "view",
    },
    "view": set(),
    "selftest": {"datasets", "evaluation", "pipeline", "simulation"},
    "run_folder": set(),
    "show_tracks": {"datasets", "evaluation", "tracking"},
    "terminal": set(),
    "cli_files": {"evaluation", "inference", "loop", "terminal", "weights"},
    "cli_process": set(),
    "cli": {
        "cli_files",
        "cli_process",
        "evaluation",
        "pipeline",
        "ros",
        "run_folder",
        "show_tracks",
        "selftest",
        "simulation",
        "terminal",
    },
    "ros": {
        "datasets",
        "estimation",
        "evaluation",
        "examination",
        "loop",
        "repairs",
        "second_opinion",
        "sensors",
        "tracking",
        "view",
    },
}
TRAINING = {  # what each part of training/ may import of it besides itself
    "data": set(),
    "drawing": {"data"},
    "guards": set(),
    "lucas_kanade": set(),
    "metrics": set(),
    "parallel": set(),
    "plots": set(),
    "vocabulary": set(),
    "weights": set(),
    "checkpoints": set(),
    "features": {"data"},
    "losses": {"data", "features"},
    "tasks": {"data", "drawing", "features", "losses", "metrics", "parallel"},
    "recipes": {"data", "drawing", "features", "losses", "lucas_kanade", "parallel", "tasks", "weights"},
    "config": {"recipes"},
    "schedules": {"config"},
    "logs": {"config"},
    "train": {"checkpoints", "config", "data", "guards", "logs", "parallel", "recipes", "schedules", "weights"},
    "adapt": {"data", "drawing", "features"},
    "evaluate": {"tasks"},
    "show": {"data", "drawing", "features", "plots", "tasks"},
}
ROS = ("rclpy", "rosidl_runtime_py", "sensor_msgs", "nav_msgs", "geometry_msgs", "std_msgs", "std_srvs")
HEAVY = (
    "numpy",
    "scipy",
    "cv2",
    "torch",
    "openvino",
    "faiss",
    "gtsam",
    "numba",
    "matplotlib",
    "rosbags",
    "rich",
    "jinja2",
    "yaml",
)
NOT_FOR_TRACKING = ("faiss", "gtsam", "numba", "letvins_ros.estimation", "letvins_ros.loop", "letvins_ros.pipeline")
OPTIONAL = ("torch", "tensorrt", "onnx")  # a module that needs one is left out where it is not installed
SOURCES = sorted(
    path
    for folder in ("letvins_ros", "launch", "training", "test", "examples")
    for path in (ROOT / folder).rglob("*.py")
)


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Full names of what a file imports, wherever in it."""
    return names_imported(path, ast.walk(ast.parse(path.read_text())))


def imports_at_the_top(path: Path) -> set[str]:
    """Full names of what a file imports when it is imported itself, but for what stands under a condition."""
    return names_imported(path, ast.parse(path.read_text()).body)


def names_imported(path: Path, nodes: Iterable[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {some(node.module)}
    return found


def parts_imported(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imports(path) if name.startswith("letvins_ros.")}
    return {name for name in names if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}


def run_fresh(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = part(path)
    allowed = BASE if own in BASE else BASE | ALLOWED[own] | {own}
    assert parts_imported(path) <= allowed


TRAINING_FILES = sorted(path for path in (ROOT / "training").rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", TRAINING_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_of_training_point_one_way(path: Path) -> None:
    own = path.relative_to(ROOT / "training").parts[0].removesuffix(".py")
    names = {name.split(".")[1] for name in imports(path) if name.startswith("training.")}
    assert names <= TRAINING[own] | {own}


def module_imports() -> dict[str, set[str]]:
    """Modules of the package, and those of it that each imports, at its top or within a function."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    graph = {}
    for module, path in paths.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                for name in (f"{node.module}.{alias.name}" for alias in node.names):
                    found.add(some(name if name in paths else node.module))
        graph[module] = found & paths.keys() - {module}
    return graph


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter(module_imports()).prepare()  # raises CycleError with the modules of the cycle


@pytest.mark.parametrize("folder", ["letvins_ros", "training"])
def test_only_the_ros_folder_knows_ros_and_nothing_installed_knows_training_or_tests(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        tops = {name.partition(".")[0] for name in imports(path)}
        if not path.is_relative_to(PACKAGE / "ros"):
            assert not tops & set(ROS), path
        assert "evo" not in tops, path
        if folder == "letvins_ros":
            assert "training" not in tops, path


def test_the_core_needs_no_ros() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
        if part(path) != "ros"
    ]
    code = f"""
import sys
for name in {ROS}:
    sys.modules[name] = None
from importlib import import_module
for module in {modules}:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in {OPTIONAL}:
            raise
print("imported")
"""
    assert run_fresh(code) == "imported\n"


def test_the_command_line_imports_nothing_heavy() -> None:
    code = f"import sys; import letvins_ros.cli; print([name for name in {HEAVY} if name in sys.modules])"
    assert run_fresh(code) == "[]\n"


def test_the_pipeline_imports_no_torch_and_no_plots_and_not_the_pytest_that_gtsam_demands() -> None:
    names = ("torch", "matplotlib", "pytest", "_pytest")
    code = f"import sys; import letvins_ros.pipeline; print([name for name in {names} if name in sys.modules])"
    assert run_fresh(code) == "[]\n"


@pytest.mark.skipif(not find_spec("rclpy") or not find_spec("letvins_ros.msg"), reason="the messages are not built")
def test_the_tracker_node_loads_nothing_of_the_estimator_or_the_loop_closer() -> None:
    loaded = f"[name for name in {NOT_FOR_TRACKING} if name in sys.modules]"
    assert run_fresh(f"import sys; import letvins_ros.ros.feature_tracker; print({loaded})") == "[]\n"


def test_the_tracker_node_needs_no_module_that_loads_the_estimator_or_the_loop_closer() -> None:
    """The same without ROS: what is imported at the top of files, from one to the next."""
    seen, waiting = set(), ["letvins_ros.ros.feature_tracker"]
    while waiting:
        name = waiting.pop()
        base = ROOT.joinpath(*name.split("."))
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if name not in seen and path.is_file():
            waiting += imports_at_the_top(path) | {name.rpartition(".")[0]}
        seen.add(name)
    assert not seen & set(NOT_FOR_TRACKING)
    assert {"letvins_ros.tracking.tracker", "letvins_ros.imu", "numpy"} <= seen


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_its_licence_first(path: Path) -> None:
    assert path.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")


def test_scripts_say_their_licence() -> None:
    for name in (
        "Makefile",
        "CMakeLists.txt",
        ".ci/run",
        ".ci/venv",
        ".ci/colcon",
        ".ci/release",
        ".ci/subjects",
        ".ci/tf2_msgs.cmake",
    ):
        assert "SPDX-License-Identifier: Apache-2.0" in (ROOT / name).read_text(), name


def test_only_the_command_line_prints() -> None:
    for path in PACKAGE.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        prints = any(isinstance(f, ast.Name) and f.id == "print" for f in calls)
        assert not prints or path.name in ("cli.py", "cli_files.py", "cli_process.py"), path


def test_the_version_is_the_same_everywhere() -> None:
    from letvins_ros import __version__

    assert f"<version>{__version__}</version>" in (ROOT / "package.xml").read_text()


def test_nothing_new_lies_at_the_top() -> None:
    known = set(
        "letvins_ros launch config examples msg srv training test package.xml setup.py README.md CMakeLists.txt"
        " pyproject.toml CHANGELOG.md CITATION.cff CONTRIBUTING.md QUALITY_DECLARATION.md SECURITY.md"
        " LICENSE Makefile docs .ci .github .gitignore .pre-commit-config.yaml".split()
    )
    if not (shutil.which("git") and (ROOT / ".git").exists()):
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True, cwd=ROOT)
    assert {line.partition("/")[0] for line in tracked.stdout.splitlines()} <= known
