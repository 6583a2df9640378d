# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.calibration import ImuNoise, Rig, read_euroc_rig, read_rig
from letvins_ros.errors import CalibrationError, ConfigError

from .some import some

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"
T_BODY_CAM0 = geometry.transform(geometry.exp_so3(np.array([0.1, -0.2, 1.5])), np.array([-0.02, -0.06, 0.01]))
T_BODY_CAM1 = geometry.transform(geometry.exp_so3(np.array([0.12, -0.19, 1.49])), np.array([-0.02, 0.05, 0.01]))
NOISE = {"gyro_noise": 1.7e-4, "accel_noise": 2e-3, "gyro_walk": 1.9e-5, "accel_walk": 3e-3, "rate_hz": 200.0}
IMU_YAML = """\
accelerometer_noise_density: 2.0e-3
accelerometer_random_walk: 3e-3
gyroscope_noise_density: 1.7e-4
gyroscope_random_walk: 1.9e-5
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rows(T: np.ndarray) -> str:
    return "\n".join(f"  - [{', '.join(map(repr, row))}]" for row in T.tolist())


def assert_same_poses(rig: Rig) -> None:
    np.testing.assert_allclose(rig.cameras[0].T_body_cam, T_BODY_CAM0, atol=1e-12)
    if len(rig.cameras) > 1:
        np.testing.assert_allclose(rig.cameras[1].T_body_cam, T_BODY_CAM1, atol=1e-12)


# EuRoC


def euroc_camera(T_BS: np.ndarray, extra: str = "") -> str:
    values = ",\n    ".join(", ".join(map(repr, row)) for row in T_BS.tolist())
    return f"""\
# General sensor definitions.
sensor_type: camera
comment: VI-Sensor cam0 (MT9M034)
comment: a second comment

T_BS:
  cols: 4
  rows: 4
  data: [{values}]
