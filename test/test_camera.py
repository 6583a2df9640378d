# SPDX-License-Identifier: Apache-2.0
import math
from typing import Any

import cv2
import numpy as np
import pytest

from letvins_ros.camera import Camera
from letvins_ros.errors import CalibrationError

from .vectors import unit

EUROC = Camera(
    "pinhole-radtan",
    752,
    480,
    (458.654, 457.296, 367.215, 248.375),
    (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05),
)
RADTAN5 = Camera("pinhole-radtan", 640, 480, (320.0, 322.0, 318.0, 243.0), (-0.32, 0.12, 1e-3, -2e-3, 0.02))
TUM_VI = Camera(
    "pinhole-equidistant",
    512,
    512,
    (190.97847715, 190.97330705, 254.93170605, 256.89744299),
    (0.00348238940, 0.00071503484, -0.00205323614, 0.00020293673),
)
MEI_LONG = Camera(
    "mei-radtan",
    752,
    480,
    (3.6313355285286337, 2138.7619122017772, 2131.5886210259278, 361.19856633263799, 248.27644773395667),
    (1.1757726639872075, 15.491281051140213, -8.1237172954550494e-4, 6.7297684030310243e-4),
)
MEI_WIDE = Camera("mei-radtan", 512, 512, (0.9, 300.0, 301.0, 255.0, 257.0), (-0.05, 0.01, 5e-4, -3e-4))
DOUBLE_SPHERE = Camera("double-sphere", 512, 512, (-0.24, 0.57, 157.0, 158.0, 255.0, 257.0))
DOUBLE_SPHERE_LOW = Camera("double-sphere", 512, 512, (0.3, 0.3, 300.0, 301.0, 255.0, 257.0))
FOLDING = Camera("pinhole-radtan", 640, 480, (200.0, 200.0, 320.0, 240.0), (-0.3, 0.0, 0.01, 0.02))
FOLDING_FISHEYE = Camera("pinhole-equidistant", 512, 512, (190.0, 190.0, 256.0, 256.0), (-0.1, 0.02, -0.01, -0.003))
RATIONAL = Camera(  # the colour camera of an Azure Kinect
    "pinhole-radtan",
    1280,
    720,
    (608.0, 608.2, 637.1, 367.4),
    (0.4735, -2.5869, 0.00099, -0.00015, 1.4759, 0.3536, -2.4094, 1.4054),
)
POLE = Camera("pinhole-radtan", 640, 480, (200.0, 200.0, 320.0, 240.0), (0.1, 0, 1e-3, 0, 0, -0.3, 0, 0))
EUCM = Camera("eucm", 512, 512, (0.63, 1.07, 190.0, 191.0, 255.0, 257.0))
EUCM_LOW = Camera("eucm", 512, 512, (0.3, 0.8, 250.0, 251.0, 255.0, 257.0))
FOV = Camera("fov", 1280, 1024, (0.9271, 457.0, 457.8, 638.2, 511.6))  # of the TUM monocular data set's wide lens
CAMERAS = {
    "rational": RATIONAL,
    "rational with a pole": POLE,
    "eucm": EUCM,
    "eucm alpha < 0.5": EUCM_LOW,
    "fov": FOV,
    "radtan": EUROC,
    "radtan k3": RADTAN5,
    "no distortion": Camera("pinhole-radtan", 640, 480, (320.0, 320.0, 319.5, 239.5)),
    "equidistant": TUM_VI,
    "mei": MEI_LONG,
    "mei wide": MEI_WIDE,
    "double sphere": DOUBLE_SPHERE,
    "double sphere alpha < 0.5": DOUBLE_SPHERE_LOW,
    "folding": FOLDING,
    "folding fisheye": FOLDING_FISHEYE,
}
each_camera = pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)


def pixel_grid(camera: Camera, columns: int = 17, rows: int = 13) -> np.ndarray:
    u, v = np.meshgrid(np.linspace(0, camera.width - 1, columns), np.linspace(0, camera.height - 1, rows))
    return np.column_stack([u.ravel(), v.ravel()])


