"""What the emulator remembers, and that it remembers no secrets."""

from __future__ import annotations

import json
import time

import pytest

from servingclient.emulator import Emulator, faults
from tests.emulator.peer import TWO_ROWS, call, call_fast, connected, get, post, read, token_for

NAMED = {**TWO_ROWS, "client_request_id": "r-1"}


def test_a_record_tells_what_was_asked_and_what_became_of_it(emu: Emulator) -> None:
    before = time.monotonic()
    call(emu, value=NAMED, x_extra="y")
    (record,) = emu.requests
    assert record.kind == "invocation"
    assert record.endpoint == "demo"
    assert record.served_model == "demo-1"
    assert record.client_request_id == "r-1"
    assert (record.status, record.executed, record.fault) == (200, True, None)
    assert (record.host, record.method) == ("workspace", "POST")
    assert record.path == "/serving-endpoints/demo/invocations"
    assert record.rows == 2
    assert record.headers["x-extra"] == "y"
    assert json.loads(record.body or b"") == NAMED
    assert record.request_bytes == len(json.dumps(NAMED))
    assert before <= record.received_at_s <= record.decided_at_s <= time.monotonic()


def test_a_record_is_there_before_its_reply(emu: Emulator) -> None:
    with connected(emu) as peer:
        for count in range(1, 200):
            peer.send(post(emu))
            peer.answer()
            assert len(emu.requests) == count


def test_records_cannot_be_changed(emu: Emulator) -> None:
    call(emu)
    with pytest.raises(AttributeError):
        emu.requests[0].status = 500  # type: ignore[misc]


def test_no_record_holds_a_secret(emu: Emulator) -> None:
    token = token_for(emu, "demo-fast")
    call_fast(emu, token=token)
    call(emu, cookie="secret=1")
    shown = repr(emu.requests)
    for secret in (token, emu.token, "secret=1", "Basic c", emu.client_secret):
        assert secret not in shown
    assert [r.headers["authorization"] for r in emu.requests] == ["Basic ***"] + ["Bearer ***"] * 2


def test_a_secret_in_a_form_is_not_kept(emu: Emulator) -> None:
    body = f"grant_type=client_credentials&client_secret={emu.client_secret}".encode()
    with connected(emu) as peer:
        peer.send(post(emu, path="/oidc/v1/token", value=body))
        peer.answer()
    assert emu.client_secret not in repr(emu.requests)
    assert emu.requests[0].body is None


def test_executions_are_counted_by_request_id(emu: Emulator) -> None:
    emu.script("demo", faults.reset("after"), faults.ok(), faults.reset("before"))
    for value in (NAMED, NAMED, NAMED, TWO_ROWS):
        with connected(emu) as peer:
            peer.send(post(emu, value=value))
            try:
                peer.answer()
            except ConnectionResetError:
                pass
    assert emu.executions("demo") == {"r-1": 2, None: 1}
    assert emu.executions("demo-fast") == {}


def test_refused_requests_are_on_record_with_their_id(emu: Emulator) -> None:
    call(emu, value=b'{"client_request_id": "r-2"}')
    call(emu, value=b"no json")
    call(emu, "nope", NAMED)
    first, second, third = emu.requests
    assert (first.status, first.client_request_id, first.executed) == (400, "r-2", False)
    assert (second.status, second.client_request_id) == (400, None)
    assert (third.status, third.endpoint) == (404, None)


def test_large_bodies_are_not_kept(emu: Emulator) -> None:
    call(emu, value={"inputs": [0] * 5000})
    assert emu.requests[0].body is None
    assert emu.requests[0].request_bytes > 5000


def test_the_journal_is_bounded_but_counts_are_not() -> None:
    with Emulator(tls=False, journal_limit=3) as emu:
        for _ in range(5):
            call(emu, value=NAMED)
        assert len(emu.requests) == 3
        assert emu.executions("demo")["r-1"] == 5


def test_reset_forgets_what_happened_and_what_was_planned(emu: Emulator) -> None:
    call_fast(emu)
    emu.script("demo", faults.empty(502))
    emu.always("demo-fast", faults.empty(502))
    emu.token_script(faults.empty(502))
    emu.reset()
    assert emu.requests == []
    assert emu.token_requests == 0
    assert emu.executions("demo-fast") == {}
    assert emu.connections == {}
    assert (call(emu).status, call_fast(emu).status) == (200, 200)


def test_reading_again_and_again_is_cheap(emu: Emulator) -> None:
    # a test waits by asking for the records after every request
    call(emu)
    assert emu.requests[0] is emu.requests[0]


def test_waiting_gives_up(emu: Emulator) -> None:
    assert emu.wait_for(lambda: False, timeout_s=0.01) is False
    assert emu.wait_for(lambda: True, timeout_s=0.0) is True


# ---------------------------------------- the same from outside


def admin(emu: Emulator, path: str, value: object) -> tuple[int, dict[str, object]]:
    with connected(emu) as peer:
        peer.send(post(emu, path=path, value=value))
        answer = peer.answer()
        return answer.status, answer.json()


