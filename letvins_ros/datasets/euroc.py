# SPDX-License-Identifier: Apache-2.0
"""EuRoC / ASL folders, and TUM-VI, which is stored the same way."""

from pathlib import Path

import numpy as np

from letvins_ros import calibration
from letvins_ros.calibration import Rig
from letvins_ros.datasets import stream, table
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.sequence import FileRecording, FrameFiles, Sensors
from letvins_ros.types import Trajectory

TRUTHS = ("state_groundtruth_estimate0", "mocap0")  # EuRoC, TUM-VI; both are poses of the IMU


def recognises(path: Path) -> bool:
    """Whether the folder, or its mav0, has a camera in ASL layout."""
    return (_mav0(path) / "cam0").is_dir()


def open_euroc(path: Path, rig: Rig | None = None, color: bool = False) -> FileRecording:
    """Read an ASL folder (with or without mav0/): one or two cameras, IMU and truth where it has them.

    Faulty rows, missing files and unpaired images are skipped or mended, and counted in the report.
    """
    path = path.resolve().parent if path.resolve().name == "mav0" else path
    mav0, report = _mav0(path), ReadReport()
    rig = rig or _find_rig(path, mav0)
    cameras = len(rig.cameras) if rig else 1 + (mav0 / "cam1").is_dir()
    imu_csv = mav0 / "imu0" / "data.csv"
    imu = table.read_imu(imu_csv, report) if imu_csv.is_file() else None
    if cameras == 1 and (mav0 / "cam1").is_dir():
        report.add("cam1 is not used, as the calibration has one camera", str(mav0 / "cam1"))
    frames = _frames(mav0, cameras, report)
    return FileRecording(path, frames, Sensors(rig, imu, _truth(mav0, report)), report, color)


def _mav0(path: Path) -> Path:
    return path / "mav0" if (path / "mav0").is_dir() else path


def _find_rig(path: Path, mav0: Path) -> Rig | None:
    """Read the calibration that lies in the folder: EuRoC's sensor.yaml, or TUM-VI's Kalibr files in dso/."""
    if (camchain := path / "dso" / "camchain.yaml").is_file():
        return calibration.read_rig(camchain)
    return calibration.read_euroc_rig(mav0) if (mav0 / "cam0" / "sensor.yaml").is_file() else None


def _truth(mav0: Path, report: ReadReport) -> Trajectory | None:
    found = [csv for folder in TRUTHS if (csv := mav0 / folder / "data.csv").is_file()]
    return table.read_truth(found[0], report) if found else None


def _frames(mav0: Path, cameras: int, report: ReadReport) -> list[FrameFiles]:
    """Left images with their right ones."""
    left_ns, left = _images(mav0 / "cam0", report)
    if cameras == 1:
        return [FrameFiles(int(stamp), (path,)) for stamp, path in zip(left_ns, left, strict=True)]
    right_ns, right = _images(mav0 / "cam1", report)
    match = stream.pair(left_ns, right_ns, report)
    pairs = zip(left_ns, left, match, strict=True)
    return [FrameFiles(int(stamp), (path, right[i] if i >= 0 else None)) for stamp, path, i in pairs]


def _images(camera: Path, report: ReadReport) -> tuple[np.ndarray, list[Path]]:
    """Stamps (N,) and paths of the images that exist; none where the camera has no folder."""
    if not camera.is_dir():
        return np.zeros(0, np.int64), []
    stamps_ns, names = table.read_image_list(camera / "data.csv", report)
    folder = camera / "data"
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    missing = [name for name in names if name not in there]
    if missing:
        report.add(f"{camera.name}: image files missing", missing[0], len(missing))
    kept = [i for i, name in enumerate(names) if name in there]
    return stamps_ns[kept], [folder / names[i] for i in kept]
