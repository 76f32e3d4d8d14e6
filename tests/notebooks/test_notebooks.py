"""The notebooks run from top to bottom, show what they promise, and are kept without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.checkout

HERE = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))


def executed(path: Path, folder: Path) -> Any:
    """The notebook with its outputs; raises the error of a cell."""
    notebook = nbformat.read(path, as_version=4)
    run_in = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=50, startup_timeout=50, resources=run_in).execute()
    return notebook


def shown(notebook: Any) -> dict[str, str]:
    """All outputs of each kind in one text."""
    found: dict[str, str] = {}
    for output in (one for cell in notebook.cells for one in cell.get("outputs", ())):
        pieces = output.get("data") or {output.get("name", output.output_type): output.text}
        for kind, text in pieces.items():
            found[kind] = found.get(kind, "") + text
    return found


PROMISED = {
    "quickstart": [
        ("text/html", "987"),  # the prediction, and the frame with it
        ("stdout", "a loop is running: True"),
        ("stdout", "PayloadError: Row 1, column 'amount': The value is NaN."),
        ("text/html", "fraud-model"),
    ],
    "bulk-scoring": [
        ("text/html", "<progress"),
        ("text/plain", "20,000 of 20,000 rows"),
        ("text/html", "refused the request"),
        ("text/html", "The value is NaN"),
        ("stdout", "19998 rows"),
        ("text/html", "fraud-model"),
    ],
    "loadtest-and-plan": [
        ("text/html", "&lt;svg"),  # in the frame
        ("text/html", "slots of provisioned concurrency"),
        ("image/svg+xml", "<svg"),
        ("stdout", "min_provisioned_concurrency"),
    ],
}


@pytest.mark.timeout(90)  # a kernel starts; the load test takes eight seconds
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_it_promises(path: Path, tmp_path: Path) -> None:
    outputs = shown(executed(path, tmp_path))
    assert "stderr" not in outputs
    for kind, text in PROMISED[path.stem]:
        assert text in outputs[kind], (kind, text)


def test_each_notebook_is_known() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(PROMISED)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_kept(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
    # which Python ran it last says nothing to who reads it
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert notebook.metadata == {"kernelspec": kernel, "language_info": {"name": "python"}}
