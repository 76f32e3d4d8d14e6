"""The endpoint that the service calls, on this machine: a risk for each payment. Ctrl-C ends it."""

import sys
import threading

from servingclient.emulator import Emulator


def risks(payments: list[dict[str, float]]) -> list[float]:
    """The more, the riskier."""
    return [payment["amount"] / (payment["amount"] + 1000.0) for payment in payments]


def main() -> int:
    with Emulator(tls=False) as emulator:
        emulator.add_endpoint("fraud-model", risks)
        print(f"export DATABRICKS_HOST={emulator.host}")
        print(f"export DATABRICKS_TOKEN={emulator.token}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
