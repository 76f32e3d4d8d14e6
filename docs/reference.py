"""The API reference: how names in signatures and docstrings become links. A Sphinx extension.

Four things Sphinx cannot know by itself:

- what a name stands for that is imported for type checkers alone,
- that one class may be reached by several paths, of which one page describes it,
- that the text below a field is prose, and no "type: description",
- that what stands below ``Example:`` is a program, which the tests run.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys
from typing import Any

from docutils import nodes
from given import GIVEN
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.autodoc.mock import mock
from sphinx.util.nodes import make_refnode

import servingclient

# A value has many methods, and a name alone is only looked for among these.
KINDS = ("class", "exception", "function", "data")


def import_what_checkers_see(mocked: list[str]) -> None:
    """Make known what stands below ``if TYPE_CHECKING:`` in every module, once all are imported."""
    # the mocks' own annotations are for checkers too, and would be in the way of their subclasses'
    for kind in vars(sys.modules[mock.__module__]).values():
        if inspect.isclass(kind) and kind.__module__ == mock.__module__:
            kind.__annotations__ = {}
    with mock(mocked):
        found = pkgutil.walk_packages(servingclient.__path__, "servingclient.")
        names = [one.name for one in found if not one.name.endswith("__main__")]
        for module in [servingclient, *map(importlib.import_module, names)]:
            for node in ast.parse(inspect.getsource(module)).body:
                if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                    for line in ast.walk(node):
                        if isinstance(line, ast.ImportFrom | ast.Import):
                            vars(module).update(names_of(line, mocked))


def names_of(line: ast.ImportFrom | ast.Import, mocked: list[str]) -> dict[str, Any]:
    """What an import makes known; of a mocked package, classes that annotations may hold."""
    known: dict[str, Any] = {}
    if isinstance(line, ast.Import):
        for one in line.names:
            top = one.name.partition(".")[0]
            known[one.asname or top] = importlib.import_module(one.name if one.asname else top)
        return known
    source = str(line.module)
    for one in line.names:
        if source.partition(".")[0] in mocked:
            known[one.asname or one.name] = type(one.name, (), {"__module__": source})
        else:
            found = getattr(importlib.import_module(source), one.name, None)
            known[one.asname or one.name] = found or importlib.import_module(f"{source}.{one.name}")
    return known


def resolved(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.Element) -> Any:
    """A link to the one place that describes what ``node`` names, by whatever path."""
    if node.get("refdomain") != "py":
        return None
    if "[" in node["reftarget"]:
        return shown  # a piece of a type that was cut at its comma
    described = env.get_domain("py").objects
    name = path_of(node["reftarget"], described)
    if name is None:
        return None
    there = described[name]
    return make_refnode(app.builder, node["refdoc"], there.docname, there.node_id, shown, name)


def path_of(name: str, described: dict[str, Any]) -> str | None:
    """Under which path the reference has it."""
    wanted = imported(name)
    for path, entry in described.items():
        if entry.objtype not in KINDS or entry.aliased:
            continue
        if imported(path) is wanted is not None or path.endswith(f".{name}"):
            return path
    return None


def imported(path: str) -> Any:
    """The object at a dotted path, or None."""
    if not path.startswith("servingclient."):
        return None
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


class Prose:
    """Keeps the text of a field: Napoleon takes what stands before a colon for its type."""

    def __init__(self) -> None:
        self._before: dict[str, list[str]] = {}

    def keep(self, app: Sphinx, what: str, name: str, *rest: Any) -> None:
        if what in ("attribute", "property", "data"):
            self._before[name] = list(rest[-1])

    def put_back(self, app: Sphinx, what: str, name: str, *rest: Any) -> None:
        if name in self._before:
            rest[-1][:] = self._before.pop(name)


def as_code(app: Sphinx, what: str, name: str, *rest: Any) -> None:
    """Make programs below ``Example:`` literal blocks; doctests are that by themselves."""
    lines: list[str] = rest[-1]
    if "Example:" in lines and not any(line.lstrip().startswith(">>>") for line in lines):
        at = lines.index("Example:")
        lines[at : at + 1] = ["Example::", ""]


def unsigned(app: Sphinx, what: str, name: str, *rest: Any) -> tuple[str, None] | None:
    """No signature for what users are given and never make."""
    return ("", None) if what == "class" and name in GIVEN else None


def skipped(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what a named tuple says of its fields; the class tells more."""
    if (inspect.getdoc(value) or "").startswith("Alias for field number"):
        return True
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    import_what_checkers_see(app.config.autodoc_mock_imports)
    prose = Prose()
    app.connect("autodoc-process-docstring", prose.keep, priority=400)
    app.connect("autodoc-process-docstring", as_code, priority=450)
    app.connect("autodoc-process-docstring", prose.put_back, priority=600)
    app.connect("autodoc-process-signature", unsigned)
    app.connect("autodoc-skip-member", skipped)
    app.connect("missing-reference", resolved)
    return {"parallel_read_safe": False}
