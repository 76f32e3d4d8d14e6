"""The order of a call with stages around it, its one deadline, and whose error is raised."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from servingclient import (
    ClientClosedError,
    ConfigError,
    DeadlineExceeded,
    PayloadError,
    Prediction,
    QueueFull,
    ServerError,
    Timing,
)
from servingclient.stages.functions import NAMES, Stage, Stages, checked_stages
from servingclient.stages.staging import NotDone, Staging
from servingclient.stages.story import StagedStory, calls_around, opening_around
from servingclient.stages.threads import ThreadHands
from tests.story.world import ROWS, TIMEOUT_S, Answer, FakeWorld, Streams, event_stream, refused

Make = Callable[..., FakeWorld]

ANSWER = Answer(headers=(("x-request-id", "id-7"),))


class Hands(ThreadHands):
    """Runs in place; a function may say that it hangs."""

    def __init__(self, world: FakeWorld) -> None:
        super().__init__()
        self.world = world
        self.inside = 0

    def begin(self) -> None:
        super().begin()
        self.inside += 1

    def end(self) -> None:
        self.inside -= 1

    async def run(self, stage: Stage, arguments: tuple[Any, ...], left_s: float) -> Any:
        await self.world._pause()
        made = await super().run(stage, arguments, left_s)
        if made is HANGS:
            self.world.now_s += left_s
            raise NotDone
        return made


HANGS = object()


class Around:
    """Stages over a scripted world, with a note of what ran when."""

    def __init__(self, world: FakeWorld, **functions: Any) -> None:
        self.world = world
        self.ran: list[tuple[str, Any]] = []
        noted = {
            name: self._noting(name, given) if callable(given) else given
            for name, given in functions.items()
        }
        self.stages: Stages = checked_stages(noted, Stages(), asynchronous=False)
        self.hands = Hands(world)
        self.story = world.story
        self.staging = Staging(
            self.story.endpoint, self.stages, self.hands, world.now, world.recorder
        )
        self.calls = calls_around(self.story, self.story, self.staging)

    def _noting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            self.ran.append((name, given[0]))
            return function(*given)

        return noted

    def predict(self, inputs: Any = ROWS, timeout_s: float = TIMEOUT_S) -> Prediction:
        return self.world.run(
            self.calls.predict(inputs, None, None, None, None, timeout_s, True, 1)
        )

    @property
    def sent(self) -> list[Any]:
        """What arrived, as records."""
        found = []
        for send in self.world.sends:
            split = orjson.loads(send.body)["dataframe_split"]
            found.append([dict(zip(split["columns"], row, strict=True)) for row in split["data"]])
        return found


def takes(world: FakeWorld, seconds: float, made: Any) -> Callable[..., Any]:
    def function(*_: Any) -> Any:
        world.now_s += seconds
        return made

    return function


def raises(error: Exception) -> Callable[..., Any]:
    def function(*_: Any) -> Any:
        raise error

    return function


def test_stages_run_in_order_each_timed_apart(make: Make) -> None:
    world = make([Answer(takes_s=0.5)])
    around = Around(
        world,
        preprocess=takes(world, 0.25, [{"a": 1}]),
        enrich=takes(world, 0.125, [{"a": 1, "age": 40}]),
        postprocess=takes(world, 0.0625, ["high"]),
    )
    prediction = around.predict()
    assert around.ran == [
        ("preprocess", ROWS),
        ("enrich", [{"a": 1}]),
        ("postprocess", [3.5]),
    ]
    assert around.sent == [[{"a": 1, "age": 40}]]
    assert prediction.predictions == ["high"]
    assert prediction.to_pandas()["prediction"].tolist() == ["high"]
    timing = prediction.timing
    assert (timing.preprocess_s, timing.enrich_s, timing.postprocess_s) == (0.25, 0.125, 0.0625)
    assert timing.total_s == 0.25 + 0.125 + 0.5 + 0.0625
    assert timing.encode_s == 0.0, "stages are no part of encoding"
    assert prediction.enrichment_error is None
    assert around.hands.inside == 0
    assert pickle.loads(pickle.dumps(prediction)) == prediction


@pytest.mark.parametrize("name", ["preprocess", "enrich", "postprocess"])
def test_each_stage_may_be_alone(make: Make, name: str) -> None:
    world = make()
    made = ["low"] if name == "postprocess" else [{"a": 2}]
    around = Around(world, **{name: takes(world, 0.25, made)})
    prediction = around.predict()
    stages = {f"{one}_s": 0.25 if one == name else 0.0 for one in NAMES[:3]}
    assert {one: getattr(prediction.timing, one) for one in stages} == stages
    assert around.sent == ([ROWS] if name == "postprocess" else [[{"a": 2}]])


def test_without_stages_nothing_stands_in_between(make: Make) -> None:
    world = make()
    around = Around(world)
    assert around.calls is around.story
    assert not isinstance(around.calls, StagedStory)
    timing = around.predict().timing
    assert (timing.preprocess_s, timing.enrich_s, timing.postprocess_s) == (0.0, 0.0, 0.0)
    assert Timing(*range(8)).postprocess_s == 0.0


def test_the_figures_tell_each_stage_apart(make: Make) -> None:
    world = make()
    functions = {"preprocess": takes(world, 0.25, ROWS), "enrich": raises(Broken())}
    around = Around(
        world, **functions, postprocess=takes(world, 9.0, []), on_enrichment_error="null"
    )
    around.predict()
    with pytest.raises(DeadlineExceeded):
        around.predict(timeout_s=2.0)
    total, _ = world.recorder.read()
    assert [total.preprocess_s.count, total.enrich_s.count, total.postprocess_s.count] == [2, 0, 1]
    assert total.preprocess_s.quantile(0.5) == pytest.approx(0.25, rel=0.01)
    assert total.stage_errors == {"enrich": 2, "postprocess": 1}
    assert total.answered == 2, "the endpoint did answer"


# -- one deadline ---------------------------------------------------------------------------------


def test_what_stages_take_the_call_does_not_have(make: Make) -> None:
    world = make()
    started_s = world.now_s
    around = Around(world, preprocess=takes(world, 1.0, ROWS), enrich=takes(world, 0.5, ROWS))
    around.predict(timeout_s=2.0)
    assert world.sends[0].at_s == started_s + 1.5
    assert world.sends[0].deadline_s == pytest.approx(started_s + 2.0)


@pytest.mark.parametrize("name", ["preprocess", "enrich"])
@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("fallback", ["raise", "null"])
def test_a_stage_before_that_takes_all_time_is_named(
    make: Make, name: str, hangs: bool, fallback: str
) -> None:
    world = make()
    function = takes(world, 0.0, HANGS) if hangs else takes(world, 2.5, ROWS)
    functions = {"enrich": takes(world, 0.0, ROWS), name: function}
    around = Around(world, **functions, on_enrichment_error=fallback)
    with pytest.raises(DeadlineExceeded) as caught:
        around.predict(timeout_s=2.0)
    error = caught.value
    says = f"{name} was not done after 2.00 s" if hangs else f"{name} took 2.50 s"
    assert str(error).startswith(f"'fraud': {says} of the call")
    assert "timeout_s=2. Nothing was sent." in str(error)
    assert world.sends == []
    assert (error.endpoint, error.sent, error.stopped_by) == ("fraud", "no", "deadline")
    assert error.elapsed_s == (2.0 if hangs else 2.5)
    assert around.hands.inside == 0
    assert pickle.loads(pickle.dumps(error)).elapsed_s == error.elapsed_s


def test_a_late_postprocess_says_that_there_was_an_answer(make: Make) -> None:
    world = make([ANSWER])
    around = Around(world, postprocess=takes(world, 3.0, []))
    with pytest.raises(
        DeadlineExceeded, match=r"postprocess took 3\.00 s.*answered \(request id"
    ) as caught:
        around.predict(timeout_s=2.0)
    error = caught.value
    assert (error.sent, error.request_id, error.status_code) == ("yes", "id-7", 200)
    assert [attempt.status for attempt in error.attempts] == [200]


def test_a_deadline_in_the_call_tells_what_stages_took(make: Make) -> None:
    world = make([Answer(takes_s=5.0)])
    around = Around(world, preprocess=takes(world, 0.5, ROWS), enrich=takes(world, 1.0, ROWS))
    with pytest.raises(DeadlineExceeded) as caught:
        around.predict(timeout_s=2.0)
    assert str(caught.value).endswith(
        "Of timeout_s=2, preprocess 500 ms and enrich 1.00 s came before it."
    )
    assert caught.value.elapsed_s == 2.0


def test_other_errors_of_the_call_keep_their_words(make: Make) -> None:
    world = make([refused(500, "X", "broken")], settings=FakeWorld(False).settings)
    around = Around(world, preprocess=takes(world, 0.5, ROWS))
    with pytest.raises(ServerError) as caught:
        around.predict(timeout_s=60.0)
    assert "preprocess" not in str(caught.value)
    assert caught.value.elapsed_s == world.now_s - 1000.0


def test_a_full_queue_says_what_stages_took(make: Make) -> None:
    world = make(queue_full=True)
    around = Around(world, enrich=takes(world, 1.0, ROWS))
    with pytest.raises(QueueFull, match=r"Of timeout_s=10, enrich 1\.00 s came before it\.$"):
        around.predict()


# -- errors of the functions ----------------------------------------------------------------------


class Broken(Exception):  # noqa: N818 - says what it is
    """A caller's own."""


def notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", []))


@pytest.mark.parametrize("name", ["preprocess", "enrich", "postprocess"])
def test_an_error_of_a_function_travels_unchanged(make: Make, name: str) -> None:
    mine = Broken("mine")
    world = make([ANSWER])
    around = Around(world, **{name: raises(mine)})
    for _ in range(2):  # the very same object may be raised again
        with pytest.raises(Broken) as caught:
            around.predict()
        assert caught.value is mine
        assert caught.value.__cause__ is None
    after = name == "postprocess"
    assert len(world.sends) == (2 if after else 0)
    assert around.hands.inside == 0
    if sys.version_info >= (3, 11):
        (note,) = notes(mine)
        assert note.startswith(f"Raised by {name} of the client of 'fraud', ")
        assert ("answered (request id id-7)" if after else "before anything was sent") in note


def test_an_error_that_takes_no_notes_travels_too(make: Make) -> None:
    class Bare(Broken):
        add_note = None

    with pytest.raises(Bare):
        Around(make(), enrich=raises(Bare())).predict()


def test_an_answer_that_is_given_up_is_in_the_log(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Broken):
        Around(make([ANSWER]), postprocess=raises(Broken("canary"))).predict()
    assert caplog.messages == ["postprocess_failed endpoint=fraud error=Broken"]


