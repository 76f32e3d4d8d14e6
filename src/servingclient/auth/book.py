"""Grants at hand: destinations with the bearer in them, built once per token."""

from __future__ import annotations

from typing import NoReturn

from servingclient._ports import Grant
from servingclient._types import Hidden, Origin
from servingclient.auth.endpoint import served_model_path
from servingclient.auth.headers import Headers, make_target
from servingclient.auth.origin import check_served_model_name
from servingclient.auth.token_state import Token, TokenState

_MOST_GRANTS = 256
"""Served models an endpoint is called with by name; documented are ten or so."""


_NO_SECRETS = ("x-databricks-workspace-id", "x-databricks-azure-workspace-resource-id")


class QuietGrant(Grant):
    """A grant that keeps its bearer out of ``repr`` and refuses to be pickled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Grant({self.target!r}, token={self.token})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a grant holds a credential and is not pickled")


class Book:
    """All grants of one endpoint that hold one token.

    Attributes:
        token: The token in them.
        state: Where that token came from.
        good_until_s: Until then a grant is handed out without another thought. The only field
            that changes: down when the token is refused, up when it was looked at again.
        grants: By served model; made when first asked for.
        route_optimized: They lead to the endpoint's own host.
    """

    __slots__ = (
        "_headers",
        "_limit",
        "_origin",
        "_path",
        "_secrets",
        "good_until_s",
        "grants",
        "route_optimized",
        "state",
        "token",
    )

    def __init__(
        self,
        origin: Origin,
        path: str,
        headers: Headers,
        *,
        token: Token,
        state: TokenState,
        route_optimized: bool,
        max_request_bytes: int,
        good_until_s: float,
    ) -> None:
        carried = tuple((name, value.reveal()) for name, value in token.headers)
        self.token: Token = token
        self.state: TokenState = state
        self.good_until_s: float = good_until_s
        self._origin = origin
        self._path = path
        self._headers = (*headers, *carried)
        self._secrets = Hidden(
            value.partition(" ")[2] or value
            for name, value in carried
            if name.lower() not in _NO_SECRETS
        )
        self.route_optimized: bool = route_optimized
        self._limit = max_request_bytes
        self.grants: dict[str | None, Grant] = {}

    def grant(self, served_model: str | None) -> Grant:
        """The grant for one served model, or for the endpoint with its traffic split.

        Raises:
            ConfigError: It cannot be the name of a served model.
        """
        found = self.grants.get(served_model)
        if found is not None:
            return found
        path = self._path
        if served_model is not None:
            path = served_model_path(path, check_served_model_name(served_model))
        target = make_target(self._origin, "POST", path, self._headers)
        made = QuietGrant(
            target, self.token.number, self._limit, self.route_optimized, self._secrets
        )
        if len(self.grants) < _MOST_GRANTS:
            self.grants[served_model] = made
        return made

    def leads_to(self, grant: Grant) -> bool:
        """Whether ``grant`` holds this very token, so that trying again would repeat it."""
        return grant.token == self.token.number and grant.target.origin == self._origin

    def refused(self) -> None:
        """The endpoint would not have its token: hand it out no more.

        The state may hold a newer one by then, while the flight that brought it still reads the
        description. It knows nothing of this token any more, so the token itself is marked.
        """
        if not self.token.refused:
            self.token.dropped = True
        self.close()

    def close(self) -> None:
        """Hand nothing out without looking again."""
        self.good_until_s = float("-inf")

    def __repr__(self) -> str:
        return f"Book({self._origin}, {self.token!r})"
