"""What is logged: all of it is told in one place, and none of it is anybody's secret."""

from __future__ import annotations

import ast
import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import servingclient
from servingclient import BadRequest, ServingError, Settings
from servingclient.emulator import Emulator, faults
from servingclient.integrations.call_log import CallLog
from servingclient.settings import Retry
from tests.doors.kit import NUMBER, WORD, Door, Overheard, found_in, pat, principal

PACKAGE = Path(str(servingclient.__file__)).parent
PAGE = Path(__file__).parents[3] / "docs" / "howto-monitoring.md"
QUICK = Settings(retry=Retry(backoff_base_s=0.001, throttled_base_s=0.001))
LEVELS = {"debug", "info", "warning", "error", "exception"}


def logged() -> Iterator[tuple[str, str, str]]:
    """Logger, level and text of every message in the library."""
    for path in PACKAGE.rglob("*.py"):
        if "emulator" in path.parts or "cli" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        names = re.findall(r'^_log = logging\.getLogger\("([\w.]+)"\)', text, re.MULTILINE)
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="_log"), attr=level),
                    args=[ast.Constant(value=str(words)), *_],
                ) if level in LEVELS:
                    (name,) = names
                    yield name, "error" if level == "exception" else level, words


def told() -> dict[str, set[tuple[str, str]]]:
    """Loggers and levels of each event on the page."""
    found: dict[str, set[tuple[str, str]]] = {}
    logger = ""
    for line in PAGE.read_text(encoding="utf-8").partition("## Logs")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1] in LEVELS:
            logger = cells[0].strip("`") or logger
            for event in re.findall(r"`([^`]+)`", cells[2]):
                found.setdefault(event, set()).add((logger, cells[1]))
    return found


@pytest.mark.checkout
def test_every_event_is_told_on_the_page() -> None:
    page = told()
    messages = list(logged())
    assert len(messages) > 10
    for logger, level, words in messages:
        events = [event for event in page if words == event or words.startswith(f"{event} ")]
        assert events, f"{words!r} of {logger} is missing"
        assert any((logger, level) in page[event] for event in events), f"{logger} {level} {words}"


@pytest.mark.checkout
def test_no_event_is_told_that_is_not_there() -> None:
    there = {words for _, _, words in logged()}
    # named by an argument and tested below; and one of two levels, tested with the services
    ours = {"call_failed", "call_slow", "call_answered", "request_failed"}
    for event in set(told()) - ours:
        assert any(words.startswith(event) for words in there), event


def test_calls_and_attempts_are_lines_of_key_and_value(
    door: Door, emulator: Emulator, overheard: Overheard
) -> None:
    emulator.script("demo", faults.throttled(), faults.ok(), faults.answer(400, "{}"))
    client = door.open("demo", pat(emulator), QUICK, observers=[CallLog()])
    found = door.predict(client)
    with pytest.raises(BadRequest):
        door.predict(client)
    lines = [line for line in overheard.lines if line.startswith("servingclient.call ")]
    events = [re.match(r"servingclient\.call (\w+) (\w+) ", line) for line in lines]
    assert [match.groups() for match in events if match] == [
        ("INFO", "attempt_failed"),
        ("DEBUG", "call_answered"),
        ("INFO", "attempt_failed"),
        ("WARNING", "call_failed"),
    ]
    pairs = dict(re.findall(r"(\w+)=('[^']*'|\S+)", lines[0]))
    assert pairs["status"] == "429"
    assert pairs["request_id"] == found.attempts[0].request_id
    assert pairs["endpoint"] == "demo"
    assert dict(re.findall(r"(\w+)=(\S+)", lines[3]))["error"] == "BadRequest"


def test_slow_calls_are_warnings(door: Door, emulator: Emulator, overheard: Overheard) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[CallLog(slow_s=0.2)])
    door.predict(client)
    emulator.script("demo", faults.slow(0.25))
    door.predict(client)
    lines = [line for line in overheard.lines if line.startswith("servingclient.call ")]
    assert ["call_slow" in line for line in lines] == [False, True]
    assert "WARNING" in lines[1]


@pytest.mark.parametrize("who", [pat, principal])
def test_no_line_holds_an_input_a_reply_or_a_secret(
    door: Door, emulator: Emulator, overheard: Overheard, who: object
) -> None:
    signed_in = pat(emulator) if who is pat else principal(emulator)
    name = "demo" if who is pat else "demo-fast"
    emulator.script(
        name,
        faults.echo_authorization(),
        faults.invalid_token(),
        faults.plain(503),
        faults.reset(),
        faults.answer(400, f'{{"message": "{WORD}"}}'),
    )
    client = door.open(name, signed_in, QUICK, observers=[CallLog(slow_s=0.0)])
    for _ in range(3):
        with contextlib.suppress(ServingError):  # the log is what is looked at
            door.predict(client, [{"a": NUMBER, WORD: 1.0}])
    ours = "\n".join(line for line in overheard.lines if line.startswith("servingclient"))
    assert "call_failed" in ours
    assert found_in(ours, [*signed_in.secrets, WORD, str(NUMBER), "Bearer"]) == []


def test_without_a_handler_nothing_is_written(
    door: Door, emulator: Emulator, capfd: pytest.CaptureFixture[str]
) -> None:
    emulator.always("demo", faults.answer(400, "{}"))
    client = door.open("demo", pat(emulator), QUICK, observers=[CallLog()])
    with pytest.raises(BadRequest):
        door.predict(client)
    emulator.always("demo", None)
    assert capfd.readouterr() == ("", "")


def test_every_line_is_an_event_and_pairs() -> None:
    for _, _, words in logged():
        assert re.fullmatch(r"\w+( \w+=%[\w.]+(-%d)?| \w+=\w+)*", words), words


@pytest.mark.checkout
@pytest.mark.parametrize(
    ("line", "pairs"),
    [
        ("redis_back", {}),
        ("background_failed", {}),
        ("figures_failed endpoint=a error=ValueError('no such x')", {"endpoint": "a"}),
        ('attempt_failed cause="it\'s = bad" wait_s=0.1', {"cause": "it's = bad"}),
        ("attempt_failed cause='a b=c d' wait_s=0.1", {"cause": "a b=c d", "wait_s": "0.1"}),
        ("checkpoint_mode path=/data/my dir error=a b", {"path": "/data/my dir", "error": "a b"}),
    ],
)
def test_the_pages_formatter_reads_them(line: str, pairs: dict[str, str]) -> None:
    example = r"```python\n(import json\n.*?)\n\n\nhandler"
    code = re.search(example, PAGE.read_text("utf-8"), re.DOTALL)
    assert code is not None
    room: dict[str, Any] = {}
    exec(code[1], room)
    record = logging.LogRecord("servingclient", 30, "", 0, line, (), None)
    found = json.loads(room["JsonLines"]().format(record))
    assert found["event"] == line.partition(" ")[0]
    assert pairs.items() <= found.items()
    assert set(found) - {"at", "level", "event"} >= set(pairs)
