# SPDX-License-Identifier: Apache-2.0
"""What stereo matches tell of the cameras: exchanged, turned against each other, focal lengths, or no match at all."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.examination.finding import Finding
from letvins_ros.geometry import exp_so3, inverse, skew
from letvins_ros.types import Matches

KEPT_FRAMES, A_FRAME, LEAST_MATCHES = 40, 26, 250
NEWEST_FRAMES = 10  # that are judged alone too: a fault that has just begun
STEPS = 5
STARTS = np.log(np.geomspace(1 / 3, 3, 23))  # of the ratio of focal lengths, where the matches are
FAR_OFF_PX = 5.0  # so far from their lines: too far for Gauss-Newton steps from the calibration
SURE = 6.0  # sigmas, as in `turning`
CORRELATED = 2.0  # a feature is matched in several frames with the same error
PLACE_PX = 3.0  # matches nearer to each other than this are one
MOST_PX = 1.5  # matches that no geometry brings nearer to their lines are of something else
LEAST_PX = 2.0  # a mount that shifts matches by so much biases distances, and loses matches at the tracker's threshold
LEAST_OFF_PX = 0.3  # median; corners and lenses leave good calibrations 0.1 to 0.2 px off
APART_PX = 1.0  # all matches of a frame off by so much, now up, now down, with half of it between them at most
LEAST_FOCAL = 0.01  # a focal length is calibrated ten times better
PRIOR = np.array([0.3, 0.3, 0.3, 0.1, 0.1, 1.0])  # rad, rad, and of the logarithm: keeps what is not seen at zero
MOST_AHEAD = 0.3  # share of matches in front of exchanged cameras, and behind right ones
MISSING_FRAMES, LEAST_LOOKED_FOR, FEW = 20, 20, 0.1


@dataclass(frozen=True, eq=False)
class StereoFit:
    """How the right camera would have to be moved for the matches to lie on their epipolar lines."""

    matches: int
    before_px: float  # median distance from the lines as calibrated
    after_px: float  # and with the correction
    turn: np.ndarray  # (3,) rad, of the right camera against the left, in the right camera
    turn_sigma: np.ndarray  # (3,)
    focal: float  # logarithm of the left focal length's ratio to the calibrated one, the right one being right
    focal_sigma: float
    ahead: float  # share of the matches in front of both cameras as calibrated


class StereoExam:
    """Collects matches, and judges them when asked."""

    def __init__(self, left: MountedCamera, right: MountedCamera) -> None:
        self._left, self._right = left, right
        self._T = inverse(right.T_body_cam) @ left.T_body_cam
        self._E = _essential(self._T, np.zeros(6))
        self._pool: deque[np.ndarray] = deque(maxlen=KEPT_FRAMES)
        self._without, self._frames = 0, 0

    def add(self, matches: Matches) -> None:
        """Take a few of a frame's matches."""
        n = matches.stereo_uv.shape[1]
        if matches.looked_for >= LEAST_LOOKED_FOR:
            self._without = self._without + 1 if n < FEW * matches.looked_for else 0
        if n:
            self._frames += 1
            chosen = (np.arange(min(n, A_FRAME)) * n // min(n, A_FRAME) + self._frames) % n  # others in each frame
            self._pool.append(matches.stereo_uv[:, chosen])

    def findings(self, since_s: float) -> list[Finding]:
        """What is wrong with the cameras; empty where the matches are too few to be sure."""
        if self._without >= MISSING_FRAMES:
            return [self._missing(since_s)]
        frames = list(self._pool)
        return self._judged(frames, since_s) or self._judged(frames[-NEWEST_FRAMES:], since_s)

    def _judged(self, frames: list[np.ndarray], since_s: float) -> list[Finding]:
        """What the matches (2, M, 2) px of some frames tell."""
        if not frames:
            return []
        uv = np.concatenate(frames, axis=1).astype(float)
        rays = _rays(self._left, self._right, uv)
        if len(rays[0]) < LEAST_MATCHES or self._fits(*rays):
            return []
        given = fit_stereo(self._left, self._right, uv)
        faults = stereo_faults(given, self._left, since_s) or self._apart_in_time(frames, since_s)
        if given.ahead < MOST_AHEAD or faults:
            swapped = fit_stereo(self._left, self._right, uv[::-1])
            fits = swapped.before_px < MOST_PX and not stereo_faults(swapped, self._left, since_s)
            if fits and swapped.ahead > 1 - MOST_AHEAD:
                return [_exchanged(given, swapped, since_s)]
        return faults

    def _fits(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether most matches (M, 3) are near their lines and in front: then nothing needs to be looked for."""
        near = np.abs(_sampson(self._E, a, b)) < LEAST_OFF_PX / self._right.camera.focal_px
        return float(near.mean()) > 0.5 and float(_ahead(self._T, a, b).mean()) >= MOST_AHEAD

    def _apart_in_time(self, frames: list[np.ndarray], since_s: float) -> list[Finding]:
        """Whether the matches of each frame are off together, by what the body turns between left and right image."""
        errors = [_sampson(self._E, *_rays(self._left, self._right, uv)) for uv in frames]
        errors = [e for e in errors if len(e)]  # beyond a lens, pixels have no direction
        if not errors:
            return []
        off_px = np.array([np.median(e) for e in errors]) * self._right.camera.focal_px
        spread_px = np.array([np.median(np.abs(e - np.median(e))) for e in errors]) * self._right.camera.focal_px
        together, apart = float(np.median(np.abs(off_px))), float(np.median(spread_px))
        if together < APART_PX or apart > together / 2 or abs(np.median(off_px)) > together / 2:
            return []
        text = (
            f"the stereo matches of a frame are {together:.1f} px off their lines together ({apart:.1f} px among them),"
            " other frames otherwise: left and right images are not of one time"
        )
        return [Finding("stereo_disagrees", text, since_s, {"off_px": together, "spread_px": apart})]

    def _missing(self, since_s: float) -> Finding:
        left, right = self._left.camera, self._right.camera
        sizes = f"{left.width}x{left.height} and {right.width}x{right.height}"
        why = f": images of {sizes} are not matched" if (left.width, left.height) != (right.width, right.height) else ""
        text = f"hardly any feature is found in the right images, {self._without} frames in a row{why}"
        return Finding("stereo_missing", text, since_s, {"frames": float(self._without)})


def _exchanged(given: StereoFit, swapped: StereoFit, since_s: float) -> Finding:
    text = (
        f"left and right images are exchanged: {given.ahead:.0%} of {given.matches} matches are in front of the"
        f" cameras, {given.before_px:.1f} px off their lines; {swapped.ahead:.0%} and {swapped.before_px:.1f} px"
        " the other way round"
    )
    numbers = {"ahead": given.ahead, "ahead_exchanged": swapped.ahead, "matches": float(given.matches)}
    return Finding("cameras_exchanged", text, since_s, numbers)


def stereo_faults(fit: StereoFit, left: MountedCamera, since_s: float) -> list[Finding]:
    """Mount and focal lengths, where the matches contradict the calibration and agree with a corrected one."""
    if fit.after_px > MOST_PX or fit.before_px < max(LEAST_OFF_PX, 2 * fit.after_px):
        return []
    numbers = {"before_px": fit.before_px, "after_px": fit.after_px, "matches": float(fit.matches)}
    found = []
    if abs(fit.focal) > max(LEAST_FOCAL, SURE * fit.focal_sigma):
        text = (
            f"the left focal length is {np.exp(fit.focal):.2f} times the calibrated one, or the right one as much"
            f" shorter: stereo matches are {fit.before_px:.1f} px off, {fit.after_px:.1f} px so corrected"
        )
        found.append(Finding("stereo_focal", text, since_s, {**numbers, "ratio": float(np.exp(fit.focal))}))
    sure = np.abs(fit.turn) > np.maximum(LEAST_PX / left.camera.focal_px, SURE * fit.turn_sigma)
    if sure.any() and not found:
        degrees, sigmas = np.degrees(fit.turn), np.degrees(fit.turn_sigma)
        about = ", ".join(f"{d:.2f} +- {s:.2f}" for d, s in zip(degrees, sigmas, strict=True))
        text = f"the cameras are turned against each other by ({about}) degrees about x, y, z of the right one"
        found.append(Finding("stereo_mount", text, since_s, {**numbers, "angle_deg": float(np.linalg.norm(degrees))}))
    return found


def fit_stereo(left: MountedCamera, right: MountedCamera, uv: np.ndarray) -> StereoFit:
    """Fit rotation, direction of the baseline and ratio of focal lengths to matches uv (2, M, 2) px.

    Gauss-Newton with Cauchy weights on Sampson angles.
    """
    T = inverse(right.T_body_cam) @ left.T_body_cam
    first, start = _errors(T, *_rays(left, right, uv), np.zeros(6)), 0.0
    if np.median(np.abs(first)) * right.camera.focal_px > FAR_OFF_PX:
        trials = [_errors(T, *_rays(left, right, uv, start), np.zeros(6)) for start in STARTS]
        start = float(STARTS[np.argmin([np.median(np.abs(trial)) for trial in trials])])
    a, b = _rays(left, right, uv, start)
    x, H = np.zeros(6), np.eye(6)
    scale = sigma = 1.0
    for _ in range(STEPS):
        error = _errors(T, a, b, x)
        J = np.stack([(_errors(T, a, b, x + d) - error) / 1e-5 for d in 1e-5 * np.eye(6)], axis=1)
        scale = max(2 * float(np.median(np.abs(error))), 1e-5)
        weights = 1 / (1 + (error / scale) ** 2)
        sigma = scale / 2 / 0.6745
        H = (J * weights[:, None]).T @ J + np.diag((sigma / PRIOR) ** 2)
        x = x - np.linalg.solve(H, (J * weights[:, None]).T @ error + (sigma / PRIOR) ** 2 * x)
    after = _errors(T, a, b, x)
    places = len(np.unique(np.rint(uv[0] / PLACE_PX), axis=0))  # a camera at rest sees the same again and again
    sigmas = CORRELATED * np.sqrt(len(a) / max(places, 1)) * sigma * np.sqrt(np.diagonal(np.linalg.inv(H)))
    focal_px = right.camera.focal_px
    return StereoFit(
        matches=len(a),
        before_px=float(np.median(np.abs(first)) * focal_px),
        after_px=float(np.median(np.abs(after)) * focal_px),
        turn=x[:3],
        turn_sigma=sigmas[:3],
        focal=start + float(x[5]),
        focal_sigma=float(sigmas[5]),
        ahead=float(_ahead(T, a, b).mean()),
    )


def _errors(T_right_left: np.ndarray, a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Signed Sampson angles (M,) rad under a correction x (6,): rotation, baseline's direction, focal logarithm."""
    narrow = a * np.array([1.0, 1.0, np.exp(x[5])])
    return _sampson(_essential(T_right_left, x), narrow / np.linalg.norm(narrow, axis=1, keepdims=True), b)


def _essential(T_right_left: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The essential matrix (3, 3) under a correction x (6,), whose last number it does not depend on."""
    R, t = exp_so3(x[:3]) @ T_right_left[:3, :3], T_right_left[:3, 3] / np.linalg.norm(T_right_left[:3, 3])
    across = np.linalg.svd(t[None])[2][1:]
    return np.asarray(skew(exp_so3(x[3:5] @ across) @ t) @ R)


def _sampson(E: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Signed Sampson angles (M,) rad of directions (M, 3) of length 1."""
    lines_b, lines_a = a @ E.T, b @ E
    algebraic = (lines_b * b).sum(1)
    slope = (lines_b**2).sum(1) + (lines_a**2).sum(1) - 2 * algebraic**2
    return np.asarray(algebraic / np.sqrt(np.maximum(slope, 1e-12)))


def _rays(
    left: MountedCamera, right: MountedCamera, uv: np.ndarray, focal: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Directions (M, 3) in both cameras of matches that have them, the left focal length exp(focal) times as long."""
    *lens, fx, fy, cx, cy = left.camera.intrinsics
    camera = left.camera
    if focal:
        camera = replace(camera, intrinsics=(*lens, fx * np.exp(focal), fy * np.exp(focal), cx, cy))
    a, b = camera.unproject(uv[0]), right.camera.unproject(uv[1])
    good = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    return a[good], b[good]


def _ahead(T_right_left: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which matches (M,) bool are in front of both cameras."""
    R, t = T_right_left[:3, :3], T_right_left[:3, 3]
    turned = a @ R.T  # (b x turned) . (b x t) < 0, by Lagrange's identity
    return np.asarray((b * b).sum(1) * (turned @ t) < (b @ t) * (turned * b).sum(1))
