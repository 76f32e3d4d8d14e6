"""pyproject.toml, the constraints and the package agree."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import servingclient

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def root(request: pytest.FixtureRequest) -> Path:
    return request.config.rootpath


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    with (root / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, Requirement]:
    """Constraints that apply to the running Python, by name."""
    lines = (root / "constraints.txt").read_text().splitlines()
    listed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(pin.name): pin
        for pin in listed
        if pin.marker is None or pin.marker.evaluate()
    }


def pinned_version(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    return specifier.version


def test_core_dependencies_are_these(project: dict[str, Any]) -> None:
    # anything more is a cost to every user, and needs its reason in ARCHITECTURE.md
    names = {Requirement(text).name for text in project["dependencies"]}
    assert names == {
        "httpx",
        "httptools",
        "tenacity",
        "orjson",
        "msgpack",
        "cachetools",
        "databricks-sdk",
    }


@pytest.mark.checkout
def test_what_is_tested_lies_in_the_allowed_ranges(
    project: dict[str, Any], pins: dict[str, Requirement]
) -> None:
    extras = project["optional-dependencies"]
    texts = project["dependencies"] + extras["dev"] + extras["cli"] + extras["emulator"]
    for wanted in map(Requirement, texts):
        if wanted.name == "servingclient":
            continue
        pin = pins[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(pinned_version(pin)), f"{wanted} against {pin}"


@pytest.mark.checkout
def test_what_is_installed_is_what_is_pinned(pins: dict[str, Requirement]) -> None:
    differing = {}
    for dist in metadata.distributions():
        name = canonicalize_name(dist.metadata["Name"])
        # pip and setuptools come with the environment itself
        if name in pins and name not in ("pip", "setuptools"):
            wanted = pinned_version(pins[name])
            if dist.version != wanted:
                differing[name] = (dist.version, wanted)
    assert differing == {}, "run `make setup`"


def test_the_version_is_written_once(project: dict[str, Any]) -> None:
    assert "version" in project["dynamic"]
    assert metadata.version("servingclient") == servingclient.__version__


def test_the_package_is_typed() -> None:
    assert servingclient.__file__ is not None
    assert Path(servingclient.__file__).with_name("py.typed").exists()


def test_entry_points_load() -> None:
    points = list(metadata.distribution("servingclient").entry_points)
    assert {point.group for point in points} == {"console_scripts", "pytest11"}
    for point in points:
        assert point.load()
