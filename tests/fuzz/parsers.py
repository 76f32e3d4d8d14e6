"""Every parser of bytes from outside, with its check and the corpus that is kept for it.

A check takes any bytes and returns, or raises what is a finding: an error that is none of the typed
ones, or an assertion about what came out. To add a parser, write ``checks/<name>.py``, put a few
good and bad inputs into ``corpus/<name>/``, and list it here. What a run finds is put there too,
under a name that says what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from time import process_time
from typing import NamedTuple

from tests.fuzz.checks import (
    cache_control,
    cache_value,
    checkpoint,
    description,
    error_body,
    gunzip,
    load_test_file,
    metrics_text,
    predictions,
    rate_headers,
    reply,
    retry_after,
    signature,
    sse,
    times_file,
    token_reply,
)

CORPUS = Path(__file__).with_name("corpus")

SLOWEST_S = 0.1
"""Processor time of one check: no input, however it was chosen, may hold an event loop for long."""
_AGAIN = 3


class Parser(NamedTuple):
    """One parser.

    Attributes:
        name: Of its check, and of the folder of its corpus.
        check: Raises on a finding.
        longest: Most bytes of an input that is timed. Longer ones reach the parser in pieces
            (metrics), or not at all (a header).
    """

    name: str
    check: Callable[[bytes], None]
    longest: int

    def corpus(self) -> dict[str, bytes]:
        """The kept inputs by name."""
        files = sorted((CORPUS / self.name).iterdir())
        return {file.name: file.read_bytes() for file in files}


PARSERS = {
    parser.name: parser
    for parser in (
        Parser("reply", reply.check, 64 * 1024),
        Parser("gunzip", gunzip.check, 64 * 1024),
        Parser("retry_after", retry_after.check, 16 * 1024),
        Parser("rate_headers", rate_headers.check, 64 * 1024),
        Parser("cache_control", cache_control.check, 64 * 1024),
        Parser("sse", sse.check, 64 * 1024),
        Parser("error_body", error_body.check, 64 * 1024),
        Parser("predictions", predictions.check, 64 * 1024),
        Parser("metrics_text", metrics_text.check, 8 * 1024),
        Parser("token_reply", token_reply.check, 64 * 1024),
        Parser("description", description.check, 64 * 1024),
        Parser("signature", signature.check, 64 * 1024),
        Parser("cache_value", cache_value.check, 64 * 1024),
        Parser("checkpoint", checkpoint.check, 64 * 1024),
        Parser("times_file", times_file.check, 64 * 1024),
        Parser("load_test_file", load_test_file.check, 64 * 1024),
    )
}


def took_s(parser: Parser, data: bytes) -> float:
    """Processor time of one check; of a slow one the least of several, so that noise is not judged.

    Raises:
        Exception: What the check finds.
    """
    took = inf
    for _ in range(_AGAIN):
        started_s = process_time()
        parser.check(data)
        took = min(took, process_time() - started_s)
        if took <= SLOWEST_S:
            break
    return took
