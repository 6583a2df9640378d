# SPDX-License-Identifier: Apache-2.0
"""`python -m training.evaluate` on tiny data, task by task."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import typer
from rich.console import Console
from typer.testing import CliRunner

from letvins_ros import networks
from training import evaluate
from training.data.homographies import warp

from ..networks.layouts import saved
from ..some import some
from .pictures import MILD, picture

pytest.importorskip("faiss")
Run = Callable[..., dict[str, Any]]  # figures of a task on a source


@pytest.fixture(scope="module")
def run() -> Run:
    app = typer.Typer()
    app.command()(evaluate.main)

    def call(task: str, source: Path, out: Path, *options: object) -> dict[str, Any]:
        result = CliRunner().invoke(app, ["--task", task, str(source), "-o", str(out), *map(str, options)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads((out / "figures.json").read_text())

    return call


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    network = networks.build("kp2dtiny", config="N", depth=True)
    return f"kp2dtiny={saved(network, tmp_path_factory.mktemp('weights') / 'tiny.safetensors')}"


def test_hpatches_in_two_loops(run: Run, tmp_path: Path) -> None:
    image = picture(7)
    (tmp_path / "data/v_wall").mkdir(parents=True)
    for i in range(1, 7):
        cv2.imwrite(str(tmp_path / f"data/v_wall/{i}.png"), image if i == 1 else warp(image, MILD, (240, 320)))
        np.savetxt(tmp_path / f"data/v_wall/H_1_{i}", MILD)
    figures = run("hpatches", tmp_path / "data", tmp_path / "out", "--no-peers", "-m", "orb", "--pictures")
    assert set(figures) == {"orb"}
    drawn = some(cv2.imread(str(tmp_path / "out/pictures/orb/240x320/v_wall_1_3.png")))
    assert drawn.shape == (240, 640, 3)
    assert (drawn == [0, 255, 0]).all(axis=2).sum() > 5 * (drawn == [0, 0, 255]).all(axis=2).sum()  # right, wrong
    assert figures["orb"]["KP2D's protocol, 240x320, top 300: all"]["C3"] == 1
    assert figures["orb"]["ours, 480x640, top 1000: view"]["mAP"] > 0.8
    assert run("hpatches", tmp_path / "data", tmp_path / "o", "--no-peers", "-m", "orb", "--gravity") == figures
    predictions = sorted((tmp_path / "out/orb").rglob("*.npz"))
    assert len(predictions) == 20
    predictions[0].write_bytes(predictions[5].read_bytes())
    again = run("hpatches", tmp_path / "data", tmp_path / "out", "--no-peers", "-m", "orb", "--no-again")
    first, second = (f["orb"] for f in (figures, again))  # figures come from the disk
    assert second["KP2D's protocol, 240x320, top 300: all"] != first["KP2D's protocol, 240x320, top 300: all"]
    assert second["ours, 480x640, top 1000: all"] == first["ours, 480x640, top 1000: all"]


def test_homographies_of_photographs(run: Run, photo_folder: Path, tmp_path: Path) -> None:
    figures = run("homography", photo_folder / "val", tmp_path, "--count", 1, "--no-peers", "-m", "sift")
    assert figures["sift"]["mild: all"]["AUC@5"] > 0.5


def test_distinct_keypoints_and_those_of_enlarged_images(
    run: Run, photo_folder: Path, tmp_path: Path, tiny: str
) -> None:
    given: tuple[tuple[object, ...], ...] = ((), ("--distinct",), ("--enlarge", 1.5))
    figures = [
        run("homography", photo_folder / "val", tmp_path, "--count", 1, "--no-peers", "-m", tiny, *options)
        for options in given
    ]
    assert len({json.dumps(f) for f in figures}) == 3


def test_poses_of_tartanair(run: Run, shared_data: Path, tmp_path: Path) -> None:
    figures = run("pose", shared_data / "tartanair_v1_sample", tmp_path, "--count", 3, "--no-peers", "-m", "sift")
    assert figures["sift"]["poses: all"]["AUC@20"] > 0.5


def test_odometry_and_flow_of_a_recording(run: Run, recording: Path, tmp_path: Path) -> None:
    figures = run("vo", recording, tmp_path / "vo", "--duration", 0.5, "--no-peers", "-m", "gftt-lk", "--pictures")
    assert len(list(tmp_path.glob("vo/pictures/gftt-lk/*/*.png"))) > 1
    assert figures["gftt-lk"]["every 2nd frame: all"]["rot_median_deg"] < 0.5
    shares = run("flow", recording, tmp_path / "flow", "--count", 1, "--duration", 1, "--pictures")
    assert len(list(tmp_path.glob("flow/pictures/lk/*.png"))) == 4
    assert shares["lk"]["alive and like the gray track"]["plain"] > 0.5
    assert (
        shares["lk"]["alive and like the gray track"]["flicker"]
        < shares["clahe"]["alive and like the gray track"]["plain"]
    )


def test_segmentation_has_the_most_frequent_class_as_its_peer(run: Run, tmp_path: Path, tiny: str) -> None:
    (tmp_path / "val2017").mkdir()
    (tmp_path / "stuffthingmaps/val2017").mkdir(parents=True)
    labels = np.full((60, 80), 156, np.uint8)
    labels[:15] = 119
    cv2.imwrite(str(tmp_path / "val2017/1.jpg"), picture(0, (60, 80)))
    cv2.imwrite(str(tmp_path / "stuffthingmaps/val2017/1.png"), labels)
    figures = run("segmentation", tmp_path, tmp_path / "out", "-m", tiny, "--pictures")
    assert figures["most-frequent"]["classes"]["accuracy"] == pytest.approx(0.75)
    assert figures["most-frequent"]["classes"]["mIoU"] == pytest.approx(0.375)
    assert 0 <= figures[tiny]["classes"]["mIoU"] < 0.5
    drawn = some(cv2.imread(str(tmp_path / "out/pictures/most-frequent/000000.png")))
    assert drawn.shape == (120, 480, 3)
    assert (drawn[60, 170] == drawn[60, 330]).all() and (drawn[5, 170] != drawn[5, 330]).any()  # truth and guess


def test_depth_has_a_constant_as_its_peer(run: Run, shared_data: Path, tmp_path: Path, tiny: str) -> None:
    source = shared_data / "tartanair_v1_sample"
    figures = run("depth", source, tmp_path, "--kind", "tartanair", "--count", 2, "-m", tiny, "--pictures")
    assert some(cv2.imread(str(tmp_path / "pictures/constant/000000.png"))).shape == (120, 480, 3)
    assert 0 < figures["constant"]["depth"]["a1"] < 1
    assert figures[tiny]["depth"]["abs_rel"] > 0


def test_places_of_photographs_are_not_found_by_chance(run: Run, tmp_path: Path, tiny: str) -> None:
    """A recording that goes the same way twice: the second half is the first one again."""
    from letvins_ros.datasets import open_dataset
    from training.tasks.retrieval import revisits

    source = tmp_path / "P000"
    (source / "image_left").mkdir(parents=True)
    rows = []
    for i in range(240):
        place = i % 120 // 20
        cv2.imwrite(str(source / "image_left" / f"{i:06d}_left.png"), picture(place, (60, 80)))
        rows.append([3.0 * place, 0, 0, 0, 0, 0, 1])
    np.savetxt(source / "pose_left.txt", rows)
    assert len(open_dataset(source)) == 240
    retrieval = revisits(source)
    assert len(retrieval.positives) == len(list(retrieval.queries)) == 8  # frames 160 to 199 of every fifth
    figures = run("vpr", source, tmp_path / "out", "-m", tiny, "--pictures")
    framed = [some(cv2.imread(str(path)))[0, 0] for path in sorted((tmp_path / "out/pictures/patches").iterdir())]
    right = [frame.tolist() == [0, 255, 0] for frame in framed]  # else red
    assert np.mean(right) == pytest.approx(figures["patches"]["places"]["recall@1"])
    assert figures["patches"]["places"]["recall@1"] > 0.6
    assert 0 <= figures[tiny]["places"]["recall@1"] <= 1


def test_tables_of_six_models_fit_80_columns() -> None:
    row = {"KP2D's protocol": dict.fromkeys(("Rep", "Loc", "C1", "C3", "C5", "NN mAP", "MScore", "AUC@1"), 0.123)}
    ours = [f"{name}=results/of a run/{name}_best.safetensors" for name in ("kp2dtiny", "superpoint", "kp2d")]
    printed = io.StringIO()
    console = Console(file=printed, width=80)
    console.print(evaluate._table("KP2D's protocol", dict.fromkeys([*ours, "sift", "orb", "gftt-lk"], row)))
    text = printed.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("0.123") == 48
    assert "…" not in text
