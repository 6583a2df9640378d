# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from letvins_ros.datasets.topics import IMAGE_TYPES, IMU_TYPE, Candidate, Topics, choose_topics
from letvins_ros.errors import DataError

IMAGE, COMPRESSED = (Candidate(kind, 20.0) for kind in IMAGE_TYPES)
IMU = Candidate(IMU_TYPE, 200.0)


@pytest.mark.parametrize(
    ("images", "cameras"),
    [
        (["/cam0/image_raw", "/cam1/image_raw"], ("/cam0/image_raw", "/cam1/image_raw")),
        (["/cam1/image_raw", "/cam0/image_raw", "/color/image"], ("/cam0/image_raw", "/cam1/image_raw")),
        (["/d/infra2/image", "/d/infra1/image", "/d/depth/image"], ("/d/infra1/image", "/d/infra2/image")),
        (["/stereo/right/image", "/stereo/left/image"], ("/stereo/left/image", "/stereo/right/image")),
        (["/kitti/image_1", "/kitti/image_0"], ("/kitti/image_0", "/kitti/image_1")),
        (["/a/cam_1", "/a/cam_0"], ("/a/cam_0", "/a/cam_1")),
        (["/a/cam_1", "/a/cam_2"], ("/a/cam_1", "/a/cam_2")),
        (["/snappy_cam/stereo_l", "/snappy_cam/stereo_r"], ("/snappy_cam/stereo_l", "/snappy_cam/stereo_r")),
        (
            ["/camera/fisheye1/image_raw", "/camera/fisheye2/image_raw"],
            ("/camera/fisheye1/image_raw", "/camera/fisheye2/image_raw"),
        ),
        (["/usb_cam/image_raw"], ("/usb_cam/image_raw",)),
        (["/camera/color/image_raw", "/camera/depth/image_rect_raw"], ("/camera/color/image_raw",)),
        (["/cam/image_raw", "/cam/image_rect"], ("/cam/image_raw",)),
        (
            ["/s/left/image_raw", "/s/right/image_raw", "/s/left/image_rect", "/s/right/image_rect"],
            ("/s/left/image_raw", "/s/right/image_raw"),
        ),
    ],
)
def test_cameras_are_known_by_their_names(images: list[str], cameras: tuple[str, str] | tuple[str]) -> None:
    assert choose_topics(dict.fromkeys(images, IMAGE)) == Topics(cameras)


def test_cameras_of_a_rig_are_chosen_by_number() -> None:
    types = {f"/alphasense/cam{i}/image_raw": IMAGE for i in range(4)}
    assert choose_topics(types).cameras == ("/alphasense/cam0/image_raw", "/alphasense/cam1/image_raw")
    assert choose_topics(types, numbers=(3, 1)).cameras == ("/alphasense/cam3/image_raw", "/alphasense/cam1/image_raw")
    with pytest.raises(DataError, match="cameras 2, 4 wanted of /alphasense/cam0/image_raw, "):
        choose_topics(types, numbers=(2, 4))


def test_compressed_copies_give_way_to_the_raw_images() -> None:
    types = {"/cam0/image_raw": IMAGE, "/cam1/image_raw": IMAGE}
    types |= {f"{name}/compressed": COMPRESSED for name in types}
    assert choose_topics(types).cameras == ("/cam0/image_raw", "/cam1/image_raw")


def test_compressed_images_do_where_there_are_no_others() -> None:
    types = {f"/cam{i}/image_raw/compressed": COMPRESSED for i in range(2)}
    assert choose_topics(types).cameras[1] == "/cam1/image_raw/compressed"


def test_of_two_pairs_the_one_with_the_clock_of_the_imu_is_taken() -> None:
    pairs = {f"/{rig}/{side}/image_raw": IMAGE for rig in "ab" for side in ("left", "right")}
    for rig in "ab":
        clocks = {name: replace(topic, clock_s=-9e8 if name[1] == rig else 0.002) for name, topic in pairs.items()}
        imu = {"/imu": replace(IMU, clock_s=-9e8)}
        assert choose_topics(clocks | imu).cameras == (f"/{rig}/left/image_raw", f"/{rig}/right/image_raw")


def test_of_two_pairs_of_one_clock_the_one_beside_the_imu_is_taken() -> None:
    pairs = {f"/{rig}/{side}/image_raw": IMAGE for rig in "ab" for side in ("left", "right")}
    assert choose_topics(pairs | {"/b/imu": IMU}).cameras == ("/b/left/image_raw", "/b/right/image_raw")


def test_an_imu_of_a_known_name_is_taken_and_a_single_one_of_any_name() -> None:
    assert choose_topics({"/a": IMAGE, "/imu0": IMU, "/other": replace(IMU, rate_hz=1000)}).imu == "/imu0"
    assert choose_topics({"/a": IMAGE, "/my/device": IMU}).imu == "/my/device"
    assert choose_topics({"/a": IMAGE}).imu is None


