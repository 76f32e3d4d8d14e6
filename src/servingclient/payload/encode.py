"""From whatever the caller has to the bytes of one request. The bytes are made at once, so nothing
the caller changes afterwards can reach the endpoint.

============================================  ====================================================
input                                         sent as
============================================  ====================================================
pandas or polars frame, Arrow table or batch  ``dataframe_split``; the index is not sent
list of dicts                                 ``dataframe_split``; every row needs the same keys
dict of columns (lists, arrays, series)       ``dataframe_split``
numpy array                                   ``inputs``; a structured array as columns
dict of arrays, one of 2 or more dimensions   ``inputs``, one tensor per name
list of rows or of single values              ``inputs``
explicit body                                 as it is
============================================  ====================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servingclient.errors import PayloadTooLarge
from servingclient.payload import arrays, columnar, dtypes, frames, narrow
from servingclient.payload.body import Body, is_body, shape, write, write_checked
from servingclient.payload.refusals import refused
from servingclient.payload.tables import body_of_columns, split_records
from servingclient.payload.values import TOO_DEEP
from servingclient.settings import Payload

__all__ = ["Body", "check_size", "encode"]


def encode(
    inputs: Any,
    params: Mapping[str, Any] | None,
    client_request_id: str | None,
    usage_context: Mapping[str, str] | None,
    settings: Payload,
    stream: bool = False,  # noqa: FBT001, FBT002 - keywords cost 0.1 us
) -> Body:
    """Encode one request.

    Args:
        inputs: Rows to score, in any form of the table above.
        params: Parameters of the model, sent beside the rows.
        client_request_id: The caller's own id, for the service's tables.
        usage_context: Labels for the usage table.
        settings: What to do about missing values, decimals and column names.
        stream: Ask for a stream of events instead of one reply.

    Returns:
        The request body.

    Raises:
        PayloadError: The input cannot be sent; row and column are set where there are any.
    """
    extras = None
    if stream or not (params is None and client_request_id is None and usage_context is None):
        extras = _extras(params, client_request_id, usage_context, stream=stream)
    try:
        if type(inputs) is list and inputs and type(inputs[0]) is dict:  # the hot path: first
            return _records(inputs, extras, settings)
        return _encode_other(inputs, extras or {}, settings)
    except RecursionError:  # the search for a bad value, when the caller's stack was deep already
        raise refused(TOO_DEEP) from None


def check_size(body: Body, limit_bytes: int) -> None:
    """Refuse a request the endpoint would refuse, or hang up on.

    Args:
        body: The encoded request.
        limit_bytes: Largest request the endpoint accepts.

    Raises:
        PayloadTooLarge: The body is larger.
    """
    size = len(body.data)
    if size <= limit_bytes:
        return
    if body.rows is not None and body.rows > 1:
        fitting = body.rows * limit_bytes // size
        advice = (
            f"About {fitting:,} of its {body.rows:,} rows would fit: client.map(...) splits them."
            if fitting
            else "Not even one of its rows would fit: make the rows smaller."
        )
    else:
        advice = "It cannot be split: make the row smaller (fewer or shorter columns)."
    error = PayloadTooLarge(
        f"The request is {size:,} bytes; the endpoint accepts {limit_bytes:,}. {advice}"
    )
    error.size_bytes, error.limit_bytes = size, limit_bytes
    raise error


def _extras(
    params: Mapping[str, Any] | None,
    client_request_id: Any,
    usage_context: Mapping[str, str] | None,
    *,
    stream: bool,
) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    if params is not None:
        extras["params"] = _mapping("params", params)
    if client_request_id is not None:
        if not isinstance(client_request_id, str):
            kind = type(client_request_id).__name__
            raise refused(f"client_request_id must be text, not {kind}.")
        extras["client_request_id"] = client_request_id
    if usage_context is not None:
        labels = extras["usage_context"] = _mapping("usage_context", usage_context)
        for value in (*labels, *labels.values()):
            if not isinstance(value, str):
                kind = type(value).__name__
                raise refused(f"usage_context holds a {kind}; its names and values must be text.")
    if stream:
        extras["stream"] = True
    return extras


def _mapping(name: str, value: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise refused(f"{name} must be a dict, not {type(value).__name__}.")
    return dict(value)


def _records(rows: list[Any], extras: dict[str, Any] | None, settings: Payload) -> Body:
    if settings.floats != "exact" or settings.significant_digits is not None:
        rows = narrow.records(rows, settings)
    body: dict[str, Any] = {"dataframe_split": split_records(rows, settings)}
    if extras:
        body.update(extras)
    facts = (write(body, settings), len(rows), True)
    return tuple.__new__(Body, facts)  # its own __new__ is Python: 0.1 us


# ------------------------------------------------------------------------------- everything else


def _encode_other(inputs: Any, extras: dict[str, Any], settings: Payload) -> Body:
    if isinstance(inputs, Mapping):
        return _mapping_body(inputs, extras, settings)
    np, pd = dtypes.numpy(), frames.pandas()
    pl, pa = columnar.polars(), columnar.pyarrow()
    if pd is not None and isinstance(inputs, pd.DataFrame):
        return _split(frames.split(inputs, settings), len(inputs), extras, settings)
    if np is not None and isinstance(inputs, np.ndarray):
        return _array(inputs, extras, settings)
    if pl is not None and isinstance(inputs, pl.DataFrame):
        return _split(columnar.polars_split(inputs, settings), inputs.height, extras, settings)
    if pa is not None and isinstance(inputs, (pa.Table, pa.RecordBatch)):
        return _split(columnar.arrow_split(inputs, settings), inputs.num_rows, extras, settings)
    if isinstance(inputs, list) or type(inputs) is tuple:
        return _rows(list(inputs), extras, settings)
    raise refused(_no_input(inputs))


def _split(content: dict[str, Any], rows: int, extras: dict[str, Any], settings: Payload) -> Body:
    return _checked({"dataframe_split": content}, rows, extras, settings)


def _checked(
    body: dict[str, Any], rows: int | None, extras: dict[str, Any], settings: Payload
) -> Body:
    # the extras are Python data, which may not be written with numpy allowed: written apart
    data = write_checked(body, settings)
    if extras:
        data = data[:-1] + b"," + write(extras, settings)[1:]
    return Body(data, rows, True)


def _array(array: Any, extras: dict[str, Any], settings: Payload) -> Body:
    if array.dtype.names is not None:
        fields = {name: array[name] for name in array.dtype.names}
        body, rows = body_of_columns(fields, settings)
        return _checked(body, rows, extras, settings)
    return _checked({"inputs": arrays.tensor(array, settings)}, len(array), extras, settings)


def _rows(rows: list[Any], extras: dict[str, Any], settings: Payload) -> Body:
    if not rows:
        raise refused("The input has 0 rows: nothing to score. Skip the call.")
    if isinstance(rows[0], Mapping):
        return _records(rows, extras, settings)
    for position, row in enumerate(rows):
        if isinstance(row, Mapping):
            raise refused("The row is a dict among other rows. Make all rows dicts.", row=position)
    if narrow.is_on(settings):
        rows = narrow.records(rows, settings)
    return Body(write({"inputs": rows, **extras}, settings), len(rows), True)


def _mapping_body(given: Mapping[Any, Any], extras: dict[str, Any], settings: Payload) -> Body:
    if not is_body(given):
        body, count = body_of_columns(given, settings)
        return _checked(body, count, extras, settings)
    rows, wrapped = shape(given)
    twice = sorted((extras.keys() & given.keys()) - {"stream"})
    if twice:
        raise refused(
            f"{' and '.join(twice)} is given twice: in the body and as an argument. Keep one."
        )
    return Body(write({**given, **extras}, settings), rows, wrapped)


def _no_input(inputs: Any) -> str:
    kind = type(inputs)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__name__ in {"Series", "Index"}:
        return f"The input is a {name}. For one column pass series.to_frame()."
    if kind.__name__ == "LazyFrame":
        return "The input is a polars LazyFrame. Pass its collect()."
    if hasattr(inputs, "__next__"):
        return "The input can be read only once (a generator or iterator). Pass list(...) of it."
    if isinstance(inputs, (str, bytes, bytearray)):
        return (
            f"The input is one {kind.__name__}. Pass a list of rows, or a request body as a dict."
        )
    return (
        f"The input is of type {name}. Pass a pandas or polars DataFrame, an Arrow table, a list "
        "of dicts, a dict of columns, a numpy array, or a request body as a dict."
    )
