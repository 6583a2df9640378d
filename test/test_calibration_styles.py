# SPDX-License-Identifier: Apache-2.0
"""Calibrations in the published form of other programs, with the oddities of real files."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from letvins_ros import geometry
from letvins_ros.calibration import ImuNoise, Rig, read_calibration, read_rig
from letvins_ros.errors import CalibrationError

from . import calibration_readers as readers
from .some import some


@dataclass
class Truth:
    """What a file says: cameras with the same size, poses on the IMU, noise densities."""

    T: list[np.ndarray]
    fxycxy: list[list[float]]
    D: list[list[float]]
    size: tuple[int, ...] = (752, 480)
    noise: tuple[float, ...] = (1.7e-4, 2e-3, 1.9e-5, 3e-3)  # gyro, accel, gyro walk, accel walk; empty: none is said
    offset_s: float = 0.0125


def truth(seed: int, coefficients: int = 4, cameras: int = 2) -> Truth:
    rng = np.random.default_rng(seed)
    left = geometry.transform(geometry.exp_so3(rng.normal(size=3)), rng.normal(0, 0.1, 3))
    shift = [geometry.transform(geometry.exp_so3(rng.normal(0, 0.01, 3)), np.array([0.1 * i, 0, 0])) for i in range(4)]
    return Truth(
        [left @ shift[i] for i in range(cameras)],
        [[float(x) for x in rng.uniform(1, 1.1, 4) * (400, 401, 370, 240)] for _ in range(cameras)],
        [[float(x) for x in rng.normal(0, 0.03, coefficients)] for _ in range(cameras)],
    )


def matrix(name: str, M: np.ndarray) -> str:
    data = ",\n          ".join(", ".join(f"{x:.17g}" for x in row) for row in M)
    rows, cols = np.shape(M)
    return f"{name}: !!opencv-matrix\n   rows: {rows}\n   cols: {cols}\n   dt: d\n   data: [{data}]\n"


def quaternion(T: np.ndarray) -> list[float]:
    return geometry.quaternion_xyzw(T[None, :3, :3])[0].tolist()


def named_values(names: Sequence[str], values: Sequence[float], indent: str = "   ") -> str:
    return "".join(f"{indent}{name}: {value!r}\n" for name, value in zip(names, values, strict=True))


def vins_mono(folder: Path, t: Truth, fisheye: bool = False) -> Path:
    names = ("mu", "mv", "u0", "v0") if fisheye else ("fx", "fy", "cx", "cy")
    bent = named_values(("k2", "k3", "k4", "k5") if fisheye else ("k1", "k2", "p1", "p2"), t.D[0])
    projection = (bent if fisheye else "") + named_values(names, t.fxycxy[0])
    g, a, gw, aw = (x * 200**0.5 for x in t.noise)
    text = f"""%YAML:1.0

#common parameters
imu_topic: "/imu0"
image_topic: "/cam0/image_raw"
output_path: "/home/shaozu/output/"

#camera calibration\x20
model_type: {"KANNALA_BRANDT" if fisheye else "PINHOLE"}
camera_name: camera
image_width: {t.size[0]}
image_height: {t.size[1]}
{"" if fisheye else "distortion_parameters:" + chr(10) + bent}projection_parameters:
{projection}
# Extrinsic parameter between IMU and Camera.
estimate_extrinsic: 1   # 0  Have an accurate extrinsic parameters.
#If you choose 0 or 1, you should write down the following matrix.
{matrix("extrinsicRotation", t.T[0][:3, :3])}{matrix("extrinsicTranslation", t.T[0][:3, 3:])}
acc_n: {a!r}          # accelerometer measurement noise standard deviation. #0.2   0.04
gyr_n: {g!r}         # gyroscope measurement noise standard deviation.     #0.05  0.004
acc_w: {aw!r}
gyr_w: {gw!r}
g_norm: 9.81007     # gravity magnitude
estimate_td: 1
td: {t.offset_s}
"""
    (folder / "vins.yaml").write_text(text)
    return folder / "vins.yaml"


def xrslam(folder: Path, t: Truth, T_body_imu: np.ndarray | None = None) -> Path:
    T_bi = np.eye(4) if T_body_imu is None else T_body_imu
    T_bc = T_bi @ t.T[0]
    g, a, gw, aw = (x * x for x in t.noise)

    def covariance(name: str, v: float) -> str:
        return f"    {name}: [\n      {v!r}, 0.0, 0.0,\n      0.0, {v!r}, 0.0,\n      0.0, 0.0, {v!r}]\n"

    text = f"""%YAML:1.0
