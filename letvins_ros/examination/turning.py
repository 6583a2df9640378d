# SPDX-License-Identifier: Apache-2.0
"""What the gyro against the rotation from images tells: units, axes, mount, scale and clocks."""

import numpy as np

from letvins_ros.examination.alignment import MOST_LAG_S, Alignment
from letvins_ros.examination.finding import Finding
from letvins_ros.geometry import log_so3

SURE = 6.0  # sigmas; with a check each second over hours, 5 would be reached by chance
TURNING = 0.05  # rad/s, least motion that is judged at all
ALIKE = 0.8  # correlation from which the two series are of one motion
UNLIKE = 0.4  # and below which they are not, with so much motion that noise explains nothing
LEAST_ANGLE_RAD = np.radians(1.0)  # a mount: 8 px at 460 px focal length, several times the trackers' threshold
RIGHT_ANGLE_RAD = np.radians(12.0)  # so near to an exchange of axes, it is one
LEAST_LAG_S = 0.006  # at 1 rad/s and 460 px this shifts a feature by 3 px, twice the outlier threshold
LEAST_SCALE = 0.03  # a focal length or gyro is calibrated several times better
MANY = 60  # intervals; a few smooth seconds may differ from anything
DEGREES = np.pi / 180


def turning_findings(fit: Alignment, since_s: float) -> list[Finding]:
    """Findings of a comparison; empty where the motion does not suffice to be sure."""
    if fit.image_rms < TURNING:
        return []
    numbers = {"correlation": fit.correlation, "intervals": fit.intervals}
    if fit.correlation < ALIKE:
        if fit.correlation > UNLIKE or fit.image_rms < 2 * TURNING or fit.intervals < MANY:
            return []
        text = (
            f"gyro and images turn differently: correlation {fit.correlation:.2f} at the best delay and axes,"
            f" {fit.image_rms:.2f} rad/s by images, {fit.gyro_rms:.2f} by the gyro"
        )
        return [Finding("gyro_disagrees", text, since_s, numbers)]
    found = [*_scale(fit, since_s, numbers), *_axes(fit, since_s, numbers), *_lag(fit, since_s, numbers)]
    return found


def _scale(fit: Alignment, since_s: float, numbers: dict[str, float]) -> list[Finding]:
    scale, sigmas = fit.scale, abs(fit.scale - 1) / max(fit.scale_sigma, 1e-12)
    if abs(scale - 1) < LEAST_SCALE or sigmas < SURE:
        return []
    numbers = {**numbers, "scale": scale, "sigmas": sigmas}
    if 0.8 < scale / DEGREES < 1.25:
        text = f"the gyro's readings are {1 / scale:.1f} times the rate from images: degrees per second, not rad/s"
        return [Finding("gyro_in_degrees", text, since_s, numbers)]
    text = f"the images turn {scale:.2f} +- {fit.scale_sigma:.2f} times as far as the gyro"
    return [Finding("gyro_scale", text, since_s, numbers)]


def _axes(fit: Alignment, since_s: float, numbers: dict[str, float]) -> list[Finding]:
    angle = float(np.linalg.norm(log_so3(fit.R_body_imu)))
    sigmas = min(angle / max(fit.angle_sigma_rad, 1e-12), fit.axes_gain)
    if angle < LEAST_ANGLE_RAD or sigmas < SURE:
        return []
    degrees, sigma = np.degrees(angle), np.degrees(fit.angle_sigma_rad)
    numbers = {**numbers, "angle_deg": degrees, "sigmas": sigmas}
    exchange = nearest_exchange(fit.R_body_imu)
    off = float(np.linalg.norm(log_so3(fit.R_body_imu @ exchange.T)))
    if angle > 2 * RIGHT_ANGLE_RAD and off < RIGHT_ANGLE_RAD:
        text = f"the IMU's axes are not the calibration's: its x, y, z are the body's {axes_of(exchange)}"
        return [Finding("imu_axes", text, since_s, numbers)]
    axis = log_so3(fit.R_body_imu) / angle
    about = ", ".join(f"{value:.2f}" for value in axis)
    text = (
        f"IMU and left camera are turned by {degrees:.1f} +- {sigma:.1f} degrees against the calibration,"
        f" about ({about}) of the body"
    )
    return [Finding("imu_mount", text, since_s, numbers)]


def nearest_exchange(R: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) next to R that exchanges axes or their signs."""
    best = np.eye(3)
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        for signs in np.array(np.meshgrid(*[[1.0, -1.0]] * 3)).reshape(3, -1).T:
            candidate = np.eye(3)[list(order)] * signs[:, None]
            if np.linalg.det(candidate) > 0 and np.trace(candidate.T @ R) > np.trace(best.T @ R):
                best = candidate
    return best


def axes_of(exchange: np.ndarray) -> str:
    """Which axes of the body the IMU's x, y, z are, such as "y, -x, z"."""
    words = []
    for column in exchange.T:
        i = int(np.abs(column).argmax())
        words.append(f"{'-' if column[i] < 0 else ''}{'xyz'[i]}")
    return ", ".join(words)


def _lag(fit: Alignment, since_s: float, numbers: dict[str, float]) -> list[Finding]:
    lag, sigmas = fit.lag_s, min(abs(fit.lag_s) / max(fit.lag_sigma_s, 1e-12), fit.lag_gain)
    if abs(lag) < LEAST_LAG_S or sigmas < SURE or abs(lag) > 0.95 * MOST_LAG_S:
        return []
    late = "late" if lag < 0 else "early"
    text = (
        f"the images' stamps are {abs(lag) * 1e3:.1f} +- {fit.lag_sigma_s * 1e3:.1f} ms {late} against the IMU's:"
        f" add {lag:+.4f} s to time_offset_s of the cameras"
    )
    return [Finding("time_offset", text, since_s, {**numbers, "lag_s": lag, "sigmas": sigmas})]
