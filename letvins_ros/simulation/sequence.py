# SPDX-License-Identifier: Apache-2.0
"""A simulated recording."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from letvins_ros import geometry
from letvins_ros.calibration import ImuNoise, MountedCamera, Rig
from letvins_ros.camera import Camera
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.stream import span
from letvins_ros.errors import ConfigError
from letvins_ros.simulation import light, sensor, textures
from letvins_ros.simulation.atlas import pack
from letvins_ros.simulation.imu import seconds, simulate_imu, stamps
from letvins_ros.simulation.motion import make_trajectory
from letvins_ros.simulation.render import Renderer, View
from letvins_ros.simulation.scenarios import SCENARIOS
from letvins_ros.simulation.world import Quads
from letvins_ros.types import ImageFrame, Trajectory

FRAME_HZ = 20.0
TEXELS_PER_M = 200.0
AHEAD = 4  # frames
SMALL = 8  # px between samples of the carried lamp's light


def _mount(intrinsics: tuple[float, ...], distortion: tuple[float, ...], pose: list[float]) -> MountedCamera:
    camera = Camera("pinhole-radtan", 752, 480, intrinsics, distortion)
    return MountedCamera(camera, np.array([*pose, 0, 0, 0, 1.0]).reshape(4, 4))


# The calibration of EuRoC's VI-Sensor (Burri 2016).
EUROC_IMU = ImuNoise(gyro_noise=1.6968e-4, accel_noise=2e-3, gyro_walk=1.9393e-5, accel_walk=3e-3, rate_hz=200.0)
EUROC_RIG = Rig(
    (
        _mount(
            (458.654, 457.296, 367.215, 248.375),
            (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05),
            [0.0148655429818, -0.999880929698, 0.00414029679422, -0.0216401454975,
             0.999557249008, 0.0149672133247, 0.025715529948, -0.064676986768,
             -0.0257744366974, 0.00375618835797, 0.999660727178, 0.00981073058949],
        ),
        _mount(
            (457.587, 456.134, 379.999, 255.238),
            (-0.28368365, 0.07451284, -0.00010473, -3.55590700e-05),
            [0.0125552670891, -0.999755099723, 0.0182237714554, -0.0198435579556,
             0.999598781151, 0.0130119051815, 0.0251588363115, 0.0453689425024,
             -0.0253898008918, 0.0179005838253, 0.999517347078, 0.00786212447038],
        ),
    ),
    EUROC_IMU,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Equipment:
    """What records the simulation, and what its surfaces are made of."""

    rig: Rig = EUROC_RIG
    color: bool = False
    photos: Path | None = None  # folder of pictures to paper the walls with, None: painted panels


class Simulation:
    """A Dataset made up from a scenario's name, a duration and a seed; the same three give the same bytes."""

    def __init__(self, scenario: str, duration_s: float, seed: int, equipment: Equipment = Equipment()) -> None:  # noqa: B008
        """Raise ConfigError for an unknown scenario or a duration without a frame pair."""
        if scenario not in SCENARIOS:
            raise ConfigError(f"unknown scenario {scenario}; known: {', '.join(SCENARIOS)}")
        if not 0.1 <= duration_s <= 3600:
            raise ConfigError(f"a simulation must last 0.1 to 3600 s, not {duration_s}")
        self.name = f"{scenario}_{seed}"
        self.scenario, self.rig, self.report = SCENARIOS[scenario], equipment.rig, ReadReport()
        self._seed = seed
        room = self.scenario.room(duration_s, self._rng(0))
        self.trajectory = make_trajectory(self.scenario.motion, room, duration_s, self._rng(1))
        self.imu_noise = equipment.rig.imu or EUROC_IMU
        self.simulated_imu = simulate_imu(self.trajectory, self.imu_noise, self._rng(2))
        self.imu = self.simulated_imu.samples
        self.stamps_ns = stamps(duration_s, FRAME_HZ)
        times = seconds(self.imu.stamps_ns)
        T_world_body = self.trajectory.T_world_body(times)
        quaternions = geometry.quaternion_xyzw(T_world_body[:, :3, :3])
        self.truth = Trajectory(self.imu.stamps_ns, T_world_body[:, :3, 3], quaternions)
        self.velocities = self.trajectory.velocity(times)  # (N, 3) m/s at the truth's stamps
        self._build(room, equipment)
        self._exposures = self._expose_over_time()

    def _rng(self, *purpose: int) -> np.random.Generator:
        """Dice of their own for each purpose, so that no order of work changes a byte."""
        return np.random.default_rng([self._seed, *purpose])

    def _build(self, room: np.ndarray, equipment: Equipment) -> None:
        """Make the world and one renderer for each camera."""
        path = self.truth.positions[::20]
        self.quads = self.scenario.world(room, path, self._rng(3))
        surfaces = self._paint(self.quads, equipment)
        brightness = light.bake(self.quads, room, self.scenario.lighting, self._rng(5))
        # Brightest parts may clip, so that the others use all 8 bits, even of a dark room.
        self._peak = float(np.quantile(np.concatenate([map_.ravel() for map_ in brightness]), 0.97))
        atlas = pack([light.shade(s, map_ / self._peak) for s, map_ in zip(surfaces, brightness, strict=True)])
        self._renderers = [
            Renderer(mounted.camera, self.quads, atlas, TEXELS_PER_M) for mounted in equipment.rig.cameras
        ]
        self._fall_offs = [sensor.lens_fall_off(renderer.rays, self.scenario.sensor) for renderer in self._renderers]
        self._bank = sensor.noise_bank(*self._fall_offs[0].shape, self._rng(6))

    def _paint(self, quads: Quads, equipment: Equipment) -> list[np.ndarray]:
        rng = self._rng(4)
        photos = textures.load_photos(equipment.photos, equipment.color, 200, rng) if equipment.photos else ()
        kit = textures.Kit.create(rng, self.scenario.roughness, equipment.color, photos)
        cover = 0.9 if photos else self.scenario.cover
        sizes = np.maximum((quads.size * TEXELS_PER_M).astype(int), 2).tolist()
        # Rows of a picture run down, the second side of a wall runs up.
        return [textures.paint_surface(kit, height, width, cover)[::-1] for width, height in sizes]

    def _expose_over_time(self) -> np.ndarray:
        """Gain of every frame (N,), the same in all cameras."""
        rng, t = self._rng(7), seconds(self.stamps_ns)
        lighting = self.scenario.lighting
        waves = np.sin(np.outer(t, rng.uniform(0.3, 2.0, 4)) + rng.uniform(0, 2 * np.pi, 4)).mean(axis=1)
        return np.asarray((1 + 2 * lighting.wander * waves) * (1 + lighting.flicker * rng.uniform(-1, 1, len(t))))

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def frames(self, start_s: float = 0.0, duration_s: float | None = None) -> Iterator[ImageFrame]:
        """See Dataset."""
        indices = span(self.name, self.stamps_ns, start_s, duration_s)
        workers = ThreadPoolExecutor(2, "render")
        try:
            pending = deque()
            for i in [*indices, *[None] * AHEAD]:
                jobs = () if i is None else (workers.submit(self.image, i, c) for c in range(len(self._renderers)))
                pending.append((i, tuple(jobs)))
                if len(pending) > AHEAD:
                    index, images = pending.popleft()
                    if index is not None:
                        yield ImageFrame(int(self.stamps_ns[index]), tuple(image.result() for image in images))
        finally:
            workers.shutdown(cancel_futures=True)

    def T_world_cam(self, index: int, camera: int) -> np.ndarray:
        """True pose (4, 4) of a camera at a frame."""
        T_world_body = self.trajectory.T_world_body(seconds(self.stamps_ns[index : index + 1]))[0]
        return np.asarray(T_world_body @ self.rig.cameras[camera].T_body_cam)

    def view(self, index: int, camera: int) -> View:
        """What a camera has before it at a frame, with depth, before exposure and noise."""
        return self._renderers[camera].render(self.T_world_cam(index, camera))

    def image(self, index: int, camera: int) -> np.ndarray:
        """The image (H, W[, 3]) uint8 that a camera takes at a frame."""
        view, settings = self.view(index, camera), self.scenario.sensor
        moved = self._image_motion(index, camera, float(view.inverse_depth.mean())) * settings.exposure_s
        surface = cv2.filter2D(view.surface, -1, sensor.blur_kernel(moved), borderType=cv2.BORDER_REPLICATE)
        gain = self._fall_offs[camera] * np.float32(self._exposures[index] * self._peak)
        if self.scenario.lighting.headlamp > 0:
            gain *= self._headlamp(view, index, camera)
        return sensor.expose(surface, gain, self._bank, settings, self._rng(8, index, camera))

    def _image_motion(self, index: int, camera: int, inverse_depth: float) -> np.ndarray:
        t = seconds(self.stamps_ns[index : index + 1])
        mounted = self.rig.cameras[camera]
        R_cam_body = mounted.T_body_cam[:3, :3].T
        gyro = R_cam_body @ self.trajectory.angular_velocity(t)[0]
        velocity = self.T_world_cam(index, camera)[:3, :3].T @ self.trajectory.velocity(t)[0]
        return sensor.image_motion(gyro, velocity, inverse_depth, mounted.camera.intrinsics[0])

    def _headlamp(self, view: View, index: int, camera: int) -> np.ndarray:
        """Gain (H, W) float32 by the carried lamp, which swings a little."""
        w = np.maximum(view.inverse_depth[SMALL // 2 :: SMALL, SMALL // 2 :: SMALL], 1e-3)
        rays = self._renderers[camera].rays[:, SMALL // 2 :: SMALL, SMALL // 2 :: SMALL]
        points_cam = np.stack([rays[0] / w, rays[1] / w, 1 / w], axis=-1)
        T_body_cam = self.rig.cameras[camera].T_body_cam
        t = seconds(self.stamps_ns[index])
        axis = T_body_cam[:3, :3] @ np.array([0.25 * np.sin(2.1 * t), 0.2 * np.sin(3.3 * t), 1.0])
        lit = light.headlamp(geometry.apply(T_body_cam, points_cam), axis / np.linalg.norm(axis))
        gain = (1 + lit * self.scenario.lighting.headlamp).astype(np.float32)
        return cv2.resize(gain, view.inverse_depth.shape[::-1], interpolation=cv2.INTER_LINEAR)
