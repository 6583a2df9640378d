# SPDX-License-Identifier: Apache-2.0
"""Features followed through images."""

from letvins_ros.tracking.tracker import FeatureTracker

__all__ = ["FeatureTracker"]
