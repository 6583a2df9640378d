# SPDX-License-Identifier: Apache-2.0
"""How a network runs is decided here and nowhere else: `open_runtime("letnet2")` makes maps of images."""

import sys

from letvins_ros.inference.opening import open_runtime
from letvins_ros.inference.runtime import BackendError, Maps, Runtime

# with this package, OpenVINO reports its import to Google Analytics and keeps an identity in the home folder
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

__all__ = ["BackendError", "Maps", "Runtime", "open_runtime"]
