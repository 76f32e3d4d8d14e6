"""The stage of a row, the form that was asked for, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from servingclient.emulator import Emulator
from tests.chaos.endpoint import Endpoint
from tests.chaos.form import SHORT_SCALE, Form
from tests.chaos.kit import Stage
from tests.chaos.matrix import ROWS
from tests.chaos.workspace import JOURNAL_LIMIT, Emulated, WorkspaceStage
from tests.enrichment.redis.conftest import server as redis_server  # noqa: F401 - found by name
from tests.faults.proxy import FaultProxy
from tests.scripted.certificates import Authority, authority  # noqa: F401 - found by name

_LEAST_S, _LONGEST_ROW_S = 60.0, 1200.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--scale``: seen when this folder is named on the command line, as ``make chaos`` does."""
    parser.addoption(
        "--scale",
        type=float,
        default=None,
        help="run the whole chaos matrix; 1 is its long form, 0.1 takes a tenth of the time",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without ``--scale`` this folder's ``soak`` tests are left out; with it they may take long."""
    here = [item for item in items if "tests/chaos/" in item.path.as_posix()]
    scale = config.getoption("--scale", None)
    if scale is None:
        out = [item for item in here if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in set(out)]
        for item in here:  # a row takes 5 s, and all that a busy machine adds
            item.add_marker(pytest.mark.timeout(_LEAST_S))
        return
    for item in here:
        item.add_marker(pytest.mark.timeout(_LEAST_S + _LONGEST_ROW_S * scale))


@pytest.fixture
def form(pytestconfig: pytest.Config) -> Form:
    """How long things take."""
    scale = pytestconfig.getoption("--scale", None)
    return Form(SHORT_SCALE if scale is None else scale)


@pytest.fixture
def stage(request: pytest.FixtureRequest, form: Form, authority: Authority) -> Iterator[Stage]:  # noqa: F811 - the fixture
    """An endpoint behind a fault proxy. ``rows`` chooses the kinds of clients."""
    kind = getattr(request, "param", "lanes")
    tls = authority.good() if kind in ("tls", "sync tls") else None
    with Endpoint() as endpoint, FaultProxy(endpoint.port, tls=tls) as proxy:
        properties = request.node.user_properties
        ca_file = authority.ca_file if tls else None
        yield Stage(form, kind, endpoint, proxy, properties, ca_file=ca_file)


@pytest.fixture
def workspace(request: pytest.FixtureRequest, form: Form) -> Iterator[WorkspaceStage]:
    """An emulator, which knows tokens, slots and queues. ``rows(on="workspace")`` as above."""
    kind = getattr(request, "param", "lanes")
    with Emulator(tls=False, journal_limit=JOURNAL_LIMIT) as emulator:
        made = Emulated(emulator)
        with FaultProxy(made.port) as proxy:
            yield WorkspaceStage(form, kind, made, proxy, request.node.user_properties)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table: row, fault, expectation, figures. ``loud``: no times were judged."""
    if config.getoption("--scale", None) is None:
        return
    reports = [
        report
        for kind in ("passed", "failed")
        for report in terminalreporter.stats.get(kind, [])
        if report.when == "call"
    ]
    lines = [
        value for report in reports for name, value in report.user_properties if name == "chaos"
    ]
    terminalreporter.section("chaos matrix")
    for line in sorted(lines, key=lambda line: (line["row"], line["variant"])):
        row = ROWS[line["row"]]
        quiet = "not judged" not in line["figures"]
        mark = ("pass" if quiet else "loud") if line["passed"] else "FAIL"
        terminalreporter.write_line(
            f"{line['row']:2} {mark} | {line['variant']} | {row.fault} | {row.expected}\n"
            f"        {line['figures']}"
        )
