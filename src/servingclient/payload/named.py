"""The named columns of an input, whatever holds them: to look at one, or to leave some out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from servingclient.payload import columnar, dtypes, frames
from servingclient.payload.body import is_body
from servingclient.settings import Payload


class Named(NamedTuple):
    """An input by its columns.

    Attributes:
        names: Their names, as they are sent.
        columns: The columns in the same order, as what holds them has them.
        keep: The same kind of input with the columns at these positions only.
    """

    names: list[str]
    columns: Callable[[], Iterable[Any]]
    keep: Callable[[list[int]], Any]

    def without(self, names: Collection[str]) -> Any:
        """The input less the columns of these names."""
        return self.keep([at for at, name in enumerate(self.names) if name not in names])


def named(inputs: Any, settings: Payload) -> Named | None:
    """The columns of an input; None where it has none, or is a body of the caller's own.

    Args:
        inputs: Any input, malformed ones included: those have none.
        settings: ``stringify_columns`` decides about names that are no strings.
    """
    np, pd = dtypes.numpy(), frames.pandas()
    pl, pa = columnar.polars(), columnar.pyarrow()
    if isinstance(inputs, Mapping):
        found = None if is_body(inputs) else _mapping(inputs)
    elif isinstance(inputs, (list, tuple)):
        found = _records(inputs)
    elif pd is not None and isinstance(inputs, pd.DataFrame):
        found = _pandas(inputs)
    elif np is not None and isinstance(inputs, np.ndarray):
        fields = inputs.dtype.names
        found = None if fields is None else _mapping({name: inputs[name] for name in fields})
    elif pl is not None and isinstance(inputs, pl.DataFrame):
        found = _polars(inputs)
    elif pa is not None and isinstance(inputs, (pa.Table, pa.RecordBatch)):
        found = Named(inputs.schema.names, lambda: inputs.columns, inputs.select)
    else:
        found = None
    if found is not None and settings.stringify_columns:
        return found._replace(names=[str(name) for name in found.names])
    return found


def values(column: Any) -> Any:
    """The values of a column: a numpy array, or a list of Python values."""
    pd, pl, pa = frames.pandas(), columnar.polars(), columnar.pyarrow()
    if isinstance(column, (list, tuple)) or dtypes.is_numpy(column):
        return column
    if pd is not None and isinstance(column, pd.Series):
        plain = isinstance(column.dtype, dtypes.numpy().dtype) and column.dtype.kind != "O"
        return column.values if plain else column.tolist()
    if pl is not None and isinstance(column, pl.Series):
        return column.to_list()
    if pa is not None and isinstance(column, (pa.Array, pa.ChunkedArray)):
        return column.to_pylist()
    return list(column) if hasattr(column, "__iter__") else []


def _mapping(given: Mapping[Any, Any]) -> Named | None:
    if any(dtypes.is_numpy(column) and column.ndim != 1 for column in given.values()):
        return None  # tensors, which have a signature of another kind
    names = list(given)
    return Named(names, given.values, lambda kept: {names[at]: given[names[at]] for at in kept})


def _records(rows: list[Any] | tuple[Any, ...]) -> Named | None:
    if not rows or not isinstance(rows[0], Mapping):
        return None
    names = list(rows[0])
    if not all(isinstance(row, Mapping) and row.keys() == rows[0].keys() for row in rows):
        return None  # encoding says which row it is
    return Named(
        names,
        lambda: ([row[name] for row in rows] for name in names),
        lambda kept: [{names[at]: row[names[at]] for at in kept} for row in rows],
    )


def _pandas(frame: Any) -> Named | None:
    if getattr(frame.columns, "nlevels", 1) > 1:
        return None
    return Named(
        frame.columns.tolist(),
        lambda: (series for _, series in frame.items()),
        lambda kept: frame.iloc[:, kept],
    )


def _polars(frame: Any) -> Named:
    names = frame.columns
    return Named(names, frame.get_columns, lambda kept: frame.select([names[at] for at in kept]))
