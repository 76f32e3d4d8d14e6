"""Write the tables of pages that tell defaults, errors, metrics and measured figures.

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
RESULTS = HERE.parent / "benchmarks" / "results.md"
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


def measured(part: str, table: str) -> dict[str, list[str]]:
    """A table of benchmarks/results.md: its cells by the first one of each row."""
    text = RESULTS.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {part}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if table:
        (section,) = re.findall(
            rf"^### {re.escape(table)}\n(.*?)(?=^### |\Z)", section, re.MULTILINE | re.DOTALL
        )
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def measured_on(part: str) -> str:
    """The day of a part of benchmarks/results.md."""
    text = RESULTS.read_text(encoding="utf-8")
    return re.findall(rf"^## {part}\n.*?^(\d{{4}}-\d\d-\d\d), ", text, re.MULTILINE | re.DOTALL)[0]


def compared() -> str:
    """What a call costs here and elsewhere, and how many rows a second get through."""
    others = ("databricks_sdk", "mlflow", "requests", "httpx")
    names = ("servingclient", "servingclient_as_shipped", *others, "aiohttp")
    calls = []
    for table, told in (
        ("sync_1", "1 thread"),
        ("sync_8", "8 threads"),
        ("sync_32", "32 threads"),
        ("async_16", "16 tasks"),
        ("async_64", "64 tasks"),
    ):
        found = measured("One call", table)
        calls.append([told, *(found[name][0] if name in found else "-" for name in names)])
    chatting = ["servingclient", "OpenAI client over it", "OpenAI client"]
    chats = [
        [told, *(measured("Chat", told)[name][0] for name in chatting)]
        for told in ("1 thread", "8 threads")
    ]
    threads, rows = measured("Batching", "256 threads"), measured("Map", "Rows a second")
    shared = [threads[name][0] for name in ("servingclient batched", *others)]
    loops = [rows["servingclient map"][0], *(rows[f"{name}, loop"][0] for name in others)]
    heads = ["databricks-sdk", "mlflow.deployments", "requests", "httpx"]
    return "\n".join(
        [
            f"CPU of the client for one call of one row, in µs ({measured_on('One call')}):",
            "",
            *tabled(["", "servingclient", "as it ships", *heads, "aiohttp"], calls),
            "",
            f"The same for one chat completion, in µs ({measured_on('Chat')}):",
            "",
            *tabled(["", *chatting], chats),
            "",
            f"Rows a second, a model with 4 slots ({measured_on('Batching')}):",
            "",
            *tabled(
                ["", "servingclient", *heads],
                [
                    ["256 threads, each a row a call; here with batching", *shared],
                    ["a whole frame: here `map`, else 1,000 rows a call in a loop", *loops],
                ],
            ),
        ]
    )


def tabled(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table of figures."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in (head, marks, *rows)]


def troubled() -> str:
    """An endpoint in trouble, with the quota and without."""
    found = measured("Overload", "An endpoint in trouble")
    ours, naive = found["outage-ours"], found["outage-naive"]
    back, never, none = (found[f"brown-out-{who}"] for who in ("ours", "naive", "no-retry"))
    rows = [
        ["an outage of 60 s: requests a call", ours[1], naive[1], "1"],
        ["a brown-out of 10 s at 80 % load: good calls", back[2], never[2], none[2]],
        ["the same: well again after", back[3], never[3], none[3]],
    ]
    head = ["trouble", "quota and concurrency limit", "four tries, neither", "no retries"]
    return "\n".join(
        [
            f"Measured on {measured_on('Overload')}, eight clients against an emulated endpoint:",
            "",
            *tabled(head, rows),
        ]
    )


def shared() -> str:
    """What sharing requests brings."""
    found = measured("Batching", "")
    tasks, threads, one = (
        found[f"batching, {name}"][0].removesuffix(" x")
        for name in (
            "256 tasks: rows/s batched / not batched",
            "256 threads: rows/s batched / not batched",
            "one thread: p50 batched / not batched",
        )
    )
    return (
        f"Measured on {measured_on('Batching')}, with a model of 4 slots that takes 5 ms a request "
        f"and 0.05 ms a row: 256 tasks\nget {tasks} times the rows a second, 256 threads {threads} "
        f"times. A single caller's median is {one} times what it is\nwithout batching."
    )


PAGES = {
    "comparison.md": compared,
    "concept-batching.md": shared,
    "concept-quota.md": troubled,
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
