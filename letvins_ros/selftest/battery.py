# SPDX-License-Identifier: Apache-2.0
"""Runs the odometry under each disturbance, and judges what it says of itself."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.table import Table

from letvins_ros.config import Config
from letvins_ros.evaluation.metrics import nees, rms
from letvins_ros.evaluation.record import RunRecord
from letvins_ros.evaluation.run_metrics import Comparison, compare
from letvins_ros.pipeline import RunOptions, run_dataset
from letvins_ros.selftest.disturbances import DISTURBANCES
from letvins_ros.selftest.recording import Disturbance, Recording, flight
from letvins_ros.types import VioStatus

SIGMAS = 5.0  # an error so many times its own standard deviation
TIMES_CLEAN = 3.0  # and so many times the largest of the undisturbed run is wrong
WARNED_WITHIN_S = 3.0


@dataclass(frozen=True)
class Outcome:
    """What a run under a disturbance gave."""

    name: str
    ate_m: float | None
    largest_m: float | None  # distance from the truth, aligned at the start of each segment
    nees: float | None  # of position, mean
    tracking: float  # share of the frames
    resets: int
    silently_wrong: float  # share of the frames that are wrong, called tracking, with no warning before or soon after
    warnings: tuple[str, ...]  # codes

    def to_dict(self) -> dict[str, object]:
        """For a JSON file."""
        return asdict(self)


def run_battery(
    names: Sequence[str], config: Config, duration_s: float, seed: int, tell: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run the undisturbed flight, then each disturbance of these names; after Ctrl-C those outcomes that there are."""
    simulation, outcomes, limit_m = flight(duration_s, seed), list[Outcome](), np.inf
    todo: list[tuple[str, Disturbance]] = [("undisturbed", lambda _: None)]
    for name, disturb in [*todo, *((name, DISTURBANCES[name]) for name in names)]:
        recording = Recording(simulation)
        disturb(recording)
        run = run_dataset(recording, config, RunOptions(loop=False), lambda done, total: None)
        if run.record.interrupted:
            break
        outcome = judged(name, run.record, compare(run.record, recording.truth), limit_m)
        if not outcomes and outcome.largest_m is not None:
            limit_m = TIMES_CLEAN * outcome.largest_m
        outcomes.append(outcome)
        tell(outcome)
    return outcomes


def judged(name: str, record: RunRecord, comparison: Comparison | None, limit_m: float) -> Outcome:
    """The outcome of a run whose errors may be so large, m."""
    status = {frame.stamp_ns: frame.status for frame in record.frames}
    tracking = sum(one is VioStatus.TRACKING for one in status.values()) / max(len(record.frames), 1)
    codes = tuple(sorted({str(warning["code"]) for warning in record.warnings}))
    resets = len(record.resets())
    if comparison is None:
        return Outcome(name, None, None, None, tracking, resets, 0.0, codes)
    error_m = np.linalg.norm(comparison.drift.position, axis=1)
    off = nees(comparison.drift.position, comparison.covariances[:, 0])
    wrong = (error_m > limit_m) & (off > 3 * SIGMAS**2)
    wrong &= np.array([status[stamp] is VioStatus.TRACKING for stamp in comparison.estimate.stamps_ns.tolist()])
    seconds = (comparison.estimate.stamps_ns - record.frames[0].stamp_ns) * 1e-9
    first_s = min((float(warning["since_s"]) for warning in record.warnings), default=np.inf)
    silent = wrong & (seconds < first_s - WARNED_WITHIN_S)
    return Outcome(
        name=name,
        ate_m=rms(np.linalg.norm(comparison.absolute.position, axis=1)),
        largest_m=float(error_m.max()),
        nees=float(off.mean()),
        tracking=tracking,
        resets=resets,
        silently_wrong=float(silent.sum() / max(len(record.frames), 1)),
        warnings=codes,
    )


def battery_table(outcomes: Iterable[Outcome]) -> Table:
    """All outcomes, one a row."""
    table = Table("disturbance", "ATE m", "largest m", "NEES", "tracking", "resets", "silently wrong", "warnings")
    for one in outcomes:
        ate, largest, off = (f"{v:.3g}" if v is not None else "-" for v in (one.ate_m, one.largest_m, one.nees))
        share = f"[red]{one.silently_wrong:.0%}[/red]" if one.silently_wrong else "0 %"
        table.add_row(
            one.name, ate, largest, off, f"{one.tracking:.0%}", str(one.resets), share, ", ".join(one.warnings)
        )
    return table
