# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.datasets.euroc import open_euroc
from letvins_ros.datasets.tartanair import open_tartanair
from letvins_ros.errors import DataError
from letvins_ros.simulation import Simulation, simulate, write_euroc, write_tartanair
from letvins_ros.simulation.imu import seconds
from letvins_ros.simulation.rigs import TARTANAIR_RIG

from ..some import some


@pytest.fixture(scope="module")
def euroc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, calls = tmp_path_factory.mktemp("sim") / "parent" / "corridor", []
    simulate(out, "corridor", 0.5, 7, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (11, 11)
    return out


def test_a_written_folder_reads_back_as_the_simulation(euroc: Path, corridor: Simulation) -> None:
    data = open_euroc(euroc)
    assert data.report.counts == {}
    np.testing.assert_allclose(some(data.imu).gyro, corridor.imu.gyro, atol=1e-9)
    np.testing.assert_allclose(some(data.imu).accel, corridor.imu.accel, atol=1e-9)
    np.testing.assert_allclose(some(data.truth).positions, corridor.truth.positions, atol=1e-9)
    np.testing.assert_allclose(some(data.truth).quaternions, corridor.truth.quaternions, atol=1e-8)
    frames = list(data.frames())
    assert len(frames) == 11
    for camera in (0, 1):
        np.testing.assert_array_equal(frames[4].images[camera], corridor.image(4, camera))
        read, known = some(data.rig).cameras[camera], corridor.rig.cameras[camera]
        np.testing.assert_allclose(read.T_body_cam, known.T_body_cam, atol=1e-9)
        for name in ("model", "width", "height", "intrinsics", "distortion"):
            assert getattr(read.camera, name) == getattr(known.camera, name)
    assert some(data.rig).imu == corridor.rig.imu


def test_four_cameras_are_written_and_the_front_pair_sees_what_the_hall_shows(tmp_path: Path) -> None:
    simulate(tmp_path / "hall4", "hall4", 0.1, 2)
    data, hall = open_euroc(tmp_path / "hall4"), Simulation("hall", 0.1, 2)
    assert some(data.rig).groups == ((0, 1), (2, 3))
    images = next(iter(data.frames())).images
    np.testing.assert_array_equal(images[0], hall.image(0, 0))
    assert len(images) == 4
    assert min(some(image).std() for image in images) > 10
    assert np.abs(some(images[0]).astype(int) - images[2]).mean() > 10


def test_truth_has_velocity_and_the_biases_in_the_readings(euroc: Path, corridor: Simulation) -> None:
    path = euroc / "mav0" / "state_groundtruth_estimate0" / "data.csv"
    assert path.read_text().split("\n")[0].count(",") == 16
    truth = np.loadtxt(path, delimiter=",")
    np.testing.assert_allclose(truth[:, 8:11], corridor.trajectory.velocity(seconds(corridor.imu.stamps_ns)), atol=1e-8)
    np.testing.assert_allclose(truth[:, 11:14], corridor.simulated_imu.gyro_bias, atol=1e-8)
    np.testing.assert_allclose(truth[:, 14:], corridor.simulated_imu.accel_bias, atol=1e-8)


def test_only_new_or_empty_folders_are_written(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="full: exists and is not an empty folder"):
        simulate(tmp_path / "full", "static", 0.1, 0)
    with pytest.raises(DataError, match="cannot write"):
        simulate(tmp_path / "full" / "mine.txt" / "sub", "static", 0.1, 0)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(path: Path, image: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write_euroc, "write_png", full_disk)
    with pytest.raises(DataError, match="No space left"):
        simulate(tmp_path / "out", "corridor", 0.1, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def tartanair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second along walls with coloured noise."""
    photos, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("tartanair") / "P000"
    cv2.imwrite(str(photos / "a.png"), np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
    write_tartanair(out, "corridor", 0.5, 3, photos)
    return out


def test_tartanair_folders_have_its_layout(tartanair: Path) -> None:
    names = {
        "image_left": "000002_left.png",
        "image_right": "000002_right.png",
        "depth_left": "000002_left_depth.npy",
    }
    assert {path.name for path in tartanair.iterdir()} == {*names, "pose_left.txt"}
    for folder, name in names.items():
        files = sorted(path.name for path in (tartanair / folder).iterdir())
        assert len(files) == 6
        assert files[2] == name
    left = some(cv2.imread(str(tartanair / "image_left" / "000002_left.png"), cv2.IMREAD_UNCHANGED))
    depth = np.load(tartanair / "depth_left" / "000002_left_depth.npy")
    assert left.shape == (480, 640, 3)
    assert left.std(axis=2).mean() > 3
    assert depth.shape == (480, 640)
    assert depth.dtype == np.float32
    poses = np.loadtxt(tartanair / "pose_left.txt")
    assert poses.shape == (6, 7)
    assert (poses[:, 2] < -1).all()  # north-east-down: a walker's eyes are above the floor
    rig = some(open_tartanair(tartanair).rig)
    for read, ours in zip(rig.cameras, TARTANAIR_RIG.cameras, strict=True):
        assert read.camera.intrinsics == ours.camera.intrinsics
        baseline = np.linalg.norm(ours.T_body_cam[:3, 3])
        assert np.linalg.norm(read.T_body_cam[:3, 3]) == pytest.approx(baseline)


def test_tartanair_depth_and_poses_agree_on_the_points_of_the_world(tartanair: Path) -> None:
    data = open_tartanair(tartanair)
    T_world_body = geometry.from_quaternion(some(data.truth).positions, some(data.truth).quaternions)
    T_world_cam = T_world_body @ some(data.rig).cameras[0].T_body_cam
    first, last = (np.load(tartanair / "depth_left" / f"00000{i}_left_depth.npy") for i in (0, 5))
    v, u = np.mgrid[40:440:10, 40:600:10].reshape(2, -1)
    rays = np.stack([(u - 320) / 320, (v - 240) / 320, np.ones(len(u))], axis=1)
    points_world = geometry.apply(T_world_cam[0], rays * first[v, u][:, None])
    points = geometry.apply(geometry.inverse(T_world_cam[5]), points_world)
    uv = np.rint(points[:, :2] / points[:, 2:] * 320 + [320, 240]).astype(int)
    inside = (uv >= 0).all(axis=1) & (uv[:, 0] < 640) & (uv[:, 1] < 480) & (points[:, 2] > 0)
    ratio = last[uv[inside, 1], uv[inside, 0]] / points[inside, 2]
    assert inside.mean() > 0.4
    assert (np.abs(ratio - 1) < 0.02).mean() > 0.85


def test_a_photo_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no readable .jpg or .png"):
        write_tartanair(tmp_path / "out", "corridor", 0.2, 0, tmp_path)
