"""Score a few rows with the blocking client, and say what the call cost.

Host and credentials come from Databricks unified authentication: environment, profile, notebook.

    python examples/score.py ENDPOINT
"""

import sys

from servingclient import ServingClient, ServingError

ROWS = [{"amount": 12.5, "country": 1}, {"amount": 980.0, "country": 7}]


def main(endpoint: str) -> int:
    with ServingClient(endpoint) as client:
        try:
            prediction = client.predict(ROWS)
        except ServingError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(prediction.predictions)
    for attempt in prediction.attempts:
        outcome = attempt.cause or attempt.status
        print(f"waited {attempt.wait_s:.3f} s, then {outcome} in {attempt.duration_s:.3f} s")
    print(f"{prediction.timing.total_s:.3f} s in all, request id {prediction.request_id}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
