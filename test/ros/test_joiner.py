# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import pytest

from letvins_ros.ros.joiner import ALONE_S, LEADLESS_S, Arrived, FrameJoiner

MS = 1_000_000
PAIRS = ((0, 1), (2, 3))


class Bench:
    """A joiner, and images that arrive when they were taken."""

    def __init__(self, groups: Sequence[tuple[int, ...]] = PAIRS) -> None:
        self.noted: list[tuple[str, str]] = []
        self.joiner = FrameJoiner(groups, lambda kind, text: self.noted.append((kind, text.partition(":")[0])))

    def arrive(self, camera: int, *stamps_ms: int) -> None:
        for ms in stamps_ms:
            self.joiner.add(camera, Arrived(ms * MS, ms * MS, 0, f"{camera} at {ms}"))

    def take(self, now_ms: float) -> list[list[int | None]]:
        """The stamps, ms, of the frames that are ready; None where a camera has no image."""
        frames = []
        while (joined := self.joiner.take(round(now_ms * MS))) is not None:
            frames.append([one and one.stamp_ns // MS for one in joined])
        return frames


def test_images_of_one_time_are_a_frame_in_whatever_order_they_come() -> None:
    bench = Bench()
    for camera in (3, 0, 2):
        bench.arrive(camera, 50 + camera)
        assert bench.take(60) == []
    bench.arrive(1, 51)
    assert bench.take(60) == [[50, 51, 52, 53]]
    assert (bench.take(1000), bench.noted) == ([], [])


@pytest.mark.parametrize("silent", [1, 3])
def test_an_image_waits_for_its_partner_and_then_goes_alone(silent: int) -> None:
    bench = Bench()
    for camera in {0, 1, 2, 3} - {silent}:
        bench.arrive(camera, 0, 50)
    assert bench.take(1e3 * ALONE_S - 1) == []
    frames = bench.take(1e3 * ALONE_S)
    assert frames == [[None if camera == silent else 0 for camera in range(4)]]
    left, right = ("left", "right") if silent == 1 else ("cam2", "cam3")
    assert bench.noted == [(f"cam{silent}", f"{left} images without {right}, used alone")]


@pytest.mark.parametrize("lead", [0, 2])
def test_frames_go_on_where_a_lead_falls_silent(lead: int) -> None:
    bench = Bench()
    for camera in {0, 1, 2, 3} - {lead, lead + 1}:
        bench.arrive(camera, 0, 50, 100)
    frames = bench.take(300)
    assert [[stamp is not None for stamp in frame] for frame in frames] == [
        [camera not in (lead, lead + 1) for camera in range(4)]
    ] * 3
    name = "left" if lead == 0 else "cam2"
    assert set(bench.noted) == {(f"cam{lead}", f"frames without an image of {name}")}


def test_a_camera_that_is_ahead_is_not_waited_for() -> None:
    bench = Bench(((0, 1),))
    bench.arrive(0, 0, 50)
    bench.arrive(1, 50)
    assert bench.take(50) == [[0, None], [50, 50]]


def test_images_without_their_lead_are_dropped() -> None:
    bench = Bench(((0, 1),))
    bench.arrive(1, 0, 50, 100)
    assert bench.take(300) == []
    bench.arrive(0, 100)
    assert bench.take(300) == [[100, 100]]
    assert bench.noted == [("cam1", "right images without left, dropped")] * 2


def test_where_the_lead_falls_silent_its_partner_makes_frames_after_a_while() -> None:
    bench = Bench(((0, 1),))
    bench.arrive(1, 0, 50, 100)
    assert bench.take(1e3 * LEADLESS_S - 1) == []
    assert bench.take(1e3 * LEADLESS_S + 50) == [[None, 0], [None, 50]]
    assert bench.noted == [("cam0", "right images without left")] * 2


def test_cameras_without_partner_make_frames_each() -> None:
    bench = Bench(((0,), (1,)))
    bench.arrive(0, 0, 50)
    bench.arrive(1, 2, 75)
    assert bench.take(80) == [[0, 2], [50, None]]
    assert bench.take(200) == [[None, 75]]


def test_what_waits_of_a_camera_is_forgotten_when_its_time_begins_anew() -> None:
    bench = Bench(((0, 1),))
    bench.arrive(0, 500)
    bench.joiner.clear(0)
    bench.arrive(0, 10)
    bench.arrive(1, 10)
    assert bench.take(600) == [[10, 10]]
