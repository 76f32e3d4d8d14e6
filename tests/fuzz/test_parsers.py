"""What is known to have confused parsers, and some hundred inputs made of it, find nothing new.

``make fuzz`` makes millions; here each parser gets its kept corpus and a few of its neighbours.
"""

from __future__ import annotations

import tracemalloc

import pytest

from tests.fuzz.large import LARGE
from tests.fuzz.mutations import damaged, pumped
from tests.fuzz.parsers import CORPUS, PARSERS, SLOWEST_S, Parser, took_s

KEPT = [
    pytest.param(parser, data, id=f"{parser.name}/{name}")
    for parser in PARSERS.values()
    for name, data in (parser.corpus() | LARGE.get(parser.name, {})).items()
]
DAMAGED = 30  # for each parser: 480
PUMPED = 4
SEED = 20

every_parser = pytest.mark.parametrize("parser", PARSERS.values(), ids=lambda parser: parser.name)


@pytest.mark.parametrize(("parser", "data"), KEPT)
def test_a_kept_input_is_read_or_refused_in_time(parser: Parser, data: bytes) -> None:
    assert took_s(parser, data) <= SLOWEST_S


@every_parser
def test_damaged_inputs_are_read_or_refused(parser: Parser) -> None:
    for data in damaged(list(parser.corpus().values()), DAMAGED, SEED):
        assert took_s(parser, data) <= SLOWEST_S, data


@every_parser
def test_long_inputs_are_read_or_refused_in_time(parser: Parser) -> None:
    for data in pumped(list(parser.corpus().values()), PUMPED, parser.longest, SEED):
        assert took_s(parser, data) <= SLOWEST_S, data[:200]


@every_parser
def test_an_input_takes_memory_by_its_size(parser: Parser) -> None:
    # a length that a reply claims is not what is set aside for it
    corpus = parser.corpus().values()
    for data in corpus:
        parser.check(data)  # what is loaded once is loaded
    tracemalloc.start()
    try:
        for data in corpus:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            parser.check(data)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before <= 2_000_000 + 100 * len(data), data
    finally:
        tracemalloc.stop()


def test_each_folder_of_the_corpus_belongs_to_a_parser() -> None:
    assert {folder.name for folder in CORPUS.iterdir() if folder.is_dir()} == PARSERS.keys()


def test_the_same_seed_makes_the_same_inputs() -> None:
    # a finding can be had again
    corpus = list(PARSERS["sse"].corpus().values())
    assert list(damaged(corpus, 50, 1)) == list(damaged(corpus, 50, 1))
    assert list(damaged(corpus, 50, 1)) != list(damaged(corpus, 50, 2))
    assert list(pumped(corpus, 20, 9_999, 1)) == list(pumped(corpus, 20, 9_999, 1))
