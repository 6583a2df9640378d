# SPDX-License-Identifier: Apache-2.0
"""`python -m training.data.reconstruct PHOTOS WORK`: COLMAP from photographs to undistorted images and a model.

A process of its own: in one that also uses OpenCV, pycolmap brings another zlib, and writing a PNG
aborts. So nothing here may import cv2.
"""

import subprocess
import sys
from pathlib import Path

from letvins_ros.errors import DataError

_TOO_FEW = 3  # exit code


def reconstruct(photos: Path, work: Path) -> Path:
    """Run the process; return the folder with images/ and sparse/ (pinhole cameras), or raise DataError."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", __spec__.name, str(photos), str(work)], check=False, capture_output=True, text=True
    )
    if done.returncode == _TOO_FEW:
        raise DataError(f"{photos}: the photographs cannot be joined; take more, each overlapping its neighbours")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"{photos}: COLMAP failed ({last})")
    return work / "undistorted"


def run(photos: Path, work: Path) -> int:
    """Features, matches, mapping and undistortion of photographs of one camera; return the exit code."""
    import pycolmap

    work.mkdir(parents=True, exist_ok=True)
    database, models = work / "database.db", work / "models"
    database.unlink(missing_ok=True)
    models.mkdir(exist_ok=True)
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = "OPENCV"
    single = pycolmap.CameraMode.SINGLE
    pycolmap.extract_features(database, photos, camera_mode=single, reader_options=reader)
    pycolmap.match_exhaustive(database)
    found = pycolmap.incremental_mapping(database, photos, models)
    if not found:
        return _TOO_FEW
    largest = max(found, key=lambda key: found[key].num_reg_images())
    pycolmap.undistort_images(work / "undistorted", models / str(largest), photos)
    return 0


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), Path(sys.argv[2])))