@pytest.mark.parametrize("name", ["preprocess", "enrich", "on_enrichment_error"])
@pytest.mark.parametrize("fallback", ["raise", "null"])
def test_a_missing_return_is_found(make: Make, name: str, fallback: str) -> None:
    functions: dict[str, Any] = {"enrich": raises(Broken()), "on_enrichment_error": fallback}
    functions[name] = takes(make(), 0.0, None)
    if name == "preprocess":
        functions["enrich"] = takes(make(), 0.0, ROWS)
    world = make()
    with pytest.raises(PayloadError, match=f"^{name} returned None.*return") as caught:
        Around(world, **functions).predict()
    assert caught.value.endpoint == "fraud"
    assert world.sends == []


def test_postprocess_may_return_none(make: Make) -> None:
    assert Around(make(), postprocess=takes(make(), 0.0, None)).predict().predictions is None


def test_a_stop_iteration_ends_no_call_quietly(make: Make) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        Around(make(), preprocess=raises(StopIteration("mine"))).predict()


@pytest.mark.parametrize("name", ["preprocess", "enrich", "postprocess"])
@pytest.mark.parametrize("fallback", ["raise", "null"])
def test_a_coroutine_cannot_be_awaited_by_a_blocking_client(
    make: Make, name: str, fallback: str
) -> None:
    async def later(rows: Any) -> Any:
        return rows

    world = make()
    functions = {"enrich": list, name: lambda rows: later([*rows])}
    with pytest.raises(ConfigError, match=f"^{name} returned a coroutine.*AsyncServingClient"):
        Around(world, **functions, on_enrichment_error=fallback).predict()
    assert len(world.sends) == (name == "postprocess")


# -- what becomes of a failed enrichment ----------------------------------------------------------


