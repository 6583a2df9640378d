# SPDX-License-Identifier: Apache-2.0
"""A simulated recording."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from letvins_ros import geometry
from letvins_ros.calibration import Rig
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.stream import span
from letvins_ros.errors import ConfigError
from letvins_ros.simulation import light, textures
from letvins_ros.simulation import sensor as optics
from letvins_ros.simulation.atlas import pack
from letvins_ros.simulation.imu import seconds, simulate_imu, stamps
from letvins_ros.simulation.motion import make_trajectory
from letvins_ros.simulation.parallel import in_order
from letvins_ros.simulation.render import Renderer, View
from letvins_ros.simulation.rigs import EUROC_IMU
from letvins_ros.simulation.scenarios import SCENARIOS
from letvins_ros.simulation.sensor import Sensor
from letvins_ros.types import GnssFixes, ImageFrame, Trajectory

FRAME_HZ = 20.0
TEXELS_PER_M = 200.0
PHOTOS = 200  # at most this many pictures on the walls of one world
PHOTO_COVER = 0.9
RELIT_S = 2.0  # that a change of lamps takes


@dataclass(frozen=True, eq=False)
class Equipment:
    """What records a simulation, and what its walls are papered with."""

    rig: Rig | None = None  # instead of the scenario's
    sensor: Sensor | None = None  # instead of the scenario's
    color: bool = False
    photos: Path | None = None  # folder of pictures to use instead of painted panels


EUROC = Equipment()


class Simulation:
    """A Dataset made up from a scenario's name, a duration and a seed; the same three give the same bytes."""

    def __init__(self, scenario: str, duration_s: float | None, seed: int, equipment: Equipment = EUROC) -> None:
        """Raise ConfigError for an unknown scenario or an impossible duration; None: the scenario's own."""
        if scenario not in SCENARIOS:
            raise ConfigError(f"unknown scenario {scenario}; known: {', '.join(SCENARIOS)}")
        if duration_s is None:
            duration_s = SCENARIOS[scenario].duration_s
        if not 0.1 <= duration_s <= 3600:
            raise ConfigError(f"a simulation lasts 0.1 to 3600 s, not {duration_s:g} s")
        self.name, self.scenario, self.report = f"{scenario}_{seed}", SCENARIOS[scenario], ReadReport()
        self.rig, self._seed = equipment.rig or self.scenario.rig, seed
        self._sensor = equipment.sensor or self.scenario.sensor
        room = self.scenario.room(duration_s, self._rng(0))
        self.trajectory = make_trajectory(self.scenario.motion, room, duration_s, self._rng(1))
        self.imu_noise = self.rig.imu or EUROC_IMU
        self.simulated_imu = simulate_imu(self.trajectory, self.imu_noise, self._rng(2))
        self.imu = self.simulated_imu.samples
        self.truth = _truth(self)
        self.gnss: GnssFixes | None = None  # there is none in rooms
        self.stamps_ns = stamps(duration_s, FRAME_HZ)
        self.quads = self.scenario.world(room, self.truth.positions[::20], self._rng(3))
        self._build(room, equipment)
        self._gains = self._exposures()

    def _rng(self, *purpose: int) -> np.random.Generator:
        """Dice of their own for each purpose, so that no order of work changes a byte."""
        return np.random.default_rng([self._seed, *purpose])

    def _build(self, room: np.ndarray, equipment: Equipment) -> None:
        """Paint and light the world, and place a renderer behind each camera."""
        surfaces = self._paint(equipment)
        lights = [light.bake(self.quads, room, self.scenario.lighting, self._rng(5))]
        if self.scenario.lighting.relit:
            lights.append(light.bake(self.quads, room, self.scenario.lighting, self._rng(9)))
        # The brightest parts may clip, so that the others use all 8 bits, even of a dark room.
        self._bright = float(np.quantile(np.concatenate([map_.ravel() for map_ in lights[0]]), 0.97))
        self._renderers = []  # of each light, one per camera
        for brightness in lights:
            atlas = pack([light.shade(s, map_ / self._bright) for s, map_ in zip(surfaces, brightness, strict=True)])
            self._renderers.append([Renderer(m.camera, self.quads, atlas, TEXELS_PER_M) for m in self.rig.cameras])
        self._fall_offs = [optics.lens_fall_off(renderer.rays, self._sensor) for renderer in self._renderers[0]]
        self._bank = optics.noise_bank(self._fall_offs[0].shape, self._rng(6))

    def _paint(self, equipment: Equipment) -> list[np.ndarray]:
        """One surface (h, w[, 3]) uint8 for each rectangle."""
        rng = self._rng(4)
        photos = textures.load_photos(equipment.photos, equipment.color, PHOTOS, rng) if equipment.photos else ()
        kit = textures.Kit.create(rng, self.scenario.roughness, equipment.color, photos)
        cover = PHOTO_COVER if photos else self.scenario.cover
        sizes = np.maximum((self.quads.size * TEXELS_PER_M).astype(int), 2).tolist()
        # A picture's rows run down, a wall's second side runs up.
        return [textures.paint_surface(kit, height, width, cover)[::-1] for width, height in sizes]

    def _exposures(self) -> np.ndarray:
        """Gain of every frame (N,), the same in all cameras."""
        rng, t, lighting = self._rng(7), seconds(self.stamps_ns), self.scenario.lighting
        waves = np.sin(np.outer(t, rng.uniform(0.3, 2.0, 4)) + rng.uniform(0, 2 * np.pi, 4)).mean(axis=1)
        flicker = 1 + lighting.flicker * rng.uniform(-1, 1, len(t))
        return np.asarray(self._bright * (1 + 2 * lighting.wander * waves) * flicker)

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def frames(self, start_s: float = 0.0, duration_s: float | None = None) -> Iterator[ImageFrame]:
        """See Dataset."""
        indices = span(self.name, self.stamps_ns, start_s, duration_s)
        cameras = range(len(self.rig.cameras))
        images = in_order(lambda shot: self.image(*shot), [(i, camera) for i in indices for camera in cameras])
        for i in indices:
            yield ImageFrame(int(self.stamps_ns[i]), tuple(next(images) for _ in cameras))

    def T_world_cam(self, index: int, camera: int) -> np.ndarray:
        """True pose (4, 4) of a camera at a frame."""
        T_world_body = self.trajectory.T_world_body(seconds(self.stamps_ns[[index]]))[0]
        return np.asarray(T_world_body @ self.rig.cameras[camera].T_body_cam)

    def view(self, index: int, camera: int) -> View:
        """What a camera has before it at a frame, with depth, before exposure and noise."""
        T_world_cam, second = self.T_world_cam(index, camera), self._second_light(index)
        first, last = (lamps[camera] for lamps in (self._renderers[0], self._renderers[-1]))
        view = (last if second >= 1 else first).render(T_world_cam)
        if not 0 < second < 1:
            return view
        return replace(
            view, surface=cv2.addWeighted(view.surface, 1 - second, last.render(T_world_cam).surface, second, 0)
        )

    def _second_light(self, index: int) -> float:
        """The share of the second lamps in the light of a frame."""
        if not self.scenario.lighting.relit:
            return 0.0
        middle_ns = (self.stamps_ns[0] + self.stamps_ns[-1]) // 2
        return float(np.clip((self.stamps_ns[index] - middle_ns) * 1e-9 / RELIT_S + 0.5, 0, 1))

    def image(self, index: int, camera: int) -> np.ndarray:
        """The image (H, W[, 3]) uint8 that a camera takes at a frame."""
        return self.expose(self.view(index, camera), index, camera)

    def expose(self, view: View, index: int, camera: int) -> np.ndarray:
        """The image (H, W[, 3]) uint8 that a camera takes of its view at a frame."""
        moved_px = self._image_motion(view, index, camera) * self._sensor.exposure_s
        surface = cv2.filter2D(view.surface, -1, optics.blur_kernel(moved_px), borderType=cv2.BORDER_REPLICATE)
        gain = self._fall_offs[camera] * np.float32(self._gains[index])
        if self.scenario.lighting.headlamp > 0:
            gain *= self._headlamp(view, index, camera)
        return optics.add_noise(surface, gain, self._bank, self._sensor, self._rng(8, index, camera))

    def _image_motion(self, view: View, index: int, camera: int) -> np.ndarray:
        """Velocity (2,) px/s of the image's middle at the mean depth."""
        t, mounted = seconds(self.stamps_ns[[index]]), self.rig.cameras[camera]
        gyro_cam = self.trajectory.angular_velocity(t)[0] @ mounted.T_body_cam[:3, :3]
        velocity_cam = self.trajectory.velocity(t)[0] @ self.T_world_cam(index, camera)[:3, :3]
        mean = float(view.inverse_depth.mean())
        return optics.image_motion(gyro_cam, velocity_cam, mean, mounted.camera.intrinsics[0])

    def _headlamp(self, view: View, index: int, camera: int) -> np.ndarray:
        """Gain (H, W) float32 by the lamp at the body's origin, which swings a little."""
        T_cam_body, t = geometry.inverse(self.rig.cameras[camera].T_body_cam), float(seconds(self.stamps_ns[index]))
        axis_body = np.array([0.25 * np.sin(2.1 * t), 0.2 * np.sin(3.3 * t), 1.0])
        axis_cam = T_cam_body[:3, :3] @ axis_body / np.linalg.norm(axis_body)
        lit = light.headlamp(self._renderers[0][camera].rays, view.inverse_depth, T_cam_body[:3, 3], axis_cam)
        return 1 + np.float32(self.scenario.lighting.headlamp) * lit


def _truth(simulation: Simulation) -> Trajectory:
    """T_world_body at every IMU reading."""
    stamps_ns = simulation.imu.stamps_ns
    T_world_body = simulation.trajectory.T_world_body(seconds(stamps_ns))
    return Trajectory(stamps_ns, T_world_body[:, :3, 3], geometry.quaternion_xyzw(T_world_body[:, :3, :3]))
