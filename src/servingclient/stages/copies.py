"""The external APIs of a client and of its copies, for exporters: they tell of all of them."""

from __future__ import annotations

import weakref

from servingclient.stages.functions import Api


class Copies:
    """What ``apis`` each of the clients was given that share connections. Holds them weakly."""

    __slots__ = ("_given",)

    def __init__(self) -> None:
        self._given: dict[weakref.ref[object], tuple[Api, ...]] = {}

    def given(self, client: object, apis: tuple[Api, ...]) -> None:
        """``client`` has these, as long as it lives."""
        given = self._given
        if apis:
            given[weakref.ref(client, lambda gone: given.pop(gone, None))] = apis

    def apis(self) -> tuple[Api, ...]:
        """Each once, in the order they came."""
        found = {id(api): api for apis in tuple(self._given.values()) for api in apis}
        return tuple(found.values())
