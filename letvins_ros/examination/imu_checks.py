# SPDX-License-Identifier: Apache-2.0
"""What IMU readings tell by themselves: units, axes that do not change, range, gaps and rate."""

import numpy as np

from letvins_ros.calibration import TYPICAL_IMU, ImuNoise
from letvins_ros.examination.finding import Finding
from letvins_ros.types import ImuSamples

LEAST_READINGS = 20
LEAST_G, MOST_G = 0.7, 1.3  # m/s^2: gravity's share of the median force in g; no body falls that nearly free for long
WEIGHTLESS = 3.0  # m/s^2: 0.3 g as median over a second, twice, is a fall of several metres
NOISY_GYRO, NOISY_ACCEL = 1e-4, 3e-3  # rad/s, m/s^2: less than the noise of any MEMS sensor, more than of exact data
TURNING = 0.05  # rad/s: far above the noise of rates from images, so a gyro at rest contradicts them
PLATEAU = 4  # equal readings in a row at the largest value: noise makes that rare, twice over
PLATEAUS = 3
LEAST_GAP_S, GAP_PERIODS = 0.1, 10  # the estimator bridges less
HELD_S, LEAST_HELD = 0.3, 10  # so long and so many equal readings in a row: noise alone makes each of them unlike
SPIKE_GYRO, SPIKE_ACCEL = 1.0, 10.0  # rad/s, m/s^2: no body turns or pushes so much more for one reading only
SPIKE_TIMES = 8.0  # the usual change from one reading to the next
SPIKES = 3
NAMES = "xyz"


def unit_findings(samples: ImuSamples, since_s: float) -> list[Finding]:
    """Units of the accelerometer, by the median force over a second or two: gravity is most of it on any vehicle."""
    if len(samples) < LEAST_READINGS or not np.ptp(samples.accel, axis=0).any():
        return []
    force = float(np.median(np.linalg.norm(samples.accel, axis=1)))
    numbers = {"median_force": force}
    if LEAST_G < force < MOST_G:
        text = f"accelerations of {force:.2f} look like g, m/s^2 are needed (about 9.81 at rest)"
        return [Finding("accel_in_g", text, since_s, numbers)]
    if force < WEIGHTLESS:
        text = f"the median force is {force:.2f} m/s^2, but a body that does not fall feels about 9.81"
        return [Finding("accel_without_gravity", text, since_s, numbers)]
    return []


def stuck_findings(samples: ImuSamples, image_rate: np.ndarray, since_s: float) -> list[Finding]:
    """Axes that give one value while others of the same device have noise, and the body turns.

    image_rate (3,): root mean square of the rate from images about the body's axes, rad/s.
    """
    if len(samples) < LEAST_READINGS:
        return []
    gyro, accel = _noise(samples.gyro), _noise(samples.accel)
    noisy = {"gyro": gyro > NOISY_GYRO, "accel": accel > NOISY_ACCEL}
    stuck = {"gyro": ~np.ptp(samples.gyro, axis=0).astype(bool), "accel": ~np.ptp(samples.accel, axis=0).astype(bool)}
    turns = {"gyro": image_rate > TURNING, "accel": np.full(3, np.linalg.norm(image_rate) > TURNING)}
    physical = noisy["gyro"].any() or noisy["accel"].any()
    found = []
    for sensor, name in (("gyro", "gyro"), ("accel", "accelerometer")):
        if not (physical and (stuck[sensor] & turns[sensor]).any()):
            continue
        axes = stuck[sensor]
        which = ", ".join(f"{axis} {v:g}" for axis, v, s in zip(NAMES, _last(samples, sensor), axes, strict=True) if s)
        rate = float(np.linalg.norm(image_rate))
        text = f"the {name} gives one value ({which}) while the images turn by {rate:.2f} rad/s (root mean square)"
        found.append(Finding(f"{sensor}_stuck", text, since_s, {"axes": int(axes.sum()), "image_rate": rate}))
    return found


def _last(samples: ImuSamples, sensor: str) -> np.ndarray:
    return np.asarray(getattr(samples, sensor)[-1])


def _noise(values: np.ndarray) -> np.ndarray:
    """White noise (3,) of readings (N, 3), from their second differences, in which motion is small."""
    return np.asarray(np.abs(np.diff(values, 2, axis=0)).mean(0) * np.sqrt(np.pi / 2 / 6))


def held(samples: ImuSamples) -> np.ndarray:
    """Which readings (N,) bool belong to a stretch in which gyro or accelerometer repeat one value on all axes."""
    inside = np.zeros(len(samples), bool)
    for values in (samples.gyro, samples.accel):
        same = (np.diff(values, axis=0) == 0).all(1)
        for begin, end in _stretches(same).tolist():  # readings begin to end are equal
            long_s = (samples.stamps_ns[end] - samples.stamps_ns[begin]) * 1e-9
            inside[begin + 1 : end + 1] |= long_s > HELD_S and end - begin >= LEAST_HELD
    return inside