rate_hz: 20
resolution: [752, 480]
camera_model: pinhole
intrinsics: [458.654, 457.296, 367.215, 248.375] #fu, fv, cu, cv
distortion_model: radial-tangential
distortion_coefficients: [-0.28340811, 7.395907e-2, 0.00019359, 1.76187114e-05]
{extra}"""


def euroc_folder(root: Path, T_base_imu: np.ndarray | None = None) -> Path:
    """T_BS of a sensor takes its points to the base, which is the IMU unless T_base_imu says otherwise."""
    T_base_imu = np.eye(4) if T_base_imu is None else T_base_imu
    write(root / "mav0" / "cam0" / "sensor.yaml", euroc_camera(T_base_imu @ T_BODY_CAM0))
    write(root / "mav0" / "cam1" / "sensor.yaml", euroc_camera(T_base_imu @ T_BODY_CAM1))
    T = f"T_BS:\n  rows: 4\n  cols: 4\n  data: {T_base_imu.ravel().tolist()}\n"
    write(root / "mav0" / "imu0" / "sensor.yaml", f"sensor_type: imu\n{T}rate_hz: 200\n{IMU_YAML}")
    return root


@pytest.mark.parametrize("sub", ["", "mav0"])
def test_euroc_folder_is_read_with_and_without_mav0(tmp_path: Path, sub: str) -> None:
    for read in (read_euroc_rig, read_rig):
        rig = read(euroc_folder(tmp_path) / sub)
        assert_same_poses(rig)
        assert rig.imu == ImuNoise(**NOISE)
        camera = rig.cameras[0].camera
        assert (camera.model, camera.width, camera.height) == ("pinhole-radtan", 752, 480)
        assert camera.intrinsics == (458.654, 457.296, 367.215, 248.375)
        assert camera.distortion == (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05)


def test_euroc_poses_are_taken_to_the_imu_when_it_is_not_the_base(tmp_path: Path) -> None:
    T_base_imu = geometry.transform(geometry.exp_so3(np.array([0.0, 0.5, 0.0])), np.array([1.0, 2.0, 3.0]))
    assert_same_poses(read_euroc_rig(euroc_folder(tmp_path, T_base_imu)))


def test_euroc_folder_may_lack_the_right_camera_and_the_imu(tmp_path: Path) -> None:
    euroc_folder(tmp_path)
    (tmp_path / "mav0/cam1/sensor.yaml").unlink()
    (tmp_path / "mav0/imu0/sensor.yaml").unlink()
    rig = read_euroc_rig(tmp_path)
    assert len(rig.cameras) == 1 and rig.imu is None


def test_euroc_folder_must_have_the_left_camera(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cam0.sensor\.yaml: No such file or directory"):
        read_euroc_rig(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("resolution: [752, 480]", "", r"cam0.sensor\.yaml: resolution is missing"),
        ("resolution: [752, 480]", "resolution: [752]", r"sensor\.yaml: resolution must hold 2 numbers, got 1"),
        ("752, 480", "752, big", r"sensor\.yaml: resolution must hold numbers, got \[752, 'big'\]"),
        ("248.375]", ".nan]", r"sensor\.yaml: intrinsics must hold finite numbers"),
        (
            "model: pinhole",
            "model: fov",
            "camera model fov with distortion radial-tangential is not supported; known: ",
        ),
        ("458.654,", "", "camera0: pinhole-radtan needs intrinsics fx, fy, cx, cy, got 3 numbers"),
        ("T_BS:", "T_BS: [", r"sensor\.yaml line \d+: not valid YAML: "),
        ("rate_hz: 20", "rate_hz: 2020-13-13", r"sensor\.yaml: not valid YAML: month must be in 1..12"),
    ],
)
def test_a_broken_euroc_file_is_named_with_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = euroc_folder(tmp_path) / "mav0" / "cam0" / "sensor.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises((CalibrationError, ConfigError), match=message) as error:
        read_euroc_rig(tmp_path)
    assert "\n" not in str(error.value)


def test_a_sensor_yaml_alone_points_to_its_folder(tmp_path: Path) -> None:
    path = euroc_folder(tmp_path) / "mav0" / "cam0" / "sensor.yaml"
    with pytest.raises(CalibrationError, match=r"sensor\.yaml: is neither .* give the folder above cam0 instead"):
        read_rig(path)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the real recordings are not beside the repository")
def test_the_real_euroc_files_are_read() -> None:
    for name in ("euroc_mh01_clip", "rendered_hall"):
        rig = read_euroc_rig(REAL_DATA / name)
        assert len(rig.cameras) == 2
        assert rig.imu == ImuNoise(1.6968e-4, 2e-3, 1.9393e-5, 3e-3, 200.0)


# Kalibr


def kalibr_camera(
    name: str, T_cam_imu: np.ndarray, /, model: str = "pinhole", distortion: str = "radtan", **changed: str
) -> str:
    intrinsics = {"pinhole": "", "omni": "0.9, ", "ds": "-0.2, 0.6, "}[model] + "300.0, 301.0, 320.0, 240.0"
    coefficients = "[]" if distortion == "none" else "[0.01, 0.002, 3e-4, -4e-4]"
    lines = {
        "camera_model": model,
        "distortion_model": distortion,
        "distortion_coeffs": coefficients,
        "intrinsics": f"[{intrinsics}]",
        "resolution": "[640, 480]",
        "rostopic": "/cam",
        "T_cam_imu": f"\n{rows(T_cam_imu)}",
        "timeshift_cam_imu": "-0.0125",
    } | changed
    return f"{name}:\n" + "".join(f"  {key}: {value}\n" for key, value in lines.items() if value)


def camchain(path: Path, **changed: str) -> Path:
    cam0 = kalibr_camera("cam0", geometry.inverse(T_BODY_CAM0), **changed)
    return write(path, cam0 + kalibr_camera("cam1", geometry.inverse(T_BODY_CAM1), **changed))


@pytest.mark.parametrize(
    ("model", "distortion", "ours"),
    [
        ("pinhole", "radtan", "pinhole-radtan"),
        ("pinhole", "equidistant", "pinhole-equidistant"),
        ("pinhole", "none", "pinhole-radtan"),
        ("omni", "radtan", "mei-radtan"),
        ("ds", "none", "double-sphere"),
    ],
)
def test_kalibr_chain_is_read_with_the_imu_file_beside_it(
    tmp_path: Path, model: str, distortion: str, ours: str
) -> None:
    path = camchain(tmp_path / "camchain-imucam.yaml", model=model, distortion=distortion)
    write(tmp_path / "imu.yaml", IMU_YAML + "update_rate: 200.0\nrostopic: /imu0\n")
    rig = read_rig(path)
    assert_same_poses(rig)
    assert rig.imu == ImuNoise(**NOISE)
    assert [m.time_offset_s for m in rig.cameras] == [-0.0125, -0.0125]
    assert rig.cameras[0].camera.model == ours
    assert rig.cameras[0].camera.intrinsics[-4:] == (300.0, 301.0, 320.0, 240.0)
    assert rig.cameras[0].camera.distortion == (() if distortion == "none" else (0.01, 0.002, 3e-4, -4e-4))


def test_kalibr_imu_file_may_be_named_and_nested(tmp_path: Path) -> None:
    nested = "imu0:\n" + "".join(f"  {line}\n" for line in (IMU_YAML + "update_rate: 200").splitlines())
    imu = write(tmp_path / "elsewhere" / "calibrated.yaml", nested)
    assert read_rig(camchain(tmp_path / "camchain.yaml"), imu).imu == ImuNoise(**NOISE)


def test_kalibr_chain_without_imu_file_has_no_imu(tmp_path: Path) -> None:
    rig = read_rig(camchain(tmp_path / "camchain.yaml"))
    assert_same_poses(rig)
    assert rig.imu is None


def test_kalibr_cameras_can_hang_on_one_another(tmp_path: Path) -> None:
    T_cam1_cam0 = geometry.inverse(T_BODY_CAM1) @ T_BODY_CAM0
    linked = kalibr_camera("cam1", np.eye(4), T_cam_imu="", T_cn_cnm1=f"\n{rows(T_cam1_cam0)}")
    path = write(tmp_path / "camchain.yaml", kalibr_camera("cam0", geometry.inverse(T_BODY_CAM0)) + linked)
    assert_same_poses(read_rig(path))
    path.write_text(kalibr_camera("cam0", np.eye(4), T_cam_imu="") + linked)  # cameras only: cam0 is the body
    np.testing.assert_allclose(read_rig(path).cameras[0].T_body_cam, np.eye(4))
    np.testing.assert_allclose(geometry.inverse(read_rig(path).cameras[1].T_body_cam), T_cam1_cam0, atol=1e-12)


def test_openvins_chain_with_the_inverse_pose_is_read(tmp_path: Path) -> None:
    cameras = (("cam0", T_BODY_CAM0), ("cam1", T_BODY_CAM1))
    text = "".join(kalibr_camera(name, T, T_cam_imu="", T_imu_cam=f"\n{rows(T)}") for name, T in cameras)
    assert_same_poses(read_rig(write(tmp_path / "kalibr_imucam_chain.yaml", "%YAML:1.0\n" + text)))


def test_several_imu_files_beside_the_chain_must_be_chosen_from(tmp_path: Path) -> None:
    path = camchain(tmp_path / "camchain.yaml")
    for name in ("imu.yaml", "imu2.yaml"):
        write(tmp_path / name, IMU_YAML + "update_rate: 200\n")
    with pytest.raises(
        CalibrationError,
        match=r"camchain\.yaml: several IMU files beside it \(imu\.yaml, imu2\.yaml\): name one with --imu",
    ):
        read_rig(path)
    assert read_rig(path, tmp_path / "imu.yaml").imu == ImuNoise(**NOISE)


def test_a_broken_kalibr_file_is_named_with_camera_and_key(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"camchain\.yaml: cam0: resolution is missing"):
        read_rig(camchain(tmp_path / "camchain.yaml", resolution=""))
    with pytest.raises(CalibrationError, match=r"camera model cubic with distortion none is not supported; known: "):
        read_rig(camchain(tmp_path / "camchain.yaml", camera_model="cubic", distortion_model="none"))
    write(tmp_path / "imu.yaml", IMU_YAML)
    with pytest.raises(CalibrationError, match=r"camchain\.yaml: .*imu\.yaml: update_rate is missing"):
        read_rig(camchain(tmp_path / "camchain.yaml"))


# VINS-Fusion


def opencv_matrix(name: str, T: np.ndarray) -> str:
    data = ",\n\t   ".join(", ".join(map(repr, row)) for row in T.tolist())
    return f"{name}: !!opencv-matrix\n   rows: 4\n   cols: 4\n   dt: d\n   data: [{data}]\n"


def vins_config(folder: Path, cameras: int = 2, imu: int = 1) -> Path:
    text = f"""%YAML:1.0

