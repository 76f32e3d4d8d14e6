"""Ways for a call to fail, each by its name, with canaries in whatever it is given and answered."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from servingclient import ApiKey, Basic, HeaderProvider, RedisCache, cli
from servingclient.emulator import Emulator, Fault, faults
from servingclient.settings import Batching, Concurrency, Queue, Retry
from tests.doors.kit import Who, pat
from tests.enrichment.kit import LOCAL
from tests.scripted.server import (
    ScriptedServer,
    echo,
    eventually,
    fin,
    refused_port,
    reply,
    rst,
    stall,
)
from tests.security.canary import ID, NUMBER, PASSWORD, QUICK, REPLY, ROW, TEXT_ROW, WORD, Scene

Path_ = Callable[[Scene], object]

ONCE = LOCAL.replace(retry=Retry(max_attempts=1))


def predicting(fault: Fault, endpoint: str = "demo", inputs: Any = (ROW,)) -> Path_:
    """A call that is answered like that."""

    def path(scene: Scene) -> object:
        scene.emulator.always(endpoint, fault)
        client = scene.open(endpoint)
        return scene.door.predict(client, inputs, client_request_id=ID)

    return path


def given(inputs: Any, **options: Any) -> Path_:
    """A call that is refused before it is sent."""
    return lambda scene: scene.door.predict(scene.open(), inputs, **options)


class Odd:
    """What no model can be sent, and shows itself."""

    def __repr__(self) -> str:
        return f"Odd({WORD})"


def too_large(scene: Scene) -> object:
    """4 MB is the limit of an agent."""
    scene.emulator.add_endpoint("agent", kind="agent")
    return scene.door.predict(scene.open("agent"), {"messages": WORD * 350_000})


# -- calls ---------------------------------------------------------------------------------------


def no_host(scene: Scene) -> object:
    who = Who("https://no-such-host.invalid", scene.who.arguments)
    return scene.door.predict(scene.open(who=who))


def refused(scene: Scene) -> object:
    who = Who(f"http://127.0.0.1:{refused_port()}", scene.who.arguments)
    return scene.door.predict(scene.open(who=who))


def unsigned(scene: Scene) -> object:
    with Emulator() as emulator:
        client = scene.open(who=Who(emulator.host, scene.who.arguments))
        try:
            return scene.door.predict(client)
        finally:
            scene.door.close(client)


def proxied(scene: Scene) -> object:
    refusal = reply(PASSWORD.encode(), status="407 Proxy Authentication Required")
    with ScriptedServer(refusal) as proxy:
        rules = QUICK.replace(proxy=f"http://me:{PASSWORD}@127.0.0.1:{proxy.port}")
        client = scene.open(who=Who("https://ws.example", scene.who.arguments), rules=rules)
        try:
            return scene.door.predict(client)
        finally:
            scene.door.close(client)


def full(scene: Scene) -> object:
    scene.emulator.always("demo", faults.slow(0.3))
    rules = QUICK.replace(
        queue=Queue(max_calls=1), concurrency=Concurrency(adaptive=False, initial_calls=1)
    )
    client = scene.open(rules=rules)
    outcomes = scene.door.many(client, [{"inputs": [ROW], "client_request_id": ID}] * 8)
    raise next(one for one in outcomes if isinstance(one, BaseException))


def closed(scene: Scene) -> object:
    client = scene.open()
    scene.door.close(client)
    return scene.door.predict(client)


def late(scene: Scene) -> object:
    scene.emulator.always("demo", faults.hang())
    return scene.door.predict(scene.open(), timeout=0.1)


def revoked(scene: Scene) -> object:
    scene.emulator.always("demo", faults.invalid_token(401))
    return scene.door.predict(scene.open())


def pat_on_fast(scene: Scene) -> object:
    return scene.door.predict(scene.open("demo-fast", pat(scene.emulator)))


def login_echo(status: int) -> Path_:
    def path(scene: Scene) -> object:
        sent = " ".join((*scene.who.secrets, scene.basic))
        body = json.dumps({"error": "invalid_client", "error_description": sent}).encode()
        scene.emulator.token_always(faults.answer(status, body))
        return scene.door.predict(scene.open())

    return path


def warmup(scene: Scene) -> object:
    scene.emulator.token_always(faults.answer(400, scene.who.secrets[0].encode()))
    return scene.door.run(scene.open().warmup())


def described_elsewhere(scene: Scene) -> object:
    address = f"https://{REPLY}@evil.example/x?token={REPLY}"
    info = {"query_info": {"endpoint_url": address}}
    body = {"name": "demo-fast", "route_optimized": True, "id": "1", "data_plane_info": info}
    scene.emulator.describe_always(faults.answer(200, json.dumps(body).encode()))
    return scene.door.predict(scene.open("demo-fast"))


def signature_unread(scene: Scene) -> object:
    """``explain`` reads the endpoint's description."""
    scene.emulator.describe_always(faults.answer(500, " ".join(scene.canaries).encode()))
    return scene.door.run(scene.open().explain([{"a": Odd()}]))


