"""Calls whose requests were encoded before the load began."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from servingclient._async_client import AsyncServingClient
from servingclient.loadtest.driving import Predict


def prepared(
    client: AsyncServingClient, inputs: Sequence[Any], options: Mapping[str, Any]
) -> Predict:
    """What makes the next call each time: the inputs in turn, each encoded once.

    Encoding is a tenth of a call's CPU and tells nothing of the endpoint. Where a model's signature
    decides how inputs are sent, or calls have labels of their own, they are encoded one by one.

    Args:
        client: Whose calls they are.
        inputs: What to send.
        options: Further arguments of ``predict``.

    Raises:
        PayloadError: An input cannot be sent; names row and column.
    """
    story = client._story  # noqa: SLF001 - the door encodes with each call
    if story.fits or not options.keys() <= {"served_model"}:
        each = itertools.cycle(inputs)
        return lambda: client.predict(next(each), **options)
    served_model, settings = options.get("served_model"), story.settings
    given = [(one, None, None, None) for one in inputs]
    bodies = itertools.cycle([story.encoded(one, served_model) for one in given])
    now, timeout_s, idempotent = story.world.now, settings.timeout_s, settings.idempotent
    rank = story.rank

    return lambda: story.score(
        story.call_of(next(bodies), now(), served_model, timeout_s, idempotent, rank)
    )