imu:
  # inertial sensor noise model parameters (static)
  gyroscope_noise_density: 0.01       # [ rad / s / sqrt(Hz) ]
  accelerometer_bias: [0.0, 0.0, 0.0] # acc bias prior
  extrinsic:
    q_bi: {quaternion(T_bi)} # x y z w
    p_bi: {T_bi[:3, 3].tolist()} # x y z [m]
  noise:
{covariance("cov_g", g)}{covariance("cov_a", a)}{covariance("cov_bg", gw)}{covariance("cov_ba", aw)}
cam0:
  # general sensor definitions.
  resolution: [{t.size[0]}, {t.size[1]}] # width, height
  camera_model: pinhole
  distortion_model: radtan
  intrinsics: {t.fxycxy[0]} # fu, fv, cu, cv
  camera_distortion_flag: 1
  distortion: {t.D[0]} # k1, k2, p1, p2
  camera_readout_time: 0.0
  time_offset: {t.offset_s}
  extrinsic:
    q_bc: {quaternion(T_bc)} # x y z w
    p_bc: {T_bc[:3, 3].tolist()} # x y z [m]
  noise: [
    0.5, 0.0,
    0.0, 0.5 ] # [pixel^2]
"""
    (folder / "euroc_sensor.yaml").write_text(text)
    return folder / "euroc_sensor.yaml"


def orbslam3(folder: Path, t: Truth, fisheye: bool = False) -> Path:
    coefficients = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2")
    cameras = "".join(
        named_values(
            [f"Camera{i + 1}.{n}" for n in ("fx", "fy", "cx", "cy", *coefficients)], [*t.fxycxy[i], *t.D[i]], ""
        )
        + "\n"
        for i in range(2)
    )
    g, a, gw, aw = t.noise
    text = f"""%YAML:1.0

#--------------------------------------------------------------------------------------------
# Camera Parameters. Adjust them!
#--------------------------------------------------------------------------------------------
File.version: "1.0"

Camera.type: "{"KannalaBrandt8" if fisheye else "PinHole"}"

{cameras}Camera.width: {t.size[0]}
Camera.height: {t.size[1]}
Camera.fps: 20
Camera.RGB: 1

{matrix("Stereo.T_c1_c2", geometry.inverse(t.T[0]) @ t.T[1])}
{matrix("IMU.T_b_c1", t.T[0])}
IMU.NoiseGyro: {g!r} # 1.6968e-04
IMU.NoiseAcc: {a!r}
IMU.GyroWalk: {gw!r}
IMU.AccWalk: {aw!r}
IMU.Frequency: 200.0
ORBextractor.nFeatures: 1200
"""
    (folder / "EuRoC.yaml").write_text(text)
    return folder / "EuRoC.yaml"


def okvis(folder: Path, t: Truth, kind: str = "radialtangential") -> Path:
    cameras = "".join(
        f"""     - {{T_SC:
        [{", ".join(repr(float(x)) for x in T.ravel())}],
        image_dimension: [{t.size[0]}, {t.size[1]}],
        distortion_coefficients: {D},
        distortion_type: {kind},
        focal_length: {f[:2]},
        principal_point: {f[2:]},
        camera_type: gray, #gray, rgb, gray+depth, rgb+depth
        slam_use: okvis}} #none, okvis, okvis-depth, okvis-virtual

"""
        for T, D, f in zip(t.T, t.D, t.fxycxy, strict=True)
    )
    g, a, gw, aw = t.noise
    text = f"""%YAML:1.0
cameras:
{cameras}camera_parameters:
    timestamp_tolerance: 0.005 # [s] stereo frame out-of-sync tolerance
    image_delay: {-t.offset_s} # [s] delay of image timestamps
    online_calibration:
        do_extrinsics: false # Do we online-calibrate
