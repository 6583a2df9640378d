# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from letvins_ros.errors import DataError
from letvins_ros.writing import atomic_path, finish_sets, move_set, sync, to_json, write_atomic

from .some import some


def test_a_file_replaces_the_old_one_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_atomic(path, "old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_until_the_end_the_old_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_text("old")
    with atomic_path(path) as part:
        assert part.name == path.name  # writers look at the ending
        part.write_text("new")
        sync(part)
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_folder_appears_at_the_end(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "out") as part:
        part.mkdir()
        (part / "a").write_text("a")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a").read_text() == "a"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_file_stays_and_nothing_new(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*file/a: (Not a directory|File exists)"):
        write_atomic(tmp_path / "file" / "a", "text")
    with pytest.raises(DataError, match=r"cannot write .*a: No space left on device"), atomic_path(tmp_path / "a"):
        raise OSError(28, "No space left on device")


WRITER = """
import os, signal, sys
from pathlib import Path
from letvins_ros.writing import atomic_path
with atomic_path(Path(sys.argv[1])) as part:
    part.write_text("half")
    if len(sys.argv) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    print(os.listdir(part.parent.parent), flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_is_removed_and_nobody_elses(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("old")
    (tmp_path / ".a-notours1").mkdir()
    assert subprocess.run([sys.executable, "-c", WRITER, path, "die"], check=False).returncode == -9
    (left,) = tmp_path.glob(".a-*.part")
    os.utime(left, (0, 0))
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", WRITER, other], **pipes) as writer:
        seen = some(writer.stdout).readline().decode()
        assert left.name not in seen and ".b-" in seen
        (live,) = tmp_path.glob(".b-*.part")
        os.utime(live, (0, 0))  # slow, but at work
        done = subprocess.run([sys.executable, "-c", WRITER, path], check=True, input=b"", capture_output=True)
        assert live.name in done.stdout.decode()
        writer.communicate(b"")
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", ".a-notours1"}
    assert other.read_text() == "half"


def test_json_has_null_for_what_is_not_finite() -> None:
    assert to_json({"a": [float("nan"), 1.5], "b": {"c": float("inf")}}).split() == (
        '{ "a": [ null, 1.5 ], "b": { "c": null } }'.split()
    )


class Killed(BaseException):
    pass


NEW, OLD = {"net.bin", "net.param", "new"}, {"net.bin", "net.param", "old"}


@pytest.fixture
def two_sets(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with files of a set and one of its own, and those of the next set."""
    folder, part = tmp_path / "out", tmp_path / "part"
    for place, names in ((folder, {*OLD, "own"}), (part, NEW)):
        place.mkdir()
        for name in names:
            (place / name).write_text(place.name)
    return folder, part


def owners(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("[!.]*") if path.name != "own"}


@pytest.mark.parametrize("moment", range(12))
def test_two_sets_of_files_never_stand_side_by_side_and_one_is_kept(
    moment: int, two_sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the process ends: without `last` a set is incomplete, with it all there is belongs to it."""
    folder, part = two_sets
    steps = iter(range(100))

    def until_then(method: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if next(steps) == moment:
                raise Killed
            return method(*arguments, **options)

        return step

    with monkeypatch.context() as patched:
        for method in ("replace", "unlink", "write_text", "rmdir"):
            patched.setattr(Path, method, until_then(getattr(Path, method)))
        if moment < 10:
            with pytest.raises(Killed):
                move_set(part, folder, "net.param", ("old",))
        else:
            move_set(part, folder, "net.param", ("old",))
    left = owners(folder)
    assert len(set(left.values())) <= 1
    assert "net.param" not in left or len(left) == 3
    began = not part.exists()
    assert finish_sets(folder) == (["net.param"] if began and moment < 10 else [])
    assert owners(folder) == (dict.fromkeys(NEW, "part") if began else dict.fromkeys(OLD, "out"))
    assert {path.name for path in folder.iterdir()} == {*owners(folder), "own"}
    assert (folder / "own").read_text() == "out"


def test_the_next_set_finishes_what_a_killed_process_has_left(
    two_sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, part = two_sets
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rmdir", None)
        with pytest.raises(TypeError):
            move_set(part, folder, "net.param", ("old",))
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "net.param").write_text("third")
    move_set(tmp_path / "third", folder, "net.param", ("net.bin", "new"))
    assert {path.name for path in folder.iterdir()} == {"net.param", "own"}
    assert owners(folder) == {"net.param": "third"}


def test_a_single_file_of_a_set_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a").write_text("new")
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(Path, "unlink", None)
    move_set(tmp_path / "part", tmp_path, "a")
    assert (tmp_path / "a").read_text() == "new"
