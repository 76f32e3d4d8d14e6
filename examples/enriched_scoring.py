"""Score payments with what another service knows of their users, and say where the time went.

The service is asked once for each user, however often they pay; when it is slow, limits calls or is
down, predictions go on with what is known, or with an average. It answers ``GET /users/{id}`` with
``{"score": ...}``, as the emulator's external API does.

    python examples/enriched_scoring.py ENDPOINT https://users.example.com
"""

import sys
from collections.abc import Mapping

from servingclient import EnrichmentClient, EnrichmentSettings, ServingClient, ServingError

AVERAGE = 0.5
Payment = Mapping[str, float]
PAYMENTS = [
    {"user": 7, "amount": 12.5},
    {"user": 8, "amount": 980.0},
    {"user": 7, "amount": 3.0},
    {"user": 10**9, "amount": 40.0},
]


def scored(payments: list[Payment], scores: Mapping[float, float]) -> list[Payment]:
    """The rows that the model takes."""
    return [
        {"amount": paid["amount"], "score": scores.get(paid["user"], AVERAGE)} for paid in payments
    ]


def main(endpoint: str, users_url: str) -> int:
    on_loopback = users_url.startswith("http://")  # plain http goes nowhere else
    settings = EnrichmentSettings(timeout_s=2.0, allow_private_hosts=on_loopback)
    with EnrichmentClient(users_url, ttl=300.0, settings=settings) as users:

        def enrich(payments: list[Payment]) -> list[Payment]:
            found = users.get_many("/users/{id}", {paid["user"] for paid in payments})
            return scored(
                payments, {user: got.value["score"] for user, got in found.items() if got.found}
            )

        with ServingClient(
            endpoint,
            enrich=enrich,
            on_enrichment_error=lambda payments, _error: scored(payments, {}),
            postprocess=lambda risks: [round(risk, 3) for risk in risks],
            apis=[users],
        ) as client:
            try:
                prediction = client.predict(PAYMENTS)
                again = client.predict(PAYMENTS)
            except ServingError as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                return 1
            print(prediction.predictions, prediction.enrichment_error or "enriched")
            timing = prediction.timing
            print(f"{timing.enrich_s:.4f} s of {timing.total_s:.4f} s for the users")
            print(f"{again.timing.enrich_s:.4f} s when they are known")
            (api,) = client.stats().enrichment
            print(f"{api.calls} users asked for, {api.requests} requests, {api.hits} kept")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
