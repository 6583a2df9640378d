# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

from .command import ROOT
from .domains import own_domain

HOLD = "from test.domains import own_domain; print(own_domain(), own_domain(), flush=True); input()"


def test_no_two_processes_have_the_same_domain_at_a_time() -> None:
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = set(other.stdout.readline().split())
        ours = {str(own_domain()) for _ in range(30)}
        other.communicate("\n")
    assert len(theirs) == 2
    assert not theirs & ours
