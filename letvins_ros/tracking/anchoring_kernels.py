# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of finding patches again, compiled by numba: plain loops over features and their pixels.

Sums have a variable each: as elements of an array they would go through memory at every pixel, at twice the time.
"""

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
def factorise(L):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Turn equations (6, 6) into their Cholesky factor; whether there is one."""
    for a in range(6):
        for b in range(a + 1):
            for c in range(b):
                L[a, b] -= L[a, c] * L[b, c]
            if b < a:
                L[a, b] /= L[b, b]
        if L[a, a] <= 0.0:
            return False
        L[a, a] = np.sqrt(L[a, a])
    return True


@compiled
def learn(patch, J, part, L):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write a patch's derivatives and itself, less their means (7, PIXELS), and the Cholesky factor of its equations.

    The derivatives are by shape, row by row, in units of HALF, and by place. Returns the patch's sum of squares, or 0
    where it has no texture. part (7, PIXELS) is overwritten.
    """
    for i in range(SIDE):
        y = (i - HALF) / HALF
        for j in range(SIDE):
            k, x = i * SIDE + j, (j - HALF) / HALF
            by_u = 0.5 * (patch[i + 1, j + 2] - patch[i + 1, j])
            by_v = 0.5 * (patch[i + 2, j + 1] - patch[i, j + 1])
            J[0, k], J[1, k], J[2, k], J[3, k], J[4, k], J[5, k] = by_u * x, by_u * y, by_v * x, by_v * y, by_u, by_v
            J[6, k] = patch[i + 1, j + 1]
    for a in range(7):
        for k in range(PIXELS):
            part[a, k] = J[a, k] / PIXELS
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = 0.0
    for k in range(PIXELS):
        s0, s1, s2, s3 = s0 + part[0, k], s1 + part[1, k], s2 + part[2, k], s3 + part[3, k]
        s4, s5, s6 = s4 + part[4, k], s5 + part[5, k], s6 + part[6, k]
    means = (s0, s1, s2, s3, s4, s5, s6)
    for a in range(7):
        for k in range(PIXELS):
            J[a, k] -= means[a]
    for a in range(6):
        L[a] = 0.0
        L[a, a] = (DAMPING if a < 4 else 1e-6) * PIXELS
        s0, s1, s2, s3, s4, s5 = L[a, 0], L[a, 1], L[a, 2], L[a, 3], L[a, 4], L[a, 5]
        for k in range(PIXELS):
            one = J[a, k]
            s0, s1, s2 = s0 + one * J[0, k], s1 + one * J[1, k], s2 + one * J[2, k]
            s3, s4, s5 = s3 + one * J[3, k], s4 + one * J[4, k], s5 + one * J[5, k]
        L[a, 0], L[a, 1], L[a, 2], L[a, 3], L[a, 4], L[a, 5] = s0, s1, s2, s3, s4, s5
    square = 0.0
    for k in range(PIXELS):
        square += J[6, k] * J[6, k]
    return square if factorise(L) else 0.0


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
def difference(J, L, seen, gain, d):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the change (6,) of shape and place that explains what is seen; how alike the two are, as a product."""
    alike = s0 = s1 = s2 = s3 = s4 = s5 = 0.0
    for k in range(PIXELS):
        alike += seen[k] * J[6, k]
        error = gain * seen[k] - J[6, k]
        s0, s1, s2 = s0 + J[0, k] * error, s1 + J[1, k] * error, s2 + J[2, k] * error
        s3, s4, s5 = s3 + J[3, k] * error, s4 + J[4, k] * error, s5 + J[5, k] * error
    d[0], d[1], d[2], d[3], d[4], d[5] = s0, s1, s2, s3, s4, s5
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
    J, part, L, seen, d = np.empty((7, PIXELS)), np.empty((7, PIXELS)), np.empty((6, 6)), np.empty(PIXELS), np.empty(6)
    for k in range(len(uv)):
        likeness[k] = -1.0
        square = learn(patches[k], J, part, L)
        if square <= 0.0:
            continue
        for step in range(STEPS):
            of_seen = look(image, uv[k, 0], uv[k, 1], shapes[k], seen)
            if of_seen <= 0.0:
                likeness[k] = 0.0 if step else -1.0
                break
            likeness[k] = difference(J, L, seen, np.sqrt(square / of_seen), d) / np.sqrt(of_seen * square)
            du, dv = undo(shapes[k], d)
            uv[k, 0] += du
            uv[k, 1] += dv
            if du * du + dv * dv < SETTLED_PX**2:
                break
