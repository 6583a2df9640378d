# SPDX-License-Identifier: Apache-2.0
"""Stereo-inertial odometry and SLAM with learned features, in Python.

The names in `__all__` are the library's public interface. Each is imported when it is first used, so that
`import letvins_ros` itself loads nothing.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import Any

__path__ = extend_path(__path__, __name__)  # a sourced ROS workspace adds letvins_ros.msg
__version__ = "0.1.0"

_MODULES = {  # of this package, and what each adds to the public interface; __init__.pyi tells the types
    "calibration": ("Calibration", "ImuNoise", "MountedCamera", "Rig", "read_calibration"),
    "config": ("Config",),
    "config_io": ("load_config",),
    "datasets": ("Dataset", "open_dataset"),
    "errors": ("CalibrationError", "ConfigError", "DataError", "LetvinsError", "Rejected"),
    "estimation": ("Step", "VioEstimator"),
    "estimation.costs.residual": ("Residual", "ResidualCost"),
    "estimation.sensor": ("Sensor",),
    "evaluation.evaluate": ("Comparing", "evaluate", "evaluate_all"),
    "evaluation.trajectory": ("read_tum", "write_tum"),
    "loop.closer": ("LoopCloser",),
    "pipeline": ("Odometry", "Processed", "RunOptions", "run_offline"),
    "sensors": ("fit_to_data",),
    "simulation": ("Simulation", "simulate"),
    "tracking": ("FeatureTracker",),
    "tracking.follower": ("Follower",),
    "types": (
        "FrameTracks", "ImageFrame", "ImuSamples", "Keyframe", "LoopClosure", "PlaceDescription", "Trajectory",
        "VioState", "VioStatus",
    ),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605  (a list all the same)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
