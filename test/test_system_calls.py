# SPDX-License-Identifier: Apache-2.0
"""What reaches the system: no name is asked for, nothing leaves the machine, nothing is written but results and caches.

strace sees what Python's audit hook (test_quiet) does not: other programs and libraries that are no Python.
"""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from .command import ROOT, letvins_command
from .domains import own_domain
from .needs import needs_torch
from .some import some

NETWORK, WRITES = "%network", ("open", "creat", "mkdir", "rename", "link", "symlink", "truncate")
CALLS = [NETWORK, "open", "openat", "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat"]
ADDRESS = re.compile(r'port=htons\((\d+)\), .*(?:inet_addr\("([^"]+)"|inet_pton\(AF_INET6, "([^"]+)")')
DNS = (53, 853, 5353)  # ports
HERE = ("127.", "::1", "239.255.0.")  # the last is DDS's discovery


def can_trace() -> bool:
    """Whether system calls can be traced here, which some containers forbid."""
    strace = shutil.which("strace")
    return strace is not None and not subprocess.run([strace, "-qq", "-e", "none", "true"], check=False).returncode


needs_trace = pytest.mark.skipif(not can_trace(), reason="strace is not installed, or may not trace")


def traced(tmp_path: Path, *arguments: object) -> list[str]:
    """Run `letvins` with a new home; the lines of strace that a user would not expect of it."""
    home, log = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    others = ("XDG_", "MPL", "CI", "ROS_LOG", "COVERAGE_")  # the last: a tracer of lines writes files of its own
    env = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    env |= {"HOME": str(home), "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    env["PYTHONPATH"] = f"{ROOT}:{env.get('PYTHONPATH', '')}"
    command = ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "4096", "-e", f"trace={','.join(CALLS)}", "-o", log]
    command += letvins_command(*arguments)
    done = subprocess.run(list(map(str, command)), env=env, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = log.read_text(errors="replace").splitlines()
    assert any(call_of(line) == "openat" and "O_CREAT" in line for line in told), "the trace saw nothing"
    return [line for line in told if leaves(line) or writes_elsewhere(line, tmp_path)]


def call_of(line: str) -> str:
    return some(re.match(r"\d+ +(\w*)", line))[1]


def leaves(line: str) -> bool:
    """Whether another machine is spoken to, or a name is asked for."""
    found = ADDRESS.search(line)
    return found is not None and call_of(line) in ("connect", "sendto", "sendmsg", "sendmmsg") and (
        int(found[1]) in DNS or not (found[2] or found[3]).startswith(HERE)
    )  # fmt: skip


def writes_elsewhere(line: str, tmp_path: Path) -> bool:
    """Whether something is written outside of the folder and of the caches in the home folder below it."""
    call = call_of(line)
    if not call.startswith(WRITES) or " = -1 " in line:
        return False
    if call in ("open", "openat") and not re.search("O_(WRONLY|RDWR|CREAT|TMPFILE)", line):
        return False
    paths = [Path(os.path.normpath(tmp_path / text)) for text in re.findall(r'"([^"]*)"', line)]
    home, system = tmp_path / "home", (Path("/dev"), Path("/proc"))
    return not all(
        any(path.is_relative_to(place) for place in system)
        or "__pycache__" in path.parts
        or path in (home, tmp_path)
        or path.is_relative_to(home / ".cache")
        or (path.is_relative_to(tmp_path) and not path.is_relative_to(home))
        for path in paths
    )


def test_a_trace_is_read_as_it_should(tmp_path: Path) -> None:
    bad = [
        '7 connect(5, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0',
        '7 connect(5, {sa_family=AF_INET6, sin6_port=htons(443), x=0, inet_pton(AF_INET6, "2001:db8::1", &a)}) = -1',
        '7 sendto(5, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.7")}, 16) = 1',
        '7 openat(AT_FDCWD, "/etc/motd", O_WRONLY|O_CREAT, 0666) = 3',
        f'7 mkdir("{tmp_path}/home/.intel", 0777) = 0',
        f'7 rename("{tmp_path}/a", "../a") = 0',
    ]
    fine = [
        '7 sendto(5, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(7412), sin_addr=inet_addr("239.255.0.1")}, 16) = 1',
        '7 bind(5, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("0.0.0.0")}, 16) = 0',
        '7 openat(AT_FDCWD, "/etc/motd", O_RDONLY) = 3',
        f'7 mkdir("{tmp_path}/home/.cache/x", 0777) = 0',
        '7 openat(AT_FDCWD, "/etc/motd", O_WRONLY|O_CREAT, 0666) = -1 EACCES (Permission denied)',
        '7 rename("out/a", "out/b") = 0',
        "7 exit_group(0) = ?",
    ]
    assert [line for line in bad + fine if leaves(line) or writes_elsewhere(line, tmp_path)] == bad


@needs_trace
def test_a_run_writes_its_results_and_speaks_to_nobody(recording: Path, tmp_path: Path) -> None:
    run = ("run", recording, "-o", "out", "--duration", "1", "--set", f"loop.save_map={tmp_path / 'a.map'}")
    assert traced(tmp_path, *run) == []
    assert (tmp_path / "a.map").is_file()


@needs_trace
@needs_torch
def test_an_export_writes_its_files_and_speaks_to_nobody(tmp_path: Path) -> None:
    assert traced(tmp_path, "export", "letnet2", "out/n.xml", "--size", "96x64") == []


@needs_trace
@pytest.mark.skipif(find_spec("rclpy") is None, reason="rclpy is not installed")
def test_the_nodes_speak_by_dds_alone_and_write_bag_and_map(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(own_domain()))
    up = ("up", "--dataset", recording, "--record", "bag", "--save-map", "a.map")
    assert traced(tmp_path, *up) == []
    assert (tmp_path / "a.map").is_file()
    assert (tmp_path / "bag" / "metadata.yaml").is_file()
