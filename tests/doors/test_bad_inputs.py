"""Section 3 of the reliability list: each bad input gives its one typed error, at both doors.

Local ones take no more than 10 ms and send nothing. The text names field, class of value and
remedy. No secret and nothing of a row is seen in anything that can be shown. The client works on
the next call.
"""

from __future__ import annotations

import copy
import pickle
import statistics
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from servingclient import (
    BadRequest,
    ConfigError,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    PayloadError,
    PayloadTooLarge,
    PermissionDenied,
    ResponseFormatError,
    ResponseTooLarge,
    ServerError,
    ServingError,
    Settings,
    StreamError,
    Throttled,
    TLSError,
    UnexpectedRedirect,
    UntrustedEndpointError,
)
from servingclient.emulator import Emulator, Fault, faults
from servingclient.settings import Payload, Pool, Queue, Retry, Tls, Token
from tests.doors.kit import (
    NUMBER,
    SUM,
    WORD,
    Door,
    Overheard,
    Who,
    found_in,
    invocations,
    pat,
    principal,
    shown,
)
from tests.scripted.server import (
    Blackhole,
    ScriptedServer,
    banner,
    plain_http,
    refused_port,
    reply,
    reset_at_once,
    send,
)
from tests.stopwatch import Stopwatch, working_s

LOCAL_S = 0.010
GOOD = [{"a": 1.0}]


def deep(levels: int) -> Any:
    value: Any = WORD
    for _ in range(levels):
        value = [value]
    return value


def cyclic() -> Any:
    row: dict[str, Any] = {"a": WORD}
    row["b"] = row
    return [row]


PAYLOADS: dict[str, tuple[Callable[[], Any], str]] = {
    # what is given, and what the message must name
    "1 nan": (lambda: [{"a": NUMBER}, {"a": float("nan")}], "(?i)row 1"),
    "2 inf": (lambda: np.array([NUMBER, np.inf], dtype="f4"), "inf"),
    "3 NA": (lambda: pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}), "(?i)row 1"),
    "4 NaT": (lambda: pd.DataFrame({"t": [datetime(2024, 1, 1), pd.NaT]}), "(?i)row 1"),  # noqa: DTZ001
    "5 2**64": (lambda: [{"a": 2**64}], "64"),
    "6 -2**63-1": (lambda: [{"a": -(2**63) - 1}], "64"),
    "7 duplicates": (lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]), "(?i)duplicate columns"),
    "8 names": (lambda: pd.DataFrame({0: [1.0]}), "stringify_columns"),
    "9 MultiIndex": (
        lambda: pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
        "MultiIndex",
    ),
    "12 0-d": (lambda: np.array(NUMBER), "shape"),
    "13 complex": (lambda: np.array([1j]), "complex"),
    "13 longdouble": (lambda: np.array([1], dtype=np.longdouble), "longdouble|float128"),
    "14 Decimal": (lambda: [{"a": Decimal(str(NUMBER))}], "decimal="),
    "15 bytes": (lambda: [{"a": WORD.encode()}], "base64"),
    "16 surrogate": (lambda: [{"a": f"{WORD}\ud800"}], "(?i)utf-8|surrogate"),
    "17 depth": (lambda: [{"a": deep(300)}], "(?i)nest|deep"),
    "18 cycle": (cyclic, "(?i)nest|deep|itself|cycle"),
    "19 empty list": (list, "(?i)0 rows|empty|nothing"),
    "19 empty frame": (lambda: pd.DataFrame({"a": []}), "(?i)0 rows|empty|nothing"),
    "21 two forms": (lambda: {"inputs": [[1]], "dataframe_split": {}}, "exactly one"),
    "an object": (object, "object"),
    "text": (lambda: WORD, "(?i)str|text"),
    "none": (lambda: None, "None"),
    "ragged": (lambda: {"a": [1, 2], "b": [NUMBER]}, "(?i)length|rows"),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_bad_payloads(door: Door, emulator: Emulator, overheard: Overheard, name: str) -> None:
    make, names = PAYLOADS[name]
    who = principal(emulator)
    client = door.open("demo", who)
    took: list[float] = []
    for _ in range(5):
        inputs = make()
        began_s = working_s()
        with pytest.raises(PayloadError, match=names) as caught:
            door.predict(client, inputs)
        took.append(working_s() - began_s)
    assert statistics.median(took) <= LOCAL_S
    assert emulator.requests == [], "nothing at all is sent"
    assert caught.value.endpoint == "demo"
    assert caught.value.sent == "no"
    seen = shown(caught.value) + repr(client) + overheard.text
    assert found_in(seen, [WORD, str(NUMBER), *who.secrets]) == []
    assert door.predict(client, GOOD).predictions == [1.0]


