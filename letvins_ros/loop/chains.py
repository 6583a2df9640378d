# SPDX-License-Identifier: Apache-2.0
"""Keyframes as odometry joins them: one chain a session."""

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


def stacked(matrices: list[np.ndarray], size: int) -> np.ndarray:
    """An array (N, size, size), also of none."""
    return np.array(matrices, float).reshape(-1, size, size)
