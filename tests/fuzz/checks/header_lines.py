"""Bytes as header lines, the way a reply's head hands them over."""

from __future__ import annotations


def lines(data: bytes) -> list[tuple[bytes, bytes]]:
    """``Name: value`` lines. Line breaks end a line, whatever stands in it otherwise."""
    cut = (line.partition(b":") for line in data.splitlines())
    return [(name, value.strip(b" \t")) for name, _, value in cut]
