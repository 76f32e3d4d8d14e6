"""What a snapshot prints, and its card: every figure is there, nothing but words gets in."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from servingclient._stats import ConcurrencyStats
from servingclient.telemetry import table
from servingclient.telemetry.card import sparkline
from servingclient.telemetry.recorder import Recorder
from servingclient.telemetry.snapshot import Stats
from servingclient.telemetry.tally import Event, Windows
from tests.telemetry.shown import empty, full

FULL = """\
fraud: 1,847 calls in 2 h 3 min

                            10 s    1 min    5 min      all
  calls a second           0.286    0.266    0.253     0.25
  failed                     0 %      0 %    1.3 %   1.95 %
    Throttled                  0        0        1       36
  cancelled                    1        1        1        1
  streams                      1        1        1        1
  P50                    44.1 ms    71 ms  59.9 ms  59.9 ms
  P90                      45 ms  77.9 ms  75.9 ms  75.9 ms
  P99                      45 ms    79 ms    2.5 s    2.5 s
  P99.9                    45 ms    79 ms    2.5 s    2.5 s
  longest                  45 ms    79 ms    2.5 s    2.5 s
  wait for a place, P99     8 ms    12 ms    12 ms    12 ms
  first byte, P50          38 ms  61.9 ms  54.1 ms  53.1 ms
  first byte, P99          39 ms    74 ms    74 ms  76.9 ms
  attempts                     3       18       84    2,031
  retries                      0        2        8      185
  throttled                    0        2        9      221
  request, mean          1.25 KB  1.25 KB  1.25 KB  1.25 KB
  reply, mean               64 B     64 B     64 B     64 B

  calls at once          3 of 20
  in the queue           1, 2 turned away so far
  retry quota            486
  connections            3 busy, 5 idle, 11 opened, 2 found dead; 99.9 % of calls found one open
  token                  12 min 34 s old, 47 min 26 s left, renewing fails
  shared requests        320 of 12.5 rows on average, 5 calls gather
  hedges                 12 sent after 85 ms, 7 came first
  packed                 10 KB to 2.5 KB on average
  API https://u.example  12.5 a second, 96 % from the cache, P99 181 ms, 2 % failed, breaker open"""

EMPTY = """\
fraud: 0 calls in 0 s

                         all
  calls a second           0
  failed                 0 %
  P50                      –
  P90                      –
  P99                      –
  P99.9                    –
  longest                  –
  wait for a place, P99    –
  first byte, P50          –
  first byte, P99          –
  attempts                 0
  retries                  0
  throttled                0
  request, mean            –
  reply, mean              –

  calls at once          0 of 20
  in the queue           0, 0 turned away so far
  retry quota            500"""


def test_the_table_of_a_busy_client() -> None:
    assert str(full()) == FULL


def test_the_table_of_a_new_client() -> None:
    assert str(empty()) == EMPTY


def test_functions_around_calls_have_a_row_each_and_their_failures() -> None:
    recorder = Recorder(lambda: 1000.0)
    recorder.note(1000.0, "enrich", None, 0.25)
    recorder.note(1000.0, "postprocess", None, 0.002)
    recorder.note(1000.0, "stage_failed", "preprocess")
    total, _ = recorder.read()
    rows = dict(table.traffic_rows(replace(empty(), total=total)))
    assert (rows["enrich, P99"], rows["postprocess, P99"]) == (("250 ms",), ("2 ms",))
    assert rows["preprocess failed"] == ("1",)
    assert "preprocess, P99" not in rows


def test_rich_prints_the_same_words_and_takes_none_for_markup() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(full(endpoint="[red]fraud[/]", kind="[bold]"))
    words = [line.split() for line in console.export_text().splitlines() if line.strip()]
    plain = [line.split() for line in str(full("[red]fraud[/]", "[bold]")).splitlines() if line]
    assert words == plain


def test_windows_longer_than_its_life_are_left_out() -> None:
    stats = full()
    for span_s, heads in ((9.0, ["all"]), (61.0, ["10 s", "1 min", "all"])):
        young = replace(stats, total=replace(stats.total, span_s=span_s))
        assert [head for head, _ in table.columns_of(young)] == heads


def test_the_card_holds_what_the_table_holds() -> None:
    stats = full()
    words = [element.text for element in ET.fromstring(stats._repr_html_()).iter() if element.text]
    for name, cells in (*table.traffic_rows(stats), *table.present_rows(stats)):
        assert {name.strip(), *cells} - {""} <= set(words), name


