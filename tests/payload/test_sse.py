"""Server-sent events, however the bytes arrive."""

from __future__ import annotations

import pytest

from servingclient.errors import StreamError
from servingclient.payload.sse import SseEvent, SseParser, event_value
from tests.stopwatch import Stopwatch

STREAM = (
    b"\xef\xbb\xbf: a comment\n"
    b'data: {"delta": "Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x8e\x88"}\n\n'
    b"event: note\nid: 7\ndata: first\ndata:second\ndata\n\n"
    b"retry: 100\nunknown: x\n\n"
    b"data:  two spaces\n\n"
    b"data: [DONE]\n\n"
    b"data: after the end\n\n"
)
EVENTS = [
    SseEvent("message", '{"delta": "Grüße 🎈"}', None),
    SseEvent("note", "first\nsecond\n", "7"),
    SseEvent("message", " two spaces", "7"),
]


def parsed(chunks):
    parser = SseParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    parser.finish()
    assert parser.done
    return events


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 1000])
def test_58_lines_and_characters_may_be_split_anywhere(end, size):
    data = STREAM.replace(b"\n", end)
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert parsed(chunks) == EVENTS
    with_gaps = [piece for chunk in chunks for piece in (chunk, b"")]
    assert parsed(with_gaps) == EVENTS


def test_an_event_comes_as_soon_as_its_blank_line():
    parser = SseParser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\n") == [SseEvent("message", "a", None)]
    assert parser.feed(b"data: b\r\n\r\n") == [SseEvent("message", "b", None)]


def test_a_lone_cr_ends_a_line_when_the_next_byte_is_no_lf():
    parser = SseParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\r") == []
    assert parser.feed(b"x") == [SseEvent("message", "a", None)]


def test_an_id_with_a_null_is_ignored_and_an_empty_one_resets():
    parser = SseParser()
    data = b"id: a\ndata: 1\n\nid: b\0\ndata: 2\n\nid\ndata: 3\n\n"
    assert [event.id for event in parser.feed(data)] == ["a", "a", ""]


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r", b"\r\n", b"\n\n"])
def test_58_done_counts_without_its_blank_line(tail):
    assert parsed([b"data: 1\n\n", b"data: [DONE]" + tail]) == [SseEvent("message", "1", None)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"data: 1\n\n",
        b"data: 1\n",
        b"data: 1",
        b"data: [DON",
        b"data: [DONE]\ndata: x\n\n",
        b"data: \xf0\x9f",
        b"data: 1\n\ndata: \xc3",
    ],
)
def test_58_a_stream_without_done_was_cut_off(data):
    parser = SseParser()
    parser.feed(data)
    with pytest.raises(StreamError):
        parser.finish()


def test_58_an_incomplete_event_is_not_delivered():
    parser = SseParser()
    assert parser.feed(b'data: {"a": 1') == []
    with pytest.raises(StreamError, match=r"before \[DONE\]"):
        parser.finish()


@pytest.mark.parametrize("size", [1000, 65536, 20_000_000])
@pytest.mark.parametrize("field", [b"data: ", b": ", b"unknown: ", b""])
def test_58_a_line_of_10_mb_is_refused_before_it_is_held(size, field):
    parser = SseParser()
    line = field + b"x" * 10_000_000
    taken = []

    def feed_all():
        for start in range(0, len(line), size):
            taken.append(size)
            parser.feed(line[start : start + size])

    with Stopwatch() as watch:
        with pytest.raises(StreamError, match="over 4,194,304 bytes"):
            feed_all()
        assert sum(taken) <= 4_194_304 + size
    assert watch.took_s < 2


def test_58_an_event_of_many_lines_is_bounded_too():
    parser = SseParser(max_event_bytes=100)
    for _ in range(10):
        parser.feed(b"data: abcd\n")
    with pytest.raises(StreamError):
        parser.feed(b"data: abcd\n")


def test_58_events_before_a_fault_come_first_and_the_fault_with_the_next_call():
    for then in (SseParser.finish, lambda parser: parser.feed(b"data: 2\n\n")):
        parser = SseParser()
        assert parser.feed(b"data: 1\n\ndata: \xff\n\n") == [SseEvent("message", "1", None)]
        with pytest.raises(StreamError, match="UTF-8"):
            then(parser)


def test_nothing_is_read_after_done():
    parser = SseParser()
    assert parser.feed(b"data: [DONE]\n\n") == []
    assert parser.feed(b"data: \xff\n\n") == []
    parser.finish()


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3(", b"\xed\xa0\x80"])
def test_58_bytes_that_are_no_utf8_are_refused(bad):
    with pytest.raises(StreamError, match="UTF-8"):
        SseParser().feed(b"data: " + bad + b"\n\n")


def test_byte_by_byte_takes_linear_time():
    parser = SseParser()
    with Stopwatch() as watch:
        for _ in range(300_000):
            parser.feed(b"x")
    assert watch.took_s < 5


# ------------------------------------------------------------------------------- values


def value(data, event="message"):
    return event_value(SseEvent(event, data, None), ("tok-1",))


def test_the_value_of_an_event_is_its_json():
    assert value('{"choices": [1], "error": null}') == {"choices": [1], "error": None}
    assert value("[NaN, 1]")[1] == 1
    assert value('"text"') == "text"


@pytest.mark.parametrize(
    ("data", "event", "words"),
    [
        (
            '{"error": {"message": "too slow tok-1", "type": "timeout"}}',
            "message",
            "timeout: too slow",
        ),
        ('{"error": "boom"}', "message", "boom"),
        ('{"error_code": "INTERNAL", "message": "boom"}', "message", "INTERNAL: boom"),
        ('{"message": "boom"}', "error", "boom"),
        ("plain words", "error", "plain words"),
        ("", "error", "broke off"),
    ],
)
def test_58_an_error_event_raises_with_its_words(data, event, words):
    with pytest.raises(StreamError, match=words) as caught:
        value(data, event)
    assert "tok-1" not in str(caught.value)


@pytest.mark.parametrize("data", ["", "not json customer-4711", '{"a": ', "1e400", "[" * 2000])
def test_58_data_that_is_no_json_is_an_error_without_the_data(data):
    with pytest.raises(StreamError, match="no JSON") as caught:
        value(data)
    assert "customer" not in str(caught.value)
