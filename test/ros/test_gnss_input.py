# SPDX-License-Identifier: Apache-2.0
"""GNSS over real DDS: map->odom takes it, odom stays what it is."""

from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from sensor_msgs.msg import NavSatFix
from std_msgs.msg import Header

from letvins_ros.datasets import open_dataset
from letvins_ros.geometry import apply, transform, yaw_rotation
from letvins_ros.ros import convert
from letvins_ros.ros.gnss import fix_message, fix_row

from ..geodetic import DATUM, geodetic
from ..some import some
from .harness import Ear, Stack

T_ENU_WORLD = transform(yaw_rotation(2.0), np.array([300.0, 200.0, 5.0]))


def with_gnss(recording: Path, folder: Path) -> Path:
    """The recording with fixes of a centimetre, five a second, of an antenna at the IMU."""
    source = open_dataset(recording)
    (folder / "mav0").mkdir(parents=True)
    for part in (recording / "mav0").iterdir():
        (folder / "mav0" / part.name).symlink_to(part)
    truth = some(source.truth)
    rows = np.arange(0, len(truth), max(1, round(len(truth) / (5 * 6.0))))
    places = geodetic(apply(T_ENU_WORLD, truth.positions[rows]))
    (folder / "mav0" / "gnss0").mkdir()
    fixes = zip(truth.stamps_ns[rows].tolist(), places.tolist(), strict=True)
    lines = [f"{ns},{lat:.10f},{lon:.10f},{height:.4f},0.01,0.01,0.01" for ns, (lat, lon, height) in fixes]
    (folder / "mav0" / "gnss0" / "data.csv").write_text("#stamp,latitude,longitude,height,e,n,u\n" + "\n".join(lines))
    return folder


def test_map_takes_gnss_and_odom_never_jumps(recording: Path, tmp_path: Path) -> None:
    source = with_gnss(recording, tmp_path / "flight")
    file = tmp_path / "gnss.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    loop:\n      gnss: true\n      gnss_datum: '47.3769 8.5417 408'\n"
        "      keyframe_distance_m: 0.05\n    estimator:\n      keyframe_parallax_px: 2.0\n"
    )
    in_map, in_odom = dict[int, Odometry](), dict[int, Odometry]()
    with (
        Stack(tmp_path / "logs", dataset=str(source), config=str(file), rate=0.5) as stack,
        Ear(stack.domain, images=False) as ear,
    ):
        for topic, seen in (("letvins/map_odometry", in_map), ("letvins/odometry", in_odom)):
            ear.node.create_subscription(
                Odometry, topic, lambda m, seen=seen: seen.update({convert.stamp_to_ns(m.header.stamp): m}), 100
            )
        stack.start("feature_tracker", "vio", "loop_closure", "dataset_player")
        ear.wait(lambda: "47.37" in ear.diagnostics.get("loop_closure", {}).get("datum", ""), 90, "an aligned map")
        stack.running["dataset_player"].wait(timeout=60)
        ear.wait(lambda: True, 1, "")
    truth = some(open_dataset(recording).truth)
    stamps = sorted(in_map.keys() & in_odom.keys())
    true = apply(
        T_ENU_WORLD,
        np.stack([np.interp(stamps, truth.stamps_ns, column) for column in truth.positions.T], 1),
    )
    at = np.array([[p.x, p.y, p.z] for p in (in_map[ns].pose.pose.position for ns in stamps)])
    errors = np.linalg.norm(at - true, axis=1)
    assert errors[0] > 100  # the map is odom until it is aligned
    assert errors[-20:].max() < 0.1
    odom = np.array([[p.x, p.y, p.z] for p in (in_odom[ns].pose.pose.position for ns in stamps)])
    assert np.linalg.norm(np.diff(odom, axis=0), axis=1).max() < 0.3  # a frame's motion, and no jump of the alignment


@pytest.mark.parametrize("std", [np.array([1.0, 2.0, 3.0]), np.full(3, np.nan)])
def test_a_fix_survives_its_message(std: np.ndarray) -> None:
    stamp_ns, row = fix_row(fix_message(12_345_678_901, DATUM, std, "gps"))
    assert stamp_ns == 12_345_678_901
    np.testing.assert_allclose(row, [*DATUM, *np.nan_to_num(std)])


def test_a_message_without_a_fix_has_no_place() -> None:
    message = NavSatFix(header=Header(stamp=Time(sec=1)), latitude=1.0)
    message.status.status = -1
    assert np.isnan(fix_row(message)[1][:3]).all()
