"""A client that sends a body as it is and returns the whole reply, for code written for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servingclient._client import ServingClient
from servingclient._prediction import Prediction
from servingclient._step import run
from servingclient.payload.body import Body, write


class VerbatimClient(ServingClient):
    """Calls one endpoint with bodies as they are; deadline, retries and token as ever."""

    def answer(self, body: Mapping[str, Any]) -> Prediction:
        """Send one body.

        Args:
            body: All of it: nothing is checked but that it can be written, nothing added.

        Returns:
            A prediction whose ``predictions`` are the whole reply, with what stands beside them.

        Raises:
            PayloadError: The body has no JSON form, or is too large.
            ServingError: Any other failure.
        """
        story, settings = self._story, self.settings
        started_s = story.world.now()
        data = write(body, settings.payload)
        sent = Body(data, None, wrapped=False)
        call = story.call_of(
            sent, started_s, None, settings.timeout_s, settings.idempotent, story.rank
        )
        return run(story.score(call))