imu_parameters:
    use: true
    a_max: 176.0
    T_BS:
        [1.0000, 0.0000, 0.0000, 0.0000,
         0.0000, 1.0000, 0.0000, 0.0000,
         0.0000, 0.0000, 1.0000, 0.0000,
         0.0000, 0.0000, 0.0000, 1.0000]
    sigma_g_c: {g!r}
    sigma_a_c: {a!r}
    sigma_gw_c: {gw!r}
    sigma_aw_c: {aw!r}
    imu_rate: 200
    g: 9.81007
"""
    (folder / "euroc.yaml").write_text(text)
    return folder / "euroc.yaml"


BASALT = {
    "kb4": (("fx", "fy", "cx", "cy"), ("k1", "k2", "k3", "k4")),
    "pinhole-radtan8": (("fx", "fy", "cx", "cy"), ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    "ds": (("fx", "fy", "cx", "cy"), ("xi", "alpha")),
    "eucm": (("fx", "fy", "cx", "cy"), ("alpha", "beta")),
    "ucm": (("fx", "fy", "cx", "cy"), ("alpha",)),
    "fov": (("fx", "fy", "cx", "cy"), ("w",)),
}


def basalt(folder: Path, t: Truth, kind: str = "kb4") -> Path:
    names = [name for part in BASALT[kind] for name in part]
    pose_names = ("px", "py", "pz", "qx", "qy", "qz", "qw")
    g, a, gw, aw = t.noise
    content = {
        "T_imu_cam": [dict(zip(pose_names, [*T[:3, 3].tolist(), *quaternion(T)], strict=True)) for T in t.T],
        "intrinsics": [
            {"camera_type": kind, "intrinsics": dict(zip(names, f + D, strict=True))}
            for f, D in zip(t.fxycxy, t.D, strict=True)
        ],
        "resolution": [list(t.size)] * len(t.T),
        "imu_update_rate": 200.0,
        "accel_noise_std": [a] * 3,
        "gyro_noise_std": [g] * 3,
        "accel_bias_std": [aw] * 3,
        "gyro_bias_std": [gw] * 3,
        "cam_time_offset_ns": round(t.offset_s * 1e9),
        "vignette": [],
    }
    (folder / "calib.json").write_text(json.dumps({"value0": content}, indent=4))
    return folder / "calib.json"


def rows(T: np.ndarray) -> str:
    return "".join(f"    - [{', '.join(repr(float(x)) for x in row)}]\n" for row in T)


def imu_yaml(t: Truth, top: str = "") -> str:
    g, a, gw, aw = t.noise
    indent = "  " if top else ""
    names = (
        "gyroscope_noise_density",
        "accelerometer_noise_density",
        "gyroscope_random_walk",
        "accelerometer_random_walk",
    )
    return top + named_values([*names, "update_rate"], [g, a, gw, aw, 200.0], indent)


def chain(
    t: Truth, key: str = "T_cam_imu", model: str = "pinhole", distortion: str = "radtan", lens: Sequence[float] = ()
) -> str:
    text = "%YAML:1.0 # need to specify the file type at the top!\n\n"
    for i, (T, D, f) in enumerate(zip(t.T, t.D, t.fxycxy, strict=True)):
        pose = geometry.inverse(T) if key == "T_cam_imu" else T
        text += f"""cam{i}:
  {key}:
{rows(pose)}  cam_overlaps: [{1 - i}]
  camera_model: {model}
  distortion_coeffs: {D}
  distortion_model: {distortion}
  intrinsics: {[*lens, *f]} #fu, fv, cu, cv
  resolution: [{t.size[0]}, {t.size[1]}]
  rostopic: /cam{i}/image_raw
  timeshift_cam_imu: {t.offset_s}
