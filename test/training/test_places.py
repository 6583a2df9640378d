# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from letvins_ros.errors import ConfigError, DataError
from training.data.place_pairs import DatasetPlaces, PhotoPlaces, Triplet, Triplets
from training.data.places import read_places
from training.data.revisits import RevisitedPlaces
from training.losses.places import among_all, batch_hard, triplets
from training.tasks.retrieval import dataset_places, describe_all, open_describer, raw_pixels, retrieval_figures

from .pictures import picture

faiss = pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def pittsburgh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three places 50 m apart with two images each, in the structs of NetVLAD and the folders of Pittsburgh 250k."""
    from scipy.io import savemat

    root = tmp_path_factory.mktemp("pittsburgh")
    names, queries = [f"000/{i:06d}_pitch1_yaw1.jpg" for i in range(6)], [f"000/{i:06d}_q.jpg" for i in range(3)]
    (root / "datasets").mkdir()
    (root / "000").mkdir()
    (root / "queries_real/000").mkdir(parents=True)
    for i, name in enumerate(names):
        cv2.imwrite(str(root / name), picture(i // 2, (60, 80)) + i % 2)
    for i, name in enumerate(queries):
        cv2.imwrite(str(root / "queries_real" / name), picture(i, (60, 80)) // 2)
    cells = [np.array([[np.array([name])] for name in group], object) for group in (names, queries)]
    struct = {
        "whichSet": "val",
        "dataset": "pitts30k",
        "dbImage": cells[0],
        "utmDb": np.array([[50.0 * (i // 2) + i % 2 * 15 for i in range(6)], [0.0] * 6]),
        "qImage": cells[1],
        "utmQ": np.array([[50.0 * i + 2 for i in range(3)], [1.0] * 3]),
        "numDb": 6,
        "numQ": 3,
        "posDistThr": 25,
        "posDistSqThr": 625,
        "nonTrivPosDistSqThr": 100,
    }
    savemat(root / "datasets/pitts30k_val.mat", {"dbStruct": struct})
    return root


def test_the_structs_say_which_images_show_a_querys_place(pittsburgh: Path) -> None:
    places = read_places(pittsburgh, "pitts30k_val")
    assert (len(places.database), len(places.queries)) == (6, 3)
    assert all(path.is_file() for path in [*places.database, *places.queries])
    assert (places.positive_m, places.trivial_m) == (25, 10)
    assert [p.tolist() for p in places.positives(places.positive_m)] == [[0, 1], [2, 3], [4, 5]]
    assert [p.tolist() for p in places.positives(places.trivial_m)] == [[0], [2], [4]]


def test_tokyos_database_is_found_though_its_ending_is_another(tmp_path: Path) -> None:
    from scipy.io import savemat

    (tmp_path / "03814").mkdir()
    (tmp_path / "247query_subset_v2").mkdir()
    cv2.imwrite(str(tmp_path / "03814/a.png"), picture(0, (60, 80)))
    cv2.imwrite(str(tmp_path / "247query_subset_v2/q.jpg"), picture(0, (60, 80)))
    cells = [np.array([[np.array([name])]], object) for name in ("03814/a.jpg", "q.jpg")]
    struct = {"dbImage": cells[0], "utmDb": np.zeros((2, 1)), "qImage": cells[1], "utmQ": np.ones((2, 1))}
    savemat(tmp_path / "tokyo247.mat", {"dbStruct": struct})
    places = read_places(tmp_path, "tokyo247")
    assert places.database == [tmp_path / "03814/a.png"]
    assert places.queries[0].is_file()
    assert places.positive_m == 25


def test_missing_places_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no datasets/pitts30k_test\.mat; get the structs from"):
        read_places(tmp_path, "pitts30k_test")
    (tmp_path / "pitts30k_test.mat").write_bytes(b"no")
    with pytest.raises(DataError, match="no dbStruct"):
        read_places(tmp_path, "pitts30k_test")


def test_structs_of_matlab_7_3_are_refused_by_name(tmp_path: Path) -> None:
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "pitts30k_test.mat").write_bytes(header + bytes(512))
    with pytest.raises(DataError, match=r"pitts30k_test\.mat: no dbStruct \(Please use HDF reader for matlab v7\.3"):
        read_places(tmp_path, "pitts30k_test")


def test_darker_queries_are_found_by_normalised_pixels(pittsburgh: Path) -> None:
    data = dataset_places(pittsburgh, "pitts30k_val")
    figures = retrieval_figures(*describe_all(data, raw_pixels), data.positives)
    assert figures["recall@1"] == 1
    assert figures["queries"] == 3
    wrong = retrieval_figures(
        *describe_all(dataset_places(pittsburgh, "pitts30k_val"), raw_pixels), data.positives[::-1]
    )
    assert wrong["recall@1"] == pytest.approx(1 / 3)


def test_surely_other_places_are_those_out_of_the_evaluations_reach(pittsburgh: Path) -> None:
    source = DatasetPlaces(pittsburgh, "pitts30k_val")
    assert [s.tolist() for s in source.same] == [[0], [2], [4]]
    assert source.other[0].tolist() == [2, 3, 4, 5]
    item = Triplets(source, [Triplet(1, 2, (0, 5))], 3, 0, (24, 32))[2]
    assert item["query"].shape == item["positive"].shape == (3, 24, 32)
    assert item["negatives"].shape == (2, 3, 24, 32)


def test_a_photographs_query_is_a_darker_view_of_it_and_always_the_same(photo_folder: Path) -> None:
    places = PhotoPlaces(photo_folder / "train")
    first, again = (places.query(1, (60, 80)) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.mean() < places.image(1, (60, 80)).mean()
    assert places.other[1].tolist() == [0, 2, 3]


def test_a_recording_that_goes_round_twice_shows_each_place_again(tmp_path: Path) -> None:
    folder = tmp_path / "P000/image_left"
    folder.mkdir(parents=True)
    rows = []
    for i in range(240):  # 12 s each round
        place = i % 120 // 20
        cv2.imwrite(str(folder / f"{i:06d}_left.png"), picture(place, (60, 80)))
        rows.append([4.0 * place, 0, 0, 0, 0, 0, 1])
    np.savetxt(folder.parent / "pose_left.txt", rows)
    source = RevisitedPlaces(tmp_path)
    assert source.size == 48
    assert source.same[1].tolist() == [24, 25, 26, 27]
    assert source.near[1].tolist() == [0, 1, 2, 3, 24, 25, 26, 27]
    assert source.other[1].tolist() == [i for i in range(48) if i % 24 >= 4]
    shape = (60, 80)
    assert np.array_equal(source.image(1, shape), source.image(25, shape))
    assert not np.array_equal(source.query(1, shape), source.image(1, shape))


def test_a_folder_without_recordings_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="letvins simulate"):
        RevisitedPlaces(tmp_path)


def test_triplet_losses_by_hand() -> None:
    q, p = torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    assert batch_hard(q, p, 0.5) == pytest.approx(0)  # 1 - 3 and 0 - 2
    assert batch_hard(q, p, 2.5) == pytest.approx((0.5 + 0.5) / 2)
    assert batch_hard(q[:1], p[:1], 1.0) == 0
    negatives = torch.tensor([[[0.0, 2.0], [0.0, 0.5]]])
    assert triplets(q[:1], p[:1], negatives, 0.1) == pytest.approx((0 + 0.6) / 2)


def test_the_softmax_leaves_out_images_that_may_show_the_same_place() -> None:
    queries, images = torch.eye(2), torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    wrong = torch.tensor([[False, True, True], [True, False, True]])
    told = among_all(queries, images, wrong, 0.5)
    first = np.log(2 * np.exp(2) + 1) - 2  # own 1, others 0 and 1
    second = np.log(np.exp(2) + 2) - 2
    assert told == pytest.approx((first + second) / 2)
    wrong[0, 2] = False
    assert among_all(queries, images, wrong, 0.5) == pytest.approx((np.log(np.exp(2) + 1) - 2 + second) / 2)


def test_unknown_describers_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown model vlad; known: pixels, patches, kp2dtiny=WEIGHTS"):
        open_describer("vlad")
