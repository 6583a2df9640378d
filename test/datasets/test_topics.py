# SPDX-License-Identifier: Apache-2.0
import pytest

from letvins_ros.datasets.topics import IMAGE_TYPES, IMU_TYPE, Topics, choose_topics
from letvins_ros.errors import DataError

IMAGE, COMPRESSED = IMAGE_TYPES


@pytest.mark.parametrize(
    ("images", "left", "right"),
    [
        (["/cam0/image_raw", "/cam1/image_raw"], "/cam0/image_raw", "/cam1/image_raw"),
        (["/cam1/image_raw", "/cam0/image_raw", "/color/image"], "/cam0/image_raw", "/cam1/image_raw"),
        (["/d/infra2/image", "/d/infra1/image", "/d/depth/image"], "/d/infra1/image", "/d/infra2/image"),
        (["/stereo/right/image", "/stereo/left/image"], "/stereo/left/image", "/stereo/right/image"),
        (["/kitti/image_1", "/kitti/image_0"], "/kitti/image_0", "/kitti/image_1"),
        (["/a/cam_1", "/a/cam_0"], "/a/cam_0", "/a/cam_1"),
        (["/a/cam_1", "/a/cam_2"], "/a/cam_1", "/a/cam_2"),
        (["/usb_cam/image_raw"], "/usb_cam/image_raw", None),
    ],
)
def test_stereo_pairs_are_known_by_their_names(images, left, right):
    topics = choose_topics(dict.fromkeys(images, IMAGE))
    assert topics == Topics(left, right)


def test_compressed_copies_give_way_to_the_raw_images():
    types = {"/cam0/image_raw": IMAGE, "/cam1/image_raw": IMAGE}
    types |= {f"{name}/compressed": COMPRESSED for name in types}
    assert choose_topics(types).left == "/cam0/image_raw"


def test_compressed_images_do_where_there_are_no_others():
    types = {f"/cam{i}/image_raw/compressed": COMPRESSED for i in range(2)}
    assert choose_topics(types).right == "/cam1/image_raw/compressed"


def test_an_imu_of_a_known_name_is_taken_and_a_single_one_of_any_name():
    assert choose_topics({"/a": IMAGE, "/imu0": IMU_TYPE, "/other": IMU_TYPE}).imu == "/imu0"
    assert choose_topics({"/a": IMAGE, "/my/device": IMU_TYPE}).imu == "/my/device"
    assert choose_topics({"/a": IMAGE}).imu is None


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({"/a": IMAGE, "/b": IMAGE}, r"2 image topics.*/a \(sensor_msgs/msg/Image\), /b"),
        ({"/imu0": IMU_TYPE}, r"0 image topics.*/imu0"),
        ({}, "the bag has no topics"),
        (
            dict.fromkeys(["/a/left", "/a/right", "/b/left", "/b/right"], IMAGE),
            "several stereo pairs: /a/left, /a/right, /b",
        ),
        ({"/a": IMAGE, "/x": IMU_TYPE, "/y": IMU_TYPE}, "several IMU topics.*: /x, /y"),
    ],
)
def test_an_unclear_choice_is_an_error_that_lists_the_topics(types, message):
    with pytest.raises(DataError, match=message):
        choose_topics(types)
