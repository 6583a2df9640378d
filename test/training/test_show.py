# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino
import pytest
import torch
from openvino import opset13 as ops

from letvins_ros import networks
from letvins_ros.errors import ConfigError, DataError
from training import drawing, show
from training.data import pseudo_labels
from training.data.pseudo_labels import Kind

from ..networks.layouts import saved
from ..some import some
from .pictures import picture


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.roll(picture(1, (96, 128)), 6 * i, axis=1))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "options", "extra"),
    [
        ("kp2dtiny", {"config": "N", "depth": True}, {"score", "segmentation", "depth"}),
        ("superpoint", {}, {"score"}),
        ("orb", None, set()),
    ],
)
def test_all_that_a_model_says_is_drawn(
    images: Path, name: str, options: dict[str, Any] | None, extra: set[str]
) -> None:
    model = name
    if options is not None:
        torch.manual_seed(0)
        model = f"{name}={saved(networks.build(name, **options), images / 'w.safetensors')}"
    show.main(images / "0.png", images / "1.png", model, images / "out", 96, 128, 50)
    drawn = {path.stem: cv2.imread(str(path)) for path in (images / "out").glob("*.png")}
    assert set(drawn) == {"detections", "detail", "matches"} | extra
    assert some(drawn["matches"]).shape == (96, 256, 3)
    assert all(some(drawn[key]).shape == (96, 128, 3) for key in extra)
    plain = cv2.imread(str(images / "0.png"))
    if name == "orb":
        assert (some(drawn["detections"]) != plain).any()
        assert (some(drawn["matches"])[:, :128] != plain).any()


def test_a_match_is_drawn_from_its_point_to_its_partner() -> None:
    blank = np.zeros((20, 30, 3), np.uint8)
    (columns,) = np.nonzero(drawing.matches(blank, blank, np.array([[5.0, 3.0, 25.0, 3.0]])).any(axis=(0, 2)))
    assert 4 <= columns[0] <= 5 and 55 <= columns[-1] <= 56 and (np.diff(columns) == 1).all()


def test_a_detail_shows_what_lies_round_the_first_keypoint_four_times_as_large() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[18, 60] = 9  # first pixel of the detail
    uv, others = (
        np.array([[70.0, 23.0], [5.0, 5.0]]),
        np.array([[65.0, 23.0], [0.0, 39.0], [np.nan, np.nan], [1e12, 0]]),
    )
    picture = drawing.detail(image, uv, others)
    assert picture.shape == image.shape
    assert (picture[:4, :4] == 9).all()
    for channel, u in ((1, 70), (0, 65)):
        rows, columns = np.nonzero((picture[..., channel] > 9) & (picture.argmax(axis=2) == channel))
        assert (columns.mean(), rows.mean()) == pytest.approx((4 * (u - 60) + 2, 4 * (23 - 18) + 2), abs=0.3)


def test_a_detail_without_keypoints_is_the_middle() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[15:25, 30:50] = 9
    assert (drawing.detail(image, np.zeros((0, 2))) == 9).all()


