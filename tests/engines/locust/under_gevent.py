"""Runs where gevent has put its own sockets, threads and locks in place, as under Locust.

python under_gevent.py SCENARIO HOST TOKEN CA_FILE
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402

from servingclient import ServingClient  # noqa: E402
from servingclient._types import FaultKind, Origin, WireFault  # noqa: E402
from servingclient.errors import DeadlineExceeded  # noqa: E402
from servingclient.settings import Pool, Retry, Settings, Tls  # noqa: E402
from servingclient.transport.exchange import Limits  # noqa: E402
from servingclient.transport.lane import Lane  # noqa: E402

ROW = [{"a": 1.0, "b": 2.0}]


def client(endpoint: str = "demo", settings: Settings | None = None) -> ServingClient:
    _, _, host, token, ca_file = sys.argv
    settings = (settings or Settings()).replace(tls=Tls(ca_file=ca_file))
    login = {"token": token}
    if ":" in token:
        login = dict(zip(("client_id", "client_secret"), token.split(":"), strict=True))
    return ServingClient(endpoint, host=host, settings=settings, **login)


def ticking(ticks: list[float]) -> gevent.Greenlet:
    """Something that goes on only while nobody holds up the one thread there is."""

    def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.01)

    return gevent.spawn(tick)


def stalled() -> None:
    """An answer that does not come ends at the deadline, on the main greenlet and on others."""
    ticks: list[float] = []
    ticker = ticking(ticks)
    with client("stalled", Settings(timeout_s=4.0, retry=Retry(max_attempts=1))) as one:

        def late() -> None:
            began_s = time.monotonic()
            try:
                one.predict(ROW)
            except DeadlineExceeded:
                took_s = time.monotonic() - began_s
                assert 3.0 < took_s < 12.0, took_s
            else:
                raise AssertionError

        one.warmup()
        late()
        gevent.joinall([gevent.spawn(late) for _ in range(5)], raise_error=True)
        assert len(ticks) > 20
    ticker.kill()


def stalled_upload() -> None:
    """A body nobody reads ends at the deadline, and others go on meanwhile."""
    listener = socket.create_server(("127.0.0.1", 0))
    ticks: list[float] = []
    ticker = ticking(ticks)
    address = listener.getsockname()
    lane = Lane(
        Origin("http", *address), socket.create_connection(address), None, Limits(65536, 1 << 20)
    )
    began_s = time.monotonic()
    try:
        lane.exchange(b"", bytes(64 << 20), began_s + 0.5)
    except WireFault as fault:
        assert fault.kind is FaultKind.TIMEOUT, fault  # noqa: PT017 - no pytest here
    else:
        raise AssertionError
    assert time.monotonic() - began_s < 5.0
    assert len(ticks) > 10
    lane.close()
    ticker.kill()


def shared() -> None:
    """Fifty greenlets at one client, over eight lanes; one login for all of them."""
    with client("demo-fast", Settings(pool=Pool(max_lanes=8))) as one:
        calls = [gevent.spawn(one.predict, ROW) for _ in range(50)]
        gevent.joinall(calls, raise_error=True, timeout=15)
        assert len({id(call.value) for call in calls}) == 50
        assert threading.active_count() < 50


if __name__ == "__main__":
    assert socket.socket.__module__.startswith("gevent")
    {"stalled": stalled, "stalled_upload": stalled_upload, "shared": shared}[sys.argv[1]]()
    sys.stdout.write("done\n")
    sys.stdout.flush()
    os._exit(0)
