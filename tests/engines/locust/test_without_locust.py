"""Whoever imports the user for Locust without Locust learns what to install."""

from __future__ import annotations

import importlib
import sys

import pytest


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("locust", "locust.exception"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "servingclient.integrations.locust", raising=False)
    wanted = r"needs locust, which is not installed .*'servingclient\[locust\]'"
    with pytest.raises(ImportError, match=wanted) as raised:
        importlib.import_module("servingclient.integrations.locust")
    assert raised.value.name == "locust"
