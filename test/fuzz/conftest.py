# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
# for what makes good files: maps of a walk, recordings of every format, calibrations of every style
sys.path[:0] = [str(TESTS / "loop"), str(TESTS / "datasets"), str(TESTS)]