def held_findings(samples: ImuSamples, image_rate: np.ndarray, since_s: float) -> list[Finding]:
    """A sensor with noise that gives one value for a while, although the body turns."""
    mask = held(samples)
    if (~mask).sum() < LEAST_READINGS or not mask.any() or np.linalg.norm(image_rate) < TURNING:
        return []
    if not (_noise(samples.gyro[~mask]) > NOISY_GYRO).any() or not (_noise(samples.accel[~mask]) > NOISY_ACCEL).any():
        return []
    share = float(mask.mean())
    text = f"gyro or accelerometer repeat one reading ({mask.sum()} of the last {len(mask)}) while the images turn"
    return [Finding("imu_held", text, since_s, {"share": share})]


def spikes(samples: ImuSamples) -> np.ndarray:
    """Which readings (N,) bool are far from both of their neighbours, which are near to each other."""
    far = np.zeros(len(samples), bool)
    if len(samples) < LEAST_READINGS:
        return far
    for values, least in ((samples.gyro, SPIKE_GYRO), (samples.accel, SPIKE_ACCEL)):
        change = np.diff(values, axis=0)
        limit = np.maximum(least, SPIKE_TIMES * np.median(np.abs(change), axis=0))
        away, back = change[:-1], change[1:]
        alone = (np.abs(away) > limit) & (np.abs(back) > limit) & (away * back < 0)
        far[1:-1] |= (alone & (np.abs(away + back) < np.abs(away) / 2)).any(1)
    return far


def spike_findings(samples: ImuSamples, since_s: float) -> list[Finding]:
    """Single readings that are far off, again and again."""
    count = int(spikes(samples).sum())
    if count < SPIKES:
        return []
    text = f"{count} of {len(samples)} readings are far from those before and after them"
    return [Finding("imu_spikes", text, since_s, {"readings": float(count)})]


def range_findings(samples: ImuSamples, since_s: float) -> list[Finding]:
    """Readings cut off at a largest value: several in a row are exactly equal there, again and again."""
    found = []
    for sensor, unit, noisy in (("gyro", "rad/s", NOISY_GYRO), ("accel", "m/s^2", NOISY_ACCEL)):
        values = getattr(samples, sensor)
        if len(values) < LEAST_READINGS:
            continue
        for i in np.flatnonzero(_noise(values) > noisy):
            for sign in (1, -1):
                cut = sign * values[:, i]
                largest = float(cut.max())
                runs = np.diff(_stretches(cut == largest))[:, 0]
                if (runs >= PLATEAU).sum() >= PLATEAUS and (cut == largest).sum() >= PLATEAU * PLATEAUS:
                    text = f"{sensor} {NAMES[i]} is cut off at {sign * largest:.4g} {unit} in {len(runs)} stretches"
                    found.append(Finding("imu_saturated", text, since_s, {"limit": largest, "stretches": len(runs)}))
    return found[:1]


def _stretches(mask: np.ndarray) -> np.ndarray:
    """Where each stretch of True begins, and where it has ended (M, 2)."""
    return np.flatnonzero(np.diff(np.r_[0, mask.astype(np.int8), 0])).reshape(-1, 2)


def rate_findings(samples: ImuSamples, noise: ImuNoise | None, since_s: float) -> list[Finding]:
    """The rate against the calibration's, where it says one."""
    if noise is None or noise is TYPICAL_IMU or len(samples) < LEAST_READINGS:
        return []
    rate = 1e9 / float(np.median(np.diff(samples.stamps_ns)))
    if 0.8 < rate / noise.rate_hz < 1.25:
        return []
    text = f"{rate:.0f} Hz come in, the calibration says {noise.rate_hz:g} Hz"
    return [Finding("imu_rate", text, since_s, {"rate_hz": rate, "calibrated_hz": noise.rate_hz})]


def gap_findings(samples: ImuSamples, first_ns: int) -> list[Finding]:
    """The longest stretch without readings, where the estimator cannot bridge it."""
    if len(samples) < LEAST_READINGS:
        return []
    steps = np.diff(samples.stamps_ns) * 1e-9
    i = int(steps.argmax())
    if steps[i] < max(LEAST_GAP_S, GAP_PERIODS * float(np.median(steps))):
        return []
    since_s, gap_s = max((int(samples.stamps_ns[i]) - first_ns) * 1e-9, 0.0), float(steps[i])
    return [Finding("imu_gap", f"no IMU readings for {gap_s:.2f} s", since_s, {"gap_s": gap_s})]
