# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros.matching import descriptor_distances, mutual, mutual_nearest


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 5), (50, 30)])
def test_mutual_ones_are_those_of_brute_force(n: int, m: int) -> None:
    distance = np.random.default_rng(n).random((n, m))
    expected = [all(distance[i].min() <= distance[:, distance[i].argmin()]) for i in range(n)]
    assert mutual(distance.argmin(axis=1), distance.argmin(axis=0)).tolist() == expected


@pytest.mark.parametrize("n", [1, 2, 50])
def test_distances_are_those_of_counting_bits(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = (rng.integers(0, 256, (size, 32)).astype(np.uint8) for size in (n, n + 1))
    counted = [[np.unpackbits(x ^ y).sum() / 256 for y in b] for x in a]
    np.testing.assert_allclose(descriptor_distances(a, b), counted, atol=1e-6)


def test_matches_are_mutual_and_clear() -> None:
    distance = np.array([[0.1, 0.5, 0.5], [0.2, 0.25, 0.26], [0.5, 0.5, 0.9]])
    rows, columns = mutual_nearest(distance, 0.3, 0.8)
    assert rows.tolist() == [0] and columns.tolist() == [0]


def test_unit_vectors_of_signs_are_as_far_apart_as_the_bits() -> None:
    bits = np.random.default_rng(0).integers(0, 256, (9, 32)).astype(np.uint8)
    signs = (np.unpackbits(bits, axis=1) * 2.0 - 1) / 16
    np.testing.assert_allclose(descriptor_distances(signs[:4], signs), descriptor_distances(bits[:4], bits), atol=1e-6)
    np.testing.assert_allclose(
        descriptor_distances(signs[:4].astype(np.float16), signs), descriptor_distances(bits[:4], bits), atol=1e-3
    )
