# SPDX-License-Identifier: Apache-2.0
"""Two runs over one recording, evaluated against its ground truth and drawn into one picture."""

import sys
from pathlib import Path

from letvins_ros import RunOptions, evaluate_all, load_config, run_offline

source, out = Path(sys.argv[1]), Path(sys.argv[2])
runs = {"with-imu": [], "without-imu": ["mode=stereo"]}
for name, overrides in runs.items():
    run_offline(source, out / name, load_config(overrides=overrides), RunOptions(loop=False), lambda done, total: None)
estimates = [out / name / "trajectory.tum" for name in runs]
for name, metrics in evaluate_all(estimates, source, out).items():
    print(f"{name}: ATE {metrics['ate_rmse_m']:.4f} m, RPE {metrics['rpe_trans_rmse_m']:.4f} m in 1 s")
print(f"both over the ground truth: {out}/trajectories.png")