def test_null_goes_on_with_what_was_given(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    world = make()
    around = Around(
        world,
        preprocess=takes(world, 0.0, [{"a": 1}]),
        enrich=raises(Broken("canary")),
        on_enrichment_error="null",
    )
    prediction = around.predict()
    assert around.sent == [[{"a": 1}]]
    assert prediction.enrichment_error == "Broken: canary"
    assert "enrichment_error=Broken" in repr(prediction)
    assert "canary" not in repr(prediction) + prediction._repr_html_() + caplog.text
    assert caplog.messages == ["enrichment_failed endpoint=fraud error=Broken"]
    restored = pickle.loads(pickle.dumps(prediction))
    assert restored.enrichment_error == "Broken: canary"
    assert restored == prediction
    assert notes(Broken()) == []


def test_a_function_builds_what_stands_in(make: Make) -> None:
    world = make()
    told: list[Any] = []

    def stand_in(rows: Any, error: Exception) -> Any:
        told.append((rows, error))
        world.now_s += 0.25
        return [{**row, "age": None} for row in rows]

    error = Broken()
    around = Around(world, enrich=raises(error), on_enrichment_error=stand_in)
    prediction = around.predict()
    assert told == [(ROWS, error)]
    assert around.sent == [[{**row, "age": None} for row in ROWS]]
    assert prediction.timing.enrich_s == 0.25
    assert prediction.enrichment_error == "Broken: "


def test_a_function_that_fails_too_raises_its_own(make: Make) -> None:
    world = make()
    around = Around(world, enrich=raises(Broken()), on_enrichment_error=raises(KeyError("age")))
    with pytest.raises(KeyError) as caught:
        around.predict()
    assert isinstance(caught.value.__context__, Broken)
    assert world.sends == []


def test_an_error_when_the_time_is_up_is_no_reason_to_go_on(make: Make) -> None:
    world = make()

    def slow(_: Any) -> Any:
        world.now_s += 3.0
        raise Broken

    around = Around(world, enrich=slow, on_enrichment_error="null")
    with pytest.raises(DeadlineExceeded, match=r"enrich took 3\.00 s") as caught:
        around.predict(timeout_s=2.0)
    assert isinstance(caught.value.__cause__, Broken)
    assert world.sends == []


def test_an_interrupt_is_no_enrichment_error(make: Make) -> None:
    class Stop(BaseException):
        pass

    def stopped(_: Any) -> Any:
        raise Stop

    world = make()
    around = Around(world, enrich=stopped, on_enrichment_error="null")
    with pytest.raises(Stop):
        around.predict()
    assert world.sends == []
    assert around.hands.inside == 0


# -- closed, and streams --------------------------------------------------------------------------


def test_a_closed_client_runs_no_function(make: Make) -> None:
    around = Around(make(), preprocess=takes(make(), 0.0, ROWS))
    around.hands.refuse()
    with pytest.raises(ClientClosedError, match="closed"):
        around.predict()
    assert around.ran == []


def test_a_stream_has_the_stages_before_it(make: Make) -> None:
    world = make([Streams(event_stream({"n": 1}))])
    around = Around(world, preprocess=takes(world, 1.0, [{"a": 9}]), enrich=lambda rows: rows)
    opening = opening_around(around.calls, around.story)
    opened = world.run(opening(ROWS, None, None, None, None, 4.0, True, 1))
    assert around.sent == [[{"a": 9}]]
    assert world.sends[0].deadline_s == pytest.approx(1004.0)
    world.run(opened.aclose())
    assert around.hands.inside == 0


def test_a_stream_with_postprocess_is_refused(make: Make) -> None:
    world = make()
    around = Around(world, preprocess=lambda rows: rows, postprocess=list)
    opening = opening_around(around.calls, around.story)
    with pytest.raises(ConfigError, match=r"with_options\(postprocess=None\)\.stream"):
        world.run(opening(ROWS, None, None, None, None, 4.0, True, 1))
    assert world.sends == []
    assert around.ran == []


def test_a_stream_that_does_not_open_says_what_stages_took(make: Make) -> None:
    world = make([Answer(takes_s=9.0)])
    around = Around(world, enrich=takes(world, 1.0, ROWS))
    opening = opening_around(around.calls, around.story)
    with pytest.raises(DeadlineExceeded, match=r"Of timeout_s=4, enrich 1\.00 s"):
        world.run(opening(ROWS, None, None, None, None, 4.0, True, 1))
