# SPDX-License-Identifier: Apache-2.0
"""All about the package is in pyproject.toml; tools that know only setup.py start here."""

from setuptools import setup

setup()
