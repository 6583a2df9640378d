# SPDX-License-Identifier: Apache-2.0
"""What can be simulated."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from letvins_ros.calibration import Rig
from letvins_ros.simulation.light import Lighting
from letvins_ros.simulation.motion import CORNER_M, CORRIDOR_M, MotionProfile, corridor_centre
from letvins_ros.simulation.rigs import EUROC_RIG, FOUR_CAMERA_RIG
from letvins_ros.simulation.sensor import Sensor
from letvins_ros.simulation.world import Furniture, Quads, box, furnish, join, room_shell


@dataclass(frozen=True)
class Scenario:
    """A world, a motion in it, its light, the sensor and the rig; a seed varies all but the rig."""

    summary: str
    motion: MotionProfile
    room_m: tuple[float, float, float]  # length, width, height, before the seed's variation
    furniture: Furniture
    cover: float  # share of the surfaces with panels on the plaster
    roughness: float = 1.0  # contrast of the plaster
    lighting: Lighting = field(default_factory=Lighting)
    sensor: Sensor = field(default_factory=Sensor)
    rig: Rig = EUROC_RIG

    @property
    def duration_s(self) -> float:
        """How long it should last to show what it is for: a corridor, two laps."""
        return 90.0 if self.motion.kind == "walk" else 20.0

    def room(self, duration_s: float, rng: np.random.Generator) -> np.ndarray:
        """Size (3,) m of the room; a corridor is as long as two laps in this time need."""
        size = np.array(self.room_m) * rng.uniform(0.9, 1.1, 3)
        if self.motion.kind == "walk":
            lap = np.clip(self.motion.max_speed * 0.8 * duration_s / 2, 24.0, 64.0)
            size[:2] *= (lap + (8 - 2 * np.pi) * CORNER_M + 4 * CORRIDOR_M) / (2 * size[:2].sum())
        return size

    def world(self, room: np.ndarray, path: np.ndarray, rng: np.random.Generator) -> Quads:
        """Everything in the room, clear of the path (N, 3)."""
        parts = room_shell(room)
        if self.motion.kind == "walk":
            block = 2 * corridor_centre(room, CORRIDOR_M) - CORRIDOR_M
            parts += box(np.zeros(3), np.array([*block, room[2]]), 0.0)
        return join(parts + furnish(room, self.furniture, path, rng))


_HALL = Furniture(boxes=14, pillars=5, pipes=6)
_HALL_LIGHT = Lighting(wander=0.12)
_HALL_FLIGHT = Scenario(
    "a drone flies rounds in a furnished hall",
    MotionProfile("flight", max_speed=1.3, max_turn=1.5, shake=1.3),
    (11.0, 8.5, 4.2),
    _HALL,
    0.6,
    lighting=_HALL_LIGHT,
)

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "hall": _HALL_FLIGHT,
        "hall4": replace(
            _HALL_FLIGHT,
            summary="the same flight with four cameras, a pair that looks ahead and one that looks back",
            rig=FOUR_CAMERA_RIG,
        ),
        "corridor": Scenario(
            "two laps on foot through a corridor with nearly bare walls",
            MotionProfile("walk", max_speed=1.5, max_turn=1.6),
            (1.7, 1.0, 2.7), Furniture(pipes=4), 0.16, 0.3, Lighting(wander=0.12, lamps=16, lamp_power=0.8),
        ),
        "relit": Scenario(
            "the corridor, its second lap under other lamps",
            MotionProfile("walk", max_speed=1.5, max_turn=1.6),
            (1.7, 1.0, 2.7), Furniture(pipes=4), 0.16, 0.3, Lighting(0.3, lamps=16, wander=0.12, relit=True),
        ),
        "aggressive": Scenario(
            "a drone flies fast and shakes",
            MotionProfile("flight", max_speed=2.5, max_turn=3.0, shake=2.0),
            (13.0, 10.0, 4.8), _HALL, 0.6, lighting=_HALL_LIGHT,
        ),
        "dark": Scenario(
            "a dark hall, lit by a lamp on the body, with a noisy, flickering camera",
            MotionProfile("flight", max_speed=1.1, max_turn=1.3),
            (10.0, 8.0, 4.0), _HALL, 0.6,
            lighting=Lighting(ambient=0.06, lamps=2, lamp_power=0.1, wander=0.15, flicker=0.15, headlamp=60.0),
            sensor=Sensor(read_noise=2.0, shot_noise=0.06, exposure_s=0.008),
        ),
        "static": Scenario(
            "at rest all the time while the light changes a little",
            MotionProfile("rest"), (11.0, 8.5, 4.2), _HALL, 0.6, lighting=Lighting(wander=0.06),
        ),
    }
)  # fmt: skip
