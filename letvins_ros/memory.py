# SPDX-License-Identifier: Apache-2.0
"""Memory of a process."""

import resource
from pathlib import Path

from letvins_ros.errors import LetvinsError

ADDRESS_SPACE = 2_000_000_000  # bytes that the libraries of a run reserve at most, and use a quarter of


def check_address_space() -> None:
    """Raise LetvinsError where `ulimit -v` leaves too little address space, as native libraries crash without."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= limit < ADDRESS_SPACE:
        raise LetvinsError(
            f"the address space is limited to {limit / 1e9:.2f} GB (`ulimit -v`), {ADDRESS_SPACE / 1e9:g} GB are needed"
        )


def peak_rss_mb() -> float:
    """Peak memory of this process, MB."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:  # getrusage would count a parent's memory from before exec
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