@pytest.mark.parametrize(
    ("name", "inputs", "expected"),
    [
        ("10 big-endian", np.array([[1.5], [2.5]], dtype=">f8"), [1.5, 2.5]),
        ("11 transposed", np.array([[1.0, 2.0], [3.0, 4.0]]).T, [4.0, 6.0]),
        ("11 strided", np.arange(8.0).reshape(4, 2)[::2], [1.0, 9.0]),
    ],
)
def test_odd_but_good_arrays_are_sent(
    door: Door, emulator: Emulator, name: str, inputs: Any, expected: list[float]
) -> None:
    assert door.predict(door.open("demo", pat(emulator)), inputs).predictions == expected


def test_input_1_nan_is_null_when_asked(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator), Settings(payload=Payload(nan="null")))
    assert door.predict(client, [{"a": float("nan"), "b": 2.0}]).predictions == [2.0]
    (record,) = invocations(emulator)
    assert b"[[null,2.0]]" in (record.body or b"")


def test_input_20_a_row_above_the_limit_is_not_sent(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    row = [{"a": WORD * (17_000_000 // len(WORD))}]
    with pytest.raises(PayloadTooLarge, match="16,777,216") as caught:
        door.predict(client, row)
    assert caught.value.limit_bytes == 16_777_216
    assert caught.value.size_bytes is not None
    assert caught.value.size_bytes > 16_777_216
    assert invocations(emulator) == []
    assert WORD not in str(caught.value)
    assert door.predict(client, GOOD).predictions == [1.0]


def test_input_20_an_agent_takes_less(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("agent", kind="agent")
    client = door.open("agent", pat(emulator))
    with pytest.raises(PayloadTooLarge, match="4,194,304"):
        door.predict(client, {"messages": [{"role": "user", "content": "x" * 5_000_000}]})
    assert invocations(emulator) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("params", [1]),
        ("params", {"a": float("nan")}),
        ("client_request_id", 7),
        ("usage_context", "team"),
        ("usage_context", {"team": object()}),
        ("usage_context", {"team": 7}),
        ("usage_context", {7: "team"}),
    ],
)
def test_bad_extras_are_payload_errors(
    door: Door, emulator: Emulator, option: str, value: Any
) -> None:
    client = door.open("demo", pat(emulator))
    with pytest.raises(PayloadError, match=option if not isinstance(value, dict) else None):
        door.predict(client, GOOD, **{option: value})
    assert emulator.requests == []


# -- configuration ---------------------------------------------------------------------------------

HOST_TOKEN = "dapi0canary0config0token"


class Silent:
    """An observer that does nothing."""

    def call_ended(self, event: object) -> None: ...

    def attempt_failed(self, event: object) -> None: ...


ARGUMENTS: dict[str, dict[str, Any]] = {
    "24 http": {"host": "http://ws.cloud.databricks.com"},
    "25 userinfo": {"host": "https://user:pw@ws.cloud.databricks.com"},
    "25 spoofed": {"host": "https://ws.cloud.databricks.com@evil.example"},
    "25 path": {"host": "https://ws.cloud.databricks.com/x"},
    "25 query": {"host": "https://ws.cloud.databricks.com?o=1"},
    "25 fragment": {"host": "https://ws.cloud.databricks.com#x"},
    "host empty": {"host": ""},
    "host blank": {"host": "https://ws .cloud.databricks.com"},
    "host newline": {"host": "https://ws.cloud.databricks.com\nX: y"},
    "host number": {"host": 5},
    "30 newline": {"token": f"{HOST_TOKEN}\n"},
    "30 blank": {"token": f"{HOST_TOKEN} x"},
    "token empty": {"token": ""},
    "token number": {"token": 5},
    "both ways": {"client_id": "a", "client_secret": HOST_TOKEN},
    "half a principal": {"token": None, "client_secret": HOST_TOKEN},
    "29 CRLF": {"settings": Settings(headers=(("x-a", "1\r\nX-Evil: 1"),))},
    "29 NUL": {"settings": Settings(headers=(("x-a", "1\0"),))},
    "29 name": {"settings": Settings(headers=(("x a", "1"),))},
    "29 ours": {"settings": Settings(headers=(("Authorization", f"Bearer {HOST_TOKEN}"),))},
    "settings text": {"settings": "fast"},
    "transport text": {"transport": "httpx"},
    "proxy socks": {"settings": Settings(proxy="socks5://127.0.0.1:1")},
    "trusted host": {"settings": Settings(trusted_hosts=("a b",))},
    "config text": {"token": None, "config": HOST_TOKEN},
    "config dict": {"token": None, "config": {"host": HOST_TOKEN}},
    "config kind": {"token": None, "config": dict},
    "observers number": {"observers": 5},
    "observers text": {"observers": ["print"]},
    "observers kind": {"observers": [Silent]},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_bad_arguments(door: Door, overheard: Overheard, name: str) -> None:
    given = {"host": "https://ws.cloud.databricks.com", "token": HOST_TOKEN} | ARGUMENTS[name]
    took: list[float] = []
    for _ in range(5):
        began_s = working_s()
        with pytest.raises(ConfigError) as caught:
            door.kind("demo", **given)
        took.append(working_s() - began_s)
    assert statistics.median(took) <= LOCAL_S
    seen = shown(caught.value) + overheard.text
    # the traceback of this test shows the arguments of the call, not what the library says
    said = "\n".join([str(caught.value), repr(caught.value), overheard.text])
    assert found_in(said, [HOST_TOKEN, "pw@", "X-Evil"]) == []
    assert seen


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "a?b", "a#b", "%2e%2e", "..\\x", "", ".", "..", "a" * 300, "a b", "é", "a\n"],
)
def test_input_26_endpoint_names(door: Door, emulator: Emulator, name: str) -> None:
    with pytest.raises(ConfigError, match="endpoint"):
        door.open(name, pat(emulator))
    client = door.open("demo", pat(emulator))
    with pytest.raises(ConfigError):
        door.predict(client, GOOD, served_model=name)
    assert invocations(emulator) == []


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5", True, int, [1]])
def test_input_32_timeouts(door: Door, emulator: Emulator, timeout: Any) -> None:
    client = door.open("demo", pat(emulator))
    for call in (door.predict, door.events):
        with pytest.raises(ConfigError, match="timeout"):
            call(client, GOOD, timeout=timeout)
    with pytest.raises(ConfigError, match="timeout"):
        door.run(client.warmup(timeout=timeout))
    assert emulator.requests == []


@pytest.mark.parametrize("timeout", [1e10, 1e300, 10**400])
def test_a_timeout_of_centuries_is_a_timeout(door: Door, emulator: Emulator, timeout: Any) -> None:
    # sockets and locks refuse such numbers with OverflowError
    settings = Settings(pool=Pool(max_lanes=1))
    client = door.open("demo", pat(emulator), settings)
    outcomes = door.many(client, ({"inputs": GOOD, "timeout": timeout} for _ in range(3)))
    assert [one.predictions for one in outcomes] == [[1.0]] * 3  # type: ignore[union-attr]


@pytest.mark.parametrize("idempotent", ["no", 2, "false", [True]])
def test_idempotent_is_yes_or_no(door: Door, emulator: Emulator, idempotent: Any) -> None:
    # "no" would count as true: a call with effects would be sent twice
    client = door.open("demo", pat(emulator))
    with pytest.raises(ConfigError, match="idempotent"):
        door.predict(client, GOOD, idempotent=idempotent)
    assert emulator.requests == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(max_attempts=0),
        lambda: Retry(jitter=1.5),
        lambda: Retry(backoff_base_s=float("nan")),
        lambda: Pool(max_lanes=0),
        lambda: Pool(connect_timeout_s=0),
        lambda: Queue(max_calls=-1),
        lambda: Token(try_timeout_s=-1),
        lambda: Payload(nan="drop"),  # type: ignore[arg-type]
        lambda: Tls(verify=False),
        lambda: Settings(timeout_s=0),
        lambda: Settings(timeout_s="5"),  # type: ignore[arg-type]
        lambda: Settings(trusted_hosts="x"),  # type: ignore[arg-type]
        lambda: Settings(trusted_hosts=3),  # type: ignore[arg-type]
        lambda: Settings(trusted_hosts=(3,)),  # type: ignore[arg-type]
        lambda: Settings(timeout_s=None),  # type: ignore[arg-type]
        lambda: Settings(describe="no"),  # type: ignore[arg-type]
        lambda: Settings(idempotent="no"),  # type: ignore[arg-type]
        lambda: Settings(retry=3),  # type: ignore[arg-type]
        lambda: Settings(pool=None),  # type: ignore[arg-type]
        lambda: Settings(headers="x"),  # type: ignore[arg-type]
        lambda: Settings(headers=3),  # type: ignore[arg-type]
        lambda: Settings(headers={"x-a": 1}),  # type: ignore[arg-type]
        lambda: Settings(headers=("ab",)),  # type: ignore[arg-type]
        lambda: Settings(proxy=3),  # type: ignore[arg-type]
        lambda: Tls(ca_file=3),  # type: ignore[arg-type]
        lambda: Tls(verify="no"),  # type: ignore[arg-type]
        lambda: Payload(stringify_columns=1),  # type: ignore[arg-type]
        lambda: Retry(retry_read_timeout="x"),  # type: ignore[arg-type]
        lambda: Pool(max_lanes=None),  # type: ignore[arg-type]
        lambda: Settings().replace(retries=3),
    ],
)
def test_inputs_33_to_38_settings(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()


def test_input_38_a_wrong_name_is_answered_with_the_nearest() -> None:
    for make in (Settings, Settings().replace):
        with pytest.raises(ConfigError, match="Did you mean 'timeout_s'"):
            make(timout_s=3.0)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="Retry has no option 'attempts'"):
        Retry(attempts=3)  # type: ignore[call-arg]