"""
    return text


def kalibr(folder: Path, t: Truth, **about: Any) -> Path:
    (folder / "rig-camchain-imucam.yaml").write_text(chain(t, **about))
    (folder / "rig-imu.yaml").write_text(imu_yaml(t))
    return folder / "rig-camchain-imucam.yaml"


def openvins(folder: Path, t: Truth) -> Path:
    (folder / "kalibr_imucam_chain.yaml").write_text(chain(t, "T_imu_cam"))
    (folder / "kalibr_imu_chain.yaml").write_text("%YAML:1.0\n\n" + imu_yaml(t, "imu0:\n  T_i_b:\n" + rows(np.eye(4))))
    (folder / "estimator_config.yaml").write_text(
        '%YAML:1.0 # need to specify the file type at the top!\n\nverbosity: "INFO" # ALL, DEBUG\nuse_fej: true\n'
        "calib_cam_extrinsics: true # if the transform between camera and IMU should be optimized\n"
        "calib_cam_timeoffset: false\nmax_cameras: 2\n"
        'relative_config_imu: "kalibr_imu_chain.yaml"\nrelative_config_imucam: "kalibr_imucam_chain.yaml"\n'
    )
    return folder / "estimator_config.yaml"


def vins_fusion(folder: Path, t: Truth) -> Path:
    for i, (f, D) in enumerate(zip(t.fxycxy, t.D, strict=True)):
        bent, lens = named_values(("k1", "k2", "p1", "p2"), D), named_values(("fx", "fy", "cx", "cy"), f)
        (folder / f"cam{i}_pinhole.yaml").write_text(
            f"%YAML:1.0\n---\nmodel_type: PINHOLE\ncamera_name: camera\nimage_width: {t.size[0]}\n"
            f"image_height: {t.size[1]}\ndistortion_parameters:\n{bent}projection_parameters:\n{lens}"
        )
    g, a, gw, aw = (x * 200**0.5 for x in t.noise)
    text = "%YAML:1.0\n\n#common parameters\n#support: 1 imu 1 cam; 1 imu 2 cam: 2 cam;\nimu: 1\n"
    text += f'num_of_cam: {len(t.T)}\n\nimu_topic: "/imu0"\n'
    text += "".join(f'cam{i}_calib: "cam{i}_pinhole.yaml"\n' for i in range(len(t.T)))
    text += f"image_width: {t.size[0]}\nimage_height: {t.size[1]}\n   \nestimate_extrinsic: 0   # 0  accurate\n"
    text += "".join(matrix(f"body_T_cam{i}", T) for i, T in enumerate(t.T))
    text += (
        f"acc_n: {a!r}          # 0.04\ngyr_n: {g!r}\nacc_w: {aw!r}\ngyr_w: {gw!r}\ng_norm: 9.81\ntd: {t.offset_s}\n"
    )
    (folder / "euroc_stereo_imu_config.yaml").write_text(text)
    return folder / "euroc_stereo_imu_config.yaml"


def euroc(folder: Path, t: Truth) -> Path:
    """The base is not the IMU."""
    T_base_imu = truth(98).T[0]

    def mount(T: np.ndarray) -> str:
        data = ",\n         ".join(", ".join(repr(float(x)) for x in row) for row in T)
        return f"T_BS:\n  cols: 4\n  rows: 4\n  data: [{data}]\n"

    for i, (T, f, D) in enumerate(zip(t.T, t.fxycxy, t.D, strict=True)):
        (folder / f"cam{i}").mkdir()
        (folder / f"cam{i}" / "sensor.yaml").write_text(
            f"# General sensor definitions.\nsensor_type: camera\ncomment: VI-Sensor cam{i} (MT9M034)\n\n"
            f"{mount(T_base_imu @ T)}\nrate_hz: 20\nresolution: {list(t.size)}\ncamera_model: pinhole\n"
            f"intrinsics: {f} #fu, fv, cu, cv\ndistortion_model: radial-tangential\ndistortion_coefficients: {D}\n"
        )
    (folder / "imu0").mkdir()
    imu = imu_yaml(t).replace("update_rate", "rate_hz")
    (folder / "imu0" / "sensor.yaml").write_text(
        f"#Default imu sensor yaml file\nsensor_type: imu\n{mount(T_base_imu)}{imu}"
    )
    return folder


def camera_info_alone(folder: Path, t: Truth) -> Path:
    f = t.fxycxy[0]
    K = np.array([[f[0], 0, f[2]], [0, f[1], f[3]], [0, 0, 1]])
    model = "plumb_bob" if len(t.D[0]) == 5 else "rational_polynomial"
    P = np.hstack([K, np.zeros((3, 1))])
    (folder / "left.yaml").write_text(camera_info("left", K, t.D[0], np.eye(3), P, model))
    return folder / "left.yaml"


Style = tuple[Callable[[Path, Truth], Path], int, int, str, Callable[[Path, int], tuple[Any, Any]]]
STYLES: dict[str, Style] = {  # writer, coefficients, cameras, our model, a reader that shares no code with the package
    "vins mono": (vins_mono, 4, 1, "pinhole-radtan", readers.vins_mono),
    "vins mono fisheye": (lambda f, t: vins_mono(f, t, True), 4, 1, "pinhole-equidistant", readers.vins_mono),
    "xrslam": (xrslam, 4, 1, "pinhole-radtan", readers.xrslam),
    "xrslam body": (lambda f, t: xrslam(f, t, truth(99).T[0]), 4, 1, "pinhole-radtan", readers.xrslam),
    "orb-slam3": (orbslam3, 4, 2, "pinhole-radtan", readers.orbslam3),
    "orb-slam3 fisheye": (lambda f, t: orbslam3(f, t, True), 4, 2, "pinhole-equidistant", readers.orbslam3),
    "okvis": (okvis, 4, 2, "pinhole-radtan", readers.okvis),
    "okvis 8": (lambda f, t: okvis(f, t, "radialtangential8"), 8, 2, "pinhole-radtan", readers.okvis),
    "okvis 5 cameras' worth": (lambda f, t: okvis(f, t, "equidistant"), 4, 4, "pinhole-equidistant", readers.okvis),
    "basalt kb4": (basalt, 4, 2, "pinhole-equidistant", readers.basalt),
    "basalt radtan8": (lambda f, t: basalt(f, t, "pinhole-radtan8"), 8, 2, "pinhole-radtan", readers.basalt),
    "kalibr": (kalibr, 4, 2, "pinhole-radtan", readers.kalibr),
    "kalibr fisheye": (
        lambda f, t: kalibr(f, t, distortion="equidistant"),
        4,
        3,
        "pinhole-equidistant",
        readers.kalibr,
    ),
    "openvins": (openvins, 4, 2, "pinhole-radtan", readers.openvins),
    "vins fusion": (vins_fusion, 4, 2, "pinhole-radtan", readers.vins_fusion),
    "euroc": (euroc, 4, 2, "pinhole-radtan", readers.euroc),
    "camera_info": (camera_info_alone, 5, 1, "pinhole-radtan", readers.camera_info),
    "camera_info 8": (camera_info_alone, 8, 1, "pinhole-radtan", readers.camera_info),
}
ODDITIES = {
    "as it is": lambda text: text,
    "windows": lambda text: "\ufeff" + text.replace("\n", "\r\n"),
    "comments": lambda text: text.replace(": ", ":  ").replace("\n", "   \n") + "\n\n\n",
}


def check(rig: Rig, t: Truth, model: str) -> None:
    assert len(rig.cameras) == len(t.T)
    for mounted, T, f, D in zip(rig.cameras, t.T, t.fxycxy, t.D, strict=True):
        assert mounted.camera.model == model
        assert (mounted.camera.width, mounted.camera.height) == t.size
        np.testing.assert_allclose(mounted.camera.intrinsics[-4:], f, rtol=1e-12)
        np.testing.assert_allclose(mounted.camera.distortion, D, rtol=1e-12)
        np.testing.assert_allclose(mounted.T_body_cam, T, atol=1e-9)
        assert mounted.time_offset_s == pytest.approx(t.offset_s, abs=1e-9)
    if not t.noise:
        assert rig.imu is None
    else:
        np.testing.assert_allclose([*vars(rig.imu).values()], [*t.noise, 200.0], rtol=1e-9)


@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_the_numbers_that_it_says(tmp_path: Path, style: str, oddity: str) -> None:
    """Those that were written, and those that a reader finds which shares no code with the package."""
    writer, coefficients, cameras, model, reader = STYLES[style]
    t = truth(len(style), coefficients, cameras)
    if style.startswith(("orb", "euroc", "camera_info")):  # which know none
        t.offset_s = 0.0
    if style.startswith("camera_info"):
        t.T, t.noise = [np.eye(4)], ()
    path = writer(tmp_path, t)
    for file in tmp_path.rglob("*.yaml"):
        file.write_text(ODDITIES[oddity](file.read_text()), newline="")
    rig = read_calibration(path).rig
    check(rig, t, model)
    check(rig, read_again(reader, path, coefficients), model)


def read_again(reader: Callable[[Path, int], readers.Reading], path: Path, coefficients: int) -> Truth:
    found, noise = reader(path, coefficients)
    sizes, lenses, bent, T, offsets = zip(*found, strict=True)
    assert len({tuple(size) for size in sizes}) == len(set(offsets)) == 1
    return Truth(list(T), list(lenses), list(bent), tuple(sizes[0]), tuple(noise or ()), offsets[0])


@pytest.mark.parametrize("style", ["vins mono", "xrslam", "orb-slam3"])
def test_the_files_above_are_such_as_opencv_reads(tmp_path: Path, style: str) -> None:
    """OpenCV's own reader agrees: these programs read their files with it."""
    writer, coefficients, cameras, *_ = STYLES[style]
    t = truth(5, coefficients, cameras)
    storage = cv2.FileStorage(str(writer(tmp_path, t)), cv2.FILE_STORAGE_READ)
    rig = read_rig(next(tmp_path.iterdir()))
    fx = {"vins mono": lambda: storage.getNode("projection_parameters").getNode("fx").real(),
          "xrslam": lambda: storage.getNode("cam0").getNode("intrinsics").at(0).real(),
          "orb-slam3": lambda: storage.getNode("Camera1.fx").real()}[style]()  # fmt: skip
    assert rig.cameras[0].camera.intrinsics[0] == pytest.approx(fx, rel=1e-12)
    key = {"vins mono": "extrinsicRotation", "orb-slam3": "IMU.T_b_c1"}.get(style)
    if key:
        np.testing.assert_allclose(rig.cameras[0].T_body_cam[:3, :3], storage.getNode(key).mat()[:3, :3], atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "lens", "ours"),
    [("ds", [-0.2, 0.6], "double-sphere"), ("eucm", [0.6, 1.1], "eucm"), ("fov", [0.9], "fov"), ("ucm", [0.4], "eucm")],
)
def test_wide_lenses_of_basalt_have_their_own_parameters(
    tmp_path: Path, kind: str, lens: list[float], ours: str
) -> None:
    t = truth(3)
    t.D = [lens, lens]
    camera = read_rig(basalt(tmp_path, t, kind)).cameras[0].camera
    assert camera.model == ours
    expected = [*lens, 1.0] if kind == "ucm" else lens
    assert camera.intrinsics == (*expected, *t.fxycxy[0])


