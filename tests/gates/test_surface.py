"""What the package exports, and that its two doors are one."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import types

import pytest

import servingclient
from servingclient import AsyncServingClient, ServingClient, errors

# the one difference in names: what ends an async client must be awaited
RENAMED = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
DOORS = [ServingClient, AsyncServingClient]


def exports() -> list[str]:
    return list(servingclient.__all__)


def test_exports_are_sorted_and_unique() -> None:
    # isort's order, as ruff keeps it: CONSTANTS, Classes, functions
    groups = ([], [], [])
    for name in exports():
        groups[0 if name.isupper() else 1 if name[0].isupper() else 2].append(name)
    assert exports() == [name for group in groups for name in sorted(group)]
    assert len(set(exports())) == len(exports())


def test_exports_are_complete() -> None:
    public = {
        name
        for name, value in vars(servingclient).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and name != "annotations"
    }
    assert public <= set(exports())
    assert set(exports()) <= set(dir(servingclient)), "dir() shows lazy names too"


@pytest.mark.parametrize("name", exports())
def test_each_export_is_what_it_says(name: str) -> None:
    value = getattr(servingclient, name)
    module = getattr(value, "__module__", None)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == name
        assert value.__doc__
        assert getattr(importlib.import_module(str(module)), name) is value


def test_all_errors_are_exported() -> None:
    public = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert public <= set(exports())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchThing"):
        servingclient.NoSuchThing  # noqa: B018 - the access is the test


def members(door: type) -> dict[str, object]:
    """Public methods and properties under the names of the sync door."""
    found = {name: inspect.getattr_static(door, name) for name in dir(door)}
    return {
        RENAMED.get(name, name): value
        for name, value in found.items()
        if (not name.startswith("_") or name in {*RENAMED, *RENAMED.values(), "__init__"})
    }


def signature(value: object) -> list[tuple[str, object, object, str]]:
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    parameters = inspect.signature(value).parameters.values()  # type: ignore[arg-type]
    return [(p.name, p.kind, p.default, neutral(str(p.annotation))) for p in parameters]


def neutral(annotation: str) -> str:
    """An annotation without what tells the two colours apart."""
    for asynchronous, plain in (
        ("AsyncServingClient", "ServingClient"),
        ("AsyncBaseTransport", "BaseTransport"),
        ("AsyncIterator", "Iterator"),
        ("AsyncIterable", "Iterable"),
    ):
        annotation = annotation.replace(asynchronous, plain)
    return annotation


def test_the_doors_have_the_same_members() -> None:
    sync, asynchronous = map(members, DOORS)
    assert set(sync) == set(asynchronous)
    assert {"predict", "stream", "with_options", "close", "__enter__", "__exit__"} <= set(sync)


@pytest.mark.parametrize("name", sorted(members(ServingClient)))
def test_the_doors_have_the_same_signatures(name: str) -> None:
    sync, asynchronous = (members(door)[name] for door in DOORS)
    assert type(sync) is type(asynchronous)
    if callable(sync) or isinstance(sync, (property, classmethod, staticmethod)):
        assert signature(sync) == signature(asynchronous)


@pytest.mark.parametrize("door", DOORS)
def test_every_member_is_documented(door: type) -> None:
    assert door.__doc__
    for name, value in members(door).items():
        assert name.startswith("__") or getattr(value, "__doc__", None), name


def test_predict_is_as_promised() -> None:
    parameters = inspect.signature(ServingClient.predict).parameters
    assert list(parameters) == [
        "self",
        "inputs",
        "params",
        "client_request_id",
        "usage_context",
        "served_model",
        "timeout",
        "idempotent",
        "priority",
    ]
    kinds = {p.kind for name, p in parameters.items() if name not in ("self", "inputs")}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


def test_import_is_light() -> None:
    # databricks-sdk alone costs up to 2 s of CPU, httpx 0.2 s: paid only by those who need them
    heavy = ["databricks", "httpx", "httpcore", "requests", "pandas", "numpy", "polars", "pyarrow"]
    heavy += ["rich", "trustme", "cryptography", "redis", "opentelemetry"]
    heavy += ["prometheus_client", "datadog"]
    script = f"import servingclient, sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_plugin_is_light() -> None:
    # pytest loads it in every project that has the library installed
    script = (
        "import sys, servingclient.integrations.pytest_plugin; "
        "print([m for m in ('servingclient.emulator', 'httpx', 'trustme', 'databricks')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
