"""Notebooks as pages of the site: their cells, and the file to download. A Sphinx extension.

Their results are not shown: notebooks are kept without, and the tests run them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

TYPE = "notebook"


class NotebookParser(MystParser):
    """Reads a notebook as Markdown."""

    supported = (TYPE,)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        super().parse(markdown(inputstring, Path(document["source"]).name), document)


def markdown(notebook: str, name: str) -> str:
    """The cells of a notebook, one after the other; the first one begins with the title."""
    cells = [shown(cell) for cell in json.loads(notebook)["cells"]]
    title, _, rest = cells[0].partition("\n")
    download = f"{{download}}`This page is a notebook: {name} <{name}>`"
    return "\n\n".join([title, download, rest, *cells[1:]])


def shown(cell: dict[str, Any]) -> str:
    """One cell."""
    text = "".join(cell["source"])
    return f"```python\n{text}\n```" if cell["cell_type"] == "code" else text


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_source_suffix(".ipynb", TYPE)
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True}
