# SPDX-License-Identifier: Apache-2.0
"""Memory of a process."""

import resource
from pathlib import Path


def peak_rss_mb() -> float:
    """Peak memory of this process, MB."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:  # getrusage would count a parent's memory from before exec
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
