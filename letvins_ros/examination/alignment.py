# SPDX-License-Identifier: Apache-2.0
"""The gyro against the rotation from images: delay, axes and scale that make them agree best."""

from dataclasses import dataclass

import numpy as np

from letvins_ros.types import ImuSamples

MOST_LAG_S, LAG_STEP_S = 0.2, 0.01
LEAST_INTERVALS = 20
SAMPLE_GAP_S = 0.06  # intervals near a gap of the readings are left out
CORRELATED = 2.0  # errors of neighbouring frames are alike (same features): sigmas are that much larger


@dataclass(frozen=True, eq=False)
class Turns:
    """Rotations from images."""

    start_ns: np.ndarray  # (K,) int64, IMU clock by the calibration
    end_ns: np.ndarray  # (K,)
    rate: np.ndarray  # (K, 3) rad/s, body axes by the calibration


@dataclass(frozen=True, eq=False)
class Alignment:
    """image rate = scale R (gyro rate at the time + lag - bias), with how well each is known."""

    intervals: int
    correlation: float  # of the two series at the best lag
    lag_s: float
    lag_sigma_s: float
    lag_gain: float  # sigmas by which the lag explains the images better than none, whatever the axes
    axes_gain: float  # and by which other axes explain them better than the calibration's, whatever the lag
    R_body_imu: np.ndarray  # (3, 3) takes the gyro's axes to those of the calibration
    angle_sigma_rad: float  # of its least known axis
    scale: float
    scale_sigma: float
    image_rms: float  # rad/s, of the rate about its mean
    gyro_rms: float


def align(turns: Turns, samples: ImuSamples) -> Alignment | None:
    """Compare the two series; None where there is too little of them, or no motion at all."""
    if len(samples) < 3:
        return None
    lags = np.arange(-MOST_LAG_S, MOST_LAG_S + 1e-9, LAG_STEP_S)
    chosen = _covered(turns, samples.stamps_ns)
    if chosen.sum() < LEAST_INTERVALS:
        return None
    turns = Turns(turns.start_ns[chosen], turns.end_ns[chosen], turns.rate[chosen])
    angle = _integrated(samples)
    rates = _mean_rates(turns, samples.stamps_ns, angle, lags)
    image = turns.rate
    keep = np.ones(len(image), bool)
    for _ in range(2):
        a, b = _centred(image[keep]), _centred(rates[:, keep])
        if not (np.square(a).sum() > 0 and np.square(b).sum((1, 2)).min() > 0):
            return None
        lag = _best(lags, _correlations(a, b))
        b = _centred(_mean_rates(turns, samples.stamps_ns, angle, np.array([lag]))[0], keep)
        R, scale = _rotation(a, b[keep])
        residual = _centred(image, keep) - scale * b @ R.T
        size = np.linalg.norm(residual, axis=1)
        keep = size < max(4 * float(np.median(size)), 1e-9)
    return _described(turns, samples, (lag, R, scale), keep, _rivals(_centred(image[keep]), _centred(rates[:, keep])))