#common parameters
imu: {imu}
num_of_cam: {cameras}
imu_topic: "/imu0"
output_path: "~/output/"
cam0_calib: "cam0.yaml"
cam1_calib: "cam1.yaml"
image_width: 752
estimate_extrinsic: 0
{opencv_matrix("body_T_cam0", T_BODY_CAM0)}{opencv_matrix("body_T_cam1", T_BODY_CAM1)}
acc_n: 0.1          # accelerometer measurement noise standard deviation.
gyr_n: 0.01
acc_w: 0.001
gyr_w: 1e-4
td: 0.005           # readed image clock + td = real image clock (IMU clock)
"""
    mei = """%YAML:1.0
---
model_type: MEI
camera_name: camera
image_width: 752
image_height: 480
mirror_parameters:
   xi: 0.81261505894146113
distortion_parameters:
   k1: -0.34247886078397966
   k2: 0.17108792755973357
   p1: -6.6653144364906686e-04
   p2: 7.2311255846767091e-04
projection_parameters:
   gamma1: 834.06249735437791
   gamma2: 831.40606765916948
   u0: 374.32007355249738
   v0: 254.22391621480082
"""
    kannala = """%YAML:1.0
---
model_type: KANNALA_BRANDT
image_width: 512
image_height: 512
projection_parameters:
   k2: 0.0034
   k3: 7e-4
   k4: -0.002
   k5: 0.0002
   mu: 190.9
   mv: 190.8
   u0: 254.9
   v0: 256.8