def test_settings_show_no_password_and_no_key() -> None:
    made = Settings(proxy="http://me:secret1@proxy:1", headers={"x-key": "secret2"})  # type: ignore[arg-type]
    assert "secret" not in repr(made)


def test_a_certificate_file_may_be_a_path() -> None:
    path = Path("a") / "b.pem"
    assert Tls(ca_file=path) == Tls(ca_file=str(path))  # type: ignore[arg-type]


def test_an_untrusted_address_gets_no_credential(door: Door, emulator: Emulator) -> None:
    # A4: the description names another host; no token is even asked for, and nothing is sent
    with ScriptedServer(reply()) as canary:
        emulator.describe_always(
            faults.answer(
                200,
                b'{"name": "demo-fast", "route_optimized": true, "id": "1", "data_plane_info": '
                b'{"query_info": {"endpoint_url": "https://evil.example:%d/x/invocations"}}}'
                % canary.port,
            )
        )
        client = door.open("demo-fast", principal(emulator))
        with pytest.raises(UntrustedEndpointError, match="trusted_hosts"):
            door.predict(client)
        assert canary.connections == []
    assert emulator.token_requests == 1, "the workspace's own, for the description"


# -- replies ---------------------------------------------------------------------------------------

REPLIES: dict[str, tuple[Fault, type[ServingError], str | None]] = {
    "39 login page": (faults.login_page(), ResponseFormatError, "login page"),
    "40 empty": (faults.body(b""), ResponseFormatError, "no body"),
    "41 {}": (faults.body(b"{}"), ResponseFormatError, "none"),
    "41 keys": (faults.body(b'{"result": [1]}'), ResponseFormatError, "result"),
    "41 list": (faults.body(b"[1]"), ResponseFormatError, "array"),
    "43 error": (faults.body(b'{"error_code": "X", "message": "broke"}'), ServerError, "broke"),
    "44 204": (faults.answer(204, content_type=None), ResponseFormatError, "204"),
    "44 206": (faults.answer(206, b"{}"), ResponseFormatError, "206"),
    "45 999": (
        faults.raw(b"HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n"),
        ResponseFormatError,
        "999",
    ),
    "46 BOM": (faults.body(b'\xef\xbb\xbf{"predictions": [1]}'), ResponseFormatError, "JSON"),
    "46 latin-1": (
        faults.body('{"predictions": ["é"]}'.encode("latin-1")),
        ResponseFormatError,
        None,
    ),
    "46 1e400": (faults.body(b'{"predictions": [1e400]}'), ResponseFormatError, "JSON"),
    "46 deep": (
        faults.body(b'{"predictions": ' + b"[" * 1025 + b"]" * 1025 + b"}"),
        ResponseFormatError,
        "JSON",
    ),
    "46 truncated": (faults.truncated_json(), ResponseFormatError, "JSON"),
    "49 br": (
        faults.answer(200, b"\x8b", headers={"content-encoding": "br"}, executed=True),
        ResponseFormatError,
        "br",
    ),
    "50 bomb": (faults.gzip_bomb(8 << 20), ResponseTooLarge, "max_reply_bytes"),
    "55 echo": (faults.echo_authorization(400), BadRequest, "redacted"),
    "57 301": (faults.redirect("https://evil.example/a?b=c", 301), UnexpectedRedirect, "evil"),
    "57 302": (faults.redirect("https://evil.example/", 302), UnexpectedRedirect, "evil"),
    "57 303": (faults.redirect("/login.html", 303), UnexpectedRedirect, "303"),
    "57 307": (faults.redirect("http://evil.example/", 307), UnexpectedRedirect, "evil"),
    "57 308": (faults.redirect("https://evil.example/", 308), UnexpectedRedirect, "evil"),
    "67 banner": (faults.raw(b"SSH-2.0-OpenSSH_9.6\r\n"), ResponseFormatError, None),
}
"""Replies that are final: one POST."""

