"""An encoded body divided around its rows, so that rows of several callers fit one body.

Rows are cut out of the finished text, never encoded together: a batch is the head they have in
common, everybody's rows as they would have gone alone, and the tail. So a value has the same JSON
type in company as alone.

Nothing is searched for that could stand in a value. The cut between columns and rows,
``],"data":[``, cannot stand inside a column's name, where its quotes would be escaped; and the tail
is written again and compared, not looked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from servingclient.payload.body import Body, is_body, write
from servingclient.settings import Payload

_SPLIT: Final = b'{"dataframe_split":{"columns":['
_DATA: Final = b'],"data":['
_LISTS: Final = (b'{"inputs":[', b'{"instances":[')

Divided = tuple[bytes, bytes, bytes]
"""A body in three parts: all before its rows, the rows without the brackets around them, and all
behind them, parameters included. Bodies share a request only where the first and last are the same.
"""


def divide(
    body: Body, inputs: object, params: Mapping[str, Any] | None, settings: Payload
) -> Divided | None:
    """Divide a body whose rows stand for themselves.

    Args:
        body: The encoded body.
        inputs: What it was made of.
        params: The parameters encoded with it.
        settings: The rules it was written with.

    Returns:
        The parts, or None for a body that has to go as it is: chat, named tensors, records as
        objects, an index beside the rows, or anything said beside rows and parameters.
    """
    if not body.rows:
        return None
    if type(inputs) is not list and isinstance(inputs, Mapping) and is_body(inputs):
        if not _plain(inputs):
            return None
        params = inputs.get("params", params)
    data = body.data
    if data.startswith(_SPLIT):
        begin, tail = data.index(_DATA) + len(_DATA), b"]}}"
    elif data.startswith(_LISTS):
        begin, tail = data.index(b"[") + 1, b"]}"
        if data.startswith(b"{", begin):  # objects: other callers' may have other keys
            return None
    else:
        return None
    if params is not None:
        tail = tail[:-1] + b"," + write({"params": dict(params)}, settings)[1:]
    if not data.endswith(tail):
        return None
    return data[:begin], data[begin : -len(tail)], tail


def joined(head: bytes, rows: Sequence[bytes], tail: bytes) -> bytes:
    """One body of the rows of several."""
    return head + b",".join(rows) + tail


def _plain(given: Mapping[Any, Any]) -> bool:
    """Whether an explicit body is of the form the library writes itself."""
    first, *rest = given
    if rest not in ([], ["params"]) or not isinstance(given.get("params", {}), Mapping):
        return False
    content = given[first]
    if first != "dataframe_split":
        return True
    return (
        isinstance(content, Mapping)
        and list(content) == ["columns", "data"]
        and isinstance(content["columns"], (list, tuple))
        and all(type(name) is str for name in content["columns"])
    )