@pytest.mark.parametrize(
    ("model", "distortion", "lens", "D", "ours"),
    [
        ("omni", "radtan", [0.9], [0.1, 0.2, 0.3, 0.4], "mei-radtan"),
        ("ds", "none", [-0.2, 0.6], [], "double-sphere"),
        ("eucm", "none", [0.6, 1.1], [], "eucm"),
        ("pinhole", "fov", [], [0.93], "fov"),
    ],
)
def test_wide_lenses_of_kalibr_have_their_own_parameters(
    tmp_path: Path, model: str, distortion: str, lens: list[float], D: list[float], ours: str
) -> None:
    t = truth(3)
    t.D = [D, D]
    camera = read_rig(kalibr(tmp_path, t, model=model, distortion=distortion, lens=lens)).cameras[0].camera
    assert camera.model == ours
    assert camera.intrinsics == (*lens, *(D if ours == "fov" else []), *t.fxycxy[0])
    assert camera.distortion == (() if ours == "fov" else tuple(D))


def test_values_that_are_called_guesses_are_refined(tmp_path: Path) -> None:
    read = read_calibration(vins_mono(tmp_path, truth(1)))
    assert read.estimate_extrinsics and read.estimate_time_offset
    read = read_calibration(openvins(tmp_path, truth(1)))
    assert read.estimate_extrinsics and not read.estimate_time_offset
    assert not read_calibration(okvis(tmp_path, truth(1))).estimate_extrinsics