def directions(count: int, seed: int = 3) -> np.ndarray:
    p = np.random.default_rng(seed).normal(size=(count, 3))
    return unit(p)


@each_camera
def test_projection_inverts_unprojection_up_to_the_corners(camera: Camera) -> None:
    uv = pixel_grid(camera)
    bearings = camera.unproject(uv)
    seen = ~np.isnan(bearings).any(axis=1)
    assert seen.mean() > 0.1
    np.testing.assert_allclose(np.linalg.norm(bearings[seen], axis=1), 1, atol=1e-12)
    again, valid = camera.project(bearings[seen] * 3.7)
    assert valid.all()
    np.testing.assert_allclose(again, uv[seen], atol=1e-9 * camera.focal_px)


@pytest.mark.parametrize("name", ["radtan", "radtan k3", "rational", "no distortion", "mei", "equidistant"])
def test_real_lenses_see_with_every_pixel(name: str) -> None:
    assert np.isfinite(CAMERAS[name].unproject(pixel_grid(CAMERAS[name]))).all()


@each_camera
def test_no_direction_of_the_whole_sphere_is_silently_wrong(camera: Camera) -> None:
    p = directions(20_000)
    uv, valid = camera.project(p)
    assert 0.01 < valid.mean() < 0.9
    np.testing.assert_allclose(camera.unproject(uv[valid]), p[valid], atol=1e-6)  # 1e-6: at a fold the slope is 0
    inside = ((uv >= -0.5) & (uv < np.array([camera.width, camera.height]) - 0.5)).all(axis=1)
    np.testing.assert_array_equal(valid, inside)


@each_camera
def test_jacobian_equals_finite_differences(camera: Camera) -> None:
    p = directions(4000) * np.linspace(0.3, 20, 4000)[:, None]
    p = p[camera.project(p)[1]]
    uv, J = camera.project_jacobian(p)
    np.testing.assert_array_equal(uv, camera.project(p)[0])
    steps = np.eye(3)[:, None, :] * 1e-6 * np.linalg.norm(p, axis=1)[:, None]
    numeric = np.stack([camera.project(p + h)[0] - camera.project(p - h)[0] for h in steps], axis=2)
    numeric /= 2e-6 * np.linalg.norm(p, axis=1)[:, None, None]
    ok = np.isfinite(numeric).all(axis=(1, 2))
    assert ok.mean() > 0.99
    scale = np.abs(J).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose((J / scale)[ok], (numeric / scale)[ok], atol=1e-6)


@each_camera
def test_the_optical_axis_has_a_finite_jacobian_and_focal_length(camera: Camera) -> None:
    uv, J = camera.project_jacobian(np.array([[0.0, 0.0, 2.0], [1e-9, 0.0, 2.0]]))
    np.testing.assert_allclose(uv, [camera.intrinsics[-2:]] * 2, atol=1e-6)
    np.testing.assert_allclose(J[0], J[1], atol=1e-6)
    around = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
    ahead = camera.unproject(around + camera.intrinsics[-2:])
    angles = np.arccos([ahead[0] @ ahead[1], ahead[2] @ ahead[3]])
    assert camera.focal_px == pytest.approx(np.mean(1 / angles), rel=1e-4)


@pytest.mark.parametrize("camera", [EUROC, RADTAN5, RATIONAL])
def test_radtan_projects_as_opencv(camera: Camera) -> None:
    p = camera.unproject(pixel_grid(camera)) * 4.0
    K = np.array(
        [[camera.intrinsics[0], 0, camera.intrinsics[2]], [0, camera.intrinsics[1], camera.intrinsics[3]], [0, 0, 1]]
    )
    expected, _ = cv2.projectPoints(p, np.zeros(3), np.zeros(3), K, np.array(camera.distortion))
    np.testing.assert_allclose(camera.project(p)[0], expected[:, 0], atol=1e-9)


