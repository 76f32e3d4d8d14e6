"""The checkpoint file by itself: exact, found out when it is not ours, whole after any cut."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient import CheckpointError
from servingclient.bulk.spool import Spool

JOB = {"endpoint": "m", "served_model": "", "params": "p", "encoding": "e"}
DIGEST = b"0123456789abcdef"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "job.spool")


def filled(path: str, pieces: int = 3) -> None:
    spool = Spool(path, JOB)
    for n in range(pieces):
        spool.append(n * 10, 10, DIGEST, [], [float(n)] * 10)
    spool.close()


def size_of(path: str) -> int:
    return Path(path).stat().st_size


def starts(path: str) -> list[int]:
    spool = Spool(path, JOB)
    spool.close()
    return sorted(spool._records)


def test_what_was_appended_is_there_again(path: str) -> None:
    filled(path)
    spool = Spool(path, JOB)
    assert spool.at(5) is None
    record = spool.at(10)
    assert record is not None
    assert (record.first_row, record.rows, record.digest, record.holes) == (10, 10, DIGEST, [])
    assert spool.predictions(record) == [1.0] * 10
    spool.append(30, 2, DIGEST, [1], ["x"])
    spool.close()
    assert starts(path) == [0, 10, 20, 30]


def test_the_gap_to_the_next_piece_is_told(path: str) -> None:
    spool = Spool(path, JOB)
    for first in (20, 50):
        spool.append(first, 10, DIGEST, [], [0.0] * 10)
    spool.close()
    spool = Spool(path, JOB)
    assert [spool.rows_before_next(row) for row in (0, 19, 30, 50, 60)] == [20, 1, 20, None, None]
    spool.close()


def test_of_two_frames_for_the_same_rows_the_later_counts(path: str) -> None:
    spool = Spool(path, JOB)
    spool.append(0, 3, DIGEST, [1], [0.0, 2.0])
    spool.append(0, 3, DIGEST, [], [0.0, 1.0, 2.0])
    spool.close()
    spool = Spool(path, JOB)
    record = spool.at(0)
    assert record is not None
    assert record.holes == []
    assert spool.predictions(record) == [0.0, 1.0, 2.0]
    spool.close()


@given(values=st.lists(json_values, min_size=1, max_size=5))
def test_predictions_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any]
) -> None:
    path = str(tmp_path_factory.mktemp("spool") / "s")
    spool = Spool(path, JOB)
    spool.append(0, len(values), DIGEST, [], values)
    spool.close()
    spool = Spool(path, JOB)
    record = spool.at(0)
    assert record is not None
    again = spool.predictions(record)
    spool.close()
    assert repr(again) == repr(values), "repr tells -0.0, nan and 1 from 1.0"


def test_what_nests_too_deep_is_left_out(path: str) -> None:
    # what a reply can hold fits; what no reply can hold breaks nothing
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    deeper = deep
    for _ in range(600):
        deeper = [deeper]
    spool = Spool(path, JOB)
    spool.append(0, 1, DIGEST, [], [deep])
    spool.append(1, 1, DIGEST, [], [deeper])
    spool.close()
    spool = Spool(path, JOB)
    record = spool.at(0)
    assert record is not None
    assert spool.predictions(record) == [deep]
    assert spool.at(1) is None
    spool.close()


def test_it_is_the_owners_alone(path: str) -> None:
    filled(path)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


def test_an_empty_file_becomes_the_owners_alone(path: str) -> None:
    Path(path).touch(0o644)
    Path(path).chmod(0o644)
    filled(path)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


def test_a_file_that_was_written_before_keeps_the_rights_its_owner_gave_it(path: str) -> None:
    filled(path)
    Path(path).chmod(0o640)
    Spool(path, JOB).close()
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o640


def test_where_rights_cannot_be_changed_the_log_says_so(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(fd: int, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.fchmod", refuse)
    filled(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"checkpoint_mode path={path} error=Operation not permitted"
    ]


# -- torn, damaged, foreign ------------------------------------------------------------------------


def test_a_torn_end_is_cut_off_wherever_it_is_torn(path: str, tmp_path: Path) -> None:
    filled(path, 2)
    whole = Path(path).read_bytes()
    filled(path_of_one := str(tmp_path / "one"), 1)
    two_from = len(Path(path_of_one).read_bytes())
    first_from = len(Path(path).read_bytes()) - 2 * (len(whole) - two_from)
    for size in range(1, len(whole) + 1):
        Path(path).write_bytes(whole[:size])
        expected = [0, 10] if size == len(whole) else [0] if size >= two_from else []
        assert starts(path) == expected, size
        assert len(Path(path).read_bytes()) == max(
            first_from, (first_from, two_from, len(whole))[len(expected)]
        )


def test_a_torn_end_may_be_followed_by_a_new_piece(path: str) -> None:
    filled(path, 2)
    os.truncate(path, size_of(path) - 3)
    spool = Spool(path, JOB)
    spool.append(10, 10, DIGEST, [], [7.0] * 10)
    spool.close()
    assert starts(path) == [0, 10]


@pytest.mark.parametrize("tail", [bytes(4096), bytes(3)])
def test_zeros_at_the_end_are_torn_too(path: str, tail: bytes) -> None:
    # as a file system leaves them after a loss of power
    filled(path)
    size = size_of(path)
    Path(path).write_bytes(Path(path).read_bytes() + tail)
    assert starts(path) == [0, 10, 20]
    assert size_of(path) == size


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def test_a_bad_last_frame_is_cut_off(path: str) -> None:
    filled(path)
    data = Path(path).read_bytes()
    Path(path).write_bytes(flip(data, len(data) - 1))
    assert starts(path) == [0, 10]


def test_damage_before_the_end_is_told(path: str) -> None:
    filled(path)
    data = Path(path).read_bytes()
    damaged = flip(data, len(data) - 150)
    Path(path).write_bytes(damaged)
    with pytest.raises(CheckpointError, match="damaged at byte"):
        Spool(path, JOB)
    assert Path(path).read_bytes() == damaged, "nothing of it was touched"


@pytest.mark.parametrize(
    "content", [b"x", b"id,score\n1,0.5\n" * 50, b"servingclient.map 2\n" + b"x" * 99]
)
def test_a_file_that_is_no_checkpoint_is_left_alone(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    with pytest.raises(CheckpointError, match="not written by this version"):
        Spool(path, JOB)
    assert Path(path).read_bytes() == content


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("endpoint", "another endpoint"),
        ("served_model", "another served model"),
        ("params", "another set of params"),
        ("encoding", "another encoding"),
    ],
)
def test_a_file_of_another_job_is_left_alone(path: str, name: str, words: str) -> None:
    filled(path)
    before = Path(path).read_bytes()
    with pytest.raises(CheckpointError, match=words):
        Spool(path, {**JOB, name: "other"})
    assert Path(path).read_bytes() == before


def test_one_job_at_a_time(path: str) -> None:
    first = Spool(path, JOB)
    with pytest.raises(CheckpointError, match="in use"):
        Spool(path, JOB)
    first.close()
    Spool(path, JOB).close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda tmp: tmp / "none" / "job", "cannot be opened: No such file"),
        (lambda tmp: tmp, "cannot be opened: Is a directory"),
        (lambda tmp: Path(os.devnull), "is no regular file"),
    ],
    ids=["no folder", "a folder", "no file"],
)
def test_a_file_that_cannot_be_had(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        Spool(str(make(tmp_path)), JOB)


def test_a_full_disk_costs_no_piece_before(path: str) -> None:
    resource = pytest.importorskip("resource")
    spool = Spool(path, JOB)
    spool.append(0, 10, DIGEST, [], [0.5] * 10)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_of(path) + 50, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="cannot be written") as caught:
            spool.append(10, 1000, DIGEST, [], [0.5] * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "make room" in str(caught.value)
    spool.append(10, 10, DIGEST, [], [1.5] * 10)
    spool.close()
    assert starts(path) == [0, 10]


def test_only_a_regular_file_will_do(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (os.devnull, str(tmp_path / "pipe")):
        with pytest.raises(CheckpointError, match="no regular file") as raised:
            Spool(path, {})
        assert path in str(raised.value)
