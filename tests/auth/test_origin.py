"""Hosts, names and addresses: what a credential may travel to (inputs 24-26 and A4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient._types import Origin
from servingclient.auth.origin import (
    check_data_plane_url,
    check_endpoint_name,
    check_served_model_name,
    is_loopback,
    parse_host,
    trusted,
    zone_of,
)
from servingclient.errors import ConfigError, UntrustedEndpointError

AWS = parse_host("https://ws.cloud.databricks.com")
AZURE = parse_host("https://adb-1.2.azuredatabricks.net")
GCP = parse_host("https://1.2.gcp.databricks.com")
LOCAL = parse_host("http://127.0.0.1:8080")
PRIVATE = parse_host("https://databricks.corp.example")
PATH = "/12/serving-endpoints/m/invocations"


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://ws.cloud.databricks.com", ("https", "ws.cloud.databricks.com", 443)),
        ("ws.cloud.databricks.com", ("https", "ws.cloud.databricks.com", 443)),
        ("https://WS.Cloud.Databricks.COM/", ("https", "ws.cloud.databricks.com", 443)),
        ("HTTPS://gw.corp.example:8443", ("https", "gw.corp.example", 8443)),
        ("10.1.2.3:8443", ("https", "10.1.2.3", 8443)),
        ("http://127.0.0.1:80", ("http", "127.0.0.1", 80)),
        ("http://127.9.9.9", ("http", "127.9.9.9", 80)),
        ("http://localhost:5000/", ("http", "localhost", 5000)),
        ("http://[::1]:5000", ("http", "::1", 5000)),
        ("https://[2001:DB8::1]", ("https", "2001:db8::1", 443)),
        ("my_gateway", ("https", "my_gateway", 443)),
    ],
)
def test_24_a_host_the_user_named(text: str, origin: tuple[str, str, int]) -> None:
    assert parse_host(text) == Origin(*origin)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("https://", "not a host name"),
        ("http://ws.cloud.databricks.com", "plain http"),
        ("http://10.0.0.1", "plain http"),
        ("http://127.0.0.1.evil.com", "plain http"),
        ("http://localhost.evil.com", "plain http"),
        ("ftp://ws.cloud.databricks.com", "scheme"),
        ("https://user:pass@ws.cloud.databricks.com", "user info"),
        ("https://ws.cloud.databricks.com@evil.com", "user info"),
        ("https://ws.cloud.databricks.com/?o=123", "query"),
        ("https://ws.cloud.databricks.com#x", "fragment"),
        ("https://ws.cloud.databricks.com/serving-endpoints", "path"),
        ("https://ws.cloud.databricks.com//", "path"),
        ("https://ws.cloud.databricks.com\\@evil.com", "user info"),
        ("https://wörkspace.example", "ASCII"),
        ("https://ws.cloud.databricks.com\uff0eevil.com", "ASCII"),
        (" https://ws.cloud.databricks.com", "blanks"),
        ("https://ws.cloud.databricks.com\n", "blanks"),
        ("https://ws\t.cloud.databricks.com", "blanks"),
        ("https://ws..databricks.com", "no valid host"),
        ("https://ws.databricks.com.", "no valid host"),
        ("https://-ws.example", "no valid host"),
        ("https://" + "a" * 64 + ".example", "no valid host"),
        ("https://127.1", "no valid host"),
        ("https://2130706433", "no valid host"),
        ("https://0x7f.0x1", "no valid host"),
        ("https://0177.0.0.1", "no valid host"),
        ("https://[::1", "not a host"),
        ("https://[fe80::1%25eth0]", "not a host"),
        ("https://ws.example:0", "no valid host"),
        ("https://ws.example:65536", "no valid host"),
        ("https://ws.example:99999999", "not a host"),
        ("https://ws.example:", "not a host"),
        (None, "NoneType"),
        (7, "int"),
    ],
)
def test_25_what_is_no_host_is_refused_without_being_quoted(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_host(text)
    assert "pass" not in str(caught.value)
    assert "evil" not in str(caught.value) or reason == "plain http"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("128.0.0.1", False),
        ("localhost.example", False),
        ("mylocalhost", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_cloud_of_a_workspace() -> None:
    assert zone_of("a.cloud.databricks.com") == ".cloud.databricks.com"
    assert zone_of("adb-1.2.azuredatabricks.net") == ".azuredatabricks.net"
    assert zone_of("1.2.gcp.databricks.com") == ".gcp.databricks.com"
    assert zone_of("adb-1.2.databricks.azure.us") == ".databricks.azure.us"
    assert zone_of("cloud.databricks.com") is None
    assert zone_of("evilcloud.databricks.com") is None


@pytest.mark.parametrize("name", ["fraud-model", "a", "A_1-b", "x" * 63])
def test_26_good_endpoint_names(name: str) -> None:
    assert check_endpoint_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "a?b",
        "a#b",
        "%2e%2e",
        "..\\x",
        "",
        ".",
        "x" * 64,
        "x" * 300,
        "a b",
        "a\n",
        "ä",
        None,
    ],
)
def test_26_bad_endpoint_names_say_what_to_do(name: str) -> None:
    with pytest.raises(ConfigError, match="Copy it from the Serving page"):
        check_endpoint_name(name)


@pytest.mark.parametrize("name", ["m-1", "main.default.m-1", "_x", "3"])
def test_good_served_model_names(name: str) -> None:
    assert check_served_model_name(name) == name


@pytest.mark.parametrize("name", [".", "..", ".x", "../x", "a/b", "a%2f", "", "a\r", "x" * 256])
def test_bad_served_model_names(name: str) -> None:
    with pytest.raises(ConfigError, match="served_model"):
        check_served_model_name(name)


@pytest.mark.parametrize(
    ("url", "workspace"),
    [
        (f"https://e1.serving.cloud.databricks.com{PATH}", AWS),
        (f"https://e1.serving.cloud.databricks.com:443{PATH}", AWS),
        (f"https://E1.Serving.Cloud.Databricks.com{PATH}", AWS),
        (f"https://e1.7.serving.azuredatabricks.net{PATH}", AZURE),
        (f"https://e1.serving.gcp.databricks.com{PATH}", GCP),
        (f"https://ws.cloud.databricks.com{PATH}", AWS),
        (f"https://databricks.corp.example{PATH}", PRIVATE),
        (f"http://127.0.0.1:9999{PATH}", LOCAL),
        (f"http://localhost:9999{PATH}", LOCAL),
        (f"https://127.0.0.1:9999{PATH}", LOCAL),
    ],
)
def test_a4_addresses_a_token_may_go_to(url: str, workspace: Origin) -> None:
    origin, path = check_data_plane_url(url, workspace)
    assert path == PATH
    assert str(origin).lower() in url.lower()


SPOOFED = [
    # a host that only begins, or ends without a label boundary, like ours
    ("https://e1.serving.cloud.databricks.com.evil.com", AWS),
    ("https://evilserving.cloud.databricks.com", AWS),
    ("https://e1-serving.cloud.databricks.com", AWS),
    ("https://evil.com", AWS),
    ("https://serving.cloud.databricks.com", AWS),
    # user info, in every disguise
    ("https://e1.serving.cloud.databricks.com@evil.com", AWS),
    ("https://e1.serving.cloud.databricks.com:443@evil.com", AWS),
    ("https://user@e1.serving.cloud.databricks.com", AWS),
    ("https://evil.com\\@e1.serving.cloud.databricks.com", AWS),
    ("https://evil.com#@e1.serving.cloud.databricks.com", AWS),
    ("https://evil.com?@e1.serving.cloud.databricks.com", AWS),
    # another cloud, another workspace, another scheme, another port
    ("https://e1.serving.azuredatabricks.net", AWS),
    ("https://e1.serving.cloud.databricks.com", AZURE),
    ("https://other.cloud.databricks.com", AWS),
    ("http://e1.serving.cloud.databricks.com", AWS),
    ("ftp://e1.serving.cloud.databricks.com", AWS),
    ("https://e1.serving.cloud.databricks.com:8443", AWS),
    ("https://ws.cloud.databricks.com:8443", AWS),
    ("e1.serving.cloud.databricks.com", AWS),
    ("//e1.serving.cloud.databricks.com", AWS),
    # loopback and inner hosts, from a workspace that is not there
    ("https://127.0.0.1", AWS),
    ("http://localhost", AWS),
    ("https://[::1]", AWS),
    ("https://169.254.169.254", AWS),
    ("https://2130706433", LOCAL),
    ("https://e1.serving.cloud.databricks.com", LOCAL),
    ("http://127.0.0.1:1", parse_host("https://127.0.0.1:2")),
    # a workspace with a name of its own vouches for nobody
    ("https://e1.serving.cloud.databricks.com", PRIVATE),
    # characters that other parsers drop or fold
    ("https://e1.serving.cloud.databricks.c\u043em", AWS),
    ("https://evil.com\u3002serving.cloud.databricks.com", AWS),
    ("https://e1.serving.cloud.databricks.com\t.evil.com", AWS),
    ("https://e1.serving.cloud.databricks.com\n", AWS),
    (" https://e1.serving.cloud.databricks.com", AWS),
    ("https://e1.serving.cloud.databricks.com.", AWS),
    ("https://e1%2eserving.cloud.databricks.com", AWS),
    ("https://-.serving.cloud.databricks.com", AWS),
    ("https:///e1.serving.cloud.databricks.com", AWS),
]


@pytest.mark.parametrize(("start", "workspace"), SPOOFED)
def test_a4_spoofed_addresses(start: str, workspace: Origin) -> None:
    with pytest.raises(UntrustedEndpointError, match=r"no token was sent.*trusted_hosts"):
        check_data_plane_url(start + PATH, workspace)


@pytest.mark.parametrize(
    "path",
    [
        "/../api/2.0/token/list",
        "/a/./b",
        "//x",
        "/a//b",
        "/a?x=1",
        "/a#f",
        "/%2e%2e/a",
        "/a b",
        "/a\\b",
        "/ä",
        "/a;b",
        "/x/",
    ],
)
def test_a4_paths_that_lead_elsewhere(path: str) -> None:
    with pytest.raises(UntrustedEndpointError):
        check_data_plane_url(f"https://e1.serving.cloud.databricks.com{path}", AWS)


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "https://e1.serving.cloud.databricks.com",
        "x" * 9999,
        "https://e1.serving.cloud.databricks.com/" + "x" * 3000,
    ],
)
def test_a4_what_is_no_address_at_all(url: str) -> None:
    with pytest.raises(UntrustedEndpointError):
        check_data_plane_url(url, AWS)


def test_hosts_the_user_trusts_may_use_any_port_but_not_plain_http() -> None:
    hosts = trusted(["GW.corp.example", "https://other.corp.example/"])
    for host in ("gw.corp.example:8443", "other.corp.example"):
        origin, _ = check_data_plane_url(f"https://{host}{PATH}", PRIVATE, hosts)
        assert origin.host in hosts
    for url in (f"http://gw.corp.example{PATH}", f"https://x.gw.corp.example{PATH}"):
        with pytest.raises(UntrustedEndpointError):
            check_data_plane_url(url, PRIVATE, hosts)


@pytest.mark.parametrize("host", ["*.corp.example", "", "gw.corp.example/x"])
def test_a_trusted_host_is_a_host(host: str) -> None:
    with pytest.raises(ConfigError):
        trusted([host])


@given(st.text(max_size=60))
def test_any_text_is_a_host_or_refused(text: str) -> None:
    try:
        origin = parse_host(text)
    except ConfigError:
        return
    assert parse_host(str(origin)) == origin


@given(st.text(max_size=40), st.sampled_from(["", PATH]))
def test_any_address_that_passes_is_of_the_workspaces_cloud(text: str, path: str) -> None:
    try:
        origin, _ = check_data_plane_url(f"https://{text}{path}", AWS)
    except UntrustedEndpointError:
        return
    assert origin.scheme == "https"
    assert origin.port == 443
    assert origin.host.endswith(".serving.cloud.databricks.com") or origin == AWS
