"""Write the tables of docs/settings.md, errors.md, howto-doctor.md and howto-monitoring.md.

    python docs/render.py            # rewrite them
    python docs/render.py --check    # exit code 1 where they are out of date

What stands outside the two marks of a page is written by hand and left alone.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

from servingclient import errors
from servingclient.errors import ServingError
from servingclient.settings import EnrichmentSettings, Settings
from servingclient.settings.targets import Targets
from servingclient.telemetry.exported import METRICS

HERE = Path(__file__).parent
MARKED = re.compile(r"(<!-- rendered: begin[^\n]*-->\n).*?(<!-- rendered: end -->)", re.DOTALL)
UNITS = {"MiB": 1024 * 1024, "KiB": 1024}


ROOTS = (Settings, EnrichmentSettings)


def settings_tables() -> str:
    """A table for each group of settings, each root before its groups; shared ones come once."""
    places = {}
    for root in ROOTS:
        places[root] = root.__name__
        for name, kind in groups_of(root):
            places.setdefault(kind, f"{root.__name__}.{name}")
    return "\n".join(settings_table(group, place) for group, place in places.items())


def groups_of(root: type) -> Iterator[tuple[str, type]]:
    """The fields of ``root`` that hold settings of their own."""
    hints = get_type_hints(root)
    for field in fields(root):
        for kind in get_args(hints[field.name]) or (hints[field.name],):
            if is_dataclass(kind) and isinstance(kind, type):
                yield field.name, kind


def settings_table(group: type, place: str) -> str:
    """One group: name, default and reason of each field."""
    title = f"`{group.__name__}`" + (f" (`{place}`)" if group not in ROOTS else "")
    about = markdown(first_paragraph(group))
    head = "| setting | default | what it does, and why this default |"
    lines = [f"## {title}", "", about, "", head, *defaults(group), "", *presets(group)]
    return "\n".join(lines)


def defaults(group: type) -> list[str]:
    """The lines of a table below its head: name, default and reason of each field."""
    reasons = dict(documented(group))
    rows = [
        f"| `{field.name}` | {shown(field)} | {markdown(reasons[field.name])} |"
        for field in fields(group)
    ]
    return ["|---|---|---|", *rows]


def documented(group: type) -> Iterator[tuple[str, str]]:
    """Names of fields with the text that stands below each."""
    (definition,) = ast.parse(inspect.getsource(group)).body
    assert isinstance(definition, ast.ClassDef)
    for field, below in itertools.pairwise(definition.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, text


def shown(field: Field[object]) -> str:
    """A default as one would write it."""
    if field.default is MISSING:
        return f"`{called(field.default_factory())}`"
    value = field.default
    if isinstance(value, int) and field.name.endswith("_bytes"):
        for unit, size in UNITS.items():
            if value % size == 0:
                return f"`{value}` ({value // size} {unit})"
    return f"`{value!r}`".replace("'", '"')


def called(value: object) -> str:
    """A group as one would make it: only what differs from its own defaults is said."""
    given = [
        f"{field.name}={getattr(value, field.name)!r}"
        for field in fields(value)
        if field.default is not MISSING and getattr(value, field.name) != field.default
    ]
    return f"{type(value).__name__}({', '.join(given)})"


def presets(group: type) -> list[str]:
    """The class methods that make a group with other numbers."""
    found = [
        f"- `{group.__name__}.{name}()`: {markdown(first_paragraph(getattr(group, name)))}"
        for name, value in vars(group).items()
        if isinstance(value, classmethod)
    ]
    return ["Ready made:", "", *found, ""] if found else []


def errors_tables() -> str:
    """The tree, then what each error means and carries."""
    drawn = inspect.getdoc(errors) or ""
    tree = drawn[drawn.index("::") + 2 : drawn.index("\nEach message")].strip("\n")
    tree = inspect.cleandoc(f"\n{tree}")
    parts = ["```text", tree, "```", ""]
    for kind in classes(ServingError):
        text = inspect.getdoc(kind) or ""
        parts += [f"## `{kind.__name__}`", "", about(kind), "", *paragraphs(text), ""]
    return "\n".join(parts)


def classes(root: type[ServingError]) -> Iterator[type[ServingError]]:
    """The tree from the root, in the order of the source."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child)


def about(kind: type[ServingError]) -> str:
    """What else the error is caught as."""
    bases = [base.__name__ for base in kind.__bases__]
    return f"Bases: {', '.join(f'`{base}`' for base in bases)}."


def paragraphs(docstring: str) -> list[str]:
    """A docstring in Google's style as Markdown: paragraphs, then attributes as a list."""
    told, _, attributes = docstring.partition("\nAttributes:\n")
    lines = [markdown(part) for part in told.strip().split("\n\n")]
    lines = [line for part in lines for line in (part, "")][:-1]
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", attributes, re.MULTILINE)
    if found:
        lines.append("")
        lines += [f"- `{name}`: {markdown(text)}" for name, text in found]
    return lines


def first_paragraph(value: object) -> str:
    """The start of a docstring."""
    return (inspect.getdoc(value) or "").split("\n\n")[0]


def markdown(text: str) -> str:
    """A docstring's text on one line, in Markdown's marks."""
    text = " ".join(text.split())
    text = re.sub(r":\w+:`~?([^`]+)`", lambda match: f"`{match[1].split('.')[-1]}`", text)
    parts = text.replace("``", "`").replace("|", "\\|").split("`")
    parts[::2] = [part.replace("*", "\\*") for part in parts[::2]]  # those outside code
    return "`".join(parts)


def metrics_table() -> str:
    """What exporters tell of a client."""
    kinds = {"lowest": "gauge", "highest": "gauge"}
    rows = [
        f"| `{metric.name}` | {kinds.get(metric.kind, metric.kind)} | {metric.unit} "
        f"| {', '.join(f'`{label}`' for label in metric.labels)} | {metric.text} |"
        for metric in METRICS.values()
    ]
    return "\n".join(["| name | kind | unit | labels | what |", "|---|---|---|---|---|", *rows])


def targets_table() -> str:
    """What the doctor holds an endpoint to."""
    return "\n".join(["| target | default | what it is, and why |", *defaults(Targets)])


PAGES = {
    "settings.md": settings_tables,
    "errors.md": errors_tables,
    "howto-doctor.md": targets_table,
    "howto-monitoring.md": metrics_table,
}


def rendered(name: str) -> tuple[str, str]:
    """A page as it is and as it should be."""
    text = (HERE / name).read_text(encoding="utf-8")
    made, count = MARKED.subn(lambda m: f"{m[1]}\n{PAGES[name]()}\n{m[2]}", text)
    assert count == 1, f"{name} needs one pair of marks"
    return text, made


def main(arguments: list[str]) -> int:
    """Rewrite the pages, or with ``--check`` only say which are out of date."""
    late = {name: made for name in PAGES for text, made in [rendered(name)] if text != made}
    for name, made in late.items():
        if "--check" in arguments:
            sys.stderr.write(f"{name} is out of date: run python docs/render.py\n")
        else:
            (HERE / name).write_text(made, encoding="utf-8")
    return 1 if late and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
