"""What a workspace says of an endpoint (``auth/endpoint.py``), and where a token goes by it."""

from __future__ import annotations

import math

from servingclient._types import Origin
from servingclient.auth.endpoint import Description, read_description, served_model_path
from servingclient.auth.origin import check_data_plane_url
from servingclient.errors import ConfigError, UntrustedEndpointError
from servingclient.transport.exchange import request_head

_WORKSPACE = Origin("https", "adb-1.2.azuredatabricks.net", 443)


def check(data: bytes) -> None:
    found = read_description(data)
    if found is None:
        return
    most = found.provisioned_concurrency
    assert most is None or 0 < most < math.inf
    if found.details is not None:
        found.details.encode()  # travels in a form
    if found.url is not None:
        _check_route(found)


def _check_route(found: Description) -> None:
    assert found.url is not None
    try:
        origin, path = check_data_plane_url(found.url, _WORKSPACE)
    except UntrustedEndpointError as error:
        assert len(str(error)) < 1_000
        return
    assert origin == _WORKSPACE or origin.host.endswith(".serving.azuredatabricks.net")
    assert (origin.scheme, origin.port) == ("https", 443)
    assert ".." not in path.split("/")
    request_head("POST", origin, path, [])
    try:
        served_model_path(path, "a-model")
    except ConfigError:
        pass  # a form for which there is none
