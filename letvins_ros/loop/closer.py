# SPDX-License-Identifier: Apache-2.0
"""The loop closer: keyframes in, the correction of the map out."""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import LoopConfig
from letvins_ros.errors import ConfigError, DataError, Rejected
from letvins_ros.geodesy import east_north_up
from letvins_ros.geometry import distance_and_angle, inverse, transform, vector_from_text, yaw_rotation
from letvins_ros.loop.describers import open_describer
from letvins_ros.loop.features import Describer, KeyframeFeatures, features_of, update_landmarks
from letvins_ros.loop.fixes import FixQueue
from letvins_ros.loop.motion import NO_MOTION, Motion, fuse, rotate_frames, swap_blocks
from letvins_ros.loop.odometry_chain import OdometryChain
from letvins_ros.loop.place_map import Node, PlaceMap
from letvins_ros.loop.recognition import Agreement, PlaceMatch, Recogniser
from letvins_ros.loop.solving import Loop
from letvins_ros.types import GnssFixes, Keyframe, LoopClosure

LOOPS_PER_PLACE = 1  # further visits change nothing
SAME_VIEW_M, SAME_VIEW_RAD = 1.0, np.radians(30)  # closer to a known place, a keyframe adds nothing new
MAX_WAIT_M = 5.0  # distance travelled after which a place match no longer waits for others to agree
CORRECTED_STD = np.repeat([2e-3, 1e-2], 3)  # rad, m: of the newest keyframe in the map after a loop
FIXED_STD = np.repeat([2e-2, 0.5], 3)  # the same after GNSS fixes


@dataclass(frozen=True, eq=False)
class MapSnapshot:
    """The map to draw."""

    stamps_ns: np.ndarray  # (N,) int64
    sessions: np.ndarray  # (N,) int
    T_map_body: np.ndarray  # (N, 4, 4), NaN where a session has no place in the map yet
    loops: np.ndarray  # (L, 2) nodes of the loops that are inliers


@dataclass(frozen=True, eq=False)
class Answer:
    """The result of adding a keyframe."""

    closure: LoopClosure | Rejected
    node: int | None  # that the keyframe has become in the map, None where it has become none
    T_map_odom: np.ndarray | None  # (4, 4) after this keyframe; None: not localised


