"""The function for SQL: rows come as pandas batches, each row gets a struct."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from servingclient.errors import ConfigError
from servingclient.integrations.spark.scoring import Waiting, Work, paced


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores the arguments of a function.

    Attributes:
        work: What every worker is told.
        names: Columns the arguments are; None where a struct tells them.
        prediction_column: Name of the field of predictions.
        error_column: Name of the field of errors.
    """

    work: Work
    names: list[str] | None
    prediction_column: str
    error_column: str

    def function(self, returned: Any) -> Any:
        """As Spark takes it."""
        import pandas as pd
        from pyspark.sql.functions import pandas_udf

        def scored(batches: Iterator[Any]) -> Iterator[Any]:
            yield from self.frames(batches)

        # what pyspark goes by: several arguments, one struct back
        scored.__annotations__ = {
            "batches": Iterator[tuple[pd.Series, ...]],
            "return": Iterator[pd.DataFrame],
        }
        return pandas_udf(scored, returnType=returned)

    def frames(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Predictions and errors of each stretch of rows, in order."""
        import pandas as pd

        waiting = Waiting(len)
        inputs = waiting.noted(self.table(batch) for batch in batches)
        pieces = (
            frame.iloc[start : start + self.work.rows_per_request]
            for frame in inputs
            for start in range(0, len(frame), self.work.rows_per_request)
        )
        for block in self.work.scored(paced(pieces, self.work.pace)):
            values, errors = self.work.columns(block.predictions)
            start = 0
            for _, _, rows in waiting.answered(len(block.predictions)):
                # as objects: pandas would make floats of whole numbers beside a missing one
                yield pd.DataFrame(
                    {
                        self.prediction_column: pd.Series(
                            values[start : start + rows].to_pylist(), dtype=object
                        ),
                        self.error_column: pd.Series(
                            errors[start : start + rows].to_pylist(), dtype=object
                        ),
                    }
                )
                start += rows

    def table(self, batch: Any) -> Any:
        """The arguments of one batch as a frame with the names of the model.

        Raises:
            ConfigError: There are more or fewer than names.
        """
        import pandas as pd

        if isinstance(batch, pd.DataFrame):  # one struct
            return batch
        series = batch if isinstance(batch, tuple) else (batch,)
        if len(series) == 1 and isinstance(series[0], pd.DataFrame):
            return series[0]
        if self.names is None or len(series) != len(self.names):
            known = "no names for them" if self.names is None else f"{len(self.names)} names"
            raise ConfigError(
                f"The function got {len(series)} arguments and has {known}. Give it "
                "columns=[...], one name for each, or call it with one struct(...)."
            )
        return pd.DataFrame(dict(zip(self.names, series, strict=True)))
