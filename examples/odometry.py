# SPDX-License-Identifier: Apache-2.0
"""Odometry in a loop of your own: pose and standard deviation of every frame of a recording."""

import sys
from pathlib import Path

import numpy as np

from letvins_ros import Config, Odometry, fit_to_data, open_dataset

recording = open_dataset(Path(sys.argv[1]))
config, rig = fit_to_data(Config(), recording)  # calibration and mode from the recording
odometry = Odometry(config, rig)
added = 0
for frame in recording.frames():
    if recording.imu is not None:  # the readings up to the first one after the frame
        end = int(np.searchsorted(recording.imu.stamps_ns, frame.stamp_ns)) + 1
        odometry.add_imu(recording.imu[added:end])
        added = end
    state = odometry.process(frame).step.state
    position, std = state.T_odom_body[:3, 3], np.sqrt(np.diag(state.covariance)[:3])
    print(f"{frame.stamp_ns} {state.status.value} {position.round(3)} m +- {std.round(4)} m {state.reason}")
for finding in odometry.examiner.findings():
    print(f"warning: {finding.message}; remedy: {finding.remedy}")
