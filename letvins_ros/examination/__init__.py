# SPDX-License-Identifier: Apache-2.0
"""The self-examination: units, axes, clocks and calibration, judged from the data themselves."""

from letvins_ros.examination.examiner import EXPLAIN_S, EXPLAINING, Examiner, without_consequences
from letvins_ros.examination.finding import REMEDIES, Finding

__all__ = ["EXPLAINING", "EXPLAIN_S", "REMEDIES", "Examiner", "Finding", "without_consequences"]
