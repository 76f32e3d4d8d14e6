"""Scoring on Ray Data: ``pip install 'ray[data]'``.

::

    scored = ray.data.read_parquet("rows/").map_batches(
        Scorer,
        fn_constructor_args=("fraud-model",),
        fn_constructor_kwargs={"concurrency": 8},
        batch_size=8_000,
        concurrency=2,
    )

Ray makes one ``Scorer`` in each of its actors, here two: settings travel, clients do not. Together
they have 16 requests under way. Nothing of Ray is imported here: what a batch comes as (numpy with
pandas, pandas, Arrow) is all that a ``Scorer`` needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from servingclient._client import ServingClient
from servingclient.errors import ConfigError, ServingError
from servingclient.settings import Settings


class Scorer:
    """Scores batches of Ray Data: numpy, pandas or Arrow, each comes back as what it was.

    A row that is refused or fails has no prediction, and says why in the column of errors. Numbers
    are 64-bit floats in every batch, whatever the model's JSON makes of them: blocks of a dataset
    must agree. A batch without a prediction is like the one before in this actor; where that is the
    first, it is taken for numbers.

    Args:
        endpoint: Name of the serving endpoint.
        host: The workspace.
        token: Of a user. None of this and the next two is Databricks unified authentication, by
            each actor for itself.
        client_id: Of a service principal.
        client_secret: Of a service principal.
        settings: Of the client.
        columns: Columns to send; all of them unless given.
        prediction_column: Name of the column of predictions.
        error_column: Name of the column of errors.
        rows_per_request: Rows in each request; None follows ``settings.bulk``.
        concurrency: Requests at once of one actor. Times the number of actors it is what the
            endpoint sees.
        timeout: Seconds for each request.

    Raises:
        ConfigError: Credentials contradict each other, or a number is none that can be.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        host: str | None = None,
        token: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        settings: Settings | None = None,
        columns: Sequence[str] | None = None,
        prediction_column: str = "prediction",
        error_column: str = "prediction_error",
        rows_per_request: int | None = None,
        concurrency: int | None = None,
        timeout: float | None = None,
    ) -> None:
        self._client = ServingClient(
            endpoint,
            host=host,
            token=token,
            client_id=client_id,
            client_secret=client_secret,
            settings=settings,
        )
        self._columns = None if columns is None else list(columns)
        self._names = (prediction_column, error_column)
        self._kind: type = float
        self._bulk: dict[str, Any] = {
            "rows_per_request": rows_per_request,
            "concurrency": concurrency,
            "timeout": timeout,
        }

    def __call__(self, batch: Any) -> Any:
        """The batch with a column of predictions and one of errors.

        Args:
            batch: A mapping of numpy arrays, a pandas frame or an Arrow table.

        Raises:
            ConfigError: It lacks a column that is to be sent, has one of the result already, or
                comes as numpy arrays where pandas is not installed.
        """
        names = list(batch) if isinstance(batch, Mapping) else list(_names_of(batch))
        sent = names if self._columns is None else self._columns
        if lacking := [name for name in sent if name not in names]:
            raise ConfigError(
                f"The rows have no column {', '.join(lacking)}; columns= asks for it."
            )
        if there := [name for name in self._names if name in names]:
            raise ConfigError(
                f"The rows have a column {there[0]} already: name the result otherwise, with "
                "prediction_column= and error_column=."
            )
        found: list[Any] = list(
            self._client.map(_rows(batch, sent), on_error="return", **self._bulk)
        )
        predictions, errors = _apart(found)
        self._kind = _kind(predictions, self._kind)
        columns = (_Column(predictions, self._kind), _Column(errors, str))
        return _with(batch, dict(zip(self._names, columns, strict=True)))


class _Column(NamedTuple):
    """What is added to a batch.

    Attributes:
        cells: One for each row; None where there is none.
        kind: Of all of them; ``object`` where they differ.
    """

    cells: Sequence[Any]
    kind: type


def _names_of(batch: Any) -> Sequence[str]:
    names = getattr(batch, "column_names", None)  # of Arrow
    return list(batch.columns if names is None else names)


def _rows(batch: Any, sent: list[str]) -> Any:
    """What ``map`` takes of it."""
    if not isinstance(batch, Mapping):
        return batch.select(sent) if hasattr(batch, "column_names") else batch[sent]
    try:
        import pandas as pd
    except ImportError:
        raise ConfigError(
            "Scoring numpy batches of Ray Data needs pandas, which is not installed here. Install "
            "it with: pip install 'ray[data]' pandas (on every node of the cluster)."
        ) from None
    columns = {name: batch[name] for name in sent}
    return pd.DataFrame({name: list(one) if one.ndim > 1 else one for name, one in columns.items()})


def _apart(found: list[Any]) -> tuple[list[Any], list[str | None]]:
    """Predictions, and why there is none."""
    failed = [isinstance(one, ServingError) for one in found]
    errors = [
        f"{type(one).__name__}: {one}" if bad else None
        for one, bad in zip(found, failed, strict=True)
    ]
    values = [None if bad else one for one, bad in zip(found, failed, strict=True)]
    if all(one is None or type(one) in (int, float) for one in values):
        return [None if one is None else float(one) for one in values], errors
    return values, errors


def _kind(values: Sequence[Any], before: type) -> type:
    """The type of all values; where there is none, that of ``before``."""
    kinds = {type(one) for one in values if one is not None}
    if not kinds:
        return before
    return kinds.pop() if len(kinds) == 1 else object


def _with(batch: Any, added: Mapping[str, _Column]) -> Any:
    """The batch with more columns."""
    if hasattr(batch, "column_names"):
        import pyarrow as pa

        types = {float: pa.float64(), str: pa.string()}  # Arrow says what others are
        for name, column in added.items():
            batch = batch.append_column(name, pa.array(column.cells, types.get(column.kind)))
        return batch
    arrays = {name: _array(column) for name, column in added.items()}
    return {**batch, **arrays} if isinstance(batch, Mapping) else batch.assign(**arrays)


def _array(column: _Column) -> Any:
    """Floats with NaN where there is none; anything else as it is."""
    import numpy as np

    if column.kind is float:
        return np.array(column.cells, dtype=np.float64)
    array = np.empty(len(column.cells), dtype=object)
    array[:] = column.cells
    return array
