# SPDX-License-Identifier: Apache-2.0
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from letvins_ros import geometry
from letvins_ros.datasets import ReadReport
from letvins_ros.datasets.stamps import to_nanoseconds
from letvins_ros.errors import DataError
from letvins_ros.evaluation import trajectory as tr
from letvins_ros.types import Trajectory

START_NS = 1_403_636_580_838_555_648
ROW = "1403636580.838555648 1 2 3 0 0 0 1\n"


@pytest.mark.parametrize("stamp_ns", [0, 1, 999_999_999, -5, START_NS, START_NS + 1, 2**63 - 1])
def test_a_stamp_survives_as_text_to_the_nanosecond(stamp_ns: int) -> None:
    assert to_nanoseconds([Decimal(tr.stamp_text(stamp_ns))], integers=False) == (np.array([stamp_ns]), "s")


@pytest.mark.parametrize("text", ["1.403636580838555648e+09", "1403636580.8385556484999"])
def test_exponents_and_surplus_digits_are_read_as_stamps(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.tum").write_text(ROW.replace("1403636580.838555648", text))
    assert tr.read_tum(tmp_path / "a.tum").stamps_ns.tolist() == [START_NS]


@pytest.mark.parametrize(("unit", "factor"), [("ns", 1), ("us", 10**3), ("ms", 10**6)])
@pytest.mark.parametrize("form", ["{}", "{}.0", "{:.12e}"])
def test_stamps_in_other_units_are_known_by_their_size_and_noted(
    tmp_path: Path, unit: str, factor: int, form: str
) -> None:
    stamps = [(START_NS // 10**9 * 10**9 + i * 50_000_000) // factor for i in range(3)]
    texts = [form.format(float(stamp) if "e" in form else stamp) for stamp in stamps]
    (tmp_path / "a.tum").write_text("".join(f"{text} 1 2 3 0 0 0 1\n" for text in texts))
    read = tr.read_tum(tmp_path / "a.tum", report := ReadReport())
    expected = np.array(stamps) * factor
    assert np.abs(read.stamps_ns - expected).max() <= (1_000_000 if "e" in form else 0)
    assert report.notes == [f"a.tum: stamps are in {unit}"]


def test_stamps_that_count_nanoseconds_from_zero_are_known_by_their_step(tmp_path: Path) -> None:
    (tmp_path / "a.tum").write_text("".join(f"{i * 50_000_000} 1 2 3 0 0 0 1\n" for i in range(4)))
    assert tr.read_tum(tmp_path / "a.tum").stamps_ns.tolist() == [i * 50_000_000 for i in range(4)]


def test_poses_between_those_of_a_trajectory_are_interpolated_over_short_gaps_only(truth: Trajectory) -> None:
    rate, speed = np.array([0.2, -0.1, 0.5]), np.array([1.0, 2.0, -0.5])

    def at(seconds: np.ndarray) -> Trajectory:
        return tr.from_poses(
            [int(s * 1e9) for s in seconds],
            geometry.transform(geometry.exp_so3(np.outer(seconds, rate)), np.outer(seconds, speed)),
        )

    seconds = np.array([0.0, 0.1, 0.5, 1.5, 1.6])
    wanted = at(np.array([-0.05, 0.0, 0.05, 0.4, 1.0, 1.5, 1.55, 1.7]))
    found, rows = tr.at_times(at(seconds), wanted.stamps_ns)
    assert rows.tolist() == [1, 2, 3, 5, 6]
    np.testing.assert_allclose(found.positions, wanted.positions[rows], atol=1e-12)
    angle = tr.poses(found)[:, :3, :3] @ np.swapaxes(tr.poses(wanted)[rows, :3, :3], 1, 2)
    np.testing.assert_allclose(angle, np.broadcast_to(np.eye(3), angle.shape), atol=1e-9)
    same, rows = tr.at_times(truth, truth.stamps_ns)
    np.testing.assert_array_equal(same.positions, truth.positions)
    np.testing.assert_array_equal(same.quaternions, truth.quaternions)


def test_a_trajectory_survives_a_tum_file(tmp_path: Path, estimate: Trajectory) -> None:
    tr.write_tum(tmp_path / "a.tum", estimate)
    after = tr.read_tum(tmp_path / "a.tum")
    np.testing.assert_array_equal(after.stamps_ns, estimate.stamps_ns)
    np.testing.assert_allclose(after.positions, estimate.positions, atol=5.1e-10)
    np.testing.assert_allclose(after.quaternions, estimate.quaternions, atol=1.1e-9)


def test_a_trajectory_without_poses_gives_an_empty_file(tmp_path: Path) -> None:
    tr.write_tum(tmp_path / "a.tum", tr.from_poses([], np.empty((0, 4, 4))))
    assert (tmp_path / "a.tum").read_bytes() == b""


def test_rows_are_sorted_and_repeated_stamps_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.tum").write_text("# stamp x y z qx qy qz qw\n3 3 0 0 0 0 0 2\n1 1 0 0 0 0 0 1\n\n3 9 0 0 0 0 0 1\n")
    read = tr.read_tum(tmp_path / "a.tum")
    assert read.stamps_ns.tolist() == [1_000_000_000, 3_000_000_000]
    assert read.positions[:, 0].tolist() == [1, 3]
    assert read.quaternions[1].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROW + "1403636580.9 1 2 3 0 0\n", "a.tum row 2: expected stamp x y z qx qy qz qw, got 6 values"),
        (ROW + ROW + "stamp 1 2 3 0 0 0 1\n", "a.tum row 3: expected numbers, got 'stamp 1 2 3"),
        ("nan 1 2 3 0 0 0 1\n", "a.tum row 1: expected numbers"),
        ("1e9999 1 2 3 0 0 0 1\n", "a.tum row 1: expected numbers"),
        ("9e18 1 2 3 0 0 0 1\n" * 2 + "9.9e18 1 2 3 0 0 0 1\n", "a.tum: a time beyond 64 bits of nanoseconds"),
        (ROW + "2 nan 2 3 0 0 0 1\n", "1 of 2 poses are not finite or lack a rotation, first at 2.000000000 s"),
        ("2 1 2 3 0 0 0 0\n", "1 of 1 poses are not finite"),
        ("# nothing\n", "a.tum holds no poses"),
    ],
)
def test_a_faulty_file_is_named_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.tum").write_text(text)
    with pytest.raises(DataError) as caught:
        tr.read_tum(tmp_path / "a.tum")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read trajectory .*none\.tum"):
        tr.read_tum(tmp_path / "none.tum")


