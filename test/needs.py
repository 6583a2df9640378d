# SPDX-License-Identifier: Apache-2.0
"""Marks of tests that need what not every installation has."""

from importlib.util import find_spec

import pytest

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
