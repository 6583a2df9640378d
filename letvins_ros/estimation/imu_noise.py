# SPDX-License-Identifier: Apache-2.0
"""The IMU's noise as calibrated, or as its readings and the images show it where that is more."""

from dataclasses import replace

from letvins_ros.calibration import ImuNoise
from letvins_ros.config import EstimatorConfig

USUAL_CHI2 = 0.7  # of an interval at the solved states, in flights whose IMU is as calibrated: 0.4 to 0.8
LARGEST = 1e8  # factor on the accelerometer's variance: one of 10,000 times its noise tells nothing beside the images
GYRO_POWER = 0.5  # of the factor, for the gyro: its errors of scale are shares of turning, the other's of gravity too
CONTRADICTED = 200.0  # in the mean of a second: recordings without fault have up to 60, faults 1,000 to 100,000
LASTING = 100.0  # what contradicts lasts for seconds, which are so many intervals: it adds up, where noise cancels
SLOWNESS_S = 1.0  # in which the factor comes near to what the frames show
MOST_SHARE = 0.2  # of one frame: none alone decides
FAR = 2.0  # a window that shows so many times the factor is no chance: the IMU pulls the images along


class ShownNoise:
    """Follows how noisy the IMU is.

    Vibration is in no data sheet, but shows in the readings. Errors of scale, axes and clocks, and jumps of a bias,
    show in what is left between IMU and images after a solution: the IMU's weight falls until that is as usual, the
    gyro's less than the accelerometer's.
    """

    def __init__(self, given: ImuNoise, config: EstimatorConfig, follow: bool = True) -> None:
        """follow: whether the IMU's weight is to fall; not where something else may explain what is left."""
        self._follow = follow
        self._given, self._scales = given, (config.gyro_noise_scale, config.accel_noise_scale)
        self._measured, self.factor, self._told = (0.0, 0.0), 1.0, 1.0
        self._read_ns, self._share = 0, 0.0
        self.contradiction = 1.0  # the factor that would explain what is left, mean of about a second

    def read(self, measured: tuple[float, float], stamp_ns: int) -> None:
        """Take the densities of the noise in the readings up to a frame, as `ImuBuffer.noise` has them."""
        self._measured = measured
        self._share = min((stamp_ns - self._read_ns) * 1e-9 / SLOWNESS_S, MOST_SHARE)
        self._read_ns = stamp_ns

    def solved(self, chi2: float) -> None:
        """Take the mean chi-square of the window's intervals, with the noise as it has been."""
        shown = chi2 * self.factor / USUAL_CHI2
        self.contradiction += self._share * (shown - self.contradiction)
        if not self._follow:
            return
        shown *= LASTING if self.contradiction > CONTRADICTED else 1.0
        target = min(max(shown, 1.0), LARGEST)
        is_far = not 1 / FAR < target / self.factor < FAR
        self.factor += (MOST_SHARE if is_far else self._share) * (target - self.factor)

    def moved(self) -> bool:
        """Whether the factor is twice or half of what it was when this was last true."""
        if 0.5 < self.factor / self._told < 2:
            return False
        self._told = self.factor
        return True

    def now(self) -> ImuNoise:
        """The noise of an interval that ends now."""
        given = (self._given.gyro_noise, self._given.accel_noise)
        factors = self.factor**GYRO_POWER, self.factor
        parts = zip(given, self._measured, self._scales, factors, strict=True)
        gyro, accel = (max(calibrated, read) * scale * factor**0.5 for calibrated, read, scale, factor in parts)
        return replace(self._given, gyro_noise=gyro, accel_noise=accel)
