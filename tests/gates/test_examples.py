"""Every Python example in the README, the docs and the docstrings runs, on the emulator.

An example may use any endpoint name: each one a page names exists there. Credentials come from the
environment, as they do for a reader who is logged in. Given are the names ``frame`` (a small
DataFrame), ``emulator``, and ``credentials`` (its host and token). Top-level ``await`` is allowed,
as in a notebook.

In Markdown a fenced block marked ``python`` runs; what is only shown is marked ``text``,
``console`` or ``bash``. In docstrings, what stands below ``Example:`` runs, ``>>>`` or not.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import io
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sybil import Document, Example, Region
from sybil.document import PythonDocStringDocument
from sybil.parsers.abstract import DocTestStringParser
from sybil.parsers.markdown import CodeBlockParser, SkipParser

import servingclient

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})
PACKAGE = Path(str(servingclient.__file__)).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

ENDPOINT = re.compile(r"""ServingClient\(\s*["']([\w.-]+)["']""")
SECTION = re.compile(r"^([ ]*)Examples?:{1,2}[ ]*\n((?:[ ]*\n|\1[ ]+.*(?:\n|\Z))+)", re.MULTILINE)
MARK = re.compile(r">>>|Examples?:|```")
"""In every file with an example: most have none, and need not be parsed to tell."""
DOCTEST_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def execute(example: Example, source: str, mode: str) -> None:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    padded = "\n" * example.line + source  # so that a traceback names the line
    code = compile(padded, example.path, mode, flags=flags, dont_inherit=True)
    result = eval(code, example.namespace)
    if asyncio.iscoroutine(result):
        asyncio.run(result)


def run_block(example: Example) -> None:
    execute(example, str(example.parsed), "exec")


def run_doctest(example: Example) -> str | None:
    """Run one ``>>>`` example; what it returns is its failure.

    Sybil's own runs it through doctest, which knows no top-level ``await``.
    """
    wanted: doctest.Example = example.parsed
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        execute(example, wanted.source, "single")
    checker = doctest.OutputChecker()
    if checker.check_output(wanted.want, printed.getvalue(), DOCTEST_FLAGS):
        return None
    return checker.output_difference(wanted, printed.getvalue(), DOCTEST_FLAGS)


def doctests(document: Document) -> Iterator[Region]:
    for region in DocTestStringParser()(document.text, document.path):
        yield Region(region.start, region.end, region.parsed, run_doctest)


def example_sections(document: Document) -> Iterator[Region]:
    """What stands below ``Example:`` in a docstring and is no doctest."""
    for match in SECTION.finditer(document.text):
        if ">>>" not in match[2]:
            yield Region(match.start(2), match.end(2), textwrap.dedent(match[2]), run_block)


def parsed(path: Path) -> Document:
    if path.suffix == ".md":
        return Document.parse(str(path), CodeBlockParser("python", run_block), SkipParser())
    return PythonDocStringDocument.parse(str(path), doctests, example_sections)


def with_examples(paths: list[Path]) -> list[Any]:
    return [
        pytest.param(path, id="/".join(path.parts[-2:]))
        for path in paths
        if MARK.search(path.read_text(encoding="utf-8")) and any(parsed(path).examples())
    ]


@pytest.fixture
def emulator() -> Iterator[Any]:
    from servingclient.emulator import Emulator

    with Emulator(tls=False) as emulator:
        yield emulator


@pytest.mark.parametrize("path", with_examples([*PAGES, *MODULES]))
def test_examples(
    path: Path, emulator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = parsed(path)
    for name in sorted(set(ENDPOINT.findall(document.text))):
        emulator.add_endpoint(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABRICKS_HOST", emulator.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", emulator.token)
    document.namespace["emulator"] = emulator
    document.namespace["credentials"] = {"host": emulator.host, "token": emulator.token}
    document.namespace["frame"] = pd.DataFrame({"amount": [12.5, 980.0], "country": [1, 7]})
    for example in document.examples():
        example.evaluate()


def test_examples_are_found_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("```python\nimport asyncio\nran = [1]\nawait asyncio.sleep(0)\n```\n")
    module = tmp_path / "a_module.py"
    module.write_text(
        'def f():\n    """Do.\n\n    Example:\n        ran = [2]\n\n    Raises:\n        E: no.\n'
        '    """\n\n\ndef g():\n    """Do.\n\n    Example:\n        >>> 1 + 1\n        3\n    """\n'
    )
    document = parsed(page)
    for example in document.examples():
        example.evaluate()
    assert document.namespace["ran"] == [1]
    first, second = parsed(module).examples()
    assert str(first.parsed) == "ran = [2]\n\n"
    with pytest.raises(Exception, match="Expected:\n    3\nGot:\n    2"):
        second.evaluate()


def test_the_readme_has_an_example() -> None:
    assert any(parsed(ROOT / "README.md").examples())
