# SPDX-License-Identifier: Apache-2.0
"""Camera models, vectorised: a lens, its distortion, and the pixel grid."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from letvins_ros.distortion import Distortion
from letvins_ros.errors import CalibrationError
from letvins_ros.lenses import AngleLens, DoubleSphere, EllipsoidLens, FovLens, Lens, UnifiedSphere

MAX_CAMERAS = 4  # of a rig
_ABSURD = 1e9  # no focal length and no coefficient is as large

# model: names of the intrinsics, and how many distortion coefficients there may be
_MODELS = {
    "pinhole-radtan": (("fx", "fy", "cx", "cy"), (0, 4, 5, 8)),
    "pinhole-equidistant": (("fx", "fy", "cx", "cy"), (0, 4)),
    "mei-radtan": (("xi", "fx", "fy", "cx", "cy"), (0, 4, 5)),
    "double-sphere": (("xi", "alpha", "fx", "fy", "cx", "cy"), (0,)),
    "eucm": (("alpha", "beta", "fx", "fy", "cx", "cy"), (0,)),
    "fov": (("w", "fx", "fy", "cx", "cy"), (0,)),
}


@dataclass(frozen=True, eq=False)
class Camera:
    """A projection model with its parameters; raises CalibrationError when they make no sense.

    model is one of: pinhole-radtan, pinhole-equidistant, mei-radtan, double-sphere, eucm, fov.
    intrinsics: (fx, fy, cx, cy), before these xi for mei-radtan, xi and alpha for double-sphere, alpha and beta for
    eucm, w in rad for fov.
    distortion: (k1, k2, p1, p2[, k3[, k4, k5, k6]]) radtan, as OpenCV has them; (k1, k2, k3, k4) equidistant; () none.
    """

    model: str
    width: int
    height: int
    intrinsics: tuple[float, ...]
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.model not in _MODELS:
            raise CalibrationError(f"unknown camera model {self.model}; known: {', '.join(_MODELS)}")
        names, counts = _MODELS[self.model]
        if len(self.intrinsics) != len(names):
            raise CalibrationError(
                f"{self.model} needs intrinsics {', '.join(names)}, got {len(self.intrinsics)} numbers"
            )
        if len(self.distortion) not in counts:
            wanted = " or ".join(map(str, counts))
            raise CalibrationError(f"{self.model} takes {wanted} distortion coefficients, got {len(self.distortion)}")
        if not (np.abs([*self.intrinsics, *self.distortion]) < _ABSURD).all():
            raise CalibrationError(
                f"{self.model} has parameters that are not finite or absurd: {self.intrinsics} {self.distortion}"
            )
        if min(self.width, self.height) <= 0:
            raise CalibrationError(f"image size must be positive, got {self.width} x {self.height}")
        self._check_values(dict(zip(names, self.intrinsics, strict=True)))

    def _check_values(self, values: dict[str, float]) -> None:
        if min(values["fx"], values["fy"]) <= 0:
            raise CalibrationError(f"focal lengths must be positive, got {values['fx']}, {values['fy']}")
        if self.model == "mei-radtan" and values["xi"] < 0:
            raise CalibrationError(f"mei-radtan needs xi >= 0, got {values['xi']}")
        if self.model == "eucm" and not (0 <= values["alpha"] <= 1 and values["beta"] > 0):
            raise CalibrationError(
                f"eucm needs 0 <= alpha <= 1 and beta > 0, got alpha {values['alpha']}, beta {values['beta']}"
            )
        if self.model == "fov" and not 0 < values["w"] < np.pi:
            raise CalibrationError(f"fov needs 0 < w < pi, got {values['w']}")
        if self.model == "double-sphere" and not (-1 < values["xi"] < 1 and 0 <= values["alpha"] <= 1):
            raise CalibrationError(
                f"double-sphere needs -1 < xi < 1 and 0 <= alpha <= 1, got xi {values['xi']}, alpha {values['alpha']}"
            )

    @cached_property
    def _lens(self) -> Lens:
        if self.model == "pinhole-equidistant":
            return AngleLens()
        if self.model == "double-sphere":
            return DoubleSphere(*self.intrinsics[:2])
        if self.model == "eucm":
            return EllipsoidLens(*self.intrinsics[:2])
        if self.model == "fov":
            return FovLens(self.intrinsics[0])
        return UnifiedSphere(self.intrinsics[0] if self.model == "mei-radtan" else 0.0)

    @cached_property
    def _distortion(self) -> Distortion:
        if self.model == "pinhole-equidistant" or not self.distortion:
            return Distortion(self.distortion)
        k1, k2, p1, p2, *more = self.distortion
        return Distortion((k1, k2, *more[:1]), (p1, p2), tuple(more[1:]))

    @cached_property
    def _focal(self) -> np.ndarray:
        return np.array(self.intrinsics[-4:-2])

    @cached_property
    def _centre(self) -> np.ndarray:
        return np.array(self.intrinsics[-2:])

    @cached_property
    def focal_px(self) -> float:
        """Pixels per radian at the optical axis, mean of both directions, for every model."""
        _, J = self.project_jacobian(np.array([[0.0, 0.0, 1.0]]))
        return float(J[0, 0, 0] + J[0, 1, 1]) / 2

    def _flatten(self, p_cam: np.ndarray) -> np.ndarray:
        """Undistorted plane points (N, 2), NaN outside the domain."""
        m = self._lens.flatten(p_cam)
        m[~(np.hypot(m[:, 0], m[:, 1]) < self._distortion.max_radius)] = np.nan
        return m

    def project(self, p_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) of points (N, 3) in the camera frame, and which are valid (N,) bool: in the image and seen.

        Pixels are NaN outside the model's domain: behind the camera, or where the distortion folds the image over.
        """
        with np.errstate(all="ignore"):
            uv = self._distortion.apply(self._flatten(np.asarray(p_cam, float))) * self._focal + self._centre
            valid = ((uv >= -0.5) & (uv < np.array([self.width, self.height]) - 0.5)).all(axis=1)
        return uv, valid

    def project_jacobian(self, p_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) and their derivatives (N, 2, 3) by the points (N, 3); NaN outside the model's domain."""
        p_cam = np.asarray(p_cam, float)
        with np.errstate(all="ignore"):
            distorted, by_plane = self._distortion.jacobian(self._flatten(p_cam))
            J = self._focal[:, None] * (by_plane @ self._lens.jacobian(p_cam))
        return distorted * self._focal + self._centre, J

    def unproject(self, uv: np.ndarray) -> np.ndarray:
        """The unit bearings (N, 3) in the camera frame of pixels (N, 2); NaN where there is none."""
        m = self._distortion.invert((np.asarray(uv, float) - self._centre) / self._focal)
        with np.errstate(all="ignore"):
            return self._lens.lift(m)
