"""Faults by name, as they arrive in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servingclient.emulator import faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from servingclient.emulator.fault import Fault

BY_NAME: dict[str, Callable[..., Fault]] = {
    function.__name__: function
    for function in (
        faults.ok,
        faults.throttled,
        faults.reset,
        faults.disconnect,
        faults.hang,
        faults.slow,
        faults.close_silently,
        faults.announce_close,
        faults.drip,
        faults.informational,
        faults.second_reply,
        faults.raw,
        faults.answer,
        faults.html,
        faults.plain,
        faults.empty,
        faults.execution_timeout,
        faults.login_page,
        faults.redirect,
        faults.echo_authorization,
        faults.wrong_content_type,
        faults.truncated_json,
        faults.body,
        faults.misshapen,
        faults.gzip,
        faults.gzip_bomb,
        faults.invalid_token,
        faults.expiring_token,
        faults.permission_denied,
        faults.access_denied,
        faults.invalid_scope,
        faults.invalid_authorization_details,
        faults.ip_access_list,
        faults.cut_stream,
        faults.stream_error,
    )
}
"""Every fault by the name of its function, for scripts that arrive as JSON."""


def from_json(entry: object) -> Fault:
    """Return the fault named by a string, or by an object with ``name`` and its arguments.

    Raises:
        ValueError: when there is no such fault or the arguments do not fit.
    """
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, dict) or entry.get("name") not in BY_NAME:
        raise ValueError(f"unknown fault {entry!r}; known are {', '.join(sorted(BY_NAME))}")
    arguments = {key: value for key, value in entry.items() if key != "name"}
    try:
        return BY_NAME[entry["name"]](**arguments)
    except TypeError as wrong:
        raise ValueError(f"fault {entry['name']!r}: {wrong}") from None