def _at(stamps_ns: np.ndarray) -> Trajectory:
    n = len(stamps_ns)
    return Trajectory(np.sort(np.asarray(stamps_ns, np.int64)), np.zeros((n, 3)), np.tile([0.0, 0, 0, 1], (n, 1)))


@pytest.mark.parametrize("sizes", [(0, 0), (0, 5), (1, 1), (2, 1), (1, 2), (50, 7), (7, 50), (50, 50)])
def test_association_equals_brute_force(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(sizes))
    a, b = (_at(rng.choice(200, size, replace=False)) for size in sizes)
    few, many = (a, b) if len(b) > len(a) else (b, a)
    expected = []
    for i, stamp in enumerate(few.stamps_ns):
        gaps = np.abs(many.stamps_ns - stamp)
        if len(gaps) and gaps.min() <= 3:
            expected.append((i, int(gaps.argmin())))  # argmin: the earlier of two equally near
    got = list(zip(*tr.associate(a, b, max_dt_ns=3), strict=True))
    assert got == (expected if few is a else [(j, i) for i, j in expected])


def test_association_equals_evo(truth: Trajectory, estimate: Trajectory) -> None:
    sync = pytest.importorskip("evo.core.sync")
    for first, second in ((truth, estimate), (estimate, truth)):
        few, many = sorted((first, second), key=len)
        expected = sync.matching_time_indices(few.stamps_ns / 1e9, many.stamps_ns / 1e9, 0.0005)
        rows = dict(zip(("first", "second"), tr.associate(first, second, 500_000), strict=True))
        assert 100 < len(rows["first"]) < len(few)
        np.testing.assert_array_equal(rows["first" if few is first else "second"], expected[0])
        np.testing.assert_array_equal(rows["second" if few is first else "first"], expected[1])


def test_a_reference_is_a_tum_file_an_euroc_csv_or_a_dataset(tmp_path: Path) -> None:
    csv = "#stamp,x,y,z,qw,qx,qy,qz,vx\n1000000000,1,2,3,1,0,0,0,9\n1050000000,1,2,4,0,1,0,0,9\n"
    for folder in ("cam0/data", "state_groundtruth_estimate0"):
        (tmp_path / "mav0" / folder).mkdir(parents=True)
    path = tmp_path / "mav0" / "state_groundtruth_estimate0" / "data.csv"
    path.write_text(csv)
    (tmp_path / "mav0" / "cam0" / "data.csv").write_text("#stamp,name\n1000000000,a.png\n1050000000,b.png\n")
    for name in ("a.png", "b.png"):
        (tmp_path / "mav0" / "cam0" / "data" / name).touch()
    from_csv, no_frames = tr.read_reference(path)
    tr.write_tum(tmp_path / "truth.tum", from_csv)
    from_tum, _ = tr.read_reference(tmp_path / "truth.tum")
    from_folder, frames = tr.read_reference(tmp_path)
    assert (no_frames, frames) == (None, 2)
    for read in (from_csv, from_tum, from_folder):
        assert read.stamps_ns.tolist() == [1_000_000_000, 1_050_000_000]
        np.testing.assert_allclose(read.positions, [[1, 2, 3], [1, 2, 4]])
        np.testing.assert_allclose(read.quaternions, [[0, 0, 0, 1], [1, 0, 0, 0]])


def test_a_dataset_without_truth_cannot_be_a_reference(tmp_path: Path) -> None:
    (tmp_path / "cam0" / "data").mkdir(parents=True)
    (tmp_path / "cam0" / "data.csv").write_text("1000000000,a.png\n")
    (tmp_path / "cam0" / "data" / "a.png").touch()
    with pytest.raises(DataError, match="holds no ground truth"):
        tr.read_reference(tmp_path)