AGAIN: dict[str, tuple[Fault, type[ServingError], str | None]] = {
    "48 label": (
        faults.answer(200, b"{}", headers={"content-encoding": "gzip"}, executed=True),
        ResponseFormatError,
        "gzip",
    ),
    "48 crc": (faults.gzip("bad_checksum"), ResponseFormatError, "gzip"),
    "48 cut": (faults.gzip("truncated"), ResponseFormatError, "gzip"),
    "51 length -2": (
        faults.raw(b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}"),
        ConnectionLost,
        None,
    ),
    "51 two lengths": (
        faults.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
        ConnectionLost,
        None,
    ),
    "51 short": (
        faults.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"),
        ConnectionLost,
        None,
    ),
    "51 no end": (
        faults.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"),
        ConnectionLost,
        None,
    ),
    "52 head": (
        faults.raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n"),
        ConnectionLost,
        None,
    ),
    "54 large": (faults.answer(500, b"x" * 1_000_000), ServerError, None),
    "54 binary": (faults.answer(500, bytes(range(256)) * 9), ServerError, "binary"),
    "54 html": (faults.html(502), ServerError, "502 Bad Gateway"),
    "54 no JSON": (faults.execution_timeout(), ServerError, "processing time"),
    "54 empty": (faults.empty(504), ServerError, "504"),
    "55 echo": (faults.echo_authorization(500), ServerError, "redacted"),
    "56 429": (faults.throttled("soon"), Throttled, "limit"),
    "64 RST": (faults.reset("after"), ConnectionLost, "(?i)reset"),
    "65 RST mid": (faults.reset("mid_reply"), ConnectionLost, "(?i)reset"),
    "65 FIN mid": (faults.disconnect("mid_reply"), ConnectionLost, None),
}
"""Replies after which the call is sent again while it may be."""

