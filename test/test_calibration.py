# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from letvins_ros import geometry
from letvins_ros.calibration import ImuNoise, MountedCamera, Rig, choose_cameras, overlap, rig_from_dict, rig_to_dict
from letvins_ros.camera import Camera
from letvins_ros.errors import CalibrationError

from .some import some

T_BODY_CAM0 = geometry.transform(geometry.exp_so3(np.array([0.1, -0.2, 1.5])), np.array([-0.02, -0.06, 0.01]))
T_BODY_CAM1 = geometry.transform(geometry.exp_so3(np.array([0.12, -0.19, 1.49])), np.array([-0.02, 0.05, 0.01]))
NOISE = {"gyro_noise": 1.7e-4, "accel_noise": 2e-3, "gyro_walk": 1.9e-5, "accel_walk": 3e-3, "rate_hz": 200.0}


def some_rig(mask: np.ndarray | None = None, mask_path: str = "") -> Rig:
    left = Camera("pinhole-radtan", 8, 6, (4.0, 4.0, 3.5, 2.5), (-0.1, 0.01, 1e-4, -2e-4))
    right = Camera("double-sphere", 8, 6, (-0.2, 0.6, 4.0, 4.0, 3.5, 2.5))
    cameras = (MountedCamera(left, T_BODY_CAM0, 0.003, mask, mask_path), MountedCamera(right, T_BODY_CAM1))
    return Rig(cameras, ImuNoise(**NOISE))


def test_a_rig_survives_the_way_through_a_yaml_unchanged(tmp_path: Path) -> None:
    mask = np.full((6, 8), 255, np.uint8)
    mask[:2] = 0
    path = str(tmp_path / "mask.png")
    cv2.imwrite(path, mask)
    plain = rig_to_dict(some_rig(mask, path))
    rig = rig_from_dict(yaml.safe_load(yaml.safe_dump(plain)))
    assert rig_to_dict(rig) == plain
    assert rig.imu == ImuNoise(**NOISE)
    for got, expected in zip(rig.cameras, some_rig().cameras, strict=True):
        assert vars(got.camera) == vars(expected.camera)
        assert got.time_offset_s == expected.time_offset_s
        np.testing.assert_array_equal(got.T_body_cam, expected.T_body_cam)
    np.testing.assert_array_equal(rig.cameras[0].mask, mask)
    assert rig.cameras[1].mask is None


def test_the_plain_rig_has_only_lists_of_floats_that_are_not_empty() -> None:
    for key in ("intrinsics", "distortion", "T_body_cam"):
        assert all(type(v) is float for v in rig_to_dict(some_rig())["camera0"][key])
    assert "distortion" not in rig_to_dict(some_rig())["camera1"]


def test_a_rig_without_imu_has_no_imu_key() -> None:
    plain = rig_to_dict(replace(some_rig(), imu=None))
    assert "imu" not in plain
    assert rig_from_dict(plain).imu is None


def test_a_mask_is_found_relative_to_the_folder(tmp_path: Path) -> None:
    plain = rig_to_dict(some_rig())
    plain["camera1"]["mask"] = "mask.png"
    with pytest.raises(CalibrationError, match=r"camera1: mask .*mask\.png is missing or no image"):
        rig_from_dict(plain, tmp_path)
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((6, 9), np.uint8))
    with pytest.raises(CalibrationError, match=r"mask\.png must be uint8 \(6, 8\), got uint8 \(6, 9\)"):
        rig_from_dict(plain, tmp_path)
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((6, 8, 3), np.uint8))
    assert some(rig_from_dict(plain, tmp_path).cameras[1].mask).shape == (6, 8)


def test_a_mask_that_is_in_no_file_cannot_be_written() -> None:
    with pytest.raises(CalibrationError, match="the mask of camera0 comes from no file: set mask_path"):
        rig_to_dict(some_rig(np.zeros((6, 8), np.uint8)))


def test_a_rotation_rounded_to_few_digits_is_mended() -> None:
    plain = rig_to_dict(some_rig())
    plain["camera0"]["T_body_cam"] = np.round(T_BODY_CAM0, 3).ravel().tolist()
    R = rig_from_dict(plain).cameras[0].T_body_cam[:3, :3]
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(R, T_BODY_CAM0[:3, :3], atol=2e-3)


@pytest.mark.parametrize(
    ("T", "message"),
    [
        (T_BODY_CAM0 * 1.01, "no rigid transform: its rotation is off by inf, .*last row"),
        (
            T_BODY_CAM0 @ np.diag([1.01, 1, 1, 1]),
            "camera0: T_body_cam is no rigid transform: its rotation is off by 0.02,",
        ),
        (T_BODY_CAM0 @ np.diag([1, -1, 1, 1]), r"determinant -1"),
        (T_BODY_CAM0[:3], "camera0: T_body_cam must hold 16 numbers, got 12"),
    ],
)
def test_a_matrix_that_is_no_rigid_transform_is_refused(T: np.ndarray, message: str) -> None:
    plain = rig_to_dict(some_rig())
    plain["camera0"]["T_body_cam"] = np.ravel(T).tolist()
    with pytest.raises(CalibrationError, match=message):
        rig_from_dict(plain)


@pytest.mark.parametrize("T", [np.eye(3), np.eye(4) * 2, np.full((4, 4), np.nan)])
def test_a_camera_cannot_be_mounted_with_a_pose_that_is_not_rigid(T: np.ndarray) -> None:
    with pytest.raises(CalibrationError, match="T_body_cam is no rigid transform"):
        MountedCamera(some_rig().cameras[0].camera, T)


