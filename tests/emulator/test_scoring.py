"""Bodies in and out, beyond the facts that are put to the real MLflow server in tests/peers."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import math
from collections import Counter
from typing import Any

import msgpack
import numpy as np
import pandas as pd
import pytest

from servingclient.emulator import Emulator
from tests.emulator.peer import TWO_ROWS, TWO_SUMS, Answer, call, call_fast


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (TWO_ROWS, [3.5, 7.0]),
        ({"dataframe_split": {"data": [[1, 2]]}}, [3.0]),
        ({"dataframe_split": {"columns": ["a"], "data": []}}, []),
        (
            {
                "dataframe_records": [
                    {"a": 1, "b": "x", "c": None},
                    {"c": "", "b": [2, {"z": 3}], "a": True},
                ]
            },
            [1.0, 6.0],
        ),
        ({"instances": [[1, 2], [3, 4]]}, [3.0, 7.0]),
        ({"instances": [1, 2]}, [1.0, 2.0]),
        ({"instances": [{"t": [[1, 2], [3]]}, {"t": [4]}]}, [6.0, 4.0]),
        ({"inputs": {"a": [1, 2], "b": [3, 4]}}, [4.0, 6.0]),
        ({"inputs": [[0.1] * 10]}, [1.0]),
        ({"inputs": 5}, 5.0),
    ],
)
def test_the_default_model_sums_each_row(emu: Emulator, value: Any, expected: Any) -> None:
    assert call(emu, value=value).json() == {"predictions": expected}


def test_sums_do_not_depend_on_the_order_of_columns(emu: Emulator) -> None:
    numbers = [0.1, 1e16, -1e16, 0.2, 7.0]
    bodies = [{"inputs": [row]} for row in (numbers, numbers[::-1])]
    first, second = (call(emu, value=body).json() for body in bodies)
    assert first == second


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("[NaN, 1]", math.isnan),
        ("[Infinity, 1]", math.isinf),
        ("[Infinity, -Infinity]", math.isnan),
        ("[1e+308, 1e+308]", math.isinf),
    ],
)
def test_what_is_no_finite_number_leaves_as_a_bare_word(
    emu: Emulator, text: str, check: Any
) -> None:
    answer = call(emu, value=f'{{"inputs": [{text}]}}'.encode())
    assert b"null" not in answer.body
    assert check(json.loads(answer.body)["predictions"][0])


def test_a_model_gets_rows_and_params(emu: Emulator) -> None:
    seen: list[Any] = []

    def model(rows: Any, params: Any = None) -> list[int]:
        seen.append((rows, params))
        return [1]

    emu.add_endpoint("mine", model)
    emu.add_endpoint("plain", lambda rows: [len(rows)])
    body = {**TWO_ROWS, "params": {"p": 1}}
    assert call(emu, "mine", body).json() == {"predictions": [1]}
    assert seen == [([{"a": 1, "b": 2.5}, {"a": 3, "b": 4}], {"p": 1})]
    assert call(emu, "plain", body).json() == {"predictions": [2]}


def test_a_model_without_a_signature_gets_rows_alone(emu: Emulator) -> None:
    emu.add_endpoint("builtin", max)
    assert call(emu, "builtin", {"instances": [1, 5, 3]}).json() == {"predictions": 5}


def test_a_model_gets_other_forms_as_they_are(emu: Emulator) -> None:
    seen: list[Any] = []
    emu.add_endpoint("mine", seen.append)
    for value in ({"a": [1, 2]}, [[1, 2]], "text"):
        call(emu, "mine", {"inputs": value})
        assert seen.pop() == value


def test_short_rows_and_missing_keys_are_nan(emu: Emulator) -> None:
    emu.add_endpoint("echo", lambda rows: rows)
    split = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3]]}}
    records = {"dataframe_records": [{"a": 1}, {"b": 2}]}
    assert call(emu, "echo", split).body.endswith(b'{"a": 3, "b": NaN}]}')
    assert call(emu, "echo", records).body.endswith(b'[{"a": 1, "b": NaN}, {"a": NaN, "b": 2}]}')


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"instances": [{"a": 1}, {"a": 2, "b": 3}]}, "The length of values for each input"),
        ({"instances": [[1, 2], [3]]}, "The detected shape was (2,) + inhomogeneous part."),
        ({"inputs": [[1, 2], 3]}, "setting an array element with a sequence."),
        ({"dataframe_split": {"columns": ["a"], "data": 5}}, "constructor not properly called!"),
        ({"dataframe_split": 3}, "must be a dictionary. Got type <class 'int'>."),
        ({"dataframe_records": None}, "Got type <class 'NoneType'>."),
        (b"3", "Received unexpected input type '<class 'int'>."),
    ],
)
def test_refusals(emu: Emulator, value: Any, message: str) -> None:
    answer = call(emu, value=value)
    assert (answer.status, answer.json()["error_code"]) == (400, "BAD_REQUEST")
    assert answer.message.startswith("Invalid input. ")
    assert message in answer.message
    assert not emu.executions("demo")


def test_bad_json_is_echoed(emu: Emulator) -> None:
    answer = call(emu, value=b'{"inputs": [secret')
    assert "JSONDecodeError" in answer.message
    assert "b'{\"inputs\": [secret'" in answer.message


def test_nesting_without_end_is_a_500(emu: Emulator) -> None:
    answer = call(emu, value=b'{"inputs":' + b"[" * 100_000)
    assert (answer.status, answer.body) == (500, b"Internal Server Error")


def test_csv_is_not_assumed_to_be_accepted(emu: Emulator) -> None:
    answer = call(emu, value=b"a\n1\n", content_type="text/csv")
    assert answer.status == 415
    assert answer.body.endswith(b"Types: ['application/json']. Got 'text/csv'.")


@pytest.mark.parametrize(
    ("content_type", "words"),
    [
        (
            "application/msgpack",
            "['text/csv', 'application/json', 'application/vnd.apache.parquet']",
        ),
        ("application/json; charset=latin-1", "The scoring server only supports UTF-8"),
        ("application/json; version=1", "Unrecognized content type parameters: version."),
    ],
)
def test_other_labels_are_a_415_in_plain_text(emu: Emulator, content_type: str, words: str) -> None:
    answer = call(emu, content_type=content_type)
    assert (answer.status, words in answer.body.decode()) == (415, True)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_charset_utf_8_is_no_other_label(emu: Emulator) -> None:
    assert call(emu, content_type="application/json; charset=UTF-8").json() == TWO_SUMS


def test_no_label_is_a_500(emu: Emulator) -> None:
    answer = call(emu, content_type=None)
    assert (answer.status, answer.body) == (500, b"Internal Server Error")


@pytest.mark.parametrize("value", [{}, {"inputs": [1], "instances": [1]}, [1]])
def test_exactly_one_of_the_four_keys(emu: Emulator, value: Any) -> None:
    answer = call(emu, value=value)
    assert (answer.status, answer.json()["sqlstate"]) == (400, "KAM00")
    assert "exactly one of the input fields" in answer.message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"columns": ["a"]}, "must have 'data' field and optionally 'columns' and 'index'"),
        ({"columns": ["a"], "data": [], "x": 1}, "must have 'data' field"),
        ({"columns": ["a"], "data": [[1, 2]]}, "1 columns passed, passed data had 2 columns"),
        ([], "Dataframe split format must be a dictionary. Got list."),
    ],
)
def test_a_split_that_is_none(emu: Emulator, value: Any, words: str) -> None:
    assert words in call(emu, value={"dataframe_split": value}).message


def test_without_orjson_all_is_the_same(emu: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    from servingclient.emulator import json_text

    monkeypatch.setattr(json_text, "_fast_loads", None)
    monkeypatch.setattr(json_text, "_fast_dumps", None)
    assert call(emu).body == b'{"predictions":[3.5,7.0]}'
    assert "JSONDecodeError" in call(emu, value=b"nope").message
    assert call_fast(emu).json() == TWO_SUMS


def test_a_failing_model_leaks_its_stack_trace(emu: Emulator) -> None:
    emu.add_endpoint("fails", lambda rows: 1 / 0)
    answer = call(emu, "fails")
    assert answer.status == 400
    assert "ZeroDivisionError" in answer.json()["stack_trace"]
    assert emu.requests[-1].executed


def test_a_value_without_a_json_form_fails_like_a_model(emu: Emulator) -> None:
    emu.add_endpoint("odd", lambda rows: object())
    answer = call(emu, "odd")
    assert (answer.status, "not JSON serializable" in answer.json()["stack_trace"]) == (400, True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (pd.Series([3.5, 7.0]), '[{"0": 3.5}, {"0": 7.0}]'),
        (pd.DataFrame({"a": [1]}), '[{"a": 1}]'),
        ({"a": [1, 2]}, '{"a": [1, 2]}'),
        (4.25, "4.25"),
        (b"abc", '"YWJj\\n"'),
        ([{"raw": b"abc"}], '[{"raw": "YWJj\\n"}]'),
        ([float("nan"), 1.0], "[NaN, 1.0]"),
        ([{"t": pd.NaT}], '[{"t": "NaT"}]'),
        ([pd.Series([1.5])[0]], "[1.5]"),
        (np.arange(4.0).reshape(2, 2), "[[0.0, 1.0], [2.0, 3.0]]"),
        ([{"v": np.array([1, 2])}], '[{"v": [1, 2]}]'),
        ([1.0, "x"], '[1.0, "x"]'),
        ([1e308, 1e308], "[1e+308, 1e+308]"),
        ([{"t": pd.Timestamp("2024-05-01")}], '[{"t": "2024-05-01T00:00:00"}]'),
        ([{"d": pd.Timestamp("2024-05-01").date()}], '[{"d": "2024-05-01"}]'),
    ],
    ids=repr,
)
def test_predictions_are_written_as_mlflow_writes_them(
    emu: Emulator, value: Any, text: str
) -> None:
    emu.add_endpoint("mine", lambda rows: value)
    body = call(emu, "mine").body.decode()
    assert body.replace(" ", "") == f'{{"predictions": {text}}}'.replace(" ", "")


def test_traffic_is_split_and_repeats_for_a_seed() -> None:
    def served(seed: int) -> list[str]:
        with Emulator(tls=False, seed=seed) as emu:
            emu.add_endpoint("split", served_models={"a": 80, "b": 20})
            return [call(emu, "split").headers["served-model-name"] for _ in range(60)]

    first = served(1)
    assert first == served(1)
    assert first != served(2)
    assert 36 <= Counter(first)["a"] <= 58


def test_one_served_model_can_be_asked_for(emu: Emulator) -> None:
    emu.add_endpoint(
        "split", {"a": lambda rows: "A", "b": lambda rows: "B"}, served_models={"a": 100, "b": 0}
    )
    path = "/serving-endpoints/split/served-models/{}/invocations"
    assert call(emu, "split").json() == {"predictions": "A"}
    asked = call(emu, path=path.format("b"))
    assert (asked.headers["served-model-name"], asked.json()) == ("b", {"predictions": "B"})
    assert call(emu, path=path.format("c")).status == 404
    assert emu.requests[1].served_model == "b"


def test_request_ids_come_in_all_three_headers_and_can_be_switched(emu: Emulator) -> None:
    names = ("x-databricks-request-id", "databricks-request-id", "x-request-id")
    headers = call(emu).headers
    assert {headers[name] for name in names} == {emu.requests[-1].request_id}
    emu.change(request_id_headers=("x-request-id",))
    headers = call(emu).headers
    assert [name in headers for name in names] == [False, False, True]


def test_gzip_requests_are_taken_for_json_until_they_are_switched_on(emu: Emulator) -> None:
    packed = gzip.compress(json.dumps(TWO_ROWS).encode())
    misread = call(emu, value=packed, content_encoding="gzip")
    assert (misread.status, misread.json()["error_code"]) == (400, "BAD_REQUEST")
    assert "UnicodeDecodeError" in misread.message
    assert not emu.executions("demo")
    emu.change(gzip_requests="accepted")
    assert call(emu, value=packed, content_encoding="gzip").json() == TWO_SUMS
    assert call(emu).json() == TWO_SUMS
    for damaged in (packed[:-9], b"no gzip"):
        assert call(emu, value=damaged, content_encoding="gzip").status == 400


def test_or_refused_by_name(emu: Emulator) -> None:
    emu.change(gzip_requests="refused")
    packed = gzip.compress(json.dumps(TWO_ROWS).encode())
    assert call(emu, value=packed, content_encoding="gzip").status == 415
    assert call(emu).json() == TWO_SUMS


@pytest.mark.parametrize("name", ["gzip_requests", "oversize", "accept"])
def test_an_unknown_word_is_refused(emu: Emulator, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=True: known are "):
        emu.change(**{name: True})


# ---------------------------------------- MessagePack, for a gateway of one's own


def packed_call(emu: Emulator, name: str, body: bytes) -> Answer:
    return call(emu, name, body, content_type="application/msgpack")


def test_msgpack_is_refused_until_it_is_switched_on(emu: Emulator) -> None:
    packed = msgpack.packb({**TWO_ROWS, "client_request_id": "r"})
    assert packed_call(emu, "demo", packed).status == 415
    emu.change_endpoint("demo", msgpack=True)
    answer = packed_call(emu, "demo", packed)
    assert answer.headers["content-type"] == "application/msgpack"
    assert msgpack.unpackb(answer.body) == TWO_SUMS
    assert emu.executions("demo")["r"] == 1
    assert call(emu).json() == TWO_SUMS


def test_its_predictions_are_those_of_json(emu: Emulator) -> None:
    said = [math.nan, "x", dt.date(2024, 5, 1), b"raw", None]
    emu.add_endpoint("odd", lambda rows: said, msgpack=True)
    got = msgpack.unpackb(packed_call(emu, "odd", msgpack.packb({"inputs": [1]})).body)
    assert math.isnan(got["predictions"][0])
    assert got["predictions"][1:] == ["x", "2024-05-01", b"raw", None]


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x81", b"\x01", b"\x90", b"\x01\x01"])
def test_bad_msgpack_is_refused_in_json(emu: Emulator, body: bytes) -> None:
    emu.change_endpoint("demo", msgpack=True)
    answer = packed_call(emu, "demo", body)
    assert (answer.status, answer.json()["error_code"]) == (400, "BAD_REQUEST")


# ---------------------------------------- models that tell on their caller

FORMS = [
    {"dataframe_split": {"columns": ["id", "x"], "data": [[7, 1.5], [8, 2.5]]}},
    {"dataframe_records": [{"id": 7, "x": 1.5}, {"id": 8, "x": 2.5}]},
    {"inputs": {"id": [7, 8], "x": [1.5, 2.5]}},
]


@pytest.mark.parametrize("value", FORMS)
def test_a_column_comes_back(emu: Emulator, value: Any) -> None:
    emu.add_endpoint("echo", echo="id")
    assert call(emu, "echo", value).json() == {"predictions": [7, 8]}
    emu.change_endpoint("echo", echo="y")
    assert call(emu, "echo", value).status == 400


@pytest.mark.parametrize("value", [*FORMS, {"instances": [[7, 1.5], [8, 2.5]]}, {"inputs": [7]}])
def test_one_poisoned_row_fails_them_all(emu: Emulator, value: Any) -> None:
    emu.add_endpoint("touchy", poison=-1)
    assert call(emu, "touchy", value).status == 200
    emu.change_endpoint("touchy", poison=7)
    answer = call(emu, "touchy", value)
    assert (answer.status, answer.json()["error_code"]) == (400, "BAD_REQUEST")
    assert "a row that holds 7" in answer.json()["stack_trace"]
    assert emu.requests[-1].executed


def test_a_models_own_code_is_poisoned_too(emu: Emulator) -> None:
    emu.add_endpoint("touchy", lambda rows: [1 for _ in rows], poison="bad")
    for cell, status in (("bad", 400), ("good", 200)):
        assert call(emu, "touchy", {"inputs": [cell]}).status == status


def test_the_size_limit_holds_for_what_a_gzip_request_inflates_to(emu: Emulator) -> None:
    emu.change(gzip_requests="accepted")
    emu.change_endpoint("demo", max_request_bytes=1000)
    packed = gzip.compress(json.dumps({"inputs": [0] * 1000}).encode())
    assert len(packed) < 1000
    answer = call(emu, value=packed, content_encoding="gzip")
    assert (answer.status, answer.message) == (400, "Request size cannot exceed 1000 bytes")


def test_gzip_replies_for_those_who_accept_them(emu: Emulator) -> None:
    emu.change(gzip_replies=True)
    packed = call(emu, accept_encoding="gzip, deflate")
    assert packed.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.body)) == TWO_SUMS
    assert call(emu).json() == TWO_SUMS


def test_features_answer_with_outputs(emu: Emulator) -> None:
    emu.add_endpoint("features", kind="feature")
    body = {"dataframe_records": [{"id": 7, "x": 1.5}]}
    assert call(emu, "features", body).json() == {
        "outputs": [{"id": 7, "x": 1.5, "feature_sum": 8.5}]
    }


def test_unified_input_is_answered_unwrapped(emu: Emulator) -> None:
    emu.add_endpoint("chat", lambda value: {"got": sorted(value)})
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    assert call(emu, "chat", body).json() == {"got": ["max_tokens", "messages"]}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"schema": {"a": "number"}}, "unknown column type 'number'"),
        ({"kind": "other"}, "unknown kind 'other'"),
        ({"served_models": {"a": 0}}, "no traffic goes to any"),
    ],
)
def test_a_senseless_endpoint_is_refused_at_once(
    emu: Emulator, spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        emu.add_endpoint("bad", **spec)