# -- shared requests, bulk jobs, streams, stages -------------------------------------------------


@contextlib.contextmanager
def all_together(scene: Scene, client: Any, calls: int) -> Iterator[None]:
    """Threads that begin one after the other share a request: its place is free once all wait.

    Tasks are begun in one round of the loop.
    """
    if scene.door.colour == "async":
        yield
        return
    gate = client._story.world.gate
    assert gate.try_enter()

    def leave_when_all_wait() -> None:
        eventually(lambda: client.stats().batching.waiting == calls, 10.0)
        gate.leave()

    leaving = threading.Thread(target=leave_when_all_wait)
    leaving.start()
    try:
        yield
    finally:
        leaving.join()


def batched(fault: Fault) -> Path_:
    def path(scene: Scene) -> object:
        scene.emulator.always("demo", fault)
        rules = QUICK.replace(
            batching=Batching(max_wait_s=0.02),
            concurrency=Concurrency(adaptive=False, initial_calls=1),
        )
        client = scene.open(rules=rules)
        with all_together(scene, client, 4):
            outcomes = scene.door.many(client, [{"inputs": [ROW]}] * 4)
        failed = [one for one in outcomes if isinstance(one, BaseException)]
        scene.errors += failed[1:]
        raise failed[0]

    return path


def job(scene: Scene, inputs: Any, client: Any = None, **options: Any) -> list[Any]:
    """All results of a bulk job."""
    found = (client or scene.open()).map(inputs, **options)
    if scene.door.colour == "sync":
        with found as results:
            return list(results)

    async def collect() -> list[Any]:
        async with found as results:
            return [one async for one in results]

    return list(scene.door.run(collect()))


def map_raises(scene: Scene) -> object:
    scene.emulator.always("demo", faults.echo_authorization(400))
    return job(scene, [ROW] * 4)


def map_returns(scene: Scene) -> object:
    scene.emulator.always("demo", faults.misshapen("short"))
    scene.errors += job(scene, [ROW] * 2, on_error="return")
    return job(scene, [ROW, {"a": Odd()}])


def map_of_another(scene: Scene) -> object:
    """A checkpoint that belongs to other rows."""
    file, client = scene.folder / "checkpoint", scene.open()
    job(scene, [ROW] * 4, client, checkpoint=file)
    return job(scene, [TEXT_ROW] * 4, client, checkpoint=file)


def streaming(fault: Fault) -> Path_:
    def path(scene: Scene) -> object:
        scene.emulator.add_endpoint("agent", kind="agent")
        scene.emulator.always("agent", fault)
        return scene.door.events(scene.open("agent"), {"messages": WORD}, client_request_id=ID)

    return path


SSE = "text/event-stream"


def stage(**stages: Any) -> Path_:
    return lambda scene: scene.door.predict(scene.open(**stages))


