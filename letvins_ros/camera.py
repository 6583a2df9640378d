# SPDX-License-Identifier: Apache-2.0
"""Camera models, vectorised."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Camera:
    """A projection model with its parameters.

    model is one of: pinhole-radtan, pinhole-equidistant, mei-radtan, double-sphere.
    intrinsics: (fx, fy, cx, cy), for mei-radtan (xi, fx, fy, cx, cy), for double-sphere (xi, alpha, fx, fy, cx, cy).
    distortion: (k1, k2, p1, p2[, k3]) radtan; (k1, k2, k3, k4) equidistant; () none.
    """

    model: str
    width: int
    height: int
    intrinsics: tuple[float, ...]
    distortion: tuple[float, ...] = ()

    def project(self, p_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) of points (N, 3) in the camera frame, and which are valid (N,) bool (in front, in the model's domain, in the image)."""
        raise NotImplementedError

    def project_jacobian(self, p_cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) and their derivatives (N, 2, 3) by the points (N, 3)."""
        raise NotImplementedError

    def unproject(self, uv: np.ndarray) -> np.ndarray:
        """Unit bearings (N, 3) in the camera frame of pixels (N, 2); NaN where there is none."""
        raise NotImplementedError