QUICK = Retry(backoff_base_s=0.001, throttled_base_s=0.001)


@pytest.mark.parametrize("name", REPLIES)
def test_bad_replies(door: Door, emulator: Emulator, overheard: Overheard, name: str) -> None:
    fault, kind, says = REPLIES[name]
    check_reply(door, emulator, overheard, fault, kind, says, posts=1)


@pytest.mark.parametrize("name", AGAIN)
def test_bad_replies_that_are_retried(
    door: Door, emulator: Emulator, overheard: Overheard, name: str
) -> None:
    fault, kind, says = AGAIN[name]
    # 64 comes on the connection of the call before: stale, and that resend is free
    posts = 5 if name.startswith("64") else 4
    check_reply(door, emulator, overheard, fault, kind, says, posts)


def check_reply(
    door: Door,
    emulator: Emulator,
    overheard: Overheard,
    fault: Fault,
    kind: type[ServingError],
    says: str | None,
    posts: int,
) -> None:
    who = principal(emulator)
    settings = Settings(retry=QUICK, pool=Pool(max_reply_bytes=4 << 20))
    client = door.open("demo", who, settings)
    assert door.predict(client).predictions == [SUM]
    emulator.always("demo", fault)
    row = [{"a": NUMBER, "text": WORD}]
    with pytest.raises(ServingError, match=says) as caught:
        door.predict(client, row)
    error = caught.value
    assert type(error) is kind
    assert len(invocations(emulator)) - 1 == len(error.attempts) == posts
    assert error.endpoint == "demo"
    assert error.elapsed_s is not None
    assert len(str(error)) <= 2500
    issued = emulator._workspace.tokens
    tokens = list(issued._grants)
    assert tokens
    seen = shown(error) + repr(client) + overheard.text
    assert found_in(seen, [WORD, str(NUMBER), *who.secrets, *tokens]) == []
    emulator.clear("demo")
    assert door.predict(client).predictions == [SUM], "the client works on the next call"


