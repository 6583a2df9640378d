# SPDX-License-Identifier: Apache-2.0
"""The pose graph: odometry as chains, loops across them, solved robustly at the keyframes where loops end.

Between two such keyframes the chain is one factor, exact to first order, so that the cost of solving depends on the
number of loops, not on the path length. Corrections are distributed over the keyframes between by their covariances.
"""

from collections.abc import Sequence
from itertools import pairwise

import gtsam
import numpy as np

from letvins_ros.errors import Rejected
from letvins_ros.geometry import apply, inverse
from letvins_ros.loop.chains import Chains, KeyPoses, stacked
from letvins_ros.loop.fixes import Fix, align
from letvins_ros.loop.motion import Motion, log, mahalanobis
from letvins_ros.loop.solving import Loop, fix_factor, motion_factor, solved

UNDECIDED = 30  # newest loops that may still become inliers or outliers; older ones stay what they are
MAX_LOOPS = 400  # in the solver, which bounds its time
MAX_UNSOLVED, MAX_UNSOLVED_CHI2 = 10, 6.0  # new loops that need no solution yet, and how far each may be off
FIRST_STD, LATER_STD = 1e-4, 10.0  # rad and m: prior on the first keyframe of the first session, and of later ones
UPRIGHT_STD = np.array([1e-4, 1e-4, 10.0, 10.0, 10.0, 10.0])  # the same of the first one where GNSS places the map
MAX_FIXES = 300  # in the solver; of more, neighbours are joined
MAX_UNSOLVED_FIXES = 5
MAX_ARM_M = 10.0  # between a keyframe and the antenna's place at the time of a fix
REWEIGHTED, SETTLED_M = 5, 0.01  # solutions with new weights of the fixes, until they move the keys less


