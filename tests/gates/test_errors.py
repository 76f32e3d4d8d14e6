"""The exception tree: as drawn, documented, and whole after pickling."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Iterator

import pytest

from servingclient import errors
from servingclient._types import Attempt
from servingclient.errors import ServingError


def tree(root: type[ServingError]) -> Iterator[type[ServingError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


CLASSES = [kind for kind in tree(ServingError) if kind.__module__.startswith("servingclient")]
ATTEMPT = Attempt(429, 0.5, "429 Too Many Requests", 0.01, "req-1")


def attributes(kind: type[ServingError]) -> dict[str, object]:
    """Every declared attribute of a class with a value that is not its default."""
    values: dict[str, object] = {}
    for owner in kind.__mro__:
        for name, annotation in vars(owner).get("__annotations__", {}).items():
            values.setdefault(name, _value_of(str(annotation)))
    return values


def _value_of(annotation: str) -> object:
    for word, value in (
        ("Attempt", (ATTEMPT, ATTEMPT)),
        ("Sent", "maybe"),
        ("bool", True),
        ("float", 1.5),
        ("int", 503),
        ("str", "some text"),
    ):
        if word in annotation:
            return value
    raise AssertionError(f"no example value for {annotation}: add one here")


def example(kind: type[ServingError]) -> ServingError:
    error = kind("It failed after 3 tries. Try later.")
    for name, value in attributes(kind).items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_pickling(kind: type[ServingError]) -> None:
    # an unpicklable error raised in a Spark task arrives as a TypeError about its constructor
    error = example(kind)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is kind
        assert str(again) == str(error) == "It failed after 3 tries. Try later."
        assert vars(again) == attributes(kind)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_can_be_copied(kind: type[ServingError]) -> None:
    again = copy.copy(example(kind))
    assert vars(again) == attributes(kind)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_defaults(kind: type[ServingError]) -> None:
    error = kind("what happened")
    for name in attributes(kind):
        getattr(error, name)
    assert str(error) == "what happened"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_documented(kind: type[ServingError]) -> None:
    own = vars(kind).get("__doc__")
    assert own, f"{kind.__name__} has no docstring of its own"
    for name in vars(kind).get("__annotations__", {}):
        assert re.search(rf"^\s+{name}: \S", own, re.MULTILINE), f"{kind.__name__}.{name}"


def test_all_errors_live_in_one_module() -> None:
    assert {kind.__module__ for kind in CLASSES} == {"servingclient.errors"}
    here = {o for _, o in inspect.getmembers(errors, inspect.isclass) if issubclass(o, Exception)}
    assert here == set(CLASSES)


def test_the_tree_is_as_drawn() -> None:
    drawn: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        # each level is three characters of lines wide, below four of indent
        match = re.match(r"    ((?:[│ ]  )*)(?:[├└]─ )?([A-Z]\w+)(?: \((\w+)\))?", line)
        if match is None:
            continue
        depth = 0 if match[2] == "ServingError" else len(match[1]) // 3 + 1
        above[depth:] = [match[2]]
        drawn[match[2]] = above[depth - 1] if depth else None
        if match[3]:
            kind = getattr(errors, match[2])
            assert match[3] in [base.__name__ for base in kind.__bases__]
    real = {
        kind.__name__: None if kind is ServingError else kind.__bases__[0].__name__
        for kind in CLASSES
    }
    assert drawn == real