def test_the_canaries_are_looked_for_where_they_would_be(
    emulator: Emulator, overheard: Overheard
) -> None:
    # the control of the scan: it does see what is there
    import logging

    logging.getLogger("some.library").debug("sent %s", WORD)
    error = ServingError(f"bad row {NUMBER}")
    error.__cause__ = ValueError(emulator.token)
    seen = shown(error) + overheard.text
    assert len(found_in(seen, [WORD, str(NUMBER), emulator.token])) == 3


def test_a_refusal_says_for_how_long(door: Door, emulator: Emulator) -> None:
    emulator.always("demo", faults.throttled(retry_after=3600))
    with pytest.raises(Throttled, match="asked for a wait of 3600 s") as caught:
        door.predict(door.open("demo", pat(emulator)), GOOD)
    assert caught.value.retry_after_s == 3600.0
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_blocked_address_is_not_told_to_ask_for_permission(
    door: Door, emulator: Emulator
) -> None:
    emulator.always("demo", faults.ip_access_list())
    with pytest.raises(PermissionDenied, match="IP access list") as caught:
        door.predict(door.open("demo", pat(emulator)), GOOD)
    assert "CAN QUERY" not in str(caught.value)


def test_a_long_error_body_is_cut(door: Door, emulator: Emulator) -> None:
    # input 54: at most 2 KB of it
    emulator.always(
        "demo", faults.answer(400, b"bad thing " * 5_000_000, content_type="text/plain")
    )
    client = door.open("demo", pat(emulator), Settings(retry=QUICK))
    with pytest.raises(BadRequest) as caught:
        door.predict(client)
    assert len(str(caught.value)) < 2500


