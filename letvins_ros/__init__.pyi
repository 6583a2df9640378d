# SPDX-License-Identifier: Apache-2.0
# The types of the public interface: type checkers read this instead of __init__.py.
from letvins_ros.calibration import (
    Calibration as Calibration,
    ImuNoise as ImuNoise,
    MountedCamera as MountedCamera,
    Rig as Rig,
    read_calibration as read_calibration,
)
from letvins_ros.config import Config as Config
from letvins_ros.config_io import load_config as load_config
from letvins_ros.datasets import Dataset as Dataset, open_dataset as open_dataset
from letvins_ros.errors import (
    CalibrationError as CalibrationError,
    ConfigError as ConfigError,
    DataError as DataError,
    LetvinsError as LetvinsError,
    Rejected as Rejected,
)
from letvins_ros.estimation import Step as Step, VioEstimator as VioEstimator
from letvins_ros.estimation.costs.residual import Residual as Residual, ResidualCost as ResidualCost
from letvins_ros.estimation.sensor import Sensor as Sensor
from letvins_ros.evaluation.evaluate import Comparing as Comparing, evaluate as evaluate, evaluate_all as evaluate_all
from letvins_ros.evaluation.trajectory import read_tum as read_tum, write_tum as write_tum
from letvins_ros.loop.closer import LoopCloser as LoopCloser
from letvins_ros.pipeline import (
    Odometry as Odometry,
    Processed as Processed,
    RunOptions as RunOptions,
    run_offline as run_offline,
)
from letvins_ros.sensors import fit_to_data as fit_to_data
from letvins_ros.simulation import Simulation as Simulation, simulate as simulate
from letvins_ros.tracking import FeatureTracker as FeatureTracker
from letvins_ros.tracking.follower import Follower as Follower
from letvins_ros.types import (
    FrameTracks as FrameTracks,
    ImageFrame as ImageFrame,
    ImuSamples as ImuSamples,
    Keyframe as Keyframe,
    LoopClosure as LoopClosure,
    PlaceDescription as PlaceDescription,
    Trajectory as Trajectory,
    VioState as VioState,
    VioStatus as VioStatus,
)

__version__: str
__all__: list[str]