"""
    write(folder / "cam0.yaml", mei)
    write(folder / "cam1.yaml", kannala)
    return write(folder / "vins.yaml", text)


def test_vins_configuration_is_read_with_its_camera_files(tmp_path: Path) -> None:
    rig = read_rig(vins_config(tmp_path))
    assert_same_poses(rig)
    mei, kannala = (mounted.camera for mounted in rig.cameras)
    assert (mei.model, mei.width, mei.height) == ("mei-radtan", 752, 480)
    assert mei.intrinsics == (
        0.81261505894146113,
        834.06249735437791,
        831.40606765916948,
        374.32007355249738,
        254.22391621480082,
    )
    assert mei.distortion == (-0.34247886078397966, 0.17108792755973357, -6.6653144364906686e-4, 7.2311255846767091e-4)
    assert (kannala.model, kannala.intrinsics) == ("pinhole-equidistant", (190.9, 190.8, 254.9, 256.8))
    assert kannala.distortion == (0.0034, 7e-4, -0.002, 0.0002)
    assert rig.cameras[0].time_offset_s == 0.005


def test_vins_noise_per_sample_becomes_a_density(tmp_path: Path) -> None:
    imu = some(read_rig(vins_config(tmp_path)).imu)
    assert imu.accel_noise == pytest.approx(0.1 * np.sqrt(1 / 200))
    assert imu.gyro_noise == pytest.approx(0.01 * np.sqrt(1 / 200))
    assert imu.accel_walk == pytest.approx(0.001 * np.sqrt(1 / 200))
    assert imu.gyro_walk == pytest.approx(1e-4 * np.sqrt(1 / 200))


def test_vins_configuration_may_have_one_camera_and_no_imu(tmp_path: Path) -> None:
    rig = read_rig(vins_config(tmp_path, cameras=1, imu=0))
    assert len(rig.cameras) == 1 and rig.imu is None


def test_a_broken_vins_file_is_named_with_its_key(tmp_path: Path) -> None:
    path = vins_config(tmp_path)
    camera = tmp_path / "cam0.yaml"
    text = camera.read_text()
    camera.write_text(text.replace("gamma2", "gama2"))
    with pytest.raises(CalibrationError, match=r"vins\.yaml: .*cam0\.yaml: gamma2 is missing"):
        read_rig(path)
    camera.write_text(text.replace("MEI", "SCARAMUZZA"))
    with pytest.raises(CalibrationError, match=r"cam0\.yaml: camera model SCARAMUZZA is not supported; known: PINHOLE"):
        read_rig(path)
    camera.unlink()
    with pytest.raises(ConfigError, match=r"cam0\.yaml: No such file or directory"):
        read_rig(path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"x\.yaml: is neither a Kalibr camera chain \(cam0\), VINS-Fusion"):
        read_rig(write(tmp_path / "x.yaml", "a: 1\n"))
    with pytest.raises(ConfigError, match=r"x\.yaml: must hold keys and values, got list"):
        read_rig(write(tmp_path / "x.yaml", "- 1\n"))
    with pytest.raises(ConfigError, match=r"gone\.yaml: No such file or directory"):
        read_rig(tmp_path / "gone.yaml")
