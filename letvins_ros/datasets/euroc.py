# SPDX-License-Identifier: Apache-2.0
"""EuRoC / ASL folders, and TUM-VI, which is stored the same way."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from letvins_ros import calibration
from letvins_ros.calibration import Rig
from letvins_ros.camera import MAX_CAMERAS
from letvins_ros.datasets import stream, table
from letvins_ros.datasets.base import ReadReport
from letvins_ros.datasets.sequence import FileRecording, FrameFiles, Sensors
from letvins_ros.errors import DataError
from letvins_ros.types import Trajectory

TRUTHS = ("state_groundtruth_estimate0", "mocap0")  # EuRoC, TUM-VI; both are poses of the IMU


def recognises(path: Path) -> bool:
    """Whether the folder, or its mav0, has a camera in ASL layout."""
    return (_mav0(path) / "cam0").is_dir()


def open_euroc(path: Path, rig: Rig | None = None, color: bool = False, numbers: Sequence[int] = ()) -> FileRecording:
    """Read an ASL folder (with or without mav0/): one to four cameras, IMU, GNSS (gnss0) and truth where it has them.

    numbers: of the cameras to read, left first, where not all are meant.

    Faulty rows, missing files and unpaired images are skipped or mended, and counted in the report.
    """
    path = path.resolve().parent if path.resolve().name == "mav0" else path
    mav0, report = _mav0(path), ReadReport()
    rig = rig or _find_rig(path, mav0, numbers)
    cameras = len(rig.cameras) if rig else len(numbers) or 1 + (mav0 / "cam1").is_dir()
    names = [f"cam{number}" for number in numbers or range(cameras)]
    if missing := [name for name in names if numbers and not (mav0 / name).is_dir()]:
        raise DataError(f"{mav0}: no folder {' and '.join(missing)}")
    imu_csv = mav0 / "imu0" / "data.csv"
    imu = table.read_imu(imu_csv, report) if imu_csv.is_file() else None
    for i in range(cameras, MAX_CAMERAS):
        if not numbers and (mav0 / f"cam{i}").is_dir():
            known = "one camera" if cameras == 1 else f"{cameras} cameras"
            report.add(f"cam{i} is not used, as the calibration has {known}", str(mav0 / f"cam{i}"))
    groups = rig.groups if rig else (tuple(range(cameras)),)
    frames = _frames([mav0 / name for name in names], groups, report)
    fixes = mav0 / "gnss0" / "data.csv"
    gnss = table.read_gnss(fixes, report) if fixes.is_file() else None
    return FileRecording(path, frames, Sensors(rig, imu, _truth(mav0, report), gnss), report, color)


def _mav0(path: Path) -> Path:
    return path / "mav0" if (path / "mav0").is_dir() else path


def _find_rig(path: Path, mav0: Path, numbers: Sequence[int]) -> Rig | None:
    """Read the calibration that lies in the folder: EuRoC's sensor.yaml, or TUM-VI's Kalibr files in dso/."""
    if (camchain := path / "dso" / "camchain.yaml").is_file():
        return calibration.choose_cameras(calibration.read_rig(camchain), numbers)
    if not (mav0 / "cam0" / "sensor.yaml").is_file():
        return None
    return calibration.choose_cameras(calibration.read_euroc_rig(mav0), numbers)


def _truth(mav0: Path, report: ReadReport) -> Trajectory | None:
    found = [csv for folder in TRUTHS if (csv := mav0 / folder / "data.csv").is_file()]
    return table.read_truth(found[0], report) if found else None


def _frames(folders: Sequence[Path], groups: Sequence[tuple[int, ...]], report: ReadReport) -> list[FrameFiles]:
    """The images of all cameras, those of one time together; groups: the rig's."""
    stamps_ns, paths = zip(*(_images(folder, report) for folder in folders), strict=True)
    frames_ns, chosen = stream.join(stamps_ns, groups, report)
    return [
        FrameFiles(int(stamp), tuple(paths[camera][i] if i >= 0 else None for camera, i in enumerate(row)))
        for stamp, row in zip(frames_ns, chosen.T, strict=True)
    ]


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
