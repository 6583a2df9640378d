# SPDX-License-Identifier: Apache-2.0
"""What a run mends of its own set-up once the self-examination has found it wrong: the run then begins anew."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.config import Config
from letvins_ros.examination import Finding
from letvins_ros.examination.imu_checks import held, spikes
from letvins_ros.types import ImageFrame, ImuSamples

STANDARD_GRAVITY = 9.80665  # m/s^2
EARLY_S = 20.0  # of recording, in which a finding is taken as one of the set-up, true from the first frame on


@dataclass(frozen=True)
class Repairs:
    """How the input differs from what configuration and calibration say."""

    mended: tuple[Finding, ...] = ()  # what was found, and what was done about it
    without_imu: bool = False
    accel_scale: float = 1.0
    gyro_scale: float = 1.0
    without_held: bool = False  # readings that a stuck sensor repeats are left out
    without_spikes: bool = False  # single readings that are far off
    offset_s: float = 0.0  # to be added to the cameras' time_offset_s, and refined
    exchanged: bool = False  # the images of the first pair
    refine_mounts: bool = False

    def after(self, findings: Iterable[Finding], config: Config, rig: Rig) -> "Repairs":
        """These with all that the findings say; the same where there is nothing new to mend."""
        repairs, known = self, {finding.code for finding in self.mended}
        for finding in findings:
            if finding.code in known or finding.code not in _REPAIRS or finding.since_s > EARLY_S:
                continue
            changed = _REPAIRS[finding.code](repairs, finding)
            if changed.without_imu and (config.mode == "stereo" or len(rig.groups[0]) < 2):
                continue  # nothing is left to go on with
            told = replace(finding, message=f"{finding.message}; {changed._said(repairs)}")
            repairs = replace(changed, mended=(*repairs.mended, told))
        return repairs

    def _said(self, before: "Repairs") -> str:
        if self.without_imu and not before.without_imu:
            return "the run goes on in mode stereo"
        return "refined in this run" if self.refine_mounts and not before.refine_mounts else "mended in this run"

    def applied(self, config: Config, rig: Rig) -> tuple[Config, Rig]:
        """The configuration and rig with them."""
        refine = config.estimator
        if self.offset_s:
            refine = replace(refine, estimate_time_offset=True)
            cameras = (replace(c, time_offset_s=c.time_offset_s + self.offset_s) for c in rig.cameras)
            rig = replace(rig, cameras=tuple(cameras))
        if self.refine_mounts:
            refine = replace(refine, estimate_extrinsics=True)
        return replace(config, mode="stereo" if self.without_imu else config.mode, estimator=refine), rig

    def of_imu(self, samples: ImuSamples | None) -> ImuSamples | None:
        """Readings in the right units, without those that are no readings."""
        if samples is not None and (self.without_held or self.without_spikes):
            none = np.zeros(len(samples), bool)
            bad = (held(samples) if self.without_held else none) | (spikes(samples) if self.without_spikes else none)
            samples = ImuSamples(samples.stamps_ns[~bad], samples.gyro[~bad], samples.accel[~bad])
        if samples is None or (self.accel_scale == 1 and self.gyro_scale == 1):
            return samples
        return replace(samples, accel=samples.accel * self.accel_scale, gyro=samples.gyro * self.gyro_scale)

    def of_frame(self, frame: ImageFrame) -> ImageFrame:
        """The frame with each image at its camera."""
        if not self.exchanged:
            return frame
        left, right, *others = frame.images
        return replace(frame, images=(right, left, *others))


def _without_imu(repairs: Repairs, _: Finding) -> Repairs:
    return replace(repairs, without_imu=True)


_REPAIRS: Mapping[str, Callable[[Repairs, Finding], Repairs]] = {
    "accel_in_g": lambda repairs, _: replace(repairs, accel_scale=STANDARD_GRAVITY),
    "accel_scale": lambda repairs, finding: replace(
        repairs, accel_scale=repairs.accel_scale * finding.evidence["scale"]
    ),
    "gyro_in_degrees": lambda repairs, _: replace(repairs, gyro_scale=float(np.radians(1))),
    "time_offset": lambda repairs, finding: replace(repairs, offset_s=finding.evidence["lag_s"]),
    "cameras_exchanged": lambda repairs, _: replace(repairs, exchanged=True),
    "stereo_mount": lambda repairs, _: replace(repairs, refine_mounts=True),
    "imu_mount": lambda repairs, _: replace(repairs, refine_mounts=True),
    "imu_held": lambda repairs, _: replace(repairs, without_held=True),
    "imu_spikes": lambda repairs, _: replace(repairs, without_spikes=True),
    "imu_axes": _without_imu,
    "gyro_stuck": _without_imu,
    "accel_stuck": _without_imu,
    "accel_without_gravity": _without_imu,
    "gyro_disagrees": _without_imu,
}
