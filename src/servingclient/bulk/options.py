"""The arguments of ``map``, checked before anything is read or sent. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import index
from typing import Any, NamedTuple, SupportsIndex

from servingclient._open import checked_idempotent, checked_timeout, rank_of
from servingclient.errors import ConfigError
from servingclient.payload.body import write
from servingclient.settings import Priority, Settings


class BulkOptions(NamedTuple):
    """The arguments of ``map``, checked; the doors say what each is."""

    params: Mapping[str, Any] | None
    client_request_id: str | None
    usage_context: Mapping[str, str] | None
    served_model: str | None
    timeout_s: float
    idempotent: bool
    rank: int
    rows_per_request: int | None
    concurrency: int | None
    returns_errors: bool
    progress: bool
    checkpoint: str | None


def bulk_options(
    settings: Settings,
    *,
    params: object,
    client_request_id: object,
    usage_context: object,
    served_model: str | None,
    timeout: object,
    idempotent: object,
    priority: Priority,
    rows_per_request: object,
    concurrency: object,
    on_error: object,
    progress: object,
    checkpoint: object,
) -> BulkOptions:
    """The arguments of ``map``, before anything is read or sent.

    Raises:
        ConfigError: One of them is wrong.
        PayloadError: A parameter cannot be sent.
    """
    if on_error not in ("raise", "return"):
        shown = repr(on_error)[:40]
        raise ConfigError(
            f"on_error is {shown}; choose 'raise', or 'return' to get errors in place of "
            "predictions."
        )
    if not isinstance(progress, bool):
        raise ConfigError(f"progress must be True or False, not of type {type(progress).__name__}.")
    return BulkOptions(
        _checked_params(params, settings),
        _checked_text("client_request_id", client_request_id),
        _checked_labels(usage_context),
        _checked_text("served_model", served_model),
        settings.timeout_s if timeout is None else checked_timeout(timeout),
        settings.idempotent if idempotent is None else checked_idempotent(idempotent),
        rank_of(priority),
        _checked_count("rows_per_request", rows_per_request),
        _checked_count("concurrency", concurrency),
        on_error == "return",
        progress,
        _checked_path(checkpoint),
    )


def _checked_count(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, SupportsIndex) and not isinstance(value, bool) and index(value) > 0:
        return index(value)
    raise ConfigError(f"{name} is {repr(value)[:40]}; give a whole number above 0, or None.")


def _checked_text(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ConfigError(f"{name} must be text, not of type {type(value).__name__}.")


def _checked_dict(name: str, value: object) -> Mapping[str, Any] | None:
    if value is None or isinstance(value, Mapping):
        return value
    raise ConfigError(f"{name} must be a dict, not of type {type(value).__name__}.")


def _checked_params(params: object, settings: Settings) -> Mapping[str, Any] | None:
    checked = _checked_dict("params", params)
    if checked is not None:
        write({"params": dict(checked)}, settings.payload)
    return checked


def _checked_labels(labels: object) -> Mapping[str, str] | None:
    checked = _checked_dict("usage_context", labels)
    for text in (*checked, *checked.values()) if checked else ():
        _checked_text("A name or value in usage_context", text)
    return checked


def _checked_path(path: object) -> str | None:
    if path is None:
        return None
    if isinstance(path, (str, os.PathLike)) and isinstance(given := os.fspath(path), str) and given:
        return given
    raise ConfigError(f"checkpoint must be the path of a file, not {repr(path)[:40]}.")