def test_faults_can_be_scripted_over_http(emu: Emulator) -> None:
    wanted = {"endpoint": "demo", "faults": ["ok", {"name": "throttled", "retry_after": 2}]}
    assert admin(emu, "/_emulator/script", wanted) == (200, {"scripted": 2})
    assert call(emu).status == 200
    assert call(emu).headers["retry-after"] == "2"
    standing = {"endpoint": "demo", "faults": [{"name": "empty", "status": 503}], "always": True}
    assert admin(emu, "/_emulator/script", standing)[0] == 200
    assert [call(emu).status for _ in range(2)] == [503, 503]
    assert admin(emu, "/_emulator/script", {**standing, "faults": []})[0] == 200
    assert call(emu).status == 200


@pytest.mark.parametrize("target", ["token", "describe", "openapi"])
def test_logins_and_descriptions_too(emu: Emulator, target: str) -> None:
    wanted = {"target": target, "faults": [{"name": "html", "status": 502}]}
    assert admin(emu, "/_emulator/script", wanted)[0] == 200
    if target != "token":
        path = "/api/2.0/serving-endpoints/demo" + ("/openapi" if target == "openapi" else "")
        assert read(emu, path, emu.token).status == 502
    else:
        with connected(emu) as peer:
            peer.send(post(emu, path="/oidc/v1/token", value=b""))
            assert peer.answer().status == 502


@pytest.mark.parametrize(
    "wanted",
    [
        {"endpoint": "nope", "faults": []},
        {"endpoint": "demo", "faults": ["nope"]},
        {"endpoint": "demo", "faults": [{"name": "slow"}]},
        {"endpoint": "demo"},
        [],
        "text",
    ],
)
def test_a_senseless_script_is_a_400(emu: Emulator, wanted: object) -> None:
    status, value = admin(emu, "/_emulator/script", wanted)
    assert (status, bool(value["error"])) == (400, True)


def test_endpoints_can_be_added_and_changed_over_http(emu: Emulator) -> None:
    status, described = admin(emu, "/_emulator/endpoint", {"name": "new", "echo": "a", "slots": 4})
    assert (status, described["name"]) == (200, "new")
    assert call(emu, "new").json() == {"predictions": [1, 3]}
    was = emu.endpoint_id("new")
    assert admin(emu, "/_emulator/endpoint", {"name": "new", "slots": 0, "queue": 0})[0] == 200
    assert emu.endpoint_id("new") == was
    assert call(emu, "new").status == 429
    assert admin(emu, "/_emulator/scale", {"endpoint": "new", "slots": 1}) == (200, {"slots": 1})
    assert call(emu, "new").json() == {"predictions": [1, 3]}
    ramp = {"endpoint": "new", "slots": 9, "over_s": 60}
    assert admin(emu, "/_emulator/scale", ramp) == (200, {"slots": 1})


def test_a_smaller_limit_given_over_http_holds(emu: Emulator) -> None:
    admin(emu, "/_emulator/endpoint", {"name": "demo", "max_request_bytes": 10})
    assert call(emu).message == "Request size cannot exceed 10 bytes"


def test_settings_can_be_changed_over_http(emu: Emulator) -> None:
    status, value = admin(emu, "/_emulator/settings", {"gzip_requests": "refused"})
    assert (status, value["gzip_requests"]) == (200, "refused")
    assert emu.settings.gzip_requests == "refused"


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("endpoint", {"slots": 4}),
        ("endpoint", {"name": "demo", "colour": "red"}),
        ("endpoint", {"name": "demo", "kind": "odd"}),
        ("endpoint", {"name": "demo", "model": {"m": "text"}}),
        ("endpoint", []),
        ("scale", {"endpoint": "nope", "slots": 4}),
        ("scale", {"endpoint": "demo", "slots": "many"}),
        ("scale", []),
        ("settings", {"colour": "red"}),
        ("settings", {"gzip_requests": True}),
        ("settings", []),
    ],
)
def test_a_senseless_change_is_a_400(emu: Emulator, path: str, wanted: object) -> None:
    status, value = admin(emu, f"/_emulator/{path}", wanted)
    assert (status, bool(value["error"])) == (400, True)
    assert call(emu).status == 200


def test_the_journal_can_be_read_and_reset_over_http(emu: Emulator) -> None:
    call(emu, value=NAMED)
    token_for(emu, "demo-fast")
    value = read(emu, "/_emulator/journal").json()
    assert [record["kind"] for record in value["requests"]] == ["invocation", "token"]
    assert json.loads(value["requests"][0]["body"]) == NAMED
    assert value["executions"] == {"demo": {"r-1": 1}, "demo-fast": {}}
    assert value["token_requests"] == 1
    assert value["connections"]["workspace"] == 3
    assert admin(emu, "/_emulator/reset", {})[0] == 200
    value = read(emu, "/_emulator/journal").json()
    assert [record["path"] for record in value["requests"]] == ["/_emulator/reset"]
    assert value["executions"]["demo"] == {}


def test_the_data_plane_has_no_such_routes(emu: Emulator) -> None:
    with connected(emu, emu.serving_host) as peer:
        peer.send(get("/_emulator/journal"))
        assert peer.answer().status == 404