class PoseGraph:
    """Keyframes are numbered in the order they are added; the keyframes of one session form one odometry chain."""

    def __init__(self) -> None:
        self.loops: list[Loop] = []
        self.chains = Chains()
        self._keys = KeyPoses(self.chains)  # of the first keyframe of every session in the map, and where loops end
        self._solved = 0  # loops that the solution knows
        self.datum: np.ndarray | None = None  # (3,) degrees, m; the map lies east, north, up of it. None: not aligned
        self._fixes: dict[int, Fix] = {}  # by keyframe, at most one each
        self._unsolved_fixes: list[Fix] = []

    def __len__(self) -> int:
        return len(self.chains)

    def state(self) -> dict[str, np.ndarray]:
        """All of it as arrays, for a file."""
        loops = [np.r_[loop.a, loop.b, loop.trusted] for loop in self.loops]
        return {
            **self.chains.state(),
            "key": np.array(self._keys.nodes, np.int64),
            "T_map_key": self._keys.T_map(),
            "loop": np.array(loops, np.int64).reshape(-1, 3),
            "T_loop": stacked([loop.motion.T_a_b for loop in self.loops], 4),
            "loop_covariance": stacked([loop.motion.covariance for loop in self.loops], 6),
            **self._gnss_state(),
        }

    def _gnss_state(self) -> dict[str, np.ndarray]:
        """Fixes are worth keeping only with the datum that they refer to."""
        fixes = [] if self.datum is None else [fix for node, fix in sorted(self._fixes.items()) if node in self._keys]
        rows = np.array([np.r_[fix.arm, fix.p_map, fix.std] for fix in fixes], float).reshape(-1, 9)
        return {
            "datum": np.zeros((0, 3)) if self.datum is None else self.datum[None],
            "fix_node": np.array([fix.node for fix in fixes], np.int64),
            "fix_arm": rows[:, :3],
            "fix_position": rows[:, 3:6],
            "fix_std": rows[:, 6:],
        }

    @staticmethod
    def from_state(state: dict[str, np.ndarray]) -> "PoseGraph":
        """The graph that `state` describes."""
        graph = PoseGraph()
        graph.chains = Chains.from_state(state)
        graph._keys = KeyPoses(graph.chains, dict(zip(state["key"].tolist(), state["T_map_key"], strict=True)))
        motions = map(Motion, state["T_loop"], state["loop_covariance"])
        ends = state["loop"].tolist()
        graph.loops = [Loop(a, b, motion, bool(use)) for (a, b, use), motion in zip(ends, motions, strict=True)]
        graph._solved = len(graph.loops)
        if len(state["datum"]):
            graph.datum = state["datum"][0]
        columns = (state["fix_node"].tolist(), state["fix_arm"], state["fix_position"], state["fix_std"])
        graph._fixes = {node: Fix(node, *row) for node, *row in zip(*columns, strict=True)}
        return graph

    def start_session(self, T_odom: np.ndarray, T_map: np.ndarray | None) -> int:
        """Add the first keyframe of a session; without T_map it is not in the map until `place_session`."""
        node = self.chains.begin(T_odom)
        if T_map is not None:
            self._keys.add(node, T_map)
        return node

    def extend(self, T_odom: np.ndarray, motion: Motion) -> int:
        """Append a keyframe to the session of the last one."""
        return self.chains.extend(T_odom, motion)

    def place_session(self, loop: Loop) -> None:
        """Place the session of b, which is not in the map, by a loop from a, which is."""
        first = self.chains.sessions.index(self.chains.sessions[loop.b])
        T_b_first = inverse(self.chains.T_odom[loop.b]) @ self.chains.T_odom[first]
        self._keys.add(first, self.pose(loop.a) @ loop.motion.T_a_b @ T_b_first)

    def append(self, other: "PoseGraph", T_map_other: np.ndarray) -> None:
        """Append another graph; T_map_other (4, 4) is the pose of its map in this one."""
        first = len(self)
        self.chains.append(other.chains)
        for key in other._keys.nodes:
            self._keys.add(first + key, T_map_other @ other.pose(key))
        self._solved += len(other.loops)
        self.loops[:0] = [Loop(first + o.a, first + o.b, o.motion, o.trusted) for o in other.loops]
        if self.datum is not None and other.datum is not None and np.array_equal(self.datum, other.datum):
            moved = [Fix(first + fix.node, fix.arm, fix.p_map, fix.std) for fix in other._fixes.values()]
            self._fixes |= {fix.node: fix for fix in moved}

    def update_chain(self, node: int, T_chain: np.ndarray) -> None:
        """Replace the pose (4, 4) of a recent keyframe in its session's chain by a later estimate."""
        self.chains.T_chain[node] = T_chain

    def odometry(self, a: int, b: int) -> Motion:
        """Odometry from a to a later keyframe b of the same session."""
        T, covariance = self.chains.motions(np.array([a]), np.array([b]))
        return Motion(T[0], covariance[0])

    def is_mapped(self, node: int) -> bool:
        """Whether the keyframe's session has a place in the map."""
        return self._keys.cover(node)

    def pose(self, node: int) -> np.ndarray:
        """T_map of a keyframe (4, 4) in the last solution; beyond the last loop it follows odometry."""
        return self._keys.pose(node)

    def poses(self) -> np.ndarray:
        """T_map of every keyframe (N, 4, 4), NaN where its session is not in the map."""
        return self._keys.poses()

    def add_loop(self, loop: Loop) -> None:
        """Add a loop between keyframes that are in the map, to be used by `solve`."""
        for node in (loop.a, loop.b):
            self._keys.add(node, self.pose(node))
        self.loops.append(loop)

    def add_fix(self, node: int, p_chain: np.ndarray, p_map: np.ndarray, std: np.ndarray) -> bool:
        """Add a fix, to be used by `solve` once the map is aligned; whether the keyframe was near enough to carry it.

        p_chain (3,): the antenna in the chain of the keyframe's session; p_map (3,): east, north, up of the datum, with
        std (3,); m.
        """
        arm = apply(inverse(self.chains.T_chain[node]), p_chain[None])[0]
        if np.linalg.norm(arm) > MAX_ARM_M:
            return False
        fix = Fix(node, arm, p_map, std)
        self._unsolved_fixes.append(fix)
        known = self._fixes.get(node)
        self._fixes[node] = fix if known is None else known.joined(fix, arm)
        if self.datum is not None and self.is_mapped(node):
            self._keys.add(node, self.pose(node))
            self._thin_fixes()
        return True

    def _thin_fixes(self) -> None:
        """Keep at most MAX_FIXES fixes: the two of a session that are nearest to each other become one."""
        while len(self._fixes) > MAX_FIXES:
            pairs = [(a, b) for a, b in pairwise(sorted(self._fixes)) if self.chains.joined(a, b)]
            a, b = min(pairs, key=lambda pair: pair[1] - pair[0])
            fix = self._fixes.pop(b)
            T_a_b = inverse(self.chains.T_chain[a]) @ self.chains.T_chain[b]
            self._fixes[a] = self._fixes[a].joined(fix, apply(T_a_b, fix.arm[None])[0])
            self._drop_unused_keys()

    def align(self, datum: np.ndarray) -> bool:
        """Lay the map, or the last session in it, east, north, up of the datum (3,) that its fixes refer to.

        Whether that was done: the fixes must tell the heading, and a map of which this session is no part stays.
        """
        session = self.chains.sessions[-1]
        fixes = [fix for node, fix in sorted(self._fixes.items()) if self.chains.sessions[node] == session]
        mapped = self.is_mapped(len(self) - 1)
        if not fixes or (mapped and self.datum is not None) or (not mapped and self._keys.nodes and self.datum is None):
            return False
        T = np.stack([self.pose(fix.node) if mapped else self.chains.T_chain[fix.node] for fix in fixes])
        p = np.stack([apply(T, fix.arm[None])[0] for T, fix in zip(T, fixes, strict=True)])
        T_datum = align(p, np.stack([fix.p_map for fix in fixes]), np.stack([fix.std for fix in fixes]))
        if T_datum is None:
            return False
        self.datum = datum
        self._keys.move(T_datum)
        if not mapped:
            first = self.chains.sessions.index(session)
            self._keys.add(first, T_datum @ self.chains.T_chain[first])
        for fix in fixes:
            self._keys.add(fix.node, self.pose(fix.node))
        self._thin_fixes()
        return True

    @property
    def is_settled(self) -> bool:
        """Whether the loops and fixes added since the last solution are few and agree with it."""
        new, fixes = self.loops[self._solved :], self._unsolved_fixes
        agree = all(self._chi2(loop) < MAX_UNSOLVED_CHI2 for loop in new)
        if self.datum is not None:
            agree = agree and all(fix.sigmas(self.pose(fix.node)) ** 2 < MAX_UNSOLVED_CHI2 for fix in fixes)
        return agree and len(new) < MAX_UNSOLVED and (self.datum is None or len(fixes) < MAX_UNSOLVED_FIXES)

    def _chi2(self, loop: Loop) -> float:
        T_a_b = inverse(self.pose(loop.a)) @ self.pose(loop.b)
        return mahalanobis(log(inverse(loop.motion.T_a_b) @ T_a_b), loop.motion.covariance)

    def solve(self) -> Rejected | None:
        """Least squares; where a new loop is far off, graduated non-convexity (Yang 2020) finds the outliers.

        Where the solver fails, nothing is changed.
        """
        fixes = [] if self.datum is None else [fix for node, fix in self._fixes.items() if node in self._keys]
        if not self.loops and not fixes:
            return None
        if len(self.loops) > MAX_LOOPS:
            self._prune_loops()
        for _ in range(REWEIGHTED if fixes else 1):
            before = self._keys.T_map()
            failed = self._solve(fixes)
            if failed is not None:
                return failed
            moved = self._keys.T_map() - before
            if np.abs(moved[:, :3, 3]).max() < SETTLED_M:
                break
        return None

    def _solve(self, fixes: Sequence[Fix]) -> Rejected | None:
        """One solution, the fixes weighted by the one before."""
        graph, initial = self._odometry_factors(), gtsam.Values()
        for key in self._keys.nodes:
            initial.insert(key, gtsam.Pose3(self.pose(key)))
        recent = min(len(self.loops) - self._solved + UNDECIDED, len(self.loops))
        settled, undecided = self.loops[: len(self.loops) - recent], self.loops[len(self.loops) - recent :]
        for loop in settled:
            if loop.trusted:
                graph.add(motion_factor(loop.a, loop.b, loop.motion))
        for fix in fixes:
            graph.add(fix_factor(fix, self.pose(fix.node)))
        try:
            solution = solved(graph, undecided, initial)
        except RuntimeError as error:
            return Rejected(f"the solver failed: {str(error).splitlines()[0]}")
        self._keys.replace([solution.atPose3(key).matrix() for key in self._keys.nodes])
        self._solved, self._unsolved_fixes = len(self.loops), []
        return None

    def _odometry_factors(self) -> gtsam.NonlinearFactorGraph:
        """Odometry between keys, and a prior on each session's first key."""
        graph = gtsam.NonlinearFactorGraph()
        chained = [(a, b) for a, b in pairwise(self._keys.nodes) if self.chains.joined(a, b)]
        if chained:
            ends = np.array(chained)
            for (a, b), *motion in zip(chained, *self.chains.motions(ends[:, 0], ends[:, 1]), strict=True):
                graph.add(motion_factor(a, b, Motion(*motion)))
        for key in self._keys.first_ones():
            # the first one fixes the map; a later session must not float when all its loops are outliers
            first_std = np.full(6, FIRST_STD) if self.datum is None else UPRIGHT_STD
            noise = gtsam.noiseModel.Diagonal.Sigmas(first_std if key == self._keys.nodes[0] else np.full(6, LATER_STD))
            graph.add(gtsam.PriorFactorPose3(key, gtsam.Pose3(self.pose(key)), noise))
        return graph

    def _prune_loops(self) -> None:
        """Keep at most MAX_LOOPS loops: of two between nearly the same keyframes, one is removed."""
        settled = len(self.loops) - UNDECIDED
        while len(self.loops) > MAX_LOOPS:
            order = sorted(range(settled), key=lambda i: (self.loops[i].b, self.loops[i].a))
            separations = [self._separation(self.loops[i], self.loops[j]) for i, j in pairwise(order)]
            del self.loops[order[int(np.argmin(separations)) + 1]]
            settled, self._solved = settled - 1, self._solved - 1
        self._drop_unused_keys()

    def _drop_unused_keys(self) -> None:
        """Keep the keyframes where loops end, those with fixes, and each session's first."""
        ends = {node for loop in self.loops for node in (loop.a, loop.b)}
        self._keys.keep(ends.union(self._keys.first_ones(), self._fixes if self.datum is not None else ()))

    def _separation(self, known: Loop, other: Loop) -> float:
        """Distance in keyframes between the ends of two loops; 0 where the other one is an outlier."""
        if not other.trusted:
            return 0.0
        same = all(self.chains.joined(i, j) for i, j in ((known.a, other.a), (known.b, other.b)))
        return abs(known.a - other.a) + abs(known.b - other.b) if same else np.inf