def test_a_vins_mono_file_without_mount_is_told(tmp_path: Path) -> None:
    path = vins_mono(tmp_path, truth(1))
    text = path.read_text()
    path.write_text(text[: text.index("extrinsicRotation")] + text[text.index("acc_n") :])
    with pytest.raises(CalibrationError, match=r"vins\.yaml: extrinsicRotation is missing: the file does not say how"):
        read_rig(path)


def test_an_older_orbslam_file_of_rectified_images_has_its_baseline(tmp_path: Path) -> None:
    t = truth(1)
    names = [f"Camera.{name}" for name in ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")]
    text = '%YAML:1.0\nCamera.type: "PinHole"\n' + named_values(names, [*t.fxycxy[0], 0.0, 0.0, 0.0, 0.0], "")
    text += f"Camera.width: 752\nCamera.height: 480\nCamera.bf: {t.fxycxy[0][0] * 0.11!r}\n"
    (tmp_path / "old.yaml").write_text(text)
    rig = read_rig(tmp_path / "old.yaml")
    np.testing.assert_allclose(rig.cameras[1].T_body_cam[:3, 3], [0.11, 0, 0])
    assert rig.imu is None and rig.cameras[1].camera.intrinsics == tuple(t.fxycxy[0])


def test_the_imu_file_of_kalibr_is_known_by_its_content_and_name(tmp_path: Path) -> None:
    t = truth(1)
    path = kalibr(tmp_path, t)
    (tmp_path / "other-imu.yaml").write_text(imu_yaml(truth(2)).replace("0.00017", "0.5"))
    (tmp_path / "camera-imu-notes.yaml").write_text("a: 1\n")
    assert read_rig(path).imu == ImuNoise(*t.noise)
    assert some(read_rig(path, tmp_path / "other-imu.yaml").imu).gyro_noise == 0.5


def test_without_an_imu_file_noise_is_typical_and_said(tmp_path: Path) -> None:
    path = kalibr(tmp_path, truth(1))
    (tmp_path / "rig-imu.yaml").unlink()
    read = read_calibration(path)
    assert read.rig.imu is not None
    assert read.notes == ("no IMU file beside it: typical noise used; name the IMU file with --imu",)


def test_sizes_that_differ_between_cameras_or_files_are_named(tmp_path: Path) -> None:
    t = truth(1)
    path = kalibr(tmp_path, t)
    path.write_text(path.read_text().replace("resolution: [752, 480]", "resolution: [640, 400]", 1))
    assert "the cameras have images of different sizes: 640x400, 752x480" in read_calibration(path).notes


# camera_info


def camera_info(
    side: str, K: np.ndarray, D: Sequence[float], R: np.ndarray, P: np.ndarray, model: str = "plumb_bob"
) -> str:
    def plain(M: Any) -> dict[str, Any]:
        return {"rows": len(M), "cols": len(M[0]), "data": [float(x) for x in np.ravel(M)]}

    return yaml.safe_dump(
        {
            "image_width": 752, "image_height": 480, "camera_name": side, "camera_matrix": plain(K),
            "distortion_model": model, "distortion_coefficients": plain([D]), "rectification_matrix": plain(R),
            "projection_matrix": plain(P),
        },
        default_flow_style=None,
    )  # fmt: skip


@pytest.mark.parametrize(("model", "count"), [("plumb_bob", 5), ("rational_polynomial", 8)])
def test_camera_info_of_a_pair_gives_both_cameras_and_their_mount(tmp_path: Path, model: str, count: int) -> None:
    """Against OpenCV's rectification, which made the files."""
    t = truth(7, count)
    K = [np.array([[f[0], 0, f[2]], [0, f[1], f[3]], [0, 0, 1]]) for f in t.fxycxy]
    T = geometry.inverse(t.T[1]) @ t.T[0]
    zero = np.zeros(count)
    R0, R1, P0, P1, *_ = cv2.stereoRectify(K[0], zero, K[1], zero, (752, 480), T[:3, :3], T[:3, 3])
    for side, k, D, R, P in (("left", K[0], t.D[0], R0, P0), ("right", K[1], t.D[1], R1, P1)):
        (tmp_path / f"{side}.yaml").write_text(camera_info(side, k, D, R, P, model))
    rig = read_calibration(tmp_path / "left.yaml", others=[tmp_path / "right.yaml"]).rig
    np.testing.assert_allclose(rig.cameras[1].T_body_cam, geometry.inverse(t.T[0]) @ t.T[1], atol=1e-9)
    assert [m.camera.distortion for m in rig.cameras] == [tuple(D) for D in t.D]
    alone = read_rig(tmp_path / "right.yaml")
    assert alone.cameras[0].camera.intrinsics == tuple(t.fxycxy[1])


def test_two_files_are_only_a_pair_of_camera_info(tmp_path: Path) -> None:
    path = kalibr(tmp_path, truth(1))
    with pytest.raises(CalibrationError, match="is no camera_info: two files are only those of a left and a right"):
        read_calibration(path, others=[path])
