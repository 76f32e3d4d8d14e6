"""One flight of a renewal: from the workspace to the next book of grants.

It reads the endpoint's description, gets the token that goes with it, and reads what else is wanted
meanwhile. It runs once at a time, so nothing here is locked; who may start it and who waits for it
is :class:`servingclient.auth.access.Access`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from servingclient._types import Origin
from servingclient.auth import description as reading
from servingclient.auth.book import Book
from servingclient.auth.credentials import Credentials
from servingclient.auth.description import Reading
from servingclient.auth.endpoint import Description, standard_path
from servingclient.auth.figures import FiguresReading
from servingclient.auth.headers import check_user_headers, standard_headers
from servingclient.auth.origin import check_data_plane_url, check_endpoint_name, trusted
from servingclient.auth.schema import SchemaReading
from servingclient.auth.tokens import Tokens
from servingclient.auth.workspace import Ports, Workspace
from servingclient.errors import ServingError
from servingclient.settings import Settings

_log = logging.getLogger("servingclient.token")


class Renewal:
    """How one endpoint's grants are renewed.

    The arguments are those of :class:`servingclient.auth.access.Access`.

    Attributes:
        workspace: Where tokens and descriptions come from; None until the credentials tell.
        tokens: The tokens, and how getting them went.
        reading: The endpoint's description, and when it is due.
        schema: What columns the model takes, where that is wanted.
        figures: What the endpoint says of itself, where that is wanted.

    Raises:
        ConfigError: The endpoint's name, a header or a trusted host is malformed.
    """

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials,
        origin: Origin | None,
        settings: Settings,
        ports: Ports,
        *,
        version: str,
        provisioned: Callable[[int | None], None],
    ) -> None:
        self.endpoint: str = check_endpoint_name(endpoint)
        self._provisioned = provisioned
        self._settings = settings
        self._ports = ports
        self._version = version
        self._headers = standard_headers(version, extra=check_user_headers(settings.headers))
        self._trusted = trusted(settings.trusted_hosts)
        self.workspace: Workspace | None = None
        if origin is not None:
            self.workspace = Workspace(origin, ports, settings.token, version)
        self.tokens: Tokens = Tokens(credentials, settings.token, ports.clock)
        self.reading: Reading = Reading(settings.token)
        if not settings.describe:
            self.reading.unasked()
        self.schema: SchemaReading = SchemaReading(settings.token)
        self.figures: FiguresReading = FiguresReading()

    async def book(self) -> Book:
        """The next book of grants.

        Raises:
            ServingError: As :meth:`servingclient.auth.access.Access.obtain`.
        """
        workspace = await self._found_workspace()
        described = await self._described(workspace)
        return await self._written(workspace, described)

    async def read_what_else_is_due(self, book: Book) -> None:
        """Schema and figures, once ``book`` is at hand: whoever comes now is not held up."""
        workspace = await self._found_workspace()
        if self._now() >= self.schema.again_s:
            await self._read_schema(workspace, book)
        if self.figures.wanted:
            await self._read_figures(workspace)

    async def _found_workspace(self) -> Workspace:
        workspace = self.workspace
        if workspace is None:
            rules = self._settings.token
            origin = await self.tokens.find_origin(self._ports, self._now() + rules.timeout_s)
            workspace = Workspace(origin, self._ports, rules, self._version)
            self.workspace = workspace
        return workspace

    async def _written(self, workspace: Workspace, described: Description) -> Book:
        tokens = self.tokens
        if described.url is None:
            origin, path = workspace.origin, standard_path(self.endpoint)
            token = await tokens.workspace_token(workspace)
            state = tokens.of_workspace
        else:
            # checked first: for an address that is not trusted no token is even asked for
            origin, path = check_data_plane_url(described.url, workspace.origin, self._trusted)
            token = await tokens.endpoint_token(workspace, described.details or "")
            state = tokens.of_endpoint
        limit = self._settings.payload.max_request_bytes
        return Book(
            origin,
            path,
            self._headers,
            token=token,
            state=state,
            route_optimized=described.url is not None,
            max_request_bytes=described.max_request_bytes if limit is None else limit,
            good_until_s=min(token.span.stale_s, self.reading.again_s),
        )

    async def _described(self, workspace: Workspace) -> Description:
        known = self.reading.due(self._now())
        if known is not None:
            return known
        try:
            return await self._read(workspace)
        except ServingError as error:
            old = self.reading.keep(self._now())
            if old is None:
                raise
            _log.warning("description_kept endpoint=%s error=%s", self.endpoint, error)
            return old

    async def _read(self, workspace: Workspace) -> Description:
        """Ask for the description; a token refused there is renewed once.

        Raises:
            AuthError: The workspace refuses the credential.
        """
        token = await self.tokens.workspace_token(workspace)
        asked = await reading.ask(workspace, self.endpoint, token)
        if asked.token_refused:
            token = await self.tokens.workspace_token_instead_of(token, workspace)
            asked = await reading.ask(workspace, self.endpoint, token)
        if asked.token_refused and self.reading.description is None:
            raise self.tokens.refused_for_good(token, workspace, asked.status)
        # of an endpoint in use, the calls themselves will tell whether the token is good
        described = self.reading.take(asked, self._now())
        self._provisioned(described.provisioned_concurrency)
        return described

    async def _read_schema(self, workspace: Workspace, book: Book) -> None:
        try:
            token = await self.tokens.workspace_token(workspace)
            await self.schema.read(workspace, self.endpoint, token)
        except ServingError as error:
            self.schema.keep(self._now(), f"no token for it ({type(error).__name__})")
        book.good_until_s = min(book.good_until_s, self.schema.again_s)
        if book.token.refused:  # meanwhile: its close() may have come before ours
            book.close()

    async def _read_figures(self, workspace: Workspace) -> None:
        try:
            token = await self.tokens.workspace_token(workspace)
            await self.figures.ask(workspace, self.endpoint, token)
        except ServingError as error:
            self.figures.failed(error)

    def _now(self) -> float:
        return self._ports.clock.now()
