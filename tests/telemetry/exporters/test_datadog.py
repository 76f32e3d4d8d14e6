"""What an agent receives: datagrams on a real socket."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from datadog.dogstatsd.base import DogStatsd

from servingclient import BadRequest, ConfigError, ServingClient, Settings
from servingclient.emulator import Emulator, faults
from servingclient.integrations.datadog import PARTS, DatadogReporter
from servingclient.settings import Retry
from servingclient.telemetry.exported import METRICS, PREFIX
from tests.doors.kit import NUMBER, WORD, Door, Overheard, found_in, pat

QUICK = Settings(retry=Retry(backoff_base_s=0.001, throttled_base_s=0.001))
LINE = re.compile(r"([a-z0-9_.]+):([0-9.e+-]+)\|([cg])\|#(.+)")


class Datum(NamedTuple):
    """One line of a datagram."""

    name: str
    value: float
    kind: str
    tags: frozenset[str]


class Agent:
    """Listens on loopback as a Datadog agent does."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(5.0)
        self.statsd = DogStatsd(
            "127.0.0.1",
            self._socket.getsockname()[1],
            disable_telemetry=True,
            origin_detection_enabled=False,
        )
        self.datagrams = 0

    def heard(self) -> dict[tuple[str, frozenset[str]], Datum]:
        """All that has come, read until a mark that is sent now arrives."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as marking:
            marking.sendto(b"mark", self._socket.getsockname())
        found = []
        while True:
            lines = self._socket.recv(65536).decode().splitlines()
            if lines == ["mark"]:
                return {(one.name, one.tags): one for one in found}
            self.datagrams += 1
            for line in lines:
                match = LINE.fullmatch(line)
                assert match is not None, line
                name, value, kind, tags = match.groups()
                found.append(Datum(name, float(value), kind, frozenset(tags.split(","))))

    def close(self) -> None:
        self.statsd.close_socket()
        self._socket.close()


@pytest.fixture
def agent() -> Iterator[Agent]:
    one = Agent()
    yield one
    one.close()


DEMO = frozenset({"endpoint:demo"})
ANSWERED = frozenset({"endpoint:demo", "outcome:answered"})


def test_counts_are_sent_as_they_grow_and_gauges_as_they_are(
    door: Door, emulator: Emulator, agent: Agent
) -> None:
    reporter = DatadogReporter(agent.statsd)
    client = door.open("demo", pat(emulator), QUICK, observers=[reporter])
    emulator.script("demo", faults.throttled(), faults.ok(), faults.answer(400, "{}"))
    door.predict(client)
    with pytest.raises(BadRequest):
        door.predict(client)
    reporter.report()
    first = agent.heard()
    assert first["servingclient.call.attempts", DEMO][1:3] == (3, "c")
    assert first["servingclient.throttled", DEMO].value == 1
    errors = first["servingclient.call.errors", DEMO | {"error:BadRequest"}]
    assert errors[1:3] == (1, "c")
    assert first["servingclient.call.duration.count", ANSWERED][1:3] == (1, "c")
    assert first["servingclient.call.duration.p99", ANSWERED].kind == "g"
    assert first["servingclient.queue.depth", DEMO][1:3] == (0, "g")
    reporter.report()
    second = agent.heard()
    assert ("servingclient.call.attempts", DEMO) not in second, "nothing was added"
    assert ("servingclient.call.duration.p99", ANSWERED) not in second
    assert ("servingclient.concurrency.limit", DEMO) in second
    door.predict(client)
    reporter.report()
    third = agent.heard()
    assert third["servingclient.call.attempts", DEMO].value == 1
    assert third["servingclient.call.duration.count", ANSWERED].value == 1


def test_percentiles_are_of_the_calls_since_the_last_report(
    door: Door, emulator: Emulator, agent: Agent
) -> None:
    reporter = DatadogReporter(agent.statsd)
    client = door.open("demo", pat(emulator), QUICK, observers=[reporter])
    emulator.script("demo", faults.slow(0.3))
    door.predict(client)
    reporter.report()
    assert agent.heard()["servingclient.call.duration.p50", ANSWERED].value >= 0.3
    taken_s = [door.predict(client).timing.total_s for _ in range(5)]
    reporter.report()
    found = agent.heard()
    assert found["servingclient.call.duration.count", ANSWERED].value == 5
    assert found["servingclient.call.duration.max", ANSWERED].value < 1.01 * max(taken_s)
    spent_s = found["servingclient.call.duration.sum", ANSWERED].value
    assert spent_s == pytest.approx(sum(taken_s), rel=0.01)


def test_a_client_that_closes_between_reports_is_told_of(
    door: Door, emulator: Emulator, agent: Agent
) -> None:
    reporter = DatadogReporter(agent.statsd, tags=["env:test"])
    client = door.open("demo", pat(emulator), QUICK, observers=[reporter])
    door.predict(client)
    door.close(client)
    reporter.report()
    found = agent.heard()
    assert found["servingclient.call.attempts", DEMO | {"env:test"}].value == 1
    assert ("servingclient.queue.depth", DEMO | {"env:test"}) not in found


def test_it_reports_while_it_is_started_and_once_at_the_end(
    door: Door, emulator: Emulator, agent: Agent
) -> None:
    with DatadogReporter(agent.statsd, interval_s=0.01) as reporter:
        client = door.open("demo", pat(emulator), QUICK, observers=[reporter])
        reporter.start()  # once is enough
        assert sum(one.name == "servingclient-datadog" for one in threading.enumerate()) == 1
        door.predict(client)
        while ("servingclient.call.attempts", DEMO) not in agent.heard():
            pass
        door.predict(client)
    reporter.stop()
    assert not [one for one in threading.enumerate() if one.name == "servingclient-datadog"]


def test_values_share_datagrams(door: Door, emulator: Emulator, agent: Agent) -> None:
    reporter = DatadogReporter(agent.statsd)
    client = door.open("demo", pat(emulator), QUICK, observers=[reporter])
    door.predict(client)
    reporter.report()
    lines = agent.heard()
    assert len(lines) > 30
    assert agent.datagrams <= len(lines) / 5


def test_an_agent_that_is_not_there_costs_nothing(
    door: Door, emulator: Emulator, overheard: Overheard
) -> None:
    class Broken(DogStatsd):
        def gauge(self, *_: object, **__: object) -> None:
            raise OSError("no agent")

    statsd = Broken("127.0.0.1", 9, disable_telemetry=True)
    reporter = DatadogReporter(statsd)
    client = door.open("demo", pat(emulator), QUICK, observers=[reporter])
    door.predict(client)
    reporter.report()
    statsd.close_socket()
    assert "report_failed to=datadog" in overheard.text


def test_nothing_of_an_input_or_secret_is_sent(
    door: Door, emulator: Emulator, agent: Agent
) -> None:
    reporter = DatadogReporter(agent.statsd)
    who = pat(emulator)
    client = door.open("demo", who, QUICK, observers=[reporter])
    door.predict(client, [{"a": NUMBER, WORD: 1.0}], client_request_id="order-17")
    reporter.report()
    text = repr(agent.heard())
    assert found_in(text, [*who.secrets, WORD, str(NUMBER), "order-17", emulator.host]) == []


def test_all_names_come_from_the_table(door: Door, emulator: Emulator, agent: Agent) -> None:
    reporter = DatadogReporter(agent.statsd)
    client = door.open("demo", pat(emulator), QUICK, observers=[reporter])
    door.predict(client)
    reporter.report()
    histograms = {name for name, metric in METRICS.items() if metric.kind == "histogram"}
    known = {f"{PREFIX}{name}" for name in METRICS if name not in histograms}
    known |= {f"{PREFIX}{name}.{part}" for name in histograms for part in PARTS}
    assert {name for name, _ in agent.heard()} <= known


def test_a_child_sends_what_it_has_counted_itself(
    emulator: Emulator, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = pat(emulator)
    reporter = DatadogReporter(agent.statsd)
    parents = ServingClient("demo", host=who.host, **who.arguments, observers=[reporter])
    with parents:
        for _ in range(2):
            parents.predict([{"a": 1.0}])
        reporter.report()
    agent.heard()
    monkeypatch.setattr(os, "getpid", lambda: -1)  # both look it up there
    with ServingClient("demo", host=who.host, **who.arguments, observers=[reporter]) as client:
        for _ in range(3):
            client.predict([{"a": 1.0}])
    reporter.report()
    assert agent.heard()["servingclient.call.attempts", DEMO].value == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_report_under_way_at_a_fork_does_not_stop_the_child(
    emulator: Emulator, agent: Agent
) -> None:
    reporting, go_on = threading.Event(), threading.Event()

    class Slow(DogStatsd):
        def __enter__(self) -> DogStatsd:
            reporting.set()
            assert go_on.wait(10)
            return super().__enter__()

    slow = Slow("127.0.0.1", 9, disable_telemetry=True)
    reporter = DatadogReporter(slow)
    thread = threading.Thread(target=reporter.report)
    thread.start()
    assert reporting.wait(10)
    child = os.fork()
    if child == 0:
        go_on.set()
        signal.alarm(5)
        reporter.report()
        os._exit(0)
    go_on.set()
    thread.join()
    slow.close_socket()
    assert os.waitpid(child, 0)[1] == 0, "14: it waited for a thread that is not there"


@pytest.mark.parametrize("interval_s", [0, -1, float("nan"), float("inf")])
def test_an_interval_is_a_time(interval_s: float) -> None:
    with pytest.raises(ConfigError, match="interval_s"):
        DatadogReporter(interval_s=interval_s)
