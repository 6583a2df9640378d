# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from letvins_ros.simulation import SCENARIOS
from letvins_ros.simulation.atlas import GUTTER, LEVELS, WIDTH, pack
from letvins_ros.simulation.motion import make_trajectory
from letvins_ros.simulation.textures import PAINTERS, Kit, paint_surface
from letvins_ros.simulation.world import Quads, box, join, pipe, room_shell


def distance_to(quads: Quads, points: np.ndarray) -> np.ndarray:
    """Distances (N, Q) of points (N, 3) to rectangles."""
    offset = points[:, None] - quads.origin
    a = np.clip(np.einsum("nqi,qi->nq", offset, quads.u), 0, quads.size[:, 0])
    b = np.clip(np.einsum("nqi,qi->nq", offset, quads.v), 0, quads.size[:, 1])
    return np.linalg.norm(offset - a[..., None] * quads.u - b[..., None] * quads.v, axis=2)


def test_walls_face_the_room_and_boxes_face_away_from_their_middle() -> None:
    shell = join(room_shell(np.array([4.0, 3.0, 2.0])))
    inwards = np.array([0, 0, 1.0]) - shell.corners().mean(axis=1)
    assert (np.einsum("qi,qi->q", shell.normal, inwards) > 0).all()
    x, z, spot = np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), np.array([1.0, 2.0, 0.0])
    for sides, middle in (
        (box(spot, np.array([0.5, 1.0, 0.8]), 0.7), spot + 0.4 * z),
        (pipe(spot, spot + 3 * z, 0.2), spot + 1.5 * z),
        (pipe(spot, spot + 2 * x, 0.2), spot + x),
    ):
        quads = join(sides)
        np.testing.assert_allclose(np.einsum("qi,qi->q", quads.u, quads.v), 0, atol=1e-12)
        outwards = quads.corners().mean(axis=1) - middle
        assert (np.einsum("qi,qi->q", quads.normal, outwards) > 0).all()


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_body_keeps_clear_of_everything(name: str) -> None:
    scenario = SCENARIOS[name]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        room = scenario.room(20.0, rng)
        trajectory = make_trajectory(scenario.motion, room, 20.0, rng)
        path = trajectory.T_world_body(np.arange(0, 20, 0.1))[:, :3, 3]
        quads = scenario.world(room, path, rng)
        assert distance_to(quads, path).min() > 0.25
        assert 10 < len(quads.size) < 255


def test_the_atlas_keeps_surfaces_apart_and_halves_them() -> None:
    rng = np.random.default_rng(0)
    surfaces = [rng.integers(0, 255, (rng.integers(2, 300), rng.integers(2, 3000)), np.uint8) for _ in range(30)]
    atlas = pack(surfaces)
    owner = np.zeros(atlas.image.shape, np.uint8)
    for surface, (x, y) in zip(surfaces, atlas.offset.astype(int), strict=True):
        height, width = surface.shape
        assert (atlas.image[y : y + height, x : x + width] == surface).all()
        around = owner[y - GUTTER : y + height + GUTTER, x - GUTTER : x + width + GUTTER]
        assert around.shape == (height + 2 * GUTTER, width + 2 * GUTTER)
        around += 1
    assert owner[:, :WIDTH].max() == 1
    assert owner[:, WIDTH:].max() == 0
    x, y = atlas.offset[0].astype(int)
    left, top = atlas.level_offset[1].astype(int)
    block = atlas.image[y // 2 * 2 : y // 2 * 2 + 2, x // 2 * 2 : x // 2 * 2 + 2]
    assert atlas.image[top + y // 2, left + x // 2] == pytest.approx(block.mean(), abs=0.51)
    assert len(atlas.level_offset) == LEVELS


def test_a_world_too_large_for_the_atlas_is_refused() -> None:
    with pytest.raises(ValueError, match="texels"):
        pack([np.zeros((2, WIDTH), np.uint8)])


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("size", [(2, 2), (25, 400), (333, 257)])
def test_surfaces_of_any_size_can_be_painted(size: tuple[int, int], color: bool) -> None:
    kit = Kit.create(np.random.default_rng(1), 1.0, color, ())
    surface = paint_surface(kit, *size, cover=1.0)
    assert surface.shape == (*size, 3) if color else size
    assert surface.dtype == np.uint8
    for painter in PAINTERS:
        assert painter(kit, 30, 60).shape == (30, 60)


def test_photos_take_the_place_of_painted_panels() -> None:
    red = np.zeros((50, 80, 3), np.uint8)
    red[..., 0] = 200
    kit = Kit.create(np.random.default_rng(1), 1.0, True, (red,))
    surface = paint_surface(kit, 400, 400, cover=1.0)
    assert (surface[..., 0] > 90).mean() > 0.95
    assert (surface[..., 1] < 10).mean() > 0.95
