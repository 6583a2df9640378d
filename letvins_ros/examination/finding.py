# SPDX-License-Identifier: Apache-2.0
"""What the self-examination says of the sensors, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

REMEDIES = {  # code: what to do about it; docs/warnings.md explains each
    "accel_in_g": "multiply the accelerations by 9.80665: m/s^2 are needed",
    "accel_scale": "check the accelerometer's scale factor",
    "accel_without_gravity": "use the accelerometer's own readings, from which no gravity is subtracted",
    "accel_stuck": "check the sensor and its driver: an axis does not change; until then use mode stereo",
    "gyro_in_degrees": "multiply the gyro's readings by pi/180: rad/s are needed",
    "gyro_stuck": "check the sensor and its driver: an axis does not change; until then use mode stereo",
    "imu_held": "check the sensor and its driver: readings are repeated",
    "imu_spikes": "check cables and driver of the IMU: single readings are far off",
    "imu_saturated": "choose a larger range of the sensor, or move more slowly",
    "imu_rate": "correct rate_hz in the calibration, or look for readings lost on the way",
    "imu_gap": "look for readings lost on the way; without images too nothing spans the gap",
    "imu_axes": "turn the readings into the calibration's axes, or correct T_body_cam of all cameras",
    "imu_mount": "calibrate T_body_cam of the cameras anew",
    "gyro_scale": "check the gyro's scale factor, and the focal length of the left camera",
    "gyro_disagrees": "check that IMU and cameras are on one rigid body and that their stamps are of one clock",
    "time_offset": "set time_offset_s of the cameras to this value",
    "cameras_exchanged": "exchange the topics or folders of the left and the right camera",
    "stereo_mount": "calibrate T_body_cam of the two cameras against each other anew",
    "stereo_focal": "check intrinsics and image size of both cameras",
    "stereo_disagrees": "check that left and right images are taken and stamped at one time, and the calibration",
    "imu_contradicted": "check calibration, clocks, and that IMU and cameras are on one body, which no lift, train or"
    " ship carries; mode stereo needs no IMU",
    "scene_changed": "the camera was carried, or all before it changed: the position after it is not to be trusted",
    "stereo_missing": "check calibration, sizes and stamps of left and right images",
    "frame_gap": "look for images lost on the way",
    "stamp_units": "write stamps in nanoseconds",
    "stamps_repeated": "give each reading its own stamp, taken by the sensor and not on arrival",
    "stamps_back": "split the recording where the clock was set back",
    "images_frozen": "check the camera's driver: it repeats images",
}


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that is wrong with the input."""

    code: str  # a key of REMEDIES
    message: str  # one line with the numbers
    since_s: float  # s, from the first frame
    evidence: Mapping[str, float] = field(default_factory=dict)  # numbers; "sigmas": how far off by its own noise

    def __post_init__(self) -> None:
        if self.code not in REMEDIES:
            raise ValueError(f"unknown code {self.code}")

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.code]

    def to_dict(self) -> dict[str, str | float]:
        """As an entry of `warnings` in metrics.json."""
        return {
            "code": self.code,
            "message": self.message,
            "since_s": round(self.since_s, 2),
            "remedy": self.remedy,
        }
