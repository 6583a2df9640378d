# SPDX-License-Identifier: Apache-2.0
"""How a network runs is decided here and nowhere else: `open_backend("auto", weights)` makes feature maps of images."""

from letvins_ros.inference.backend import Backend, BackendError, open_backend

__all__ = ["Backend", "BackendError", "open_backend"]
