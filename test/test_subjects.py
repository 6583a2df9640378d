# SPDX-License-Identifier: Apache-2.0
"""`make lint` refuses a commit with a long subject, in clones of any depth."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[1] / ".ci/subjects"


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, subject: str) -> str:
    """The hash of a new, empty commit."""
    git(folder, "commit", "-q", "--allow-empty", "-m", subject)
    return git(folder, "rev-parse", "HEAD")


def long_ones(folder: Path, since: str) -> list[str]:
    """The subjects that the check names; it fails where there is one."""
    (folder / ".ci").mkdir(exist_ok=True)
    shutil.copy(CHECK, folder / ".ci")
    done = subprocess.run([folder / ".ci/subjects", since], check=False, capture_output=True, text=True)
    *named, remedy = done.stderr.splitlines() or [""]
    assert done.returncode == ("remedy" in remedy) == bool(named)
    return [line.partition(" ")[2] for line in named]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    if not shutil.which("git"):
        pytest.skip("needs git")
    git(tmp_path, "init", "-q", "-b", "main", "history")
    commit(tmp_path / "history", "before the rule " + "x" * 60)
    return tmp_path / "history"


def test_a_subject_since_the_commit_has_at_most_sixty_characters(history: Path) -> None:
    since = git(history, "rev-parse", "HEAD")
    assert long_ones(history, since) == []
    commit(history, "ä" * 60)
    assert long_ones(history, since) == []
    commit(history, "ä" * 61)
    commit(history, "short")
    assert long_ones(history, since) == ["ä" * 61]


def test_subjects_of_merges_are_written_by_machines(history: Path) -> None:
    since = git(history, "rev-parse", "HEAD")
    git(history, "switch", "-q", "-c", "side")
    commit(history, "on the side")
    git(history, "switch", "-q", "main")
    git(history, "merge", "-q", "--no-ff", "-m", "Merge " + "x" * 60, "side")
    assert long_ones(history, since) == []


@pytest.mark.parametrize(("subject", "named"), [("x" * 60, []), ("x" * 61, ["x" * 61])])
def test_a_shallow_clone_is_checked_as_far_as_it_goes(history: Path, subject: str, named: list[str]) -> None:
    since = git(history, "rev-parse", "HEAD")
    commit(history, subject)
    git(history.parent, "clone", "-q", "--depth", "1", history.as_uri(), "clone")
    assert long_ones(history.parent / "clone", since) == named


def test_another_history_or_none_is_not_checked(history: Path, tmp_path: Path) -> None:
    assert long_ones(history, since="1" * 40) == []
    (tmp_path / "archive").mkdir()
    assert long_ones(tmp_path / "archive", since="1" * 40) == []