@pytest.mark.parametrize("camera", [EUROC, RADTAN5, RATIONAL])
def test_radtan_unprojects_as_opencv(camera: Camera) -> None:
    uv = pixel_grid(camera)
    K = np.array(
        [[camera.intrinsics[0], 0, camera.intrinsics[2]], [0, camera.intrinsics[1], camera.intrinsics[3]], [0, 0, 1]]
    )
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-12)
    expected = cv2.undistortPointsIter(uv, K, np.array(camera.distortion), np.eye(3), np.eye(3), until)[:, 0]
    bearings = camera.unproject(uv)
    np.testing.assert_allclose(bearings[:, :2] / bearings[:, 2:], expected, atol=1e-9)


def test_equidistant_projects_and_unprojects_as_opencv() -> None:
    fx, fy, cx, cy = TUM_VI.intrinsics
    K, D = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), np.array(TUM_VI.distortion)
    uv = pixel_grid(TUM_VI)
    p = TUM_VI.unproject(uv)
    front = p[:, 2] > 0.05  # OpenCV's fisheye ends at 90 degrees
    expected, _ = cv2.fisheye.projectPoints(p[front][:, None] * 4, np.zeros(3), np.zeros(3), K, D)
    np.testing.assert_allclose(TUM_VI.project(p[front] * 4)[0], expected[:, 0], atol=1e-9)
    plane = cv2.fisheye.undistortPoints(uv[front][:, None], K, D)[:, 0]
    np.testing.assert_allclose((p[:, :2] / p[:, 2:])[front], plane, atol=1e-5)


def test_fisheye_sees_behind_its_image_plane() -> None:
    uv, valid = TUM_VI.project(np.array([[1.0, 0.0, -0.01], [-1.0, 0.0, -0.01]]))
    assert np.isfinite(uv).all() and not valid.any()
    camera = Camera("pinhole-equidistant", 800, 800, (190.0, 190.0, 400.0, 400.0))
    uv, valid = camera.project(np.array([[1.0, 0.0, -0.5]]))
    np.testing.assert_allclose(uv, [[400 + 190 * (np.pi / 2 + np.arctan(0.5)), 400]])
    assert valid.all()


def test_mei_without_mirror_is_the_pinhole() -> None:
    p = EUROC.unproject(pixel_grid(EUROC)) * 2
    mei = Camera("mei-radtan", 752, 480, (0.0, *EUROC.intrinsics), EUROC.distortion)
    np.testing.assert_allclose(mei.project(p)[0], EUROC.project(p)[0], atol=1e-9)


def test_mei_and_pinhole_calibrations_of_one_real_camera_agree() -> None:
    """VINS-Fusion publishes both for EuRoC's left camera."""
    pinhole = Camera(
        "pinhole-radtan",
        752,
        480,
        (461.15862106007575, 459.75286598073296, 362.65929181685937, 248.52105668448124),
        (-0.29545645106987750, 0.086623215640186171, 2.0132892276082517e-6, 1.3924531371276508e-5),
    )
    a, b = (camera.unproject(pixel_grid(camera)) for camera in (pinhole, MEI_LONG))
    angle = np.degrees(np.arccos(np.clip(np.einsum("ni,ni->n", a, b), -1, 1)))
    assert np.quantile(angle, 0.8) < 0.3  # the image corners are extrapolated


def test_double_sphere_with_one_sphere_is_mei() -> None:
    p = directions(500) + np.array([0, 0, 1])
    mei = Camera("mei-radtan", 512, 512, (0.4, 300.0, 301.0, 255.0, 257.0))
    double = Camera("double-sphere", 512, 512, (0.4, 0.0, 300.0, 301.0, 255.0, 257.0))
    np.testing.assert_allclose(double.project(p)[0], mei.project(p)[0], atol=1e-9)


def test_double_sphere_projects_as_the_paper() -> None:
    """Usenko 2018, eq. 40, worked by hand at p = (3, 0, 4), xi = -0.2, alpha = 0.6."""
    camera = Camera("double-sphere", 512, 512, (-0.2, 0.6, 100.0, 100.0, 256.0, 256.0))
    d2 = np.sqrt(9 + (-0.2 * 5 + 4) ** 2)
    np.testing.assert_allclose(camera.project(np.array([[3.0, 0, 4.0]]))[0], [[256 + 300 / (0.6 * d2 + 0.4 * 3), 256]])


