# SPDX-License-Identifier: Apache-2.0
"""Basalt: calib.json."""

import json

from letvins_ros.calibration import TYPICAL_IMU, MountedCamera, Rig
from letvins_ros.calibration_files.basalt import MODELS, NOISE
from letvins_ros.errors import CalibrationError
from letvins_ros.geometry import quaternion_xyzw


def files(rig: Rig) -> dict[str, str]:
    """See `calibration_export.export`; without an IMU typical noise is written, as Basalt needs some."""
    imu, cameras = rig.imu or TYPICAL_IMU, [_camera(i, mounted) for i, mounted in enumerate(rig.cameras)]
    inner = {
        "T_imu_cam": [_pose(mounted) for mounted in rig.cameras],
        "intrinsics": cameras,
        "resolution": [[mounted.camera.width, mounted.camera.height] for mounted in rig.cameras],
        "calib_accel_bias": [0.0] * 9,
        "calib_gyro_bias": [0.0] * 12,
        "imu_update_rate": imu.rate_hz,
        **{theirs: [getattr(imu, ours)] * 3 for ours, theirs in NOISE.items()},
        "cam_time_offset_ns": round(rig.cameras[0].time_offset_s * 1e9),
        "vignette": [],
    }
    return {"calib.json": json.dumps({"value0": inner}, indent=2) + "\n"}


def _pose(mounted: MountedCamera) -> dict[str, float]:
    q = quaternion_xyzw(mounted.T_body_cam[None, :3, :3])[0]
    values = [*mounted.T_body_cam[:3, 3].tolist(), *q.tolist()]
    return dict(zip(("px", "py", "pz", "qx", "qy", "qz", "qw"), values, strict=True))


def _camera(i: int, mounted: MountedCamera) -> dict[str, object]:
    camera = mounted.camera
    wanted = camera.model if camera.distortion or camera.model != "pinhole-radtan" else "pinhole"
    kinds = {"pinhole": "pinhole", "pinhole-radtan": "pinhole-radtan8", "pinhole-equidistant": "kb4"}
    kinds |= {"double-sphere": "ds", "eucm": "eucm", "fov": "fov"}
    if wanted not in kinds:
        raise CalibrationError(f"camera{i}: Basalt has no {camera.model} cameras")
    _, intrinsics, distortion = MODELS[kinds[wanted]]
    bent = [*camera.distortion, *[0.0] * len(distortion)][: len(distortion)]
    values = dict(zip((*intrinsics, *distortion), (*map(float, camera.intrinsics), *map(float, bent)), strict=True))
    if kinds[wanted] == "pinhole-radtan8":
        values["rpmax"] = 0.0  # the whole image is used
    return {"camera_type": kinds[wanted], "intrinsics": values}
