# SPDX-License-Identifier: Apache-2.0
"""Keyframes as odometry joins them, one chain a session, and where in the map these chains lie."""

from bisect import bisect_right, insort
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np

from letvins_ros.geometry import adjoint, inverse
from letvins_ros.loop.motion import Motion, exp, log


class Chains:
    """Keyframes are numbered in the order they are added; those of one session follow each other."""

    def __init__(self) -> None:
        self.sessions: list[int] = []  # of each keyframe
        self.T_odom: list[np.ndarray] = []  # by odometry when the keyframe was new
        self.T_chain: list[np.ndarray] = []  # by later estimates, each session in a frame of its own
        self.accumulated: list[np.ndarray] = []  # covariance (6, 6) of the motions up to each, in the chain's frame

    def __len__(self) -> int:
        return len(self.sessions)

    def state(self) -> dict[str, np.ndarray]:
        """All of it as arrays, for a file."""
        return {
            "session": np.array(self.sessions, np.int64),
            "T_odom": stacked(self.T_odom, 4),
            "T_chain": stacked(self.T_chain, 4),
            "gathered_covariance": stacked(self.accumulated, 6),
        }

    @staticmethod
    def from_state(state: dict[str, np.ndarray]) -> "Chains":
        """The chains that `state` describes."""
        chains = Chains()
        chains.sessions = state["session"].tolist()
        chains.T_odom, chains.T_chain = list(state["T_odom"]), list(state["T_chain"])
        chains.accumulated = list(state["gathered_covariance"])
        return chains

    def begin(self, T_odom: np.ndarray) -> int:
        """Add the first keyframe of a session."""
        return self._add(self._next_session, T_odom, Motion(T_odom, np.zeros((6, 6))))

    def extend(self, T_odom: np.ndarray, motion: Motion) -> int:
        """Append a keyframe to the session of the last one."""
        return self._add(self.sessions[-1], T_odom, Motion(self.T_chain[-1] @ motion.T_a_b, motion.covariance))

    def append(self, other: "Chains") -> None:
        """Append the sessions of another graph."""
        session, before = self._next_session, self._total
        self.sessions += [session + number for number in other.sessions]
        self.T_odom += other.T_odom
        self.T_chain += other.T_chain
        self.accumulated += [before + accumulated for accumulated in other.accumulated]

    def joined(self, a: int, b: int) -> bool:
        """Whether two keyframes are of one session."""
        return self.sessions[a] == self.sessions[b]

    @property
    def _next_session(self) -> int:
        return self.sessions[-1] + 1 if self.sessions else 0

    @property
    def _total(self) -> np.ndarray:
        return self.accumulated[-1] if self.accumulated else np.zeros((6, 6))

    def _add(self, session: int, T_odom: np.ndarray, chain: Motion) -> int:
        A = adjoint(chain.T_a_b)
        self.accumulated.append(self._total + A @ chain.covariance @ A.T)
        self.sessions.append(session)
        self.T_odom.append(T_odom)
        self.T_chain.append(chain.T_a_b)
        return len(self) - 1

    def motions(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Odometry (n, 4, 4) from each keyframe a to its later b, and the covariances (n, 6, 6)."""
        T_a, T_b, accumulated_a, accumulated_b = (
            np.stack([values[i] for i in nodes.tolist()])
            for values in (self.T_chain, self.accumulated)
            for nodes in (a, b)
        )
        A = adjoint(inverse(T_b))
        return inverse(T_a) @ T_b, A @ (accumulated_b - accumulated_a) @ np.swapaxes(A, 1, 2)

    def between(self, a: int, b: int, nodes: range, T_map_a: np.ndarray, T_map_b: np.ndarray) -> np.ndarray:
        """T_map (n, 4, 4) of nodes between key a and the next key b, the residual distributed by covariance."""
        T_a, T_b, T = self.T_chain[a], self.T_chain[b], np.stack(self.T_chain[nodes.start : nodes.stop])
        accumulated = np.stack(self.accumulated[nodes.start : nodes.stop]) - self.accumulated[a]
        A, to_nodes = adjoint(inverse(T_b)), adjoint(inverse(T))
        residual = log(inverse(T_b) @ T_a @ inverse(T_map_a) @ T_map_b)
        whole = A @ (self.accumulated[b] - self.accumulated[a]) @ A.T
        shares = to_nodes @ accumulated @ A.T @ np.linalg.solve(whole + 1e-15 * np.eye(6), residual)
        return np.asarray(T_map_a @ inverse(T_a) @ T @ np.stack([exp(twist) for twist in shares]))


class KeyPoses:
    """Poses in the map of some keyframes, the keys, and from them those of all others of their sessions."""

    def __init__(self, chains: Chains, T_map: Mapping[int, np.ndarray] | None = None) -> None:
        """T_map: (4, 4) of the keys, among them the first keyframe of every session in the map."""
        self._chains, self._T_map = chains, dict(T_map or {})
        self.nodes = sorted(self._T_map)  # of the keys

    def __contains__(self, node: int) -> bool:
        return node in self._T_map

    def add(self, node: int, T_map: np.ndarray) -> None:
        """Make a keyframe a key, unless it is one."""
        if node not in self._T_map:
            insort(self.nodes, node)
            self._T_map[node] = T_map

    def keep(self, nodes: Collection[int]) -> None:
        """Let go of all keys but these."""
        self._T_map = {node: self._T_map[node] for node in self.nodes if node in nodes}
        self.nodes = list(self._T_map)

    def T_map(self) -> np.ndarray:
        """Poses (K, 4, 4) of the keys."""
        return stacked([self._T_map[node] for node in self.nodes], 4)

    def replace(self, T_map: Sequence[np.ndarray]) -> None:
        """Take a solution, (4, 4) of every key."""
        self._T_map = dict(zip(self.nodes, T_map, strict=True))

    def move(self, T_new_map: np.ndarray) -> None:
        """Change to another frame of the map."""
        self._T_map = {node: T_new_map @ T_map for node, T_map in self._T_map.items()}

    def first_ones(self) -> list[int]:
        """Each session's first key."""
        known = [-1, *(self._chains.sessions[node] for node in self.nodes)]
        return [node for node, (before, session) in zip(self.nodes, pairwise(known), strict=True) if session != before]

    def cover(self, node: int) -> bool:
        """Whether the keyframe's session is in the map."""
        i = bisect_right(self.nodes, node) - 1
        return i >= 0 and self._chains.joined(self.nodes[i], node)

    def pose(self, node: int) -> np.ndarray:
        """T_map (4, 4) of a keyframe whose session is in the map; beyond the last key it follows odometry."""
        i = bisect_right(self.nodes, node) - 1
        key = self.nodes[i]
        if key == node:
            return self._T_map[node]
        after = self.nodes[i + 1] if i + 1 < len(self.nodes) else None
        if after is None or not self._chains.joined(after, node):
            return np.asarray(self._T_map[key] @ inverse(self._chains.T_odom[key]) @ self._chains.T_odom[node])
        return np.asarray(self._between(key, after, range(node, node + 1))[0])

    def poses(self) -> np.ndarray:
        """T_map of every keyframe (N, 4, 4), NaN where its session is not in the map."""
        out = np.full((len(self._chains), 4, 4), np.nan)
        ends = [*self.nodes[1:], len(out)][: len(self.nodes)]
        for key, after in zip(self.nodes, ends, strict=True):
            if after < len(out) and self._chains.joined(after, key):
                out[key:after] = self._between(key, after, range(key, after))
                continue
            last = bisect_right(self._chains.sessions, self._chains.sessions[key])
            T = np.stack(self._chains.T_odom[key:last])
            out[key:last] = self._T_map[key] @ inverse(T[0]) @ T
        return out

    def _between(self, a: int, b: int, nodes: range) -> np.ndarray:
        """T_map (n, 4, 4) of nodes between key a and the next key b."""
        return self._chains.between(a, b, nodes, self._T_map[a], self._T_map[b])


def stacked(matrices: list[np.ndarray], size: int) -> np.ndarray:
    """An array (N, size, size), also of none."""
    return np.array(matrices, float).reshape(-1, size, size)
