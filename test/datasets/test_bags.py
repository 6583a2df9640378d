# SPDX-License-Identifier: Apache-2.0
"""Bags as they come from drivers and recorders, and what can be wrong with them."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backports import zstd
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Writer
from rosbags.typesys.store import Typestore

from letvins_ros import geometry
from letvins_ros.config import InputConfig
from letvins_ros.datasets import Dataset, open_dataset
from letvins_ros.errors import DataError

from ..some import some
from . import bag_making as making
from . import recording_layouts as layouts
from .bag_making import IMAGE, IMU, INFO, START_NS, TF, sequence, stereo_imu, storage_of, target

KINDS = ["ros1", "sqlite3", "mcap"]
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
FRAMES = 12  # of making.stereo_imu


def check_whole(dataset: Dataset, frames: int = FRAMES) -> None:
    read = list(dataset.frames())
    assert len(read) == frames
    for i, frame in enumerate(read):
        assert all(np.array_equal(some(frame.images[camera]), layouts.image(camera, i % FRAMES)) for camera in range(2))
    assert len(some(dataset.imu)) == 20 * frames


# What recorders do


@pytest.mark.parametrize("kind", KINDS)
def test_topics_of_unknown_broken_or_idl_definitions_are_no_concern_of_ours(tmp_path: Path, kind: str) -> None:
    strange = [
        ("/vendor/a", "vendor_msgs/msg/A", "int32 x\nvendor_msgs/Unknown[] more\n"),
        ("/vendor/b", "vendor_msgs/msg/B", "this is = no [definition at all"),
        ("/vendor/c", "vendor_msgs/msg/C", "module vendor { struct C { sequence<octet, N> broken; "),
    ]
    check_whole(open_dataset(making.write(target(tmp_path, kind), stereo_imu(), kind, strange=strange)))


@pytest.mark.parametrize("kind", ["sqlite3", "mcap"])
@pytest.mark.parametrize("mode", ["FILE", "MESSAGE"])
def test_compressed_ros2_bags_are_read(tmp_path: Path, kind: str, mode: str) -> None:
    def compressed(writer: Writer) -> None:
        writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)

    path = making.write(tmp_path / "r", stereo_imu(), kind, compressed)
    check_whole(open_dataset(path))
    (path / "metadata.yaml").unlink()
    check_whole(open_dataset(path))
    if mode == "FILE":
        (packed,) = path.iterdir()
        assert packed.suffix == ".zstd"
        check_whole(open_dataset(packed))


def test_chunks_in_mcap_may_be_compressed(tmp_path: Path) -> None:
    check_whole(open_dataset(making.write(tmp_path / "r", stereo_imu(), "mcap", packed_chunks)))


@pytest.mark.parametrize("how", ["BZ2", "LZ4"])
def test_compressed_ros1_bags_are_read(tmp_path: Path, how: str) -> None:
    def compressed(writer: Writer1) -> None:
        writer.set_compression(Writer1.CompressionFormat[how])

    check_whole(open_dataset(making.write(tmp_path / "r.bag", stereo_imu(), "ros1", compressed)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_recording_is_one(tmp_path: Path, kind: str) -> None:
    records, folder = stereo_imu(seconds=2.4), tmp_path / "split"
    folder.mkdir()
    half = START_NS + 1_200_000_000
    for i in range(2):
        part = [record for record in records if (record[0] >= half) == bool(i)]
        path = making.write(target(tmp_path / str(i), kind), part, kind)
        file = storage_of(path)
        shutil.move(file, folder / f"drive_{i}{file.suffix}")
    dataset = open_dataset(folder)
    assert len(list(dataset.frames())) == 24
    assert len(some(dataset.imu)) == 480


@pytest.mark.parametrize("names", [("MH_01", "MH_02"), ("a", "b")])
@pytest.mark.parametrize("kind", KINDS)
def test_two_recordings_in_a_folder_are_an_error_that_names_both(
    tmp_path: Path, kind: str, names: tuple[str, str]
) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    for i, name in enumerate(names):
        later = [(r[0] + i * 60 * 10**9, *r[1:5], r[5] + i * 60 * 10**9) for r in stereo_imu()]
        path = making.write(target(tmp_path / str(i), kind), later, kind)
        file = storage_of(path)
        shutil.move(file, folder / f"{name}{file.suffix}")
    with pytest.raises(DataError, match=rf"two: holds several recordings; name one of {names[0]}\.\w+, {names[1]}\."):
        open_dataset(folder)


def packed_chunks(writer: Writer) -> None:
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)


def many_chunks(folder: Path, prepare: Callable[[Writer], object] = lambda writer: None, seconds: float = 60.0) -> Path:
    """An mcap file of several chunks."""
    records = [*sequence("/cam0/image_raw", IMAGE, making.a_picture(), 10, seconds)]
    records += sequence("/imu0", IMU, making.an_imu(), 100, seconds)
    return storage_of(making.write(folder, records, "mcap", prepare))


@pytest.mark.parametrize("share", [0.999, 0.9, 0.6])
def test_of_an_mcap_whose_recorder_was_killed_what_is_there_is_read(tmp_path: Path, share: float) -> None:
    file = many_chunks(tmp_path / "r")
    whole = len(open_dataset(file))
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    dataset = open_dataset(file)
    frames = list(dataset.frames())
    assert 0.4 * whole < len(frames) <= whole
    assert np.array_equal(some(frames[3].images[0]), layouts.image(0, 3))
    told = "bag: the file has no end: its recorder was killed or the copy is not complete"
    assert told in dataset.report.counts


def test_a_damaged_chunk_of_an_mcap_is_left_out_and_counted(tmp_path: Path) -> None:
    file = many_chunks(tmp_path / "r", packed_chunks)
    whole = len(open_dataset(file))
    data = bytearray(file.read_bytes())
    second = data.index(ZSTD_MAGIC, data.index(ZSTD_MAGIC) + 4)
    data[second] ^= 0xFF
    file.write_bytes(data)
    dataset = open_dataset(file)
    assert 0.3 * whole < len(list(dataset.frames())) < whole
    assert "bag: damaged chunks left out" in dataset.report.counts


def test_of_a_cut_off_packed_file_what_can_be_unpacked_is_read(tmp_path: Path) -> None:
    file = many_chunks(tmp_path / "r")
    packed = file.with_name("k.mcap.zstd")
    packed.write_bytes(zstd.compress(file.read_bytes())[:-2000])
    file.unlink()
    assert len(list(open_dataset(packed).frames())) > 100


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.bag.active", b"#ROSBAG V2.0\n", r"was not closed by its recorder; `rosbag reindex` mends such a bag"),
        ("a.bag", b"", "the file is empty"),
        ("a.bag", b"RIFF" * 20, "is no ROS 1 bag|the bag is damaged or cut short"),
        ("a.mcap", b"", "the file is empty"),
        ("a.mcap", b"RIFF" * 20, "is no MCAP file"),
        ("a.db3", b"", "the file is empty"),
        ("a.db3", b"RIFF" * 200, "is no ROS 2 bag"),
        ("a.mcap.zstd", b"RIFF" * 20, "is damaged: nothing of it can be unpacked"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: ({message})"):
        open_dataset(tmp_path / name)


@pytest.mark.parametrize("kind", ["ros1", "sqlite3"])
def test_a_bag_that_is_cut_short_is_told_in_words_of_the_trade(tmp_path: Path, kind: str) -> None:
    path = making.write(target(tmp_path, kind), stereo_imu(seconds=6), kind)
    file = storage_of(path)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut short|reindex"):
        list(open_dataset(file).frames())


def test_without_stamps_in_the_headers_those_of_the_recorder_count(tmp_path: Path) -> None:
    unstamped = [(r[0], *r[1:5], 0) for r in stereo_imu()]
    dataset = open_dataset(making.write(tmp_path / "r", unstamped))
    assert [frame.stamp_ns for frame in dataset.frames()] == [START_NS + i * 100_000_000 for i in range(FRAMES)]
    assert "/imu0: stamps are zero, times of the recorder used" in dataset.report.notes


# What drivers do


@pytest.mark.parametrize(
    ("left", "right", "imu"),
    [
        ("/camera/infra1/image_rect_raw", "/camera/infra2/image_rect_raw", "/camera/imu"),  # RealSense
        ("/camera/camera/infra1/image_rect_raw", "/camera/camera/infra2/image_rect_raw", "/camera/camera/imu"),
        ("/oak/left/image_raw", "/oak/right/image_raw", "/oak/imu/data"),  # depthai_ros_driver
        ("/zed/zed_node/left_raw/image_raw_color", "/zed/zed_node/right_raw/image_raw_color", "/zed/zed_node/imu/data"),
        ("/cam0/image_raw", "/cam1/image_raw", "/mavros/imu/data_raw"),
        ("/cam0/image_raw", "/cam1/image_raw", "/vectornav/imu_uncompensated"),
        ("/cam0/image_raw", "/cam1/image_raw", "/imu/data"),  # microstrain_inertial_driver
        ("/alphasense/cam0/image_raw", "/alphasense/cam1/image_raw", "/alphasense/imu"),  # Hilti 2021 and 2022
        ("/alphasense_driver_ros/cam0", "/alphasense_driver_ros/cam1", "/alphasense_driver_ros/imu"),  # Hilti 2023
        ("/snappy_cam/stereo_l", "/snappy_cam/stereo_r", "/snappy_imu"),  # UZH-FPV
    ],
)
@pytest.mark.parametrize("kind", ["ros1", "mcap"])
def test_topics_of_real_drivers_are_found_and_told(tmp_path: Path, kind: str, left: str, right: str, imu: str) -> None:
    dataset = open_dataset(making.write(target(tmp_path, kind), stereo_imu(left, right, imu), kind))
    check_whole(dataset)
    assert f"topics: --topic cam0={left} --topic cam1={right} --topic imu={imu}" in dataset.report.notes


def test_topics_can_be_named(tmp_path: Path) -> None:
    records = stereo_imu("/a/left", "/a/right", "/x") + stereo_imu("/b/left", "/b/right", "/y")
    path = making.write(tmp_path / "r", records)
    with pytest.raises(
        DataError, match=r"r: several stereo pairs; choose .* /a/left \(sensor_msgs/msg/Image, 10.04 Hz\)"
    ):
        open_dataset(path)
    inputs = InputConfig(cam0_topic="/b/right", cam1_topic="/b/left", imu_topic="/y")
    frame = next(open_dataset(path, inputs=inputs).frames())
    assert np.array_equal(some(frame.images[0]), layouts.image(1, 0))
    assert np.array_equal(some(frame.images[1]), layouts.image(0, 0))


def test_cameras_can_be_chosen_by_number(tmp_path: Path) -> None:
    records = [r for i in range(4) for r in sequence(f"/cam{i}/image_raw", IMAGE, making.a_picture(i), 10)]
    path = making.write(tmp_path / "r", records)
    for numbers in ((0, 1), (2, 3), (3, 0), (2,)):
        frame = next(open_dataset(path, inputs=InputConfig(cameras=",".join(map(str, numbers)))).frames())
        assert all(np.array_equal(some(a), layouts.image(i, 0)) for a, i in zip(frame.images, numbers, strict=True))


def test_the_five_cameras_and_two_imus_of_a_hilti_bag_are_a_pair_and_its_imu(tmp_path: Path) -> None:
    records = [r for i in range(5) for r in sequence(f"/alphasense/cam{i}/image_raw", IMAGE, making.a_picture(i), 10)]
    records += sequence("/alphasense/imu", IMU, making.an_imu(), 200)
    records += sequence("/os_cloud_node/imu", IMU, making.an_imu(), 100)
    dataset = open_dataset(making.write(tmp_path / "r.bag", records, "ros1"))
    check_whole(dataset)
    command = "--topic cam0=/alphasense/cam0/image_raw --topic cam1=/alphasense/cam1/image_raw"
    assert f"topics: {command} --topic imu=/alphasense/imu" in dataset.report.notes
    frame = next(open_dataset(tmp_path / "r.bag", inputs=InputConfig(cameras="2,3")).frames())
    assert np.array_equal(some(frame.images[0]), layouts.image(2, 0))


@pytest.mark.parametrize("kind", ["ros1", "mcap"])
def test_gyro_and_accelerometer_of_a_realsense_are_joined_at_the_times_of_the_gyro(tmp_path: Path, kind: str) -> None:
    records = [
        *sequence("/camera/infra1/image_rect_raw", IMAGE, making.a_picture(0), 10),
        *sequence("/camera/infra2/image_rect_raw", IMAGE, making.a_picture(1), 10),
        *sequence("/camera/gyro/sample", IMU, making.an_imu(accel=None), 400),
        *sequence("/camera/accel/sample", IMU, making.an_imu(gyro=None, ramp=2.0), 250),
    ]
    imu = some(open_dataset(making.write(target(tmp_path, kind), records, kind)).imu)
    gyro_ns = START_NS + np.arange(480) * 2_500_000
    last_accel_ns = START_NS + 299 * 4_000_000
    assert np.array_equal(imu.stamps_ns, gyro_ns[gyro_ns <= last_accel_ns])
    np.testing.assert_allclose(imu.gyro, np.tile([0.1, 0.2, 0.3], (len(imu), 1)))
    np.testing.assert_allclose(imu.accel[:, 0], 2.0 * (imu.stamps_ns - START_NS) / 1e9, atol=1e-9)
    np.testing.assert_allclose(imu.accel[:, 2], 9.81)


def test_a_gyro_alone_is_not_an_imu_without_force(tmp_path: Path) -> None:
    records = [r for r in stereo_imu() if r[2] == IMAGE] + sequence("/gyro", IMU, making.an_imu(accel=None), 200)
    assert open_dataset(making.write(tmp_path / "r", records)).imu is None


def test_a_still_noise_free_gyro_is_one(tmp_path: Path) -> None:
    records = [r for r in stereo_imu() if r[2] == IMAGE] + sequence("/imu", IMU, making.an_imu(gyro=(0, 0, 0)), 200)
    assert len(some(open_dataset(making.write(tmp_path / "r", records)).imu)) == 240


def test_of_two_pairs_the_one_with_the_clock_of_the_imu_is_read(tmp_path: Path) -> None:
    boot = 77 * 10**9 - START_NS  # one device counts from its start
    records = stereo_imu("/a/left", "/a/right", "/imu")
    records += sequence("/b/left", IMAGE, making.a_picture(0, clock_ns=boot), 10)
    records += sequence("/b/right", IMAGE, making.a_picture(1, clock_ns=boot), 10)
    assert next(open_dataset(making.write(tmp_path / "r", records)).frames()).stamp_ns == START_NS


# The calibration in the bag

Q = geometry.quaternion_xyzw(layouts.T_IMU_CAM[None, :3, :3])[0]
MOUNT = ("imu", "cam0", layouts.T_IMU_CAM[:3, 3], Q)
PAIR = ("cam0", "cam1", (layouts.BASELINE, 0, 0), (0, 0, 0, 1))


def calibrated(
    infos: Sequence[making.Make],
    transforms: Sequence[making.Transform] = (),
    image: str = "image_raw",
    imu: bool = True,
) -> list[making.Record]:
    records = [
        r for i in range(2) for r in sequence(f"/cam{i}/{image}", IMAGE, making.a_picture(i, frame=f"cam{i}"), 10)
    ]
    records += sequence("/imu0", IMU, making.an_imu(), 200) if imu else []
    for i, info in enumerate(infos):
        records += sequence(f"/cam{i}/camera_info", INFO, info, 10)
    return records + (sequence("/tf_static", TF, making.a_tf(*transforms), 1) if transforms else [])


@pytest.mark.parametrize("kind", ["ros1", "mcap"])
def test_camera_info_and_tf_static_are_the_calibration_where_none_is_given(tmp_path: Path, kind: str) -> None:
    D = [0.1, -0.02, 1e-3, 2e-3, 0.003]
    infos = [making.an_info("cam0", D), making.an_info("cam1", [0.01, 0.02, 0.03, 0.04], "equidistant")]
    transforms = [
        ("/imu", "base", (1.0, 2.0, 3.0), (0.0, 0.0, 1.0, 0.0)),
        ("base", "head", (4.0, 5.0, 6.0), (0.5, 0.5, 0.5, 0.5)),
    ]
    T_imu_base = geometry.transform(np.diag([-1.0, -1, 1]), np.array([1.0, 2, 3]))
    T_base_head = geometry.transform(np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]), np.array([4.0, 5, 6]))
    T_head_cam = geometry.inverse(T_imu_base @ T_base_head) @ layouts.T_IMU_CAM
    turn = geometry.quaternion_xyzw(T_head_cam[None, :3, :3])[0]
    transforms += [("head", "cam0", T_head_cam[:3, 3], turn), PAIR]
    rig = some(open_dataset(making.write(target(tmp_path, kind), calibrated(infos, transforms), kind)).rig)
    left, right = rig.cameras
    np.testing.assert_allclose(left.T_body_cam, layouts.T_IMU_CAM, atol=1e-9)
    np.testing.assert_allclose(right.T_body_cam, layouts.T_IMU_CAM @ layouts.T_CAM_RIGHT, atol=1e-9)
    assert (left.camera.model, left.camera.intrinsics) == ("pinhole-radtan", (50.0, 50.0, 31.5, 23.5))
    assert left.camera.distortion == tuple(D)
    assert (right.camera.model, right.camera.distortion) == ("pinhole-equidistant", (0.01, 0.02, 0.03, 0.04))
    assert (left.camera.width, left.camera.height) == (layouts.WIDTH, layouts.HEIGHT)


def test_the_mount_of_a_calibrated_pair_comes_from_its_rectification(tmp_path: Path) -> None:
    R0, R1 = (geometry.exp_so3(np.array(turn)) for turn in ((0.01, 0.02, 0.03), (-0.02, 0.01, 0.0)))
    infos = [
        making.an_info("cam0", R=R0.ravel().tolist()),
        making.an_info("cam1", R=R1.ravel().tolist(), baseline=0.25),
    ]
    dataset = open_dataset(making.write(tmp_path / "r", calibrated(infos)))
    right = some(dataset.rig).cameras[1].T_body_cam
    p_right = np.array([0.3, -0.2, 2.0])
    rectified_left = R0 @ (right[:3, :3] @ p_right + right[:3, 3])
    np.testing.assert_allclose(rectified_left - R1 @ p_right, [0.25, 0, 0], atol=1e-9)
    assert dataset.imu is None  # nothing tells where it sits
    assert any(
        note.startswith("calibration: imu not used: no tf_static joins imu and cam0") for note in dataset.report.notes
    )


def test_rectified_images_are_ideal_pinholes_by_their_projection(tmp_path: Path) -> None:
    matrix = [60.0, 0, 30.0, 0, 61.0, 20.0, 0, 0, 1]
    infos = [making.an_info(f"cam{i}", [0.1, 0, 0, 0, 0], matrix=matrix, baseline=0.1 * i) for i in range(2)]
    rig = some(open_dataset(making.write(tmp_path / "r", calibrated(infos, image="image_rect", imu=False))).rig)
    assert rig.cameras[0].camera.intrinsics == (60.0, 61.0, 30.0, 20.0)
    assert rig.cameras[0].camera.distortion == ()
    np.testing.assert_allclose(rig.cameras[1].T_body_cam[:3, 3], [0.1, 0, 0])


@pytest.mark.parametrize(
    ("infos", "reason"),
    [
        ([making.an_info("cam0")], "the bag has no camera_info for /cam1/image_raw"),
        ([making.an_info("cam0", matrix=[0.0] * 9), making.an_info("cam1")], "its matrix K is empty"),
        ([making.an_info("cam0", [0.1] * 4, "odd"), making.an_info("cam1")], "distortion model odd is not known"),
        (
            [making.an_info("cam0"), making.an_info("cam1")],
            "neither tf_static nor camera_info tells how /cam1/image_raw",
        ),
    ],
)
def test_where_the_bag_does_not_tell_the_calibration_it_is_told_why(
    tmp_path: Path, infos: list[making.Make], reason: str
) -> None:
    dataset = open_dataset(making.write(tmp_path / "r", calibrated(infos, [MOUNT])))
    assert dataset.rig is None
    assert any(reason in note for note in dataset.report.notes)


def test_a_given_calibration_counts_more_than_that_of_the_bag(tmp_path: Path) -> None:
    path = making.write(tmp_path / "r", calibrated([making.an_info("cam0"), making.an_info("cam1")], [MOUNT, PAIR]))
    given = some(open_dataset(path).rig)
    other = replace(given, cameras=(replace(given.cameras[0], time_offset_s=0.5), given.cameras[1]))
    assert open_dataset(path, other).rig is other


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_pixels_of_ten_to_sixteen_bits_fill_the_eight_that_are_kept(tmp_path: Path, bits: int) -> None:
    def picture(store: Typestore, i: int, stamp_ns: int) -> Any:
        pixels = np.asarray(layouts.image(0, i), np.uint16) << (bits - 8)
        row = np.hstack([pixels, np.zeros((len(pixels), 3), np.uint16)]).view(np.uint8)
        fields = (layouts.HEIGHT, layouts.WIDTH, "mono16", 0, row.shape[1], row.ravel())
        return store.types[IMAGE](making.header(store, stamp_ns), *fields)

    path = making.write(tmp_path / "r", sequence("/cam0/image_raw", IMAGE, picture, 10))
    dataset = open_dataset(path)
    for i, frame in enumerate(dataset.frames()):
        assert np.array_equal(some(frame.images[0]), layouts.image(0, i))
    assert f"/cam0/image_raw: images of 16 bits use {bits}, the upper 8 of these are taken" in dataset.report.notes


def test_a_dark_first_image_does_not_tell_how_many_bits_the_camera_uses(tmp_path: Path) -> None:
    def picture(store: Typestore, i: int, stamp_ns: int) -> Any:
        pixels = np.full((layouts.HEIGHT, layouts.WIDTH), 100 if i == 0 else 4000, np.uint16)
        fields = (layouts.HEIGHT, layouts.WIDTH, "mono16", 0, 2 * layouts.WIDTH, pixels.view(np.uint8).ravel())
        return store.types[IMAGE](making.header(store, stamp_ns), *fields)

    path = making.write(tmp_path / "r", sequence("/cam0/image_raw", IMAGE, picture, 10))
    assert [int(some(frame.images[0]).max()) for frame in open_dataset(path).frames()] == [6] + [250] * (FRAMES - 1)


def test_imu_readings_in_bursts_are_spread_and_told(tmp_path: Path) -> None:
    burst_ns = 50_000_000  # ten readings

    def stamped_on_arrival(record: making.Record) -> making.Record:
        recorded, topic, kind, make, i, stamp = record
        arrived = START_NS + ((stamp - START_NS) // burst_ns + 1) * burst_ns - 5_000_000
        return recorded, topic, kind, make, i, arrived if topic == "/imu0" else stamp

    def turning(store: Typestore, i: int, stamp_ns: int) -> Any:
        return making.an_imu(gyro=(0.001 * i, 0, 0))(store, i, stamp_ns)

    images = [record for record in stereo_imu() if record[1] != "/imu0"]
    records = [stamped_on_arrival(r) for r in images + sequence("/imu0", IMU, turning, 200)]
    dataset = open_dataset(making.write(tmp_path / "r", records))
    assert np.abs(some(dataset.imu).stamps_ns - START_NS - 5_000_000 * np.arange(240)).max() < 1000
    assert "/imu0: readings come in bursts of 10, spread evenly over the time between" in dataset.report.notes