def _rivals(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Correlations of image rates a (K, 3) with b (L, K, 3): at lag zero by the best axes, and at the best lag as is.

    Slow motion is nearly the same a little later, or about another axis; then these are as good as the best of all.
    """
    same = np.einsum("ki,lki->l", a, b) / np.sqrt(np.square(a).sum() * np.square(b).sum((1, 2)))
    return float(_correlations(a, b[len(b) // 2][None])[0]), float(same.max())


def _gain(best: float, rival: float, intervals: int) -> float:
    """By how many sigmas a fit of this correlation is more likely than one of the rival's (likelihood ratio)."""
    unexplained = max(1 - max(rival, 0.0) ** 2, 1e-12) / max(1 - best**2, 1e-12)
    return float(np.sqrt(3 * intervals * max(np.log(unexplained), 0.0)) / CORRELATED)


Fit = tuple[float, np.ndarray, float]  # lag in s, R_body_imu, scale


def _described(turns: Turns, samples: ImuSamples, fit: Fit, keep: np.ndarray, rivals: tuple[float, float]) -> Alignment:
    """The fit with its sigmas, from what is left over between the series."""
    lag, R, scale = fit
    around = _mean_rates(turns, samples.stamps_ns, _integrated(samples), lag + np.array([-0.01, 0.0, 0.01]))
    before, b, after = (_centred(rate, keep)[keep] for rate in around)
    a = _centred(turns.rate, keep)[keep]
    fitted = scale * b @ R.T
    sigma = CORRELATED * np.sqrt(np.square(a - fitted).sum() / (3 * len(a)))
    turning = np.linalg.eigvalsh(np.square(fitted).sum() * np.eye(3) - fitted.T @ fitted)[0]
    power = np.square(fitted).sum()
    correlation = float((a * fitted).sum() / np.sqrt(np.square(a).sum() * power))
    return Alignment(
        intervals=len(a),
        correlation=correlation,
        lag_gain=_gain(correlation, rivals[0], len(a)),
        axes_gain=_gain(correlation, rivals[1], len(a)),
        lag_s=lag,
        lag_sigma_s=float(sigma / max(scale * np.linalg.norm(after - before) / 0.02, 1e-12)),
        R_body_imu=R,
        angle_sigma_rad=float(sigma / np.sqrt(max(turning, 1e-12))),
        scale=scale,
        scale_sigma=float(scale * sigma / np.sqrt(max(power, 1e-12))),
        image_rms=float(np.sqrt(np.square(a).sum() / len(a))),
        gyro_rms=float(np.sqrt(np.square(b).sum() / len(b))),
    )


def _covered(turns: Turns, stamps_ns: np.ndarray) -> np.ndarray:
    """Which intervals (K,) bool have readings around them at every lag, without a gap."""
    margin = int((MOST_LAG_S + 0.02) * 1e9)
    gaps = np.concatenate([[0], np.cumsum(np.diff(stamps_ns) > SAMPLE_GAP_S * 1e9)])
    first = np.searchsorted(stamps_ns, turns.start_ns - margin, side="right") - 1
    last = np.searchsorted(stamps_ns, turns.end_ns + margin)
    inside = (first >= 0) & (last < len(stamps_ns))
    return np.asarray(inside & (gaps[np.minimum(last, len(gaps) - 1)] == gaps[np.maximum(first, 0)]))


def _integrated(samples: ImuSamples) -> np.ndarray:
    """Angles (N, 3) rad that the gyro has summed up to each reading."""
    dt = np.diff(samples.stamps_ns)[:, None] * 1e-9
    return np.concatenate([np.zeros((1, 3)), np.cumsum((samples.gyro[1:] + samples.gyro[:-1]) / 2 * dt, axis=0)])


def _mean_rates(turns: Turns, stamps_ns: np.ndarray, angle: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Mean rates (L, K, 3) rad/s of the gyro in the intervals, that much later."""
    origin = stamps_ns[0]
    known = (stamps_ns - origin) * 1e-9
    start = (turns.start_ns - origin) * 1e-9 + lags[:, None]
    end = (turns.end_ns - origin) * 1e-9 + lags[:, None]
    change = [np.interp(end, known, angle[:, i]) - np.interp(start, known, angle[:, i]) for i in range(3)]
    return np.asarray(np.stack(change, axis=-1) / (end - start)[..., None])


def _centred(rate: np.ndarray, keep: np.ndarray | None = None) -> np.ndarray:
    """Rates without their mean, which a bias moves."""
    return np.asarray(rate - (rate if keep is None else rate[keep]).mean(axis=-2, keepdims=True))


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation (L,) of rates a (K, 3) and b (L, K, 3) under the best rotation between them (Kabsch 1976)."""
    cross = np.swapaxes(b, 1, 2) @ a
    values = np.linalg.svd(cross, compute_uv=False)
    values[:, 2] *= np.sign(np.linalg.det(cross))
    return np.asarray(values.sum(1) / np.sqrt(np.square(a).sum() * np.square(b).sum((1, 2))))


def _best(lags: np.ndarray, correlation: np.ndarray) -> float:
    """The lag of the largest correlation, by a parabola through its neighbours."""
    i = int(correlation.argmax())
    if i in (0, len(lags) - 1):
        return float(lags[i])
    left, top, right = correlation[i - 1 : i + 2]
    curve = left - 2 * top + right
    return float(lags[i] + (0.5 * (left - right) / curve if curve < 0 else 0.0) * LAG_STEP_S)


def _rotation(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
    """R (3, 3) and scale that best give a = scale R b."""
    u, values, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return (u * sign) @ vt, float((values * sign).sum() / np.square(b).sum())