def test_of_several_imus_the_fastest_with_gyro_and_accelerometer_is_taken() -> None:
    imus = {
        "/mavros/imu/data": replace(IMU, rate_hz=50.0),
        "/vectornav/IMU": replace(IMU, rate_hz=200.0),
        "/fast/gyro": replace(IMU, rate_hz=400.0, has_accel=False),
        "/imu": replace(IMU, has_accel=False),
    }
    assert choose_topics({"/a": IMAGE} | imus).imu == "/vectornav/IMU"
    assert (
        choose_topics({"/a": IMAGE, "/mavros/imu/data": IMU, "/mavros/imu/data_raw": IMU}).imu == "/mavros/imu/data_raw"
    )


def test_gyro_and_accelerometer_of_their_own_topics_belong_together_and_a_gyro_alone_is_no_imu() -> None:
    gyro = {"/camera/gyro/sample": replace(IMU, rate_hz=400.0, has_accel=False)}
    accel = {"/camera/accel/sample": replace(IMU, rate_hz=250.0, has_gyro=False)}
    topics = choose_topics({"/a": IMAGE} | gyro | accel)
    assert (topics.imu, topics.accel) == ("/camera/gyro/sample", "/camera/accel/sample")
    assert topics.command() == "--topic cam0=/a --topic gyro=/camera/gyro/sample --topic accel=/camera/accel/sample"
    for alone in (gyro, accel):
        assert choose_topics({"/a": IMAGE} | alone).imu is None


def test_gyro_and_accelerometer_are_those_of_the_device_with_the_cameras() -> None:
    types = {f"/t265/fisheye{i}/image_raw": IMAGE for i in (1, 2)} | {"/d400/color/image_raw": IMAGE}
    for device, rates in (("d400", (400.0, 250.0)), ("t265", (200.0, 62.0))):
        types[f"/{device}/gyro/sample"] = Candidate(IMU_TYPE, rates[0], has_accel=False)
        types[f"/{device}/accel/sample"] = Candidate(IMU_TYPE, rates[1], has_gyro=False)
    topics = choose_topics(types)
    assert topics.cameras == ("/t265/fisheye1/image_raw", "/t265/fisheye2/image_raw")
    assert (topics.imu, topics.accel) == ("/t265/gyro/sample", "/t265/accel/sample")
    del types["/t265/accel/sample"]
    assert choose_topics(types).accel == "/d400/accel/sample"
    assert choose_topics(types).imu == "/d400/gyro/sample"


def test_topics_that_are_named_are_taken() -> None:
    types = {"/a": IMAGE, "/b": IMAGE, "/x": IMU, "/y": IMU, "/z": replace(IMU, has_accel=False)}
    given = {"cam0": "/b", "cam1": "/a", "imu": "/y"}
    assert choose_topics(types, given) == Topics(("/b", "/a"), "/y")
    assert choose_topics(types, {"cam0": "/b"}).cameras == ("/b",)
    assert choose_topics(types, {"cam0": "/b", "gyro": "/z", "accel": "/x"}) == Topics(("/b",), "/z", "/x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"cam0": "/c"},
            r"no topic /c for cam0; choose with --topic ROLE=NAME from /a \(sensor_msgs/msg/Image, 20 Hz\)",
        ),
        ({"cam0": "/x"}, r"topic /x for cam0 holds sensor_msgs/msg/Imu; choose .* /a \("),
        ({"imu": "/a"}, r"topic /a for imu holds sensor_msgs/msg/Image; choose .* /x \(sensor_msgs/msg/Imu, 200 Hz\)"),
        ({"cam1": "/a"}, "cameras are named from cam0 on without a gap, got cam1"),
        ({"gyro": "/x"}, "topics of gyro and accel belong together: name both"),
    ],
)
def test_a_named_topic_that_does_not_fit_is_an_error_with_those_that_do(given: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_topics({"/a": IMAGE, "/x": IMU}, given)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({"/a": IMAGE, "/b": IMAGE}, r"2 image topics.*/a \(sensor_msgs/msg/Image, 20 Hz\), /b"),
        ({"/imu0": IMU}, r"0 image topics.* none of type .* among /imu0"),
        ({}, "among no topics at all"),
        (
            dict.fromkeys(["/a/left", "/a/right", "/b/left", "/b/right"], IMAGE),
            r"several stereo pairs; choose with --topic ROLE=NAME from /a/left \(.*\), /a/right \(.*\), /b",
        ),
    ],
)
def test_an_unclear_choice_is_an_error_that_lists_the_candidates(types: dict[str, Candidate], message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_topics(types)
