"""Tokens that end soon: renewed behind the calls, and nobody is refused."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from servingclient import AsyncServingClient, ServingError, Settings
from servingclient.settings import Token
from tests.soak.callers import Calls, tasks
from tests.soak.session import Soak, tell_errors

TTL_S = 5.0
_RENEWALS = 110.0, 135.0
"""In 120 lives of a token, which are 10 minutes."""


def tokens(soak: Soak, part: str, share: float) -> None:
    """Tokens are renewed behind the calls, once in a life, and nobody is refused."""
    seconds = soak.seconds * share
    ttl_s = min(TTL_S, seconds / 4)

    async def run() -> None:
        # by default it would be renewed from half of its life on, so twice in each
        rules = Token(refresh_ahead_s=0.06 * ttl_s, refresh_jitter_s=0.0)
        client = AsyncServingClient(
            "demo",
            host=soak.endpoint.host,
            client_id=soak.endpoint.client_id,
            client_secret=soak.endpoint.client_secret,
            settings=Settings(token=rules),  # patient: it is tokens that are judged
        )
        calls = Calls()
        asked = soak.endpoint.tell(ttl_s=ttl_s)["tokens"]
        began_s = time.monotonic()
        await tasks(client, calls, seconds, 4, _paced)
        lasted_s = time.monotonic() - began_s
        logins = soak.endpoint.tell(ttl_s=3600.0)["tokens"] - asked
        await client.aclose()
        soak.judge(part, "calls", calls.made, least=1)
        soak.judge(part, "calls that failed", calls.made - calls.good, most=0)
        tell_errors(soak, part, calls)
        lives = lasted_s / ttl_s
        soak.judge(part, "token lives", lives, least=1)
        least = {"least": _RENEWALS[0]} if ttl_s == TTL_S else {}  # shorter lives end unrenewed
        refreshes = 120 * (logins - 1) / lives  # the first login renews nothing
        soak.judge(part, "renewals in 120 lives", refreshes, most=_RENEWALS[1], **least)

    asyncio.run(run())


async def _paced(client: Any, calls: Calls, number: int) -> str:
    try:
        prediction = await client.predict([{"id": float(number)}])
    except ServingError as error:
        return type(error).__name__
    calls.check(prediction.predictions, number)
    await asyncio.sleep(0.02)
    return "ok"
