# SPDX-License-Identifier: Apache-2.0
"""A tiny LET-NET2, trained on rendered pictures for some steps and then used for tracking. Run it in the repository."""

import sys
from pathlib import Path

import cv2

from letvins_ros import FeatureTracker, Simulation
from letvins_ros.config import TrackerConfig
from training.config import read_config
from training.train import train

out = Path(sys.argv[1])
for split, seed in (("train", 1), ("val", 2)):
    (out / split).mkdir(parents=True)
    hall = Simulation("hall", 2.0, seed)
    for i in range(10):
        cv2.imwrite(str(out / split / f"{i}.png"), hall.image(i, camera=0))

config = Path(__file__).parents[1] / "training/configs/letnet2.yaml"
sizes = ["options.height=96", "options.width=128", "options.validation_pairs=8", "options.statistics_pairs=4"]
steps = ["steps=8", "validate_every=4", "accumulate=1", "progress=false", "tensorboard=false"]
best = train(read_config(config, [f"out={out}/run", f"options.photos={out}", *sizes, *steps]))
print(f"best of its validations: {best}")

weights = out / "run" / "best.safetensors"
hall = Simulation("hall", 2.0, 3)
tracker = FeatureTracker(TrackerConfig(method="letnet2", weights=str(weights)), hall.rig)
tracks = [tracker.process(frame) for frame in hall.frames(0.0, 0.5)]
print(
    f"{len(tracks[-1])} features, {(tracks[-1].ages >= 8).sum()} of them in sight since the start; weights: {weights}"
)
