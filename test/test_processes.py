# SPDX-License-Identifier: Apache-2.0
"""The check of what is left must see what it is there for."""

import subprocess
import sys
import time

import pytest

from .processes import left_after


@pytest.mark.parametrize("work", ["import time; time.sleep(60)", "while True: pass"])
def test_a_process_that_lives_on_is_told_after_its_time(work: str) -> None:
    with subprocess.Popen([sys.executable, "-c", work]) as process:
        began = time.monotonic()
        assert left_after(0.5, lambda: [process.pid] * (process.poll() is None)) == [process.pid]
        assert time.monotonic() - began >= 0.5
        process.kill()
        assert not left_after(0.5, lambda: [process.pid] * (process.poll() is None))