def test_input_58_a_stream_that_goes_wrong(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("agent", kind="agent")
    client = door.open("agent", pat(emulator))
    for body in (
        b"data: {}",
        b"data: " + b"x" * (10 << 20) + b"\n\n",
        b'data: {"a": "\xc3\n\ndata: [DONE]\n\n',
        b'data: {"error": {"message": "broke"}}\n\ndata: [DONE]\n\n',
        b"data: {}\n\n",
    ):
        fault = faults.answer(200, body, content_type="text/event-stream", executed=True)
        emulator.script("agent", fault)
        before = len(invocations(emulator))
        with pytest.raises(StreamError):
            door.events(client, {"messages": "x"})
        assert len(invocations(emulator)) - before == 1
    assert door.events(client, {"messages": "x"})


# -- the network -----------------------------------------------------------------------------------


def loopback(port: int, scheme: str = "http") -> Who:
    return Who(f"{scheme}://127.0.0.1:{port}", {"token": HOST_TOKEN})


def test_input_61_a_name_that_does_not_resolve(door: Door) -> None:
    who = Who("https://no-such-host.invalid", {"token": HOST_TOKEN})
    client = door.open("demo", who, Settings(retry=QUICK))
    with pytest.raises(ConnectionFailed, match="no-such-host") as caught:
        door.predict(client)
    assert caught.value.sent == "no"
    assert caught.value.retryable is True
    assert HOST_TOKEN not in shown(caught.value)


def test_input_62_a_refused_connection(door: Door) -> None:
    client = door.open("demo", loopback(refused_port()), Settings(retry=QUICK))
    with pytest.raises(ConnectionFailed, match=r"(?i)refused") as caught:
        door.predict(client)
    assert caught.value.sent == "no"


def test_input_63_a_host_that_swallows_connections(door: Door) -> None:
    settings = Settings(
        retry=Retry(max_attempts=1), pool=Pool(connect_timeout_s=0.2), timeout_s=0.9
    )
    with Blackhole() as hole:
        client = door.open("demo", loopback(hole.port), settings)
        raised = pytest.raises((ConnectionFailed, DeadlineExceeded))
        with Stopwatch() as watch, raised as caught:
            door.predict(client)
        assert watch.took_s < 0.9 + 0.25
        assert caught.value.sent == "no"


@pytest.mark.parametrize("greeting", [banner, reset_at_once])
def test_inputs_64_67_a_host_that_is_no_web_server(door: Door, greeting: Any) -> None:
    with ScriptedServer(send(reply()), greeting=greeting) as server:
        client = door.open("demo", loopback(server.port), Settings(retry=QUICK, timeout_s=2.0))
        with pytest.raises(ServingError) as caught:
            door.predict(client)
        assert HOST_TOKEN not in shown(caught.value)
        assert len(server.connections) <= 3 + 4, "tries for the description and of the call"


def test_input_68_plain_http_on_a_tls_port(door: Door) -> None:
    spoken = plain_http(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    with ScriptedServer(before_tls=spoken) as server:
        client = door.open("demo", loopback(server.port, "https"), Settings(retry=QUICK))
        with pytest.raises(TLSError) as caught:
            door.predict(client)
        assert caught.value.sent == "no"
        assert len(server.connections) == 2, "the description and the call, neither again"


def test_input_69_a_certificate_nobody_signed(door: Door) -> None:
    with Emulator() as emulator:
        client = door.open("demo", pat(emulator), Settings(retry=QUICK))
        with pytest.raises(TLSError, match="ca_file") as caught:
            door.predict(client)
        assert emulator.requests == []
        assert "127.0.0.1" in str(caught.value)
        door.close(client)


def test_a_client_is_not_pickled_and_says_what_to_do(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator), Settings(timeout_s=2.0))
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=f"{door.kind.__name__} holds .*Send its settings"):
            copying(client)
    assert pickle.loads(pickle.dumps(client.settings)) == client.settings
