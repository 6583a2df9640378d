# SPDX-License-Identifier: Apache-2.0
"""Kalibr: camchain-imucam.yaml and imu.yaml."""

from collections.abc import Mapping

import yaml

from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.errors import CalibrationError
from letvins_ros.geometry import inverse

_MODELS = {  # ours: projection, distortion
    "pinhole-radtan": ("pinhole", "radtan"),
    "pinhole-equidistant": ("pinhole", "equidistant"),
    "mei-radtan": ("omni", "radtan"),
    "double-sphere": ("ds", "none"),
    "eucm": ("eucm", "none"),
    "fov": ("pinhole", "fov"),
}
_NOISE = {
    "accelerometer_noise_density": "accel_noise",
    "accelerometer_random_walk": "accel_walk",
    "gyroscope_noise_density": "gyro_noise",
    "gyroscope_random_walk": "gyro_walk",
}


def files(rig: Rig) -> dict[str, str]:
    """See `calibration_export.export`."""
    chain = {f"cam{i}": _camera(i, mounted, rig) for i, mounted in enumerate(rig.cameras)}
    out = {"camchain-imucam.yaml": _yaml(chain)}
    if rig.imu is not None:
        noise = {theirs: float(getattr(rig.imu, ours)) for theirs, ours in _NOISE.items()}
        out["imu.yaml"] = _yaml({"rostopic": "/imu0", "update_rate": float(rig.imu.rate_hz), **noise})
    return out


def _camera(i: int, mounted: MountedCamera, rig: Rig) -> dict[str, object]:
    camera = mounted.camera
    model, distortion = _MODELS[camera.model]
    intrinsics, bent = list(camera.intrinsics), list(camera.distortion)
    if camera.model == "fov":
        intrinsics, bent = intrinsics[1:], intrinsics[:1]
    if distortion in ("radtan", "equidistant"):
        bent = bent or [0.0] * 4
        if len(bent) > 4 and any(bent[4:]):
            raise CalibrationError(f"camera{i}: Kalibr's {distortion} has 4 coefficients, this camera {len(bent)}")
    T_cam_body = inverse(mounted.T_body_cam)
    out: dict[str, object] = {"T_cam_imu": T_cam_body.tolist()}
    if i:
        out["T_cn_cnm1"] = (T_cam_body @ rig.cameras[i - 1].T_body_cam).tolist()
    return out | {
        "cam_overlaps": [other for other in range(len(rig.cameras)) if other != i],
        "camera_model": model,
        "distortion_coeffs": [float(x) for x in (bent[:4] if distortion != "fov" else bent)],
        "distortion_model": distortion,
        "intrinsics": [float(x) for x in intrinsics],
        "resolution": [camera.width, camera.height],
        "rostopic": f"/cam{i}/image_raw",
        "timeshift_cam_imu": float(mounted.time_offset_s),
    }


def _yaml(content: Mapping[str, object]) -> str:
    text: str = yaml.safe_dump(content, default_flow_style=None, width=200)
    return text
