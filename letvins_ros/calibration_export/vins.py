# SPDX-License-Identifier: Apache-2.0
"""VINS-Fusion: vins.yaml and a file per camera."""

from letvins_ros.calibration import MountedCamera, Rig
from letvins_ros.calibration_files.vins import MODELS, RATE_HZ
from letvins_ros.errors import CalibrationError

_NAMES = {"pinhole-radtan": "PINHOLE", "mei-radtan": "MEI", "pinhole-equidistant": "KANNALA_BRANDT"}
_NOISE = {"acc_n": "accel_noise", "gyr_n": "gyro_noise", "acc_w": "accel_walk", "gyr_w": "gyro_walk"}


def files(rig: Rig) -> dict[str, str]:
    """See `calibration_export.export`."""
    cameras = {f"cam{i}.yaml": _camera(i, mounted) for i, mounted in enumerate(rig.cameras[:2])}
    return {"vins.yaml": _config(rig, len(cameras))} | cameras


def _config(rig: Rig, count: int) -> str:
    left = rig.cameras[0]
    lines = ["%YAML:1.0", "---", f"imu: {int(rig.imu is not None)}", f"num_of_cam: {count}", 'imu_topic: "/imu0"']
    for i in range(count):
        lines += [f'image{i}_topic: "/cam{i}/image_raw"', f'cam{i}_calib: "cam{i}.yaml"']
    lines += [f"image_width: {left.camera.width}", f"image_height: {left.camera.height}", "estimate_extrinsic: 0"]
    for i, mounted in enumerate(rig.cameras[:count]):
        data = ", ".join(repr(float(x)) for x in mounted.T_body_cam.ravel())
        lines += [f"body_T_cam{i}: !!opencv-matrix", "   rows: 4", "   cols: 4", "   dt: d", f"   data: [{data}]"]
    for theirs, ours in _NOISE.items() if rig.imu else ():
        lines.append(
            f"{theirs}: {getattr(rig.imu, ours) * RATE_HZ**0.5!r}  # deviation of one sample at {RATE_HZ:g} Hz"
        )
    return "\n".join([*lines, "estimate_td: 0", f"td: {float(left.time_offset_s)!r}", ""])


def _camera(i: int, mounted: MountedCamera) -> str:
    camera = mounted.camera
    if camera.model not in _NAMES:
        raise CalibrationError(f"camera{i}: VINS-Fusion has no {camera.model} cameras")
    kind = "PINHOLE_FULL" if len(camera.distortion) > 4 and any(camera.distortion[4:]) else _NAMES[camera.model]
    if kind == "PINHOLE_FULL" and camera.model != "pinhole-radtan":
        raise CalibrationError(f"camera{i}: VINS-Fusion's {camera.model} cameras have 4 coefficients")
    _, intrinsics, distortion = MODELS[kind]
    bent = [*camera.distortion, *[0.0] * len(distortion)][: len(distortion)]
    values = dict(zip((*intrinsics, *distortion), (*camera.intrinsics, *bent), strict=True))
    sections: dict[str, tuple[str, ...]] = {"mirror_parameters": ("xi",) if kind == "MEI" else ()}
    sections["distortion_parameters"] = () if kind == "KANNALA_BRANDT" else distortion
    taken = {name for names in sections.values() for name in names}
    sections["projection_parameters"] = tuple(name for name in values if name not in taken)
    lines = ["%YAML:1.0", "---", f"model_type: {kind}", f"camera_name: camera{i}"]
    lines += [f"image_width: {camera.width}", f"image_height: {camera.height}"]
    for section, names in sections.items():
        lines += [f"{section}:", *(f"   {name}: {float(values[name])!r}" for name in names)] if names else []
    return "\n".join([*lines, ""])
