# SPDX-License-Identifier: Apache-2.0
"""The loop closer: keyframes in, the correction of the map out."""

from collections import Counter, deque
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from letvins_ros.calibration import MountedCamera
from letvins_ros.config import LoopConfig
from letvins_ros.errors import ConfigError, Rejected
from letvins_ros.geometry import inverse, log_so3
from letvins_ros.loop.agreement import Agreement, Sighting
from letvins_ros.loop.describers import open_describer
from letvins_ros.loop.features import Describer, Features
from letvins_ros.loop.graph import Loop
from letvins_ros.loop.landmarks import improved
from letvins_ros.loop.place_map import Node, PlaceMap
from letvins_ros.loop.recognition import Recogniser
from letvins_ros.loop.trail import Trail
from letvins_ros.loop.twist import STILL, Motion, fused, swapped, turned
from letvins_ros.types import Keyframe, LoopClosure

LOOPS_PER_PLACE = 1  # further visits change nothing
SAME_VIEW_M, SAME_VIEW_RAD = 1.0, np.radians(30)  # nearer to a known place, nothing new is seen
WORTH = 2.0  # how many times better than odometry a loop must know the way
PATIENCE_M = 5.0  # of way, for which a recognised place waits for others to agree
CORRECTED_STD = np.repeat([2e-3, 1e-2], 3)  # rad, m: of the newest keyframe in the map after a loop


@dataclass(frozen=True, eq=False)
class MapSnapshot:
    """The map to draw."""

    stamps_ns: np.ndarray  # (N,) int64
    sessions: np.ndarray  # (N,) int
    T_map_body: np.ndarray  # (N, 4, 4), NaN where a session has no place in the map yet
    loops: np.ndarray  # (L, 2) nodes of the loops in use
    distrusted: np.ndarray  # (M, 2) nodes of the loops that the others contradict


