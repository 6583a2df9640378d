# SPDX-License-Identifier: Apache-2.0
"""Images of a rig's cameras, as they arrive, joined to frames; needs no ROS."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from letvins_ros.datasets.stream import PAIR_TOLERANCE_NS

ALONE_S = 0.1  # an image waits so long for those of the other cameras
LEADLESS_S = 0.5  # and one of a partner so long for its lead's, without which it is of little use
KEPT = 30  # images of a camera that wait
REMEDY = "they are not taken at the same time, or DDS loses large images; remedy: config/fastdds.xml in every process"


class Arrived(NamedTuple):
    """An image message, and when it came."""

    stamp_ns: int
    arrival_ns: int  # of a clock that never jumps
    received_ns: int  # system time
    message: Any


Joined = tuple[Arrived | None, ...]  # one per camera, of one time


class FrameJoiner:
    """Makes a frame of the images that were taken at one time, once all have come or waited long enough."""

    def __init__(self, groups: Sequence[tuple[int, ...]], note: Callable[[str, str], None]) -> None:
        """groups: the rig's; an image of a lead makes a frame, those of the others are joined to it.

        note is given the kind and the text of a problem.
        """
        self._note = note
        self._lead_of = {camera: lead for lead, *others in groups for camera in (lead, *others)}
        self._waiting: list[deque[Arrived]] = [deque(maxlen=KEPT) for _ in self._lead_of]

    def add(self, camera: int, image: Arrived) -> None:
        """Take the next image of a camera."""
        self._waiting[camera].append(image)

    def clear(self, camera: int) -> None:
        """Forget what waits of a camera: its time has begun anew."""
        self._waiting[camera].clear()

    def take(self, now_ns: int) -> Joined | None:
        """The next frame, or None while there is none; now_ns is of the clock of arrivals.

        Where no lead has an image for long, a frame is what its partners have.
        """
        leads = [self._waiting[lead][0] for lead in set(self._lead_of.values()) if self._waiting[lead]]
        if not leads:
            return self._without_leads(now_ns)
        first = min(leads, key=lambda image: image.stamp_ns)
        self._drop_before(first.stamp_ns - PAIR_TOLERANCE_NS)
        there = [bool(w) and w[0].stamp_ns <= first.stamp_ns + PAIR_TOLERANCE_NS for w in self._waiting]
        late = [not here and not waiting for here, waiting in zip(there, self._waiting, strict=True)]
        if any(late) and now_ns - first.arrival_ns < ALONE_S * 1e9:
            return None
        for camera, here in enumerate(there):
            if not here and there[self._lead_of[camera]]:
                self._note(f"cam{camera}", f"{self._name(self._lead_of[camera])} images without "
                           f"{self._name(camera)}, used alone: {REMEDY}")  # fmt: skip
            elif not here and camera in self._lead_of.values():
                self._note(f"cam{camera}", f"frames without an image of {self._name(camera)}: {REMEDY}")
        return tuple(w.popleft() if here else None for here, w in zip(there, self._waiting, strict=True))

    def _without_leads(self, now_ns: int) -> Joined | None:
        for camera, waiting in enumerate(self._waiting):
            if waiting and now_ns - waiting[0].arrival_ns >= LEADLESS_S * 1e9:
                lead = self._lead_of[camera]
                self._note(f"cam{lead}", f"{self._name(camera)} images without {self._name(lead)}: {REMEDY}")
                image = waiting.popleft()
                return tuple(image if i == camera else None for i in range(len(self._waiting)))
        return None

    def _drop_before(self, stamp_ns: int) -> None:
        for camera, waiting in enumerate(self._waiting):
            while waiting and waiting[0].stamp_ns < stamp_ns:
                waiting.popleft()
                lead = self._lead_of[camera]
                self._note(f"cam{camera}", f"{self._name(camera)} images without {self._name(lead)}, dropped: {REMEDY}")

    def _name(self, camera: int) -> str:
        return ("left", "right")[camera] if self._lead_of.get(1) == 0 and camera < 2 else f"cam{camera}"
