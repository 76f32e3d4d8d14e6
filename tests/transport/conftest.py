"""Fixtures of the transport's tests."""

from tests.scripted.certificates import authority  # noqa: F401 - found by name
