"""Which addresses an API may have (SSRF)."""

from __future__ import annotations

import pytest

from servingclient.enrichment.base_url import parse_base_url, refusal
from servingclient.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://api.example.com", "https://api.example.com", ""),
        ("https://api.example.com/", "https://api.example.com", ""),
        ("https://API.example.com:8443/v1/", "https://api.example.com:8443", "/v1"),
        ("HTTPS://api.example.com/a%20b/c", "https://api.example.com", "/a%20b/c"),
        ("https://8.8.8.8/v1", "https://8.8.8.8", "/v1"),
        ("https://[2606:4700::1111]", "https://[2606:4700::1111]", ""),
    ],
)
def test_a_public_url(url: str, origin: str, path: str) -> None:
    found, base = parse_base_url(url, allow_private=False)
    assert (str(found), base) == (origin, path)


PRIVATE = [
    "https://127.0.0.1",
    "https://127.8.9.10:8443/v1",
    "https://localhost",
    "https://api.localhost",
    "https://[::1]",
    "https://10.0.0.1",
    "https://172.16.0.1",
    "https://192.168.1.1",
    "https://100.64.0.1",
    "https://169.254.169.254/latest/meta-data",
    "https://[fe80::1]",
    "https://[fd00:ec2::254]",
    "https://[::ffff:169.254.169.254]",
    "https://[::ffff:10.0.0.1]",
    "https://[64:ff9b::a9fe:a9fe]",
    "https://[2002:a9fe:a9fe::1]",
    "https://198.18.0.1",
    "https://192.0.0.192",
    "https://[64:ff9b:1::7f00:1]",
    "https://[::127.0.0.1]",
    "https://[::ffff:0:127.0.0.1]",
    "https://[fec0::1]",
    "https://240.0.0.1",
]


@pytest.mark.parametrize("url", PRIVATE)
def test_what_is_not_public_must_be_allowed(url: str) -> None:
    with pytest.raises(ConfigError, match="allow_private_hosts"):
        parse_base_url(url, allow_private=False)
    assert parse_base_url(url, allow_private=True)


@pytest.mark.parametrize(
    "url", ["https://0.0.0.0", "https://[::]", "https://224.0.0.1", "https://[ff02::1]"]
)
def test_what_is_no_host_is_refused_in_any_case(url: str) -> None:
    for allow in (False, True):
        with pytest.raises(ConfigError, match=r"a multicast address|an unspecified address"):
            parse_base_url(url, allow_private=allow)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1/%2e%2e/v2",
        "https://api.example.com/..%2fv2",
        None,
        b"https://api.example.com",
        "",
        "api.example.com",
        "file:///etc/passwd",
        "ftp://api.example.com",
        "gopher://api.example.com",
        "https://",
        "https:///v1",
        "https://user@api.example.com",
        "https://user:canary@api.example.com/v1",
        "https://api.example.com?token=canary",
        "https://api.example.com#canary",
        "https://api.example.com/../x",
        "https://api.example.com/a//b",
        "https://api.example.com/50%",
        "https://api.example.com:0",
        "https://api.example.com:99999",
        "https://api.example.com:x",
        "https://api .example.com",
        "https://api.example.com/a b",
        "https://api.example.com\\@evil.com",
        "https://api.example.com\r\nX: y",
        "https://exämple.com",
        "https://127.1",
        "https://0x7f.1",
        "https://2130706433",
        "https://[::1",
        "http://api.example.com",
        "http://10.0.0.1",
    ],
)
def test_anything_else_is_refused_and_not_shown(url: object) -> None:
    for allow in (False, True):
        with pytest.raises(ConfigError) as caught:
            parse_base_url(url, allow_private=allow)
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/v1", "http://localhost", "http://[::1]:1"])
def test_plain_http_goes_to_this_machine_only_when_allowed(url: str) -> None:
    found, _ = parse_base_url(url, allow_private=True)
    assert found.scheme == "http"
    with pytest.raises(ConfigError, match="plain http"):
        parse_base_url(url, allow_private=False)


def test_a_name_is_judged_when_it_is_resolved() -> None:
    assert refusal("api.example.com", allow_private=False) is None
    assert "link-local" in str(refusal("169.254.169.254", allow_private=False))
    assert "link-local" in str(refusal("fe80::1%eth0", allow_private=False))
    assert refusal("8.8.8.8", allow_private=False) is None
    assert refusal("10.0.0.1", allow_private=True) is None
    assert refusal("0.0.0.0", allow_private=True) is not None
