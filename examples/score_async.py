"""Score many rows with the async client, a call each, all at once.

Connections, token and retry quota are shared; calls beyond what the endpoint takes wait in order.

    python examples/score_async.py ENDPOINT
"""

import asyncio
import sys

from servingclient import AsyncServingClient, ServingError

ROWS = [{"amount": 10.0 * n, "country": n % 9} for n in range(100)]


async def main(endpoint: str) -> int:
    async with AsyncServingClient(endpoint) as client:
        await client.warmup()
        calls = [client.predict([row]) for row in ROWS]
        results = await asyncio.gather(*calls, return_exceptions=True)
    failed = [result for result in results if isinstance(result, ServingError)]
    slowest_s = max(
        (r.timing.total_s for r in results if not isinstance(r, BaseException)), default=0
    )
    print(
        f"{len(results) - len(failed)} of {len(results)} calls answered, slowest {slowest_s:.3f} s"
    )
    for error in failed[:3]:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(sys.argv[1])))
