"""What a file or the standard input gives a load test to send."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servingclient.cli import loadtest as cli_loadtest
from servingclient.cli import main
from servingclient.errors import ConfigError
from servingclient.loadtest import payloads

CHAT = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
OTHER = {"messages": [{"role": "user", "content": "ho"}], "stop": ["."], "labels": ["a"]}


def piped(monkeypatch: pytest.MonkeyPatch, text: str, encoding: str = "utf-8") -> None:
    given = io.BytesIO(text.encode(encoding))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(given, encoding="ascii"))


@pytest.mark.parametrize(
    ("name", "content", "inputs"),
    [
        ("a.json", CHAT, [CHAT]),
        ("a.json", OTHER, [OTHER]),
        ("a.json", [CHAT, OTHER], [CHAT, OTHER]),
        ("a.json", {"prompt": "Once", "max_tokens": 5}, [{"prompt": "Once", "max_tokens": 5}]),
        ("a.json", {"input": ["some", "texts"]}, [{"input": ["some", "texts"]}]),
        # rows with a column of that name
        ("a.json", {"messages": 3, "age": 40}, [{"messages": 3, "age": 40}]),
        ("a.json", [{"messages": 3}, {"messages": 4}], [[{"messages": 3}], [{"messages": 4}]]),
        ("a.json", [{"prompt": "a", "n": 2}], [[{"prompt": "a", "n": 2}]]),
        ("a.json", {"a": 1, "b": 2}, [[{"a": 1, "b": 2}]]),
    ],
)
def test_bodies_of_chat_models_are_bodies(
    tmp_path: Path, name: str, content: Any, inputs: Any
) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    assert payloads.read(tmp_path / name) == inputs


def test_lines_of_chat_bodies_are_bodies(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(CHAT)}\n{json.dumps(OTHER)}\n")
    assert payloads.read(tmp_path / "a.jsonl", rows=2) == [CHAT, OTHER]


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        (json.dumps(CHAT), [CHAT]),
        ('[{"a": 1}, {"a": 2}]', [[{"a": 1}], [{"a": 2}]]),
        ('{"a": 1}\n\n{"a": "ä\u2028"}\n', [[{"a": 1}], [{"a": "ä\u2028"}]]),
        (f"{json.dumps(CHAT)}\n{json.dumps(OTHER)}\n", [CHAT, OTHER]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_standard_input_is_json_or_json_lines(
    monkeypatch: pytest.MonkeyPatch, text: str, inputs: Any, encoding: str
) -> None:
    piped(monkeypatch, text, encoding)
    assert payloads.read("-") == inputs


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "The standard input holds no row to send"),
        ("a,b\n1,2\n", "The standard input does not hold JSON or JSON lines; nothing was sent"),
    ],
)
def test_a_standard_input_with_nothing_to_send_says_so(
    monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    piped(monkeypatch, text)
    with pytest.raises(ConfigError, match=says):
        payloads.read("-")


def test_a_closed_standard_input_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ConfigError, match="The standard input: it is closed; pipe something in"):
        payloads.read("-")


def test_the_command_reads_its_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def generator(endpoint: str, *, inputs: Any, **given: Any) -> None:
        raise ConfigError(f"seen: {inputs}")

    monkeypatch.setattr(cli_loadtest, "LoadGenerator", generator)
    piped(monkeypatch, '{"a": 1}')
    assert main(["loadtest", "demo", "--payload", "-", "--qps", "5", "--quiet"]) == 2
    assert "seen: [[{'a': 1}]]" in capsys.readouterr().err


def test_no_more_is_read_than_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def rows_of(source: Iterator[str]) -> Iterator[dict[str, int]]:
        for number, _ in enumerate(source):
            read.append(number)
            yield {"a": number}

    monkeypatch.setattr(payloads, "MOST_INPUTS", 5)
    monkeypatch.setattr(payloads, "csv_rows", rows_of)
    (tmp_path / "a.csv").write_text("1\n" * 1000)
    found = payloads.read(tmp_path / "a.csv", rows=3)
    assert [row["a"] for one in found for row in one] == list(range(15)) == read
    assert [len(one) for one in found] == [3] * 5
    (tmp_path / "a.jsonl").write_text("{}\n" * 5 + "no JSON, which nobody gets to")
    assert payloads.read(tmp_path / "a.jsonl") == [[{}]] * 5
