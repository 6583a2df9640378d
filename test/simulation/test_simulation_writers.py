# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from letvins_ros.datasets.euroc import open_euroc
from letvins_ros.datasets.tartanair import open_tartanair
from letvins_ros.errors import DataError
from letvins_ros.simulation import simulate, write_euroc, write_tartanair
from letvins_ros.simulation.imu import seconds
from letvins_ros.simulation.rigs import TARTANAIR_RIG


@pytest.fixture(scope="module")
def euroc(tmp_path_factory):
    out, calls = tmp_path_factory.mktemp("sim") / "parent" / "corridor", []
    simulate(out, "corridor", 0.5, 7, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (11, 11)
    return out


def test_a_written_folder_reads_back_as_the_simulation(euroc, corridor):
    data = open_euroc(euroc)
    assert data.report.counts == {}
    np.testing.assert_allclose(data.imu.gyro, corridor.imu.gyro, atol=1e-9)
    np.testing.assert_allclose(data.imu.accel, corridor.imu.accel, atol=1e-9)
    np.testing.assert_allclose(data.truth.positions, corridor.truth.positions, atol=1e-9)
    np.testing.assert_allclose(data.truth.quaternions, corridor.truth.quaternions, atol=1e-8)
    frames = list(data.frames())
    assert len(frames) == 11
    for camera in (0, 1):
        np.testing.assert_array_equal(frames[4].images[camera], corridor.image(4, camera))
        read, known = data.rig.cameras[camera], corridor.rig.cameras[camera]
        np.testing.assert_allclose(read.T_body_cam, known.T_body_cam, atol=1e-9)
        for name in ("model", "width", "height", "intrinsics", "distortion"):
            assert getattr(read.camera, name) == getattr(known.camera, name)
    assert data.rig.imu == corridor.rig.imu


def test_truth_has_velocity_and_the_biases_in_the_readings(euroc, corridor):
    path = euroc / "mav0" / "state_groundtruth_estimate0" / "data.csv"
    assert path.read_text().split("\n")[0].count(",") == 16
    truth = np.loadtxt(path, delimiter=",")
    np.testing.assert_allclose(truth[:, 8:11], corridor.trajectory.velocity(seconds(corridor.imu.stamps_ns)), atol=1e-8)
    np.testing.assert_allclose(truth[:, 11:14], corridor.simulated_imu.gyro_bias, atol=1e-8)
    np.testing.assert_allclose(truth[:, 14:], corridor.simulated_imu.accel_bias, atol=1e-8)


def test_only_new_or_empty_folders_are_written(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="full: exists and is not an empty folder"):
        simulate(tmp_path / "full", "static", 0.1, 0)
    with pytest.raises(DataError, match="cannot be made"):
        simulate(tmp_path / "full" / "mine.txt" / "sub", "static", 0.1, 0)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(path, image):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write_euroc, "write_png", full_disk)
    with pytest.raises(DataError, match="No space left"):
        simulate(tmp_path / "out", "corridor", 0.1, 0)
    assert list(tmp_path.iterdir()) == []


def test_tartanair_folders_have_its_layout_poses_and_depth(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "P000"
    photos.mkdir()
    cv2.imwrite(str(photos / "a.png"), np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
    write_tartanair(out, "corridor", 0.4, 3, photos)
    assert sorted(path.name for path in out.iterdir()) == ["depth_left", "image_left", "image_right", "pose_left.txt"]
    assert len(list((out / "image_right").iterdir())) == 5
    left = cv2.imread(str(out / "image_left" / "000002_left.png"), cv2.IMREAD_UNCHANGED)
    depth = np.load(out / "depth_left" / "000002_left_depth.npy")
    assert left.shape == (480, 640, 3)
    assert left.std(axis=2).mean() > 3
    assert depth.shape == (480, 640)
    assert depth.dtype == np.float32
    poses = np.loadtxt(out / "pose_left.txt")
    assert poses.shape == (5, 7)
    assert (poses[:, 2] < -1).all()  # north-east-down: a walker's eyes are above the floor
    data = open_tartanair(out)
    assert data.truth.positions[:, 2].min() > 1
    assert data.rig.cameras[1].camera.intrinsics == TARTANAIR_RIG.cameras[1].camera.intrinsics


def test_tartanair_depth_and_poses_agree_on_the_points_of_the_world(tmp_path):
    write_tartanair(tmp_path / "out", "hall", 0.6, 3)
    poses = np.loadtxt(tmp_path / "out" / "pose_left.txt")
    data = open_tartanair(tmp_path / "out")
    from letvins_ros import geometry

    T_world_body = geometry.from_quaternion(data.truth.positions, data.truth.quaternions)
    T_world_cam = T_world_body @ data.rig.cameras[0].T_body_cam
    depths = [np.load(tmp_path / "out" / "depth_left" / f"00000{i}_left_depth.npy") for i in (0, 6)]
    v, u = np.mgrid[40:440:10, 40:600:10].reshape(2, -1)
    rays = np.stack([(u - 320) / 320, (v - 240) / 320, np.ones(len(u))], axis=1)
    points = geometry.apply(T_world_cam[0], rays * depths[0][v, u][:, None])
    later = geometry.apply(geometry.inverse(T_world_cam[6]), points)
    uv = np.rint(later[:, :2] / later[:, 2:] * 320 + [320, 240]).astype(int)
    inside = (uv >= 0).all(axis=1) & (uv[:, 0] < 640) & (uv[:, 1] < 480)
    ratio = depths[1][uv[inside, 1], uv[inside, 0]] / later[inside, 2]
    assert inside.mean() > 0.5
    assert (np.abs(ratio - 1) < 0.02).mean() > 0.85
    assert len(poses) == 7


def test_a_photo_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no readable .jpg or .png"):
        write_tartanair(tmp_path / "out", "corridor", 0.2, 0, tmp_path)
