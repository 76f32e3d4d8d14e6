"""What one chat completion costs: our client, the OpenAI client over it, and that client alone.

    python benchmarks/bench_chat.py [--quick]

``benchmarks/README.md`` says how to read the figures.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack

import answers
import callers
import harness
import machine
import orjson
import report
from contenders.chat import OpenAiChat, OpenAiOverOurs, ServingClientChat
from contenders.place import Place, prepare_environment
from harness import Effort
from report import Figure, Part

OURS, OVER, OPENAI = "servingclient", "OpenAI client over it", "OpenAI client"
WHO = {OURS: ServingClientChat, OVER: OpenAiOverOurs, OPENAI: OpenAiChat}
THREADS = {"1 thread": 1, "8 threads": 8}
SAID = orjson.loads(answers.COMPLETION)["choices"][0]["message"]["content"]
FULL, QUICK = Effort(10), Effort(3)


def part(cores: machine.Cores, *, quick: bool) -> Part:
    with machine.server(cores.server, "--answer", "chat") as server:
        prepare_environment(server.host, server.ca_file)
        effort = QUICK if quick else FULL
        cells = {name: cell(server, count, effort) for name, count in THREADS.items()}
    return Part(
        "Chat",
        "CPU of the whole client process per chat completion over TLS, two messages in and one "
        "sentence back; the server answers at once. The OpenAI client alone has no token to renew.",
        figures(cells),
        [report.cell_table(name, one) for name, one in cells.items()],
        {
            name: {who: round(statistics.median(of.cpu_us), 1) for who, of in one.series.items()}
            for name, one in cells.items()
        },
        [taken for one in cells.values() for taken in one.slices()],
    )


def cell(server: machine.Server, threads: int, effort: Effort) -> harness.Cell:
    place = Place(server.host, server.ca_file, threads)
    with ExitStack() as stack:
        subjects = {}
        for name, kind in WHO.items():
            try:
                client = kind(place)
            except ImportError as absent:
                print(f"  {name} left out: {absent}")
                continue
            said = client.call()
            if said != SAID:
                raise SystemExit(f"{name} returned {said!r} instead of the server's {SAID!r}")
            calling = callers.by_threads(client, client.call, threads)
            subjects[name] = stack.enter_context(calling)
        return harness.measure(
            subjects, effort, least_calls=2 * threads, server_waited_s=server.waited_s
        )


def figures(cells: dict[str, harness.Cell]) -> list[Figure]:
    """The OpenAI client must not become dearer by being put over ours; a tenth is noise."""
    return [
        Figure(
            f"chat_cpu_{name.replace(' ', '_')}_openai_over_servingclient_ratio",
            f"CPU a completion, {name}: OpenAI client over servingclient / alone",
            one.ratios(OVER, OPENAI),
            1.1,
            True,
            "x",
        )
        for name, one in cells.items()
        if {OVER, OPENAI} <= one.series.keys()
    ]


def main() -> None:
    report.print_part(part(machine.pin(), quick="--quick" in sys.argv))


if __name__ == "__main__":
    main()
