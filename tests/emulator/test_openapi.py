"""The query schema of an endpoint, and who gets none."""

from __future__ import annotations

from typing import Any

import pytest

from servingclient.emulator import Emulator, faults
from tests.emulator.peer import Answer, call, call_fast, read

PREFIX = "/api/2.0/serving-endpoints"
SCHEMA = {"int_col": "long", "float_col": "double", "string_col?": "string"}
LONG, DOUBLE, STRING = (
    {"type": "integer", "format": "int64"},
    {"type": "number", "format": "double"},
    {"type": "string"},
)


def asked(emu: Emulator, name: str) -> Answer:
    return read(emu, f"{PREFIX}/{name}/openapi", emu.token)


def forms(document: dict[str, Any], path: str = "/invocations") -> list[dict[str, Any]]:
    body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return [form["properties"] for form in body["schema"]["oneOf"]]


def test_the_documented_shape(emu: Emulator) -> None:
    emu.add_endpoint("typed", schema=SCHEMA)
    document = asked(emu, "typed").json()
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "typed"
    assert document["servers"] == [{"url": f"{emu.host}/serving-endpoints/typed"}]
    assert list(document["paths"]) == ["/served-models/typed-1/invocations", "/invocations"]
    split, records = forms(document)
    assert split["dataframe_split"]["properties"] == {
        "columns": {
            "description": "required fields: int_col, float_col",
            "type": "array",
            "items": {"type": "string", "enum": ["int_col", "float_col", "string_col"]},
        },
        "data": {
            "type": "array",
            "items": {"type": "array", "prefixItems": [LONG, DOUBLE, STRING]},
        },
    }
    assert records["dataframe_records"]["items"] == {
        "required": ["int_col", "float_col"],
        "type": "object",
        "properties": {"int_col": LONG, "float_col": DOUBLE, "string_col": STRING},
    }


def test_its_paths_are_those_that_answer(emu: Emulator) -> None:
    emu.add_endpoint("typed", schema=SCHEMA, served_models={"a": 50, "b": 50})
    document = asked(emu, "typed").json()
    base = document["servers"][0]["url"].removeprefix(emu.host)
    row = {"dataframe_records": [{"int_col": 1, "float_col": 2.5}]}
    assert len(document["paths"]) == 3
    for path in document["paths"]:
        assert call(emu, path=base + path, value=row).json() == {"predictions": [3.5]}


def test_of_a_route_optimized_endpoint_they_start_at_its_url(emu: Emulator) -> None:
    emu.change_endpoint("demo-fast", schema={"a": "double", "b": "double"})
    base = asked(emu, "demo-fast").json()["servers"][0]["url"]
    assert f"{base}/invocations" == emu.endpoint_url("demo-fast")
    assert call_fast(emu).status == 200


def test_every_type_has_a_word(emu: Emulator) -> None:
    kinds = ("integer", "float", "boolean", "datetime", "binary")
    emu.add_endpoint("typed", schema={kind: kind for kind in kinds})
    (_, records) = forms(asked(emu, "typed").json())
    assert set(records["dataframe_records"]["items"]["properties"]) == set(kinds)


def test_features_are_asked_for_by_record(emu: Emulator) -> None:
    emu.add_endpoint("features", kind="feature", schema={"id": "long"})
    document = asked(emu, "features").json()
    assert [list(form) for form in forms(document)] == [["dataframe_records"]]
    answer = document["paths"]["/invocations"]["post"]["responses"]["200"]
    assert list(answer["content"]["application/json"]["schema"]["properties"]) == ["outputs"]


@pytest.mark.parametrize(
    ("outputs", "items"),
    [
        ("long", {"type": "integer", "format": "int64"}),
        (
            {"label": "string"},
            {"type": "object", "properties": {"label": {"type": "string"}}},
        ),
    ],
)
def test_what_is_answered_is_told_where_it_is_known(
    emu: Emulator, outputs: Any, items: Any
) -> None:
    emu.add_endpoint("typed", schema={"a": "double"}, outputs=outputs)
    answer = asked(emu, "typed").json()["paths"]["/invocations"]["post"]["responses"]["200"]
    reply = answer["content"]["application/json"]["schema"]["properties"]["predictions"]
    assert reply == {"type": "array", "items": items}
    with pytest.raises(ValueError, match="unknown column type 'number'"):
        emu.add_endpoint("typed", outputs="number")


def test_there_is_none_without_a_signature_or_before_it_is_ready(emu: Emulator) -> None:
    refused = asked(emu, "demo")
    assert (refused.status, "has no signature" in refused.message) == (400, True)
    emu.change_endpoint("demo", schema={"a": "double"}, state="NOT_READY")
    refused = asked(emu, "demo")
    assert (refused.status, "READY" in refused.message) == (400, True)


def test_who_may_not_read_it(emu: Emulator) -> None:
    assert asked(emu, "nope").json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert read(emu, f"{PREFIX}/demo/openapi").status == 401
    emu.change_endpoint("demo", describable=False)
    assert asked(emu, "demo").json()["error_code"] == "PERMISSION_DENIED"


def test_it_can_be_scripted(emu: Emulator) -> None:
    emu.change_endpoint("demo", schema={"a": "double"})
    emu.openapi_script(faults.html(502))
    assert [asked(emu, "demo").status for _ in range(2)] == [502, 200]
    emu.openapi_always(faults.empty(503))
    assert asked(emu, "demo").status == 503
    assert read(emu, f"{PREFIX}/demo", emu.token).status == 200
    emu.openapi_always(None)
    assert asked(emu, "demo").status == 200
    assert [(record.kind, record.endpoint) for record in emu.requests] == [
        *[("openapi", "demo")] * 3,
        ("describe", "demo"),
        ("openapi", "demo"),
    ]
