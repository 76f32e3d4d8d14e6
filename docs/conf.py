"""How the site is made: ``make docs``. Nothing is fetched, and every warning is an error."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

project = "servingclient"
author = "the authors of servingclient"
version = release = installed("servingclient")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "notebook_pages",
    "reference",
]
nitpicky = True

html_theme = "furo"
html_title = f"servingclient {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_dark_style = "github-dark"  # furo's own underlines the names of modules
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
# large, or loaded by whatever runs them; the pages of the integrations describe what uses them
autodoc_mock_imports = [
    "fastapi",
    "gevent",
    "locust",
    "mlflow",
    "openai",
    "pandas",
    "pyarrow",
    "pyspark",
    "pytest",
    "ray",
    "starlette",
]

# Names nothing here describes. They cannot be looked up either: the site is made without a network.
nitpick_ignore_regex = [
    # the standard library
    (r"py:.*", r"(collections|os|pathlib|types|ssl|enum|datetime|random|asyncio)\..*"),
    # libraries whose objects are given to ours or come from it
    (r"py:.*", r"(httpx|databricks|opentelemetry|prometheus_client|datadog)\..*"),
    (r"py:.*", r"(locust|openai|pandas|pyspark|requests|starlette)\..*"),
    # what ours are made of, and users do not meet
    (r"py:.*", r"servingclient\.(telemetry\.tally|_types)\..*"),
    # variables of types, which stand for nothing by themselves
    (r"py:.*", r"(.*[.~])?[A-Z](_co)?"),
]

# files outside docs/ that have a page on the site
PAGES = {
    "../benchmarks/results.md": "measurements.md",
    "../CHANGELOG.md": "release-notes.md",
    "../ARCHITECTURE.md": "architecture.md",
    "../CONTRIBUTING.md": "contributing.md",
}


def with_links_inside(app: Sphinx, page: str, source: list[str]) -> None:
    """Pages link to files of the repository, as a code host shows them; here those are pages."""
    up = "../" * page.count("/")
    for outside, inside in PAGES.items():
        source[0] = source[0].replace(f"]({up}{outside}", f"]({up}{inside}")


def setup(app: Sphinx) -> None:
    app.connect("source-read", with_links_inside)
