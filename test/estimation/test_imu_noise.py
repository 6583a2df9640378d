# SPDX-License-Identifier: Apache-2.0
import pytest

from letvins_ros.calibration import ImuNoise
from letvins_ros.config import EstimatorConfig
from letvins_ros.estimation.imu_noise import CONTRADICTED, LARGEST, LASTING, USUAL_CHI2, ShownNoise
from letvins_ros.simulation.rigs import EUROC_IMU

PLAIN = EstimatorConfig(gyro_noise_scale=1.0, accel_noise_scale=1.0)
FRAME_NS = 50_000_000


def followed(
    seconds: float, chi2: float, measured: tuple[float, float] = (0.0, 0.0), follow: bool = True
) -> ShownNoise:
    """After so long, at 20 Hz; chi2 is that of the noise as calibrated."""
    shown = ShownNoise(EUROC_IMU, PLAIN, follow)
    for i in range(round(seconds * 20)):
        shown.read(measured, i * FRAME_NS)
        shown.solved(chi2 * (EUROC_IMU.accel_noise / shown.now().accel_noise) ** 2)
    return shown


def after(seconds: float, chi2: float, measured: tuple[float, float] = (0.0, 0.0)) -> ImuNoise:
    """The noise after so long."""
    return followed(seconds, chi2, measured).now()


def test_noise_is_the_calibrated_one_where_nothing_shows_more() -> None:
    assert after(5.0, USUAL_CHI2 / 2, (1e-9, 1e-9)) == EUROC_IMU


def test_vibration_counts_where_it_is_more_than_calibrated() -> None:
    noise = after(1.0, 0.0, (1e-9, 20 * EUROC_IMU.accel_noise))
    assert (noise.gyro_noise, noise.accel_noise) == (EUROC_IMU.gyro_noise, 20 * EUROC_IMU.accel_noise)


@pytest.mark.parametrize(("chi2", "times"), [(9 * USUAL_CHI2, 3.0), (1e6, LARGEST**0.5)])
def test_a_contradiction_is_answered_within_seconds_by_the_noise_that_explains_it(chi2: float, times: float) -> None:
    assert after(6.0, chi2).accel_noise == pytest.approx(times * EUROC_IMU.accel_noise, rel=0.05)
    assert after(6.0, chi2).gyro_noise == pytest.approx(times**0.5 * EUROC_IMU.gyro_noise, rel=0.05)
    assert after(0.05, chi2).accel_noise < 0.6 * times * EUROC_IMU.accel_noise  # one frame


def test_what_contradicts_for_seconds_counts_as_more_than_noise() -> None:
    """An error that lasts adds up, where noise of the same size cancels."""
    factor = {times: followed(6.0, times * USUAL_CHI2).factor for times in (CONTRADICTED / 2, 2 * CONTRADICTED)}
    assert factor[CONTRADICTED / 2] == pytest.approx(CONTRADICTED / 2, rel=0.01)
    assert factor[2 * CONTRADICTED] == pytest.approx(2 * CONTRADICTED * LASTING, rel=0.01)


def test_an_imu_that_agrees_again_is_trusted_again() -> None:
    shown = followed(3.0, 1e6)
    for i in range(200):  # the mean over a second forgets a million in seven
        shown.read((0.0, 0.0), (60 + i) * FRAME_NS)
        shown.solved(USUAL_CHI2 / shown.factor)
    assert shown.factor < 2


@pytest.mark.parametrize("follow", [True, False])
def test_a_contradiction_beyond_all_noise_shows_within_a_second_also_where_the_weight_stays(follow: bool) -> None:
    times = 3 * CONTRADICTED
    soon, later = followed(1.0, times * USUAL_CHI2, follow=follow), followed(6.0, times * USUAL_CHI2, follow=follow)
    assert CONTRADICTED < soon.contradiction < later.contradiction == pytest.approx(times, rel=0.01)
    assert follow or later.now() == EUROC_IMU
