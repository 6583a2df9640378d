# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the vision cost, compiled by numba: plain loops over all sightings."""

import numpy as np

from letvins_ros.compiling import compiled

BEHIND_PX = 100.0  # what a landmark behind its camera costs


@compiled
def look(R, p, point, R_cam_body, p_body_cam, p_body, n):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Write the point in body coordinates and its unit direction in the camera; return its distance, m."""
    x, y, z = point[0] - p[0], point[1] - p[1], point[2] - p[2]
    for i in range(3):
        p_body[i] = R[0, i] * x + R[1, i] * y + R[2, i] * z
    x, y, z = p_body[0] - p_body_cam[0], p_body[1] - p_body_cam[1], p_body[2] - p_body_cam[2]
    for i in range(3):
        n[i] = R_cam_body[i, 0] * x + R_cam_body[i, 1] * y + R_cam_body[i, 2] * z
    distance = max(np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2), 1e-3)
    for i in range(3):
        n[i] /= distance
    return distance


@compiled
def derive(distance, n, p_body, M, R_cam_body, R, rates, J):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Write the residual's derivatives (2, 16) by pose, mount, time offset and point, where `look` has looked from."""
    for i in range(2):  # in scalars: arrays for a and b would be made anew at every call, and take half of the time
        r = M[i, 0] * n[0] + M[i, 1] * n[1] + M[i, 2] * n[2]
        # b: the residual by p_cam, a: by p_body
        b0, b1, b2 = (M[i, 0] - r * n[0]) / distance, (M[i, 1] - r * n[1]) / distance, (M[i, 2] - r * n[2]) / distance
        a0 = b0 * R_cam_body[0, 0] + b1 * R_cam_body[1, 0] + b2 * R_cam_body[2, 0]
        a1 = b0 * R_cam_body[0, 1] + b1 * R_cam_body[1, 1] + b2 * R_cam_body[2, 1]
        a2 = b0 * R_cam_body[0, 2] + b1 * R_cam_body[1, 2] + b2 * R_cam_body[2, 2]
        J[i, 0] = a1 * p_body[2] - a2 * p_body[1]  # a [p_body]x
        J[i, 1] = a2 * p_body[0] - a0 * p_body[2]
        J[i, 2] = a0 * p_body[1] - a1 * p_body[0]
        J[i, 3], J[i, 4], J[i, 5] = -a0, -a1, -a2
        J[i, 6] = (b1 * n[2] - b2 * n[1]) * distance  # b [p_cam]x
        J[i, 7] = (b2 * n[0] - b0 * n[2]) * distance
        J[i, 8] = (b0 * n[1] - b1 * n[0]) * distance
        J[i, 9], J[i, 10], J[i, 11] = -b0, -b1, -b2
        turning = J[i, 0] * rates[0] + J[i, 1] * rates[1] + J[i, 2] * rates[2]
        J[i, 12] = turning - a0 * rates[3] - a1 * rates[4] - a2 * rates[5]
        for j in range(3):
            J[i, 13 + j] = R[j, 0] * a0 + R[j, 1] * a1 + R[j, 2] * a2


@compiled
def accumulate(where, landmarks, mount, seen, noise, columns, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Add every sighting's normal equations to out; the cost, and each sighting's error in pixels.

    columns: where each camera's mount and the time offset begin in the equations, -1 for what is held.
    """
    R_cam_body, p_body_cam = mount
    R, p, R_fixed, p_fixed, rates = where
    frame, camera, landmark, bearing, M = seen
    full_weight, scale = noise
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
            cost += 0.5 * full_weight * scale**2 * np.log1p((BEHIND_PX / scale) ** 2)
            continue
        for i in range(2):
            r[i] = M[k, i, 0] * n[0] + M[k, i, 1] * n[1] + M[k, i, 2] * n[2]
        error = np.sqrt(r[0] ** 2 + r[1] ** 2)
        errors[k] = error
        cost += 0.5 * full_weight * scale**2 * np.log1p((error / scale) ** 2)
        weight = full_weight / (1.0 + (error / scale) ** 2)
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
