"""Under which key an answer is kept. Pure.

In memory a key is a tuple of what was asked, or with ``hash_keys`` of the template and a hash. In
a shared cache it is text: the API and the template in plain words, so that it can be found by
prefix, then a keyed hash of who asks for what. No value of a caller stands there, and no
credential.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from servingclient.enrichment.templates import Params

SCHEMA: Final = 1
"""Version of what is hashed and how; another one finds nothing of the old."""

Key = tuple[Any, ...]
"""Principal, method, template; then values, parameters and hash of the body, or their hash."""


class Keys:
    """Makes keys for one client.

    Args:
        api: The API, such as ``api.example.com/v1``.
        principal: Who asks, as a hash; answers to one are never given to another.
        hashed: Keep hashes in memory too.
    """

    __slots__ = ("_api", "_hasher", "_tag_key", "hashed", "principal")

    def __init__(self, api: str, principal: str, *, hashed: bool) -> None:
        self._api = api
        self.principal: str = principal
        self.hashed: bool = hashed
        self._tag_key = blake2b(api.encode(), digest_size=32).digest()
        secret = blake2b(f"{api}\0{principal}".encode(), digest_size=32).digest()
        self._hasher = blake2b(key=secret, person=b"servingclient/%d" % SCHEMA, digest_size=20)

    def key(
        self,
        method: str,
        template: str,
        values: tuple[str, ...],
        params: Params,
        body: bytes = b"",
    ) -> Key:
        """The key in memory."""
        digest = blake2b(body, digest_size=16).hexdigest() if body else ""
        if self.hashed:
            return (self.principal, method, template, self._hash(method, values, params, digest))
        return (self.principal, method, template, values, params, digest)

    def shared(self, key: Key) -> str:
        """The key in a shared cache."""
        parts: tuple[Any, ...] = key
        _, method, template = parts[:3]
        digest = parts[3] if self.hashed else self._hash(method, *parts[3:])
        return f"{self.prefix(template)}|{method}|{digest}"

    def prefix(self, template: str) -> str:
        """What the shared keys of all templates begin with that begin with ``template``."""
        return f"{self._api}|{SCHEMA}|{template}"

    def tag(self, tag: str) -> str:
        """A tag as it is kept: hashed, since it may name a person; the same for all principals."""
        data = tag.encode("utf-8", "surrogatepass")
        return blake2b(data, key=self._tag_key, digest_size=16).hexdigest()

    def resource(self, template: str, values: tuple[str, ...]) -> str:
        """The tag of all answers to one path that depend on parameters or a body, too."""
        return self._hash(template, values, (), "")

    def _hash(self, method: str, values: tuple[str, ...], params: Params, body: str) -> str:
        # lengths stand before the texts, so that no two lists of texts make the same bytes
        text = f"1;{_sized(method)}{len(values)};"
        for value in values:
            text += _sized(value)
        for name, value in params:
            text += f"2;{_sized(name)}{_sized(value)}"
        text += f"1;{_sized(body)}"
        hashed = self._hasher.copy()  # half the time of a new one
        hashed.update(text.encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()


def _sized(text: str) -> str:
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return f"{size}:{text}"
