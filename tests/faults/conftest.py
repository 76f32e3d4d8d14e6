"""The certificate authority, for proxies that speak TLS."""

from tests.scripted.certificates import authority  # noqa: F401 - found by name
