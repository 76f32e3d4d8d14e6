"""``predict``, ``map`` and ``explain`` as a shell uses them, on the emulator."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from servingclient.emulator import Emulator, faults
from tests.cli.shell import COMMAND, ROWS, Run

GOLDEN = Path(__file__).parent / "golden"


# ------------------------------------------------------------------------------------- predict


@pytest.mark.parametrize(
    ("given", "predictions"),
    [
        ('{"a": 1, "b": 2}', "3.0\n"),
        (ROWS, "3.0\n7.5\n"),
        ('[{"a": 1, "b": 2}, {"a": 3, "b": 4}]', "3.0\n7.0\n"),
        ('{"a": [1, 3], "b": [2, 4]}', "3.0\n7.0\n"),
        ('{"dataframe_split": {"columns": ["a"], "data": [[5]]}}', "5.0\n"),
    ],
    ids=["a row", "rows one a line", "list of rows", "columns", "body"],
)
def test_predict_takes_any_shape_of_json(run: Run, given: str, predictions: str) -> None:
    assert run("predict", "demo", stdin=given) == (0, predictions, "")


def test_predict_reads_files_by_their_name(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("\ufeffa,b\n1,2\n3,4.5\n", encoding="utf-8")  # Excel writes the mark
    assert run("predict", "demo", "--input", str(table)).out == "3.0\n7.5\n"
    lines = tmp_path / "rows.txt"
    lines.write_text(ROWS)
    assert run("predict", "demo", "--input", str(lines), "--format", "jsonl").out == "3.0\n7.5\n"


def test_predict_reads_parquet(run: Run, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"a": [1, 3], "b": [2.0, 4.0]}), path)
    assert run("predict", "demo", "--input", str(path)).out == "3.0\n7.0\n"
    path.write_bytes(b"PAR1 and no more")
    assert run("predict", "demo", "--input", str(path)).code == 2


def test_text_stays_text(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("zip,a\n00501,1\n,2\n")
    code, out, err = run("explain", "demo", "--input", str(table), "--text", "zip", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["rows"] == 2
    run("predict", "demo", "--input", str(table), "--text", "zip")
    body = emulator.requests[-1].body
    assert b'"00501"' in (body if isinstance(body, bytes) else json.dumps(body).encode())


def test_predict_json_tells_all_of_the_call(run: Run) -> None:
    told = json.loads(run("predict", "demo", "--json", stdin=ROWS).out)
    assert told["predictions"] == [3.0, 7.5]
    assert (told["status"], told["served_model"], len(told["attempts"])) == (200, "demo-1", 1)
    assert told["timing"]["total_s"] > 0.0
    assert told["request_id"] == told["attempts"][0]["request_id"]


def test_predict_stats_go_to_the_error_output(run: Run) -> None:
    code, out, err = run("predict", "demo", "--stats", stdin=ROWS)
    assert (code, out) == (0, "3.0\n7.5\n")
    assert err.startswith("demo: 1 calls in ")


def test_predict_streams(run: Run, emulator: Emulator) -> None:
    emulator.add_endpoint("chat", kind="agent")
    given = '{"messages": [{"role": "user", "content": "one two"}]}'
    code, out, err = run("predict", "chat", "--stream", stdin=given)
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    pieces = [event["choices"][0]["delta"].get("content", "") for event in events]
    assert "".join(pieces) == "one two"


def test_params_and_ids_reach_the_endpoint(run: Run, emulator: Emulator) -> None:
    arguments = ["--params", '{"scale": 2}', "--request-id", "order-7"]
    assert run("predict", "demo", *arguments, stdin=ROWS).code == 0
    body = emulator.requests[-1].body
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert b"order-7" in text
    assert b"scale" in text


def test_once_sends_nothing_twice(run: Run, emulator: Emulator) -> None:
    before = sum(emulator.executions("demo").values())
    emulator.script("demo", faults.plain(500, executed=True))
    code, out, err = run("predict", "demo", "--once", stdin=ROWS)
    assert (code, out) == (1, "")
    assert "The model may have run." in err
    assert sum(emulator.executions("demo").values()) == before + 1


# ----------------------------------------------------------------------------------------- map


def test_map_keeps_order_and_sums_up(run: Run, tmp_path: Path) -> None:
    given = "".join(f'{{"a": {number}, "b": 1}}\n' for number in range(300))
    code, out, err = run("map", "demo", "--format", "jsonl", "--json", stdin=given)
    assert [float(line) for line in out.splitlines()] == [number + 1.0 for number in range(300)]
    summary = json.loads(err)
    assert (code, summary["rows"], summary["failed"]) == (0, 300, 0)


def test_map_writes_a_file_once_it_is_whole(run: Run, tmp_path: Path) -> None:
    path, spool = tmp_path / "scores.jsonl", tmp_path / "scores.spool"
    arguments = ["--output", str(path), "--checkpoint", str(spool)]
    code, out, err = run("map", "demo", *arguments, stdin=ROWS)
    assert (code, out, path.read_text()) == (0, "", "3.0\n7.5\n")
    assert err.startswith("2 rows, in ")
    path.write_text("of before\n")
    broken = ["--format", "jsonl", "--output", str(path)]
    assert run("map", "demo", *broken, stdin=f"{ROWS}no json\n").code == 2
    assert path.read_text() == "of before\n"
    assert sorted(tmp_path.iterdir()) == [path, spool]


def test_map_tells_rows_that_are_refused(run: Run, emulator: Emulator) -> None:
    emulator.add_endpoint("picky", echo="a", poison=-1.0)
    given = '{"a": 1.0}\n{"a": -1.0}\n{"a": 3.0}\n'
    code, out, err = run("map", "picky", "--format", "jsonl", stdin=given)
    first, refused, last = map(json.loads, out.splitlines())
    assert (code, first, last) == (1, 1.0, 3.0)
    assert refused["error"]["type"] == "BadRequest"
    assert err.startswith("3 rows, 1 of them failed, in ")
    code, out, err = run("map", "picky", "--strict", "--format", "jsonl", stdin=given)
    assert (code, out) == (1, "1.0\n")
    assert err.startswith("servingclient map: ")


def test_a_reader_that_leaves_ends_the_job(run: Run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"a": {number}, "b": 1}}\n' for number in range(20_000)))
    process = subprocess.Popen(
        [*COMMAND, "map", "demo", "--input", str(rows)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "1.0\n"
    process.stdout.close()
    complaints = process.stderr.read()
    process.stderr.close()
    assert (process.wait(10), complaints) == (0, "")


# ------------------------------------------------------------------------------------- explain


def test_explain_scores_nothing(run: Run, emulator: Emulator) -> None:
    before = sum(record.kind == "invocation" for record in emulator.requests)
    code, out, err = run("explain", "demo", stdin=ROWS)
    assert (code, err) == (0, "")
    shown = re.sub(r"encoded in .* ms", "encoded in T ms", out)
    assert shown == (GOLDEN / "explain.txt").read_text(encoding="utf-8")
    assert sum(record.kind == "invocation" for record in emulator.requests) == before


def test_explain_does_not_say_it_fits_where_it_could_not_ask(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "expired")
    code, out, err = run("explain", "demo", stdin=ROWS)
    assert (code, err) == (1, "")
    assert "the limit of the endpoint could not be asked for" in out


def test_explain_json(run: Run) -> None:
    told = json.loads(run("explain", "demo", "--json", stdin=ROWS).out)
    assert told["steps"]["without blanks"] == told["sent_bytes"] == told["size_bytes"]
    assert told["limit_bytes"] == 16 * 1024 * 1024
