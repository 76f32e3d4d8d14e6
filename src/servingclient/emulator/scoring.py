"""What the model server makes of a body, in the words of the reference server.

The texts are those of ``mlflow.pyfunc.scoring_server`` 3.17.2, so that a client meets the same
errors here.
"""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgpack as msgpack_format

from servingclient.emulator import json_text
from servingclient.emulator.wire import JSON, MSGPACK, TEXT, Reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORMATS = ("dataframe_records", "dataframe_split", "instances", "inputs")
_UNIFIED = ("messages", "prompt", "input")
_REQUIRED = (
    "The input must be a JSON dictionary with exactly one of the input fields "
    "{'dataframe_records', 'dataframe_split', 'instances', 'inputs'}"
)
_CHANGED = (
    "IMPORTANT: The MLflow Model scoring protocol has changed in MLflow version 2.0. If you are"
    " seeing this error, you are likely using an outdated scoring request format. To resolve the"
    " error, either update your request format or adjust your MLflow Model's requirements file to"
    " specify an older version of MLflow (for example, change the 'mlflow' requirement specifier"
    " to 'mlflow==1.30.0'). If you are making a request using the MLflow client"
    " (e.g. via `mlflow.pyfunc.spark_udf()`), upgrade your MLflow client to a version >= 2.0 in"
    " order to use the new request format. For more information about the updated MLflow"
    " Model scoring protocol in MLflow 2.0, see"
    " https://mlflow.org/docs/latest/models.html#deploy-mlflow-models."
)
_EVALUATION_FAILED = (
    "Encountered an unexpected error while evaluating the model. Verify"
    " that the serialized input Dataframe is compatible with the model for"
    " inference."
)


class Refused(Exception):  # noqa: N818 - the model server's answer, not a failure of ours
    """The body is not accepted."""

    def __init__(self, reply: Reply) -> None:
        """Carry the reply to send."""
        super().__init__(reply.status)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Parsed:
    """A body that was understood."""

    data: Any
    """Rows as dicts for the ``dataframe_*`` forms, the raw value otherwise."""
    form: str
    rows: int | None
    params: Any
    client_request_id: str | None
    stream: bool
    columns: list[Any] | None = None
    """Column names of a ``dataframe_split``, which has them even without rows."""


def bad_request(message: str, **extra: str) -> Reply:
    """Return the reference server's 400 for a bad body."""
    return json_reply(
        400,
        {
            "error_code": "BAD_REQUEST",
            "message": message,
            "sqlstate": "KAM00",
            "error_class": "INVALID_PARAMETER_VALUE",
            **extra,
        },
    )


def invalid(message: str) -> Refused:
    """Return the refusal of an input, in the reference server's form."""
    return Refused(bad_request(f"Invalid input. {message}"))


def schema_failure(message: str) -> Refused:
    """Return the refusal by the model's signature."""
    return Refused(
        json_reply(
            400,
            {
                "error_code": "INVALID_PARAMETER_VALUE",
                "message": message,
                "sqlstate": "KAM01",
                "error_class": "SCHEMA_ENFORCEMENT_FAILED",
            },
        )
    )


def invalid_params(message: str) -> Refused:
    """Return the refusal of ``params``."""
    return Refused(
        json_reply(
            400,
            {
                "error_code": "INVALID_PARAMETER_VALUE",
                "message": message,
                "sqlstate": "KAM00",
                "error_class": "INVALID_PARAMETER_VALUE",
            },
        )
    )


def evaluation_failed(failure: BaseException) -> Reply:
    """Return the 400 for an exception in model code, stack trace and all."""
    return bad_request(_EVALUATION_FAILED, stack_trace="".join(traceback.format_exception(failure)))


def read(content_type: str | None, body: bytes, *, msgpack: bool) -> Parsed:
    """Read a body of a content type.

    Args:
        content_type: the label of the body.
        body: as it was sent, or inflated.
        msgpack: whether that is taken too.

    Raises:
        Refused: with the 415 or 500 of the reference server; CSV and Parquet are refused too, since
            only JSON is documented for the service. With its 400 when the body is no input.
    """
    if msgpack and content_type == MSGPACK:
        return _parse(_unpack(body))
    _check_content_type(content_type)
    return _parse(_decode(body))


def _check_content_type(content_type: str | None) -> None:
    if content_type == JSON:
        return
    if content_type is None:
        raise Refused(Reply(500, b"Internal Server Error", TEXT))
    mime, *pairs = (part.strip() for part in content_type.split(";"))
    parameters = {pair.partition("=")[0]: pair.partition("=")[2] for pair in pairs}
    if parameters.get("charset", "utf-8").lower() != "utf-8":
        raise unsupported("The scoring server only supports UTF-8")
    if unknown := set(parameters) - {"charset"}:
        raise unsupported(f"Unrecognized content type parameters: {', '.join(unknown)}. {_CHANGED}")
    if mime != JSON:
        known = ["text/csv", JSON, "application/vnd.apache.parquet"]
        listed = [JSON] if mime in known else known
        raise unsupported(
            "This predictor only supports the following content types:"
            f" Types: {listed}. Got '{content_type}'."
        )


