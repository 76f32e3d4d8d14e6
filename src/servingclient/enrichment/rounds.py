"""One caller's values while they are had. Pure."""

from __future__ import annotations

from typing import NamedTuple

from servingclient.enrichment.asked import Asked, Source
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.flight import Flight
from servingclient.enrichment.keys import Key
from servingclient.enrichment.values import Enriched

Outcome = Enriched | Exception


class Written(NamedTuple):
    """What is to be written to the shared cache.

    Attributes:
        key: Its key here.
        entry: It.
    """

    key: Key
    entry: Entry


class Round:
    """One caller's values while they are had.

    Attributes:
        source: Where they are had from.
        began_s: When the caller came.
        deadline_s: When its time is up.
        most: Requests at once.
        halts: After a failure the caller wants no more of them.
        refreshes: Nobody waits for them: they are fetched behind the callers.
        halted: One failed, and the caller wants no more.
        due: Values given out that are to be fetched anew.
        outcomes: What it gets, by key.
        tickets: Flights that are this caller's to end, by key.
        written: What is to be written to the shared cache, by its key there.
        leased: The key there that other processes leave to this one.
        looked_s: When it last began to look at the shared cache.
        looks: Times it looked whether another process has fetched what is wanted.
        patient_until_s: Until when it goes on to look.
        puts: How many entries this process had kept when it looked here; -1 when it did not.
    """

    __slots__ = (
        "began_s",
        "deadline_s",
        "due",
        "halted",
        "halts",
        "leased",
        "looked_s",
        "looks",
        "most",
        "outcomes",
        "patient_until_s",
        "puts",
        "refreshes",
        "source",
        "tickets",
        "written",
    )

    def __init__(
        self,
        source: Source,
        began_s: float,
        timeout_s: float,
        most: int,
        *,
        halts: bool = False,
        refreshes: bool = False,
    ) -> None:
        self.source: Source = source
        self.began_s: float = began_s
        self.deadline_s: float = began_s + timeout_s
        self.most: int = most
        self.halts: bool = halts
        self.refreshes: bool = refreshes
        self.halted: bool = False
        self.due: list[Asked] = []
        self.outcomes: dict[Key, Outcome] = {}
        self.tickets: dict[Key, Flight[Entry]] = {}
        self.written: dict[str, Written] = {}
        self.leased: str | None = None
        self.looked_s: float = began_s
        self.looks: int = 0
        self.patient_until_s: float = 0.0
        self.puts: int = -1
