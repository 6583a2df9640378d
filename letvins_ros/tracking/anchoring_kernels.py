# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of finding patches again, compiled by numba: plain loops over features and their pixels."""

import numpy as np

from letvins_ros.compiling import compiled
from letvins_ros.tracking.patch_size import HALF, SIDE

PIXELS = SIDE * SIDE
STEPS = 8
SETTLED_PX = 0.02  # a step below which the next one would not matter
DAMPING = 10.0  # gray levels^2/px^2 a pixel, added to what a patch says of its shape: flat ones say little


@compiled
def sample(image, u, v):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The image between its pixels, bilinear."""
    x, y = int(u), int(v)
    a, b = u - x, v - y
    above = image[y, x] * (1 - a) + image[y, x + 1] * a
    below = image[y + 1, x] * (1 - a) + image[y + 1, x + 1] * a
    return above * (1 - b) + below * b


@compiled
def take(image, uv, patches):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the patches (N, SIDE + 2, SIDE + 2) around points uv (N, 2); the image's border goes on beyond it."""
    height, width = image.shape
    for k in range(len(uv)):
        for i in range(SIDE + 2):
            for j in range(SIDE + 2):
                u = min(max(uv[k, 0] + j - HALF - 1, 0.0), width - 1.001)
                v = min(max(uv[k, 1] + i - HALF - 1, 0.0), height - 1.001)
                patches[k, i, j] = sample(image, u, v)


@compiled
def learn(patch, T, J, L):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write a patch without its mean (PIXELS,), its derivatives (PIXELS, 6) and the Cholesky factor of its normal ones.

    The derivatives are by shape, row by row, in units of HALF, and by place. Returns the patch's sum of squares, or 0
    where it has no texture.
    """
    mean, mean_J = 0.0, np.zeros(6)
    for i in range(SIDE):
        for j in range(SIDE):
            k, x, y = i * SIDE + j, (j - HALF) / HALF, (i - HALF) / HALF
            by_u = 0.5 * (patch[i + 1, j + 2] - patch[i + 1, j])
            by_v = 0.5 * (patch[i + 2, j + 1] - patch[i, j + 1])
            T[k] = patch[i + 1, j + 1]
            J[k, 0], J[k, 1], J[k, 2], J[k, 3], J[k, 4], J[k, 5] = by_u * x, by_u * y, by_v * x, by_v * y, by_u, by_v
            mean += T[k] / PIXELS
            for a in range(6):
                mean_J[a] += J[k, a] / PIXELS
    L[:] = 0.0
    for a in range(6):
        L[a, a] = (DAMPING if a < 4 else 1e-6) * PIXELS
    square = 0.0
    for k in range(PIXELS):
        T[k] -= mean
        square += T[k] * T[k]
        for a in range(6):
            J[k, a] -= mean_J[a]
            for b in range(a + 1):
                L[a, b] += J[k, a] * J[k, b]
    for a in range(6):
        for b in range(a + 1):
            for c in range(b):
                L[a, b] -= L[a, c] * L[b, c]
            if b < a:
                L[a, b] /= L[b, b]
        if L[a, a] <= 0.0:
            return 0.0
        L[a, a] = np.sqrt(L[a, a])
    return square


@compiled
def look(image, u, v, A, seen):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write what a patch of shape A (2, 2) sees around a point, less its mean; its sum of squares, -1 off the image."""
    height, width = image.shape
    reach_u, reach_v = HALF * (abs(A[0, 0]) + abs(A[0, 1])), HALF * (abs(A[1, 0]) + abs(A[1, 1]))
    if not (reach_u <= u < width - 1.01 - reach_u and reach_v <= v < height - 1.01 - reach_v):
        return -1.0
    mean, square = 0.0, 0.0
    for i in range(SIDE):
        for j in range(SIDE):
            x, y = j - HALF, i - HALF
            value = sample(image, u + A[0, 0] * x + A[0, 1] * y, v + A[1, 0] * x + A[1, 1] * y)
            seen[i * SIDE + j] = value
            mean += value / PIXELS
    for k in range(PIXELS):
        seen[k] -= mean
        square += seen[k] * seen[k]
    return square


@compiled
def difference(T, J, L, seen, gain, d):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, PLR0913
    """Write the change (6,) of shape and place that explains what is seen; how alike the two are, as a product."""
    alike = 0.0
    d[:] = 0.0
    for k in range(PIXELS):
        alike += seen[k] * T[k]
        error = gain * seen[k] - T[k]
        for a in range(6):
            d[a] += J[k, a] * error
    for a in range(6):
        for b in range(a):
            d[a] -= L[a, b] * d[b]
        d[a] /= L[a, a]
    for a in range(5, -1, -1):
        for b in range(a + 1, 6):
            d[a] -= L[b, a] * d[b]
        d[a] /= L[a, a]
    return alike


@compiled
def undo(A, d):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Take a change (6,) off the shape A (2, 2): A <- A (1 + d)^-1; how the place moves (u, v)."""
    b00, b01, b10, b11 = 1 + d[0] / HALF, d[1] / HALF, d[2] / HALF, 1 + d[3] / HALF
    det = max(b00 * b11 - b01 * b10, 0.1)
    for i in range(2):
        A[i, 0], A[i, 1] = (A[i, 0] * b11 - A[i, 1] * b10) / det, (A[i, 1] * b00 - A[i, 0] * b01) / det
    return -(A[0, 0] * d[4] + A[0, 1] * d[5]), -(A[1, 0] * d[4] + A[1, 1] * d[5])


@compiled
def align(image, patches, shapes, uv, likeness):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Find patches again: shapes (N, 2, 2) and uv (N, 2) are moved to where they fit best.

    Writes the normalised cross-correlation (N,): 0 where a patch gets lost, -1 where it tells nothing, as it has no
    texture or reaches off the image.
    """
    T, J, L, seen, d = np.empty(PIXELS), np.empty((PIXELS, 6)), np.empty((6, 6)), np.empty(PIXELS), np.empty(6)
    for k in range(len(uv)):
        likeness[k] = -1.0
        square = learn(patches[k], T, J, L)
        if square <= 0.0:
            continue
        for step in range(STEPS):
            of_seen = look(image, uv[k, 0], uv[k, 1], shapes[k], seen)
            if of_seen <= 0.0:
                likeness[k] = 0.0 if step else -1.0
                break
            likeness[k] = difference(T, J, L, seen, np.sqrt(square / of_seen), d) / np.sqrt(of_seen * square)
            du, dv = undo(shapes[k], d)
            uv[k, 0] += du
            uv[k, 1] += dv
            if du * du + dv * dv < SETTLED_PX**2:
                break