class LoopCloser:
    """Recognises places, corrects the map and finds itself in one; odom itself it never touches."""

    def __init__(
        self,
        config: LoopConfig,
        camera: MountedCamera,
        is_upright: bool,
        places: PlaceMap | None = None,
        describer: Describer | None = None,
    ) -> None:
        """is_upright: an IMU makes odom's z point up. places: a map to go on in; ConfigError where it is lacking."""
        if config.mode == "localise" and not places:
            raise ConfigError("loop.mode localise needs a map: set loop.load_map")
        self._config = config
        self.describer = describer or open_describer(config, camera, is_upright)
        self.places = PlaceMap(self.describer.place_size) if places is None else places
        self._recogniser = Recogniser(self.places, camera, config, is_upright)
        self._trail = Trail(is_upright, config.odometry_scale)
        self._agreement = Agreement(config.agree_inliers, PATIENCE_M)
        self._own_from = len(self.places)  # this session's first node
        self._young: deque[int] = deque()  # nodes that are too new to be recognised
        self._rough: dict[int, int] = {}  # nodes of which later keyframes know better, and their keyframes
        self._visits: Counter[int] = Counter(loop.a for loop in self.places.graph.loops)
        self._since_node = STILL  # odometry since this session's last node
        self._here: Motion | None = None  # the level frame in the map; None: not in the map
        self._known: Sighting | None = None  # the last one of a keyframe that was not kept
        self._last_loop = -1  # this session's last node with a loop
        self.T_map_odom: np.ndarray | None = None  # (4, 4); None before there is a place in the map
        self.last_node: int | None = None  # of the keyframe added last, None where it was not kept
        self.loops = 0

    def add(self, keyframe: Keyframe, image: np.ndarray) -> LoopClosure | Rejected:
        """Take in a keyframe and its left gray image (H, W) uint8; T_map_odom then holds for it and what follows."""
        if not self._follow(keyframe):
            return Rejected(f"less than {self._config.keyframe_distance_m:g} m since the last keyframe")
        self._let_age(keyframe.stamp_ns)
        features = self.describer.describe(image, keyframe)
        here = Node(keyframe.stamp_ns, self._trail.R_level_body, self._trail.vertical_std)
        seen = self._recogniser.recognise(features, here)
        if isinstance(seen, Sighting) and self._tells_nothing(seen):
            seen = Rejected("odometry knows this better")
        elif self._is_worth_keeping(seen):
            self._keep(keyframe.index, here, features)
        closure = self._believe(seen, keyframe.stamp_ns) if isinstance(seen, Sighting) else seen
        return closure

    def _follow(self, keyframe: Keyframe) -> bool:
        """Go on along the odometry; whether the keyframe is far enough from the last one to be looked at."""
        is_first, self.last_node = not self._trail.has_begun, None
        self._trail.add(keyframe)
        self._learn(keyframe)
        far = self._trail.is_far(self._config.keyframe_distance_m, np.radians(self._config.keyframe_angle_deg))
        if not (is_first or far):
            return False
        step = self._trail.step
        self._trail.mark()
        self._agreement.move(step)
        self._since_node = self._since_node.then(step)
        if self._here is not None and self.T_map_odom is not None:
            T_map_level = self.T_map_odom @ self._trail.T_odom_level
            self._here = Motion(T_map_level, self._here.then(step).covariance)
        self._known = self._known and self._known.moved(step)
        return True

    def _learn(self, keyframe: Keyframe) -> None:
        """Let recent nodes take over what this keyframe tells of their poses and landmarks."""
        for node, index in list(self._rough.items()):
            T_chain, T_odom_body = self._trail.T_chain(index), keyframe.T_odom_of(index)
            if T_chain is None or T_odom_body is None:
                del self._rough[node]
                continue
            self.places.graph.refine(node, T_chain)
            if node in self.places.own:
                T_body_later = inverse(T_odom_body) @ keyframe.T_odom_body
                self.places.own[node] = improved(self.places.own[node], T_body_later, keyframe)

    def _let_age(self, stamp_ns: int) -> None:
        """Let nodes be recognised once they are old enough."""
        until_ns = stamp_ns - round(self._config.exclude_recent_s * 1e9)
        while self._young and self.places.nodes[self._young[0]].stamp_ns <= until_ns:
            self.places.make_findable(self._young.popleft())

    def _tells_nothing(self, seen: Sighting) -> bool:
        """Whether odometry since the last loop, or since the place, knows better where it is."""
        start = max(self._last_loop, seen.a)
        if start < self._own_from:
            return False
        drift = self.places.graph.chain(start, len(self.places) - 1).then(self._since_node)
        least = seen.motion.scaled(WORTH)
        return drift.position_std < least.position_std and drift.rotation_std < least.rotation_std

    def _is_worth_keeping(self, seen: Sighting | Rejected) -> bool:
        is_full = isinstance(seen, Sighting) and self._here is not None and self._visits[seen.a] >= LOOPS_PER_PLACE
        return self._config.mode == "map" and not is_full

    def _keep(self, index: int, here: Node, features: Features) -> None:
        """Make the keyframe a node of the map."""
        places, graph = self.places, self.places.graph
        places.nodes.append(here)
        if len(graph) > self._own_from:
            node = graph.extend(self._trail.T_odom_level, self._since_node)
        else:
            T_level = self._trail.T_odom_level
            node = graph.begin(T_level, None if self._own_from else T_level)
            if not self._own_from:
                self._place(Motion(T_level, np.zeros((6, 6))))
        places.own[node] = features
        self._young.append(node)
        self._rough[node] = index
        self._since_node, self.last_node = STILL, node
        if self._known is not None:  # what was recognised on the way ties this node to the map
            graph.add_loop(Loop(self._known.a, node, self._known.now))
            self._known = None

    def _believe(self, seen: Sighting, stamp_ns: int) -> LoopClosure | Rejected:
        """Correct the map by what this and earlier keyframes agree on."""
        graph, is_new_here = self.places.graph, self._here is None
        seen = replace(seen, node=self.last_node)
        agreed = self._agreement.add(graph, seen)
        if isinstance(agreed, Rejected):
            return agreed
        loops = [Loop(s.a, s.node, s.motion) for s in agreed if s.node is not None]
        if loops:
            failed = self._close(loops)
            if failed is not None:
                return failed
        else:
            measured = [Motion(graph.pose(s.a), np.zeros((6, 6))).then(s.now) for s in agreed]
            self._place(reduce(fused, measured if self._here is None else [self._here, *measured]))
            self._known = seen
        self.loops += 1
        a = self.places.nodes[seen.a]
        moved = turned(seen.motion, a.R_level_body.T, self._trail.R_level_body.T)
        way = moved.T_a_b, swapped(moved.covariance)
        return LoopClosure(stamp_ns, a.stamp_ns, seen.a, seen.node, *way, seen.inliers, is_new_here)

    def _close(self, loops: list[Loop]) -> Rejected | None:
        graph = self.places.graph
        if not graph.is_mapped(loops[-1].b):
            graph.join(loops[-1])
        for loop in loops:
            graph.add_loop(loop)
            self._visits[loop.a] += 1
            if _is_same_view(loop.motion) and loop.b in self._young:
                self._young.remove(loop.b)
                del self.places.own[loop.b]
        failed = None if graph.is_settled else graph.solve()
        if failed is not None:
            del graph.loops[-len(loops) :]
            return failed
        self._last_loop = loops[-1].b
        T_map_level = graph.pose(len(graph) - 1) @ self._since_node.T_a_b
        self._place(Motion(T_map_level, np.diag(CORRECTED_STD**2)))
        return None

    def _place(self, here: Motion) -> None:
        """Take this for where the body is in the map."""
        self._here, self.T_map_odom = here, here.T_a_b @ inverse(self._trail.T_odom_level)

    def settle(self) -> None:
        """Solve for loops that have not changed the map yet, as before it is saved."""
        self.places.graph.solve()

    def snapshot(self) -> MapSnapshot:
        """The map as it is now; the arrays are its own copies."""
        graph = self.places.graph
        stamps = np.array([node.stamp_ns for node in self.places.nodes], np.int64)
        ends = [np.array([(loop.a, loop.b) for loop in graph.loops if loop.trusted is trusted], int).reshape(-1, 2)
                for trusted in (True, False)]  # fmt: skip
        return MapSnapshot(stamps, np.array(graph.sessions, int), self.places.T_map_body(), *ends)


def _is_same_view(motion: Motion) -> bool:
    turn = np.linalg.norm(log_so3(motion.T_a_b[:3, :3]))
    return bool(np.linalg.norm(motion.T_a_b[:3, 3]) < SAME_VIEW_M and turn < SAME_VIEW_RAD)
