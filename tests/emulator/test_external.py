"""The external API: users by id, limits, outages, validators, and the log of it all."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import pytest

from servingclient.emulator import Emulator, faults
from servingclient.emulator.__main__ import _as_exports, _as_json
from servingclient.emulator.external_limit import Window
from tests.emulator.peer import Answer, connected, post, read


def ask(emu: Emulator, target: str, **headers: str) -> Answer:
    lines = [f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items()]
    with connected(emu, emu.external.base_url) as peer:
        peer.send(f"GET {target} HTTP/1.1\r\nhost: x\r\n{''.join(lines)}\r\n".encode())
        return peer.answer()


def look_up(emu: Emulator, value: object) -> Answer:
    with connected(emu, emu.external.base_url) as peer:
        peer.send(post(emu, path="/lookup", value=value))
        return peer.answer()


def statuses(emu: Emulator, calls: int) -> list[int]:
    return [ask(emu, "/users/7").status for _ in range(calls)]


# ---------------------------------------- what it answers


def test_a_user_is_found_by_id(emu: Emulator) -> None:
    answer = ask(emu, "/users/7")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "id": 7,
        "name": "user 7",
        "score": 0.259,
        "version": 0,
        "seen_by": None,
    }


@pytest.mark.parametrize(
    "one", ["0", "10001", "seven", "-7", "%2E%2E%2Fadmin", "%D9%A7", "", "7%20"]
)
def test_whom_it_does_not_know_is_a_404(emu: Emulator, one: str) -> None:
    answer = ask(emu, f"/users/{one}")
    assert (answer.status, answer.json()) == (404, {"error": "no such user"})


def test_many_at_once_are_those_there_are(emu: Emulator) -> None:
    for answer in (
        ask(emu, "/users?ids=3,1,99999,2"),
        ask(emu, "/users?ids=3%2C1%2C99999%2C2"),
        ask(emu, "/users?ids=3&ids=1&ids=99999&ids=2"),
        look_up(emu, {"ids": [3, "1", 99999, 2]}),
    ):
        assert answer.status == 200
        assert [user["id"] for user in answer.json()] == [3, 1, 2]
    assert emu.external.counts == {"3": 4, "1": 4, "99999": 4, "2": 4}


def test_too_many_at_once_are_a_400(emu: Emulator) -> None:
    emu.external.change(max_ids=2)
    assert ask(emu, "/users?ids=1,2").status == 200
    assert ask(emu, "/users?ids=1,2,3").status == 400


@pytest.mark.parametrize("target", ["/", "/users/7/orders", "/invocations", "/_emulator/journal"])
def test_anything_else_is_not_there(emu: Emulator, target: str) -> None:
    assert ask(emu, target).status == 404


@pytest.mark.parametrize("value", [{}, [], {"ids": 7}, b"no json"])
def test_a_senseless_body_is_not_there(emu: Emulator, value: object) -> None:
    assert look_up(emu, value).status == 404


def test_callers_are_told_apart(emu: Emulator) -> None:
    by_token = ask(emu, "/users/7", authorization="Bearer a")
    by_key = ask(emu, "/users/7", x_api_key="b")
    seen = {by_token.json()["seen_by"], by_key.json()["seen_by"], None}
    assert len(seen) == 3
    assert by_token.headers["etag"] != by_key.headers["etag"]


def test_users_may_be_large(emu: Emulator) -> None:
    emu.external.change(value_bytes=3_000_000)
    assert len(ask(emu, "/users/7").body) > 3_000_000


def test_there_are_as_many_users_as_wanted(emu: Emulator) -> None:
    emu.external.change(users=2)
    assert [ask(emu, f"/users/{one}").status for one in (1, 2, 3)] == [200, 200, 404]


# ---------------------------------------- validators


def test_who_has_it_already_gets_304(emu: Emulator) -> None:
    first = ask(emu, "/users/7")
    tag = first.headers["etag"]
    again = ask(emu, "/users/7", if_none_match=tag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert "content-length" not in again.headers
    assert ask(emu, "/users/7", if_none_match=f'"other", {tag}').status == 304
    assert ask(emu, "/users/8", if_none_match=tag).status == 200


def test_who_has_an_older_one_gets_the_new_one(emu: Emulator) -> None:
    tag = ask(emu, "/users/7").headers["etag"]
    emu.external.touch(7, "8")
    answer = ask(emu, "/users/7", if_none_match=tag)
    assert (answer.status, answer.json()["version"]) == (200, 1)
    assert ask(emu, "/users/8").json()["version"] == 1


def test_validators_can_be_left_out(emu: Emulator) -> None:
    emu.external.change(etag=False, cache_control="max-age=60")
    answer = ask(emu, "/users/7")
    assert "etag" not in answer.headers
    assert answer.headers["cache-control"] == "max-age=60"
    assert "cache-control" not in ask(emu, "/users/0").headers


def test_a_connection_lives_on_after_a_304(emu: Emulator) -> None:
    tag = ask(emu, "/users/7").headers["etag"]
    with connected(emu, emu.external.base_url) as peer:
        for status in (304, 304):
            peer.send(f"GET /users/7 HTTP/1.1\r\nif-none-match: {tag}\r\n\r\n".encode())
            assert peer.answer().status == status


# ---------------------------------------- what goes wrong


def test_a_limit_is_told_with_429(emu: Emulator) -> None:
    emu.external.change(limit_calls=2, limit_window_s=3600.0)
    assert statuses(emu, 2) == [200, 200]
    answer = ask(emu, "/users/7")
    assert (answer.status, answer.headers["retry-after"]) == (429, "3600")


def test_a_limit_can_be_told_on_every_reply(emu: Emulator) -> None:
    emu.external.change(limit_calls=2, limit_window_s=3600.0, limit_headers="ietf")
    told = [ask(emu, f"/users/{one}").headers["ratelimit"] for one in (7, 0, 7)]
    assert told == ['"default";r=1;t=3600', '"default";r=0;t=3600', '"default";r=0;t=3600']


def test_a_window_is_never_longer_than_itself() -> None:
    """By the rounding of floats it would be at times, and then be told as a second more."""
    resets = [Window().take(2, 3600.0, 1000.1 * start).reset_s for start in range(1, 200)]
    assert max(resets) == 3600.0


def test_an_instant_is_about_now(emu: Emulator) -> None:
    emu.external.change(limit_calls=2, limit_window_s=3600.0, limit_headers="x_epoch")
    reset_s = int(ask(emu, "/users/7").headers["x-ratelimit-reset"])
    assert abs(reset_s - time.time() - 3600) < 60


def test_some_fail_at_random_and_the_same_ones_again() -> None:
    runs = []
    for seed in (1, 1, 2):
        with Emulator(tls=False, seed=seed) as emu:
            emu.external.change(error_rate=0.5, error_status=503)
            runs.append(statuses(emu, 30))
    assert runs[0] == runs[1] != runs[2]
    assert set(runs[0]) == {200, 503}


def test_it_is_down_until_it_comes_back(emu: Emulator) -> None:
    emu.external.go_down()
    assert statuses(emu, 2) == [500, 500]
    assert look_up(emu, {"ids": [1]}).status == 500
    emu.external.come_back()
    assert statuses(emu, 1) == [200]
    emu.external.go_down(for_s=0.0)
    assert statuses(emu, 1) == [200]
    emu.external.go_down(for_s=3600.0)
    assert statuses(emu, 1) == [500]


@pytest.mark.parametrize(
    ("fault", "holds"),
    [
        (faults.html(200), lambda answer: answer.body.startswith(b"<")),
        (faults.body(b"[1, 2"), lambda answer: answer.body == b"[1, 2"),
        (faults.redirect("http://127.0.0.1:9/"), lambda answer: answer.status == 307),
        (faults.throttled(retry_after=9), lambda answer: answer.headers["retry-after"] == "9"),
        (faults.truncated_json(), lambda answer: answer.body.startswith(b'{"id":7')),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_scripted_faults_work_as_everywhere(
    emu: Emulator, fault: faults.Fault, holds: Callable[[Answer], bool]
) -> None:
    emu.external.script(fault)
    assert holds(ask(emu, "/users/7"))
    assert ask(emu, "/users/7").json()["id"] == 7
    emu.external.always(fault)
    assert all(holds(ask(emu, "/users/7")) for _ in range(2))
    emu.external.always(None)
    assert ask(emu, "/users/7").json()["id"] == 7


def test_a_connection_can_be_reset(emu: Emulator) -> None:
    emu.external.script(faults.reset())
    with pytest.raises((ConnectionResetError, EOFError)):
        ask(emu, "/users/7")


def test_each_answer_takes_its_time() -> None:
    with Emulator(tls=False, seed=5) as emu, Emulator(tls=False, seed=5) as other:
        for api in (emu.external, other.external):
            api.change(latency_s=0.5, latency_jitter_s=0.25)
        delays = [emu.external.delay_s() for _ in range(100)]
        assert delays == [other.external.delay_s() for _ in range(100)]
        assert 0.5 <= min(delays) < max(delays) <= 0.75
        emu.external.change(latency_s=0.02, latency_jitter_s=0.0)
        began_s = time.monotonic()
        assert ask(emu, "/users/7").status == 200
        assert time.monotonic() - began_s >= 0.02


# ---------------------------------------- the log


def test_every_request_is_recorded(emu: Emulator) -> None:
    ask(emu, "/users/7", authorization="Bearer secret")
    ask(emu, "/users?ids=7,8")
    emu.external.script(faults.html())
    ask(emu, "/users/7")
    kinds = [(one.kind, one.host, one.status, one.rows, one.fault) for one in emu.external.requests]
    assert kinds == [
        ("external", "external", 200, 1, None),
        ("external", "external", 200, 2, None),
        ("external", "external", 502, 1, "html"),
    ]
    assert emu.external.requests[0].headers["authorization"] == "Bearer ***"
    assert emu.requests == emu.external.requests
    assert emu.external.counts == {"7": 3, "8": 1}


def test_a_reset_forgets_the_log_and_the_scripts(emu: Emulator) -> None:
    emu.external.touch(7)
    emu.external.always(faults.html())
    ask(emu, "/users/7")
    emu.reset()
    assert emu.external.counts == {}
    assert emu.external.requests == []
    assert ask(emu, "/users/7").json()["version"] == 1


# ---------------------------------------- where, and from outside


def test_it_has_a_host_of_its_own() -> None:
    with Emulator() as emu:
        assert emu.external.base_url.startswith("https://127.0.0.1:")
        assert emu.external.base_url not in (emu.host, emu.serving_host)
        assert ask(emu, "/users/7").status == 200
        assert read(emu, "/users/7").status == 404


def test_the_command_says_where_it_is(emu: Emulator) -> None:
    url = emu.external.base_url
    assert f"# external API: {url}\n" in _as_exports(emu, "pat")
    assert json.loads(_as_json(emu))["external_url"] == url


def test_its_port_can_be_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with Emulator(tls=False, external_port=port) as emu:
        assert emu.external.base_url == f"http://127.0.0.1:{port}"


def test_before_the_start_it_is_nowhere() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        _ = Emulator().external.base_url


def change(emu: Emulator, value: object) -> tuple[int, dict[str, object]]:
    with connected(emu) as peer:
        peer.send(post(emu, path="/_emulator/external", value=value))
        answer = peer.answer()
        return answer.status, answer.json()


def test_it_is_told_over_http_what_to_be(emu: Emulator) -> None:
    status, value = change(emu, {"limit_calls": 5, "limit_headers": "x_epoch", "touch": [7]})
    assert (status, value["base_url"]) == (200, emu.external.base_url)
    assert value["settings"]["limit_headers"] == "x_epoch"
    answer = ask(emu, "/users/7")
    assert (answer.headers["x-ratelimit-remaining"], answer.json()["version"]) == ("4", 1)
    assert change(emu, {"down_s": 3600})[1]["counts"] == {"7": 1}
    assert ask(emu, "/users/7").status == 500
    assert change(emu, {"down_s": 0})[0] == 200
    assert ask(emu, "/users/7").status == 200


@pytest.mark.parametrize(
    "wanted",
    [
        {"colour": "red"},
        {"limit_headers": "semaphore"},
        {"error_rate": 1.5},
        {"error_rate": "half"},
        {"latency_s": -1},
        {"users": "many"},
        {"users": 0, "down_s": "long"},
        {"users": 0, "touch": 7},
        [],
        "text",
    ],
)
def test_a_senseless_change_is_a_400_and_changes_nothing(emu: Emulator, wanted: object) -> None:
    before = emu.external.settings
    status, value = change(emu, wanted)
    assert (status, bool(value["error"])) == (400, True)
    assert emu.external.settings == before
    assert ask(emu, "/users/7").json()["version"] == 0


def test_faults_are_scripted_over_http(emu: Emulator) -> None:
    with connected(emu) as peer:
        wanted = {"target": "external", "faults": [{"name": "empty", "status": 503}]}
        peer.send(post(emu, path="/_emulator/script", value=wanted))
        assert json.loads(peer.answer().body) == {"scripted": 1}
    assert statuses(emu, 2) == [503, 200]


def test_the_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_first(external_api, serving_emulator):
            assert external_api is serving_emulator.external
            assert external_api.base_url.startswith("https://127.0.0.1:")
            external_api.change(users=1)

        def test_second(external_api):
            assert external_api.settings.users == 10_000
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
