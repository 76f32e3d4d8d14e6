"""How a plan looks in a terminal and in a notebook, its plots, and the command that prints it."""

from __future__ import annotations

import builtins
import itertools
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from servingclient import ConfigError, cli
from servingclient.capacity import Plan, plan, plot
from servingclient.capacity.workload import count, duration

GOLDEN = Path(__file__).parent / "golden"
BASES = ("given", "measured", "documented", "assumed", "computed")


def usual(**more: Any) -> Plan:
    return plan(**{"qps": 500, "service_time_s": 0.040, "p99_goal_s": 0.150, **more})


# ------------------------------------------------------------------------------- golden output

COMMANDS = {
    "usual.txt": "--qps 500 --service-ms 40 --p99-ms 150 --plot",
    "peak.txt": "--qps 300 --service-ms 40 --service-std-ms 10 --p99-ms 200 --burst 4 --row-ms 1"
    " --batch-rows 8 --scale-lag-s 60 --payload-bytes 2000000",
    "out_of_reach.txt": "--qps 80000 --service-ms 40 --workload-type GPU_SMALL",
    "usual.json": "--qps 500 --service-ms 40 --p99-ms 150 --json",
    "config.json": "--qps 50 --service-ms 40 --burst 3 --config-json --endpoint fraud"
    " --model main.fraud.model --version 3",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_output_is_as_it_was(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    # written anew by: python tests/capacity/golden/write.py
    code = cli.main(["plan", *COMMANDS[name].split()])
    said = capsys.readouterr()
    assert said.err == ""
    golden = (GOLDEN / name).read_text(encoding="utf-8")
    if name.endswith(".json"):
        assert rounded(json.loads(said.out)) == rounded(json.loads(golden))
    else:
        assert said.out == golden
    assert code == (1 if name == "out_of_reach.txt" else 0)


def rounded(value: Any) -> Any:
    """Without the last digits, in which mathematical libraries differ."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def test_every_figure_says_where_it_comes_from() -> None:
    for found in (usual(), usual(burst=3, scale_lag_s=1), usual(gpu_service_time_s=0.01)):
        told = found.as_dict()
        figures = [*told["figures"], *told["advice"], *told["limits"]]
        assert len(figures) > 20
        assert {one["basis"] for one in figures} <= set(BASES)
    text = str(usual())
    for basis in BASES:
        assert basis in text


def test_documented_figures_name_no_machine_and_fit_the_screen() -> None:
    for line in str(usual(burst=3, row_time_s=0.001)).splitlines():
        assert len(line) <= 100, line


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 ms"),
        (2e-6, "< 0.01 ms"),
        (0.00002, "0.02 ms"),
        (0.0405, "40.5 ms"),
        (0.9999, "1 s"),
        (12.34, "12.3 s"),
        (54321.0, "54,321 s"),
        (float("inf"), "no end"),
    ],
)
def test_durations_as_people_read_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(0.123456, "0.123"), (999.4, "999"), (1234.5, "1,234"), (3e5, "300,000")]
)
def test_counts_as_people_read_them(number: float, shown: str) -> None:
    assert count(number) == shown


# ------------------------------------------------------------------------------- HTML


class Balance(HTMLParser):
    """Checks that what is opened is closed, in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("more", [{}, {"qps": 80_000}, {"row_time_s": 0.001, "batch_rows": 2}])
def test_html_is_well_formed_and_loads_nothing(more: dict[str, Any]) -> None:
    told = usual(**more)._repr_html_()
    parser = Balance()
    parser.feed(told)
    assert parser.open == []
    assert {"table", "svg"} <= parser.seen
    assert not parser.seen & {"script", "link", "img", "iframe", "style"}
    assert "P99 ≤ 150 ms" in told
    assert "&lt; 0.01 ms" in usual()._repr_html_()


# ------------------------------------------------------------------------------- plots


def test_a_curve_rises_to_the_end_of_its_size() -> None:
    found = usual()
    assert [curve.slots for curve in found.curves()] == [28, 32, 36]
    for curve in found.curves():
        rates = [qps for qps, _ in curve.points]
        times = [seconds for _, seconds in curve.points]
        assert rates == sorted(rates)
        assert (
            times == sorted(times)
            or max(before - after for before, after in itertools.pairwise(times)) < 0.01 * times[0]
        )
        assert times[-1] > 2 * times[0]
        assert rates[-1] == pytest.approx(curve.slots / 0.040, rel=0.02)


def test_the_plot_in_characters_fits_where_it_is_told_to() -> None:
    lines = usual().plot(width=40, height=8).splitlines()
    assert len([line for line in lines if line.startswith("  |")]) == 8
    assert max(len(line) for line in lines[:-1]) <= 60
    assert "a 28 slots   b 32 slots   c 36 slots" in lines[-1]
    assert "goal 150 ms" in lines[-1]
    assert "goal" not in usual(p99_goal_s=None).plot()


@pytest.mark.parametrize("more", [{}, {"p99_goal_s": None}, {"qps": 80_000}])
def test_svg_is_well_formed(more: dict[str, Any]) -> None:
    drawing = ET.fromstring(usual(**more).svg())
    space = "{http://www.w3.org/2000/svg}"
    assert drawing.tag == f"{space}svg"
    lines = drawing.findall(f"{space}polyline")
    assert len(lines) == (0 if more.get("qps") else 3)
    for line in lines:
        for point in str(line.get("points")).split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 720
            assert 0 <= y <= 380


@pytest.mark.parametrize(
    ("most", "step", "number"),
    [(904.0, 200.0, 5), (0.24, 0.05, 5), (1000.0, 200.0, 6), (3.0, 0.5, 7), (1e-6, 2e-7, 6)],
)
def test_axes_have_round_numbers(most: float, step: float, number: int) -> None:
    ticks = plot._ticks(most)
    assert ticks == pytest.approx([step * at for at in range(number)])
    assert ticks[-1] <= most


def test_a_plot_is_written_as_its_name_says(tmp_path: Path) -> None:
    usual().save_plot(tmp_path / "plan.svg")
    assert (tmp_path / "plan.svg").read_text() == usual().svg() + "\n"
    with pytest.raises(ConfigError, match=r"as \.svg or \.png, not as '\.gif'"):
        usual().save_plot(tmp_path / "plan.gif")
    with pytest.raises(ConfigError, match="not as 'no kind'"):
        usual().save_plot(tmp_path / "plan")


def test_png_without_matplotlib_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> ModuleType:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'servingclient\[plot\]', or"):
        usual().save_plot(tmp_path / "plan.png")
    assert not (tmp_path / "plan.png").exists()


def test_png_with_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    savefig = Figure.savefig

    def saved(figure: Figure, *given: Any, **more: Any) -> None:
        drawn.append(figure)
        savefig(figure, *given, **more)

    monkeypatch.setattr(Figure, "savefig", saved)
    usual().save_plot(tmp_path / "plan.png")
    (axes,) = drawn[0].axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["28 slots", "32 slots", "36 slots"]
    assert len(axes.lines) == 5, "with the rate that is asked for, and the goal"
    height, width, _ = imread(tmp_path / "plan.png").shape
    assert width > height > 400


# ------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--qps 0 --service-ms 40", "qps is 0.0; it must be finite and above 0."),
        ("--qps nan --service-ms 40", "qps is nan; it must be finite and above 0."),
        ("--qps 10 --service-ms 40 --p99-ms 20", "p99_goal_s is 20 ms, but the model alone takes"),
        ("--qps 10 --service-times gone.csv", "gone.csv cannot be read: No such file"),
        ("--qps 10 --service-ms 40 --svg plan.gif", "A plot is written as .svg or .png"),
        ("--qps 10 --service-ms 40 --svg gone/a.svg", "cannot be written: No such file"),
        ("--qps 10 --service-ms 40 --workload-type TPU", "workload_type is 'TPU'; sold are CPU"),
        (
            "--qps 10 --service-ms 40 --config-json --endpoint a/b",
            "endpoint must be the plain name",
        ),
    ],
)
def test_bad_input_ends_with_2_and_one_sentence(
    arguments: str,
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan", *arguments.split()]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("servingclient plan: ")
    assert told in said.err
    assert len(said.err.splitlines()) == 1


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    asked = ["plan", "--qps", "9", "--service-ms", "40"]
    code = f"import sys; from servingclient.cli import main; sys.exit(main({asked}))"
    command = [sys.executable, "-c", code]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, timeout=15, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--qps 10",
        "--service-ms 40",
        "--qps x --service-ms 40",
        "--qps 10 --service-ms 40 --service-times a.csv",
        "--qps 10 --service-ms 40 --json --config-json",
        "--qps 10 --service-ms 40 --nonsense",
    ],
)
def test_what_is_no_question_ends_with_2(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", *arguments.split()])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: servingclient plan")