@pytest.mark.parametrize("camera", [EUCM, EUCM_LOW])
def test_eucm_projects_as_the_paper(camera: Camera) -> None:
    """Khomutenko 2016, eq. 5 to 8: perspective division by alpha rho + (1 - alpha) z, point by point."""
    alpha, beta, fx, fy, cx, cy = camera.intrinsics
    p = directions(500) + np.array([0, 0, 1.2])
    for (u, v), (x, y, z) in zip(camera.project(p)[0], p, strict=True):
        rho = math.sqrt(beta * (x * x + y * y) + z * z)
        assert u == pytest.approx(fx * x / (alpha * rho + (1 - alpha) * z) + cx, abs=1e-9)
        assert v == pytest.approx(fy * y / (alpha * rho + (1 - alpha) * z) + cy, abs=1e-9)


def test_eucm_with_beta_one_is_the_unified_sphere() -> None:
    """alpha = xi / (1 + xi), and focal lengths by 1 + xi apart."""
    xi, p = 0.8, directions(500) + np.array([0, 0, 1.2])
    sphere = Camera("mei-radtan", 512, 512, (xi, 300.0, 301.0, 255.0, 257.0))
    eucm = Camera("eucm", 512, 512, (xi / (1 + xi), 1.0, 300.0 / (1 + xi), 301.0 / (1 + xi), 255.0, 257.0))
    np.testing.assert_allclose(eucm.project(p)[0], sphere.project(p)[0], atol=1e-9)


def test_fov_projects_as_the_paper() -> None:
    """Devernay 2001, eq. 13: r_d = atan(2 r_u tan(w / 2)) / w, point by point."""
    w, fx, fy, cx, cy = FOV.intrinsics
    p = directions(500) + np.array([0, 0, 1.2])
    for (u, v), (x, y, z) in zip(FOV.project(p)[0], p, strict=True):
        r_u = math.hypot(x / z, y / z)
        scale = math.atan(2 * r_u * math.tan(w / 2)) / w / r_u / z if z > 0 else math.nan
        assert u == pytest.approx(fx * x * scale + cx, abs=1e-9, nan_ok=True)
        assert v == pytest.approx(fy * y * scale + cy, abs=1e-9, nan_ok=True)


@each_camera
def test_points_behind_the_camera_and_at_its_centre_are_invalid(camera: Camera) -> None:
    behind = np.array([[0.0, 0.0, -1.0], [1e-3, -1e-3, -1.0]])
    nowhere = np.array([[0.0, 0.0, 0.0], [np.nan, 0.0, 1.0]])
    assert not camera.project(behind)[1].any()
    uv, valid = camera.project(nowhere)
    assert not valid.any() and np.isnan(uv).all()


def test_a_pinhole_sees_nothing_behind_its_image_plane() -> None:
    p = np.array([[0.1, 0.2, -0.001], [0.1, 0.2, 0.0]])
    uv, valid = EUROC.project(p)
    assert not valid.any() and np.isnan(uv).all()
    assert np.isnan(EUROC.project_jacobian(p)[1]).all()


def test_points_that_the_distortion_would_fold_into_the_image_are_invalid() -> None:
    wide = np.column_stack([np.linspace(0, 4, 200), np.zeros(200), np.ones(200)])
    lens = (-0.3, 0.0, 0.0, 0.0)
    camera = Camera("pinhole-radtan", 640, 480, (200.0, 200.0, 320.0, 240.0), lens)
    folded, _ = cv2.projectPoints(wide, np.zeros(3), np.zeros(3), np.diag([200.0, 200, 1]), np.array(lens))
    assert (np.abs(folded[100]) < 300).all(), "OpenCV shows this point in the image"
    uv, valid = camera.project(wide)
    np.testing.assert_array_equal(valid, wide[:, 0] < 1 / np.sqrt(0.9))  # the slope 1 - 0.9 r^2 is zero there
    assert np.isnan(uv[~valid]).all()