def not_data(_: Any) -> Any:
    return Odd()


# -- external APIs and Redis ---------------------------------------------------------------------

AUTHS: dict[str, Any] = {
    "bearer": PASSWORD,
    "basic": Basic("anna", PASSWORD),
    "key": ApiKey(PASSWORD),
    "provider": HeaderProvider(lambda: {"Authorization": PASSWORD}, principal="me"),
}


def asking(answer: Any, auth: str = "bearer", rules: Any = ONCE) -> Path_:
    """A call of an external API that answers like that."""

    def path(scene: Scene) -> object:
        with ScriptedServer(answer) as api:
            client = scene.api(api, rules, auth=AUTHS[auth], headers={"X-Tenant": PASSWORD})
            try:
                params = {"q": WORD}
                return scene.api_door.run(client.get("/users/{id}", id=WORD, params=params))
            finally:
                scene.api_door.close(client)

    return path


def posting(scene: Scene) -> object:
    with ScriptedServer(reply(b"{}", status="500 No")) as api:
        client = scene.api(api, ONCE, auth=PASSWORD)
        return scene.api_door.run(client.post("/scores", json=TEXT_ROW))


def many_of_them(scene: Scene) -> object:
    with ScriptedServer(reply(b"{}", status="404 No")) as api:
        client = scene.api(api, ONCE.replace(max_value_bytes=100), auth=PASSWORD)
        return scene.api_door.run(client.get_many("/users/{id}", [WORD, ".."]))


def provider_fails(scene: Scene) -> object:
    def token() -> dict[str, str]:
        raise LookupError("no such key")

    client = scene.api("https://api.example", auth=HeaderProvider(token, principal=PASSWORD))
    return scene.api_door.run(client.get("/a"))


def provider_injects(scene: Scene) -> object:
    auth = HeaderProvider(lambda: {"X-A": f"{PASSWORD}\r\nX-B: 1"}, principal="me")
    return scene.api_door.run(scene.api("https://api.example", auth=auth).get("/a"))


def breaker_opens(scene: Scene) -> object:
    with ScriptedServer(reply(PASSWORD.encode(), status="500 No")) as api:
        client = scene.api(api, LOCAL, auth=PASSWORD)
        for number in range(40):
            with contextlib.suppress(Exception):  # the one that finds it open is looked at
                scene.api_door.run(client.get("/a", params={"q": f"{WORD}{number}"}, timeout=1))
        return scene.api_door.run(client.get("/a", params={"q": WORD}))


def told_of(url: str) -> Path_:
    return lambda scene: scene.api(url, ONCE)


def enriched(scene: Scene) -> object:
    with ScriptedServer(echo(echoed)) as api:
        users = scene.api(api, ONCE, auth=PASSWORD)
        if scene.door.colour == "sync":
            client = scene.open(enrich=lambda rows: users.get("/users/{id}", id=WORD).value)
            return scene.door.predict(client)

        async def enrich(_: Any) -> Any:
            return (await users.get("/users/{id}", id=WORD)).value

        return scene.door.predict(scene.open(enrich=enrich))


def echoed(request: Any) -> bytes:
    """A refusal that quotes what it was sent."""
    message = f"bad {request.headers.get('authorization')} {request.headers.get('x-api-key')}"
    body = json.dumps({"error_code": "BAD", "message": message}).encode()
    return reply(body, status="400 Bad Request")


def redis(answer: bytes | None) -> Path_:
    """A Redis that quotes the password, or is not there: no error, but much to log."""

    def path(scene: Scene) -> object:
        async def refuse(connection: Any) -> None:
            assert answer is not None
            await connection.send(answer)

        api = ScriptedServer(echo(lambda _: reply(json.dumps(REPLY).encode())))
        with ScriptedServer(greeting=refuse) as server, api:
            port = refused_port() if answer is None else server.port
            cache = RedisCache(f"redis://me:{PASSWORD}@127.0.0.1:{port}/0", secret=PASSWORD)
            client = scene.api(api, ONCE, auth=PASSWORD, cache=cache)
            for number in range(3):
                found = client.get("/users/{id}", id=f"{WORD}{number}", tags=(WORD,))
                scene.more.append(repr(scene.api_door.run(found).source))
            scene.api_door.run(client.invalidate(tag=WORD))
            scene.more.append(f"{cache!r} {client!r}")
            scene.api_door.close(client)
        return None

    return path


