"""The documentation site: every page is reached, every link leads somewhere, nothing is left out.

``make docs`` builds it; this is what can be said of it in a moment, without Sphinx.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import servingclient
from servingclient import Batching, Settings, errors, integrations
from servingclient.cli import main

pytestmark = pytest.mark.checkout

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")])

TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r"^```\{include\} (\S+)\n```", re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:)([^)\s]*)\)")
CODE = re.compile(r"^(`{3,}).*?^\1", re.MULTILINE | re.DOTALL)


def named(page: Path) -> list[Path]:
    """The pages that stand in the tables of contents of a page."""
    blocks = TOCTREE.findall(page.read_text(encoding="utf-8"))
    lines = [line for block in blocks for line in block.splitlines()]
    entries = [page.parent / line for line in lines if line and line[0] != ":"]
    kinds = [".ipynb" if entry.parent.name == "notebooks" else ".md" for entry in entries]
    return [entry.with_suffix(kind) for entry, kind in zip(entries, kinds, strict=True)]


def test_every_page_is_in_a_table_of_contents_once() -> None:
    found = [page for source in PAGES for page in named(source)]
    assert sorted([DOCS / "index.md", *found]) == PAGES


@cache
def written(page: Path) -> str:
    """What a page says outside code, with what it includes."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] != "code")
    for name in INCLUDE.findall(text):
        text += (page.parent / name).read_text(encoding="utf-8")
    return CODE.sub("", text)


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as code hosts and MyST make them."""
    headings = re.findall(r"^#+ (.*)", written(page), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(written(page)):
        name, _, anchor = target.partition("#")
        # an included page is read from where it stands
        places = [page, *(page.parent / one for one in INCLUDE.findall(page.read_text()))]
        there = [place.parent / name if name else place for place in places]
        assert any(one.exists() for one in there), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(there[0].resolve()), f"{page.name}: {target}"


def test_every_error_has_its_symptom() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    kinds = [name for name, kind in vars(errors).items() if inspect.isclass(kind)]
    missing = [name for name in kinds if not re.search(rf"\b{name}\b", text)]
    assert missing == ["ServingError"]  # the root, which is never raised itself


DESCRIBED = re.compile(r"^\.\. auto(?!module)\w+:: (\S+)", re.MULTILINE)


def described() -> list[str]:
    """All names of the API reference."""
    pages = sorted((DOCS / "api").glob("*.md"))
    return [name for page in pages for name in DESCRIBED.findall(page.read_text(encoding="utf-8"))]


def test_nothing_is_described_twice() -> None:
    assert len(set(described())) == len(described())


def doors() -> list[str]:
    """The packages that users import from, as they say themselves by ``__all__``."""
    found = pkgutil.walk_packages(servingclient.__path__, "servingclient.")
    private = ("servingclient._", "servingclient.emulator._", "servingclient.cli")
    names = [one.name for one in found if one.ispkg and not one.name.startswith(private)]
    names += [
        f"{integrations.__name__}.{one.name}" for one in pkgutil.iter_modules(integrations.__path__)
    ]
    return ["servingclient", *sorted(set(names))]


def source_of(module: str) -> str:
    """The text of a module, or of all modules of a package."""
    path = ROOT / "src" / Path(*module.split("."))
    files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def exported(door: str) -> list[str]:
    """What a door lists in ``__all__``, by its source: its engine may not be installed."""
    path = ROOT / "src" / Path(*door.split("."))
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    listed = re.findall(r"^__all__ = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    return re.findall(r'"(\w+)"', "".join(listed))


# described under their own, shorter names
ELSEWHERE = {"servingclient.settings": ["changed"], "servingclient.emulator": ["faults"]}


@pytest.mark.parametrize("door", doors())
def test_everything_public_is_described(door: str) -> None:
    names = set(described())
    for name in exported(door):
        known = {f"{door}.{name}", f"servingclient.{name}"} & names
        apart = name in ELSEWHERE.get(door, ()) or name == "__version__"
        assert known or apart, f"docs/api: {door}.{name}"


def test_what_is_described_exists() -> None:
    for path in described():
        module, _, name = path.rpartition(".")
        if module.startswith(f"{integrations.__name__}."):
            # not imported: engines may be missing here, and databricks-sdk costs 2 s
            assert re.search(rf"^(class|def|async def) {name}\b", source_of(module), re.MULTILINE)
        else:
            assert hasattr(importlib.import_module(module), name), path


def test_diagrams_are_drawn_from_their_source() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "diagrams" / "draw.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_diagrams_are_shown() -> None:
    text = "".join(written(page) for page in PAGES)
    for drawn in (DOCS / "diagrams").glob("*.svg"):
        assert f"(diagrams/{drawn.name})" in text


def test_the_plan_that_is_shown_is_the_plan_that_is_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (block,) = re.findall(
        r"```console\n\$ servingclient (.*?)```", (DOCS / "howto-plan.md").read_text(), re.DOTALL
    )
    command, _, shown = block.partition("\n")
    assert main(command.split()) == 0
    printed = capsys.readouterr().out
    parts = [part for part in re.split(r"^ *\.\.\.\n", shown, flags=re.MULTILINE) if part]
    assert len(parts) > 1
    for part in parts:
        _, found, printed = printed.partition(part)
        assert found == part


def defaults() -> list[tuple[str, str]]:
    """Defaults that pages tell in a sentence, with the page."""
    settings, retry, token = Settings(), Settings().retry, Settings().token
    return [
        ("concept-quota", f"starts with {retry.quota_capacity} tokens"),
        ("concept-quota", f"retry takes {retry.retry_cost} "),
        ("concept-quota", f"it takes {retry.throttled_cost}\n"),
        ("concept-quota", f"puts {retry.success_credit} in"),
        ("concept-quota", f"{retry.quota_capacity // retry.retry_cost} retries empty it"),
        ("concept-deadline", f"`Settings.batch()`: {Settings.batch().timeout_s:g} s"),
        ("concept-deadline", f"`Settings.llm()`: {Settings.llm().timeout_s:g} s"),
        ("concept-token", f"stale: the last {token.refresh_ahead_s / 60:g} minutes"),
        ("concept-token", f"has {token.try_timeout_s:g} s"),
        ("concept-token", f"with its retries {token.timeout_s:g} s"),
        ("concept-token", f"from {token.cooldown_s:g} s doubling to {token.cooldown_cap_s:g} s"),
        ("concept-batching", f"`max_wait_s` ({Batching().max_wait_s * 1000:g} ms)"),
        ("comparison", f"one over everything, {settings.timeout_s:g} s"),
        ("comparison", f"| {retry.max_attempts}, and a quota"),
        ("tutorial", f"`Settings.timeout_s`, {settings.timeout_s:g} seconds"),
        ("migrate-databricks-sdk", f"the whole call has {settings.timeout_s:g} s"),
        ("migrate-mlflow", f"the default here {settings.timeout_s:g} s"),
        ("migrate-openai", f"`Settings.llm()`: {Settings.llm().timeout_s:g} s"),
    ]


@pytest.mark.parametrize(("page", "words"), defaults())
def test_defaults_in_sentences_are_those_of_the_settings(page: str, words: str) -> None:
    assert words in (DOCS / f"{page}.md").read_text(encoding="utf-8")