def test_help_has_examples_that_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["plan", "--help"])
    told = capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    Path("run.csv").write_text("latency_ms\n" + "38\n41\n40\n55\n" * 20)
    examples = [
        line.split()[1:] for line in told.splitlines() if line.startswith("  servingclient")
    ]
    assert len(examples) == 5
    for example in examples:
        assert cli.main(example) == 0
    assert Path("plan.svg").exists()
    assert "exit codes: 0 a size that is sold will do; 1 none will" in told


def test_no_configuration_is_printed_where_there_is_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["plan", "--qps", "80000", "--service-ms", "40", "--config-json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "4,572 slots or more are needed" in said.err


def test_all_flags_reach_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    given = (
        "--qps 100 --service-ms 40 --service-std-ms 4 --p99-ms 400 --burst 2 --arrival-scv 2 "
        "--overhead-ms 7 --headroom 0.1 --utilisation 0.6 --row-ms 0.5 --batch-rows 2 "
        "--payload-bytes 1000 --route-optimized --workload-type GPU_SMALL --gpu-service-ms 9 "
        "--scale-lag-s 30 --client-processes 3 --calls-per-core 900 --json"
    )
    assert cli.main(["plan", *given.split()]) == 0
    told = json.loads(capsys.readouterr().out)
    same = plan(
        qps=100,
        service_time_s=0.040,
        service_std_s=0.004,
        p99_goal_s=0.400,
        burst=2,
        arrival_scv=2,
        overhead_s=0.007,
        headroom=0.1,
        utilisation=0.6,
        row_time_s=0.0005,
        batch_rows=2,
        payload_bytes=1000,
        route_optimized=True,
        workload_type="GPU_SMALL",
        gpu_service_time_s=0.009,
        scale_lag_s=30,
        client_processes=3,
        calls_per_core=900,
    )
    assert told == json.loads(json.dumps(same.as_dict()))
    assert told["update"]["served_entities"][0]["workload_type"] == "GPU_SMALL"