# -- commands ------------------------------------------------------------------------------------


def command(*words: str, file: bool = False, status: int = 400) -> Path_:
    """What a command prints when the endpoint quotes what it was sent; there is no colour to it."""

    def path(scene: Scene) -> object:
        emulator = scene.emulator
        emulator.always("demo", faults.echo_authorization(status))
        sent = f"got {emulator.client_secret} {emulator.token}"
        emulator.describe_always(faults.answer(500, json.dumps({"message": sent}).encode()))
        given = [word.replace("ROWS", str(rows_file(scene))) for word in words]
        with signed_in(emulator):
            scene.more.append(f"exit code {cli.main(given)}")
        return None

    return path


def rows_file(scene: Scene) -> Path:
    file = scene.folder / "rows.json"
    file.write_text(json.dumps([{"a": NUMBER, "text": WORD}]))
    return file


@contextlib.contextmanager
def signed_in(emulator: Emulator) -> Iterator[None]:
    """The environment of a principal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABRICKS_HOST", emulator.host)
        patch.setenv("DATABRICKS_CLIENT_ID", emulator.client_id)
        patch.setenv("DATABRICKS_CLIENT_SECRET", emulator.client_secret)
        yield


GOOD_BUT = json.dumps({"predictions": [REPLY]}).encode()

CALLS: dict[str, Path_] = {
    "400 that quotes the credential": predicting(faults.echo_authorization(400)),
    "401 that quotes the credential": predicting(faults.echo_authorization(401)),
    "401 for good": revoked,
    "403 that quotes the credential": predicting(faults.echo_authorization(403)),
    "403 of a list of addresses": predicting(faults.ip_access_list()),
    "404 that quotes the credential": predicting(faults.echo_authorization(404)),
    "413 that quotes the credential": predicting(faults.echo_authorization(413)),
    "429 that asks for an hour": predicting(faults.throttled(retry_after=3600)),
    "500 that quotes the credential": predicting(faults.echo_authorization(500)),
    "503 that quotes the credential": predicting(faults.echo_authorization(503)),
    "502 of a page": predicting(faults.html(502)),
    "login page": predicting(faults.login_page()),
    "redirect with a token in it": predicting(
        faults.redirect(f"https://evil.example/{PASSWORD}?token={PASSWORD}")
    ),
    "reply of text": predicting(faults.answer(200, REPLY.encode(), content_type="text/plain")),
    "reply cut off": predicting(faults.body(GOOD_BUT[:-2])),
    "reply without predictions": predicting(faults.body(json.dumps({"x": REPLY}).encode())),
    "reply too large": predicting(faults.body(GOOD_BUT + b" " * (2 << 20))),
    "reply of bad gzip": predicting(faults.gzip("bad_checksum")),
    "reply in brotli": predicting(
        faults.answer(200, REPLY.encode(), headers={"content-encoding": "br"}, executed=True)
    ),
    "bomb": predicting(faults.gzip_bomb(8 << 20)),
    "no HTTP": predicting(faults.raw(f"SSH-2.0-{REPLY}\r\n".encode())),
    "reset in mid reply": predicting(faults.reset("mid_reply")),
    "deadline": late,
    "refused connection": refused,
    "name that does not resolve": no_host,
    "certificate nobody signed": unsigned,
    "proxy that refuses": proxied,
    "queue full": full,
    "closed": closed,
    "nan": given([{"a": float("nan"), "text": WORD}]),
    "value no model can be sent": given([{"a": NUMBER, "b": Odd()}]),
    "bytes": given([{"a": WORD.encode()}]),
    "row too large": too_large,
    "lone surrogate": given([{"a": WORD + "\ud800"}]),
    "bad parameters": given([ROW], params={"x": Odd()}),
    "bad label": given([ROW], usage_context={"x": Odd()}),
    "login 400 that quotes": login_echo(400),
    "login 401 that quotes": login_echo(401),
    "login 500 that quotes": login_echo(500),
    "warm-up": warmup,
    "PAT on a route-optimized endpoint": pat_on_fast,
    "address of somebody else": described_elsewhere,
    "explain": signature_unread,
    "shared request refused": batched(faults.echo_authorization(400)),
    "shared answer too short": batched(faults.misshapen("short")),
    "shared answer of no list": batched(
        faults.body(GOOD_BUT.replace(b"[", b"").replace(b"]", b""))
    ),
    "map that raises": map_raises,
    "map that returns errors": map_returns,
    "map with the checkpoint of another": map_of_another,
    "stream refused": streaming(faults.echo_authorization(401)),
    "stream cut": streaming(faults.cut_stream()),
    "stream whose event is no JSON": streaming(
        faults.answer(200, f"data: {{{REPLY}\n\n".encode(), content_type=SSE, executed=True)
    ),
    "stream that ends in an error": streaming(faults.stream_error()),
    "preprocess of no data": stage(preprocess=not_data),
    "enrich that fails": enriched,
}

APIS: dict[str, Path_] = {
    "API 400 that quotes, bearer": asking(echo(echoed)),
    "API 400 that quotes, basic": asking(echo(echoed), "basic"),
    "API 400 that quotes, key": asking(echo(echoed), "key"),
    "API 400 that quotes, provider": asking(echo(echoed), "provider"),
    "API 401": asking(reply(PASSWORD.encode(), status="401 No"), "provider"),
    "API 429": asking(reply(b"{}", "Retry-After: 3600", status="429 No")),
    "API 500 of text": asking(reply(f"no {PASSWORD}".encode(), status="500 No")),
    "API redirect": asking(
        reply(b"", f"Location: https://e.example/?k={PASSWORD}", status="302 x")
    ),
    "API reply of no JSON": asking(reply(REPLY.encode())),
    "API reply too large": asking(
        reply(json.dumps(REPLY * 99).encode()), rules=ONCE.replace(max_value_bytes=100)
    ),
    "API reset": asking(rst()),
    "API hangs up": asking(fin()),
    "API deadline": asking(stall(), rules=ONCE.replace(timeout_s=0.1)),
    "API post": posting,
    "API of many": many_of_them,
    "API provider that fails": provider_fails,
    "API provider that injects": provider_injects,
    "API left alone": breaker_opens,
    "API with a password in its URL": told_of(f"https://u:{ID}@api.example"),
    "API with a key in its URL": told_of(f"https://api.example/?key={ID}"),
}

REDIS: dict[str, Path_] = {
    "Redis that quotes the password": redis(f"-WRONGPASS {PASSWORD} is wrong\r\n".encode() * 9),
    "Redis of nonsense": redis(f"$9\r\n{PASSWORD}{REPLY}".encode() * 9),
    "Redis that is not there": redis(None),
}

COMMANDS: dict[str, Path_] = {
    "command predict": command("predict", "demo", "--input", "ROWS", "--stats"),
    "command map": command("map", "demo", "--input", "ROWS", "--progress"),
    "command explain": command("explain", "demo", "--input", "ROWS"),
    "command doctor": command("doctor", "demo", "--payload", "ROWS", "--calls", "3"),
    "command loadtest": command(
        "loadtest", "demo", "--payload", "ROWS", "--qps", "20", "--seconds", "3", "--warmup-s", "1"
    ),
    "command metrics": command("metrics", "demo"),
}
