# SPDX-License-Identifier: Apache-2.0
"""The self-examination: units, axes, clocks and calibration, judged from the data themselves."""

from letvins_ros.examination.examiner import Examiner, without_consequences
from letvins_ros.examination.finding import REMEDIES, Finding

__all__ = ["REMEDIES", "Examiner", "Finding", "without_consequences"]
