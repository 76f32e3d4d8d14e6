"""The pages say what the code says, and the example programs run."""

from __future__ import annotations

import dataclasses
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servingclient import settings
from servingclient.emulator import Emulator
from servingclient.emulator import __main__ as emulating

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")]
PAGES += sorted(DOCS.glob("*.md"))

Run = Callable[..., int]


@pytest.fixture(scope="module")
def render() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "render.py"), run_name="render")


RENDERED = (
    "comparison.md",
    "concept-batching.md",
    "concept-quota.md",
    "errors.md",
    "howto-doctor.md",
    "howto-monitoring.md",
    "settings.md",
)


@pytest.mark.parametrize("name", RENDERED)
def test_tables_are_up_to_date(name: str, render: dict[str, Any]) -> None:
    text, made = render["rendered"](name)
    assert text == made, "run: python docs/render.py"


def test_a_late_page_is_told_and_rewritten(
    render: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = "by hand\n<!-- rendered: begin -->\nold\n<!-- rendered: end -->\nby hand too\n"
    for name in RENDERED:
        (tmp_path / name).write_text(before)
    render["main"].__globals__["HERE"] = tmp_path
    try:
        assert render["main"](["--check"]) == 1
        assert "settings.md is out of date" in capsys.readouterr().err
        assert (tmp_path / "settings.md").read_text() == before
        assert render["main"]([]) == 0
        assert render["main"](["--check"]) == 0
        after = (tmp_path / "settings.md").read_text()
        assert after.startswith("by hand\n")
        assert after.endswith("by hand too\n")
        assert "old" not in after.splitlines()
    finally:
        render["main"].__globals__["HERE"] = DOCS


def test_every_setting_has_its_row() -> None:
    told = (DOCS / "settings.md").read_text(encoding="utf-8")
    for kind in vars(settings).values():
        if dataclasses.is_dataclass(kind):
            for field in dataclasses.fields(kind):
                assert f"| `{field.name}` |" in told


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_architecture_draws_the_floors_of_the_contract() -> None:
    drawn = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```text\n__main__.*?```", drawn, re.DOTALL)
    floors = [
        sorted(re.findall(r"\w+", re.split(r"  +", line)[0])) for line in block.splitlines()[1:-1]
    ]
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^layers = \[\n(.*?)^\]", contract, re.MULTILINE | re.DOTALL)
    assert floors == [sorted(re.findall(r"\w+", line)) for line in listed.splitlines()]


def test_architecture_names_files_that_exist() -> None:
    package = ROOT / "src" / "servingclient"
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.py)`", text):
        places = [package / name, ROOT / name, *package.rglob(name)]
        assert any(place.exists() for place in places), name


def test_the_page_shows_what_emulate_prints(emulator: Emulator) -> None:
    page = (DOCS / "howto-testing.md").read_text(encoding="utf-8")
    block = r"```console\n\$ servingclient emulate (.*?)\n(.*?)```"
    ((arguments, shown),) = re.findall(block, page, re.DOTALL)
    given = emulating.parser().parse_args(arguments.split())
    assert given.http
    printed = emulating._as_exports(emulator, given.auth)
    port = re.compile(r"(?<=127\.0\.0\.1:)\d+")
    assert port.sub("PORT", shown) == port.sub("PORT", printed)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs one of the programs in examples/ with arguments, and returns its exit code."""

    def run(name: str, *arguments: str) -> int:
        path = str(ROOT / "examples" / name)
        monkeypatch.setattr(sys, "argv", [path, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(path, run_name="__main__")
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Any:
    with Emulator(tls=False) as emulator:
        monkeypatch.setenv("DATABRICKS_HOST", emulator.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", emulator.token)
        yield emulator


def test_score(example: Run, emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert example("score.py", "demo") == 0
    first, *tries, last = capsys.readouterr().out.splitlines()
    assert first == "[13.5, 987.0]"
    assert len(tries) == 1
    assert "200" in tries[0]
    assert "request id" in last
    assert example("score.py", "no-such-endpoint") == 1
    assert "NotFound" in capsys.readouterr().err


def test_score_async(example: Run, emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert example("score_async.py", "demo") == 0
    assert capsys.readouterr().out.startswith("100 of 100 calls answered")
    assert sum(emulator.executions("demo").values()) == 100


def test_stream(example: Run, emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    emulator.add_endpoint("assistant", kind="agent")
    assert example("stream.py", "assistant", "good morning") == 0
    assert capsys.readouterr().out == "good morning\n"


def test_enriched_scoring(
    example: Run, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example("enriched_scoring.py", "demo", emulator.external.base_url) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "[12.759, 980.296, 3.259, 40.5] enriched"
    assert last == "6 users asked for, 3 requests, 2 kept"
    assert emulator.external.counts == {"7": 1, "8": 1, "1000000000": 1}


def test_enriched_scoring_without_its_service(
    example: Run, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.external.go_down()
    assert example("enriched_scoring.py", "demo", emulator.external.base_url) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("[13.0, 980.5, 3.5, 40.5] ")
    assert not first.endswith("enriched")


def test_every_example_is_run_here() -> None:
    told = Path(__file__).read_text(encoding="utf-8")
    for path in (ROOT / "examples").glob("*.py"):
        assert f'example("{path.name}"' in told