def test_pixels_beyond_the_edge_of_the_distortion_have_no_bearing() -> None:
    camera = Camera("pinhole-radtan", 640, 480, (200.0, 200.0, 320.0, 240.0), (-0.3, 0.0, 0.0, 0.0))
    reach = 200 * 2 / 3 / np.sqrt(0.9)  # of r - 0.3 r^3
    bearings = camera.unproject(np.array([[320 + reach - 1, 240], [320 + reach + 1, 240], [1e9, 240], [np.nan, 240]]))
    np.testing.assert_array_equal(np.isnan(bearings).any(axis=1), [False, True, True, True])


def test_pixels_count_as_seen_from_edge_to_edge() -> None:
    camera = Camera("pinhole-radtan", 4, 2, (1.0, 1.0, 0.0, 0.0))
    uv = np.array([[-0.5, -0.5], [3.49, 1.49], [3.5, 0], [-0.51, 0], [0, 1.5]])
    _, valid = camera.project(np.column_stack([uv, np.ones(5)]))
    np.testing.assert_array_equal(valid, [True, True, False, False, False])


@each_camera
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_every_number_of_points_gives_what_each_gives_alone(camera: Camera, count: int) -> None:
    uv = pixel_grid(camera)[:count].astype(np.float32)
    bearings = camera.unproject(uv)
    assert bearings.shape == (count, 3) and bearings.dtype == np.float64
    pixels, valid = camera.project(bearings)
    same, J = camera.project_jacobian(bearings)
    assert pixels.shape == same.shape == (count, 2) and valid.shape == (count,) and J.shape == (count, 2, 3)
    for i in range(count):
        np.testing.assert_allclose(camera.unproject(uv[i : i + 1])[0], bearings[i], atol=1e-10)
        np.testing.assert_allclose(camera.project(bearings[i : i + 1])[0][0], pixels[i], atol=1e-9)


def test_inputs_are_left_as_they_are() -> None:
    uv = pixel_grid(EUROC)
    p = EUROC.unproject(uv)
    uv_before, p_before = uv.copy(), p.copy()
    EUROC.unproject(uv), EUROC.project(p), EUROC.project_jacobian(p)
    np.testing.assert_array_equal(uv, uv_before)
    np.testing.assert_array_equal(p, p_before)


PINHOLE: dict[str, Any] = {"model": "pinhole-radtan", "width": 4, "height": 2, "intrinsics": (1.0, 1.0, 0.0, 0.0)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"model": "cubic"},
            "unknown camera model cubic; known: pinhole-radtan, pinhole-equidistant, mei-radtan, double-",
        ),
        ({"intrinsics": (1.0, 1.0)}, "pinhole-radtan needs intrinsics fx, fy, cx, cy, got 2 numbers"),
        ({"distortion": (0.1,)}, "pinhole-radtan takes 0 or 4 or 5 or 8 distortion coefficients, got 1"),
        ({"intrinsics": (1.0, 1.0, np.nan, 0.0)}, "pinhole-radtan has parameters that are not finite or absurd: "),
        ({"intrinsics": (1.0, -1.0, 0.0, 0.0)}, "focal lengths must be positive, got 1.0, -1.0"),
        ({"height": 0}, "image size must be positive, got 4 x 0"),
        ({"model": "mei-radtan", "intrinsics": (-0.1, 1.0, 1.0, 0.0, 0.0)}, "mei-radtan needs xi >= 0, got -0.1"),
        ({"model": "fov", "intrinsics": (0.0, 1.0, 1.0, 0.0, 0.0)}, "fov needs 0 < w < pi, got 0.0"),
        (
            {"model": "eucm", "intrinsics": (0.5, -1.0, 1.0, 1.0, 0.0, 0.0)},
            "eucm needs 0 <= alpha <= 1 and beta > 0, got alpha 0.5, beta -1.0",
        ),
        (
            {"model": "double-sphere", "intrinsics": (0.1, 1.2, 1.0, 1.0, 0.0, 0.0)},
            r"double-sphere needs -1 < xi < 1 and 0 <= alpha <= 1, got xi 0.1, alpha 1.2",
        ),
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        Camera(**(PINHOLE | wrong))