def test_right_matches_are_green_and_wrong_ones_red() -> None:
    blank = np.zeros((20, 30, 3), np.uint8)
    found = np.array([[5.0, 3.0, 25.0, 3.0], [5.0, 13.0, 25.0, 13.0]])
    picture = drawing.matches(blank, blank, found, np.array([True, False]))
    assert [picture[row, 30].argmax() for row in (3, 13)] == [1, 0]
    assert (picture[[3, 13], 30].min(axis=0) == 0).all()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs of training, one of evaluation."""
    for name, header, row in (("one", "step,Rep,score", "10,0.5,1.5"), ("two", "step,Rep", "10,0.6")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").write_text(f"{header}\n{row}\n")
    (tmp_path / "three").mkdir()
    figures = {
        "sift": {"poses: all": {"AUC@5": 0.3, "failed": None}},
        "kp2d=a/b.pt": {"places": {"recall@1": 1}},
    }
    (tmp_path / "three/figures.json").write_text(json.dumps(figures))
    return tmp_path


def test_runs_are_plotted_side_by_side(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    monkeypatch.setattr(show, "write_figure", lambda path, figure: drawn.update({path.name: figure}))
    show.main(results=[runs / name for name in ("one", "two", "three")], out=runs / "out")
    assert set(drawn) == {"training.png", "poses_all.png", "places.png"}
    axes = drawn["training.png"].axes
    panels = {one.get_ylabel(): [line.get_ydata().tolist() for line in one.lines] for one in axes}
    assert panels == {"Rep": [[0.5], [0.6]], "score": [[1.5]]}
    (recall,) = drawn["places.png"].axes
    assert [bar.get_width() for bar in recall.patches] == [1.0]
    assert [label.get_text() for label in recall.get_yticklabels()] == [f"{runs / 'three'}: b.pt"]


def test_plots_of_runs_are_written(runs: Path) -> None:
    show.main(results=[runs / "three"], out=runs / "out")
    assert some(cv2.imread(str(runs / "out/poses_all.png"))).shape[2] == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", "step,Rep\n10,high\n", "not a log of training.train"),
        ("figures.json", "[1]", "not figures of training.evaluate"),
        ("figures.json", "{", "not figures of training.evaluate"),
        ("nothing", "", "neither log.csv of training.train nor figures.json"),
    ],
)
def test_folders_that_are_no_runs_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        show.main(results=[tmp_path], out=tmp_path / "out")


def test_nothing_to_show_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to show; name an image, or --results FOLDER"):
        show.main(out=tmp_path)


@pytest.fixture
def brightness(tmp_path: Path) -> Path:
    """A model whose output is the mean of the channels, and one with two classes: dark and bright."""
    image = ops.parameter([1, 3, -1, -1], np.float32, name="image")
    mean = ops.reduce_mean(image, np.array([1]), keep_dims=True)
    openvino.save_model(openvino.Model([mean], [image], "mean"), tmp_path / "depth.xml", compress_to_fp16=False)
    both = ops.concat([ops.subtract(np.float32(1), mean), mean], 1)
    openvino.save_model(openvino.Model([both], [image], "both"), tmp_path / "classes.xml", compress_to_fp16=False)
    half = np.zeros((40, 60, 3), np.uint8)
    half[:, 30:] = 255
    (tmp_path / "photos/below").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "photos/below/a.png"), half)
    return tmp_path


def test_pseudo_labels_are_what_the_named_model_says(brightness: Path) -> None:
    for kind, model in ((Kind.DEPTH, "depth.xml"), (Kind.SEGMENTATION, "classes.xml")):
        pseudo_labels.main(brightness / "photos", brightness / kind.value, brightness / model, kind, 40, 60, False)
    depth = some(cv2.imread(str(brightness / "depth/below/a.png"), cv2.IMREAD_UNCHANGED))
    assert depth.dtype == np.uint16
    assert (depth[:, :28] == 0).all()
    assert (depth[:, 32:] == 65000).all()
    labels = some(cv2.imread(str(brightness / "segmentation/below/a.png"), cv2.IMREAD_UNCHANGED))
    assert (labels == np.repeat([[0, 1]], 30, axis=1)).all()


def test_a_model_of_the_other_kind_is_refused(brightness: Path) -> None:
    with pytest.raises(ConfigError, match="segmentation needs 2 to 255 classes, the model has 1 channels"):
        pseudo_labels.main(
            brightness / "photos", brightness / "x", brightness / "depth.xml", Kind.SEGMENTATION, 40, 60, False
        )
    with pytest.raises(ConfigError, match=r"none\.onnx: OpenVINO cannot run it"):
        pseudo_labels.Model(brightness / "none.onnx", (40, 60), False)
