"""What the commands read: cells of a CSV, and input that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from servingclient.emulator import Emulator
from tests.cli.shell import ROWS, Run

# ------------------------------------------------------------------------------------ cells

NUMBERS = ["7", "-7", "+7", " 7 ", "7.", ".5", "-1.5e-3", "00501"]
TEXTS = ["1_000", "\u0663", "0x10", "1,5", "1.2.3", "e5", ".", "-", "twelve"]


@pytest.mark.parametrize("cell", NUMBERS)
def test_what_is_written_as_a_number_is_one(run: Run, emulator: Emulator, cell: str) -> None:
    run("predict", "demo", "--format", "csv", stdin=f"a\n{cell}\n")
    assert sent(emulator) == float(cell)


@pytest.mark.parametrize("cell", TEXTS)
def test_what_only_python_takes_for_a_number_is_text(
    run: Run, emulator: Emulator, cell: str
) -> None:
    run("predict", "demo", "--format", "csv", stdin=f'a\n"{cell}"\n')
    assert sent(emulator) == cell


def test_a_cell_may_be_as_long_as_a_request(run: Run) -> None:
    assert run("predict", "demo", "--format", "csv", stdin=f"a\n{'x' * 200_000}\n").code == 0


def sent(emulator: Emulator) -> Any:
    """The one cell of the last request."""
    body = emulator.requests[-1].body
    found = json.loads(body) if isinstance(body, bytes) else body
    ((value,),) = found["dataframe_split"]["data"]
    return value


# ------------------------------------------------------------------------------------ bad input

BAD = [
    (["predict", "demo"], "[]", "The standard input holds nothing to send."),
    (["predict", "demo"], "", "The standard input holds nothing to send."),
    (["predict", "demo"], "nonsense", "neither JSON nor JSON lines; line 1, column 1: Expecting"),
    (["predict", "demo"], '{\n"a": 1,\n"b": oops}', "line 3, column 6: Expecting value"),
    (["predict", "demo"], f'{{"a": {"9" * 5000}}}', "a number has too many digits"),
    (["predict", "demo"], '{"a": 1}\n{"a"', "Line 2 of the input is no JSON"),
    (["predict", "demo"], "[" * 100_000, "nested too deeply"),
    (["predict", "demo", "--format", "csv"], "a,b\n1\n", "Line 2 of the CSV has not as many"),
    (["predict", "demo", "--format", "csv"], "a,b\n1,2,3\n", "Line 2 of the CSV has not as many"),
    (["predict", "demo", "--format", "csv"], 'a\n"1', "Line 1 of the CSV: unexpected end"),
    (["predict", "demo", "--format", "csv"], '"a\n1', "Line 0 of the CSV: unexpected end"),
    (["predict", "demo", "--format", "csv"], "a,b,a\n1,2,3\n", "names a column twice: a."),
    (["predict", "demo", "--format", "csv"], ",a\n0,1\n", "Column 1 of the CSV has no name"),
    (["predict", "demo", "--format", "csv"], "a;b\n1;2\n", "one name with ';' in it"),
    (["predict", "demo", "--format", "csv"], "a\nnan\n", "Row 0, column 'a': The value is NaN"),
    (["predict", "demo", "--format", "csv"], "a\n1e400\n", "The value is infinite"),
    (["predict", "demo", "--format", "csv"], f"a\n{'9' * 5000}\n", "The value is infinite"),
    (["predict", "demo", "--format", "csv", "--text", "zip"], "a\n1\n", "names no column"),
    (["predict", "demo", "--format", "parquet"], "", "Parquet is read from its end"),
    (["predict", "demo", "--input", "absent.csv"], "", "absent.csv cannot be read: No such file"),
    (["predict", "demo", "--input", "rows.xlsx"], "", "its name does not tell what it holds"),
    (["predict", "demo", "--timeout", "0"], ROWS, "timeout"),
    (["predict", "no/name"], ROWS, "endpoint"),
    (["map", "demo"], '{"instances": [[1]]}', "use `servingclient predict`"),
    (["map", "demo", "--rows-per-request", "0"], ROWS, "rows_per_request"),
    (["map", "demo", "--output", "absent/scores.jsonl"], ROWS, "cannot be written"),
    (["doctor", "demo", "--count", "3"], "", "give both, or neither"),
    (["stats", "absent.log"], "", "absent.log cannot be read"),
]


@pytest.mark.parametrize(("arguments", "stdin", "told"), BAD, ids=[told for _, _, told in BAD])
def test_bad_input_is_one_line_and_2(
    run: Run,
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    stdin: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = len(emulator.requests)
    code, out, err = run(*arguments, stdin=stdin)
    assert (code, out) == (2, "")
    assert err.startswith(f"servingclient {arguments[0]}: ")
    assert told in err
    assert len(err.splitlines()) == 1
    assert sum(r.kind == "invocation" for r in emulator.requests[before:]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "demo", "--params", "[1]"],
        ["predict", "demo", "--json", "--stream"],
        ["doctor", "demo", "--watch", "1", "--count", "0"],
        ["doctor", "demo", "--watch", "1", "--count", "1_0"],
        ["doctor", "demo", "--watch", "soon"],
        ["completion", "fish"],
    ],
)
def test_what_cannot_be_a_command_line_ends_with_usage(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    assert "invalid _" not in capsys.readouterr().err  # the name of a function of ours


def test_what_the_endpoint_refuses_ends_with_1(run: Run) -> None:
    code, out, err = run("predict", "absent", stdin=ROWS)
    assert (code, out) == (1, "")
    assert err.startswith("servingclient predict: There is no 'absent' to query (404)")
