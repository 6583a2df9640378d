# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the vision cost, compiled by numba: plain loops over all sightings."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

BEHIND_PX = 100.0  # what a landmark behind its camera costs


def compiled(function: Callable[..., Any]) -> Any:
    """The function compiled when it is first called, and kept on disk where there is a folder to write to."""
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written
        return njit(function)


@compiled
def look(R, p, point, R_cam_body, p_body_cam, p_body, n):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Write the point in body coordinates and its unit direction in the camera; return its distance, m."""
    for i in range(3):
        p_body[i] = 0.0
        for j in range(3):
            p_body[i] += R[j, i] * (point[j] - p[j])
    for i in range(3):
        n[i] = 0.0
        for j in range(3):
            n[i] += R_cam_body[i, j] * (p_body[j] - p_body_cam[j])
    distance = max(np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2), 1e-3)
    for i in range(3):
        n[i] /= distance
    return distance


@compiled
def derive(distance, n, p_body, M, R_cam_body, R, rates, J):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Write the residual's derivatives (2, 16) by pose, mount, time offset and point, where `look` has looked from."""
    A, B = np.empty(3), np.empty(3)
    for i in range(2):
        r = M[i, 0] * n[0] + M[i, 1] * n[1] + M[i, 2] * n[2]
        for j in range(3):  # B: the residual by p_cam
            B[j] = (M[i, j] - r * n[j]) / distance
        for j in range(3):  # A: the residual by p_body
            A[j] = B[0] * R_cam_body[0, j] + B[1] * R_cam_body[1, j] + B[2] * R_cam_body[2, j]
        J[i, 0] = A[1] * p_body[2] - A[2] * p_body[1]  # A [p_body]x
        J[i, 1] = A[2] * p_body[0] - A[0] * p_body[2]
        J[i, 2] = A[0] * p_body[1] - A[1] * p_body[0]
        J[i, 6] = (B[1] * n[2] - B[2] * n[1]) * distance  # B [p_cam]x
        J[i, 7] = (B[2] * n[0] - B[0] * n[2]) * distance
        J[i, 8] = (B[0] * n[1] - B[1] * n[0]) * distance
        J[i, 12] = 0.0
        for j in range(3):
            J[i, 3 + j] = -A[j]
            J[i, 9 + j] = -B[j]
            J[i, 12] += J[i, j] * rates[j] - A[j] * rates[3 + j]
            J[i, 13 + j] = R[j, 0] * A[0] + R[j, 1] * A[1] + R[j, 2] * A[2]


@compiled
def accumulate(where, landmarks, mount, seen, noise, columns, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Add every sighting's normal equations to out; the cost, and each sighting's error in pixels.

    columns: where each camera's mount and the time offset begin in the equations, -1 for what is held.
    """
    R_cam_body, p_body_cam = mount
    R, p, R_fixed, p_fixed, rates = where
    frame, camera, landmark, bearing, M = seen
    sigma, huber = noise
    H, g, cross, H_points, g_points = out
    mount_at, offset_at = columns
    count = len(frame)
    errors = np.empty(count)
    cost = 0.0
    J = np.empty((2, 16))
    column = np.empty(13, np.int64)
    p_body, n, r = np.empty(3), np.empty(3), np.empty(2)
    for k in range(count):  # plain loops: small matrix products are calls to BLAS, ten times slower
        f, c, at_point = frame[k], camera[k], landmark[k]
        look(R[f], p[f], landmarks[at_point], R_cam_body[c], p_body_cam[c], p_body, n)
        if n[0] * bearing[k, 0] + n[1] * bearing[k, 1] + n[2] * bearing[k, 2] <= 0.0:
            errors[k] = BEHIND_PX
            cost += (huber * (BEHIND_PX - huber / 2)) / sigma**2
            continue
        for i in range(2):
            r[i] = M[k, i, 0] * n[0] + M[k, i, 1] * n[1] + M[k, i, 2] * n[2]
        error = np.sqrt(r[0] ** 2 + r[1] ** 2)
        errors[k] = error
        bounded = min(error, huber)
        cost += bounded * (error - bounded / 2) / sigma**2
        weight = min(1.0, huber / max(error, 1e-9)) / sigma**2
        distance = look(R_fixed[f], p_fixed[f], landmarks[at_point], R_cam_body[c], p_body_cam[c], p_body, n)
        derive(distance, n, p_body, M[k], R_cam_body[c], R_fixed[f], rates[f], J)
        width = 6
        for a in range(6):
            column[a] = 6 * f + a
        if mount_at[c] >= 0:
            for a in range(6):
                column[6 + a] = mount_at[c] + a
            width = 12
        if offset_at >= 0:
            column[width] = offset_at
            J[0, width], J[1, width] = J[0, 12], J[1, 12]
            width += 1
        for a in range(width):
            wa0, wa1 = weight * J[0, a], weight * J[1, a]
            at = column[a]
            g[at] += wa0 * r[0] + wa1 * r[1]
            for b in range(width):
                H[at, column[b]] += wa0 * J[0, b] + wa1 * J[1, b]
            for b in range(3):
                cross[at_point, b, at] += wa0 * J[0, 13 + b] + wa1 * J[1, 13 + b]
        for a in range(3):
            wa0, wa1 = weight * J[0, 13 + a], weight * J[1, 13 + a]
            g_points[at_point, a] += wa0 * r[0] + wa1 * r[1]
            for b in range(3):
                H_points[at_point, a, b] += wa0 * J[0, 13 + b] + wa1 * J[1, 13 + b]
    return cost, errors


@compiled
def solve_points(H_points, g_points, cross):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Each landmark's slope by the poses (L, 3, 6F) and offset (L, 3)."""
    slope, offset, inverse = np.empty_like(cross), np.empty_like(g_points), np.empty((3, 3))
    for row in range(len(cross)):
        ridge = 1e-9 * (H_points[row, 0, 0] + H_points[row, 1, 1] + H_points[row, 2, 2]) + 1e-9
        a, b, c = H_points[row, 0, 0] + ridge, H_points[row, 0, 1], H_points[row, 0, 2]
        d, e, f = H_points[row, 1, 1] + ridge, H_points[row, 1, 2], H_points[row, 2, 2] + ridge
        A, B, C = d * f - e * e, c * e - b * f, b * e - c * d  # cofactors
        det = a * A + b * B + c * C
        inverse[0, 0], inverse[0, 1], inverse[0, 2] = A / det, B / det, C / det
        inverse[1, 1], inverse[1, 2], inverse[2, 2] = (
            (a * f - c * c) / det,
            (b * c - a * e) / det,
            (a * d - b * b) / det,
        )
        inverse[1, 0], inverse[2, 0], inverse[2, 1] = inverse[0, 1], inverse[0, 2], inverse[1, 2]
        for i in range(3):
            offset[row, i] = 0.0
            for j in range(3):
                offset[row, i] -= inverse[i, j] * g_points[row, j]
            for m in range(cross.shape[2]):
                slope[row, i, m] = (
                    inverse[i, 0] * cross[row, 0, m]
                    + inverse[i, 1] * cross[row, 1, m]
                    + inverse[i, 2] * cross[row, 2, m]
                )
    return slope, offset
