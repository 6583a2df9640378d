# SPDX-License-Identifier: Apache-2.0
"""How a network runs is decided here and nowhere else: `open_backend("auto", weights)` makes feature maps of images."""

import sys

from letvins_ros.inference.backend import Backend, BackendError, open_backend

# with this package, OpenVINO reports its import to Google Analytics and keeps an identity in the home folder
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

__all__ = ["Backend", "BackendError", "open_backend"]