def unsupported(text: str) -> Refused:
    """Return the refusal of what a body is labelled as."""
    return Refused(Reply(415, text.encode(), TEXT))


def _parse(value: object) -> Parsed:
    value = _a_dictionary(value)
    forms = [key for key in value if key in _FORMATS]
    if any(key in value for key in _UNIFIED):
        return Parsed(value, "unified", None, None, _request_id(value), bool(value.get("stream")))
    if len(forms) != 1:
        raise Refused(
            bad_request(f"{_REQUIRED}. Received dictionary with input fields: {forms}. {_CHANGED}")
        )
    form = forms[0]
    data, rows = _READERS[form](value[form])
    return Parsed(
        data,
        form,
        rows,
        value.get("params"),
        _request_id(value),
        bool(value.get("stream")),
        value[form].get("columns") if form == "dataframe_split" else None,
    )


def peek_client_request_id(body: bytes) -> str | None:
    """Return the ``client_request_id`` of a body that is otherwise not looked at."""
    try:
        value = json_text.loads(body)
    except (ValueError, RecursionError):
        return None
    return _request_id(value) if isinstance(value, dict) else None


def _request_id(value: Mapping[str, Any]) -> str | None:
    found = value.get("client_request_id")
    return found if isinstance(found, str) else None


def _decode(body: bytes) -> object:
    try:
        return json_text.loads(body)
    except RecursionError:  # the reference server does not catch it
        raise Refused(Reply(500, b"Internal Server Error", TEXT)) from None
    except ValueError as wrong:
        message = "Ensure that input is a valid JSON formatted string. "
        raise invalid(f"{message}Error: '{wrong!r}'\nInput: \n{body!r}\n") from None


def _unpack(body: bytes) -> object:
    try:
        return msgpack_format.unpackb(body)
    except (ValueError, msgpack_format.UnpackException) as wrong:
        raise invalid(f"Ensure that input is valid MessagePack. Error: '{wrong!r}'") from None


def _a_dictionary(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        raise invalid(f"{_REQUIRED}. Received a list.")
    raise invalid(f"{_REQUIRED}. Received unexpected input type '{type(value)}.")


def _read_split(value: Any) -> tuple[Any, int]:
    if not isinstance(value, dict):
        got = "list" if isinstance(value, list) else f"type {type(value)}"
        raise invalid(f"Dataframe split format must be a dictionary. Got {got}.")
    if "data" not in value or value.keys() - {"columns", "data", "index"}:
        raise invalid(
            "Dataframe split format must have 'data' field and optionally 'columns' "
            f"and 'index' fields. Got {set(value)}.'"
        )
    data, columns = value["data"], value.get("columns")
    if not isinstance(data, list):
        raise _bad_frame("split", "DataFrame constructor not properly called!")
    data = [row if isinstance(row, list) else [row] for row in data]
    widest = max(map(len, data), default=0)
    if columns is None:
        columns = range(widest)
    elif data and widest != len(columns):
        text = f"{len(columns)} columns passed, passed data had {widest} columns"
        raise _bad_frame("split", text)
    return [dict(zip_longest(columns, row, fillvalue=math.nan)) for row in data], len(data)


def _read_records(value: Any) -> tuple[Any, int]:
    if not isinstance(value, list):
        got = "dictionary" if isinstance(value, dict) else f"type {type(value)}"
        raise invalid(f"Dataframe records format must be a list of records. Got {got}.")
    rows = [row if isinstance(row, dict) else {0: row} for row in value]
    if rows and any(row.keys() != rows[0].keys() for row in rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        rows = [{name: row.get(name, math.nan) for name in names} for row in rows]
    return rows, len(rows)


def _read_instances(value: Any) -> tuple[Any, int | None]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        if any(not isinstance(row, dict) or row.keys() != value[0].keys() for row in value):
            raise invalid("The length of values for each input/column name are not the same")
        return value, len(value)
    return _read_inputs(value)


def _read_inputs(value: Any) -> tuple[Any, int | None]:
    if isinstance(value, dict):
        first = next(iter(value.values()), None)
        return value, len(first) if isinstance(first, list) else None
    if not isinstance(value, list):
        return value, None
    if len({len(row) if isinstance(row, list) else None for row in value}) > 1:
        raise invalid(
            "setting an array element with a sequence. The requested array has an inhomogeneous "
            "shape after 1 dimensions. The detected shape was "
            f"({len(value)},) + inhomogeneous part."
        )
    return value, len(value)


def _bad_frame(orient: str, text: str) -> Refused:
    return invalid(
        f"Provided dataframe_{orient} field is not a valid dataframe representation in "
        f"'{orient}' format. Error: '{text}'"
    )


_READERS = {
    "dataframe_split": _read_split,
    "dataframe_records": _read_records,
    "instances": _read_instances,
    "inputs": _read_inputs,
}
