"""What a client's stages make of the rows and predictions of a bulk job: one for one. Pure.

Those before a request get the rows as they were read, some hundreds or thousands at a time, in
turn and where results are asked for; ``postprocess`` gets the predictions as they are handed out.
So a checkpoint holds what the model said of rows as they were given, whatever runs around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from servingclient.bulk.results import Block
from servingclient.bulk.rows import Rows, count, is_sliceable
from servingclient.errors import ConfigError, ServingError
from servingclient.stages.staging import Span, Staging


class RowStages:
    """The stages of one job.

    Args:
        staging: Runs them.
        timeout_s: Seconds for those around one request.
        now: The client's clock.
    """

    def __init__(self, staging: Staging, timeout_s: float, now: Callable[[], float]) -> None:
        self._staging = staging
        self._timeout_s = timeout_s
        self._now = now

    async def before(self, rows: Rows) -> Rows:
        """What is sent for some rows.

        Raises:
            ConfigError: It is not a row for each.
            Exception: As for ``Staging.before``.
        """
        staging = self._staging
        staging.begin()
        try:
            prepared = await staging.before(rows, Span(self._now(), self._timeout_s))
        finally:
            staging.end()
        made, given = prepared.inputs, count(rows)
        found = count(made) if is_sliceable(made) else None
        if found != given:
            what = _of_type(made) if found is None else f"{found:,} rows"
            raise ConfigError(
                f"preprocess and enrich made {what} of {given:,} rows. In map each row gets its "
                "prediction, so they must return one row for each, in order."
            )
        return made

    async def after(self, block: Block) -> Block:
        """What is handed out for some predictions; errors among them stay as they are.

        Raises:
            ConfigError: It is not a value for each.
            Exception: As for ``Staging.after``.
        """
        staging, values = self._staging, block.predictions
        good = [at for at, value in enumerate(values) if not isinstance(value, ServingError)]
        if staging.stages.postprocess is None or not good:
            return block
        staging.begin()
        try:
            span = Span(self._now(), self._timeout_s)
            made = await staging.after([values[at] for at in good], None, span)
        finally:
            staging.end()
        told = list(values)
        for at, value in zip(good, _listed(made, len(good)), strict=True):
            told[at] = value
        return Block(block.start_row, told)


def _listed(made: Any, wanted: int) -> list[Any]:
    """What ``postprocess`` returned, if it is a value for each prediction."""
    found = made.tolist() if hasattr(made, "tolist") else made
    is_list = isinstance(found, (list, tuple))
    if is_list and len(found) == wanted:
        return list(found)
    what = f"{len(found):,} values" if is_list else _of_type(made)
    raise ConfigError(
        f"postprocess made {what} of {wanted:,} predictions. In map it must return a list or array "
        "with one value for each, in order."
    )


def _of_type(made: object) -> str:
    return f"an object of type {type(made).__name__}"
