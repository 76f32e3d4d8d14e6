"""The bill of materials tells what is run, and nothing of where it was made."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.security.sbom import main, rendered

pytestmark = pytest.mark.checkout


def component(name: str, version: str, **more: Any) -> dict[str, Any]:
    return {
        "bom-ref": f"{name}=={version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}?repository_url=https://mirror.example/simple",
        "type": "library",
        "description": "canary",
        "externalReferences": [{"type": "distribution", "url": "file:///canary/dist.whl"}],
        "licenses": [{"license": {"id": "MIT"}}],
    } | more


MADE: dict[str, Any] = {
    "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "serialNumber": "urn:uuid:canary",
    "metadata": {
        "timestamp": "canary",
        "tools": {"components": [{"name": "canary"}]},
        "component": {"bom-ref": "root-component", "name": "servingclient", "type": "library"},
    },
    "components": [
        component("pip", "23.2.1"),
        component("httpx", "0.28.1"),
        component("h11", "0.16.0"),
        component("httpcore", "1.0.9"),
    ],
    "dependencies": [
        {"ref": "root-component", "dependsOn": ["httpx==0.28.1"]},
        {"ref": "httpx==0.28.1", "dependsOn": ["httpcore==1.0.9"]},
        {"ref": "httpcore==1.0.9", "dependsOn": ["h11==0.16.0", "httpx==0.28.1"]},
        {"ref": "h11==0.16.0"},
        {"ref": "pip==23.2.1"},
    ],
}


def test_what_is_needed_is_listed_and_nothing_else() -> None:
    bill = rendered(MADE, "1.2.3")
    assert [one["name"] for one in bill["components"]] == ["h11", "httpcore", "httpx"]
    assert bill["components"][0] == {
        "bom-ref": "h11==0.16.0",
        "name": "h11",
        "version": "0.16.0",
        "purl": "pkg:pypi/h11@0.16.0",
        "type": "library",
        "licenses": [{"license": {"id": "MIT"}}],
    }
    own = bill["metadata"]["component"]
    assert (own["name"], own["version"]) == ("servingclient", "1.2.3")
    assert own["purl"] == "pkg:pypi/servingclient@1.2.3"
    refs = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    assert refs["httpcore==1.0.9"] == ["h11==0.16.0", "httpx==0.28.1"]
    assert set(refs) == {"root-component", *(one["bom-ref"] for one in bill["components"])}


def test_nothing_tells_where_or_when_it_was_made(tmp_path: Path) -> None:
    made, one, two = tmp_path / "made.json", tmp_path / "1.json", tmp_path / "2.json"
    made.write_text(json.dumps(MADE))
    assert main(str(made), "1.2.3", str(one)) == 0
    turned = copy.deepcopy(MADE)
    for name in ("components", "dependencies"):
        turned[name].reverse()
    made.write_text(json.dumps(turned))
    main(str(made), "1.2.3", str(two))
    assert one.read_bytes() == two.read_bytes()
    text = one.read_text()
    assert "canary" not in text
    assert "mirror" not in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize("components", [[], [component("pip", "23.2.1")]])
def test_an_empty_bill_is_none(components: list[Any]) -> None:
    with pytest.raises(ValueError, match="nothing that the library needs"):
        rendered(MADE | {"components": components}, "1.2.3")
