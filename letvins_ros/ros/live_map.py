# SPDX-License-Identifier: Apache-2.0
"""The map of a running system: keyframes from one thread, orders from another; needs no ROS."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from letvins_ros import __version__
from letvins_ros.config import Config
from letvins_ros.config_io import to_yaml
from letvins_ros.errors import DataError
from letvins_ros.loop.closer import Answer, LoopCloser, MapSnapshot
from letvins_ros.loop.describers import decided, describer_name, open_describer
from letvins_ros.loop.map_file import MapInfo, load_map, save_map
from letvins_ros.sensors import calibrated_rig
from letvins_ros.types import GnssFixes, Keyframe
from letvins_ros.writing import check_writable

CLICK_STD = np.repeat([0.5, 0.26], 3)  # m, rad: of a pose given without covariance


class LiveMap:
    """A loop closer that can be saved, replaced by a file's map, and placed in it while it runs."""

    def __init__(self, config: Config, source: str) -> None:
        """source: where the map comes from, for its file.

        Raises LetvinsError where loop.load_map cannot be read or loop.save_map not be written.
        """
        if config.loop.save_map:
            check_writable(Path(config.loop.save_map))
        rig, gravity_aligned = calibrated_rig(config), config.mode != "stereo"
        self.camera = rig.cameras[0]
        settings, origin = to_yaml(replace(config, rig=rig)), {"source": source, "made_by": __version__}
        self._info = MapInfo.of(self.camera, gravity_aligned, settings, **origin)
        self._using = threading.Lock()  # the closer
        self._config = config
        self._closer, self._info = self._open(config.loop.load_map, config.loop.mode)
        self.T_map_odom = None if config.loop.load_map else np.eye(4)  # (4, 4); None: not yet relocalised

    def __len__(self) -> int:
        """How many places it has."""
        return len(self._closer.places)

    @property
    def describer(self) -> str:
        """The name of the describer of its places."""
        return self._info.describer

    def _open(self, file: str, mode: str) -> tuple[LoopCloser, MapInfo]:
        loop = decided(replace(self._config, loop=replace(self._config.loop, load_map=file, mode=mode))).loop
        info = replace(self._info, describer=describer_name(loop))
        places = load_map(Path(file), info)[0] if file else None
        described = bool(self._config.described)
        describer = open_describer(loop, self.camera, info.gravity_aligned, described=described)
        return LoopCloser(loop, self.camera, info.gravity_aligned, places, describer), info

    def add(self, keyframe: Keyframe, image: np.ndarray | None) -> Answer:
        """Process a keyframe and its left gray image (H, W) uint8, None where there is none."""
        with self._using:
            answer = self._closer.add(keyframe, image)
            if answer.T_map_odom is not None:
                self.T_map_odom = answer.T_map_odom
        return answer

    def add_fixes(self, fixes: GnssFixes, antenna: np.ndarray | None) -> None:
        """GNSS for the keyframes that follow; antenna (3,): in the IMU's frame, m, None: as known before."""
        with self._using:
            self._closer.add_fixes(fixes, antenna)

    @property
    def datum(self) -> np.ndarray | None:
        """Latitude, longitude, height (3,) of which the map lies east, north, up; None where it does not."""
        return self._closer.places.graph.datum

    def snapshot(self) -> MapSnapshot:
        """The map to draw."""
        with self._using:
            return self._closer.snapshot()

    def set_mode(self, mode: str) -> None:
        """Map or localise from now on; raises ConfigError where there is no map to localise in."""
        with self._using:
            self._closer.set_mode(mode)

    def save(self, file: str) -> str:
        """Write the map, solved, into a file; what was done, in words. Raises LetvinsError."""
        if not file:
            raise DataError("name a file, or set the parameter loop.save_map to one first")
        with self._using:
            save_map(Path(file), self._closer.optimised_map(), self._info)
        return f"{len(self)} places saved to {file}"

    def load(self, file: str, mode: str) -> str:
        """Go on in the map of a file; what was done, in words. Raises LetvinsError and keeps the map it has."""
        if not file:
            raise DataError("name a file, or set the parameter loop.load_map to one first")
        closer, info = self._open(file, mode)
        with self._using:
            self._closer, self._info, self.T_map_odom = closer, info, None
        return f"{len(self)} places loaded from {file}; map->odom comes once the place is recognised"

    def place(self, T_map_base: np.ndarray, T_odom_base: np.ndarray, covariance: np.ndarray) -> None:
        """Take the base's pose in the map (4, 4) as an operator gives it.

        covariance (6, 6): position, rotation, along the map's axes; zero variances stand for a click.
        """
        least = np.diag(np.where(np.diag(covariance) > 0, 0.0, CLICK_STD**2))
        with self._using:
            self.T_map_odom = self._closer.place(T_map_base, T_odom_base, covariance + least)
