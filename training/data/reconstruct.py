# SPDX-License-Identifier: Apache-2.0
"""`python -m training.data.reconstruct PHOTOS WORK LONGEST [MODEL]`: COLMAP, to undistorted images and their model.

A process of its own: in one that also uses OpenCV, pycolmap brings another zlib, and writing a PNG
aborts. So nothing here may import cv2.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from letvins_ros.errors import DataError

_TOO_FEW = 3  # exit code


@dataclass(frozen=True)
class Way:
    """How photographs become undistorted ones."""

    model: Path | None = None  # of them, made before; else they are matched
    longest_px: int = 0  # side of the undistorted images, 0: as they are


def reconstruct(photos: Path, work: Path, way: Way) -> Path:
    """Run the process; return the folder with images/ and sparse/ (pinhole cameras), or raise DataError."""
    command = [sys.executable, "-m", __spec__.name, str(photos), str(work), str(way.longest_px)]
    done = subprocess.run(  # noqa: S603
        [*command, *([str(way.model)] if way.model else [])], check=False, capture_output=True, text=True
    )
    if done.returncode == _TOO_FEW:
        raise DataError(f"{photos}: the photographs cannot be joined; take more, each overlapping its neighbours")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"{photos}: COLMAP failed ({last})")
    return work / "undistorted"


def run(photos: Path, work: Path, longest_px: int, model: Path | None = None) -> int:
    """Match photographs, where there is no model, and undistort them; return the exit code."""
    import pycolmap

    work.mkdir(parents=True, exist_ok=True)
    model = model or _match(photos, work)
    if model is None:
        return _TOO_FEW
    options = pycolmap.UndistortCameraOptions(max_image_size=longest_px or -1)
    pycolmap.undistort_images(work / "undistorted", model, photos, undistort_options=options)
    return 0


def _match(photos: Path, work: Path) -> Path | None:
    """Features, matches and mapping; images of one size, upright or across, are of one camera."""
    import pycolmap

    database, models = work / "database.db", work / "models"
    database.unlink(missing_ok=True)
    models.mkdir(exist_ok=True)
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = "OPENCV"
    sizes: dict[tuple[int, int], list[str]] = {}
    for path in sorted(photos.rglob("*")):
        if path.is_file() and (image := pycolmap.Bitmap.read(path, False)) is not None:
            sizes.setdefault((image.width, image.height), []).append(str(path.relative_to(photos)))
    for names in sizes.values():
        single = pycolmap.CameraMode.SINGLE
        pycolmap.extract_features(database, photos, names, camera_mode=single, reader_options=reader)
    pycolmap.match_exhaustive(database)
    found = pycolmap.incremental_mapping(database, photos, models)
    if not found:
        return None
    return models / str(max(found, key=lambda key: found[key].num_reg_images()))


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *map(Path, sys.argv[4:])))