def test_impossible_rigs_are_refused() -> None:
    left = some_rig().cameras[0]
    with pytest.raises(CalibrationError, match="camera0 and camera1 are less than 1 mm apart: stereo needs a baseline"):
        Rig((left, left), None)
    with pytest.raises(CalibrationError, match="a rig needs at least one camera"):
        Rig((), None)
    with pytest.raises(CalibrationError, match="gyro_noise must be positive, got 0"):
        ImuNoise(0.0, 1.0, 1.0, 1.0)
    with pytest.raises(CalibrationError, match="time_offset_s must be finite, got nan"):
        replace(left, time_offset_s=np.nan)


def mounted(
    yaw_deg: float, place: tuple[float, float, float] = (0.0, 0.0, 0.0), focal_px: float = 300.0
) -> MountedCamera:
    """A camera of 640 x 480 whose optical axis (z of a body with y down) is turned about y."""
    turn = geometry.exp_so3(np.array([0.0, np.deg2rad(yaw_deg), 0.0]))
    camera = Camera("pinhole-radtan", 640, 480, (focal_px, focal_px, 319.5, 239.5))
    return MountedCamera(camera, geometry.transform(turn, np.array(place)))


FRONT, FRONT_RIGHT, BACK, BACK_RIGHT, SIDE = (
    mounted(0), mounted(0, (0.1, 0, 0)), mounted(180, (0, 0, -0.1)), mounted(180, (0.1, 0, -0.1)), mounted(90)
)  # fmt: skip


@pytest.mark.parametrize(
    ("cameras", "groups"),
    [
        ((FRONT,), ((0,),)),
        ((FRONT, FRONT_RIGHT), ((0, 1),)),
        ((FRONT, BACK), ((0,), (1,))),
        ((FRONT, FRONT_RIGHT, BACK), ((0, 1), (2,))),
        ((BACK, FRONT, FRONT_RIGHT), ((0,), (1, 2))),
        ((FRONT, BACK, FRONT_RIGHT, BACK_RIGHT), ((0, 2), (1, 3))),
        ((FRONT, SIDE, BACK, mounted(-90)), ((0,), (1,), (2,), (3,))),
        ((FRONT, mounted(20, (0.2, 0, 0)), FRONT_RIGHT), ((0, 2), (1,))),  # the best pair of three
    ],
)
def test_the_cameras_that_share_most_of_their_views_are_pairs(
    cameras: tuple[MountedCamera, ...], groups: tuple[tuple[int, ...], ...]
) -> None:
    assert Rig(cameras, None).groups == groups


def test_the_overlap_of_two_views_is_the_share_that_the_narrower_has_in_common() -> None:
    assert overlap(FRONT, BACK) == 0
    assert overlap(FRONT, mounted(0, (0.0, 1e-9, 0.0))) > 0.99
    half = mounted(np.rad2deg(np.arctan(320 / 300)))  # its axis is the other's right border
    assert 0.3 < overlap(FRONT, half) < 0.5
    narrow = mounted(0, focal_px=600.0)
    assert overlap(FRONT, narrow) == overlap(narrow, FRONT) > 0.9


def test_cameras_at_one_place_are_a_rig_where_they_look_elsewhere() -> None:
    assert Rig((FRONT, mounted(180)), None).groups == ((0,), (1,))
    with pytest.raises(CalibrationError, match="camera1 and camera2 are less than 1 mm apart"):
        Rig((FRONT, BACK, mounted(185, (0, 0, -0.1))), None)


def test_a_rig_has_at_most_four_cameras() -> None:
    with pytest.raises(CalibrationError, match="a rig has at most 4 cameras, got 5"):
        Rig((FRONT, BACK, SIDE, FRONT_RIGHT, BACK_RIGHT), None)


def test_a_missing_key_is_named_with_its_camera() -> None:
    plain = rig_to_dict(some_rig())
    del plain["camera1"]["width"]
    with pytest.raises(CalibrationError, match="camera1: width is missing"):
        rig_from_dict(plain)
    plain = rig_to_dict(some_rig())
    plain["camera2"] = plain.pop("camera1")
    with pytest.raises(
        CalibrationError, match=r"cameras must be numbered camera0, camera1, \.\., got camera0, camera2"
    ):
        rig_from_dict(plain)
    plain = rig_to_dict(some_rig())
    plain["imu"]["accel_walk"] = -1
    with pytest.raises(CalibrationError, match=r"imu: accel_walk must be positive, got -1\.0"):
        rig_from_dict(plain)


def test_cameras_of_a_rig_are_chosen_by_number() -> None:
    places = [geometry.transform(np.eye(3), np.array([0.1 * i, 0.0, 0.0])) for i in range(4)]
    four = Rig(tuple(replace(some_rig().cameras[0], T_body_cam=T) for T in places), None)
    assert choose_cameras(four, ()) is four
    assert [m.T_body_cam[0, 3] for m in choose_cameras(four, (3, 1)).cameras] == [0.1 * 3, 0.1]
    pair = Rig(four.cameras[2:], None)
    assert choose_cameras(pair, (2, 3)) is pair  # made for these two
    with pytest.raises(CalibrationError, match="camera 2 is not in the calibration, which has 0 to 1"):
        choose_cameras(pair, (2,))
