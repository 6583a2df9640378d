# SPDX-License-Identifier: Apache-2.0
import os
import socket
from pathlib import Path

import pytest

from letvins_ros.reading import ending


def test_a_file_a_folder_and_the_output_of_a_command_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").symlink_to("a")
    for path in (tmp_path, tmp_path / "a", tmp_path / "b"):
        assert ending(path) is path
    out, into = os.pipe()
    os.write(into, b"of a command")
    os.close(into)
    assert ending(Path(f"/dev/fd/{out}")).read_text() == "of a command"
    os.close(out)


def test_what_may_never_end_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name, kind in (("pipe", "a named pipe"), ("link", "a named pipe"), ("socket", "a socket")):
            with pytest.raises(OSError, match=f"is {kind}, not a file"):
                ending(tmp_path / name)
    with pytest.raises(OSError, match="is a device, not a file"):
        ending(Path("/dev/zero"))
    with pytest.raises(FileNotFoundError):
        ending(tmp_path / "none")