class LoopCloser:
    """Recognises places, corrects the map and relocalises in a loaded one; the odom frame is never changed."""

    def __init__(
        self,
        config: LoopConfig,
        camera: MountedCamera,
        gravity_aligned: bool,
        places: PlaceMap | None = None,
        describer: Describer | None = None,
    ) -> None:
        """gravity_aligned: an IMU makes odom's z point up. places: a map to continue in.

        Raises ConfigError where the mode needs a map and there is none, and what PlaceMap.share raises.
        """
        self._describer = describer or open_describer(config, camera, gravity_aligned)
        self.places = PlaceMap(self._describer.place_size) if places is None else places
        self._config, self._gravity_aligned = config, gravity_aligned
        self.set_mode(config.mode)
        if config.store:
            self.places.share(Path(config.store), config.mode)
        self._recogniser = Recogniser(self.places, camera, config, gravity_aligned)
        self._chain = OdometryChain(gravity_aligned, config.odometry_scale)
        self._agreement = Agreement(config.agree_inliers, MAX_WAIT_M)
        self._own_from = len(self.places)  # this session's first node
        self._recent: deque[int] = deque()  # nodes that are too new to be recognised
        self._unfinished: dict[int, int] = {}  # nodes that later keyframes still improve, and their keyframes
        self._visits: Counter[int] = Counter(loop.a for loop in self.places.graph.loops)
        self._since_node = NO_MOTION  # odometry since this session's last node
        self._in_map: Motion | None = None  # pose of the level frame in the map; None: not localised
        self._pending: PlaceMatch | None = None  # the last accepted match of a keyframe that is no node
        self._last_loop = -1  # this session's last node with a loop
        self._T_map_odom: np.ndarray | None = None  # (4, 4); None: not localised
        self._fixes = FixQueue(vector_from_text(config.gnss_antenna or "0 0 0"), config.gnss_std)
        self._datum = self._wanted_datum()

    def _wanted_datum(self) -> np.ndarray | None:
        """The datum of the map or the configuration, None for the first fix; ConfigError where they differ."""
        known, text = self.places.graph.datum, self._config.gnss_datum
        wanted = vector_from_text(text) if text else known
        if known is not None and wanted is not None and not np.allclose(known, wanted, rtol=0, atol=1e-9):
            raise ConfigError(f"loop.gnss_datum is {text}, the loaded map has {' '.join(map(str, known.tolist()))}")
        return wanted

    def set_mode(self, mode: str) -> None:
        """Map or localise from the next keyframe on; raises ConfigError where there is no map to localise in."""
        if mode == "localise" and not len(self.places):
            raise ConfigError("loop.mode localise needs a map: set loop.load_map")
        self._config = replace(self._config, mode=mode)

    def place(self, T_map_body: np.ndarray, T_odom_body: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Take a pose in the map from outside, such as an operator's; returns T_map_odom (4, 4) by it.

        Where gravity is known, only heading and position count. covariance (6, 6): position, rotation, along the map's
        axes. Places that are recognised later correct it; the graph does not take it. Raises DataError before the first
        keyframe.
        """
        if self._chain.is_empty:
            raise DataError("there is no keyframe yet that could be placed in the map")
        T_map_odom = T_map_body @ inverse(T_odom_body)
        if self._gravity_aligned:
            turn = T_map_body[:3, :3] @ T_odom_body[:3, :3].T
            R = yaw_rotation(float(np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1])))
            T_map_odom = transform(R, T_map_body[:3, 3] - R @ T_odom_body[:3, 3])
        T_map_level = T_map_odom @ self._chain.T_odom_level
        turn = np.kron(np.eye(2), T_map_level[:3, :3].T)
        self._set_pose(Motion(T_map_level, swap_blocks(turn @ covariance @ turn.T)))
        return T_map_odom

    def add_fixes(self, fixes: GnssFixes, antenna: np.ndarray | None = None) -> None:
        """Fixes up to any time, in order, which the keyframes that follow take into the map (not in mode localise).

        antenna (3,): where it is in the body, m, if that has become known otherwise than by the configuration.
        """
        if antenna is not None:
            self._fixes.antenna = antenna
        self._fixes.add(fixes)

    def add(self, keyframe: Keyframe, image: np.ndarray | None) -> Answer:
        """Process a keyframe and its left gray image (H, W) uint8; without image or description, its motion alone."""
        look = self._look(keyframe, image)
        moved = self._propagate(keyframe, look is not None)
        self._take_fixes(keyframe.index)
        if look is None:
            return Answer(Rejected("no image"), None, self._T_map_odom)
        if not moved:
            reason = f"less than {self._config.keyframe_distance_m:g} m since the last keyframe"
            return Answer(Rejected(reason), None, self._T_map_odom)
        self._index_old_nodes(keyframe.stamp_ns)
        features = look()
        here = Node(keyframe.stamp_ns, self._chain.R_level_body, self._chain.vertical_std)
        match = self._recogniser.recognise(features, here)
        if isinstance(match, PlaceMatch) and self._odometry_is_better(match):
            return Answer(Rejected("odometry knows this better"), None, self._T_map_odom)
        node = self._add_node(keyframe.index, here, features) if self._is_new(match) else None
        closure = self._accept(replace(match, node=node), here) if isinstance(match, PlaceMatch) else match
        return Answer(closure, node, self._T_map_odom)

    def _look(self, keyframe: Keyframe, image: np.ndarray | None) -> Callable[[], KeyframeFeatures] | None:
        """What gives the features: what the tracker's network has described, else the image; None for neither."""
        described = keyframe.description
        if described is not None and described.describer == self._describer.name:
            return partial(features_of, keyframe, described)
        return None if image is None else partial(self._describer.describe, image, keyframe)

    def _propagate(self, keyframe: Keyframe, visible: bool) -> bool:
        """Follow odometry; whether the keyframe is visible, and far enough from the last one to be processed."""
        self._chain.add(keyframe)
        self._update_nodes(keyframe)
        moved = self._chain.has_moved(self._config.keyframe_distance_m, np.radians(self._config.keyframe_angle_deg))
        if not (visible and moved):
            return False
        motion = self._chain.motion_since_mark
        self._chain.mark()
        self._agreement.move(motion)
        self._since_node = self._since_node.then(motion)
        if self._in_map is not None and self._T_map_odom is not None:
            T_map_level = self._T_map_odom @ self._chain.T_odom_level
            self._in_map = Motion(T_map_level, self._in_map.then(motion).covariance)
        self._pending = self._pending and self._pending.moved(motion)
        return True

    def _take_fixes(self, index: int) -> None:
        """Bind the fixes up to the newest keyframe to nodes before them, and correct the map where they ask for it."""
        T_chain_level, graph = self._chain.T_chain(index), self.places.graph
        if T_chain_level is None:
            return
        self._fixes.moved(self._chain.stamp_ns, T_chain_level @ transform(self._chain.R_level_body, np.zeros(3)))
        located, added = list(self._fixes.located()), False
        stamps = [node.stamp_ns for node in self.places.nodes[self._own_from :]] if located else []
        for fix in located:
            node = self._own_from + bisect_right(stamps, fix.stamp_ns) - 1
            if node < self._own_from or self._config.mode != "map":
                continue
            if self._datum is None:
                self._datum = fix.geodetic
            p_map = east_north_up(fix.geodetic, self._datum)
            added |= graph.add_fix(node, fix.p_chain, p_map, fix.std)
        if added and self._datum is not None and (graph.align(self._datum) or not graph.is_settled):
            self._solve_with_fixes()

    def _solve_with_fixes(self) -> None:
        graph = self.places.graph
        node = len(graph) - 1
        if graph.datum is not None and graph.is_mapped(node) and graph.solve() is None:
            T_map_level = graph.pose(node) @ self._since_node.T_a_b
            self._set_pose(Motion(T_map_level, np.diag(FIXED_STD**2)))

    def _update_nodes(self, keyframe: Keyframe) -> None:
        """Update poses and landmarks of recent nodes by this keyframe's later estimate."""
        for node, index in list(self._unfinished.items()):
            T_chain, T_odom_body = self._chain.T_chain(index), keyframe.T_odom_of(index)
            if T_chain is None or T_odom_body is None:
                del self._unfinished[node]
                continue
            self.places.graph.update_chain(node, T_chain)
            if node in self.places.own:
                T_body_later = inverse(T_odom_body) @ keyframe.T_odom_body
                self.places.own[node] = update_landmarks(self.places.own[node], T_body_later, keyframe)

    def _index_old_nodes(self, stamp_ns: int) -> None:
        """Make nodes findable once they are old enough."""
        until_ns = stamp_ns - round(self._config.exclude_recent_s * 1e9)
        while self._recent and self.places.nodes[self._recent[0]].stamp_ns <= until_ns:
            self.places.make_findable(self._recent.popleft())

    def _odometry_is_better(self, match: PlaceMatch) -> bool:
        """Whether odometry since the last loop, or since the place, is more certain than the match."""
        start = max(self._last_loop, match.a)
        if start < self._own_from:
            return False
        drift = self.places.graph.odometry(start, len(self.places) - 1).then(self._since_node)
        loop = match.motion
        return drift.position_std < loop.position_std and drift.rotation_std < loop.rotation_std

    def _is_new(self, match: PlaceMatch | Rejected) -> bool:
        """Whether the keyframe is to become a node: no place that already has its loops."""
        visits = self._visits[match.a] if isinstance(match, PlaceMatch) and self._in_map is not None else 0
        return self._config.mode == "map" and visits < LOOPS_PER_PLACE

    def _add_node(self, index: int, here: Node, features: KeyframeFeatures) -> int:
        """Make the keyframe a node of the map; returns its number."""
        places, graph = self.places, self.places.graph
        places.nodes.append(here)
        if len(graph) > self._own_from:
            node = graph.extend(self._chain.T_odom_level, self._since_node)
        else:
            T_level = self._chain.T_odom_level
            node = graph.start_session(T_level, None if self._own_from else T_level)
            if not self._own_from:
                self._set_pose(Motion(T_level, np.zeros((6, 6))))
        places.own[node] = features
        self._recent.append(node)
        self._unfinished[node] = index
        self._since_node = NO_MOTION
        if self._pending is not None:  # ties this node to the map
            graph.add_loop(Loop(self._pending.a, node, self._pending.now))
            self._pending = None
        return node

    def _accept(self, match: PlaceMatch, here: Node) -> LoopClosure | Rejected:
        """Correct the map by the matches on which this and earlier keyframes agree."""
        graph, relocalised = self.places.graph, self._in_map is None
        agreed = self._agreement.add(graph, match)
        if isinstance(agreed, Rejected):
            return agreed
        loops = [Loop(m.a, m.node, m.motion) for m in agreed if m.node is not None]
        if loops:
            failed = self._add_loops(loops)
            if failed is not None:
                return failed
        else:
            measured = [Motion(graph.pose(m.a), np.zeros((6, 6))).then(m.now) for m in agreed]
            self._set_pose(reduce(fuse, measured if self._in_map is None else [self._in_map, *measured]))
            self._pending = match
        a = self.places.nodes[match.a]
        motion = rotate_frames(match.motion, a.R_level_body.T, here.R_level_body.T)
        pose = motion.T_a_b, swap_blocks(motion.covariance)
        return LoopClosure(here.stamp_ns, a.stamp_ns, match.a, match.node, *pose, match.inliers, relocalised)

    def _add_loops(self, loops: list[Loop]) -> Rejected | None:
        graph = self.places.graph
        if not graph.is_mapped(loops[-1].b):
            graph.place_session(loops[-1])
        for loop in loops:
            graph.add_loop(loop)
        failed = None if graph.is_settled else graph.solve()
        if failed is not None:
            del graph.loops[-len(loops) :]
            return failed
        for loop in loops:
            self._visits[loop.a] += 1
            if _is_same_view(loop.motion) and loop.b in self._recent:
                self._recent.remove(loop.b)
                del self.places.own[loop.b]
        self._last_loop = loops[-1].b
        T_map_level = graph.pose(len(graph) - 1) @ self._since_node.T_a_b
        self._set_pose(Motion(T_map_level, np.diag(CORRECTED_STD**2)))
        return None

    def _set_pose(self, in_map: Motion) -> None:
        """Set the present pose of the level frame in the map."""
        self._in_map, self._T_map_odom = in_map, in_map.T_a_b @ inverse(self._chain.T_odom_level)

    def optimised_map(self) -> PlaceMap:
        """The map, solved for the loops that have not changed it yet: as it is to be saved."""
        self.places.graph.solve()
        return self.places

    def snapshot(self) -> MapSnapshot:
        """The map as it is now; the arrays are its own copies."""
        graph = self.places.graph
        stamps = np.array([node.stamp_ns for node in self.places.nodes], np.int64)
        loops = np.array([(loop.a, loop.b) for loop in graph.loops if loop.trusted], int).reshape(-1, 2)
        return MapSnapshot(stamps, np.array(graph.chains.sessions, int), self.places.T_map_body(), loops)


def _is_same_view(motion: Motion) -> bool:
    distance, angle = distance_and_angle(motion.T_a_b)
    return distance < SAME_VIEW_M and angle < SAME_VIEW_RAD
