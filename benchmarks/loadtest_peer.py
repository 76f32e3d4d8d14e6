"""One contender of the load-test benchmark in a process of its own: 16 callers in a closed loop.

    python loadtest_peer.py CONTENDER HOST CA_FILE SECONDS

prints one line of JSON: requests, and CPU seconds of this process, both after a warm-up of 1 s.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

CALLERS, WARM_S = 16, 1.0
ROW = {"dataframe_split": {"columns": ["a", "b"], "data": [[1.0, 2.0]]}}
BODY = json.dumps(ROW)
PATH = "/serving-endpoints/fraud-model/invocations"
HEADERS = {"Authorization": "Bearer t", "Content-Type": "application/json"}


def ours(host: str, ca_file: str, seconds: float) -> tuple[int, float]:
    """The driver as a generating process runs it, with its reports."""
    import asyncio

    from servingclient import AsyncServingClient
    from servingclient.loadtest.driving import Driver
    from servingclient.loadtest.prepared import prepared
    from servingclient.loadtest.series import Series
    from servingclient.loadtest.worker import load_settings
    from servingclient.settings import Settings, Tls

    settings = load_settings(Settings(tls=Tls(ca_file=ca_file)), in_flight=1024, timeout_s=30.0)

    async def load() -> tuple[int, float]:
        async with AsyncServingClient(
            "fraud-model", host=host, token="t", settings=settings
        ) as client:
            predict = prepared(client, [ROW], {})
            await Driver(predict).closed_loop(CALLERS, WARM_S)
            driver, series, cpu_s = Driver(predict), Series(1.0), time.process_time()
            await driver.closed_loop(CALLERS, seconds)
            series.take(driver.ended)
            [second.encode() for second in series.seconds.values()]
            assert not any(call.error for call in driver.ended)
            return len(driver.ended), time.process_time() - cpu_s

    return asyncio.run(load())


def fast_http_user(host: str, ca_file: str, seconds: float) -> tuple[int, float]:
    del ca_file  # it has no setting for an authority of one's own
    import gevent.monkey

    gevent.monkey.patch_all()
    from locust import FastHttpUser, constant

    class Caller(FastHttpUser):
        insecure = True
        wait_time = constant(0)
        tasks = (lambda user: user.client.post(PATH, data=BODY, headers=HEADERS),)

    return locust(Caller, host, seconds)


def http_user(host: str, ca_file: str, seconds: float) -> tuple[int, float]:
    import gevent.monkey

    gevent.monkey.patch_all()
    from locust import HttpUser, constant

    class Caller(HttpUser):
        wait_time = constant(0)
        tasks = (lambda user: user.client.post(PATH, data=BODY, headers=HEADERS),)

        def on_start(self) -> None:
            self.client.verify = ca_file

    return locust(Caller, host, seconds)


def locust(kind: type, host: str, seconds: float) -> tuple[int, float]:
    import gevent
    from locust.env import Environment

    kind.host = host  # type: ignore[attr-defined]
    environment = Environment(user_classes=[kind])
    runner = environment.create_local_runner()
    runner.start(CALLERS, spawn_rate=CALLERS)
    gevent.sleep(WARM_S)
    cpu_s, before = time.process_time(), environment.stats.total.num_requests
    gevent.sleep(seconds)
    count = environment.stats.total.num_requests - before
    cpu_s = time.process_time() - cpu_s
    assert not environment.stats.total.num_failures
    runner.quit()
    return count, cpu_s


CONTENDERS: dict[str, Callable[[str, str, float], tuple[int, float]]] = {
    "servingclient": ours,
    "FastHttpUser": fast_http_user,
    "HttpUser": http_user,
}

if __name__ == "__main__":
    _, name, host, ca_file, seconds = sys.argv
    count, cpu_s = CONTENDERS[name](host, ca_file, float(seconds))
    print(json.dumps({"requests": count, "cpu_s": cpu_s}), flush=True)