def test_the_card_is_three_curves_and_two_tables() -> None:
    root = ET.fromstring(full()._repr_html_())
    svg = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{svg}svg")) == 3
    assert len(root.findall(".//table")) == 2
    lines = root.findall(f".//{svg}polyline")
    assert len(lines) >= 3
    for line in lines:
        for corner in line.attrib["points"].split():
            x, y = map(float, corner.split(","))
            assert 0.0 <= x <= 180.0
            assert 0.0 <= y <= 36.0


def test_the_card_of_a_new_client_is_whole() -> None:
    root = ET.fromstring(empty()._repr_html_())
    assert "".join(root.itertext()).count("nothing yet") == 3


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a'b\"c&d", "</td><img src=x>"])
def test_nothing_given_becomes_markup(name: str) -> None:
    tags = {element.tag for element in ET.fromstring(full()._repr_html_()).iter()}
    root = ET.fromstring(full(endpoint=name, kind=name)._repr_html_())
    assert {element.tag for element in root.iter()} == tags
    assert "".join(root.itertext()).count(name) == 2


def test_the_card_runs_and_fetches_nothing() -> None:
    card = full()._repr_html_()
    root = ET.fromstring(card)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"div", "table", "tr", "th", "td", "svg", "polyline", "circle"}
    drawing = {"points", "fill", "stroke", "stroke-width", "cx", "cy", "r"}
    given = {name for element in root.iter() for name in element.attrib}
    assert given <= {"style", "width", "height", "role"} | drawing
    assert "url(" not in card


def test_a_curve_has_gaps_where_nothing_is_known() -> None:
    root = ET.fromstring(sparkline([None, 1.0, 2.0, None, 4.0], "#000"))
    kinds = [element.tag.partition("}")[2] for element in root]
    assert kinds == ["polyline", "circle"]
    assert root[1].attrib["cx"] == "178.0", "the last one stands at the right edge"
    assert root[1].attrib["cy"] == "2.0", "the largest at the top"


def test_a_curve_of_zeros_lies_at_the_bottom() -> None:
    root = ET.fromstring(sparkline([0.0, 0.0], "#000"))
    assert {corner.partition(",")[2] for corner in root[0].attrib["points"].split()} == {"34.0"}


def test_the_curve_of_five_minutes() -> None:
    stats = full()
    points = stats.history
    assert len(points) == 60
    assert [round(point.ago_s, 3) for point in points] == [4.0 + 5.0 * n for n in range(59, -1, -1)]
    rates = [point.qps for point in points]
    assert set(rates) <= {0.2, 0.4}
    failed = [point for point in points if point.error_rate]
    assert failed
    assert all(point.p99_s == 2.5 for point in failed)


def test_the_first_point_is_of_the_time_since_counting_began() -> None:
    counted = Windows(3.0)
    for _ in range(2):
        counted.at(0).enter([Event(4.0, "failed", "Throttled", 0.5)])
    recent = counted.recent(11.0)
    stats = Stats("demo", ConcurrencyStats(1, 0, 0), 500, recent=recent)
    assert [point.qps for point in stats.history] == [1.0, 0.0]


def test_a_snapshot_pickles_and_stands_still() -> None:
    stats = full()
    again = pickle.loads(pickle.dumps(stats))
    assert str(again) == str(stats)
    assert again.last_minute.p99_s == stats.last_minute.p99_s
    with pytest.raises(AttributeError):
        stats.endpoint = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (0.0, "0"),
        (2e-6, "2 µs"),
        (0.0009994, "999 µs"),
        (0.0009996, "1 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1 s"),
        (12.34, "12.3 s"),
        (1234.0, "1,234 s"),
    ],
)
def test_durations_in_words(value: float | None, words: str) -> None:
    assert table.seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (0.0, "0 B"),
        (64.0, "64 B"),
        (999.4, "999 B"),
        (999.6, "1 KB"),
        (1250.0, "1.25 KB"),
        (2.5e6, "2.5 MB"),
        (1e9, "1,000 MB"),
    ],
)
def test_sizes_in_words(value: float | None, words: str) -> None:
    assert table.size(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (754.0, "12 min 34 s"), (1e5, "27 h 46 min")],
)
def test_lengths_of_time_in_words(value: float, words: str) -> None:
    assert table.span(value) == words


@pytest.mark.parametrize(
    ("share", "words"), [(0.0, "0 %"), (0.0004, "0.04 %"), (0.123, "12.3 %"), (1.0, "100 %")]
)
def test_shares_in_words(share: float, words: str) -> None:
    assert table.percent(share) == words
